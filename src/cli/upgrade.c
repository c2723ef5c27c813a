/* `drover upgrade`: the running server and its keeper become another binary. */
#include "base/json.h"
#include "base/process.h"
#include "cli/call.h"
#include "cli/options.h"
#include "cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>

int cli_upgrade(int argc, char **argv)
{
    const char *binary = NULL;
    const struct cli_option options[] = {
        {0, "binary", CLI_TEXT, &binary, "PATH", "What they become (default: the binary of this command)"},
        {0},
    };
    const struct cli_command command = {
        .usage = "upgrade [OPTIONS]",
        .summary =
            "Replaces the binary of the running server and of its keeper while containers run on. Put the "
            "new binary in its place first, then run this.",
        .options = options,
    };
    char **rest;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    struct err err = {0};
    _cleanup_free_ char *own = NULL, *absolute = NULL;
    _cleanup_json_ json_t *answer = NULL;
    int r = binary ? 0 : process_self_path(&own, &err);
    if (r == 0 && !(absolute = realpath(binary ? binary : own, NULL)))
        r = err_sys(&err, errno, "%s", binary ? binary : own);
    _cleanup_free_ char *escaped = absolute ? cli_escape(absolute) : NULL;
    if (r == 0)
        r = cli_call("POST", NULL, &answer, &err, "/drover/upgrade?binary=%s", escaped);
    if (r < 0)
        return cli_fail(&err);
    printf("from %s to %s\n", json_str(answer, "From"), json_str(answer, "To"));
    return 0;
}
