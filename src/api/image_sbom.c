/* POST /drover/images/{name}/sbom: the bill of materials that the image's label drover.base.sbom names, a
 * file of the image, goes to the name's registry as a referrer of the image that was pushed there. */
#include "api/api_priv.h"

#include "base/digest.h"
#include "base/file.h"
#include "image/artifact.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SBOM_MAX_BYTES = 8 << 20 };

static int read_file(int root, const char *path, struct str *ret, struct err *err)
{
    struct stat st;
    _cleanup_close_ int fd = file_open_in_root(root, path, O_RDONLY | O_NONBLOCK, 0, err);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a regular file", path);
    return file_read_fd(fd, SBOM_MAX_BYTES, ret, err);
}

static int read_sbom(struct api *a, const struct image_info *info, struct str *ret, struct err *err)
{
    const json_t *config = json_object_get(info->config, "config");
    const char *path = json_str(json_object_get(config, "Labels"), "drover.base.sbom");
    if (!*path)
        return err_set(err, ERR_NOT_FOUND, "the image has no bill of materials (label drover.base.sbom)");
    struct image_snapshot snapshot = {0};
    _cleanup_free_ char *dir = str_printf("%s/tmp/sbom-XXXXXX", engine_root(a->engine));
    if (!mkdtemp(dir))
        return err_sys(err, errno, "make %s", dir);
    _cleanup_close_ int root = -EBADF;
    int r = image_snapshot_create(a->images, info->id, dir, &snapshot, err);
    if (r == 0)
        r = image_snapshot_mount(a->images, &snapshot, true, &root, err);
    if (r == 0)
        r = read_file(root, path, ret, err);
    root = close_fd(root);
    image_snapshot_done(&snapshot);
    file_remove_tree(dir, NULL);
    return r < 0 ? err_wrap(err, "bill of materials") : 0;
}

int api_image_sbom(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    struct image_info info;
    _cleanup_(api__auth_done) struct api_auth auth = {0};
    _cleanup_str_ struct str text = STR_INIT;
    char digest[DIGEST_BYTES];
    int r = api__auth_of_request(q, &auth, err);
    if (r == 0)
        r = image_get(a->images, http_param(q, "name"), &info, err);
    if (r < 0)
        return r;
    r = read_sbom(a, &info, &text, err);
    if (r == 0)
        r = artifact_attach(a->images, http_param(q, "name"), &auth.auth, info.manifest_digest,
                            "application/spdx+json", str_get(&text), digest, err);
    image_info_done(&info);
    if (r == 0)
        http_reply_json(q, 201, json_pack("{s:s}", "Digest", digest));
    return r;
}
