/* What a node does with its tasks: makes their containers, starts and stops them, and tells how they are. The
 * engine's calls take their time, so they are made by some threads without the cluster's lock; a task is with
 * at most one of them. */
#include "cluster/cluster_priv.h"
#include "cluster/traffic.h"

#include "base/base64.h"
#include "base/log.h"
#include "cluster/attach.h"
#include "cluster/autolock.h"
#include "cluster/identity.h"
#include "cluster/port.h"
#include "image/image.h"

enum step { STEP_NONE, STEP_FREE, STEP_STOP, STEP_HALT, STEP_PREPARE, STEP_START, STEP_REVIVE };
enum { SWEEP_S = 30 };

static enum step next_step(const struct cluster *c, const struct task *t)
{
    if (t->gone)
        return STEP_FREE;
    if (t->halt)
        return STEP_HALT;
    if (task_ended(t->state) || !str_eq(t->node, c->self))
        return STEP_NONE;
    if (t->desired >= TASK_SHUTDOWN)
        return STEP_STOP;
    if (t->state == TASK_ASSIGNED) /* its secrets come from the leader */
        return c->role == ROLE_LEADS || c->assignment_fresh ? STEP_PREPARE : STEP_NONE;
    if (t->state == TASK_READY && t->desired >= TASK_RUNNING)
        return STEP_START;
    if (t->revive_ns && t->revive_ns <= time_monotonic_ns() && revive__is_alone(c))
        return STEP_REVIVE;
    return STEP_NONE;
}

/* --- Who has which task --- */

static bool is_held(const struct cluster *c, const char *id)
{
    const struct task *t = c->held;
    while (t && !str_eq(t->o.id, id))
        t = t->next_held;
    return t != NULL;
}

static void hold(struct cluster *c, struct task *t)
{
    t->busy = true;
    t->next_held = c->held;
    c->held = t;
}

static void let_go(struct cluster *c, struct task *t)
{
    struct task **at = &c->held;
    while (*at != t)
        at = &(*at)->next_held;
    *at = t->next_held;
    t->busy = false;
}

/* No connection is sent to it any more; those it has, and those of who has yet to hear of it, have a while.
 */
static bool is_drained(struct task *t)
{
    return t->gone || t->halt || t->desired < TASK_SHUTDOWN || t->stop_at_ns <= time_monotonic_ns();
}

/* The next that no worker has; what has taken the place of one that a worker has waits for it. *ret_next_ns:
 * when there will be one though nothing happens; 0: then not. */
static struct task *take_first(struct cluster *c, int64_t *ret_next_ns)
{
    size_t i = 0;
    *ret_next_ns = 0;
    for (; i < c->queue_count; i++) {
        struct task *one = c->queue[i];
        if (is_held(c, one->o.id))
            continue;
        if (is_drained(one))
            break;
        if (!*ret_next_ns || one->stop_at_ns < *ret_next_ns)
            *ret_next_ns = one->stop_at_ns;
    }
    if (i == c->queue_count)
        return NULL;
    struct task *t = c->queue[i];
    memmove(c->queue + i, c->queue + i + 1, (--c->queue_count - i) * sizeof(*c->queue));
    t->queued = false;
    return t;
}

/* What has taken the place of a task that is no object any more; it may have been forgotten since. */
static struct task *find_successor(struct cluster *c, const char *id)
{
    struct task *t = map_get(&c->objects[CLUSTER_TASK], id);
    for (size_t i = 0; !t && i < c->queue_count; i++)
        if (str_eq(c->queue[i]->o.id, id))
            t = c->queue[i];
    return t;
}

static void free_left(struct cluster *c, struct task *t)
{
    struct service *s = t->service;
    struct task *now = find_successor(c, t->o.id);
    if (now && !now->container)
        now->container = take_ptr(t->container);
    task__free(t);
    if (--s->held == 0 && s->left)
        service__free(s);
    if (now && !now->gone) {
        agent__recover_task(c, now);
        agent__give(c, now);
        service__wake(c, now->service);
    }
    pthread_cond_broadcast(&c->work);
}

void agent__give(struct cluster *c, struct task *t)
{
    if (t->queued || t->busy || next_step(c, t) == STEP_NONE)
        return;
    GROW(c->queue, c->queue_count, c->queue_capacity);
    c->queue[c->queue_count++] = t;
    t->queued = true;
    pthread_cond_signal(&c->work);
}

void agent__forget(struct cluster *c, struct task *t)
{
    map_remove(&t->service->tasks, t->o.id);
    map_remove(&c->objects[CLUSTER_TASK], t->o.id);
    traffic__gone(c, t);
    place__left(c, t);
    t->gone = true;
    t->service->pending_frees++;
    agent__give(c, t);
}

