#include "cli/cli.h"

#include "cli/internal.h"

#include <stdio.h>
#include <string.h>

const struct cli_verb cli_verbs[] = {
    {"keeper", NULL, cli_keeper},
    {"dns", NULL, cli_dns},
    {NULL, NULL, NULL},
};

static int usage(FILE *to)
{
    fprintf(to, "usage: drover VERB ...\n");
    return to == stderr ? 2 : 0;
}

int cli_main(int argc, char **argv)
{
    if (argc < 2)
        return usage(stderr);
    for (const struct cli_verb *v = cli_verbs; v->name; v++)
        if (strcmp(v->name, argv[1]) == 0)
            return v->main(argc - 1, argv + 1);
    return usage(strcmp(argv[1], "--help") == 0 ? stdout : stderr);
}
