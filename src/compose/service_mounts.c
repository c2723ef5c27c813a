/* What a service sees of volumes and the host's files: volumes, tmpfs, secrets, configs. */
#include "compose/project_priv.h"

#include "base/file.h"
#include "base/json.h"

struct mounts {
    struct building *b;
    struct compose_service *service;
    json_t *binds, *mounts, *tmpfs;
    struct map targets; /* each once */
};

static void claim_target(struct mounts *m, const char *target, const struct yaml_node *at)
{
    if (*target != '/')
        problem_add(m->b->problems, at, "the target must be an absolute path, not \"%s\"", target);
    else if (map_has(&m->targets, target))
        problem_add(m->b->problems, at, "two mounts have the target %s", target);
    map_put(&m->targets, target, m);
}

/* A bind or a named volume whose options fit in "source:target:mode"; a colon in a name does not. */
static bool fits_bind(const struct yaml_node *v)
{
    const struct yaml_node *bind = yaml_get(v, "bind"), *volume = yaml_get(v, "volume");
    if (yaml_get(bind, "recursive") || yaml_get(volume, "subpath") || yaml_get(volume, "labels"))
        return false;
    bool made = !yaml_get(bind, "create_host_path") || node_bool(bind, "create_host_path");
    return made && *yaml_text(v, "source") && !strchr(yaml_text(v, "source"), ':') &&
           !strchr(yaml_text(v, "target"), ':');
}

static void add_bind(struct mounts *m, const struct yaml_node *v, const char *source)
{
    _cleanup_str_ struct str text = STR_INIT;
    const char *propagation = yaml_text(yaml_get(v, "bind"), "propagation");
    str_addf(&text, "%s:%s:%s", source, yaml_text(v, "target"), node_bool(v, "read_only") ? "ro" : "rw");
    if (node_bool(yaml_get(v, "volume"), "nocopy"))
        str_add(&text, ",nocopy");
    if (*propagation)
        str_addf(&text, ",%s", propagation);
    if (*yaml_text(yaml_get(v, "bind"), "selinux"))
        str_addf(&text, ",%s", yaml_text(yaml_get(v, "bind"), "selinux"));
    json_array_append_new(m->binds, json_string(str_get(&text)));
}

/* Takes the value. */
static void set_if_any(json_t *host, const char *name, json_t *value)
{
    if (json_array_size(value) || json_object_size(value))
        json_object_set(host, name, value);
    json_decref(value);
}

static json_t *bind_options(const struct yaml_node *bind)
{
    json_t *options = json_object();
    const char *propagation = yaml_text(bind, "propagation"), *recursive = yaml_text(bind, "recursive");
    if (*propagation)
        json_set_str(options, "Propagation", propagation);
    if (strcmp(recursive, "disabled") == 0)
        json_object_set_new(options, "NonRecursive", json_true());
    if (strcmp(recursive, "writable") == 0)
        json_object_set_new(options, "ReadOnlyNonRecursive", json_true());
    if (strcmp(recursive, "readonly") == 0)
        json_object_set_new(options, "ReadOnlyForceRecursive", json_true());
    if (bind && (!yaml_get(bind, "create_host_path") || node_bool(bind, "create_host_path")))
        json_object_set_new(options, "CreateMountpoint", json_true());
    return options;
}

static json_t *volume_options(const struct yaml_node *volume)
{
    json_t *options = json_object();
    if (node_bool(volume, "nocopy"))
        json_object_set_new(options, "NoCopy", json_true());
    if (*yaml_text(volume, "subpath"))
        json_set_str(options, "Subpath", yaml_text(volume, "subpath"));
    if (yaml_get(volume, "labels"))
        json_object_set_new(options, "Labels", node_dict(yaml_get(volume, "labels")));
    return options;
}