/* --- How a task ends --- */

void agent__ended(struct cluster *c, struct task *t, int code, const char *error)
{
    char text[64];
    if (!error && revive__wanted(c, t, code)) {
        revive__later(t, code);
        task__set(c, t, TASK_STARTING, "starting", NULL); /* of one that this process has not seen before */
        return;
    }
    t->exit_code = code;
    t->pid = 0;
    if (t->desired >= TASK_SHUTDOWN)
        task__set(c, t, TASK_SHUTDOWN, "shutdown", NULL);
    else if (code == 0 && !error)
        task__set(c, t, TASK_COMPLETE, "finished", NULL);
    else {
        snprintf(text, sizeof(text), "task: non-zero exit (%d)", code);
        task__set(c, t, TASK_FAILED, "started", error ? error : text);
    }
    service__wake(c, t->service);
}

/* How its container is, told by an inspection. */
void agent__observe(struct cluster *c, struct task *t, const json_t *inspection)
{
    const json_t *state = json_object_get(inspection, "State");
    const char *health = json_str(json_object_get(state, "Health"), "Status");
    if (json_bool(state, "Running") || json_bool(state, "Restarting")) {
        int64_t pid = json_int(state, "Pid");
        t->dirty = t->dirty || pid != t->pid; /* the leader hears that it was started before it is healthy */
        t->pid = pid;
        bool waits = *health && !str_eq(health, "healthy") && !str_eq(health, "none");
        if (waits && t->state < TASK_STARTING)
            task__set(c, t, TASK_STARTING, "starting", NULL);
        if (!waits)
            task__set(c, t, TASK_RUNNING, "started", NULL);
        service__wake(c, t->service);
    } else if (str_eq(json_str(state, "Status"), "created"))
        task__set(c, t, TASK_READY, "prepared", NULL);
    else {
        const char *error = json_str(state, "Error");
        agent__ended(c, t, (int)json_int(state, "ExitCode"), *error ? error : NULL);
    }
}

/* --- Steps. The lock is held at their begin and end. --- */

char *agent__open_auth(struct cluster *c, const char *sealed_text)
{
    _cleanup_str_ struct str sealed = STR_INIT;
    struct str plain = STR_INIT;
    if (sealed_text && base64_decode(sealed_text, &sealed, NULL) == 0 &&
        keys__open(c, "auth", &sealed, &plain, &(struct err){0}) == 0)
        return str_take(&plain);
    str_free(&plain);
    return NULL;
}

static int pull(struct cluster *c, const char *image, const char *auth_text, struct err *err)
{
    struct images *images = engine_images(c->engine);
    struct image_info info;
    struct err why;
    _cleanup_free_ char *id = NULL;
    _cleanup_str_ struct str plain = STR_INIT;
    _cleanup_json_ json_t *auth = NULL;
    if (image_get(images, image, &info, &why) == 0) {
        image_info_done(&info);
        return 0;
    }
    _cleanup_free_ char *standard = auth_text ? mem_strdup(auth_text) : NULL;
    for (char *at = standard; at && *at; at++) /* clients use the URL alphabet */
        *at = *at == '-' ? '+' : *at == '_' ? '/' : *at;
    if (standard && base64_decode(standard, &plain, NULL) == 0)
        json_parse(str_get(&plain), plain.len, "X-Registry-Auth", &auth, NULL);
    const struct image_auth given = {json_str(auth, "username"), json_str(auth, "password"),
                                     json_str(auth, "identitytoken"), json_str(auth, "registrytoken")};
    return image_pull(images, image, NULL, auth ? &given : NULL, NULL, &id, err);
}

static int create(struct cluster *c, const char *name, const json_t *body, char **ret_id, struct err *err)
{
    _cleanup_json_ json_t *warnings = NULL;
    int r = engine_container_create(c->engine, name, body, NULL, ENGINE_CREATE_TASK, ret_id, &warnings, err);
    if (r == -ERR_CONFLICT &&
        engine_container_remove(c->engine, name, true, true, &(struct err){0}) == 0) /* half made once */
        r = engine_container_create(c->engine, name, body, NULL, ENGINE_CREATE_TASK, ret_id, &warnings, err);
    return r;
}

static void prepare(struct cluster *c, struct task *t)
{
    _cleanup_json_ json_t *body = NULL;
    _cleanup_free_ char *auth = agent__open_auth(c, t->service->auth), *name = task__container_name(t),
                        *id = NULL;
    struct err err;
    task__set(c, t, TASK_PREPARING, "preparing", NULL);
    int r = task__container_body(c, t, &body, &err);
    pthread_mutex_unlock(&c->lock);
    if (r == 0)
        r = pull(c, json_str(body, "Image"), auth, &err);
    if (r == 0)
        r = create(c, name, body, &id, &err);
    pthread_mutex_lock(&c->lock);
    if (r < 0) {
        task__set(c, t, TASK_REJECTED, "preparing", err.msg);
        return;
    }
    t->container = take_ptr(id);
    if (!t->left)
        map_put(&c->containers, t->container, t);
    task__set(c, t, TASK_READY, "prepared", NULL);
}

