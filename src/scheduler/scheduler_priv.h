/* What the files of the scheduler share: the model's own structs. */
#ifndef SCHEDULER_SCHEDULER_PRIV_H
#define SCHEDULER_SCHEDULER_PRIV_H

#include "base/map.h"
#include "base/str.h"
#include "scheduler/constraint.h"
#include "scheduler/index.h"
#include "scheduler/scheduler.h"
#include "scheduler/table.h"

enum order { ORDER_SPREAD, ORDER_BINPACK, ORDER_COUNT };
enum {
    KEY_SHIFT = 40, /* a key is the load, and below it the node's own number */
    FULL = 1 << 20, /* the fullness of a node of which everything is reserved */
    IMAGE_FULL = FULL / 100 * SCHED_IMAGE_PERCENT,
    PREFERENCES_MAX = 8,
};

/* The name of an image or a volume, with the nodes that hold it. */
struct symbol {
    char *text;
    uint32_t refs;
    uint32_t holders; /* nodes; the list has them while they are few enough */
    uint32_t nodes[SCHED_IMAGE_HOLDERS];
    bool overflow;        /* the list is not complete */
    uint32_t writers;     /* tasks that have the volume for themselves */
    struct table running; /* tasks with the image, by node */
};

struct amount {
    char *kind;
    int64_t total, free;
};
struct holding { /* a symbol on a node: listed by the node, and once more for each task */
    struct symbol *symbol;
    uint32_t refs;
};
struct label {
    char *key, *value;
};
/* The tasks of one priority on a node. */
struct band {
    int32_t priority;
    uint32_t tasks;
    int64_t cpu, memory;
};

struct node {
    char *id, *name, *address, *os, *architecture, *pool, *tenant, *health_text;
    bool manager;
    enum sched_state state;
    enum sched_availability availability;
    enum sched_health health;
    uint32_t health_cause;
    struct label *labels, *engine_labels;
    size_t label_count, engine_label_count;
    int64_t cpu, memory, free_cpu, free_memory; /* the totals, and what is left of them */
    struct amount *generic;
    size_t generic_count;
    struct table ports; /* port and protocol -> users */
    struct sched_port *own_ports;
    size_t own_port_count;
    struct holding *holdings;
    size_t holding_count, holding_cap;
    struct symbol **own; /* those that the node itself lists */
    size_t own_count;
    uint32_t tasks, first_task;
    struct band *bands; /* the lowest priority first */
    size_t band_count, band_cap;
    uint32_t class;
    uint64_t tie;   /* KEY_SHIFT bits, no two nodes the same */
    uint64_t batch; /* the batch in whose heap it is */
};

/* What a search through all nodes asks of each first; they lie side by side. */
struct glance {
    uint32_t tasks; /* 0 in a free place, too */
    int32_t lowest; /* priority among them */
};

struct class
{
    char *signature;
    uint32_t roots[ORDER_COUNT];
    uint32_t example; /* a node of it, or INDEX_NONE */
    uint64_t stamp;   /* changes with every change of its trees */
};

/* A label that some request names: nodes that differ in it are of different classes, unless it has so many
 * values that this would be a class a node. */
struct class_key {
    enum attribute attribute;
    char *key;
    bool needed; /* by a preference or a soft constraint: never left out */
    bool left_out;
};

struct failure {
    uint32_t node;
    uint32_t count;
    int64_t last_ns;
};
struct service {
    char *name;
    uint32_t refs, tasks;
    struct table counts; /* by node */
    struct failure *failures;
    size_t failure_count, failure_cap;
};

struct class_answer {
    bool possible;
    uint16_t soft;
};
struct volume_wish {
    struct symbol *symbol;
    bool exclusive;
};
struct sched_shape {
    unsigned refs;
    struct sched *owner;
    struct service *service;
    int64_t cpu, memory;
    struct amount *generic; /* `total` is what is asked for */
    size_t generic_count;
    struct index_free asked;
    struct constraint *constraints, *affinities, *preferences;
    size_t constraint_count, affinity_count, preference_count;
    bool spread_nodes; /* a preference counts each node for itself; those behind it say no more */
    char **oses, **architectures;
    size_t platform_count;
    struct sched_port *ports;
    size_t port_count;
    struct volume_wish *volumes;
    size_t volume_count;
    struct symbol *image;
    uint32_t max_per_node;
    int32_t priority;
    char *pool, *tenant, *strategy, *options;

