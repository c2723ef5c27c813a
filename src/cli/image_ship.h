/* `drover image push IMAGE... [ssh://...]` and `drover image pull`: images to and from another machine
 * without a registry. */
#ifndef CLI_IMAGE_SHIP_H
#define CLI_IMAGE_SHIP_H

int cli_image_push(int argc, char **argv);
int cli_image_pull(int argc, char **argv);

#endif
