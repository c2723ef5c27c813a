/* The scheduler: a model of the cluster in memory, and the choice of a node for a task.
 *
 * It is pure. It reads no clock, disk or network: times are passed in, random numbers come from a seed, and
 * the same calls in the same order give the same answers. One thread uses a `struct sched` at a time.
 *
 *     struct sched *s = sched_new(seed);
 *     sched_node_put(s, &node, &err);                       each node, and again whenever it changes
 *     sched_shape_new(s, &request, &shape, &err);           once for each version of a service
 *     placed = sched_place(s, shape, 10, now_ns, tasks);    ten tasks of it; what was placed is in the model
 *     sched_task_remove(s, tasks[3]);                       when one has ended
 *     sched_explain(s, shape, now_ns, &explanation);        why not all, by the numbers
 *
 * **What is best.** A node is *possible* when no filter refuses it (the table of filters is below;
 * docs/scheduling.md says each one's rule). Of the possible nodes the one with the smallest rank is chosen.
 * The rank is, in this order:
 *   1. soft constraints on labels, role and platform that the node does not meet, and one more when its
 * health is degraded;
 *   2. for each placement preference, how many tasks of the service are in the node's branch (over node.id
 * and node.hostname each node is a branch, so that preferences after it say nothing more);
 *   3. soft affinities, and soft constraints on what is the node's own (id, hostname, address), that it does
 * not meet;
 *   4. `spread` only: how many tasks of the service the node has;
 *   5. the load: tasks on the node (spread), or the reserved share of its processors and memory, the fullest
 * first (binpack). A node that holds the image counts as lighter by SCHED_IMAGE_TASKS tasks, or as fuller by
 *      SCHED_IMAGE_PERCENT of itself, while no more than SCHED_IMAGE_HOLDERS nodes hold it;
 *   6. a number made from the node's id, so that equals are told apart the same way on every manager.
 * `random` chooses by chance among those that are equal in 1 and 2. A strategy of the user's chooses by its
 * score among candidates that are equal in 1 and 2 (scheduler/strategy.h). Nothing here depends on the order
 * in which nodes and tasks were added, except what chance decides.
 *
 * **Cost.** Nodes that no filter but those of numbers can tell apart form a class; a request looks at each
 * class once. In a class, nodes stand in a search tree by load whose branches know the most that is free in
 * them. Placing many equal tasks goes on where the last one stopped, also across calls when nothing else has
 * changed.
 *
 * Texts passed in are copied. Pointers handed out are borrowed until the next call that changes the model. */
#ifndef SCHEDULER_SCHEDULER_H
#define SCHEDULER_SCHEDULER_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct sched;
struct sched_shape;
struct sched_strategy;

enum {
    SCHED_NONE = -1,
    SCHED_IMAGE_TASKS = 2,
    SCHED_IMAGE_PERCENT = 5,
    SCHED_IMAGE_HOLDERS = 64,
    SCHED_LIST_MAX = 256,  /* entries of any list of a request; a node has at most 16 times as many */
    SCHED_TEXT_MAX = 1024, /* bytes of any text */
    SCHED_NODES_MAX = 1 << 20,
    SCHED_TASKS_MAX = 1 << 26,
};

enum sched_state { SCHED_READY, SCHED_DOWN, SCHED_UNKNOWN };
enum sched_availability { SCHED_ACTIVE, SCHED_PAUSE, SCHED_DRAIN };
enum sched_health { SCHED_HEALTHY, SCHED_DEGRADED, SCHED_UNHEALTHY };
enum sched_protocol { SCHED_TCP, SCHED_UDP, SCHED_SCTP };

struct sched_label {
    const char *key, *value;
};
struct sched_amount {
    const char *kind; /* "gpu" */
    int64_t count;
};
struct sched_port {
    uint16_t port;
    enum sched_protocol protocol;
};
struct sched_platform {
    const char *os, *architecture; /* NULL or "": any; x86_64 is amd64, aarch64 is arm64 */
};
struct sched_volume {
    const char *name;
    bool exclusive; /* one task at a time writes it */
};

/* A node as membership knows it. Totals are what tasks may reserve; `used_` is reserved by what is no task
 * here. */
struct sched_node {
    const char *id, *name, *address; /* the id is not empty */
    bool manager;
    enum sched_state state;
    enum sched_availability availability;
    enum sched_health health;
    uint32_t health_cause;   /* the caller's number for what is wrong: who has the same is told together */
    const char *health_text; /* "disk: 1 GiB of 80 GiB free, less than 2 GiB"; NULL or "": not told */
    struct sched_platform platform;
    const struct sched_label *labels, *engine_labels;
    size_t label_count, engine_label_count;
    int64_t cpu_nano, memory_bytes, used_cpu_nano, used_memory_bytes;
    const struct sched_amount *generic;
    size_t generic_count;
    const struct sched_port *ports; /* in use by what is no task here */
    size_t port_count;
    char *const *volumes, *const *images; /* present on the node; NULL-terminated, NULL is none */
    const char *pool, *tenant;            /* NULL or "": the common pool; every tenant */
};

