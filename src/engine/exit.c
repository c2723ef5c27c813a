/* The end of a container's run: its state, its network, and what its policy wants next. */
#include "engine/engine_priv.h"

#include "base/failpoint.h"

#include <unistd.h>

void container__release(struct container *c)
{
    endpoint__tell_left(c, endpoint__release_all(c));
    volumes__unmount(c);
}

static void tell(struct container *c, const struct keeper_exit *exit)
{
    if (exit->oom_killed)
        container__event(c, "oom", NULL, NULL);
    int64_t ran_s = (exit->at_ns - container__state(c).started_ns) / NS_PER_S;
    _cleanup_json_ json_t *more =
        json_pack("{s:o,s:o}", "execDuration", json_sprintf("%lld", (long long)MAX(ran_s, 0)), "exitCode",
                  json_sprintf("%d", exit->status));
    container__event_with(c, "die", more);
}

static void tell_unmounted(struct container *c)
{
    _cleanup_json_ json_t *doc = c->volumes ? container__doc(c) : NULL;
    if (doc)
        volumes__tell(c, doc, false);
}

static void set_state(struct container *c, const struct keeper_exit *exit)
{
    SCOPED_LOCK(lock, &c->lock);
    c->state.status = STATUS_EXITED;
    c->state.pid = 0;
    c->state.exit_code = exit->status;
    c->state.oom_killed = exit->oom_killed;
    c->state.finished_ns = exit->at_ns;
    c->exits++;
    if (exit->signal == KEEPER_SIGNAL_UNKNOWN) {
        free(c->state.error);
        c->state.error =
            mem_strdup("its exit code is not known: the keeper and drover-holder were killed before "
                       "it ended");
    }
}

static bool policy_wants(struct container *c)
{
    if (!c->restarts)
        return false;
    _cleanup_json_ json_t *doc = container__doc(c);
    const json_t *policy = json_object_get(json_object_get(doc, "HostConfig"), "RestartPolicy");
    struct container_state s = container__state(c);
    return !c->removing && restart__wanted(policy, s.exit_code, s.restart_count, s.stopped_by_user, false);
}

/* Streams that were attached for a start that is over. */
static void drop_pending(struct container *c)
{
    SCOPED_LOCK(lock, &c->lock);
    for (size_t i = 0; i < c->pending_count; i++)
        close(c->pending[i].fd);
    c->pending_count = 0;
}

/* The keeper repeats an exit until told to forget it, and what compares with the keeper's list finds it
 * there: it may be that of a run before the one that is under way. */
static bool was_handled(struct container *c, const struct keeper_exit *exit)
{
    return container__state(c).finished_ns == exit->at_ns;
}

/* Without container.op. The keeper holds the exit until it is in the database. One that was handled already
 * is only forgotten. */
void container__exited(struct container *c, const struct keeper_exit *exit)
{
    pthread_mutex_lock(&c->op);
    bool running = container__running(c);
    bool remove = false;
    if (running && was_handled(c, exit)) {
        log_debug("container %.12s: the exit of an earlier run is told again", c->id);
    } else if (running) {
        health__end(c);
        char **left = endpoint__release_all(c);
        volumes__unmount(c);
        shipping__ended(c);
        set_state(c, exit);
        FAILPOINT("serve-exit-seen");
        drop_pending(c);
        if (policy_wants(c))
            restart__schedule(c);
        else
            remove = c->auto_remove && !c->removing;
        /* Who hears of the end and looks finds the exit code, and that its ports are free. */
        tell(c, exit);
        endpoint__tell_left(c, left);
        tell_unmounted(c);
        c->forget_due = true;
        container__save_behind(c, true);
        FAILPOINT("serve-exit-queued");
    } else if (!c->forget_due) {
        keeper_forget_later(c->engine->keeper, c->id);
    }
    /* Whoever waits is told when all of it is done: the ports are free, the name resolves no more. */
    pthread_mutex_lock(&c->lock);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_unlock(&c->op);
    struct err err;
    if (remove && container__remove(c, true, true, &err) < 0 && err.code != ERR_NOT_FOUND)
        log_error("container %.12s: remove it after its end: %s", c->id, err.msg);
}
