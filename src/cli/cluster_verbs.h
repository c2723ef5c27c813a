/* What the files of `drover cluster` share: cluster.c has the table of its verbs. */
#ifndef CLI_CLUSTER_VERBS_H
#define CLI_CLUSTER_VERBS_H

#include "base/err.h"

#include <jansson.h>

/* POST /swarm/update of the swarm as it is. `spec`: what changes in its spec, or NULL; `query`: "&key=value",
 * or "". */
int cluster_update_swarm(const json_t *spec, const char *query, struct err *err);

int cluster_ca_verb(int argc, char **argv);

/* cluster_nodes.c */
int cluster_list_verb(int argc, char **argv);
int cluster_change_verb(int argc,
                        char **argv); /* what argv[0] names: promote, demote, drain, pause, activate */
int cluster_remove_verb(int argc, char **argv);
int cluster_health_verb(int argc, char **argv); /* cluster_health.c */

/* cluster_clients.c */
int cluster_client_verb(int argc, char **argv);
int cluster_clients_verb(int argc, char **argv);
int cluster_revoke_verb(int argc, char **argv);

/* cluster_lock.c */
int cluster_autolock_verb(int argc, char **argv);
int cluster_unlock_verb(int argc, char **argv);
int cluster_unlock_key_verb(int argc, char **argv);
/* Says how managers are unlocked from now on. ERR_NOT_FOUND: they need no key. */
int cluster_print_unlock(struct err *err);

#endif