    struct class_answer *answers; /* by class, while the version is the model's */
    size_t answer_count;
    uint64_t answers_version;
    /* Of each affinity, the counts of what it is about. */
    const struct table **targets;
    size_t *target_begin; /* affinity_count + 1 */
    uint64_t targets_version;
};

struct task {
    struct sched_shape *shape;     /* NULL: free */
    uint32_t node, previous, next; /* on the same node; `next` links the free ones */
};

struct entry {
    uint64_t level, key;
    uint32_t node;
};
struct walk {
    uint32_t class;
    uint16_t soft;
    uint32_t branches[PREFERENCES_MAX]; /* in branch_counts */
    uint64_t cursor, fullest;           /* the other end, for a strategy of the user's */
    bool exhausted, has_next, known, has_best, next_is_best, tried;
    struct entry next; /* what the cursor found: level 0, so that only the heap may have better */
    struct entry best;
    struct entry *heap;
    size_t heap_count, heap_cap;
};

struct batch {
    struct sched_shape *shape; /* NULL: none */
    uint64_t id, generation;
    int64_t now_ns;
    int strategy; /* enum builtin, or -1: the user's */
    enum order order;
    struct walk *walks;
    size_t walk_count;
    uint32_t *branch_counts; /* tasks of the service by branch, all levels in one list */
    size_t branch_count;
};

enum builtin { BUILTIN_SPREAD, BUILTIN_BINPACK, BUILTIN_RANDOM, BUILTIN_COUNT };
struct named_strategy {
    struct sched_strategy *strategy;
    uint64_t problems;
    uint32_t in_row; /* problems since it last worked */
    char last[160];
};

struct sched {
    uint64_t random;
    struct node **nodes; /* NULL: a free place */
    struct glance *glances;
    bool some_failed; /* at some time a failure was remembered */
    uint32_t *free_nodes;
    uint32_t node_cap, node_top, free_count, node_count;
    struct map by_id; /* -> index + 1 */
    struct table ties;
    struct class *classes;
    size_t class_count, class_cap;
    struct map by_signature; /* -> index + 1 */
    struct class_key *keys;
    size_t key_count, key_cap;
    bool classes_stale;
    uint64_t classes_version;
    struct index index[ORDER_COUNT];
    bool order_on[ORDER_COUNT];
    struct map services, symbols;
    uint64_t names_version; /* of services and symbols */
    struct task *tasks;
    uint32_t task_top, task_cap, free_task, task_count;
    uint64_t generation; /* of everything but what the present batch places */
    struct batch batch;
    uint64_t batches;
    struct map strategies;      /* -> struct named_strategy */
    struct map pool_strategies; /* -> char * */
    char *default_strategy;
};

