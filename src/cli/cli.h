/* The command line: one table of verbs (verbs.c), one file a verb. A verb parses its arguments, calls the
 * API, prints.
 *
 * Exit status: 0, or err_exit_code() of the error (2 for a wrong call), or a container's own status where the
 * verb runs one. Errors go to stderr as "drover: message". */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>

struct cli_verb {
    const char *name;
    const char *summary; /* one line for `drover --help`; NULL: a part of the machinery, not shown */
    int (*main)(int argc, char **argv); /* argv[0] is the verb */
};

extern const struct cli_verb cli_verbs[]; /* ends with a NULL name */

int cli_main(int argc, char **argv);

#endif
