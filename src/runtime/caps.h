/* Capability sets of the process to be (capabilities(7)). */
#ifndef RUNTIME_CAPS_H
#define RUNTIME_CAPS_H

#include "runtime/plan.h"

/* Adds the capability's bit. An unknown name, or one this process cannot give because it does not have it
 * itself, is an error naming it. In a user namespace (`mapped`) every process has all there are. */
int caps_parse(const char *name, bool mapped, uint64_t *set, struct err *err);
const char *caps_name(unsigned number); /* "CAP_CHOWN" of 0; NULL beyond the last */
/* In the child: narrows the bounding set (needs CAP_SETPCAP, so before the user changes). */
int caps_drop_bounding(const struct plan_process *process, bool mapped, struct err *err);
/* In the child, after the user has changed with PR_SET_KEEPCAPS: the other four sets. */
int caps_apply(const struct plan_process *process, struct err *err);

#endif
