/* Logs of a task that runs on another node (logs_remote.c), for who gathers those of a service (logs.c). */
#ifndef CLUSTER_LOGS_H
#define CLUSTER_LOGS_H

#include "cluster/cluster_priv.h"
#include "http/server.h"

struct logs_place {
    char *node, *door; /* id, and "HOST:PORT" of its port; NULL: this node */
    char *container;
};

/* As engine_container_logs(); without the lock. */
int logs__read_remote(struct cluster *c, const struct logs_place *place, const struct engine_logs *logs,
                      struct err *err);
/* GET /cluster/logs/{container}, from managers. */
int logs__serve_remote(struct http_request *q, void *context, struct err *err);

#endif
