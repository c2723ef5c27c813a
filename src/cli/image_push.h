/* `drover image push IMAGE... [ssh://...]`: images to another machine without a registry. */
#ifndef CLI_IMAGE_PUSH_H
#define CLI_IMAGE_PUSH_H

int cli_image_push(int argc, char **argv);

#endif
