/* The agent of a seccomp policy with SCMP_ACT_NOTIFY: gets the filter's listener, and from then on answers
 * for the calls that the policy names (config-linux.md, "The Container Process State"). */
#ifndef RUNTIME_LISTENER_H
#define RUNTIME_LISTENER_H

#include "runtime/plan.h"

/* "listenerPath" and "listenerMetadata" of the policy whose compiled flags are `flags`. */
int listener_parse(const json_t *policy, unsigned flags, struct plan_listener *ret, struct err *err);
/* In the parent: connects to the agent, and says in which container it is. `container_pid`: 0 when the
 * process to be is itself its first. */
int listener_connect(struct plan_listener *listener, const struct hook_state *state, pid_t container_pid,
                     struct err *err);
void listener_done(struct plan_listener *listener);

/* In the child: loads the filter and sends its listener. `pid` is the process as the parent sees it. */
int listener_apply(const struct plan_listener *listener, const struct sock_fprog *program, unsigned flags,
                   pid_t pid, struct err *err);

#endif
