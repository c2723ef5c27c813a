/* `drover shutdown`: ends what outlives the server. */
#include "cli/options.h"
#include "cli/verbs.h"
#include "engine/engine.h"

#include <stdio.h>

int cli_shutdown(int argc, char **argv)
{
    const char *root = "/var/lib/drover";
    const struct cli_option options[] = {
        {0, "root", CLI_TEXT, &root, "DIR", "the server's directory (default /var/lib/drover)"},
        {0},
    };
    const struct cli_command command = {
        .usage = "shutdown [OPTIONS]",
        .summary = "Ends the processes and networks that outlive a stopped server: the keeper, which holds "
                   "containers, the DNS process, "
                   "bridges and firewall rules. Refused while containers run. Data and images stay.",
        .options = options,
    };
    char **rest;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    struct err err;
    int r = engine_shutdown(root, &err);
    if (r == 0)
        return 0;
    fprintf(stderr, "drover: %s\n", err.msg);
    return err_exit_code(r);
}
