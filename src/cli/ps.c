#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/targets.h"
#include "cli/verbs.h"

#include <time.h>

/* "0.0.0.0:8080->80/tcp", joined by commas, without repeats for IPv6. */
static char *ports_text(const json_t *container)
{
    struct str s = STR_INIT;
    size_t i;
    json_t *port;
    json_array_foreach (json_object_get(container, "Ports"), i, port) {
        const char *ip = json_str(port, "IP");
        int64_t outer = json_int(port, "PublicPort");
        if (outer && strcmp(ip, "::") == 0)
            continue;
        _cleanup_str_ struct str one = STR_INIT;
        if (outer)
            str_addf(&one, "%s:%lld->", *ip ? ip : "0.0.0.0", (long long)outer);
        str_addf(&one, "%lld/%s", (long long)json_int(port, "PrivatePort"), json_str(port, "Type"));
        str_addf(&s, "%s%s", s.len ? ", " : "", str_get(&one));
    }
    return str_take(&s);
}

static char *age(int64_t created_s)
{
    char text[TIME_RFC3339_BYTES];
    time_format_human(time_now_ns() - created_s * NS_PER_S, text);
    return str_printf("%s ago", text);
}

static bool whole_commands;

static void print_table(const json_t *list)
{
    struct table t = {.columns = 7};
    size_t i;
    json_t *c;
    table_row(&t, "NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS", NULL);
    json_array_foreach ((json_t *)list, i, c) {
        const char *name = json_string_value(json_array_get(json_object_get(c, "Names"), 0));
        const char *command = json_str(c, "Command");
        _cleanup_free_ char *ports = ports_text(c), *created = age(json_int(c, "Created"));
        _cleanup_free_ char *quoted =
            whole_commands ? str_printf("\"%s\"", command)
                           : str_printf("\"%.20s%s\"", command, strlen(command) > 20 ? "…" : "");
        table_row(&t, name ? name + (*name == '/') : "", json_str(c, "Image"), quoted,
                  json_str(json_object_get(c, "Labels"), COMPOSE_LABEL_SERVICE), created,
                  json_str(c, "Status"), ports, NULL);
    }
    table_print(&t);
}

static void print_ids(const json_t *list)
{
    size_t i;
    json_t *c;
    json_array_foreach ((json_t *)list, i, c)
        printf("%.12s\n", json_str(c, "Id"));
}

static bool has_status(const json_t *container, char *const *statuses)
{
    return !statuses || strv_has(statuses, json_str(container, "State"));
}

static bool is_orphan(const json_t *container, const struct compose_project *p)
{
    return p &&
           !compose_find_service(p, json_str(json_object_get(container, "Labels"), COMPOSE_LABEL_SERVICE));
}

/* What is left of the list with the statuses that were asked for. */
static json_t *filtered(const json_t *list, const struct compose_project *p, char *const *statuses,
                        bool orphans)
{
    json_t *result = json_array(), *c;
    size_t i;
    json_array_foreach ((json_t *)list, i, c)
        if (has_status(c, statuses) && (orphans || !is_orphan(c, p)))
            json_array_append(result, c);
    return result;
}

static void print_services(const json_t *list)
{
    _cleanup_strv_ char **seen = NULL;
    size_t i;
    json_t *c;
    json_array_foreach ((json_t *)list, i, c) {
        const char *service = json_str(json_object_get(c, "Labels"), COMPOSE_LABEL_SERVICE);
        if (*service && !strv_has(seen, service)) {
            printf("%s\n", service);
            strv_add(&seen, service);
        }
    }
}

struct ps_options {
    struct project_options project;
    bool all, json, quiet, services, no_orphans, no_trunc;
    char **statuses, **filters;
    const char *format;
};

/* --filter status=running is the only filter, as in docker compose. */
static int read_filters(struct ps_options *o)
{
    STRV_FOREACH (filter, o->filters) {
        const char *status = str_after(*filter, "status=");
        if (!status) {
            fprintf(stderr, "drover ps: --filter knows only status=STATUS, not \"%s\"\n", *filter);
            return 2;
        }
        strv_add(&o->statuses, status);
    }
    if (o->format && strcmp(o->format, "table") != 0 && strcmp(o->format, "json") != 0) {
        fprintf(stderr, "drover ps: --format must be table or json, not \"%s\"\n", o->format);
        return 2;
    }
    o->json |= str_eq(o->format, "json");
    return 0;
}

static int list(const struct ps_options *o, char **services, json_t **ret)
{
    struct err err;
    bool of_project =
        o->project.files || *services || project_given_name(&o->project) || project_present(&o->project);
    if (!of_project) {
        if (cli_get(ret, &err, "/containers/json?all=%d", o->all || o->statuses) < 0)
            return cli_fail(&err);
        return 0;
    }
    /* Stopped ones too: what of a project does not run is what one looks for. */
    const struct targets_want want = {.all = true, .only_files = true};
    _cleanup_targets_ struct targets t = {0};
    int status = targets_find(&o->project, services, &want, &t);
    if (status == 0)
        *ret = filtered(t.containers, t.project, o->statuses, !o->no_orphans);
    return status;
}

static int ps(struct ps_options *o, char **services)
{
    _cleanup_json_ json_t *containers = NULL;
    int status = read_filters(o);
    if (status == 0)
        status = list(o, services, &containers);
    if (status)
        return status;
    if (o->json)
        output_json(containers);
    else if (o->quiet)
        print_ids(containers);
    else if (o->services)
        print_services(containers);
    else
        print_table(containers);
    return 0;
}

int cli_ps(int argc, char **argv)
{
    struct ps_options o = {0};
    bool orphans = true;
    const struct cli_option options[] = {
        {'a', "all", CLI_FLAG, &o.all, NULL,
         "Where there is no project: every container of the machine, stopped ones too"},
        {'q', "quiet", CLI_FLAG, &o.quiet, NULL, "Only ids"},
        {0, "services", CLI_FLAG, &o.services, NULL, "Only the names of the services"},
        {0, "status", CLI_LIST, &o.statuses, "STATUS",
         "Only these: running, exited, paused, restarting, created, dead"},
        {0, "filter", CLI_LIST, &o.filters, "status=STATUS", "The same"},
        {0, "orphans", CLI_FLAG, &orphans, NULL, "With services that the file no longer has (the default)"},
        {0, "no-trunc", CLI_FLAG, &o.no_trunc, NULL, "Whole commands"},
        {0, "format", CLI_TEXT, &o.format, "FORMAT", "table (the default) or json"},
        {0, "json", CLI_FLAG, &o.json, NULL, "The API's list as JSON"},
        PROJECT_OPTIONS(o.project),
        {0},
    };
    const struct cli_command command = {
        "ps [OPTIONS] [SERVICE...]",
        "Lists the project's containers, stopped ones too; where there is no Compose "
        "file, those of the machine.",
        options,
        false,
        0,
        -1};
    char **services;
    int status = cli_parse(&command, argc, argv, &services);
    o.no_orphans = !orphans;
    whole_commands = o.no_trunc;
    if (status < 0)
        status = ps(&o, services);
    strv_free(o.statuses);
    strv_free(o.filters);
    project_options_done(&o.project);
    return status;
}