static void start(struct cluster *c, struct task *t)
{
    _cleanup_free_ char *id = mem_strdup(t->container);
    _cleanup_json_ json_t *inspection = NULL;
    struct err err, why;
    task__set(c, t, TASK_STARTING, "starting", NULL);
    pthread_mutex_unlock(&c->lock);
    int r = engine_container_start(c->engine, id, &err);
    if (r == -ERR_NOT_MODIFIED)
        r = 0;
    int looked = engine_container_inspect(c->engine, id, 0, &inspection, &why);
    pthread_mutex_lock(&c->lock);
    if (r < 0) {
        _cleanup_free_ char *text = str_printf("starting container failed: %s", err.msg);
        task__set(c, t, TASK_FAILED, "starting", text);
    } else if (looked == 0)
        agent__observe(c, t, inspection);
}

static void stop_container(struct cluster *c, const char *id)
{
    struct err err;
    int r = id ? engine_container_stop(c->engine, id, -1, NULL, &err) : 0;
    if (r < 0 && r != -ERR_NOT_MODIFIED && r != -ERR_NOT_FOUND)
        log_warning("stop container %s: %s", id, err.msg);
}

static void stop(struct cluster *c, struct task *t)
{
    _cleanup_free_ char *id = mem_strdup(t->container);
    bool halt = t->halt;
    t->halt = false;
    pthread_mutex_unlock(&c->lock);
    stop_container(c, id);
    pthread_mutex_lock(&c->lock);
    if (!halt)
        task__set(c, t, TASK_SHUTDOWN, "shutdown", NULL);
}

static void free_task(struct cluster *c, struct task *t)
{
    struct change ch = {0};
    struct err err;
    if (t->container)
        map_remove(&c->containers, t->container);
    pthread_mutex_unlock(&c->lock);
    if (t->container && str_eq(t->node, c->self))
        engine_container_remove(c->engine, t->container, true, true, &(struct err){0});
    task_files__remove(c, t->o.id);
    if (c->role == ROLE_LEADS)
        change_remove(&ch, &t->o);
    if (change_commit(c, &ch, false, &err) < 0)
        log_error("cluster: %s", err.msg);
    pthread_mutex_lock(&c->lock);
    let_go(c, t);
    t->service->pending_frees--;
    service__wake(c, t->service);
    if (t->left)
        free_left(c, t);
    else
        task__free(t);
}

/* False when the task is no more. */
static bool do_step(struct cluster *c, struct task *t, enum step step)
{
    switch (step) {
    case STEP_PREPARE:
        prepare(c, t);
        break;
    case STEP_START:
        start(c, t);
        break;
    case STEP_REVIVE:
        revive__do(c, t);
        break;
    case STEP_STOP:
    case STEP_HALT:
        stop(c, t);
        break;
    case STEP_FREE:
        free_task(c, t);
        return false;
    case STEP_NONE:
        break;
    }
    service__wake(c, t->service);
    return true;
}

/* What may have connections when it is told to stop: others send them to its addresses or published ports.
 * True until they are drained. */
static bool begins_to_drain(struct task *t, enum step step)
{
    bool has_any = t->state == TASK_RUNNING && (json_object_size(t->addresses) || json_array_size(t->ports));
    if (step != STEP_STOP || t->stop_at_ns || !has_any)
        return false;
    t->stop_at_ns = time_monotonic_ns() + t->service->labels.drain_ns;
    return !is_drained(t);
}

static void work_on(struct cluster *c, struct task *t, int64_t turn)
{
    enum step step;
    bool drains = false;
    hold(c, t);
    while (!t->left && !c->stopping && c->turn == turn && !drains && (step = next_step(c, t)) != STEP_NONE)
        if ((drains = begins_to_drain(t, step)) == false && !do_step(c, t, step))
            return;
    let_go(c, t);
    if (drains && !t->left)
        agent__give(c, t);
    if (t->left)
        free_left(c, t);
}

/* `until_ns` of the monotonic clock; 0: without end. */
static void wait_for_work(struct cluster *c, int64_t until_ns)
{
    if (until_ns)
        cond_wait_until(&c->work, &c->lock, until_ns);
    else
        pthread_cond_wait(&c->work, &c->lock);
}

