/* The thread that decides: for each service whose tasks or spec have changed, what src/deploy says is done to
 * the state and then given to those who carry it out. */
#include "cluster/cluster_priv.h"

#include "base/log.h"
#include "cluster/attach.h"
#include "cluster/authority.h"
#include "cluster/session.h"
#include "cluster/traffic.h"
#include "scheduler/scheduler.h"

enum { LOOK_AGAIN_S = 5, PASSES_MAX = 64, HISTORY = 5, SESSION_FIRST_MS = 8000 };

static int64_t history_of(const struct cluster *c)
{
    const json_t *orchestration = json_object_get(json_object_get(c->swarm, "Spec"), "Orchestration");
    const json_t *limit = json_object_get(orchestration, "TaskHistoryRetentionLimit");
    return json_is_integer(limit) ? MIN(json_integer_value(limit), 1000) : HISTORY;
}

/* --- One service --- */

struct deploy_task loop__task_view(struct task *t)
{
    return (struct deploy_task){.id = t->o.id,
                                .slot = t->slot,
                                .node = t->node,
                                .state = t->state,
                                .desired = t->desired,
                                .version = t->version,
                                .created_ns = t->o.created_ns,
                                .running_ns = t->running_ns,
                                .ended_ns = t->ended_ns,
                                .start_at_ns = t->start_at_ns,
                                .failures = t->failures,
                                .settled = t->settled,
                                .moves = t->moves,
                                .owner = t};
}

static bool node_is_lost(struct cluster *c, const char *id)
{
    const struct node *n = id ? map_get(&c->objects[CLUSTER_NODE], id) : NULL;
    return id && (!n || n->lost);
}

/* A node that is down may run its tasks all the same, and those write their volumes. */
static bool may_write(const struct service *s, const struct node *n)
{
    return n && n->lost && !str_eq(n->message, NODE_HAS_LEFT) && !s->removed && !s->labels.volumes_move &&
           labels__writes_volumes(json_object_get(s->o.spec, "TaskTemplate"));
}

#define MAY_WRITE                                                                                            \
    "its node is down and it may still write its volume there: it goes on when the node is back, or "        \
    "elsewhere "                                                                                             \
    "after docker node rm --force NODE"

/* Nobody will tell how it ends. */
static void orphan(struct cluster *c, struct task *t)
{
    bool lost = !task_ended(t->state) && node_is_lost(c, t->node);
    if (lost && may_write(t->service, map_get(&c->objects[CLUSTER_NODE], t->node)))
        task__set(c, t, t->state, t->message, MAY_WRITE);
    else if (lost && t->desired >= TASK_SHUTDOWN)
        task__set(c, t, TASK_ORPHANED, "orphaned", "its node is down");
    else if (!lost && str_eq(t->error, MAY_WRITE))
        task__set(c, t, t->state, t->message, NULL);
}

void loop__desire(struct cluster *c, struct task *t, enum task_state desired)
{
    t->desired = desired;
    t->settled = false;
    t->dirty = true;
    cluster__touch(c, &t->o);
    /* What has no node yet has nothing to end. */
    if (desired >= TASK_SHUTDOWN && !t->container && !t->busy && t->state <= TASK_ASSIGNED)
        task__set(c, t, TASK_SHUTDOWN, "shutdown", NULL);
    orphan(c, t);
    if (t->node)
        assign__changed(c, t->node);
}

static void apply(struct cluster *c, struct service *s, const struct deploy_action *a)
{
    struct task *t = a->task ? a->task->owner : NULL;
    switch (a->kind) {
    case DEPLOY_CREATE:
        t = task__new(c, s, a->slot, a->node);
        t->desired = a->desired;
        t->start_at_ns = a->start_at_ns;
        t->failures = a->failures;
        break;
    case DEPLOY_DESIRE:
        loop__desire(c, t, a->desired);
        break;
    case DEPLOY_SETTLE:
        loop__desire(c, t, TASK_SHUTDOWN);
        t->settled = true;
        break;
    case DEPLOY_STAY:
        balance__stay(t);
        break;
    case DEPLOY_FORGET:
        if (t->node)
            assign__changed(c, t->node);
        agent__forget(c, t);
        break;
    case DEPLOY_REVERT:
        history__aim_at_stable(s);
        service__revert(c, s);
        break;
    }
}

