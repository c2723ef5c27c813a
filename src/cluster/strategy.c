/* Strategies that are kept in the cluster: Lua scripts as configs, and who uses which. */
#include "cluster/cluster_priv.h"

#include "base/base64.h"
#include "base/log.h"
#include "scheduler/strategy.h"

#include <time.h>

enum { STRATEGIES_MAX = 64 };

/* The time that the thread itself works, which a busy machine does not use up. */
static int64_t own_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static const char *name_of(const struct object *config)
{
    return json_str(json_object_get(config->spec, "Labels"), CLUSTER_STRATEGY_LABEL);
}

static struct secret *find(struct cluster *c, const char *name, size_t *ret_count)
{
    struct map_entry *e;
    struct secret *found = NULL;
    size_t count = 0;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_CONFIG], &i));) {
        const char *one = name_of(e->value);
        count += *one != '\0';
        if (*one && str_eq(one, name))
            found = e->value;
    }
    if (ret_count)
        *ret_count = count;
    return found;
}

static int compile(const char *name, const char *text, size_t n, struct sched_strategy **ret, struct err *err)
{
    const struct sched_lua_limits limits = {.clock_ns = own_ns};
    return sched_strategy_lua(name, text, n, &limits, ret, err);
}

static int known(struct cluster *c, const char *name, struct err *err)
{
    if (sched_strategy_builtin(name) >= 0 || find(c, name, NULL))
        return 0;
    return err_set(err, ERR_INVALID,
                   "no strategy is called \"%.80s\": spread, binpack and random are built in; \"drover "
                   "strategy set %.80s FILE.lua\" adds one",
                   name, name);
}

const char *strategy__default(const struct cluster *c)
{
    const json_t *labels = json_object_get(json_object_get(c->swarm, "Spec"), "Labels");
    const char *name = json_str(labels, CLUSTER_STRATEGY_LABEL);
    return *name ? name : "spread";
}

int strategy__check(struct cluster *c, const json_t *labels, struct err *err)
{
    const char *name = json_str(labels, CLUSTER_STRATEGY_LABEL);
    return *name ? known(c, name, err) : 0;
}

void strategy__fill(struct cluster *c, struct sched *model)
{
    struct map_entry *e;
    struct err err;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_CONFIG], &i));) {
        const struct secret *s = e->value;
        const char *name = name_of(&s->o);
        struct sched_strategy *made = NULL;
        if (*name && (compile(name, str_get(&s->data), s->data.len, &made, &err) < 0 ||
                      sched_strategy_put(model, name, made, &err) < 0))
            log_warning("strategy %s: %s; spread is used", name, err.msg);
    }
    if (sched_default_strategy(model, strategy__default(c), &err) < 0)
        log_warning("the cluster's strategy: %s", err.msg);
}

/* --- Shown --- */

static void add_script(struct cluster *c, const struct secret *s, json_t *list)
{
    const char *last = "", *name = name_of(&s->o);
    uint64_t problems = c->model ? sched_strategy_problems(c->model, name, &last) : 0;
    json_t *one = json_pack("{s:s, s:s, s:I, s:I, s:s}", "Name", name, "Kind", "lua", "Bytes",
                            (json_int_t)s->data.len, "Problems", (json_int_t)problems, "LastProblem", last);
    must(one);
    cluster__set_time(one, "UpdatedAt", s->o.updated_ns);
    json_array_append_new(list, one);
}

int cluster_strategy_list(struct cluster *c, json_t **ret, struct err *err)
{
    static const char *const builtins[] = {"spread", "binpack", "random"};
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    json_t *list = json_array();
    struct map_entry *e;
    for (size_t i = 0; i < ARRAY_SIZE(builtins); i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "Name", builtins[i], "Kind", "built in"));
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_CONFIG], &i));)
        if (*name_of(e->value))
            add_script(c, e->value, list);
    *ret = json_pack("{s:s, s:o}", "Default", strategy__default(c), "Strategies", list);
    must(*ret);
    return 0;
}

static struct secret *get(struct cluster *c, const char *name, struct err *err)
{
    if (cluster__no_swarm(c, err) < 0)
        return NULL;
    struct secret *s = find(c, name, NULL);
    if (!s)
        err_set(err, ERR_NOT_FOUND, "no script of the cluster is called \"%.80s\"%s", name,
                sched_strategy_builtin(name) >= 0 ? "; it is built in" : "");
    return s;
}

