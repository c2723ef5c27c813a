#include "base/json.h"
#include "cli/build.h"
#include "cli/call.h"
#include "cli/project.h"

/* --- A service's image --- */

struct build_output {
    struct progress *progress;
    struct str line, all;
    char *key;
    const char *service;
};

enum { MAX_KEPT_OUTPUT = 1 << 20, MAX_LINE = 4096 };

static void show_line(struct build_output *o)
{
    if (!o->line.len)
        return;
    _cleanup_free_ char *safe = output_safe(str_get(&o->line));
    if (progress_live(o->progress)) {
        _cleanup_free_ char *shown = str_printf("Building: %s", safe);
        progress_detail(o->progress, o->key, shown);
    } else {
        _cleanup_free_ char *shown = str_printf(" %s | %s\n", o->service, safe);
        progress_print(o->progress, shown);
    }
    str_clear(&o->line);
}

/* On a terminal the last line of output is the detail, and all of it is shown when the build fails; elsewhere
 * each line is printed as it comes. */
static void take_output(void *context, const char *text)
{
    struct build_output *o = context;
    if (o->all.len < MAX_KEPT_OUTPUT)
        str_add(&o->all, text);
    for (; *text; text++) {
        if (*text == '\n' || *text == '\r' || o->line.len > MAX_LINE)
            show_line(o);
        if (*text != '\n' && *text != '\r')
            str_addc(&o->line, *text);
    }
}

int project_build(const struct compose_service *s, struct progress *progress, bool no_cache, bool pull,
                  struct err *err)
{
    const struct compose_build *b = &s->build;
    _cleanup_strv_ char **tags = strv_dup(b->tags);
    _cleanup_free_ char *key = str_printf("%-9s %s", "Image", s->image);
    struct build_output output = {.progress = progress, .key = key, .service = s->name};
    strv_add(&tags, s->image);
    const struct build_request request = {.context = b->context,
                                          .dockerfile = b->dockerfile,
                                          .target = b->target,
                                          .network = b->network,
                                          .tags = tags,
                                          .args = b->args,
                                          .labels = b->labels,
                                          .extra_hosts = b->extra_hosts,
                                          .cache_from = b->cache_from,
                                          .dockerfile_text = b->dockerfile_inline,
                                          .platform = b->platform,
                                          .ulimits = b->ulimits,
                                          .shm_size = b->shm_size,
                                          .no_cache = b->no_cache || no_cache,
                                          .pull = b->pull || pull,
                                          .context_of_output = &output,
                                          .output = take_output};
    _cleanup_free_ char *id = NULL;
    int r = build_image(&request, &id, err);
    show_line(&output);
    if (r < 0 && progress_live(progress))
        progress_print(progress, str_get(&output.all));
    str_free(&output.line);
    str_free(&output.all);
    return r < 0 ? err_wrap(err, "build service %s", s->name) : 0;
}

/* --- drover build --- */

struct build_options {
    struct project_options project;
    char **tags, **args, **labels, **hosts;
    const char *file, *target, *network, *shm_size;
    bool no_cache, pull, quiet, remove;
};

static json_t *pairs(char *const *list, bool from_environment)
{
    json_t *object = json_object();
    for (char *const *item = list; item && *item; item++) {
        size_t n = strcspn(*item, "=");
        _cleanup_free_ char *name = mem_strndup(*item, n);
        const char *value = (*item)[n] ? *item + n + 1 : from_environment ? getenv(name) : "";
        if (value)
            json_set_str(object, name, value);
    }
    return object;
}

static void print_text(void *context, const char *text)
{
    fputs(text, context);
    fflush(context);
}

static int build_path(const struct build_options *o, const char *context)
{
    _cleanup_json_ json_t *args = pairs(o->args, true), *labels = pairs(o->labels, false);
    struct err err;
    struct build_request request = {.context = context,
                                    .dockerfile = o->file,
                                    .target = o->target,
                                    .network = o->network,
                                    .tags = o->tags,
                                    .args = args,
                                    .labels = labels,
                                    .extra_hosts = o->hosts,
                                    .no_cache = o->no_cache,
                                    .pull = o->pull,
                                    .context_of_output = stderr,
                                    .output = o->quiet ? NULL : print_text};
    _cleanup_free_ char *id = NULL;
    int r = o->shm_size ? parse_bytes(o->shm_size, &request.shm_size, &err) : 0;
    if (r == 0)
        r = build_image(&request, &id, &err);
    if (r < 0)
        return cli_fail(&err);
    printf("%s\n", id);
    return 0;
}