static struct deploy_node *nodes_for(struct cluster *c, const struct service *s, size_t *ret_count)
{
    struct deploy_node *list = NEW_N(struct deploy_node, c->objects[CLUSTER_NODE].count + 1);
    struct map_entry *e;
    bool global = deploy_is_global(s->parsed.mode);
    *ret_count = 0;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        struct deploy_node *n = &list[(*ret_count)++];
        n->id = e->key;
        if (global)
            n->usable = place__fits(c, s, e->value, &n->stays);
        else
            node__available(e->value, &n->stays);
        const struct node *own = e->value;
        if (may_write(s, own) && !str_eq(json_str(own->o.spec, "Availability"), "drain"))
            n->stays = true;
    }
    return list;
}

struct deploy_task *loop__view(const struct service *s, struct deploy_view *ret)
{
    struct deploy_task *tasks = NEW_N(struct deploy_task, s->tasks.count + 1);
    struct map_entry *e;
    *ret = (struct deploy_view){.spec = &s->parsed,
                                .version = deploy_is_job(s->parsed.mode) ? s->iteration : s->version,
                                .can_revert = s->previous != NULL,
                                .removed = s->removed,
                                .tasks = tasks,
                                .now_ns = time_now_ns(),
                                .status = s->status};
    for (size_t i = 0; (e = map_next(&s->tasks, &i));)
        tasks[ret->task_count++] = loop__task_view(e->value);
    return tasks;
}

/* True when something was done. */
static bool decide_once(struct cluster *c, struct service *s)
{
    struct deploy_view view;
    struct deploy_plan plan;
    struct deploy_task *tasks = loop__view(s, &view);
    struct deploy_node *nodes = nodes_for(c, s, &view.node_count);
    view.history = (int)history_of(c);
    view.nodes = nodes;
    deploy_reconcile(&view, &plan);
    bool moves = plan.status.state != s->status.state;
    s->status = plan.status;
    s->next_ns = plan.next_ns;
    for (size_t i = 0; i < plan.count; i++)
        apply(c, s, &plan.actions[i]);
    if (moves) {
        if (s->status.state == ROLLOUT_COMPLETED || s->status.state == ROLLOUT_ROLLBACK_COMPLETED)
            history__stable(s);
        cluster__touch(c, &s->o);
        s->write = true;
    }
    bool acted = plan.count || moves;
    deploy_plan_done(&plan);
    free(tasks);
    free(nodes);
    return acted;
}

/* On a node, with its addresses. */
static int place(struct cluster *c, struct task *t, struct err *why)
{
    int r = addresses__give(c, t, why);
    if (r == 0 && (r = place__task(c, t, why)) < 0) {
        addresses__left(c, t);
        json_decref(t->addresses);
        t->addresses = NULL;
    }
    return r;
}

static void place_tasks(struct cluster *c, struct service *s)
{
    struct map_entry *e;
    struct err why, waits;
    bool refused = false;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        struct task *t = e->value;
        if (t->state != TASK_PENDING || t->desired >= TASK_SHUTDOWN)
            continue;
        bool has_node = t->placed != SCHED_NONE; /* others have yet to leave it */
        if ((has_node || !refused) && place(c, t, has_node ? &waits : &why) == 0) {
            task__set(c, t, TASK_ASSIGNED, "scheduler assigned task to node", NULL);
            assign__changed(c, t->node);
            continue;
        }
        c->tasks_wait = true;
        refused = refused || t->placed == SCHED_NONE; /* its siblings ask for the same */
        task__set(c, t, TASK_PENDING, "pending task scheduling", has_node ? waits.msg : why.msg);
    }
}