/* What a task of a service asks for. */
struct sched_request {
    const char *service; /* not empty */
    int64_t cpu_nano, memory_bytes;
    const struct sched_amount *generic;
    size_t generic_count;
    char *const *constraints; /* scheduler/constraint.h has the forms */
    char *const *affinities;
    char *const *preferences; /* "node.labels.zone", outermost first; "spread=node.labels.zone" too */
    const struct sched_platform *platforms; /* one of them; none: any */
    size_t platform_count;
    const struct sched_port *ports;
    size_t port_count;
    const struct sched_volume *volumes;
    size_t volume_count;
    const char *image;
    uint32_t max_per_node; /* 0: no limit */
    int32_t priority;      /* a higher one may push lower ones aside: sched_preempt() */
    const char *pool, *tenant;
    const char *strategy; /* NULL or "": the pool's, else the cluster's */
    const char *options;  /* for a strategy of the user's */
};

/* In the order in which they are asked; a node is counted at the first that refuses it. */
#define SCHED_FILTERS(X)                                                                                     \
    X(STATE, "state")                                                                                        \
    X(HEALTH, "health")                                                                                      \
    X(POOL, "pool")                                                                                          \
    X(TENANT, "tenant")                                                                                      \
    X(PLATFORM, "platform")                                                                                  \
    X(CONSTRAINT, "constraint")                                                                              \
    X(FAILURES, "failures")                                                                                  \
    X(VOLUMES, "volumes")                                                                                    \
    X(AFFINITY, "affinity")                                                                                  \
    X(MAX_PER_NODE, "max per node")                                                                          \
    X(PORTS, "ports")                                                                                        \
    X(RESOURCES, "resources")
enum sched_filter {
#define X(name, text) SCHED_FILTER_##name,
    SCHED_FILTERS(X)
#undef X
        SCHED_FILTER_COUNT,
};
const char *sched_filter_name(enum sched_filter filter);

/* A task in the model: an index that is given again after sched_task_remove(). */
typedef int32_t sched_task;

struct sched *sched_new(uint64_t seed);
void sched_free(struct sched *s);

/* ---- nodes ---- */
/* Adds a node, or changes the one with this id; its tasks stay. ERR_INVALID names the field, ERR_LIMIT the
 * bound. */
int sched_node_put(struct sched *s, const struct sched_node *node, struct err *err);
/* Takes it out with its tasks (sched_node_tasks() tells them before). */
int sched_node_remove(struct sched *s, const char *id, struct err *err);
size_t sched_node_count(const struct sched *s);
/* What the model knows of a node now. */
struct sched_node_use {
    const char *id, *name;
    uint32_t tasks;
    int64_t cpu_nano, memory_bytes, free_cpu_nano, free_memory_bytes; /* free may be below 0 after a change */
};
int sched_node_find(const struct sched *s, const char *id, struct sched_node_use *ret, struct err *err);
/* Each node, in no order: for (size_t i = 0; sched_node_next(s, &i, &use);). */
bool sched_node_next(const struct sched *s, size_t *position, struct sched_node_use *ret);
/* The first `capacity` tasks of a node; returns how many there are. */
size_t sched_node_tasks(const struct sched *s, const char *id, sched_task *tasks, size_t capacity);

/* ---- requests ---- */
int sched_shape_new(struct sched *s, const struct sched_request *request, struct sched_shape **ret,
                    struct err *err);
struct sched_shape *sched_shape_ref(struct sched_shape *shape);
void sched_shape_unref(struct sched_shape *shape); /* tasks hold their own */
const char *sched_shape_service(const struct sched_shape *shape);
int32_t sched_shape_priority(const struct sched_shape *shape);
void sched_shape_asks(const struct sched_shape *shape, int64_t *ret_cpu_nano, int64_t *ret_memory_bytes);

/* ---- tasks ---- */
/* Chooses nodes for `count` equal tasks and adds them; returns how many found one, which is less than `count`
 * only when no node is possible for the next. */
size_t sched_place(struct sched *s, struct sched_shape *shape, size_t count, int64_t now_ns,
                   sched_task *tasks);
/* One of them. Where only nodes would do that rest after failures (below), the one whose rest ends first
 * does. False, and SCHED_NONE: there is none. */
bool sched_place_one(struct sched *s, struct sched_shape *shape, int64_t now_ns, sched_task *ret);
/* A task that is known to be on a node, whatever filters say: when the model is filled from the store. */
int sched_task_add(struct sched *s, struct sched_shape *shape, const char *node, sched_task *ret,
                   struct err *err);
