/* The supervisor thread: starts containers again when their time has come, compares with the keeper, and
 * keeps the DNS table and the picture of the keeper up to date. Others only set flags and queue work, so that
 * none of them waits here. */
#include "engine/engine_priv.h"

#define RECONCILE_RETRY_NS (2 * NS_PER_S)
#define ADDRESS_AWAITED_NS (200 * NS_PER_MS)

static void signal_work(struct engine *e, bool *flag)
{
    pthread_mutex_lock(&e->queue_lock);
    if (flag)
        *flag = true;
    pthread_cond_signal(&e->queue_changed);
    pthread_mutex_unlock(&e->queue_lock);
}

void supervisor__names_due(struct engine *e)
{
    signal_work(e, &e->names_due);
}

void supervisor__restarts_due(struct engine *e)
{
    atomic_store(&e->restarting, 1);
    signal_work(e, &e->restarts_due);
}

void supervisor__forget_due(struct engine *e, const char *id)
{
    pthread_mutex_lock(&e->queue_lock);
    strv_add(&e->forgets, id);
    pthread_cond_signal(&e->queue_changed);
    pthread_mutex_unlock(&e->queue_lock);
}

void supervisor__on_restart(void *context)
{
    struct engine *e = context;
    signal_work(e, &e->reconcile_due);
}

static void handle_exit(struct engine *e, const struct keeper_exit *exit)
{
    if (*exit->exec_id) {
        if (!health__exited(e, exit))
            exec__exited(e, exit);
        return;
    }
    _cleanup_container_ struct container *c = NULL;
    if (container__find(e, exit->id, &c, NULL) == 0 && strcmp(c->id, exit->id) == 0)
        container__exited(c, exit);
    else
        keeper_forget(e->keeper, exit->id, "", NULL);
}

/* Exits are handled on the thread they come on, one hand-over less; but one after the other with what
 * compares tables with the keeper, whose picture would be older than the exit. */
static bool may_handle_now(struct engine *e)
{
    SCOPED_LOCK(lock, &e->queue_lock);
    return e->supervising && !e->comparing && !e->reconcile_due && !e->exits;
}

void supervisor__on_exit(void *context, const struct keeper_exit *exit)
{
    struct engine *e = context;
    if (may_handle_now(e)) {
        handle_exit(e, exit);
        return;
    }
    struct exit_record *x = NEW(struct exit_record);
    x->exit = *exit;
    snprintf(x->id, sizeof(x->id), "%s", exit->id);
    snprintf(x->exec_id, sizeof(x->exec_id), "%s", exit->exec_id);
    x->exit.id = x->id;
    x->exit.exec_id = x->exec_id;
    pthread_mutex_lock(&e->queue_lock);
    *e->exits_end = x;
    e->exits_end = &x->next;
    pthread_cond_signal(&e->queue_changed);
    pthread_mutex_unlock(&e->queue_lock);
}

static void handle_exits(struct engine *e, struct exit_record *x)
{
    for (struct exit_record *next; x; x = next) {
        next = x->next;
        handle_exit(e, &x->exit);
        free(x);
    }
}

/* What was started again meanwhile, or removed, has been seen to by who did it. */
static void let_forget(struct engine *e, char **ids)
{
    STRV_FOREACH (id, ids) {
        _cleanup_container_ struct container *c = NULL;
        if (container__find(e, *id, &c, NULL) < 0)
            continue;
        SCOPED_LOCK(op, &c->op);
        if (c->forget_due)
            keeper_forget_later(e->keeper, c->id);
        c->forget_due = false;
    }
    strv_free(ids);
}

static void start_again(struct container *c)
{
    SCOPED_LOCK(op, &c->op);
    if (container__state(c).status != STATUS_RESTARTING || c->removing)
        return;
    bool awaited = attach__is_awaited(c);
    pthread_mutex_lock(&c->lock);
    c->restart_at_ns = awaited ? time_monotonic_ns() + ADDRESS_AWAITED_NS : 0;
    pthread_mutex_unlock(&c->lock);
    if (awaited) { /* which is no failure of its own */
        supervisor__restarts_due(c->engine);
        return;
    }
    struct err err;
    if (container__start(c, true, &err) == 0)
        return;
    log_error("container %.12s: restart: %s", c->id, err.msg);
    _cleanup_json_ json_t *doc = container__doc(c);
    const json_t *policy = json_object_get(json_object_get(doc, "HostConfig"), "RestartPolicy");
    struct container_state s = container__state(c);
    if (restart__wanted(policy, s.exit_code ? s.exit_code : 128, s.restart_count, false, false))
        restart__schedule(c);
    container__save_state(c);
}

