#include "cli/bake.h"
#include "cli/cli.h"

static const struct cli_verb bake_verbs[] = {
    {"base", "Make a base image from a distribution's signed packages", cli_bake_base},
    {NULL, NULL, NULL},
};

int cli_bake(int argc, char **argv)
{
    for (const struct cli_verb *v = bake_verbs; argc > 1 && v->name; v++)
        if (str_eq(v->name, argv[1]))
            return v->main(argc - 1, argv + 1);
    bool help = argc > 1 && (str_eq(argv[1], "--help") || str_eq(argv[1], "-h"));
    FILE *out = help ? stdout : stderr;
    if (argc > 1 && !help)
        fprintf(out, "drover: bake has no verb \"%s\"\n", argv[1]);
    fprintf(out, "Usage: drover bake VERB [ARGUMENTS...]\n\nVerbs:\n");
    for (const struct cli_verb *v = bake_verbs; v->name; v++)
        fprintf(out, "  %-10s %s\n", v->name, v->summary);
    return help ? 0 : 2;
}
