/* A task is replaced, never revived, but for this: while no leader can do it, its node starts its container
 * again as the service's restart policy says. */
#include "cluster/cluster_priv.h"

#include "base/mem.h"

enum { REVIVE_MIN_MS = 100 };

bool revive__is_alone(const struct cluster *c)
{
    return c->role != ROLE_LEADS && (c->trouble || !c->assignment_fresh);
}

bool revive__wanted(const struct cluster *c, const struct task *t, int code)
{
    const struct deploy_spec *s = &t->service->parsed;
    return revive__is_alone(c) && t->desired == TASK_RUNNING && t->container && !deploy_is_job(s->mode) &&
           (s->condition == RESTART_ANY || (s->condition == RESTART_ON_FAILURE && code)) &&
           (!s->max_attempts || t->revived < s->max_attempts);
}

void revive__later(struct task *t, int code)
{
    int64_t now = time_monotonic_ns();
    if (t->revive_ns)
        return;
    bool ran_well = t->revived_ns ? deploy_ran_well(now - t->revived_ns)
                                  : t->running_ns && deploy_ran_well(time_now_ns() - t->running_ns);
    if (!code || ran_well)
        t->revived_in_a_row = 0;
    else if (!t->revived_ns)
        t->revived_in_a_row = t->failures; /* it goes on where the leader was */
    t->revived_in_a_row += code != 0;
    int64_t delay = deploy_restart_delay_ns(&t->service->parsed, t->revived_in_a_row);
    t->revive_ns = now + MAX(delay, REVIVE_MIN_MS * NS_PER_MS);
}

void revive__do(struct cluster *c, struct task *t)
{
    _cleanup_free_ char *id = mem_strdup(t->container);
    struct err err;
    t->revive_ns = 0;
    t->revived_ns = time_monotonic_ns();
    t->revived++;
    pthread_mutex_unlock(&c->lock);
    int r = engine_container_start(c->engine, id, &err);
    pthread_mutex_lock(&c->lock);
    if (r < 0 && r != -ERR_NOT_MODIFIED)
        task__set(c, t, TASK_FAILED, "starting", err.msg);
    else
        task__set(c, t, TASK_RUNNING, "started again while no manager could be reached", NULL);
}
