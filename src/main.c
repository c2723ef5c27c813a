#include "cli/cli.h"
#include "oci/oci.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The binary goes by two names: drover, and drover-oci for engines that want an OCI runtime. */
int main(int argc, char **argv)
{
    /* Libraries come when they are needed (base/deferred.h); the loader is not to look for them now. */
    if (getenv("LD_BIND_NOW")) {
        unsetenv("LD_BIND_NOW");
        execv("/proc/self/exe", argv);
    }
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc ? argv[0] : "";
    return strcmp(name, "drover-oci") == 0 ? oci_main(argc, argv) : cli_main(argc, argv);
}
