/* Services as pure decisions: what a service asks for and what its tasks do, in; what is to be done, out. No
 * clock, no disk, no engine: the same code runs a cluster and a test in virtual time.
 *
 * A task is one run of one container (swarmkit's task model). Its state only moves forward; it is replaced,
 * never revived. `desired` is the manager's, `state` is told by the node that has it. A task stands in a
 * slot: a number from 1 on, or for a service that is global its node. What stands for a slot is its live task
 * (`desired` no later than TASK_RUNNING, or of a job TASK_COMPLETE), or one that has ended and by the restart
 * policy stays so (`settled`).
 *
 * Words and defaults are those of the Docker Engine API's ServiceSpec. */
#ifndef DEPLOY_DEPLOY_H
#define DEPLOY_DEPLOY_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order in which a task passes them; from TASK_COMPLETE on it has ended. */
enum task_state {
    TASK_NEW,
    TASK_PENDING,  /* no node yet */
    TASK_ASSIGNED, /* to a node, which has not begun */
    TASK_ACCEPTED,
    TASK_PREPARING, /* its image and container are being made */
    TASK_READY,
    TASK_STARTING, /* also until its health check first passes */
    TASK_RUNNING,
    TASK_COMPLETE, /* ended by itself with 0 */
    TASK_SHUTDOWN, /* ended because it was told to */
    TASK_FAILED,
    TASK_REJECTED, /* its node could not make it */
    TASK_ORPHANED, /* its node has been gone for too long */
    TASK_REMOVE,   /* only desired: to end, and to be forgotten */
    TASK_STATES
};
const char *task_state_name(enum task_state state); /* "running" */
int task_state_parse(const char *name, enum task_state *ret);
static inline bool task_ended(enum task_state s)
{
    return s >= TASK_COMPLETE;
}

enum deploy_mode { DEPLOY_REPLICATED, DEPLOY_GLOBAL, DEPLOY_REPLICATED_JOB, DEPLOY_GLOBAL_JOB };
enum deploy_condition { RESTART_ANY, RESTART_ON_FAILURE, RESTART_NONE };
enum deploy_failure { FAILURE_PAUSE, FAILURE_CONTINUE, FAILURE_ROLLBACK };

struct deploy_rollout {
    int64_t parallelism; /* slots at once; 0: all */
    int64_t delay_ns;    /* between a slot's success and the next */
    int64_t monitor_ns;  /* how long a new task must hold */
    double max_failure_ratio;
    enum deploy_failure on_failure;
    bool start_first;
};

enum {
    DEPLOY_REPLICAS_MAX = 10000, /* of one service */
    DEPLOY_MOVE_WAIT_S = 30,     /* for a node, before a move is given up */
    DEPLOY_BACKOFF_MAX_S = 300,  /* between a failure and the next try */
    DEPLOY_RAN_WELL_S = 60,
};

/* What a ServiceSpec says that decides about tasks. */
struct deploy_spec {
    enum deploy_mode mode;
    int64_t replicas;       /* of a replicated service */
    int64_t completions;    /* of a replicated job: how many must complete, */
    int64_t max_concurrent; /* and how many run at once */
    enum deploy_condition condition;
    int64_t restart_delay_ns, restart_window_ns, max_attempts;
    int64_t progress_ns; /* a rollout in which no more tasks run after this long has failed; 0: it waits */
    struct deploy_rollout update, rollback;
};
/* Of the service, for progress_ns: a duration as Go writes it. */
#define DEPLOY_PROGRESS_LABEL "sh.drover.progress-deadline"
/* ERR_INVALID in swarmkit's words. */
int deploy_spec_parse(const json_t *service_spec, struct deploy_spec *ret, struct err *err);
/* How long after its end a task is replaced that has failed for the `failures`-th time in a row: the spec's
 * delay after the first, doubled with each more up to DEPLOY_BACKOFF_MAX_S, or to the delay where that is
 * longer. Where a most of attempts within a window is given it does not grow: that says how often is too
 * often. */
