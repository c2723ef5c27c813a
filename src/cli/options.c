#include "cli/options.h"

#include "cli/call.h"
#include "compose/problem.h"

static const char *host_option, *socket_option;
static bool help_option;

static const struct cli_option common_options[] = {
    {'H', "host", CLI_TEXT, &host_option, "unix://PATH", "The server's socket, as docker's -H"},
    {0, "socket", CLI_TEXT, &socket_option, "PATH",
     "The server's socket (default $DROVER_SOCKET, $DOCKER_HOST, " CLI_DEFAULT_SOCKET ")"},
    {0, "help", CLI_FLAG, &help_option, NULL, "Print this text"},
    {0},
};

struct parser {
    const char *verb; /* "" before it */
    const struct cli_option *options;
    char **argv;
    int argc, at;
};

static const struct cli_option *in_table(const struct cli_option *table, const char *name, size_t n,
                                         char letter)
{
    for (; table && table->name; table++)
        if (name ? strlen(table->name) == n && strncmp(table->name, name, n) == 0 : table->letter == letter)
            return table;
    return NULL;
}

static const struct cli_option *find(const struct parser *p, const char *name, size_t n, char letter)
{
    const struct cli_option *o = in_table(p->options, name, n, letter);
    return o ? o : in_table(common_options, name, n, letter);
}

static int complain(const struct parser *p, const char *format, ...) _printf_(2, 3);
static int complain(const struct parser *p, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "drover%s%s: ", *p->verb ? " " : "", p->verb);
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    fprintf(stderr, "See \"drover %s%s--help\".\n", p->verb, *p->verb ? " " : "");
    return 2;
}

static int unknown(const struct parser *p, const char *shown, const char *name)
{
    const char *words[96];
    size_t n = 0;
    for (const struct cli_option *o = p->options; o && o->name && n < 90; o++)
        words[n++] = o->name;
    for (const struct cli_option *o = common_options; o->name; o++)
        words[n++] = o->name;
    words[n] = NULL;
    const char *near = name ? problem_nearest(name, words) : NULL;
    if (near)
        return complain(p, "unknown option %s; did you mean --%s?", shown, near);
    return complain(p, "unknown option %s", shown);
}

static int store(const struct parser *p, const struct cli_option *o, const char *value)
{
    struct err err;
    int64_t number;
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)o->target = true;
        if (value && parse_bool(value, o->target, &err) < 0)
            return complain(p, "--%s: %s", o->name, err.msg);
        return -1;
    case CLI_TEXT:
        *(const char **)o->target = value;
        return -1;
    case CLI_WORD:
        *(const char **)o->target = value ? value : "true";
        return -1;
    case CLI_LIST:
        strv_add(o->target, value);
        return -1;
    case CLI_INT:
        if (parse_i64(value, INT32_MIN, INT32_MAX, &number, &err) < 0)
            return complain(p, "--%s: %s", o->name, err.msg);
        *(int *)o->target = (int)number;
        return -1;
    }
    return -1;
}

/* The value behind an option, or NULL with the error's exit status. */
static const char *next_value(struct parser *p, const struct cli_option *o, int *ret_status)
{
    if (p->at + 1 < p->argc)
        return p->argv[++p->at];
    *ret_status = complain(p, "--%s needs a value: %s", o->name, o->value ? o->value : "VALUE");
    return NULL;
}

static bool needs_value(const struct cli_option *o)
{
    return o->kind != CLI_FLAG && o->kind != CLI_WORD;
}

static int parse_long(struct parser *p, const char *word)
{
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    const struct cli_option *o = find(p, name, n, 0);
    _cleanup_free_ char *bare = mem_strndup(name, n);
    int status = -1;
    if (!o) {
        _cleanup_free_ char *shown = str_printf("--%s", bare);
        return unknown(p, shown, bare);
    }
    const char *value = equals ? equals + 1 : NULL;
    if (!value && needs_value(o) && !(value = next_value(p, o, &status)))
        return status;
    return store(p, o, value);
}

