#include "api/api_priv.h"

#include "base/timeutil.h"
#include "image/image_ref.h"

json_t *api__familiar_list(char *const *references)
{
    json_t *list = json_array();
    for (char *const *r = references; r && *r; r++) {
        _cleanup_free_ char *text = image_ref_familiar_text(*r);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

/* Clients compare these with null or walk them, so every field of Docker's form is there. */
static json_t *container_config(const json_t *image_config)
{
    json_t *c =
        json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:[], s:n, s:s, s:n, s:s, s:n, s:n, s:n}",
                  "Hostname", "", "Domainname", "", "User", "", "AttachStdin", 0, "AttachStdout", 0,
                  "AttachStderr", 0, "Tty", 0, "OpenStdin", 0, "StdinOnce", 0, "Env", "Cmd", "Image", "",
                  "Volumes", "WorkingDir", "", "Entrypoint", "OnBuild", "Labels");
    must(c);
    json_t *own = json_object_get(image_config, "config");
    if (json_is_object(own))
        json_object_update(c, own);
    return c;
}

static json_t *text_or_empty(const json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);
    return json_is_string(v) ? json_incref(v) : json_string("");
}

static json_t *root_fs(const json_t *image_config)
{
    json_t *ids = json_object_get(json_object_get(image_config, "rootfs"), "diff_ids");
    json_t *fs = json_pack("{s:s}", "Type", "layers");
    if (json_array_size(ids) > 0)
        json_object_set(fs, "Layers", ids);
    return fs;
}

/* An image without one of its own has that of its last step. */
static json_t *comment_of(const json_t *image_config)
{
    json_t *steps = json_object_get(image_config, "history");
    const json_t *last = json_array_get(steps, json_array_size(steps) - 1);
    return text_or_empty(str_empty(json_str(image_config, "comment")) && last ? last : image_config,
                         "comment");
}

json_t *api__image_inspect(const struct image_info *info, int version)
{
    char created[TIME_RFC3339_BYTES];
    json_t *d = json_object();
    json_set_str(d, "Id", info->id);
    json_object_set_new(d, "RepoTags", api__familiar_list(info->references));
    json_object_set_new(d, "RepoDigests", api__familiar_list(info->digests));
    json_set_str(d, "Parent", info->parent_id ? info->parent_id : "");
    json_object_set_new(d, "Comment", comment_of(info->config));
    json_set_str(d, "Created", time_format_rfc3339(info->created_ns, created));
    if (version < 1044) {
        json_set_str(d, "Container", "");
        json_t *none = container_config(NULL);
        json_object_set_new(d, "ContainerConfig", none);
    }
    json_set_str(d, "DockerVersion", "");
    json_object_set_new(d, "Author", text_or_empty(info->config, "author"));
    json_object_set_new(d, "Config", container_config(info->config));
    json_object_set_new(d, "Architecture", text_or_empty(info->config, "architecture"));
    if (!str_empty(json_str(info->config, "variant")))
        json_object_set_new(d, "Variant", text_or_empty(info->config, "variant"));
    json_object_set_new(d, "Os", text_or_empty(info->config, "os"));
    json_object_set_new(d, "Size", json_integer(info->size_bytes));
    json_object_set_new(d, "VirtualSize", json_integer(info->size_bytes));
    json_object_set_new(d, "GraphDriver", json_pack("{s:n, s:s}", "Data", "Name", "overlay2"));
    json_object_set_new(d, "RootFS", root_fs(info->config));
    json_object_set_new(d, "Metadata", json_pack("{s:s}", "LastTagTime", "0001-01-01T00:00:00Z"));
    return d;
}

/* Before 1.43 an image without a name was listed under the name <none>. */
static json_t *listed_names(char *const *references, const char *none, int version)
{
    json_t *list = api__familiar_list(references);
    if (version < 1043 && json_array_size(list) == 0)
        json_array_append_new(list, json_string(none));
    return list;
}

json_t *api__image_summary(const struct image_info *info, int version)
{
    json_t *labels = json_object_get(json_object_get(info->config, "config"), "Labels");
    bool named = info->references && info->references[0];
    json_t *d = json_object();
    json_object_set_new(d, "Containers", json_integer(-1));
    json_object_set_new(d, "Created", json_integer(info->created_ns / NS_PER_S));
    json_set_str(d, "Id", info->id);
    json_object_set_new(d, "Labels", json_is_object(labels) ? json_incref(labels) : json_null());
    json_set_str(d, "ParentId", info->parent_id ? info->parent_id : "");
    json_object_set_new(d, "RepoDigests",
                        named ? api__familiar_list(info->digests)
                              : listed_names(info->digests, "<none>@<none>", version));
    json_object_set_new(d, "RepoTags", listed_names(info->references, "<none>:<none>", version));
    json_object_set_new(d, "SharedSize", json_integer(-1));
    json_object_set_new(d, "Size", json_integer(info->size_bytes));
    json_object_set_new(d, "VirtualSize", json_integer(info->size_bytes));
    return d;
}
