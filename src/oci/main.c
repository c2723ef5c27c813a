#include "oci/oci.h"

#include <stdio.h>
#include <string.h>

int oci_main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("drover-oci version %s\nspec: 1.2.0\n", DROVER_VERSION);
        return 0;
    }
    fprintf(stderr, "usage: drover-oci [OPTIONS] COMMAND\n");
    return 2;
}
