/* drover config: what the Compose files come to, or a part of it. */
#include "base/file.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/digest.h"
#include "cli/project.h"
#include "cli/verbs.h"
#include "compose/interpolate.h"
#include "compose/render.h"
#include "compose/yaml.h"

struct config_options {
    struct project_options project;
    bool quiet, services, volumes, networks, images, profiles, models, environment, variables, no_interpolate,
        no_normalize, no_paths, no_env, no_consistency, digests, lock_digests;
    const char *format, *output, *hash;
};

/* --- Lists of names --- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts, drops doubles, frees. */
static void add_sorted(struct str *out, char **list)
{
    size_t n = strv_len(list);
    if (n)
        qsort(list, n, sizeof(*list), by_text);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(list[i], list[i - 1]) != 0)
            str_addf(out, "%s\n", list[i]);
    strv_free(list);
}

static char **resource_keys(const struct compose_resource *list, size_t count)
{
    char **keys = NULL;
    for (size_t i = 0; i < count; i++)
        if (list[i].used)
            strv_add(&keys, list[i].key);
    return keys;
}

static char **all_profiles(const struct compose_project *p)
{
    char **names = NULL;
    for (size_t i = 0; i < p->service_count; i++) {
        const struct yaml_node *list = yaml_get(p->services[i].node, "profiles");
        for (size_t j = 0; list && j < list->count; j++)
            if (list->items[j]->text)
                strv_add(&names, list->items[j]->text);
    }
    return names;
}

static void add_names(const struct config_options *o, const struct compose_project *p, struct str *out)
{
    char **names = NULL;
    for (size_t i = 0; i < p->service_count; i++)
        if (p->services[i].active && (o->services || o->images))
            strv_add(&names, o->services ? p->services[i].name : p->services[i].image);
    if (o->volumes)
        names = resource_keys(p->volumes, p->volume_count);
    else if (o->networks)
        names = resource_keys(p->networks, p->network_count);
    else if (o->profiles)
        names = all_profiles(p);
    add_sorted(out, names);
}

static int add_hashes(const struct compose_project *p, const char *which, struct str *out, struct err *err)
{
    _cleanup_strv_ char **names = strcmp(which, "*") == 0 ? NULL : strv_split(which, ',');
    STRV_FOREACH (name, names)
        if (!compose_find_service(p, *name))
            return err_set(err, ERR_NOT_FOUND, "no such service: %s", *name);
    char **lines = NULL;
    for (size_t i = 0; i < p->service_count; i++)
        if (p->services[i].active && (!names || strv_has(names, p->services[i].name)))
            strv_take(&lines, str_printf("%s %s", p->services[i].name, p->services[i].hash));
    add_sorted(out, lines);
    return 0;
}

/* --- Variables --- */

struct use {
    char *default_value, *alternate;
    bool required;
};

static void use_free(void *pointer)
{
    struct use *u = pointer;
    free(u->default_value);
    free(u->alternate);
    free(u);
}

static void note_use(void *context, const struct variable_use *use)
{
    struct map *seen = context;
    struct use *u = map_get(seen, use->name);
    if (!u)
        map_put(seen, use->name, u = NEW(struct use));
    u->required |= use->required;
    if (use->default_value && !u->default_value)
        u->default_value = mem_strdup(use->default_value);
    if (use->alternate && !u->alternate)
        u->alternate = mem_strdup(use->alternate);
}

static void print_variables(const struct map *seen)
{
    struct table t = {.columns = 4};
    struct map_entry *e;
    char **names = NULL;
    for (size_t i = 0; (e = map_next(seen, &i));)
        strv_add(&names, e->key);
    if (names)
        qsort(names, strv_len(names), sizeof(*names), by_text);
    table_row(&t, "NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE", NULL);
    STRV_FOREACH (name, names) {
        const struct use *u = map_get(seen, *name);
        table_row(&t, *name, u->required ? "true" : "false", u->default_value ? u->default_value : "",
                  u->alternate ? u->alternate : "", NULL);
    }
    table_print(&t);
    strv_free(names);
}

static int add_environment(const struct compose_project *p, const struct config_options *o, struct str *out,
                           struct err *err)
{
    struct map env = MAP_INIT(free);
    struct map_entry *e;
    char **lines = NULL;
    const struct compose_options options = {.env_files = o->project.env_files};
    int r = compose_environment(&options, p->dir, &env, err);
    for (size_t i = 0; (e = map_next(&env, &i));)
        strv_take(&lines, str_printf("%s=%s", e->key, (const char *)e->value));
    add_sorted(out, lines);
    map_done(&env);
    return r;
}

/* --- Digests --- */

/* image:tag becomes image:tag@sha256:...; what has no registry's answer is an error. */
static int pin(struct compose_project *p, struct yaml_node *service, struct err *err)
{
    struct yaml_node *image = yaml_get(service, "image");
    if (!image || strchr(image->text, '@'))
        return 0;
    _cleanup_free_ char *pinned = NULL;
    int r = digest_resolve(image->text, &pinned, err);
    if (r == 0)
        yaml_put(p->arena, service, NULL, "image",
                 yaml_new_text(p->arena, yaml_strdup(p->arena, pinned), image));
    return r;
}

static int pin_all(struct compose_project *p, struct yaml_node *root, bool only, struct err *err)
{
    struct yaml_node *services = yaml_get(root, "services");
    int r = 0;
    for (size_t i = 0; r == 0 && services && i < services->count; i++) {
        struct yaml_node *service = services->pairs[i].value, *lone = yaml_new(p->arena, YAML_MAP, service);
        r = pin(p, service, err);
        if (!only)
            continue;
        if (yaml_get(service, "image"))
            yaml_put(p->arena, lone, NULL, "image", yaml_get(service, "image"));
        services->pairs[i].value = lone;
    }
    for (size_t i = root->count; only && i-- > 0;)
        if (root->pairs[i].value != services)
            yaml_remove(root, root->pairs[i].key);
    return r;
}

