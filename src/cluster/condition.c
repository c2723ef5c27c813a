/* The nodes' health (health.h): a node's own vitals, and what the leader makes of all. */
#include "cluster/cluster_priv.h"

#include "base/log.h"
#include "cluster/session.h"

enum { MEASURE_EVERY_MS = 1000 };

/* --- A node's own --- */

static bool due(const struct own_vitals *own)
{
    return !own->measured_ns || time_monotonic_ns() - own->measured_ns >= MEASURE_EVERY_MS * NS_PER_MS;
}

/* Without the lock: a sick disk may not answer. */
static void measure(struct cluster *c, struct own_vitals *own)
{
    vitals_read(engine_root(c->engine), &own->vitals);
    own->vitals.is[VITAL_KEEPER_MS] = engine_keeper_silence_ns(c->engine) / NS_PER_MS;
    own->measured_ns = time_monotonic_ns();
}

json_t *condition__report(struct cluster *c)
{
    struct own_vitals *own = &c->own_vitals;
    if (due(own))
        measure(c, own);
    own->vitals.is[VITAL_CLOCK_MS] = own->clock_known ? own->clock_ms : VITAL_UNKNOWN;
    own->sent_ms = time_now_ns() / NS_PER_MS;
    return vitals_format(&own->vitals);
}

void condition__answered(struct cluster *c, const json_t *answer)
{
    struct own_vitals *own = &c->own_vitals;
    const json_t *times = json_object_get(answer, "clock");
    if (json_array_size(times) != 2)
        return;
    int64_t apart = vitals_clock(own->sent_ms, json_integer_value(json_array_get(times, 0)),
                                 json_integer_value(json_array_get(times, 1)), time_now_ns() / NS_PER_MS);
    if (apart == VITAL_UNKNOWN) /* set meanwhile: the next time tells */
        return;
    own->clock_ms = apart;
    own->clock_known = true;
}

/* --- On the leader --- */

const struct health_limits *condition__limits(struct cluster *c)
{
    const json_t *labels = json_object_get(json_object_get(c->swarm, "Spec"), "Labels");
    const char *text = json_str(labels, CLUSTER_HEALTH_LABEL);
    if (!c->limits_text || !str_eq(text, c->limits_text)) {
        if (health_limits_parse(text, &c->limits, &(struct err){0}) < 0)
            c->limits = HEALTH_LIMITS;
        free(c->limits_text);
        c->limits_text = mem_strdup(text);
    }
    return &c->limits;
}

int condition__check(const json_t *labels, struct err *err)
{
    struct health_limits l;
    int r = health_limits_parse(json_str(labels, CLUSTER_HEALTH_LABEL), &l, err);
    return r < 0 ? err_wrap(err, "label " CLUSTER_HEALTH_LABEL) : 0;
}

/* As it is judged: clocks are compared with that of most, so that a leader whose own is wrong says so of
 * itself, and not of all others. */
static struct vitals seen(const struct cluster *c, const struct node *n)
{
    struct vitals v = n->vitals;
    if (!n->measured)
        vitals_clear(&v);
    if (time_monotonic_ns() < c->clocks_from_ns)
        v.is[VITAL_CLOCK_MS] = VITAL_UNKNOWN;
    if (v.is[VITAL_CLOCK_MS] != VITAL_UNKNOWN)
        v.is[VITAL_CLOCK_MS] -= c->common_clock_ms;
    return v;
}

char *condition__message(struct cluster *c, const struct node *n)
{
    const struct vitals v = seen(c, n);
    return health_text(&v, condition__limits(c), &n->health);
}

void condition__tell(struct cluster *c, struct node *n)
{
    free(n->ails);
    n->ails = n->health.level == SCHED_HEALTHY ? NULL : condition__message(c, n);
    place__node_changed(c, n);
}

static const char *const levels[] = {
    [SCHED_HEALTHY] = "well", [SCHED_DEGRADED] = "degraded", [SCHED_UNHEALTHY] = "sick"};

static void judge(struct cluster *c, struct node *n)
{
    const struct health before = n->health;
    const struct vitals v = seen(c, n);
    health_judge(&v, condition__limits(c), &n->health);
    if (n->health.level == before.level &&
        (n->health.level == SCHED_HEALTHY || n->health.cause == before.cause))
        return;
    condition__tell(c, n);
    if (n->health.level == before.level)
        return;
    log_info("cluster: node %s (%s) is %s%s%s", n->o.id, n->o.name, levels[n->health.level],
             n->ails ? ": " : "", n->ails ? n->ails : "");
    c->all_dirty = true; /* who found no node may find one, and whose next node it was may not */
    pthread_cond_signal(&c->decide);
}

