/* /drover/content: images from node to node, blob by blob; `drover image push` and `pull` with ssh://... are
 * its clients on both sides (image/receive.h). */
#include "api/api_priv.h"

#include "image/content.h"
#include "image/image_ref.h"
#include "image/receive.h"

/* --- the sending node --- */

int api_content_image(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *content;
    int r = image_content(a->images, http_param(q, "name"), &content, err);
    if (r == 0)
        http_reply_json(q, 200, content);
    return r;
}

int api_content_get(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_close_ int fd = -EBADF;
    int64_t size, offset = 0;
    int r = content_open(a->images, http_param(q, "digest"), &fd, &size, err);
    if (r == 0)
        r = api__query_i64(q, "offset", 0, size, &offset, err);
    if (r == 0)
        http_reply_file(q, 200, "application/octet-stream", fd, offset, size - offset);
    return r;
}

/* --- the receiving node --- */

int api_content_missing(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    json_t *blobs = NULL, *missing;
    int r = api__body(q, false, &body, err);
    if (r == 0)
        r = json_get_array(body, "", "Blobs", &blobs, err);
    if (r == 0)
        r = image_receive_missing(a->images, blobs, &missing, err);
    if (r == 0)
        http_reply_json(q, 200, missing);
    return r;
}

static ssize_t read_body(void *context, void *buffer, size_t n, struct err *err)
{
    return http_body_read(context, buffer, n, err);
}

int api_content_put(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int64_t offset = 0, size = -1, have;
    int r = api__query_i64(q, "offset", 0, INT64_MAX, &offset, err);
    if (r == 0)
        r = api__query_i64(q, "size", 0, INT64_MAX, &size, err);
    if (r == 0)
        r = image_receive_blob(a->images, http_param(q, "digest"), size, offset, read_body, q, &have, err);
    if (r == 0)
        http_reply_json(q, 200, json_pack("{s:I}", "Have", (json_int_t)have));
    return r;
}

int api_content_install(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_strv_ char **digests = NULL, **references = NULL;
    _cleanup_free_ char *id = NULL;
    const char *manifest = "";
    int r = api__body(q, false, &body, err);
    if (r == 0)
        r = json_get_string(body, "", "Manifest", &manifest, err);
    if (r == 0)
        r = json_get_strv(body, "", "Blobs", &digests, err);
    if (r == 0)
        r = json_get_strv(body, "", "References", &references, err);
    if (r == 0)
        r = image_receive_install(a->images, manifest, digests, references, &id, err);
    if (r < 0)
        return r;
    engine_image_event(a->engine, "load", id, id);
    http_reply_json(q, 201, json_pack("{s:s}", "Id", id));
    return 0;
}