static int parse_short(struct parser *p, const char *word)
{
    for (const char *letter = word + 1; *letter; letter++) {
        const struct cli_option *o = find(p, NULL, 0, *letter);
        const char shown[] = {'-', *letter, '\0'};
        int status = -1;
        if (!o)
            return unknown(p, shown, NULL);
        if (!needs_value(o)) {
            status = store(p, o, NULL);
            if (status >= 0)
                return status;
            continue;
        }
        const char *value = letter[1] ? letter + 1 + (letter[1] == '=') : next_value(p, o, &status);
        return value ? store(p, o, value) : status;
    }
    return -1;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1];
}

/* Takes options; other words move to the front of argv (or end it all). */
static int parse(struct parser *p, bool stop_at_word, int *ret_words)
{
    int words = 0, status = -1;
    for (p->at = 1; status < 0 && p->at < p->argc; p->at++) {
        char *word = p->argv[p->at];
        if (strcmp(word, "--") == 0) {
            p->at++;
            break;
        }
        if (!is_option(word)) {
            if (stop_at_word)
                break;
            p->argv[1 + words++] = word;
            continue;
        }
        status = word[1] == '-' ? parse_long(p, word) : parse_short(p, word);
    }
    for (; status < 0 && p->at < p->argc; p->at++)
        p->argv[1 + words++] = p->argv[p->at];
    *ret_words = words;
    return status;
}

void cli_print_options(const struct cli_option *options)
{
    for (const struct cli_option *o = options; o && o->name; o++) {
        _cleanup_free_ char *left = str_printf(
            "%c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->letter ? "," : " ",
            o->name, needs_value(o) ? " " : "", o->kind == CLI_FLAG ? "" : o->value);
        if (strlen(left) > 30)
            printf("  %s\n  %-30s  %s\n", left, "", o->help);
        else
            printf("  %-30s  %s\n", left, o->help);
    }
}

void cli_print_global_options(void)
{
    cli_print_options(common_options);
}

static void print_help(const struct cli_command *c)
{
    printf("Usage: drover %s\n\n%s\n", c->usage, c->summary);
    if (c->options && c->options->name) {
        printf("\nOptions:\n");
        cli_print_options(c->options);
    }
    printf("\nCommon options:\n");
    cli_print_options(common_options);
}

static int apply_server(const struct parser *p)
{
    struct err err;
    if (host_option && cli_set_host(host_option, &err) < 0)
        return complain(p, "%s", err.msg);
    if (socket_option)
        cli_set_socket(socket_option);
    return -1;
}

int cli_parse(const struct cli_command *command, int argc, char **argv, char ***ret_rest)
{
    struct parser p = {.verb = argv[0], .options = command->options, .argv = argv, .argc = argc};
    int words = 0;
    int status = parse(&p, command->options_first, &words);
    if (status < 0 && help_option) {
        print_help(command);
        return 0;
    }
    if (status < 0)
        status = apply_server(&p);
    if (status >= 0)
        return status;
    argv[1 + words] = NULL;
    if (words < command->least)
        return complain(&p, "too few arguments; usage: drover %s", command->usage);
    if (command->most >= 0 && words > command->most)
        return complain(&p, "unexpected argument \"%s\"; usage: drover %s", argv[1 + command->most],
                        command->usage);
    *ret_rest = argv + 1;
    return -1;
}

int cli_parse_global(const struct cli_option *options, int argc, char **argv, int *ret_used)
{
    struct parser p = {.verb = "", .options = options, .argv = argv, .argc = argc};
    int status = -1;
    for (p.at = 1; status < 0 && p.at < argc && is_option(argv[p.at]); p.at++) {
        char *word = argv[p.at];
        if (strcmp(word, "-h") == 0 || strcmp(word, "-v") == 0 || strcmp(word, "--version") == 0)
            break;
        status = word[1] == '-' ? parse_long(&p, word) : parse_short(&p, word);
    }
    if (status < 0)
        status = apply_server(&p);
    *ret_used = p.at;
    if (status < 0 && help_option) {
        help_option = false;
        *ret_used = 0; /* as if nothing was said: the general help */
    }
    return status;
}