/* --- The document --- */

/* Read again, a dollar sign is to stay one. */
static void add_escaped(struct str *out, const char *text)
{
    for (; *text; text++)
        str_add(out, *text == '$' ? "$$" : (const char[]){*text, '\0'});
}

static int add_document(const struct config_options *o, struct compose_project *p, struct str *out,
                        struct err *err)
{
    const struct render_options options = {.no_normalize = o->no_normalize,
                                           .no_env_resolution = o->no_env,
                                           .no_paths = o->no_paths,
                                           .json = str_eq(o->format, "json")};
    struct yaml_node *root = compose_render(p, &options);
    _cleanup_str_ struct str text = STR_INIT;
    int r = o->digests || o->lock_digests ? pin_all(p, root, o->lock_digests, err) : 0;
    if (r < 0)
        return r;
    if (options.json) {
        render_format_json(root, 2, &text);
    } else {
        yaml_format(root, &text);
    }
    if (o->no_interpolate)
        str_add(out, str_get(&text));
    else
        add_escaped(out, str_get(&text));
    return 0;
}

static int make(const struct config_options *o, struct compose_project *p, struct str *out, struct err *err)
{
    if (o->models)
        return 0; /* the files can have none */
    if (o->services || o->volumes || o->networks || o->images || o->profiles) {
        add_names(o, p, out);
        return 0;
    }
    if (o->hash)
        return add_hashes(p, o->hash, out, err);
    if (o->environment)
        return add_environment(p, o, out, err);
    return add_document(o, p, out, err);
}

static int config(const struct config_options *o, char **services)
{
    _cleanup_compose_ struct compose_project *p = NULL;
    _cleanup_str_ struct str out = STR_INIT;
    struct map seen = MAP_INIT(use_free);
    struct err err;
    struct project_load_options load = {.services = services, .note_use = note_use, .context = &seen};
    load.no_interpolate = o->no_interpolate;
    int status = project_load_with(&o->project, &load, &p);
    if (status == 0 && o->variables && !o->quiet)
        print_variables(&seen);
    map_done(&seen);
    if (status || o->quiet || o->variables)
        return status;
    int r = make(o, p, &out, &err);
    if (r == 0 && o->output)
        r = file_replace(o->output, out.data, out.len, 0644, false, &err);
    else if (r == 0)
        fwrite(str_get(&out), 1, out.len, stdout);
    return r < 0 ? cli_fail(&err) : 0;
}

int cli_config(int argc, char **argv)
{
    struct config_options o = {0};
    const struct cli_option options[] = {
        {'q', "quiet", CLI_FLAG, &o.quiet, NULL, "Only check"},
        {0, "format", CLI_TEXT, &o.format, "FORMAT", "yaml (the default) or json"},
        {'o', "output", CLI_TEXT, &o.output, "FILE", "Write to a file"},
        {0, "services", CLI_FLAG, &o.services, NULL, "Only the names of the services"},
        {0, "volumes", CLI_FLAG, &o.volumes, NULL, "Only the names of the volumes"},
        {0, "networks", CLI_FLAG, &o.networks, NULL, "Only the names of the networks"},
        {0, "images", CLI_FLAG, &o.images, NULL, "Only the names of the images"},
        {0, "profiles", CLI_FLAG, &o.profiles, NULL, "Only the names of the profiles"},
        {0, "models", CLI_FLAG, &o.models, NULL, "Only the names of the models: none, they are refused"},
        {0, "hash", CLI_TEXT, &o.hash, "SERVICES", "Digests of services, comma-separated; \"*\" for all"},
        {0, "environment", CLI_FLAG, &o.environment, NULL, "The variables that values are filled in from"},
        {0, "variables", CLI_FLAG, &o.variables, NULL,
         "The variables that the files use, with their defaults"},
        {0, "no-interpolate", CLI_FLAG, &o.no_interpolate, NULL, "Leave variables as they are written"},
        {0, "no-normalize", CLI_FLAG, &o.no_normalize, NULL, "Without defaults that the files do not say"},
        {0, "no-path-resolution", CLI_FLAG, &o.no_paths, NULL, "Leave relative paths as they are"},
        {0, "no-env-resolution", CLI_FLAG, &o.no_env, NULL, "Leave env_file, instead of what is in it"},
        {0, "no-consistency", CLI_FLAG, &o.no_consistency, NULL,
         "Taken for docker compose's sake: the files are always checked"},
        {0, "resolve-image-digests", CLI_FLAG, &o.digests, NULL,
         "Pin images to the digests of their registries"},
        {0, "lock-image-digests", CLI_FLAG, &o.lock_digests, NULL, "Print a file that only pins the images"},
        PROJECT_OPTIONS(o.project),
        {0},
    };
    const struct cli_command command = {"config [OPTIONS] [SERVICE...]",
                                        "Checks the Compose files and prints what they come to: merged, with "
                                        "variables filled in, in canonical form.",
                                        options,
                                        false,
                                        0,
                                        -1};
    char **services;
    int status = cli_parse(&command, argc, argv, &services);
    if (status < 0 && o.format && strcmp(o.format, "yaml") != 0 && strcmp(o.format, "json") != 0) {
        fprintf(stderr, "drover config: --format must be yaml or json, not \"%s\"\n", o.format);
        status = 2;
    }
    if (status < 0)
        status = config(&o, services);
    project_options_done(&o.project);
    return status;
}
