/* Who the users of a new user namespace are outside of it (user_namespaces(7)). */
#ifndef RUNTIME_IDMAPS_H
#define RUNTIME_IDMAPS_H

#include "runtime/plan.h"

/* Writes the maps of the process's namespace. Who may not do it alone has newuidmap(1) and newgidmap(1) do it
 * by /etc/subuid and /etc/subgid; a map of nobody but the caller is always possible, and then the groups can
 * not be changed inside. */
int idmaps_write(pid_t pid, const struct plan_id_maps *maps, struct err *err);

/* What the id is outside; UINT32_MAX (to chown(2): as it is): nobody. */
uint32_t idmaps_outside(const struct plan_id_map *maps, size_t count, uint32_t id);

#endif
