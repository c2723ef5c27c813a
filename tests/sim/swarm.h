/* A swarm in virtual time: src/deploy decides, src/scheduler chooses, and nodes do what they are told, slowly
 * and with failures. It does with the two what src/cluster does, without its store, its calls and its
 * threads. */
#ifndef TESTS_SIM_SWARM_H
#define TESTS_SIM_SWARM_H

#include "deploy/deploy.h"
#include "scheduler/rebalance.h"

enum {
    SWARM_NODES = 12,
    SWARM_SERVICES = 8,
    SWARM_TASKS = 4096,  /* at a time, ended ones that are kept included */
    SWARM_SETTLE_S = 15, /* after a node has come, before tasks move to it */
};

struct swarm_node {
    char id[8];
    int64_t cpu;
    bool lost, drained;
};

struct swarm_task {
    struct deploy_task t; /* `owner` is this one */
    char id[12];
    int service;
    sched_task placed;
    bool gives_way; /* it ends so that another has its room */
    bool made_room; /* others end, or ended, so that it has theirs */
};

struct swarm_service {
    char name[12];
    struct deploy_spec spec;
    int64_t cpu; /* of a task */
    int32_t priority;
    int64_t version;
    struct deploy_rollout_status status;
    struct sched_shape *shape;
};

struct swarm {
    uint64_t seed, random;
    int64_t now_ns;
    struct sched *model;
    struct swarm_node nodes[SWARM_NODES];
    int node_count;
    struct swarm_service services[SWARM_SERVICES];
    int service_count;
    struct swarm_task *tasks[SWARM_TASKS];
    size_t task_count;
    int64_t made;  /* tasks so far */
    size_t budget; /* moves at once */
    int64_t balance_ns;
    /* Hooks of the test; NULL: nothing. */
    bool (*fails)(struct swarm *w,
                  const struct swarm_task *t); /* asked when it is to begin, and while it runs */
    void (*check)(struct swarm *w);            /* after each decision */
    void (*moved)(struct swarm *w, const struct swarm_task *t, const char *to);
    void (*begins)(struct swarm *w, const struct swarm_task *t); /* to run or to fail */
    void *own;
};

struct swarm *swarm_new(uint64_t seed, int nodes, int64_t cpu);
void swarm_free(struct swarm *w);
uint64_t swarm_draw(struct swarm *w, uint64_t below);
/* `spec` as the API takes it; its number. */
int swarm_service_add(struct swarm *w, const char *spec, int64_t cpu, int32_t priority);
int swarm_node_add(struct swarm *w, int64_t cpu);
void swarm_node_set(struct swarm *w, int node, bool lost, bool drained);
/* Lets time pass, in steps of up to a second. */
void swarm_pass(struct swarm *w, int64_t seconds);
/* A task ends on its node. */
void swarm_end(struct swarm *w, struct swarm_task *t, enum task_state state);
int64_t swarm_running(const struct swarm *w, int service);
/* Fails with the seed and the words. */
#define swarm_fail(w, ...)                                                                                   \
    do {                                                                                                     \
        char words_[400];                                                                                    \
        snprintf(words_, sizeof(words_), __VA_ARGS__);                                                       \
        fail_msg("seed %llu, %.1f s: %s", (unsigned long long)(w)->seed, (double)(w)->now_ns / 1e9, words_); \
    } while (0)

#endif
