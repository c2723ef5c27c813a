/* Swarm mode: services, tasks, nodes, secrets and configs, as the Docker Engine API has them, on the machines
 * of a cluster: one manager, which has the state and decides, and workers that carry out what is theirs.
 *
 * Documents are Docker's (API 1.45): specs come in as clients send them, objects go out as GET shows them.
 * JSON results are new references. `ref` is a full id, a name or a unique prefix of an id. An error that
 * swarmkit gives has its words, "rpc error: code = ..." included, since clients print and compare them.
 *
 * State is <root>/cluster.db (src/store): one row an object. Desired state is on disk when a call returns;
 * what tasks do is written behind, and found out again from the engine after a restart. One thread decides
 * (src/deploy), some others carry out what it decided (agent.c). Any thread may call anything. */
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H

#include "engine/engine.h"

#include <jansson.h>

struct cluster;

/* Also when this machine is in no swarm yet. Tasks that were there are taken up again. */
int cluster_open(struct engine *e, struct cluster **ret, struct err *err);
/* Before engine_close(). Containers live on. False: a task's stop or pull goes on longer than `grace_ms` (<0:
 * as long as it takes), and what it uses must stay, as the cluster does. */
bool cluster_close(struct cluster *c, int grace_ms);
/* Whether there is a swarm; every call below but cluster_init() is ERR_UNAVAILABLE, in Docker's words, when
 * there is none. */
bool cluster_active(struct cluster *c);
bool cluster_is_worker(struct cluster *c); /* in a swarm, and none of its managers */

/* The body of POST /swarm/init; *ret_node: the id of this node. */
int cluster_init(struct cluster *c, const json_t *body, char **ret_node, struct err *err);
/* The body of POST /swarm/join. */
int cluster_join(struct cluster *c, const json_t *body, struct err *err);
int cluster_leave(struct cluster *c, bool force, struct err *err);
int cluster_inspect(struct cluster *c, json_t **ret, struct err *err);
struct cluster_rotate {
    bool worker_token, manager_token, unlock_key;
};
int cluster_update(struct cluster *c, int64_t version, const struct cluster_rotate *rotate,
                   const json_t *spec, struct err *err);
/* The key with which managers that start are unlocked (autolock.h): "SWMKEY-1-...", or "" when they need
 * none. The caller frees. */
int cluster_unlock_key(struct cluster *c, char **ret, struct err *err);
bool cluster_locked(struct cluster *c);
/* On a manager that is locked. ERR_UNAUTHORIZED: the key is another; ERR_CONFLICT: it is not locked. */
int cluster_unlock(struct cluster *c, const char *key, struct err *err);
/* The "Swarm" of GET /info. */
json_t *cluster_info(struct cluster *c);

enum cluster_kind {
    CLUSTER_NODE,
    CLUSTER_SERVICE,
    CLUSTER_TASK,
    CLUSTER_SECRET,
    CLUSTER_CONFIG,
    CLUSTER_KINDS
};

/* `status`: services with how many tasks run and are wanted. */
int cluster_list(struct cluster *c, enum cluster_kind kind, const json_t *filters, bool status, json_t **ret,
                 struct err *err);
int cluster_get(struct cluster *c, enum cluster_kind kind, const char *ref, json_t **ret, struct err *err);
/* A service, a secret or a config. `auth`: X-Registry-Auth of the request, for the nodes' pulls; or NULL. */
int cluster_create(struct cluster *c, enum cluster_kind kind, const json_t *spec, const char *auth,
                   char **ret_id, struct err *err);
/* Everything but a task. `version`: the object's as last seen. */
int cluster_change(struct cluster *c, enum cluster_kind kind, const char *ref, int64_t version,
                   const json_t *spec, struct err *err);
struct cluster_service_update {
    int64_t version;
    const json_t *spec;
    const char *auth; /* or NULL: that of the service as it is */
    bool rollback;    /* to the previous spec; `spec` is passed over */
};
int cluster_service_update(struct cluster *c, const char *ref, const struct cluster_service_update *u,
                           struct err *err);
int cluster_remove(struct cluster *c, enum cluster_kind kind, const char *ref, bool force, struct err *err);

/* Networks of the driver "overlay", which all nodes that need them have: as the engine's calls. */
int cluster_network_create(struct cluster *c, const json_t *body, char **ret_id, json_t **ret_warning,
                           struct err *err);
/* Any network. One of the swarm: after cluster_free_network(). */
int cluster_network_remove(struct cluster *c, const char *ref, bool (*gone)(void *), void *context,
                           struct err *err);
/* The engine has removed those that nothing of this machine uses. */
void cluster_networks_pruned(struct cluster *c);

/* Before a network is removed: ERR_INVALID while a service is on it; waits for the tasks of services that
 * have been removed to leave it, or until `gone` says so. Another network, or none: 0. */
int cluster_free_network(struct cluster *c, const char *ref, bool (*gone)(void *), void *context,
                         struct err *err);

/* What a service's tasks (or one task) have written: `begin` as for engine_logs, once; then lines of all
 * containers as they come, each with attributes that tell node, service and task. Follow goes on with tasks
 * that come later. */
