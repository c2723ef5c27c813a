/* What the process to be may do, taken on step by step in the child. Private to the runtime. */
#ifndef RUNTIME_PRIVILEGES_H
#define RUNTIME_PRIVILEGES_H

#include "runtime/plan.h"

/* `pid` is the process that is meant, or 0 for the caller. Lowering the OOM score and raising limits need
 * CAP_SYS_RESOURCE of the machine; what is so already is never an error. */
int privileges_set_oom_score(const struct plan_process *process, pid_t pid, struct err *err);
/* Raises hard limits only, for a child that will not be able to. */
int privileges_raise_limits(const struct plan_process *process, pid_t pid, struct err *err);
int privileges_set_limits(const struct plan_process *process, struct err *err);

/* In a new user namespace: its root, if it has one; else the user of the process. */
int privileges_become_root(const struct plan_process *process, struct err *err);
/* A session keyring of its own, so that the engine's keys cannot be read and the container's not by others.
 */
int privileges_join_keyring(const char *container_id, struct err *err);
/* Whether the working directory can be entered; enters it. */
int privileges_check_cwd(const struct plan_process *process, struct err *err);
/* From the engine's rights to the container's. Without no_new_privs a filter can only be loaded while
 * CAP_SYS_ADMIN is there, so it must allow what comes after; with it, the caller loads it as late as can be.
 */
int privileges_drop(const struct plan *plan, int (*load_filter)(void *context, struct err *err),
                    void *context, struct err *err);

#endif