/* What nodes tell of their clocks they measured by ours at the answer before. After ours was set, or another
 * led, some tell the one and some the other, until each has had an answer and come again. */
static void watch_own_clock(struct cluster *c)
{
    int64_t now = time_monotonic_ns(), ahead = time_now_ns() - now;
    if (llabs(ahead - c->wall_ahead_ns) > NS_PER_S)
        c->clocks_from_ns = now + 2 * assign__heartbeat(c) + NS_PER_S;
    c->wall_ahead_ns = ahead;
}

void condition__heard(struct cluster *c, struct node *n, const json_t *list)
{
    if (!json_is_array(list)) /* it is of a version that does not tell */
        return;
    watch_own_clock(c);
    vitals_parse(list, &n->vitals);
    n->measured = true;
    judge(c, n);
}

static void compare_clocks(struct cluster *c)
{
    int64_t *clocks = NEW_N(int64_t, c->objects[CLUSTER_NODE].count + 1);
    struct map_entry *e;
    size_t count = 0;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        const struct node *n = e->value;
        if (n->measured && !n->lost && n->vitals.is[VITAL_CLOCK_MS] != VITAL_UNKNOWN)
            clocks[count++] = n->vitals.is[VITAL_CLOCK_MS];
    }
    c->common_clock_ms = vitals_common_clock(clocks, count);
    free(clocks);
}

static void judge_all(struct cluster *c)
{
    struct map_entry *e;
    watch_own_clock(c);
    compare_clocks(c);
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));)
        judge(c, e->value);
}

void condition__tick(struct cluster *c)
{
    struct own_vitals *own = &c->own_vitals;
    if (!due(own))
        return;
    pthread_mutex_unlock(&c->lock);
    measure(c, own);
    pthread_mutex_lock(&c->lock);
    struct node *self = map_get(&c->objects[CLUSTER_NODE], c->self);
    if (!self)
        return;
    self->vitals = own->vitals;
    self->vitals.is[VITAL_CLOCK_MS] = 0;
    self->measured = true;
    judge_all(c);
}

void condition__refresh(struct cluster *c)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        struct node *n = e->value;
        if (n->health.level != SCHED_HEALTHY)
            condition__tell(c, n);
    }
}

/* --- Calls --- */

static json_t *show(struct cluster *c, const struct node *n)
{
    static const char *const names[VITAL_COUNT] = {"DiskFreeBytes",   "DiskBytes",      "InodesFree",
                                                   "Inodes",          "MemoryPressure", "IOPressure",
                                                   "KeeperSilenceMs", "ClockAheadMs"};
    const struct vitals v = seen(c, n);
    json_t *numbers = json_object();
    for (int i = 0; i < VITAL_COUNT; i++) {
        bool percent = i == VITAL_MEMORY || i == VITAL_IO;
        json_object_set_new(numbers, names[i],
                            v.is[i] == VITAL_UNKNOWN ? json_null()
                            : percent                ? json_real((double)v.is[i] / 100)
                                                     : json_integer(v.is[i]));
    }
    _cleanup_free_ char *message = condition__message(c, n);
    json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:o}", "ID", n->o.id, "Name", n->o.name, "Health",
                            n->lost        ? "down"
                            : !n->measured ? "unknown"
                                           : levels[n->health.level],
                            "Message", message ? message : "", "Vitals", numbers);
    must(out);
    return out;
}

int cluster_health_get(struct cluster *c, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    struct map_entry *e;
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    json_t *nodes = json_array();
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));)
        json_array_append_new(nodes, show(c, e->value));
    condition__limits(c);
    *ret = json_pack("{s:s, s:o}", "Limits", c->limits_text, "Nodes", nodes);
    must(*ret);
    return 0;
}

int cluster_health_set(struct cluster *c, const char *limits, struct err *err)
{
    struct health_limits l;
    int r = health_limits_parse(limits, &l, err);
    if (r == 0)
        r = swarm__set_label(c, CLUSTER_HEALTH_LABEL, limits, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(locked, &c->lock);
    if (c->role == ROLE_LEADS)
        judge_all(c);
    return 0;
}
