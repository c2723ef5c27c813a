/* A scheduler that is as plain as can be: it looks at every node for every task and keeps no index. It knows
 * the public header only, so that what it says can be held against what the scheduler does. */
#ifndef TESTS_REFERENCE_H
#define TESTS_REFERENCE_H

#include "scheduler/scheduler.h"

enum { REF_NODES = 48, REF_TASKS = 4096, REF_SERVICES = 24, REF_IMAGES = 4, REF_VOLUMES = 3 };

/* One service's request, in the few forms that the worlds of these tests have. */
struct ref_service {
    char name[16];
    int64_t cpu, memory, gpu;
    const char *constraint_key, *constraint_value; /* a label: NULL is none */
    bool negate, soft;
    const char *host; /* node.hostname==; NULL */
    const char *preferences[2];
    int near, away; /* services; -1 */
    bool near_soft, away_soft;
    int port;   /* 0: none */
    int image;  /* -1 */
    int volume; /* -1 */
    bool exclusive;
    uint32_t max_per_node;
    int32_t priority;
    const char *os; /* NULL: any */
    const char *pool, *tenant, *strategy;
};
struct ref_node {
    char id[24];
    bool used;
    enum sched_state state;
    enum sched_availability availability;
    enum sched_health health;
    const char *zone, *disk, *os, *pool, *tenant;
    int64_t cpu, memory, gpu;
    bool images[REF_IMAGES], volumes[REF_VOLUMES];
    int own_port;
};
struct ref_task {
    int service, node; /* service -1: free */
};
struct ref_world {
    struct ref_node nodes[REF_NODES];
    struct ref_service services[REF_SERVICES];
    int service_count;
    struct ref_task tasks[REF_TASKS];
    int task_top;
};

/* Whether every rule lets the service's next task onto the node. */
bool ref_possible(const struct ref_world *w, int service, int node);
/* The same but for what is reserved and for ports. */
bool ref_lasting(const struct ref_world *w, int service, int node);
/* What is reserved and ports alone. */
bool ref_fits(const struct ref_world *w, int service, int node);
/* The best node by the rank in scheduler.h without its last part: all nodes that share it are marked. Returns
 * how many. */
int ref_best(const struct ref_world *w, int service, bool best[REF_NODES]);
int ref_on_node(const struct ref_world *w, int service, int node); /* service -1: of all */
void ref_free(const struct ref_world *w, int node, int64_t *cpu, int64_t *memory, int64_t *gpu);

#endif