void *agent__work(void *context)
{
    struct cluster *c = context;
    pthread_mutex_lock(&c->lock);
    int64_t turn = c->turn;
    while (!c->stopping && c->turn == turn) {
        int64_t next_ns;
        struct task *t = take_first(c, &next_ns);
        if (t && c->queue_count)
            pthread_cond_signal(&c->work); /* somebody is to look when the next one is due */
        if (t)
            work_on(c, t, turn);
        else
            wait_for_work(c, next_ns);
    }
    if (--c->workers == 0)
        pthread_cond_broadcast(&c->idle);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* --- What the engine tells --- */

static int on_event(void *context, const json_t *event)
{
    struct cluster *c = context;
    const char *action = json_str(event, "Action");
    const json_t *actor = json_object_get(event, "Actor");
    SCOPED_LOCK(locked, &c->lock);
    if (str_eq(action, "rename") || str_eq(json_str(json_object_get(actor, "Attributes"), "type"), "overlay"))
        attach__changed(c);
    struct task *t = map_get(&c->containers, json_str(actor, "ID"));
    if (!t || task_ended(t->state))
        return c->stopping;
    int64_t code = 0;
    if (str_eq(action, "die")) {
        (void)parse_i64(json_str(json_object_get(actor, "Attributes"), "exitCode"), 0, 255, &code, NULL);
        agent__ended(c, t, (int)code, NULL);
    } else if (str_eq(action, "destroy"))
        agent__ended(c, t, 0, "its container was removed");
    else if (str_eq(action, "health_status: healthy")) {
        task__set(c, t, TASK_RUNNING, "started", NULL);
        service__wake(c, t->service);
    } else if (str_eq(action, "health_status: unhealthy") && t->desired < TASK_SHUTDOWN) {
        t->halt = true;
        agent__ended(c, t, 0, "task: unhealthy container");
        agent__give(c, t);
    }
    return c->stopping;
}

/* For events that were too many to be kept until they could be looked at. */
static void sweep(struct cluster *c)
{
    _cleanup_strv_ char **ids = NULL;
    struct map_entry *e;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; (e = map_next(&c->containers, &i));) {
        const struct task *t = e->value;
        if (!t->busy && (t->state == TASK_RUNNING || t->state == TASK_STARTING))
            strv_add(&ids, e->key);
    }
    pthread_mutex_unlock(&c->lock);
    STRV_FOREACH (id, ids) {
        _cleanup_json_ json_t *inspection = NULL;
        int r = engine_container_inspect(c->engine, *id, 0, &inspection, &(struct err){0});
        SCOPED_LOCK(locked, &c->lock);
        struct task *t = map_get(&c->containers, *id);
        if (!t || t->busy || task_ended(t->state))
            continue;
        if (r == 0)
            agent__observe(c, t, inspection);
        else if (r == -ERR_NOT_FOUND)
            agent__ended(c, t, 0, "its container was removed");
    }
}

/* With the lock: what is to be started again by now. */
static void give_due(struct cluster *c)
{
    struct map_entry *e;
    for (size_t i = 0; revive__is_alone(c) && (e = map_next(&c->containers, &i));)
        if (((const struct task *)e->value)->revive_ns)
            agent__give(c, e->value);
}

static bool watcher_gone(void *context)
{
    struct cluster *c = context;
    struct err err;
    pthread_mutex_lock(&c->lock);
    bool stopping = c->stopping, leads = c->role == ROLE_LEADS;
    if (!leads)
        give_due(c);
    int64_t life_ns = identity__life(c);
    bool due = !stopping && time_monotonic_ns() > c->swept_ns + SWEEP_S * NS_PER_S;
    if (due)
        c->swept_ns = time_monotonic_ns();
    pthread_mutex_unlock(&c->lock);
    if (due) {
        sweep(c);
        port__open_late(c);
        if (leads) /* others do it when the leader answers */
            identity__renew_when_due(c, life_ns);
        SCOPED_LOCK(locked, &c->lock);
        traffic__again(c);
        attach__changed(c);
        if (c->role == ROLE_LEADS && autolock__obey(c, c->swarm, &err) < 0)
            log_error("cluster: %s", err.msg);
    }
    return stopping;
}

void *agent__watch(void *context)
{
    struct cluster *c = context;
    struct err err;
    _cleanup_json_ json_t *filters =
        json_pack("{s:[s, s], s:[s, s, s, s, s, s]}", "type", "container", "network", "event", "die",
                  "destroy", "health_status", "rename", "connect", "disconnect");
    c->swept_ns = time_monotonic_ns();
    if (engine_events(c->engine, 0, 0, filters, c, on_event, watcher_gone, &err) < 0)
        log_error("cluster: follow the engine's events: %s", err.msg);
    return NULL;
}
