/* What asks about a project's services: port, top, events, images, ls, volumes, wait. */
#include "cli/services.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/targets.h"
#include "cli/verbs.h"

/* --- port --- */

int cli_port(int argc, char **argv)
{
    struct project_options project = {0};
    const char *protocol = "tcp";
    int index = 1;
    const struct cli_option options[] = {
        {0, "protocol", CLI_TEXT, &protocol, "PROTOCOL", "tcp (the default), udp or sctp"},
        {0, "index", CLI_INT, &index, "N", "Which container of a service with several"},
        PROJECT_OPTIONS(project),
        {0},
    };
    const struct cli_command command = {"port [OPTIONS] SERVICE|CONTAINER PORT",
                                        "Prints where on the host a port of a service is published.",
                                        options,
                                        false,
                                        2,
                                        2};
    char **rest;
    struct err err;
    _cleanup_free_ char *id = NULL;
    _cleanup_json_ json_t *container = NULL;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status < 0)
        status = targets_find_one(&project, rest[0], index, &id);
    project_options_done(&project);
    if (status || !id)
        return status;
    if (cli_get(&container, &err, "/containers/%s/json", id) < 0)
        return cli_fail(&err);
    _cleanup_free_ char *key = str_printf("%s/%s", rest[1], strchr(rest[1], '/') ? "" : protocol);
    if (strchr(rest[1], '/'))
        key[strlen(key) - 1] = '\0';
    const json_t *ports = json_object_get(json_object_get(container, "NetworkSettings"), "Ports");
    const json_t *binding = json_array_get(json_object_get(ports, key), 0);
    if (!binding) {
        err_set(&err, ERR_NOT_FOUND, "no port %s for container %s", key, json_str(container, "Name") + 1);
        return cli_fail(&err);
    }
    const char *ip = json_str(binding, "HostIp");
    printf(strchr(ip, ':') ? "[%s]:%s\n" : "%s:%s\n", ip, json_str(binding, "HostPort"));
    return 0;
}

/* --- top --- */

static int print_processes(const json_t *container, struct err *err)
{
    _cleanup_json_ json_t *top = NULL;
    int r = cli_get(&top, err, "/containers/%s/top", json_str(container, "Id"));
    if (r < 0)
        return r;
    const json_t *titles = json_object_get(top, "Titles"), *processes = json_object_get(top, "Processes");
    size_t i, j;
    json_t *row, *cell;
    struct table t = {.columns = MIN(json_array_size(titles), (size_t)16)};
    printf("%s\n", targets_name(container));
    for (i = 0; i < t.columns; i++)
        strv_take(&t.cells, output_safe(json_string_value(json_array_get(titles, i))));
    json_array_foreach ((json_t *)processes, i, row)
        json_array_foreach (row, j, cell)
            if (j < t.columns)
                strv_take(&t.cells, output_safe(json_string_value(cell) ? json_string_value(cell) : ""));
    table_print(&t);
    printf("\n");
    return 0;
}

/* For the verbs that go over containers one by one. */
struct each {
    const char *usage, *summary;
    int least;
    bool *down; /* whether --down-project was said; NULL: the verb has no such option */
    /* Negative, or the exit status that the verb has if no other container comes. */
    int (*fn)(const json_t *container, struct err *err);
};

static int go_over(const struct each *e, const struct targets *t, struct err *err)
{
    size_t i;
    json_t *c;
    int last = 0;
    json_array_foreach (t->containers, i, c) {
        int r = e->fn(c, err);
        if (r < 0)
            return r;
        last = r;
    }
    if (e->down && *e->down && t->project) {
        int r = cli_take_down(t->project, err);
        return r < 0 ? r : last;
    }
    return last;
}

static int each_container(int argc, char **argv, const struct each *e)
{
    struct project_options project = {0};
    const struct cli_option options[] = {
        PROJECT_OPTIONS(project),
        {0, e->down ? "down-project" : NULL, CLI_FLAG, e->down, NULL, "Then stop and remove the project"},
        {0}};
    const struct cli_command command = {e->usage, e->summary, options, false, e->least, -1};
    const struct targets_want want = {0};
    _cleanup_targets_ struct targets t = {0};
    char **names;
    struct err err;
    int status = cli_parse(&command, argc, argv, &names);
    if (status < 0)
        status = targets_find(&project, names, &want, &t);
    project_options_done(&project);
    if (status)
        return status;
    int r = go_over(e, &t, &err);
    return r < 0 ? cli_fail(&err) : r;
}

