/* Restart policies: whether, and when. */
#include "engine/engine_priv.h"

#define BACKOFF_FIRST_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS   (60 * NS_PER_S)
#define STABLE_NS        (10 * NS_PER_S) /* a run of this length forgets the failures before it */

int64_t restart__next_backoff(int64_t backoff_ns, int64_t ran_ns)
{
    if (ran_ns >= STABLE_NS || backoff_ns <= 0)
        return BACKOFF_FIRST_NS;
    return MIN(backoff_ns * 2, BACKOFF_MAX_NS);
}

/* `daemon_start`: the question is asked because serve came up and found the container not running; "always"
 * then also starts what a user had stopped, which is how it differs from "unless-stopped". */
bool restart__wanted(const json_t *policy, int exit_code, int count, bool stopped_by_user, bool daemon_start)
{
    const char *name = json_str(policy, "Name");
    if (strcmp(name, "always") == 0)
        return daemon_start || !stopped_by_user;
    if (stopped_by_user)
        return false;
    if (strcmp(name, "unless-stopped") == 0)
        return true;
    int64_t most = json_int(policy, "MaximumRetryCount");
    return strcmp(name, "on-failure") == 0 && exit_code != 0 && (most == 0 || count < most);
}

/* container.op held; the container is not running. */
void restart__schedule(struct container *c)
{
    pthread_mutex_lock(&c->lock);
    int64_t ran = c->state.finished_ns - c->state.started_ns;
    c->backoff_ns = restart__next_backoff(c->backoff_ns, ran);
    c->state.status = STATUS_RESTARTING;
    c->state.restart_count++;
    c->restart_at_ns = time_monotonic_ns() + c->backoff_ns;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    supervisor__restarts_due(c->engine);
}
