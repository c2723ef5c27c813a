/* What deploy_reconcile() (reconcile.c) and its rollouts (rollout.c) share. */
#ifndef DEPLOY_RECONCILE_PRIV_H
#define DEPLOY_RECONCILE_PRIV_H

#include "deploy/deploy.h"

/* The tasks of a slot, oldest first. */
struct group {
    int64_t slot;
    const char *node; /* of a global service */
    struct deploy_task **tasks;
    size_t count;
    /* The newest that stand for it: of the present version, of another (or one that moves, or is double). */
    struct deploy_task *now, *old;
    bool leaving; /* one that was told to end has not yet */
    bool wanted;
};

struct work {
    const struct deploy_view *v;
    struct deploy_plan *plan;
    struct deploy_task **sorted;
    struct group *groups;
    size_t count, capacity;
};

void deploy__act(struct work *w, struct deploy_action action);
void deploy__ask_again_at(struct work *w, int64_t at_ns);
void deploy__desire(struct work *w, struct deploy_task *t, enum task_state desired);
/* What a task is to reach that runs as long as it should. */
enum task_state deploy__goal(const struct work *w);
/* One that is to run at once waits where another of its slot has yet to end. */
void deploy__create(struct work *w, const struct group *g, enum task_state desired);

/* Whether a time that lies at most `length` ahead is still to come. Times are of the wall clock, which may be
 * set back, and which on another machine that comes to lead may be behind: what lies further ahead is
 * measured from a moment that by this clock has not been yet, and nobody waits an hour for that. */
bool deploy__is_to_come(const struct work *w, int64_t at_ns, int64_t length);

/* restart.c: whether the task, which has ended, is replaced; how many of its slot failed in a row, with it.
 */
bool deploy__restarts(const struct work *w, const struct group *g, const struct deploy_task *t);
int64_t deploy__failures_after(const struct deploy_task *t);

/* move.c */
void deploy__move(struct work *w, const struct group *g);
/* The task's only reason to be replaced is that it moves. */
bool deploy__only_moves(const struct work *w, const struct deploy_task *t);
/* It does not move after all; its successor ends. */
void deploy__stay(struct work *w, const struct group *g);

/* rollout.c */
void deploy__roll(struct work *w);
void deploy__roll_slot(struct work *w, const struct group *g, const struct deploy_rollout *how);
void deploy__retire(struct work *w, const struct group *g);

#endif