int cli_top(int argc, char **argv)
{
    const struct each e = {.usage = "top [OPTIONS] [SERVICE | CONTAINER...]",
                           .summary = "Prints the processes of containers.",
                           .fn = print_processes};
    return each_container(argc, argv, &e);
}

/* --- events --- */

struct watching {
    bool json;
    char *const *services;
};

static int print_event(void *context, const json_t *event, struct err *err)
{
    const struct watching *w = context;
    const json_t *actor = json_object_get(event, "Actor"), *attributes = json_object_get(actor, "Attributes");
    const char *service = json_str(attributes, COMPOSE_LABEL_SERVICE), *id = json_str(actor, "ID"), *name;
    char when[TIME_RFC3339_BYTES];
    json_t *value;
    (void)err;
    if (!*service || (*w->services && !strv_has(w->services, service)))
        return 0;
    time_format_rfc3339(json_int(event, "timeNano"), when);
    _cleanup_json_ json_t *shown = json_object();
    json_object_foreach ((json_t *)attributes, name, value)
        if (!str_after(name, "com.docker.compose."))
            json_object_set(shown, name, value);
    if (w->json) {
        _cleanup_json_ json_t *line =
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:O}", "time", when, "type", "container", "service", service,
                      "id", id, "action", json_str(event, "Action"), "attributes", shown);
        json_dumpf(line, stdout, JSON_COMPACT);
    } else {
        printf("%s container %s %s (", when, json_str(event, "Action"), id);
        bool first = true;
        json_object_foreach (shown, name, value) {
            _cleanup_free_ char *safe = output_safe(json_string_value(value) ? json_string_value(value) : "");
            printf("%s%s=%s", first ? "" : ", ", name, safe);
            first = false;
        }
        printf(")");
    }
    printf("\n");
    fflush(stdout);
    return 0;
}

int cli_events(int argc, char **argv)
{
    struct project_options project = {0};
    struct watching w = {0};
    const char *since = NULL, *until = NULL;
    const struct cli_option options[] = {
        {0, "json", CLI_FLAG, &w.json, NULL, "A JSON object a line"},
        {0, "since", CLI_TEXT, &since, "TIME", "Earlier ones too, from this time on"},
        {0, "until", CLI_TEXT, &until, "TIME", "End at this time"},
        PROJECT_OPTIONS(project),
        {0},
    };
    const struct cli_command command = {"events [OPTIONS] [SERVICE...]",
                                        "Prints what happens to the project's containers, as it happens.",
                                        options,
                                        false,
                                        0,
                                        -1};
    const struct targets_want want = {.only_files = true};
    _cleanup_targets_ struct targets t = {0};
    char **services;
    struct err err;
    int status = cli_parse(&command, argc, argv, &services);
    if (status < 0)
        status = targets_find(&project, services, &want, &t);
    project_options_done(&project);
    if (status || !t.name)
        return status;
    w.services = services;
    _cleanup_free_ char *label = str_printf(COMPOSE_LABEL_PROJECT "=%s", t.name);
    _cleanup_json_ json_t *filters = json_pack("{s:[s], s:[s]}", "label", label, "type", "container");
    _cleanup_free_ char *text = cli_escape_json(filters), *from = cli_escape(since ? since : ""),
                        *to = cli_escape(until ? until : "");
    _cleanup_free_ char *path = str_printf("/events?filters=%s%s%s%s%s", text, since ? "&since=" : "", from,
                                           until ? "&until=" : "", to);
    struct http_call call = {.method = "GET"};
    return cli_lines(&call, path, print_event, &w, &err) < 0 ? cli_fail(&err) : 0;
}

/* --- images of a project --- */

