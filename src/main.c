#include "cli/cli.h"
#include "oci/oci.h"

#include <string.h>

/* The binary goes by two names: drover, and drover-oci for engines that want an OCI runtime. */
int main(int argc, char **argv)
{
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc ? argv[0] : "";
    return strcmp(name, "drover-oci") == 0 ? oci_main(argc, argv) : cli_main(argc, argv);
}
