#include "cli/logs.h"

#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/output.h"
#include "cli/stream.h"
#include "cli/targets.h"

#include <pthread.h>
#include <unistd.h>

enum { MAX_LINE = 64 << 10 };

struct source {
    const struct logs_options *options;
    const char *id;
    char *name, *full_name, *id_of_next;
    size_t width; /* of the widest name */
    const char *colour;
    bool tty, prefix;
    struct demux demux;
    struct str lines[2]; /* the unfinished line of stdout, of stderr */
    int64_t run_ns;      /* when the run began whose output is shown */
    int64_t since_ns;    /* where the output that comes next begins */
    pthread_t thread;
    int result;
    struct err err;
};

static int print_line(struct source *s, int stream, struct err *err)
{
    struct str *line = &s->lines[stream - 1];
    _cleanup_str_ struct str text = STR_INIT;
    if (s->prefix)
        str_addf(&text, "%s%-*s |%s ", s->colour, (int)s->width, s->name, *s->colour ? "\033[0m" : "");
    str_addn(&text, line->data, line->len);
    str_addc(&text, '\n');
    str_clear(line);
    output_begin();
    int r =
        file_write_all(stream == 2 && !s->prefix ? STDERR_FILENO : STDOUT_FILENO, text.data, text.len, err);
    output_end();
    return r;
}

static int take_piece(void *context, int stream, const void *bytes, size_t n, struct err *err)
{
    struct source *s = context;
    const char *at = bytes, *end = at + n;
    int r = 0;
    while (r == 0 && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = newline ? (size_t)(newline - at) : (size_t)(end - at);
        str_addn(&s->lines[stream - 1], at, length);
        if (newline || s->lines[stream - 1].len > MAX_LINE)
            r = print_line(s, stream, err);
        at += length + (newline != NULL);
    }
    return r;
}

static int take_bytes(void *context, const void *bytes, size_t n, struct err *err)
{
    struct source *s = context;
    return s->tty ? take_piece(s, 1, bytes, n, err) : demux_feed(&s->demux, bytes, n, take_piece, s, err);
}

static int stream_once(struct source *s, const char *since, const char *tail, struct err *err)
{
    _cleanup_free_ char *path = str_printf(
        "/containers/%s/logs?stdout=1&stderr=1&follow=%d&timestamps=%d&tail=%s%s%s%s%s", s->id,
        s->options->follow, s->options->timestamps, tail ? tail : "all", since ? "&since=" : "",
        since ? since : "", s->options->until ? "&until=" : "", s->options->until ? s->options->until : "");
    struct http_call call = {.method = "GET", .sink = take_bytes, .sink_context = s};
    struct http_response response = {0};
    s->demux = (struct demux){0};
    int r = cli_exchange(&call, path, &response, err);
    http_response_done(&response);
    for (int stream = 1; r == 0 && stream <= 2; stream++)
        if (s->lines[stream - 1].len)
            r = print_line(s, stream, err);
    return r;
}

/* Seconds and nanoseconds as the API's `since` takes them. */
static void format_since(int64_t ns, char out[40])
{
    snprintf(out, 40, "%lld.%09lld", (long long)(ns / NS_PER_S), (long long)(ns % NS_PER_S));
}

/* What an inspection tells of a run: one that is new may have begun before this side saw the end of the
 * output of the one before it. */
static void note_run(struct source *s, const json_t *container)
{
    const json_t *state = json_object_get(container, "State");
    int64_t started_ns;
    s->tty = json_bool(json_object_get(container, "Config"), "Tty");
    if (!json_bool(state, "Running") ||
        time_parse_rfc3339(json_str(state, "StartedAt"), &started_ns, NULL) < 0 || started_ns == s->run_ns)
        return;
    s->run_ns = started_ns;
    s->since_ns = MIN(s->since_ns, started_ns);
}

/* Says how it ended; true when it will start again, or has. */
static bool goes_on(struct source *s)
{
    _cleanup_json_ json_t *container = NULL;
    struct err err;
    if (cli_get(&container, &err, "/containers/%s/json", s->id) < 0)
        return false;
    const json_t *state = json_object_get(container, "State");
    note_run(s, container);
    if (json_bool(state, "Running") || json_bool(state, "Restarting"))
        return true;
    output_begin();
    fprintf(stderr, "%s exited with code %d\n", s->name, (int)json_int(state, "ExitCode"));
    output_end();
    return false;
}

/* Until a container of this name runs again, which may be another one: of that one, all output is new. */
static bool comes_back(struct source *s)
{
    const struct logs_options *o = s->options;
    _cleanup_free_ char *escaped = cli_escape(s->full_name);
    while (o->stay && o->stay(o->context)) {
        _cleanup_json_ json_t *container = NULL;
        struct err err;
        if (cli_get(&container, &err, "/containers/%s/json", escaped) == 0 &&
            json_bool(json_object_get(container, "State"), "Running")) {
            note_run(s, container);
            if (!str_eq(s->id, json_str(container, "Id")))
                s->since_ns = 0;
            free(s->id_of_next);
            s->id = s->id_of_next = mem_strdup(json_str(container, "Id"));
            return true;
        }
        time_sleep_ns(100 * NS_PER_MS);
    }
    return false;
}

