/* /drover/index?names=ID,ID&name=NAME: images for several platforms as one, for `drover build --platform
 * A,B`. GET: as an OCI layout in a tar; POST: to the registry of the name (without one: to nowhere), and the
 * index's {"Digest"}. With tag=NAME besides, a name of one of them stands for all when it is pushed. */
#include "api/api_priv.h"

struct saving {
    struct api *api;
    char **ids;
    const char *name;
};

static int read_ids(struct http_request *q, char ***ret, struct err *err)
{
    const char *text = http_query(q, "names");
    _cleanup_strv_ char **parts = str_empty(text) ? NULL : strv_split(text, ',');
    if (!parts)
        return err_set(err, ERR_INVALID, "no images were named: query parameter \"names\"");
    *ret = take_ptr(parts);
    return 0;
}

static int save_to(void *context, int fd, struct err *err)
{
    const struct saving *s = context;
    return image_index_save(s->api->images, s->ids, s->name, fd, err);
}

int api_index_get(struct http_request *q, void *context, struct err *err)
{
    _cleanup_strv_ char **ids = NULL;
    struct saving s = {.api = context, .name = http_query(q, "name")};
    int r = read_ids(q, &ids, err);
    s.ids = ids;
    return r < 0 ? r : api__stream_out(q, "application/x-tar", save_to, &s, err);
}

int api_index_push(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    struct api_auth auth = {0};
    _cleanup_strv_ char **ids = NULL;
    _cleanup_free_ char *digest = NULL;
    int64_t size = 0;
    const char *name = http_query(q, "name"), *tag = http_query(q, "tag");
    int r = read_ids(q, &ids, err);
    if (r == 0 && !str_empty(tag))
        r = image_index_keep(a->images, ids, tag, err);
    if (r == 0)
        r = api__auth_of_request(q, &auth, err);
    if (r == 0)
        r = str_empty(name) ? image_index_digest(a->images, ids, &digest, err)
                            : image_index_push(a->images, ids, name, &auth.auth, &digest, &size, err);
    api__auth_done(&auth);
    if (r == 0)
        http_reply_json(q, 200, json_pack("{s:s}", "Digest", digest));
    return r;
}
