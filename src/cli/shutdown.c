/* `drover shutdown`: ends what outlives the server. */
#include "cli/options.h"
#include "cli/verbs.h"
#include "engine/engine.h"
#include "rootless/rootless.h"

#include <stdio.h>
#include <unistd.h>

/* Without root what is to end lives in namespaces, if it lives. */
static int shut_down(const char *root, struct err *err)
{
    _cleanup_free_ char *option = str_printf("--root=%s", root);
    char *const inside[] = {(char *)"drover", (char *)"shutdown", option, NULL};
    if (geteuid())
        return rootless_enter(root, false, inside, err);
    int r = engine_shutdown(root, err);
    return r == 0 && rootless_inside(root) ? rootless_end(root, err) : r;
}

int cli_shutdown(int argc, char **argv)
{
    _cleanup_free_ char *by_default = rootless_default_root();
    const char *root = by_default;
    const struct cli_option options[] = {
        {0, "root", CLI_TEXT, &root, "DIR",
         "the server's directory (default /var/lib/drover; without root "
         "$XDG_DATA_HOME/drover)"},
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
    struct err err = {0};
    int r = shut_down(root, &err);
    if (r == 0)
        return 0;
    fprintf(stderr, "drover: %s\n", err.msg);
    return err_exit_code(r);
}
