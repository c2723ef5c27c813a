/* `drover image`: the verbs that are about images alone. */
#include "cli/cli.h"
#include "cli/image_ship.h"
#include "cli/image_test.h"
#include "cli/image_verify.h"
#include "cli/verbs.h"

#include "base/str.h"

#include <stdio.h>

static const struct cli_verb image_verbs[] = {
    {"pull", "Fetch images from another machine, or from registries", cli_image_pull},
    {"push", "Send images to another machine, or to registries", cli_image_push},
    {"test", "Test an image before it ships", cli_image_test},
    {"verify", "Tell whether images are signed by whom they should be", cli_image_verify},
    {NULL, NULL, NULL},
};

int cli_image(int argc, char **argv)
{
    for (const struct cli_verb *v = image_verbs; argc > 1 && v->name; v++)
        if (str_eq(v->name, argv[1]))
            return v->main(argc - 1, argv + 1);
    bool help = argc > 1 && (str_eq(argv[1], "--help") || str_eq(argv[1], "-h"));
    FILE *out = help ? stdout : stderr;
    if (argc > 1 && !help)
        fprintf(out, "drover: image has no verb \"%s\"\n", argv[1]);
    fprintf(out, "Usage: drover image VERB [ARGUMENTS...]\n\nVerbs:\n");
    for (const struct cli_verb *v = image_verbs; v->name; v++)
        fprintf(out, "  %-10s %s\n", v->name, v->summary);
    return help ? 0 : 2;
}