static void add_mount(struct mounts *m, const struct yaml_node *v, const char *type, const char *source)
{
    json_t *mount = json_pack("{s:s, s:s, s:b}", "Type", type, "Target", yaml_text(v, "target"), "ReadOnly",
                              node_bool(v, "read_only"));
    if (*source)
        json_set_str(mount, "Source", source);
    set_if_any(mount, "BindOptions", bind_options(yaml_get(v, "bind")));
    set_if_any(mount, "VolumeOptions", volume_options(yaml_get(v, "volume")));
    if (*yaml_text(yaml_get(v, "image"), "subpath"))
        json_object_set_new(mount, "ImageOptions",
                            json_pack("{s:s}", "Subpath", yaml_text(yaml_get(v, "image"), "subpath")));
    const struct yaml_node *tmpfs = yaml_get(v, "tmpfs");
    if (tmpfs) {
        json_t *options = json_object();
        if (yaml_get(tmpfs, "size"))
            json_object_set_new(options, "SizeBytes", json_integer(node_bytes(tmpfs, "size")));
        if (yaml_get(tmpfs, "mode"))
            json_object_set_new(options, "Mode", json_integer(strtol(yaml_text(tmpfs, "mode"), NULL, 8)));
        json_object_set_new(mount, "TmpfsOptions", options);
    }
    json_array_append_new(m->mounts, mount);
}

static void read_volume(struct mounts *m, const struct yaml_node *v)
{
    const char *type = yaml_text(v, "type"), *source = yaml_text(v, "source");
    struct compose_project *p = m->b->project;
    if (!*type || !*yaml_text(v, "target")) {
        problem_add(m->b->problems, v, "has no \"%s\"", *type ? "target" : "type");
        return;
    }
    claim_target(m, yaml_text(v, "target"), v);
    if (strcmp(type, "bind") == 0 && !*source) {
        problem_add(m->b->problems, v, "a bind has a \"source\"");
    } else if (strcmp(type, "tmpfs") == 0 && *source) {
        problem_add(m->b->problems, v, "a tmpfs has no \"source\"");
    } else if (strcmp(type, "volume") == 0 && *source) {
        const struct compose_resource *volume = resource_find(p->volumes, p->volume_count, source);
        if (!volume)
            problem_add(m->b->problems, v,
                        "refers to volume \"%s\", which is not defined under \"volumes:\"; for a directory "
                        "write ./%s",
                        source, source);
        source = volume ? volume->name : source;
    }
    if (strcmp(type, "image") == 0 && *source && !strv_has(m->service->image_mounts, source))
        strv_add(&m->service->image_mounts, source);
    if (fits_bind(v) && (strcmp(type, "bind") == 0 || strcmp(type, "volume") == 0))
        add_bind(m, v, source);
    else
        add_mount(m, v, type, source);
}

static void read_tmpfs(struct mounts *m, const struct compose_service *s)
{
    const struct yaml_node *list = yaml_get(s->node, "tmpfs");
    for (size_t i = 0; list && i < list->count; i++) {
        const char *text = list->items[i]->text, *colon = strchr(text, ':');
        _cleanup_free_ char *path = mem_strndup(text, colon ? (size_t)(colon - text) : strlen(text));
        claim_target(m, path, list->items[i]);
        json_set_str(m->tmpfs, path, colon ? colon + 1 : "");
    }
}

static int64_t read_id(struct mounts *m, const struct yaml_node *item, const char *key)
{
    int64_t id = 0;
    if (yaml_get(item, key) && parse_i64(yaml_text(item, key), 0, UINT32_MAX, &id, NULL) < 0)
        problem_add(m->b->problems, yaml_get(item, key), "must be a number, not \"%s\"",
                    yaml_text(item, key));
    return id;
}

static int read_mode(struct mounts *m, const struct yaml_node *item)
{
    const struct yaml_node *mode = yaml_get(item, "mode");
    char *end = NULL;
    const char *digits = mode && str_after(mode->text, "0o") ? mode->text + 2 : mode ? mode->text : "0444";
    long value = strtol(digits, &end, 8);
    if (end == digits || *end || value < 0 || value > 07777) {
        problem_add(m->b->problems, mode, "must be an octal mode such as 0440, not \"%s\"", mode->text);
        return 0444;
    }
    return (int)value;
}

