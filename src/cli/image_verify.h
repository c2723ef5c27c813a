/* `drover image verify`: are images signed by whom they should be? */
#ifndef CLI_IMAGE_VERIFY_H
#define CLI_IMAGE_VERIFY_H

int cli_image_verify(int argc, char **argv);

#endif