static int image_row(struct table *t, const json_t *container, enum images_form form, json_t *rows,
                     struct err *err)
{
    char size[32], human[TIME_RFC3339_BYTES], id[13];
    int64_t created = 0;
    _cleanup_json_ json_t *image = NULL, *details = NULL;
    int r = cli_get(&details, err, "/containers/%s/json", json_str(container, "Id"));
    if (r == 0)
        r = cli_get(&image, err, "/images/%s/json", json_str(details, "Image"));
    if (r < 0)
        return r;
    const char *hex = str_after(json_str(image, "Id"), "sha256:"), *given = json_str(container, "Image");
    snprintf(id, sizeof(id), "%s", hex ? hex : json_str(image, "Id"));
    if (form == IMAGES_IDS) {
        printf("%s\n", hex ? hex : json_str(image, "Id"));
        return 0;
    }
    const char *slash = strrchr(given, '/'), *colon = strrchr(slash ? slash : given, ':');
    _cleanup_free_ char *name = mem_strndup(given, colon ? (size_t)(colon - given) : strlen(given));
    output_size(json_int(image, "Size"), size);
    time_parse_rfc3339(json_str(image, "Created"), &created, NULL);
    time_format_human(time_now_ns() - created, human);
    _cleanup_free_ char *ago = str_printf("%s ago", human);
    table_row(t, targets_name(container), name, colon ? colon + 1 : "latest", id, size, ago, NULL);
    json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s, s:I}", "ID", json_str(image, "Id"),
                                          "ContainerName", targets_name(container), "Repository", name, "Tag",
                                          colon ? colon + 1 : "latest", "Size",
                                          (json_int_t)json_int(image, "Size")));
    return 0;
}

int services_images(const struct project_options *project, char **services, enum images_form form)
{
    _cleanup_json_ json_t *rows = json_array();
    const struct targets_want want = {.all = true};
    _cleanup_targets_ struct targets targets = {0};
    struct table t = {.columns = 6};
    struct err err;
    size_t i;
    json_t *c;
    int status = targets_find(project, services, &want, &targets);
    if (status)
        return status;
    table_row(&t, "CONTAINER", "REPOSITORY", "TAG", "IMAGE ID", "SIZE", "CREATED", NULL);
    json_array_foreach (targets.containers, i, c)
        if (status == 0 && image_row(&t, c, form, rows, &err) < 0)
            status = cli_fail(&err);
    if (form == IMAGES_JSON && status == 0)
        output_json(rows);
    if (form != IMAGES_TABLE)
        t.cells = strv_free(t.cells);
    else
        table_print(&t);
    return status;
}

/* --- ls --- */

struct listed {
    char *name, *files;
    struct map states; /* state -> count, as a number in a pointer */
};

static void listed_free(void *pointer)
{
    struct listed *l = pointer;
    map_done(&l->states);
    free(l->name);
    free(l->files);
    free(l);
}

static char *states_text(const struct listed *l)
{
    struct str s = STR_INIT;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&l->states, &i));)
        str_addf(&s, "%s%s(%zu)", s.len ? ", " : "", e->key, (size_t)(uintptr_t)e->value);
    return str_take(&s);
}

static void collect(const json_t *list, struct map *projects)
{
    size_t i;
    json_t *c;
    json_array_foreach ((json_t *)list, i, c) {
        const char *name = targets_label(c, COMPOSE_LABEL_PROJECT), *state = json_str(c, "State");
        if (!*name || str_eq(targets_label(c, COMPOSE_LABEL_ONEOFF), "True"))
            continue;
        struct listed *l = map_get(projects, name);
        if (!l) {
            l = NEW(struct listed);
            l->name = mem_strdup(name);
            l->files = mem_strdup(targets_label(c, COMPOSE_LABEL_FILES));
            l->states = MAP_INIT(NULL);
            map_put(projects, name, l);
        }
        map_put(&l->states, state, (void *)((uintptr_t)map_get(&l->states, state) + 1));
    }
}

static void print_projects(const struct map *projects, bool quiet, bool json)
{
    struct table t = {.columns = 3};
    struct map_entry *e;
    _cleanup_json_ json_t *array = json_array();
    table_row(&t, "NAME", "STATUS", "CONFIG FILES", NULL);
    for (size_t i = 0; (e = map_next(projects, &i));) {
        const struct listed *l = e->value;
        _cleanup_free_ char *states = states_text(l);
        table_row(&t, l->name, states, l->files, NULL);
        json_array_append_new(
            array, json_pack("{s:s, s:s, s:s}", "Name", l->name, "Status", states, "ConfigFiles", l->files));
        if (quiet)
            printf("%s\n", l->name);
    }
    if (json && !quiet)
        output_json(array);
    if (json || quiet)
        t.cells = strv_free(t.cells);
    else
        table_print(&t);
}

