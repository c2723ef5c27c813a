/* GET /drover/images/{name}/tree: an image's files as a tar, for `drover build --output`. */
#include "api/api_priv.h"

#include "base/file.h"
#include "image/tar.h"

#include <unistd.h>

struct sending {
    struct http_request *request;
};

static int send_bytes(void *context, const void *bytes, size_t n, struct err *err)
{
    struct sending *s = context;
    if (!http_answered(s->request))
        http_stream_begin(s->request, 200, "application/x-tar");
    return http_stream_write(s->request, bytes, n, err);
}

int api_image_tree(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    struct image_info info;
    struct image_snapshot snapshot = {0};
    int r = image_get(a->images, http_param(q, "name"), &info, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *id = mem_strdup(info.id);
    image_info_done(&info);
    _cleanup_free_ char *dir = str_printf("%s/tmp/tree-XXXXXX", engine_root(a->engine));
    if (!mkdtemp(dir))
        return err_sys(err, errno, "make %s", dir);
    _cleanup_close_ int root = -EBADF;
    r = image_snapshot_create(a->images, id, dir, &snapshot, err);
    if (r == 0)
        r = image_snapshot_mount(a->images, &snapshot, true, &root, err);
    if (r == 0) {
        struct sending s = {.request = q};
        const struct tar_create create = {.root_fd = root, .path = "/", .epoch = -1};
        r = tar_create_stream(&create, send_bytes, &s, err);
    }
    root = close_fd(root);
    image_snapshot_done(&snapshot);
    file_remove_tree(dir, NULL);
    return r;
}