bool grant_source(struct building *b, const struct yaml_node *definition, struct grant_source *ret)
{
    static const char *const sources[] = {"file", "environment", "content"};
    const struct yaml_node *from = NULL;
    size_t kind = 0, given = 0;
    for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
        if (yaml_get(definition, sources[i])) {
            from = yaml_get(definition, sources[i]);
            kind = i;
            given++;
        }
    if (node_bool(definition, "external")) {
        if (given)
            problem_add(b->problems, definition, "is external, and so has no content here");
        else if (b->check_files && !b->stack)
            problem_add(b->problems, yaml_get(definition, "external"),
                        "there is no store of secrets and configs on one machine; use file:, environment: or "
                        "content:, or make it a swarm (docker swarm init)");
        return false;
    }
    if (given != 1) {
        problem_add(b->problems, definition, "needs one of \"file\", \"environment\" and \"content\"");
        return false;
    }
    if (kind == 0 && b->check_files && !file_exists(from->text))
        problem_add(b->problems, from, "there is no file %s", from->text);
    const char *value = kind == 1 ? map_get(b->environ, from->text) : from->text;
    if (kind == 1 && !value)
        problem_add(b->problems, from, "the environment variable %s is not set", from->text);
    *ret = (struct grant_source){.file = kind == 0 ? from->text : NULL,
                                 .content = kind == 0 ? NULL : yaml_strdup(b->arena, value ? value : "")};
    return true;
}

/* A file is bound read-only; what has an owner or a mode of its own, or is no file, is copied in. */
static void read_grant(struct mounts *m, struct compose_service *s, const struct yaml_node *item,
                       const struct yaml_node *definition, const char *path)
{
    struct grant_source from;
    if (!grant_source(m->b, definition, &from))
        return;
    if (from.file && !yaml_get(item, "uid") && !yaml_get(item, "gid") && !yaml_get(item, "mode")) {
        json_array_append_new(m->mounts, json_pack("{s:s, s:s, s:s, s:b}", "Type", "bind", "Source",
                                                   from.file, "Target", path, "ReadOnly", 1));
        return;
    }
    s->copies[s->copy_count++] = (struct compose_copy){.target = path,
                                                       .file = from.file,
                                                       .content = from.content,
                                                       .uid = read_id(m, item, "uid"),
                                                       .gid = read_id(m, item, "gid"),
                                                       .mode = read_mode(m, item)};
}

static void read_grants(struct mounts *m, struct compose_service *s, const char *key, const char *directory)
{
    const struct yaml_node *list = yaml_get(s->node, key), *defined = yaml_get(m->b->project->root, key);
    for (size_t i = 0; list && i < list->count; i++) {
        const struct yaml_node *item = list->items[i];
        const char *source = yaml_text(item, "source"), *target = yaml_text(item, "target");
        const struct yaml_node *definition = yaml_get(defined, source);
        if (!definition) {
            problem_add(m->b->problems, item, "refers to \"%s\", which is not defined under \"%s:\"", source,
                        key);
            continue;
        }
        const char *name = *target ? target : source;
        const char *path = *name == '/' ? name : yaml_printf(m->b->arena, "%s/%s", directory, name);
        claim_target(m, path, item);
        read_grant(m, s, item, definition, path);
    }
}

void service_read_mounts(struct building *b, struct compose_service *s, json_t *host)
{
    struct mounts m = {b, s, json_array(), json_array(), json_object(), MAP_INIT(NULL)};
    const struct yaml_node *volumes = yaml_get(s->node, "volumes");
    for (size_t i = 0; volumes && i < volumes->count; i++)
        read_volume(&m, volumes->items[i]);
    read_tmpfs(&m, s);
    const struct yaml_node *secrets = yaml_get(s->node, "secrets"), *configs = yaml_get(s->node, "configs");
    size_t most = (secrets ? secrets->count : 0) + (configs ? configs->count : 0) + 1;
    s->copies = yaml_alloc(b->arena, most * sizeof(*s->copies));
    read_grants(&m, s, "secrets", "/run/secrets");
    read_grants(&m, s, "configs", "");
    if (node_bool(s->node, "use_api_socket")) {
        claim_target(&m, "/var/run/docker.sock", yaml_get(s->node, "use_api_socket"));
        json_array_append_new(m.binds,
                              json_string(yaml_printf(b->arena, "%s:/var/run/docker.sock", b->api_socket)));
    }
    set_if_any(host, "Binds", m.binds);
    set_if_any(host, "Mounts", m.mounts);
    set_if_any(host, "Tmpfs", m.tmpfs);
    map_done(&m.targets);
}