static void drop_service(struct cluster *c, struct service *s, struct change *ch)
{
    service__leave_networks(c, s);
    change_remove(ch, &s->o);
    map_remove(&c->leaving, s->o.id);
}

static void decide(struct cluster *c, struct service *s)
{
    struct map_entry *e;
    s->dirty = false;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));)
        orphan(c, e->value);
    for (int i = 0; decide_once(c, s) && i < PASSES_MAX; i++)
        continue;
    place_tasks(c, s);
    traffic__tell(c, s); /* before a task that goes is stopped */
    for (size_t i = 0; (e = map_next(&s->tasks, &i));)
        agent__give(c, e->value);
}

/* --- What is written behind --- */

static void collect_changes(struct service *s, struct change *ch)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        struct task *t = e->value;
        if (t->dirty)
            change_put(ch, &t->o);
        t->dirty = false;
    }
    if (s->write)
        change_put(ch, &s->o);
    s->write = false;
}

static void collect_nodes(struct cluster *c, struct change *ch)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        struct node *n = e->value;
        if (n->dirty)
            change_put(ch, &n->o);
        n->dirty = false;
    }
}

/* --- The loop --- */

static int by_priority(const void *a, const void *b)
{
    const struct service *x = *(struct service *const *)a, *y = *(struct service *const *)b;
    if (x->labels.priority != y->labels.priority)
        return x->labels.priority > y->labels.priority ? -1 : 1;
    return x->o.created_ns < y->o.created_ns ? -1 : x->o.created_ns > y->o.created_ns;
}

/* 0: never. */
static int64_t earlier(int64_t a, int64_t b)
{
    return !a || (b && b < a) ? b : a;
}

/* The highest priority chooses first. */
static int64_t look_at_all(struct cluster *c, struct map *services, struct change *ch, bool all)
{
    int64_t next = 0, now = time_now_ns();
    struct service **list = NEW_N(struct service *, services->count + 1);
    struct map_entry *e;
    size_t n = 0;
    for (size_t i = 0; (e = map_next(services, &i));) {
        struct service *s = e->value;
        if (all || s->dirty || s->removed || (s->next_ns && s->next_ns <= now))
            list[n++] = s;
        else
            next = earlier(next, s->next_ns);
    }
    qsort(list, n, sizeof(*list), by_priority);
    for (size_t i = 0; i < n; i++) {
        struct service *s = list[i];
        if (all || s->dirty || (s->next_ns && s->next_ns <= now)) {
            decide(c, s);
            collect_changes(s, ch);
        }
        if (s->removed && !s->tasks.count && !s->pending_frees) {
            drop_service(c, s, ch);
            service__free(s);
        } else
            next = earlier(next, s->next_ns);
    }
    free(list);
    return next;
}

/* Until the one time of the wall clock, or the other of the monotonic one; 0 is never. The wall clock is
 * looked at again soon: it may have been set. */
static void wait_until(struct cluster *c, int64_t wall_ns, int64_t monotonic_ns)
{
    int64_t left = MIN(wall_ns - time_now_ns(), LOOK_AGAIN_S * NS_PER_S);
    int64_t until = wall_ns ? earlier(monotonic_ns, time_monotonic_ns() + MAX(left, 0)) : monotonic_ns;
    if (until)
        cond_wait_until(&c->decide, &c->lock, until);
    else
        pthread_cond_wait(&c->decide, &c->lock);
}

static void settle_attachments(struct cluster *c)
{
    struct err err;
    c->attach_dirty = false;
    if (attach__settle(c, &err) < 0)
        log_warning("this node's containers on networks of the swarm: %s", err.msg);
}

