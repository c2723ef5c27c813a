#include "cli/group.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/output.h"

#include <stdio.h>

/* How many of the words are the name: 0 if they are not. */
static int words_of(const char *name, int argc, char **argv)
{
    const char *space = strchr(name, ' ');
    if (!space)
        return argc > 1 && str_eq(argv[1], name) ? 1 : 0;
    size_t first = (size_t)(space - name);
    return argc > 2 && strlen(argv[1]) == first && memcmp(argv[1], name, first) == 0 &&
                   str_eq(argv[2], space + 1)
               ? 2
               : 0;
}

int cli_group(const char *group, const char *about, const struct cli_verb *verbs, int argc, char **argv)
{
    int width = 10;
    for (const struct cli_verb *v = verbs; v->name; v++) {
        int used = words_of(v->name, argc, argv);
        if (used)
            return v->main(argc - used, argv + used);
        width = MAX(width, (int)strlen(v->name));
    }
    bool help = argc > 1 && (str_eq(argv[1], "--help") || str_eq(argv[1], "-h"));
    FILE *to = help ? stdout : stderr;
    if (argc > 1 && !help)
        fprintf(to, "drover %s: no verb \"%s\"\n", group, argv[1]);
    fprintf(to, "Usage: drover %s VERB [ARGUMENTS...]\n\n%s\n\nVerbs:\n", group, about);
    for (const struct cli_verb *v = verbs; v->name; v++)
        fprintf(to, "  %-*s  %s\n", width, v->name, v->summary);
    fprintf(to, "\nSee \"drover %s VERB --help\".\n", group);
    return help ? 0 : 2;
}

int cli_show(const char *path, bool json, void (*print)(const json_t *))
{
    struct err err = {0};
    _cleanup_json_ json_t *answer = NULL;
    if (cli_get(&answer, &err, "%s", path) < 0)
        return cli_fail(&err);
    if (json)
        output_json(answer);
    else
        print(answer);
    return 0;
}

int cli_view(const char *usage, const char *summary, const char *path, void (*print)(const json_t *),
             int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{0, "json", CLI_FLAG, &json, NULL, "The answer as JSON"}, {0}};
    const struct cli_command command = {usage, summary, options, false, 0, 0};
    char **rest;
    int status = cli_parse(&command, argc, argv, &rest);
    return status >= 0 ? status : cli_show(path, json, print);
}

int cli_each(const struct cli_command *command, int argc, char **argv,
             int (*one)(const char *word, void *context, struct err *err), void *context)
{
    char **rest;
    struct err err = {0};
    int status = cli_parse(command, argc, argv, &rest);
    for (; status < 0 && *rest; rest++)
        if (one(*rest, context, &err) < 0)
            return cli_fail(&err);
    return MAX(status, 0);
}
