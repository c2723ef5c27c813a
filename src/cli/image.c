/* `drover image`: the verbs that are about images alone. */
#include "cli/group.h"
#include "cli/image_ship.h"
#include "cli/image_test.h"
#include "cli/image_verify.h"
#include "cli/verbs.h"

static const struct cli_verb image_verbs[] = {
    {"pull", "Fetch images from another machine, or from registries", cli_image_pull},
    {"push", "Send images to another machine, or to registries", cli_image_push},
    {"test", "Test an image before it ships", cli_image_test},
    {"verify", "Tell whether images are signed by whom they should be", cli_image_verify},
    {NULL, NULL, NULL},
};

int cli_image(int argc, char **argv)
{
    return cli_group("image", "What is done with images alone.", image_verbs, argc, argv);
}
