/* Verbs that have verbs (`drover registry ls`), and the frame of those that show what the server tells. */
#ifndef CLI_GROUP_H
#define CLI_GROUP_H

#include "cli/cli.h"
#include "cli/options.h"

#include <jansson.h>

/* Runs the verb of `group` that argv[1] names, or argv[1] and argv[2] ("token create"), with the last of
 * these words as its argv[0]. Without one that is known: the list, and status 2 unless --help asked for it.
 * `about` is a sentence; `verbs` ends with a NULL name. */
int cli_group(const char *group, const char *about, const struct cli_verb *verbs, int argc, char **argv);

/* Gets `path` and prints it by `print`, or as it came. Returns the exit status. */
int cli_show(const char *path, bool json, void (*print)(const json_t *));

/* A verb without words of its own, and with no option but --json: gets `path` and prints it by `print`, or as
 * it came. Returns the exit status. */
int cli_view(const char *usage, const char *summary, const char *path, void (*print)(const json_t *),
             int argc, char **argv);

/* A verb that does `one` to each of its words, and stops at the first that fails. Returns the exit status. */
int cli_each(const struct cli_command *command, int argc, char **argv,
             int (*one)(const char *word, void *context, struct err *err), void *context);

#endif