int64_t deploy_restart_delay_ns(const struct deploy_spec *spec, int64_t failures);
/* A task that ran this long and then fails has failed for the first time. */
static inline bool deploy_ran_well(int64_t ran_ns)
{
    return ran_ns >= DEPLOY_RAN_WELL_S * INT64_C(1000000000);
}
static inline bool deploy_is_global(enum deploy_mode m)
{
    return m == DEPLOY_GLOBAL || m == DEPLOY_GLOBAL_JOB;
}
static inline bool deploy_is_job(enum deploy_mode m)
{
    return m >= DEPLOY_REPLICATED_JOB;
}

enum rollout_state {
    ROLLOUT_NONE, /* nothing has been rolled out since the service was created */
    ROLLOUT_UPDATING,
    ROLLOUT_PAUSED,
    ROLLOUT_COMPLETED,
    ROLLOUT_ROLLBACK_STARTED,
    ROLLOUT_ROLLBACK_PAUSED,
    ROLLOUT_ROLLBACK_COMPLETED,
    ROLLOUT_STATES
};
const char *rollout_state_name(enum rollout_state state); /* "rollback_started" */
int rollout_state_parse(const char *name, enum rollout_state *ret);

struct deploy_rollout_status {
    enum rollout_state state;
    int64_t started_ns, completed_ns; /* 0: not */
    char message[200];
};

struct deploy_task {
    const char *id;
    int64_t slot;     /* 0 for a global service's */
    const char *node; /* NULL: none yet */
    enum task_state state, desired;
    int64_t version; /* of the template it was made from; of a job its iteration */
    int64_t created_ns;
    int64_t running_ns;  /* when it began to run; 0: not yet */
    int64_t ended_ns;    /* 0: not yet */
    int64_t start_at_ns; /* with desired TASK_READY: not before then */
    int64_t failures;    /* of those before it in its slot, in a row, as its DEPLOY_CREATE told */
    bool settled;
    bool moves;  /* it is to be replaced by one on another node, by the order of an update */
    void *owner; /* the caller's */
};

struct deploy_node {
    const char *id;
    bool usable; /* takes tasks of this service: ready, active, its constraints hold */
    bool stays;  /* tasks that are there may stay: not drained, not lost */
};

enum deploy_action_kind {
    DEPLOY_CREATE, /* a task for `slot` or `node`, with `desired`, `start_at_ns` and `failures` */
    DEPLOY_DESIRE, /* task->desired becomes `desired` */
    DEPLOY_SETTLE, /* task->desired becomes TASK_SHUTDOWN, and it stands for its slot */
    DEPLOY_STAY,   /* the task does not move any more: its successor failed, or finds no node */
    DEPLOY_FORGET, /* the task has ended and is nobody's any more */
    DEPLOY_REVERT, /* the service's spec becomes its previous one; rollout status as given afterwards */
};
struct deploy_action {
    enum deploy_action_kind kind;
    struct deploy_task *task;
    int64_t slot;
    const char *node;
    enum task_state desired;
    int64_t start_at_ns, failures;
};

struct deploy_view {
    const struct deploy_spec *spec;
    int64_t version; /* of the present template; of a job the present iteration */
    bool can_revert; /* there is a previous spec */
    bool removed;    /* the service is gone: its tasks go */
    int history;     /* ended tasks to keep of a slot, with its live one */
    struct deploy_task *tasks;
    size_t task_count;
    const struct deploy_node *nodes;
    size_t node_count;
    int64_t now_ns;
    struct deploy_rollout_status status; /* so far */
};

struct deploy_plan {
    struct deploy_action *actions;
    size_t count, capacity;
    struct deploy_rollout_status status; /* from now on */
    int64_t next_ns;                     /* when to ask again though nothing changes; 0: never */
};
void deploy_plan_done(struct deploy_plan *p);

/* A task that runs as long as it must to count as good, and is not on its way to another node. */
bool deploy_holds(const struct deploy_view *view, const struct deploy_task *t);
/* How many more of a replicated service's tasks may be told to move (deploy_task.moves) without breaking its
 * health: none while one is missing or a rollout is under way, else as many at once as in an update, and
 * where the old one goes first never its last. */
int64_t deploy_spare(const struct deploy_view *view);

void deploy_reconcile(const struct deploy_view *view, struct deploy_plan *ret);

#endif