void sched_task_remove(struct sched *s, sched_task task);
/* "" for a number that is no task. */
const char *sched_task_node(const struct sched *s, sched_task task);
struct sched_shape *sched_task_shape(const struct sched *s, sched_task task); /* borrowed; NULL */
size_t sched_task_count(const struct sched *s);
/* Tasks of a service on a node (all nodes: NULL). */
uint32_t sched_service_tasks(const struct sched *s, const char *service, const char *node);
/* Whether this one node would do now: after something of it became free, others need not be asked again. */
bool sched_node_possible(struct sched *s, struct sched_shape *shape, const char *node, int64_t now_ns);

/* A task of the service failed on the node. From the SCHED_FAILURES_LEAST-th on within a window, the node
 * gets no task of this service for SCHED_BACKOFF_NS, doubled with each more, at most SCHED_BACKOFF_MAX_NS;
 * each window without a failure halves what is remembered. */
#define SCHED_FAILURES_LEAST    3
#define SCHED_FAILURE_WINDOW_NS (INT64_C(300) * 1000000000)
#define SCHED_BACKOFF_NS        (INT64_C(30) * 1000000000)
#define SCHED_BACKOFF_MAX_NS    (INT64_C(1800) * 1000000000)
int sched_failure(struct sched *s, const char *service, const char *node, int64_t now_ns, struct err *err);
/* Nothing is remembered of the service any more. */
void sched_forgive(struct sched *s, const char *service);

/* ---- preemption ---- */
enum { SCHED_VICTIMS_MAX = 64, SCHED_PREEMPT_NODES = 128 };
struct sched_preemption {
    const char *node; /* NULL: pushing aside lower priorities helps nowhere */
    sched_task victims[SCHED_VICTIMS_MAX];
    size_t count;
};
/* The cheapest set of tasks with a lower priority than the request's whose end makes a node possible: on the
 * node where the highest priority among them is lowest, then where they are fewest, then by parts 3 to 6 of
 * the rank. No task of the set can be left out. One task is taken where one is enough, and two where two are
 * (of up to 128 lower tasks); a larger set is found by taking the heaviest first. Where lower tasks give
 * enough on more than SCHED_PREEMPT_NODES nodes, the first of them by priority and rank are weighed. Changes
 * nothing. */
void sched_preempt(struct sched *s, struct sched_shape *shape, int64_t now_ns, struct sched_preemption *ret);

/* ---- explanation ---- */
enum { SCHED_REASONS = 24, SCHED_BEST = 5, SCHED_NAMES = 8, SCHED_REASON_BYTES = 320 };
struct sched_reason {
    enum sched_filter filter;
    uint32_t nodes;                 /* refused with this reason */
    const char *names[SCHED_NAMES]; /* of the first of them */
    size_t name_count;
    char text[SCHED_REASON_BYTES]; /* "2 processors asked; the most free is 1.25, on node-7" */
};
struct sched_candidate {
    const char *node;
    uint32_t soft, service_tasks, tasks;
    int64_t free_cpu_nano, free_memory_bytes;
    bool image;
};
struct sched_explanation {
    uint32_t nodes, possible;
    uint32_t refused[SCHED_FILTER_COUNT];
    struct sched_reason
        reasons[SCHED_REASONS]; /* in the order of filters; the last stands for more when full */
    size_t reason_count;
    struct sched_candidate best[SCHED_BEST]; /* by rank, the built-in strategy's where the user's decides */
    size_t best_count;
    const char *strategy; /* its name */
    char problem[256];    /* why a strategy of the user's is not used, or "" */
};
/* Looks at every node. Changes nothing. */
void sched_explain(struct sched *s, struct sched_shape *shape, int64_t now_ns, struct sched_explanation *ret);
/* One text of several lines, as `drover explain` prints it; the caller frees. */
char *sched_explanation_format(const struct sched_explanation *e, const struct sched_shape *shape);

/* ---- strategies ---- */
/* Makes a strategy known under a name, or replaces it while tasks are placed by it; takes it also on failure.
 * The names of the built-in ones are refused. scheduler/strategy.h makes one. */
int sched_strategy_put(struct sched *s, const char *name, struct sched_strategy *strategy, struct err *err);
/* What a pool's tasks (the common one: "") use when they name none. NULL goes back to the cluster's. */
int sched_pool_strategy(struct sched *s, const char *pool, const char *strategy, struct err *err);
int sched_default_strategy(struct sched *s, const char *strategy, struct err *err); /* at first "spread" */
/* How often a strategy of the user's was replaced by the built-in one, and why last; 0 and "" when never. */
uint64_t sched_strategy_problems(const struct sched *s, const char *name, const char **ret_last);

#endif
