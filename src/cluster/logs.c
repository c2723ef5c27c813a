/* What the containers of a service have written, together: a thread for each container hands its lines to the
 * one caller. */
#include "cluster/logs.h"

#include "base/log.h"

enum { LOOK_MS = 500, STREAMS_MAX = 256 };

struct gathering {
    struct cluster *c;
    const struct cluster_logs *logs;
    char *ref;
    pthread_mutex_t lock; /* of the caller's functions, and of what is below */
    struct map seen;      /* ids of tasks */
    pthread_t threads[STREAMS_MAX];
    size_t count;
    bool stop;
};

struct stream {
    struct gathering *g;
    struct logs_place place;
    json_t *attributes;
    bool late; /* a task that came while following: all it has written is new */
};

static void stream_free(struct stream *s)
{
    free(s->place.node);
    free(s->place.door);
    free(s->place.container);
    json_decref(s->attributes);
    free(s);
}

static bool stream_gone(void *context)
{
    const struct stream *s = context;
    SCOPED_LOCK(locked, &s->g->lock);
    return s->g->stop;
}

static int on_line(void *context, int number, int64_t at_ns, const void *bytes, size_t n)
{
    const struct stream *s = context;
    const struct cluster_logs *l = s->g->logs;
    SCOPED_LOCK(locked, &s->g->lock);
    if (s->g->stop)
        return 1;
    int r = l->line(l->context, s->attributes, number, at_ns, bytes, n);
    s->g->stop = s->g->stop || r != 0;
    return r;
}

static void *run(void *context)
{
    struct stream *s = context;
    const struct cluster_logs *l = s->g->logs;
    const struct engine_logs logs = {.follow = l->follow,
                                     .out = l->out,
                                     .err_stream = l->err_stream,
                                     .since_ns = l->since_ns,
                                     .until_ns = l->until_ns,
                                     .tail = s->late ? -1 : l->tail,
                                     .context = s,
                                     .line = on_line,
                                     .gone = stream_gone};
    bool tty;
    struct err err;
    if (s->place.node && logs__read_remote(s->g->c, &s->place, &logs, &err) < 0 && err.code != ERR_CANCELLED)
        log_warning("cluster: the logs of container %s on node %s: %s", s->place.container, s->place.node,
                    err.msg);
    else if (!s->place.node)
        engine_container_logs(s->g->c->engine, s->place.container, &logs, &tty, &(struct err){0});
    stream_free(s);
    return NULL;
}

static struct logs_place place_of(struct cluster *c, const struct task *t)
{
    const struct node *n = str_eq(t->node, c->self) ? NULL : map_get(&c->objects[CLUSTER_NODE], t->node);
    return (struct logs_place){.container = mem_strdup(t->container),
                               .node = n ? mem_strdup(t->node) : NULL,
                               .door = n ? mem_strdup(n->door) : NULL};
}

static json_t *attributes_of(const struct task *t)
{
    json_t *out = json_object();
    json_set_str(out, "com.docker.swarm.node.id", t->node);
    json_set_str(out, "com.docker.swarm.service.id", t->service->o.id);
    json_set_str(out, "com.docker.swarm.task.id", t->o.id);
    return out;
}

/* Following a container that has not been started would end at once. */
static bool was_started(const struct task *t)
{
    return t->container && (t->pid || t->state >= TASK_RUNNING);
}

/* Begins to read the tasks that are new. */
static void take_tasks(struct gathering *g, bool late)
{
    struct cluster *c = g->c;
    struct map_entry *e;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        const struct task *t = e->value;
        bool wanted = str_eq(g->logs->is_task ? t->o.id : t->service->o.id, g->ref);
        if (!wanted || !was_started(t) || map_has(&g->seen, t->o.id) || g->count >= STREAMS_MAX)
            continue;
        map_put(&g->seen, t->o.id, g);
        struct stream *s = NEW(struct stream);
        *s = (struct stream){g, place_of(c, t), attributes_of(t), late};
        must(pthread_create(&g->threads[g->count++], NULL, run, s) == 0);
    }
    pthread_mutex_unlock(&c->lock);
}

static int find(struct cluster *c, const char *ref, struct gathering *g, bool *ret_tty, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    const struct object *o = cluster__lookup(c, g->logs->is_task ? CLUSTER_TASK : CLUSTER_SERVICE, ref, err);
    if (!o)
        return -err->code;
    const json_t *template = g->logs->is_task ? o->spec : json_object_get(o->spec, "TaskTemplate");
    *ret_tty = json_bool(json_object_get(template, "ContainerSpec"), "TTY");
    g->ref = mem_strdup(o->id);
    return 0;
}

int cluster_logs(struct cluster *c, const char *ref, const struct cluster_logs *logs, struct err *err)
{
    struct gathering g = {.c = c, .logs = logs, .seen = MAP_INIT(NULL)};
    bool tty = false;
    int r = find(c, ref, &g, &tty, err);
    if (r < 0)
        return r;
    pthread_mutex_init(&g.lock, NULL);
    logs->begin(logs->context, tty);
    take_tasks(&g, false);
    while (logs->follow) {
        pthread_mutex_lock(&c->lock);
        bool there = !c->stopping && (map_has(&c->objects[CLUSTER_SERVICE], g.ref) ||
                                      map_has(&c->objects[CLUSTER_TASK], g.ref));
        pthread_mutex_unlock(&c->lock);
        pthread_mutex_lock(&g.lock);
        bool stop = g.stop || logs->gone(logs->context);
        pthread_mutex_unlock(&g.lock);
        if (!there || stop)
            break;
        time_sleep_ns(LOOK_MS * NS_PER_MS);
        take_tasks(&g, true);
    }
    pthread_mutex_lock(&g.lock);
    g.stop = g.stop || logs->follow;
    pthread_mutex_unlock(&g.lock);
    for (size_t i = 0; i < g.count; i++)
        pthread_join(g.threads[i], NULL);
    map_done(&g.seen);
    pthread_mutex_destroy(&g.lock);
    free(g.ref);
    return 0;
}
