/* Mounts of type image: the files of an image, read-only, at a place in a container. While the container runs
 * they are mounted below its own directory, each with a layer of its own that stays empty: overlayfs is what
 * shows the image's layers as one tree. */
#include "engine/engine_priv.h"

#include "base/file.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *place_of(struct container *c, size_t index)
{
    _cleanup_free_ char *dir = container__dir(c);
    return str_printf("%s/images/%zu", dir, index);
}

/* A detached tree of the image; `mapping` NULL: owners as they are. */
static int open_image(struct engine *e, const char *id, const char *dir, const struct image_mapping *mapping,
                      int *ret, struct err *err)
{
    struct image_snapshot s = {0};
    int r = image_snapshot_create(e->images, id, dir, &s, err);
    if (r == 0)
        r = mapping ? image_snapshot_mount_mapped(e->images, &s, mapping, true, ret, err)
                    : image_snapshot_mount(e->images, &s, true, ret, err);
    image_snapshot_done(&s);
    return r;
}

static int mount_one(struct container *c, json_t *point, size_t index, const struct image_mapping *mapping,
                     struct err *err)
{
    _cleanup_free_ char *place = place_of(c, index), *root = str_printf("%s/root", place), *part = NULL;
    const char *id = json_str(point, "Image"), *subpath = json_str(point, "Subpath");
    _cleanup_close_ int tree = -EBADF;
    umount2(root, MNT_DETACH | UMOUNT_NOFOLLOW); /* of a run that a crash cut off */
    int r = file_remove_tree(place, err);
    if (r == 0)
        r = file_mkdirs(root, 0700, err);
    if (r == 0)
        r = open_image(c->engine, id, place, mapping, &tree, err);
    if (r < 0)
        return err_wrap(err, "mount image %.200s at %.200s", json_str(point, "Name"),
                        json_str(point, "Destination"));
    if (syscall(SYS_move_mount, tree, "", AT_FDCWD, root, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(err, errno, "mount image %.200s at %s", json_str(point, "Name"), root);
    json_set_str(point, "Source", root);
    if (*subpath && (r = volume__mount_part(c, root, subpath, index, &part, err)) == 0)
        json_set_str(point, "Part", part);
    return r;
}

int image_mounts__mount(struct container *c, json_t *doc, const struct image_mapping *mapping,
                        struct err *err)
{
    json_t *points = json_object_get(doc, "MountPoints"), *p;
    bool any = false;
    size_t i;
    json_array_foreach (points, i, p) {
        if (!str_eq(json_str(p, "Type"), "image"))
            continue;
        int r = mount_one(c, p, i, mapping, err);
        if (r < 0)
            return r; /* what is mounted goes with the run */
        any = true;
    }
    if (any)
        container__set_doc(c, json_deep_copy(doc));
    return 0;
}

void image_mounts__unmount(struct container *c, const json_t *points)
{
    size_t i;
    const json_t *p;
    json_array_foreach (points, i, p) {
        if (!str_eq(json_str(p, "Type"), "image"))
            continue;
        _cleanup_free_ char *place = place_of(c, i), *root = str_printf("%s/root", place);
        umount2(root, MNT_DETACH | UMOUNT_NOFOLLOW);
        file_remove_tree(place, NULL);
    }
}