static bool any_dirty(struct cluster *c)
{
    struct map *both[] = {&c->objects[CLUSTER_SERVICE], &c->leaving};
    struct map_entry *e;
    for (size_t b = 0; b < ARRAY_SIZE(both); b++)
        for (size_t i = 0; (e = map_next(both[b], &i));)
            if (((struct service *)e->value)->dirty)
                return true;
    return c->all_dirty;
}

static void *run(void *context)
{
    struct cluster *c = context;
    bool swept = false;
    pthread_mutex_lock(&c->lock);
    while (!c->stopping) {
        struct change ch = {0};
        struct err err;
        int64_t tick = earlier(assign__tick(c), balance__tick(c));
        bool all = c->all_dirty;
        c->all_dirty = false;
        int64_t next = look_at_all(c, &c->objects[CLUSTER_SERVICE], &ch, all);
        int64_t other = look_at_all(c, &c->leaving, &ch, all);
        collect_nodes(c, &ch);
        if (c->attach_dirty)
            settle_attachments(c);
        traffic__tell_far(c);
        authority__tick(c);
        if (!swept)
            traffic__sweep(c);
        swept = true;
        if (change_commit(c, &ch, false, &err) < 0)
            log_error("cluster: %s", err.msg);
        condition__tick(c);
        if (!c->stopping && !any_dirty(c) && !c->attach_dirty)
            wait_until(c, earlier(next, other), earlier(tick, traffic__due(c)));
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static void start_workers(struct cluster *c)
{
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < WORKERS; i++, c->workers++)
        must(pthread_create(&thread, &attr, agent__work, c) == 0);
    pthread_attr_destroy(&attr);
}

int loop__start(struct cluster *c, struct err *err)
{
    struct err why;
    if (c->loop_runs)
        return 0;
    bool leads = c->role == ROLE_LEADS;
    agent__recover(c);
    if (leads && networks__settle(c, &why) < 0)
        log_error("cluster: %s", why.msg);
    c->stopping = c->cancel = false;
    c->all_dirty = c->attach_dirty = c->loop_runs = true;
    c->session_ms = SESSION_FIRST_MS;
    if (leads)
        assign__begin(c);
    else
        must(pthread_create(&c->session, NULL, session__follow, c) == 0);
    c->follows = !leads;
    must(pthread_create(&c->loop, NULL, leads ? run : session__report, c) == 0);
    must(pthread_create(&c->watcher, NULL, agent__watch, c) == 0);
    start_workers(c);
    return 0;
}

static bool join(pthread_t thread, const struct timespec *deadline)
{
    return (deadline ? pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, deadline)
                     : pthread_join(thread, NULL)) == 0;
}

static bool stop_threads(struct cluster *c, const struct timespec *deadline)
{
    pthread_mutex_lock(&c->lock);
    bool runs = c->loop_runs;
    c->stopping = true;
    c->cancel = true;
    c->turn++;
    pthread_cond_broadcast(&c->decide);
    pthread_cond_broadcast(&c->work);
    assign__ring_all(c);
    pthread_mutex_unlock(&c->lock);
    if (!runs)
        return true;
    bool ended =
        join(c->loop, deadline) && join(c->watcher, deadline) && (!c->follows || join(c->session, deadline));
    c->loop_runs = !ended;
    return ended;
}

bool loop__stop(struct cluster *c, int grace_ms)
{
    int64_t until = time_monotonic_ns() + grace_ms * NS_PER_MS;
    const struct timespec at = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    bool ended = stop_threads(c, grace_ms < 0 ? NULL : &at);
    SCOPED_LOCK(locked, &c->lock);
    while (ended && c->workers)
        if (grace_ms < 0)
            pthread_cond_wait(&c->idle, &c->lock);
        else
            ended = cond_wait_until(&c->idle, &c->lock, until);
    return ended && !c->workers;
}

void loop__pause(struct cluster *c)
{
    stop_threads(c, NULL);
}