/* Starts what is due; returns when the next one will be (monotonic), INT64_MAX when none waits. */
static int64_t handle_restarts(struct engine *e)
{
    int64_t next = INT64_MAX, now = time_monotonic_ns();
    if (!atomic_load(&e->restarting))
        return next;
    atomic_store(&e->restarting, 0); /* counted again below */
    struct container **all = container__all(e);
    for (struct container **c = all; *c; c++) {
        pthread_mutex_lock(&(*c)->lock);
        int64_t at = (*c)->state.status == STATUS_RESTARTING ? (*c)->restart_at_ns : 0;
        pthread_mutex_unlock(&(*c)->lock);
        if (at && at <= now) {
            start_again(*c);
        } else if (at) {
            atomic_store(&e->restarting, 1);
            next = MIN(next, at);
        }
    }
    container__all_free(all);
    return next;
}

static void wait_for_work(struct engine *e, int64_t until)
{
    if (until == INT64_MAX) {
        pthread_cond_wait(&e->queue_changed, &e->queue_lock);
        return;
    }
    struct timespec deadline = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    pthread_cond_timedwait(&e->queue_changed, &e->queue_lock, &deadline);
}

static bool take_flag(bool *flag)
{
    bool was = *flag;
    *flag = false;
    return was;
}

static void *supervisor_main(void *context)
{
    struct engine *e = context;
    int64_t next_restart = INT64_MAX, next_reconcile = INT64_MAX;
    struct err err;
    pthread_mutex_lock(&e->queue_lock);
    e->supervising = true;
    for (;;) {
        while (!e->exits && !e->closing && !e->reconcile_due && !e->names_due && !e->restarts_due &&
               !e->forgets && time_monotonic_ns() < MIN(next_restart, next_reconcile))
            wait_for_work(e, MIN(next_restart, next_reconcile));
        if (e->closing) {
            e->supervising = false;
            break;
        }
        struct exit_record *exits = e->exits;
        e->exits = NULL;
        e->exits_end = &e->exits;
        char **forgets = e->forgets;
        e->forgets = NULL;
        bool reconcile = take_flag(&e->reconcile_due) || time_monotonic_ns() >= next_reconcile;
        e->comparing = reconcile || exits;
        bool names = take_flag(&e->names_due);
        take_flag(&e->restarts_due);
        pthread_mutex_unlock(&e->queue_lock);

        handle_exits(e, exits);
        let_forget(e, forgets);
        if (reconcile) {
            next_reconcile = INT64_MAX;
            if (recover__run(e, false, &err) < 0) {
                log_error("compare with the keeper: %s", err.msg);
                next_reconcile = time_monotonic_ns() + RECONCILE_RETRY_NS;
            }
        }
        if (names && network__push_names(e, &err) < 0)
            log_error("update the names: %s", err.msg);
        next_restart = handle_restarts(e);
        pthread_mutex_lock(&e->queue_lock);
        e->comparing = false;
    }
    pthread_mutex_unlock(&e->queue_lock);
    return NULL;
}

int supervisor__start(struct engine *e, struct err *err)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512 << 10);
    int sys = pthread_create(&e->supervisor, &attributes, supervisor_main, e);
    pthread_attr_destroy(&attributes);
    if (sys)
        return err_sys(err, sys, "start the supervisor thread");
    e->supervisor_started = true;
    return 0;
}

void supervisor__stop(struct engine *e)
{
    if (!e->supervisor_started)
        return;
    signal_work(e, &e->closing);
    pthread_join(e->supervisor, NULL);
    e->supervisor_started = false;
}

int engine_upgrade_keeper(struct engine *e, const char *path, struct err *err)
{
    int r = keeper_upgrade(e->keeper, path, err);
    return r < 0 ? err_wrap(err, "replace the keeper") : 0;
}
