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
static json_t *container_config(const json_t *own)
{
    json_t *c =
        json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:n, s:n, s:s, s:n, s:s, s:n, s:n, s:n}",
                  "Hostname", "", "Domainname", "", "User", "", "AttachStdin", 0, "AttachStdout", 0,
                  "AttachStderr", 0, "Tty", 0, "OpenStdin", 0, "StdinOnce", 0, "Env", "Cmd", "Image", "",
                  "Volumes", "WorkingDir", "", "Entrypoint", "OnBuild", "Labels");
    must(c);
    if (json_is_object(own))
        json_object_update(c, (json_t *)own);
    return c;
}

/* Docker keeps with an image the config of the container that made it: its own, with the step as the command.
 * The step is the last of the history, which says it as one text. */
static json_t *maker_config(const json_t *image_config)
{
    const json_t *kept = json_object_get(image_config, "container_config");
    const json_t *steps = json_object_get(image_config, "history"), *word;
    const char *by = json_str(json_array_get(steps, json_array_size(steps) - 1), "created_by");
    const char *step = str_after(by, "/bin/sh -c ");
    if (json_is_object(kept) || !step)
        return container_config(kept);
    const json_t *own = json_object_get(image_config, "config"), *shell = json_object_get(own, "Shell");
    json_t *c = container_config(own), *command = json_array();
    const char *comment = str_after(step, "#(nop) ");
    size_t i;
    json_array_foreach (shell, i, word)
        json_array_append(command, (json_t *)word);
    if (!i) {
        json_array_append_new(command, json_string("/bin/sh"));
        json_array_append_new(command, json_string("-c"));
    }
    if (comment)
        json_array_append_new(command, json_string("#(nop) "));
    comment = comment && *comment == ' ' ? comment + 1 : comment;
    json_array_append_new(command, json_string(comment ? comment : step));
    json_object_set_new(c, "Cmd", command);
    return c;
}

/* Leaves out what is empty, as from 1.52 on. */
static void leave_out_empty(json_t *object, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(object, keys[i]);
        if (json_is_null(value) || (json_is_string(value) && !json_string_length(value)) ||
            (json_is_array(value) && !json_array_size(value)) ||
            (json_is_object(value) && !json_object_size(value)))
            json_object_del(object, keys[i]);
    }
}

/* From 1.50 on without what an image has not: those fields were there because of the form alone. */
static json_t *image_config(const json_t *own, int version)
{
    static const char *const own_fields[] = {"Cmd",     "Entrypoint", "Env",     "Labels",
                                             "OnBuild", "User",       "Volumes", "WorkingDir"};
    static const char *const of_containers[] = {
        "Hostname",  "Domainname", "AttachStdin", "AttachStdout",    "AttachStderr", "Tty",
        "OpenStdin", "StdinOnce",  "Image",       "NetworkDisabled", "MacAddress",   "StopTimeout"};
    json_t *c = container_config(own);
    for (size_t i = 0; i < ARRAY_SIZE(of_containers) && version >= 1050; i++)
        json_object_del(c, of_containers[i]);
    if (version >= 1052)
        leave_out_empty(c, own_fields, ARRAY_SIZE(own_fields));
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

/* The image's layers as overlayfs has them below a container; what only a container has is not there. */
static json_t *graph_driver(struct images *im, const struct image_info *info)
{
    _cleanup_strv_ char **dirs = NULL;
    json_t *data = json_object();
    if (image_layer_dirs(im, info, &dirs, NULL) == 0 && dirs) {
        json_set_str(data, "UpperDir", dirs[0]);
        _cleanup_free_ char *lower = strv_join(dirs + 1, ":");
        if (*lower)
            json_set_str(data, "LowerDir", lower);
    }
    return json_pack("{s:o, s:s}", "Data", data, "Name", "overlay2");
}

static void set_time(json_t *d, const char *key, int64_t ns)
{
    char text[TIME_RFC3339_BYTES];
    json_set_str(d, key, ns ? time_format_rfc3339(ns, text) : "0001-01-01T00:00:00Z");
}

static void set_size(json_t *d, const struct image_info *info, int version)
{
    json_object_set_new(d, "Size", json_integer(info->size_bytes));
    if (version < 1044)
        json_object_set_new(d, "VirtualSize", json_integer(info->size_bytes));
}

json_t *api__image_inspect(struct images *im, const struct image_info *info, int version)
{
    static const char *const of_builders[] = {"Parent", "Comment", "DockerVersion", "Author"};
    const json_t *config = info->config;
    json_t *d = json_object(), *metadata = json_object();
    json_set_str(d, "Id", info->id);
    json_object_set_new(d, "RepoTags", api__familiar_list(info->references));
    json_object_set_new(d, "RepoDigests", api__familiar_list(info->digests));
    json_set_str(d, "Parent", info->parent_id ? info->parent_id : "");
    json_object_set_new(d, "Comment", comment_of(config));
    if (info->created_ns || version < 1044)
        set_time(d, "Created", info->created_ns);
    if (version < 1045)
        json_object_set_new(d, "Container", text_or_empty(config, "container"));
    /* Gone in 1.45, too; docker-compose 1.29, which speaks the newest version a server has, looks into it
     * without asking whether it is there. */
    json_object_set_new(d, "ContainerConfig", maker_config(config));
    json_object_set_new(d, "DockerVersion", text_or_empty(config, "docker_version"));
    json_object_set_new(d, "Author", text_or_empty(config, "author"));
    json_object_set_new(d, "Config", image_config(json_object_get(config, "config"), version));
    json_object_set_new(d, "Architecture", text_or_empty(config, "architecture"));
    if (!str_empty(json_str(config, "variant")))
        json_object_set_new(d, "Variant", text_or_empty(config, "variant"));
    json_object_set_new(d, "Os", text_or_empty(config, "os"));
    if (!str_empty(json_str(config, "os.version")))
        json_object_set_new(d, "OsVersion", text_or_empty(config, "os.version"));
    set_size(d, info, version);
    json_object_set_new(d, "GraphDriver", graph_driver(im, info));
    json_object_set_new(d, "RootFS", root_fs(config));
    set_time(metadata, "LastTagTime", info->tagged_ns);
    json_object_set_new(d, "Metadata", metadata);
    if (version >= 1052)
        leave_out_empty(d, of_builders, ARRAY_SIZE(of_builders));
    return d;
}

/* Before 1.43 an image without any name was listed under the name <none>, and an empty list was null. */
static json_t *listed_names(char *const *names, const char *none, bool nameless, int version)
{
    if (version >= 1043 || (names && *names))
        return api__familiar_list(names);
    return nameless ? json_pack("[s]", none) : json_null();
}

json_t *api__image_summary(const struct image_info *info, char *const *tags, char *const *digests,
                           int version)
{
    json_t *labels = json_object_get(json_object_get(info->config, "config"), "Labels");
    bool nameless = !(tags && *tags) && !(digests && *digests);
    json_t *d = json_object();
    json_object_set_new(d, "Containers", json_integer(-1));
    json_object_set_new(d, "Created", json_integer(info->created_ns / NS_PER_S));
    json_set_str(d, "Id", info->id);
    json_object_set_new(d, "Labels", json_is_object(labels) ? json_incref(labels) : json_null());
    json_set_str(d, "ParentId", info->parent_id ? info->parent_id : "");
    json_object_set_new(d, "RepoDigests", listed_names(digests, "<none>@<none>", nameless, version));
    json_object_set_new(d, "RepoTags", listed_names(tags, "<none>:<none>", nameless, version));
    json_object_set_new(d, "SharedSize", json_integer(-1));
    set_size(d, info, version);
    return d;
}
