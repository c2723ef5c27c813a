#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/project.h"
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
        _cleanup_free_ char *quoted = str_printf("\"%.20s%s\"", command, strlen(command) > 20 ? "…" : "");
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

static int list_services(const struct compose_project *p, char **services, bool all, json_t **ret,
                         struct err *err)
{
    if (!*services)
        return project_containers(p->name, NULL, all, ret, err);
    json_t *list = json_array();
    STRV_FOREACH (name, services) {
        _cleanup_json_ json_t *some = NULL;
        int r = compose_find_service(p, *name) ? project_containers(p->name, *name, all, &some, err)
                                               : err_set(err, ERR_NOT_FOUND, "no such service: %s", *name);
        if (r < 0) {
            json_decref(list);
            return r;
        }
        json_array_extend(list, some);
    }
    *ret = list;
    return 0;
}

int cli_ps(int argc, char **argv)
{
    struct project_options project = {0};
    bool all = false, json = false, quiet = false;
    const struct cli_option options[] = {
        {'a', "all", CLI_FLAG, &all, NULL, "Every container of the machine, stopped ones too"},
        {'q', "quiet", CLI_FLAG, &quiet, NULL, "Only ids"},
        {0, "json", CLI_FLAG, &json, NULL, "The API's list as JSON"},
        PROJECT_OPTIONS(project),
        {0},
    };
    const struct cli_command command = {"ps [OPTIONS] [SERVICE...]",
                                        "Lists the project's containers, stopped ones too; with -a, or where "
                                        "there is no Compose file, those of the "
                                        "machine.",
                                        options,
                                        false,
                                        0,
                                        -1};
    char **services;
    struct err err;
    int status = cli_parse(&command, argc, argv, &services);
    if (status >= 0)
        return status;
    _cleanup_compose_ struct compose_project *p = NULL;
    bool of_project = !all && (project.files || *services || project_present(&project));
    status = of_project ? project_load(&project, NULL, false, &p) : 0;
    project_options_done(&project);
    if (status)
        return status;
    _cleanup_json_ json_t *list = NULL;
    int r = p ? list_services(p, services, true, &list, &err)
              : cli_get(&list, &err, "/containers/json?all=%d", all);
    if (r < 0)
        return cli_fail(&err);
    if (json)
        output_json(list);
    else if (quiet)
        print_ids(list);
    else
        print_table(list);
    return 0;
}
