/* Commands that a Compose file has run in a container: post_start, pre_stop, a watch's exec. */
#ifndef CLI_HOOK_H
#define CLI_HOOK_H

#include "compose/compose.h"

/* Runs one to its end. A status other than 0 is an error with the last of its output. */
int hook_run(const char *container, const struct compose_hook *hook, struct err *err);

#endif