struct cluster_logs {
    bool is_task, follow, out, err_stream;
    int64_t since_ns, until_ns, tail;
    void *context;
    void (*begin)(void *context, bool tty);
    /* `attributes`: of this line, or NULL. Never called by two threads at once. */
    int (*line)(void *context, const json_t *attributes, int stream, int64_t at_ns, const void *bytes,
                size_t n);
    bool (*gone)(void *context);
};
int cluster_logs(struct cluster *c, const char *ref, const struct cluster_logs *logs, struct err *err);

/* --- Any node for the leader --- */

/* Whether this node is of a swarm that it does not lead: then calls about the swarm go on with
 * cluster_forward(). */
bool cluster_elsewhere(struct cluster *c);
/* On who leads, before it answers from what it knows: 0 when that has all that anybody acknowledged before
 * this call. ERR_NO_MAJORITY, in Docker's words, when another leads, or nobody can be known to. What changes
 * the swarm needs no such call: the change itself fails. */
int cluster_confirm(struct cluster *c, struct err *err);
struct cluster_forward {
    const char *method, *target; /* with version and query, as it came */
    char *const *headers;        /* "Name: value", or NULL */
    const void *body;
    size_t body_bytes;
    bool waits; /* it is answered when tasks have ended: within minutes */
    void *context;
    /* For an answer that is passed on as it comes: see http/client.h. Or NULL, and it is in *ret whole. */
    void (*head)(void *context, int status, const char *type);
    int (*bytes)(void *context, const void *bytes, size_t n, struct err *err);
    bool (*gone)(void *context);
};
struct http_response;
/* 0 whenever the leader answered. ERR_NO_MAJORITY, in Docker's words, when nobody leads. */
int cluster_forward(struct cluster *c, const struct cluster_forward *f, struct http_response *ret,
                    struct err *err);
/* How the leader answers what other nodes pass on to it: routes, context and admit() of it. It stays the
 * caller's, and in use until cluster_shut(). */
struct http_server_config;
void cluster_set_api(struct cluster *c, const struct http_server_config *api);
/* Where this node's engine listens: for who uses the cluster as one engine (gateway.c). Set once. */
void cluster_set_socket(struct cluster *c, const char *path);
/* A certificate for who uses the cluster as one engine, with its authority; `csr`: of a key of its own. The
 * caller frees both. Leader only. */
int cluster_client(struct cluster *c, const char *name, const char *csr, char **ret_certificate,
                   char **ret_authority, struct err *err);
int cluster_client_list(struct cluster *c, json_t **ret, struct err *err); /* [{Name, Serial, Ends}] */
/* All certificates of the name are refused from now on. */
int cluster_client_revoke(struct cluster *c, const char *name, struct err *err);
/* Nothing is taken from other nodes any more; false: something that was hangs longer than `grace_ms`. */
bool cluster_shut(struct cluster *c, int grace_ms);

/* The versions of a service that are kept, the oldest first, with what changed from each to the next. */
int cluster_service_versions(struct cluster *c, const char *ref, json_t **ret, struct err *err);
/* Rolls back (or forth) to one of them. */
int cluster_service_rollback(struct cluster *c, const char *ref, int64_t version, struct err *err);

/* Where tasks go and why: docs/scheduling.md. A strategy is "spread", "binpack", "random", or a Lua script
 * that is kept in the cluster. A service's label sh.drover.strategy names its own, else the cluster's is
 * used. A script that fails is stepped in for by spread, which cluster_explain() says. */
int cluster_strategy_list(struct cluster *c, json_t **ret, struct err *err);
int cluster_strategy_get(struct cluster *c, const char *name, struct str *ret, struct err *err);
/* Adds a script, or replaces it while tasks are placed by it. */
int cluster_strategy_put(struct cluster *c, const char *name, const char *text, size_t n, struct err *err);
int cluster_strategy_remove(struct cluster *c, const char *name, struct err *err);
int cluster_strategy_choose(struct cluster *c, const char *name, struct err *err); /* the cluster's */

/* How many tasks move at once when nodes have come; 0: none. */
int cluster_rebalance_get(struct cluster *c, int64_t *ret, struct err *err);
int cluster_rebalance_set(struct cluster *c, int64_t budget, struct err *err);

/* {Limits, Nodes: [{ID, Name, Health: well|degraded|sick|down|unknown, Message, Vitals}]}: health.h. */
int cluster_health_get(struct cluster *c, json_t **ret, struct err *err);
int cluster_health_set(struct cluster *c, const char *limits, struct err *err); /* health_limits_parse() */

/* `ref`: a service, a task by its id, or "SERVICE.SLOT" (the newest task of the slot). */
int cluster_explain(struct cluster *c, const char *ref, json_t **ret, struct err *err);
/* What a change would do, which is not made: {"Services": [ServiceSpec]} or {"Node": ref, "Availability":
 * "drain"}. */
int cluster_plan(struct cluster *c, const json_t *body, json_t **ret, struct err *err);

#endif