static int build_services(struct build_options *o, char **services)
{
    _cleanup_compose_ struct compose_project *p = NULL;
    int status = project_load(&o->project, services, true, &p);
    if (status)
        return status;
    _cleanup_progress_ struct progress *progress = progress_new();
    for (size_t i = 0; i < p->service_count; i++) {
        struct compose_service *s = &p->services[i];
        _cleanup_free_ char *key = str_printf("%-9s %s", "Image", s->image);
        struct err err;
        if (!s->active || !s->has_build)
            continue;
        if (o->target)
            s->build.target = o->target;
        _cleanup_json_ json_t *args = pairs(o->args, true);
        if (!s->build.args)
            s->build.args = json_object();
        json_object_update(s->build.args, args);
        progress_set(progress, key, COLOUR_YELLOW, "Building");
        if (project_build(s, progress, o->no_cache, o->pull, &err) < 0) {
            progress_set(progress, key, COLOUR_RED, "Failed");
            return cli_fail(&err);
        }
        progress_set(progress, key, COLOUR_GREEN, "Built");
    }
    return 0;
}

/* A word is a directory to build, unless a project is asked for and it names a service. */
static bool means_path(const struct build_options *o, char **rest)
{
    if (!rest[0])
        return false;
    if (o->tags || o->file || strchr(rest[0], '/') || rest[0][0] == '.' || strcmp(rest[0], "-") == 0)
        return true;
    return !project_present(&o->project);
}

int cli_build(int argc, char **argv)
{
    struct build_options o = {0};
    const struct cli_option options[] = {
        {'t', "tag", CLI_LIST, &o.tags, "NAME", "Name of the image (again for more)"},
        {'f', "file", CLI_TEXT, &o.file, "FILE", "The Dockerfile (default PATH/Dockerfile)"},
        {0, "build-arg", CLI_LIST, &o.args, "NAME[=VALUE]", "Value of an ARG"},
        {0, "label", CLI_LIST, &o.labels, "NAME=VALUE", "Label of the image"},
        {0, "add-host", CLI_LIST, &o.hosts, "HOST:ADDRESS", "Line of /etc/hosts during RUN"},
        {0, "target", CLI_TEXT, &o.target, "STAGE", "Stop at this stage"},
        {0, "network", CLI_TEXT, &o.network, "MODE", "Network of RUN: default, none, host"},
        {0, "shm-size", CLI_TEXT, &o.shm_size, "SIZE", "Size of /dev/shm during RUN"},
        {0, "no-cache", CLI_FLAG, &o.no_cache, NULL, "Do not use layers of earlier builds"},
        {0, "pull", CLI_FLAG, &o.pull, NULL, "Fetch base images even when they are there"},
        {'q', "quiet", CLI_FLAG, &o.quiet, NULL, "Print the image's id only"},
        {'p', "project-name", CLI_TEXT, &o.project.name, "NAME", "Project name"},
        {0, "compose-file", CLI_LIST, &o.project.files, "FILE", "Compose file, when services are built"},
        PROJECT_OPTIONS_WITHOUT_SHORT(o.project),
        {0},
    };
    const struct cli_command command = {
        "build [OPTIONS] [PATH | - | SERVICE...]",
        "Builds an image from the Dockerfile in directory PATH (\"-\": a tar on standard input), and prints "
        "its id.\n"
        "Without PATH, builds the services of the Compose file that have a \"build\" key.",
        options,
        false,
        0,
        -1};
    char **rest;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status < 0)
        status = means_path(&o, rest) ? build_path(&o, rest[0]) : build_services(&o, rest);
    strv_free(o.tags);
    strv_free(o.args);
    strv_free(o.labels);
    strv_free(o.hosts);
    project_options_done(&o.project);
    return status;
}