int cluster_strategy_get(struct cluster *c, const char *name, struct str *ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    const struct secret *s = get(c, name, err);
    if (!s)
        return -err->code;
    str_addn(ret, s->data.data, s->data.len);
    return 0;
}

/* --- Changed --- */

/* Tries it on a scheduler of its own: its name and its text are good afterwards. */
static int check_script(const char *name, const char *text, size_t n, struct err *err)
{
    struct sched_strategy *made = NULL;
    struct sched *trial = sched_new(1);
    int r = n <= SCHED_SCRIPT_MAX
                ? 0
                : err_set(err, ERR_LIMIT, "the script has more than %d bytes", SCHED_SCRIPT_MAX);
    if (r == 0)
        r = compile(name, text, n, &made, err);
    if (r == 0)
        r = sched_strategy_put(trial, name, made, err);
    sched_free(trial);
    return r;
}

static int replace(struct cluster *c, struct secret *s, const char *text, size_t n, struct err *err)
{
    struct str before = s->data;
    struct change ch = {0};
    s->data = (struct str)STR_INIT;
    str_addn(&s->data, text, n);
    cluster__touch(c, &s->o);
    change_put(&ch, &s->o);
    int r = change_commit(c, &ch, true, err);
    struct str *gone = r < 0 ? &s->data : &before, kept = r < 0 ? before : s->data;
    str_free(gone);
    s->data = kept;
    return r;
}

static int add(struct cluster *c, const char *name, const char *text, size_t n, struct err *err)
{
    _cleanup_free_ char *data = base64_encode(text, n), *file = str_printf("strategy.%s", name);
    _cleanup_json_ json_t *spec =
        json_pack("{s:s, s:{s:s}, s:s}", "Name", file, "Labels", CLUSTER_STRATEGY_LABEL, name, "Data", data);
    struct secret *s = NULL;
    struct change ch = {0};
    must(spec);
    if (c->objects[CLUSTER_CONFIG].count >= OBJECTS_MAX)
        return err_set(err, ERR_LIMIT, "there are %d configs, which is the most there may be", OBJECTS_MAX);
    int r = secret__create(c, CLUSTER_CONFIG, spec, &s, err);
    if (r < 0)
        return r;
    change_put(&ch, &s->o);
    r = change_commit(c, &ch, true, err);
    if (r < 0) {
        secret__free(s);
        return r;
    }
    cluster__add(c, &s->o);
    cluster__event(c, &s->o, "create", NULL);
    return 0;
}

static void place_anew(struct cluster *c)
{
    place__forget(c);
    c->all_dirty = true;
    pthread_cond_signal(&c->decide);
}

int cluster_strategy_put(struct cluster *c, const char *name, const char *text, size_t n, struct err *err)
{
    int r = check_script(name, text, n, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(locked, &c->lock);
    r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    size_t count;
    struct secret *present = find(c, name, &count);
    if (!present && count >= STRATEGIES_MAX)
        return err_set(err, ERR_LIMIT, "there are %d scripts, which is the most there may be",
                       STRATEGIES_MAX);
    r = present ? replace(c, present, text, n, err) : add(c, name, text, n, err);
    if (r == 0)
        place_anew(c);
    return r;
}

int cluster_strategy_remove(struct cluster *c, const char *name, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    struct secret *s = get(c, name, err);
    struct map_entry *e;
    if (!s)
        return -err->code;
    if (str_eq(strategy__default(c), name))
        return err_set(err, ERR_CONFLICT,
                       "strategy %s is the cluster's: choose another first (drover strategy use spread)",
                       name);
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_SERVICE], &i));) {
        const struct object *o = e->value;
        if (str_eq(json_str(json_object_get(o->spec, "Labels"), CLUSTER_STRATEGY_LABEL), name))
            return err_set(err, ERR_CONFLICT, "strategy %s is used by service %s: change its label %s first",
                           name, o->name, CLUSTER_STRATEGY_LABEL);
    }
    int r = secret__remove(c, s, err);
    if (r < 0)
        return r;
    cluster__event(c, &s->o, "remove", NULL);
    cluster__drop(c, &s->o);
    secret__free(s);
    place_anew(c);
    return 0;
}

int cluster_strategy_choose(struct cluster *c, const char *name, struct err *err)
{
    pthread_mutex_lock(&c->lock);
    int r = cluster__no_swarm(c, err);
    if (r == 0)
        r = known(c, name, err);
    pthread_mutex_unlock(&c->lock);
    return r == 0 ? swarm__set_label(c, CLUSTER_STRATEGY_LABEL, name, err) : r;
}
