#include "cli/project.h"

#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"

/* --- Loading --- */

/* What was said before the verb. */
static struct project_options global;
static const char *global_progress, *global_ansi;

const struct cli_option project_global_options[] = {
    PROJECT_OPTIONS(global),
    {0, "ansi", CLI_TEXT, &global_ansi, "WHEN", "Colours: auto, always or never"},
    {0, "progress", CLI_TEXT, &global_progress, "HOW", "auto, tty, plain or quiet"},
    {0},
};

struct project_manner project_manner;

size_t project_at_once(size_t most)
{
    const char *environment = getenv("COMPOSE_PARALLEL_LIMIT");
    int64_t limit = project_manner.parallel;
    if (!limit && environment && parse_i64(environment, -1, INT32_MAX, &limit, NULL) < 0)
        limit = 0;
    return limit < 1 ? most : MIN((size_t)limit, most);
}

static bool compatible(void)
{
    bool on = false;
    const char *environment = getenv("COMPOSE_COMPATIBILITY");
    return project_manner.compatibility ||
           (!str_empty(environment) && parse_bool(environment, &on, NULL) == 0 && on);
}

const char *project_given_name(const struct project_options *o)
{
    const char *environment = getenv("COMPOSE_PROJECT_NAME");
    const char *name = o->name ? o->name : global.name ? global.name : environment;
    return str_empty(name) ? NULL : name;
}

static struct compose_options compose_options_of(const struct project_options *o)
{
    const char *socket = NULL;
    struct err ignored; /* said when the server is called */
    cli_socket(&socket, &ignored);
    if (str_eq(global_ansi, "never"))
        setenv("NO_COLOR", "1", 1);
    if (global_progress)
        progress_set_style(global_progress);
    return (struct compose_options){.files = o->files ? o->files : global.files,
                                    .name = o->name ? o->name : global.name,
                                    .dir = o->dir ? o->dir : global.dir,
                                    .env_files = o->env_files ? o->env_files : global.env_files,
                                    .profiles = o->profiles ? o->profiles : global.profiles,
                                    .compatibility = compatible(),
                                    .api_socket = socket};
}

static int load(const struct compose_options *options, bool as_stack, struct compose_project **ret)
{
    _cleanup_str_ struct str problems = STR_INIT;
    struct err err;
    int r = compose_load(options, ret, &problems, &err);
    if (r < 0 && !problems.len)
        return cli_fail(&err);
    _cleanup_strv_ char **lines = strv_split(str_get(&problems), '\n');
    STRV_FOREACH (line, lines)
        if (**line && !(r == 0 && as_stack && strstr(*line, ".deploy.")))
            fprintf(stderr, "drover: %s%s\n", r < 0 ? "" : "note: ", *line);
    if (r == 0)
        return 0;
    return err_exit_code(r);
}

int project_load_with(const struct project_options *o, const struct project_load_options *how,
                      struct compose_project **ret)
{
    struct compose_options options = compose_options_of(o);
    options.services = how->services;
    options.no_deps = how->no_deps;
    options.check_files = how->to_run;
    options.stack = how->as_stack;
    options.no_interpolate = how->no_interpolate;
    options.variable = how->note_use;
    options.context = how->context;
    return load(&options, how->as_stack, ret);
}

int project_load(const struct project_options *o, char *const *services, bool no_deps,
                 struct compose_project **ret)
{
    const struct project_load_options how = {.services = services, .no_deps = no_deps};
    return project_load_with(o, &how, ret);
}

bool project_present(const struct project_options *o)
{
    const struct compose_options options = compose_options_of(o);
    return compose_present(&options);
}

void project_options_done(struct project_options *o)
{
    o->files = strv_free(o->files);
    o->env_files = strv_free(o->env_files);
    o->profiles = strv_free(o->profiles);
}

/* --- Observing --- */

static int compare_names(const void *a, const void *b)
{
    return strverscmp(json_string_value(json_array_get(json_object_get(*(json_t *const *)a, "Names"), 0)),
                      json_string_value(json_array_get(json_object_get(*(json_t *const *)b, "Names"), 0)));
}

