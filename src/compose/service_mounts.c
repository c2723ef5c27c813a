/* What a service sees of volumes and the host's files: volumes, tmpfs, secrets, configs. */
#include "compose/project_priv.h"

#include "base/file.h"
#include "base/json.h"

struct mounts {
    struct building *b;
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
    const struct yaml_node *bind = yaml_get(v, "bind");
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
    json_array_append_new(m->binds, json_string(str_get(&text)));
}

static void add_mount(struct mounts *m, const struct yaml_node *v, const char *type, const char *source)
{
    json_t *mount = json_pack("{s:s, s:s, s:b}", "Type", type, "Target", yaml_text(v, "target"), "ReadOnly",
                              node_bool(v, "read_only"));
    if (*source)
        json_set_str(mount, "Source", source);
    const char *propagation = yaml_text(yaml_get(v, "bind"), "propagation");
    if (*propagation)
        json_object_set_new(mount, "BindOptions", json_pack("{s:s}", "Propagation", propagation));
    if (node_bool(yaml_get(v, "volume"), "nocopy"))
        json_object_set_new(mount, "VolumeOptions", json_pack("{s:b}", "NoCopy", 1));
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
    if (fits_bind(v) && strcmp(type, "tmpfs") != 0)
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

/* Secrets and configs are files, bound read-only. */
static void read_grants(struct mounts *m, const struct compose_service *s, const char *key,
                        const char *directory)
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
        if (!*yaml_text(definition, "file")) {
            problem_add(m->b->problems, definition, "has no \"file\"");
            continue;
        }
        const struct yaml_node *file = yaml_get(definition, "file");
        if (m->b->check_files && !file_exists(file->text))
            problem_add(m->b->problems, file, "there is no file %s", file->text);
        const char *name = *target ? target : source;
        const char *path = *name == '/' ? name : yaml_printf(m->b->arena, "%s/%s", directory, name);
        claim_target(m, path, item);
        json_array_append_new(m->mounts,
                              json_pack("{s:s, s:s, s:s, s:b}", "Type", "bind", "Source",
                                        yaml_text(definition, "file"), "Target", path, "ReadOnly", 1));
    }
}

static void set_if_any(json_t *host, const char *name, json_t *value)
{
    if (json_array_size(value) || json_object_size(value))
        json_object_set(host, name, value);
    json_decref(value);
}

void service_read_mounts(struct building *b, struct compose_service *s, json_t *host)
{
    struct mounts m = {b, json_array(), json_array(), json_object(), MAP_INIT(NULL)};
    const struct yaml_node *volumes = yaml_get(s->node, "volumes");
    for (size_t i = 0; volumes && i < volumes->count; i++)
        read_volume(&m, volumes->items[i]);
    read_tmpfs(&m, s);
    read_grants(&m, s, "secrets", "/run/secrets");
    read_grants(&m, s, "configs", "");
    set_if_any(host, "Binds", m.binds);
    set_if_any(host, "Mounts", m.mounts);
    set_if_any(host, "Tmpfs", m.tmpfs);
    map_done(&m.targets);
}
