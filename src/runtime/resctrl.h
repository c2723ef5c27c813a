/* Classes of service for caches and memory bandwidth, and their monitoring (config-linux.md, "IntelRdt"; the
 * kernel's filesystems/resctrl). For bundles alone: the engine's own configs ask for none.
 *
 *   resctrl_check     before anything is made: whether the config can be done here
 *   resctrl_dirs      what resctrl_enter() will make for this container alone, to be remembered before it
 * does resctrl_enter     the first process, before it runs the program; takes back what it made when it fails
 *   resctrl_join      a further process
 *   resctrl_remove    what resctrl_dirs() said
 *
 * All return 0 for a config without "linux.intelRdt". */
#ifndef RUNTIME_RESCTRL_H
#define RUNTIME_RESCTRL_H

#include "base/err.h"

#include <jansson.h>
#include <sys/types.h>

int resctrl_check(const json_t *config, struct err *err);
/* An array of paths, the inner one first; empty: nothing. */
json_t *resctrl_dirs(const json_t *config, const char *id);
int resctrl_enter(const json_t *config, const char *id, pid_t pid, struct err *err);
int resctrl_join(const json_t *config, const char *id, pid_t pid, struct err *err);
void resctrl_remove(const json_t *dirs);

/* For tests: a directory that stands in for the mounted file system; NULL: look for it. */
void resctrl__use(const char *dir);

#endif