/* nodes.c */
struct node *sched__node(const struct sched *s, uint32_t index);
uint32_t sched__node_index(const struct sched *s, const char *id); /* INDEX_NONE */
const char *sched__attribute(const struct node *n, enum attribute attribute, const char *key);
void sched__node_unlink(struct sched *s, uint32_t index);
void sched__node_link(struct sched *s, uint32_t index);
uint64_t sched__key(const struct node *n, enum order order);
/* The key of a node that holds the wanted image. */
static inline uint64_t sched__key_with_image(uint64_t key, enum order order)
{
    return key - ((uint64_t)(order == ORDER_SPREAD ? (int)SCHED_IMAGE_TASKS : (int)IMAGE_FULL) << KEY_SHIFT);
}
void sched__hold(struct sched *s, uint32_t node, struct symbol *symbol);
void sched__unhold(struct sched *s, uint32_t node, struct symbol *symbol);
bool sched__holds(const struct node *n, const struct symbol *symbol);
/* The few nodes that hold it, or NULL when they are many. */
const uint32_t *sched__holders(struct sched *s, struct symbol *symbol);
/* classes.c */
void sched__class_of(struct sched *s, uint32_t node);
/* When its trees have it no more. */
void sched__class_leave(struct sched *s, uint32_t node);
void sched__classes_refresh(struct sched *s);
void sched__class_key(struct sched *s, enum attribute attribute, const char *key, bool needed);
/* What no two nodes have in common. */
static inline bool sched__own_fact(enum attribute a)
{
    return a == ATTRIBUTE_ID || a == ATTRIBUTE_NAME || a == ATTRIBUTE_NODE || a == ATTRIBUTE_ADDRESS;
}
bool sched__left_out(const struct sched *s, const struct constraint *c);
void sched__classes_done(struct sched *s);
void sched__order_on(struct sched *s, enum order order);
/* names.c */
struct symbol *sched__symbol(struct sched *s, const char *text);
void sched__symbol_unref(struct sched *s, struct symbol *symbol);
struct service *sched__service(struct sched *s, const char *name);
void sched__service_unref(struct sched *s, struct service *service);
/* filter.c. SCHED_FILTER_COUNT: not refused. */
struct refusal {
    enum sched_filter filter;
    size_t which; /* the constraint, affinity, port, volume or generic resource (then behind processors and
                     memory); what is wrong with its health */
};
/* By what a class has in common; *ret_soft counts soft constraints that are not met. */
struct refusal sched__static_refusal(const struct sched *s, const struct sched_shape *shape,
                                     const struct node *n, uint16_t *ret_soft);
/* By the node alone. The targets of affinities must be up to date. */
struct refusal sched__node_refusal(const struct sched *s, const struct sched_shape *shape, uint32_t node,
                                   int64_t now_ns);
/* The same without ports and resources, which preemption can free. */
struct refusal sched__lasting_refusal(const struct sched *s, const struct sched_shape *shape, uint32_t node,
                                      int64_t now_ns);
struct refusal sched__resource_refusal(const struct sched *s, const struct sched_shape *shape,
                                       const struct node *n);
/* Soft wishes that only the node itself can tell. */
uint32_t sched__node_soft(const struct sched_shape *shape, uint32_t node, const struct node *n);
void sched__targets_refresh(struct sched *s, struct sched_shape *shape);
int64_t sched__backoff_until(const struct service *service, uint32_t node, uint32_t *ret_count);
const struct class_answer *sched__class_answer(struct sched *s, struct sched_shape *shape, size_t class);
/* place.c */
void sched__task_link(struct sched *s, struct sched_shape *shape, uint32_t node, sched_task *ret);
void sched__batch_end(struct sched *s);
/* Parts 3 and 4 of the rank. */
uint64_t sched__level(const struct sched_shape *shape, uint32_t node, const struct node *n, bool spread);
/* The built-in strategy that counts for a shape, and the user's when there is one that works. */
enum builtin sched__strategy_of(struct sched *s, const struct sched_shape *shape,
                                struct named_strategy **ret_own, const char **ret_name);
uint64_t sched__random(struct sched *s);
void sched__batch_begin(struct sched *s, struct sched_shape *shape, enum builtin strategy, int64_t now_ns);
bool sched__batch_breaks(const struct sched_shape *shape);
/* Parts 1 and 2 of the rank: below 0, 0, above. */
int sched__tier_compare(const struct batch *b, const struct walk *x, const struct walk *y);
/* The best tier among walks that were not tried; NULL when none is left. */
const struct walk *sched__tier_first(const struct batch *b);
/* place_own.c: places by the user's strategy. *ret_failed: the built-in one must place the others. */
size_t sched__place_own(struct sched *s, struct sched_shape *shape, struct named_strategy *own, size_t count,
                        int64_t now_ns, sched_task *tasks, bool *ret_failed);

#endif