int cli_ls(int argc, char **argv)
{
    bool all = false, quiet = false;
    const char *format = NULL, *name = NULL;
    const struct cli_option options[] = {
        {'a', "all", CLI_FLAG, &all, NULL, "Stopped projects too"},
        {'q', "quiet", CLI_FLAG, &quiet, NULL, "Only names"},
        {0, "format", CLI_TEXT, &format, "FORMAT", "table (the default) or json"},
        {0, "filter", CLI_TEXT, &name, "name=NAME", "Only this project"},
        {0},
    };
    const struct cli_command command = {
        "ls [OPTIONS]", "Lists the Compose projects of the machine.", options, false, 0, 0};
    char **rest;
    struct err err;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    _cleanup_json_ json_t *list = NULL;
    const char *wanted = name ? str_after(name, "name=") : NULL;
    if (name && !wanted)
        return err_set(&err, ERR_INVALID, "--filter knows only name=NAME, not \"%s\"", name), cli_fail(&err);
    if (cli_get(&list, &err, "/containers/json?all=%d", all) < 0)
        return cli_fail(&err);
    struct map projects = MAP_INIT(listed_free);
    collect(list, &projects);
    struct map_entry *e;
    for (size_t i = 0; wanted && (e = map_next(&projects, &i));)
        if (!strstr(e->key, wanted))
            map_remove(&projects, e->key);
    print_projects(&projects, quiet, str_eq(format, "json"));
    map_done(&projects);
    return 0;
}

/* --- volumes --- */

int cli_volumes(int argc, char **argv)
{
    struct project_options project = {0};
    bool quiet = false;
    const char *format = NULL;
    const struct cli_option options[] = {
        {'q', "quiet", CLI_FLAG, &quiet, NULL, "Only names"},
        {0, "format", CLI_TEXT, &format, "FORMAT", "table (the default) or json"},
        PROJECT_OPTIONS(project),
        {0}};
    const struct cli_command command = {
        "volumes [OPTIONS]", "Lists the project's volumes.", options, false, 0, 0};
    const struct targets_want want = {.all = true};
    _cleanup_targets_ struct targets targets = {0};
    char **rest;
    struct err err;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status < 0)
        status = targets_find(&project, NULL, &want, &targets);
    project_options_done(&project);
    if (status || !targets.name)
        return status;
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *label = str_printf(COMPOSE_LABEL_PROJECT "=%s", targets.name);
    _cleanup_json_ json_t *filters = json_pack("{s:[s]}", "label", label);
    _cleanup_free_ char *text = cli_escape_json(filters);
    if (cli_get(&answer, &err, "/volumes?filters=%s", text) < 0)
        return cli_fail(&err);
    const json_t *list = json_object_get(answer, "Volumes");
    struct table t = {.columns = 2};
    size_t i;
    json_t *volume;
    if (str_eq(format, "json")) {
        output_json(list);
        return 0;
    }
    if (!quiet)
        table_row(&t, "DRIVER", "VOLUME NAME", NULL);
    json_array_foreach ((json_t *)list, i, volume)
        if (quiet)
            printf("%s\n", json_str(volume, "Name"));
        else
            table_row(&t, json_str(volume, "Driver"), json_str(volume, "Name"), NULL);
    table_print(&t);
    return 0;
}

/* --- wait --- */

static int wait_for_end(const json_t *container, struct err *err)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = cli_call("POST", NULL, &answer, err, "/containers/%s/wait", json_str(container, "Id"));
    if (r < 0)
        return r;
    int status = (int)json_int(answer, "StatusCode");
    printf("container \"%s\" exited with status code %d\n", targets_name(container), status);
    return status;
}

/* One after the other: all have to end. */
int cli_wait(int argc, char **argv)
{
    bool down = false;
    const struct each e = {.usage = "wait [OPTIONS] SERVICE|CONTAINER...",
                           .summary =
                               "Waits until containers have ended, and ends with the status of the last.",
                           .least = 1,
                           .down = &down,
                           .fn = wait_for_end};
    return each_container(argc, argv, &e);
}
