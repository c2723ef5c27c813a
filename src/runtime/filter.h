/* System call filters: from "linux.seccomp" of a config (config-linux.md, "Seccomp") to a BPF program. */
#ifndef RUNTIME_FILTER_H
#define RUNTIME_FILTER_H

#include "base/err.h"

#include <jansson.h>
#include <linux/filter.h>

/* Compiles, or finds the program that was compiled for an equal policy: a handful are kept for the life of
 * the process, since compiling takes some ten times as long as a launch. The program stays this module's.
 * `ret_flags` are those of seccomp(2). */
int seccomp_compile(const json_t *policy, const struct sock_fprog **ret, unsigned *ret_flags,
                    struct err *err);
/* In the child, for a policy without SCMP_ACT_NOTIFY (then its flags have SECCOMP_FILTER_FLAG_NEW_LISTENER:
 * see listener.h). Without no_new_privs this needs CAP_SYS_ADMIN. */
int seccomp_apply(const struct sock_fprog *program, unsigned flags, struct err *err);

#endif
