/* What containers take of this machine, for who places others on the cluster as one engine. */
#include "api/api_priv.h"

int api_occupied(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *image = http_query(q, "image"), *network = http_query(q, "network");
    struct image_info info = {0};
    json_t *net = NULL;
    bool has_image = image && image_get(engine_images(a->engine), image, &info, NULL) == 0;
    bool has_network = network && engine_network_inspect(a->engine, network, &net, &(struct err){0}) == 0;
    _cleanup_strv_ char **names = http_query_all(q, "volume");
    json_t *volumes = json_array();
    STRV_FOREACH (name, names) {
        json_t *volume = NULL;
        if (engine_volume_inspect(a->engine, *name, &volume, &(struct err){0}) == 0)
            json_array_append_new(volumes, json_string(*name));
        json_decref(volume);
    }
    json_t *out = json_pack("{s:o, s:b, s:b, s:o}", "Containers", engine_occupied(a->engine), "Image",
                            (int)has_image, "Network", (int)has_network, "Volumes", volumes);
    (void)err;
    must(out);
    image_info_done(&info);
    json_decref(net);
    http_reply_json(q, 200, out);
    return 0;
}
