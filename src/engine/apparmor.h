/* The AppArmor profile of containers that ask for none, on machines that have AppArmor: "drover-default". It
 * forbids what the other walls around a container forbid, too (mounting, the machine's own settings below
 * /proc/sys and /sys, memory of processes outside), so that one of them may fail.
 *
 * It is loaded by the first container that needs it, with apparmor_parser(8). Where that cannot be done (no
 * such program, no right to: a user namespace, a container around us) containers run without, as on a machine
 * that has no AppArmor, and the log says so once. */
#ifndef ENGINE_APPARMOR_H
#define ENGINE_APPARMOR_H

#include "base/json.h"

/* The profile's name, or NULL. Loads it at the first call of this process; any thread. */
const char *apparmor_default(void);

/* What `inspect` shows of a container with these "HostConfig": a profile, "unconfined", or "" without
 * AppArmor. */
const char *apparmor_shown(const json_t *host);

#endif