static void *follow(void *context)
{
    struct source *s = context;
    s->result = stream_once(s, s->options->since, s->options->tail, &s->err);
    s->since_ns = time_now_ns();
    while (s->result == 0 && s->options->again && (goes_on(s) || comes_back(s))) {
        char since[40];
        time_sleep_ns(100 * NS_PER_MS); /* between its restarts there is nothing to follow */
        format_since(s->since_ns, since);
        s->result = stream_once(s, since, NULL, &s->err);
        s->since_ns = time_now_ns();
        if (s->result == -ERR_NOT_FOUND && s->options->stay) /* replaced meanwhile */
            s->result = 0;
    }
    return NULL;
}

static void look(struct source *s)
{
    _cleanup_json_ json_t *container = NULL;
    struct err err;
    if (cli_get(&container, &err, "/containers/%s/json", s->id) == 0)
        note_run(s, container);
}

/* Of an entry of the list, or of an inspection. */
static const char *full_name(const json_t *container)
{
    const char *listed = json_string_value(json_array_get(json_object_get(container, "Names"), 0));
    const char *name = listed ? listed : json_str(container, "Name");
    return name + (*name == '/');
}

int logs_show(const json_t *containers, const struct logs_options *options, struct err *err)
{
    size_t n = json_array_size(containers), i, width = 0;
    _cleanup_free_ struct source *sources = NEW_N(struct source, n + 1);
    json_t *c;
    json_array_foreach ((json_t *)containers, i, c) {
        char *name = project_short_name(c);
        sources[i] = (struct source){.options = options,
                                     .id = json_str(c, "Id"),
                                     .name = name,
                                     .full_name = mem_strdup(full_name(c)),
                                     .colour = output_prefix_colour(STDOUT_FILENO, i),
                                     .prefix = !options->no_prefix};
        look(&sources[i]);
        width = MAX(width, strlen(name));
    }
    for (i = 0; i < n; i++)
        sources[i].width = width;
    for (i = 0; i < n; i++)
        must(pthread_create(&sources[i].thread, NULL, follow, &sources[i]) == 0);
    int r = 0;
    for (i = 0; i < n; i++) {
        pthread_join(sources[i].thread, NULL);
        if (sources[i].result < 0 && r == 0)
            r = err_copy(err, &sources[i].err);
        free(sources[i].name);
        free(sources[i].full_name);
        free(sources[i].id_of_next);
        str_free(&sources[i].lines[0]);
        str_free(&sources[i].lines[1]);
    }
    return r;
}

/* --- drover logs --- */

/* "10m" as seconds ago; a time stamp; seconds since 1970. */
static int parse_time(const char *option, const char *text, char out[40], struct err *err)
{
    int64_t ns;
    if (parse_duration(text, &ns, NULL) == 0)
        ns = time_now_ns() - ns;
    else if (time_parse_rfc3339(text, &ns, NULL) < 0) {
        if (parse_i64(text, 0, INT64_MAX / NS_PER_S, &ns, NULL) < 0)
            return err_set(err, ERR_INVALID,
                           "--%s takes a duration (10m) or a time (2026-01-02T15:04:05Z), not \"%s\"", option,
                           text);
        ns *= NS_PER_S;
    }
    format_since(ns, out);
    return 0;
}

int cli_logs(int argc, char **argv)
{
    struct project_options project = {0};
    struct logs_options o = {0};
    const char *since = NULL, *until = NULL;
    bool no_colour = false;
    int index = 0;
    const struct cli_option options[] = {
        {'f', "follow", CLI_FLAG, &o.follow, NULL, "Go on with new output until the containers end"},
        {'n', "tail", CLI_TEXT, &o.tail, "N", "Only the last N lines of each container"},
        {0, "since", CLI_TEXT, &since, "TIME", "Only what is newer: 10m, or 2026-01-02T15:04:05Z"},
        {0, "until", CLI_TEXT, &until, "TIME", "Only what is older"},
        {0, "index", CLI_INT, &index, "N", "Only this container of each service"},
        {'t', "timestamps", CLI_FLAG, &o.timestamps, NULL, "Print the time of each line"},
        {0, "no-log-prefix", CLI_FLAG, &o.no_prefix, NULL, "Do not print names before the lines"},
        {0, "no-color", CLI_FLAG, &no_colour, NULL, "No colours"},
        {'p', "project-name", CLI_TEXT, &project.name, "NAME", "Project name"},
        {0, "file", CLI_LIST, &project.files, "FILE", "Compose file (again for more)"},
        PROJECT_OPTIONS_WITHOUT_SHORT(project),
        {0},
    };
    const struct cli_command command = {
        "logs [OPTIONS] [SERVICE | CONTAINER...]",
        "Prints what the project's services, or any containers, have written.",
        options,
        false,
        0,
        -1};
    char **names, since_text[40], until_text[40];
    int status = cli_parse(&command, argc, argv, &names);
    const struct targets_want want = {.all = true, .one_off = true, .index = index};
    _cleanup_targets_ struct targets t = {0};
    if (status < 0)
        status = targets_find(&project, names, &want, &t);
    project_options_done(&project);
    if (status || !t.containers)
        return status;
    if (no_colour)
        setenv("NO_COLOR", "1", 1);
    struct err err;
    int r = since ? parse_time("since", since, since_text, &err) : 0;
    if (r == 0 && until)
        r = parse_time("until", until, until_text, &err);
    o.since = since ? since_text : NULL;
    o.until = until ? until_text : NULL;
    /* A single container that was named is shown as `docker logs` shows it. */
    const json_t *only =
        json_array_size(t.containers) == 1 && *names ? json_array_get(t.containers, 0) : NULL;
    if (only && str_eq(targets_name(only), *names))
        o.no_prefix = true;
    if (r == 0)
        r = logs_show(t.containers, &o, &err);
    return r < 0 ? cli_fail(&err) : 0;
}