/* By name, web-2 before web-10; those without a name are left out. */
static json_t *sorted(const json_t *list)
{
    size_t n = 0, i;
    json_t *item, *result = json_array();
    _cleanup_free_ json_t **items = NEW_N(json_t *, json_array_size(list) + 1);
    json_array_foreach ((json_t *)list, i, item)
        if (json_is_string(json_array_get(json_object_get(item, "Names"), 0)))
            items[n++] = item;
    qsort(items, n, sizeof(*items), compare_names);
    for (i = 0; i < n; i++)
        json_array_append(result, items[i]);
    return result;
}

int project_containers(const char *project, const char *service, bool all, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *labels = json_array(), *filters = NULL, *list = NULL;
    _cleanup_free_ char *by_project = str_printf(COMPOSE_LABEL_PROJECT "=%s", project);
    json_array_append_new(labels, json_string(by_project));
    if (service) {
        _cleanup_free_ char *by_service = str_printf(COMPOSE_LABEL_SERVICE "=%s", service);
        json_array_append_new(labels, json_string(by_service));
    }
    filters = json_pack("{s:O}", "label", labels);
    _cleanup_free_ char *text = cli_escape_json(filters);
    int r = cli_get(&list, err, "/containers/json?all=%d&filters=%s", all, text);
    if (r < 0)
        return r;
    *ret = sorted(list);
    return 0;
}

static int observe_image(const char *name, struct project_world *w, struct err *err)
{
    _cleanup_json_ json_t *image = NULL;
    _cleanup_free_ char *escaped = cli_escape(name);
    int64_t fetched = 0;
    int r =
        json_object_get(w->images, name) ? -ERR_NOT_FOUND : cli_get(&image, err, "/images/%s/json", escaped);
    if (r < 0)
        return r == -ERR_NOT_FOUND ? 0 : r;
    json_set_str(w->images, name, json_str(image, "Id"));
    time_parse_rfc3339(json_str(json_object_get(image, "Metadata"), "LastTagTime"), &fetched, NULL);
    json_object_set_new(w->fetched, name, json_integer(fetched));
    return 0;
}

static int observe_images(const struct compose_project *p, struct project_world *w, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->service_count; i++) {
        const struct compose_service *s = &p->services[i];
        /* What is not active may be what a build stands on. */
        if (s->active || s->has_build)
            r = observe_image(s->image, w, err);
        for (char **image = s->active ? s->image_mounts : NULL; r == 0 && image && *image; image++)
            r = observe_image(*image, w, err);
    }
    return r;
}

int project_observe(const struct compose_project *p, struct project_world *ret, struct err *err)
{
    _cleanup_json_ json_t *volumes = NULL;
    struct project_world w = {.images = json_object(), .fetched = json_object()};
    int r = project_containers(p->name, NULL, true, &w.containers, err);
    if (r == 0)
        r = cli_get(&w.networks, err, "/networks");
    if (r == 0)
        r = cli_get(&volumes, err, "/volumes");
    if (r == 0) {
        w.volumes = json_incref(json_object_get(volumes, "Volumes"));
        r = observe_images(p, &w, err);
    }
    if (r < 0) {
        project_world_done(&w);
        return r;
    }
    project_world_done(ret);
    *ret = w;
    return 0;
}

void project_world_done(struct project_world *w)
{
    json_decref(w->containers);
    json_decref(w->networks);
    json_decref(w->volumes);
    json_decref(w->images);
    json_decref(w->fetched);
    *w = (struct project_world){0};
}

struct plan_observed project_observed(const struct project_world *w)
{
    return (struct plan_observed){w->containers, w->networks, w->volumes,
                                  w->images,     w->fetched,  time_now_ns()};
}

char *project_short_name(const json_t *container)
{
    const json_t *labels = json_object_get(container, "Labels");
    const char *service = json_str(labels, COMPOSE_LABEL_SERVICE),
               *n = json_str(labels, COMPOSE_LABEL_NUMBER);
    const char *name = json_string_value(json_array_get(json_object_get(container, "Names"), 0));
    if (*service && *n)
        return str_printf("%s-%s", service, n);
    return mem_strdup(name ? name + (*name == '/') : "");
}
