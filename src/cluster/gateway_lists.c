/* What all nodes have, put together: lists, sums, and what is done on every one. */
#include "cluster/gateway.h"

#include "base/map.h"

enum { REMEMBER_MAX = 1000 }; /* of one list of one node */

static void name_node(json_t *container, const char *node)
{
    json_t *names = json_object_get(container, "Names"), *one;
    size_t i;
    json_array_foreach (names, i, one) {
        const char *text = json_string_value(one);
        json_array_set_new(names, i, json_sprintf("/%s%s", node, text ? text : ""));
    }
}

static int by_creation(const void *a, const void *b)
{
    int64_t x = json_int(*(json_t *const *)a, "Created"), y = json_int(*(json_t *const *)b, "Created");
    return (x < y) - (x > y);
}

static json_t *newest_first(const json_t *list, size_t limit)
{
    size_t n = json_array_size(list), i;
    json_t **sorted = NEW_N(json_t *, n + 1), *out = json_array();
    for (i = 0; i < n; i++)
        sorted[i] = json_array_get(list, i);
    qsort(sorted, n, sizeof(*sorted), by_creation);
    for (i = 0; i < n && (!limit || i < limit); i++)
        json_array_append(out, sorted[i]);
    free(sorted);
    return out;
}

/* What all nodes say of one thing, as it grows into one answer. */
struct whole {
    struct gate *g;
    json_t *out;
    struct map seen; /* of what several nodes have */
    bool by_age;     /* the newest first, */
    size_t limit;    /* and no more than these; 0: all */
    void (*add)(struct whole *w, const json_t *node, json_t *said);
};

/* Takes `out`. When no node answers, the reply is why. */
static int gather(struct whole w, const char *method, struct err *err)
{
    struct gate *g = w.g;
    struct answers all;
    _cleanup_json_ json_t *out = w.out;
    _cleanup_free_ char *target = gate__with_query(g, g->raw);
    int r = 0;
    w.seen = MAP_INIT(NULL);
    gate__ask_all(g, method, target, NULL, &all);
    for (size_t i = 0; i < all.count; i++) {
        _cleanup_json_ json_t *said = gate__parsed(&all.list[i]);
        w.add(&w, all.list[i].node, said);
    }
    map_done(&w.seen);
    if (gate__any_answered(&all))
        http_reply_json(g->q, 200, w.by_age ? newest_first(out, w.limit) : json_incref(out));
    else
        r = gate__reply_first(g, &all, err);
    gate__answers_done(&all);
    return r;
}

/* Once, whichever nodes have it. */
static void add_once(struct whole *w, const char *key, json_t *one)
{
    if (!map_has(&w->seen, key))
        json_array_append(w->out, one);
    map_put(&w->seen, key, w);
}

static void add_containers(struct whole *w, const json_t *node, json_t *said)
{
    json_t *one;
    size_t k;
    json_array_foreach (said, k, one) {
        name_node(one, gate__node_name(node));
        if (k < REMEMBER_MAX)
            gate__remember(w->g, "containers", json_str(one, "Id"), node);
        json_array_append(w->out, one);
    }
}

int gate__list_containers(struct gate *g, struct err *err)
{
    const char *limit = http_query(g->q, "limit");
    int64_t most = 0;
    if (limit && parse_i64(limit, 1, INT32_MAX, &most, NULL) < 0)
        most = 0;
    const struct whole w = {
        .g = g, .out = json_array(), .by_age = true, .limit = (size_t)most, .add = add_containers};
    return gather(w, "GET", err);
}

static void add_images(struct whole *w, const json_t *node, json_t *said)
{
    json_t *one;
    size_t k;
    json_array_foreach (said, k, one) {
        _cleanup_free_ char *tags = json_format(json_object_get(one, "RepoTags"));
        _cleanup_free_ char *key = str_printf("%s %s", json_str(one, "Id"), tags);
        add_once(w, key, one);
    }
}

int gate__list_images(struct gate *g, struct err *err)
{
    const struct whole w = {.g = g, .out = json_array(), .by_age = true, .add = add_images};
    return gather(w, "GET", err);
}

/* Lists put one behind the other, numbers added; anything else is the first one's. */
static void add_up(json_t *to, const json_t *from)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)from, key, value) {
        json_t *have = json_object_get(to, key);
        if (json_is_integer(have) && json_is_integer(value))
            json_object_set_new(to, key, json_integer(json_integer_value(have) + json_integer_value(value)));
        else if (json_is_array(have) && json_is_array(value))
            json_array_extend(have, value);
        else if (!have || json_is_null(have))
            json_object_set(to, key, value);
    }
}

static void add_pruned(struct whole *w, const json_t *node, json_t *said)
{
    add_up(w->out, said);
}

int gate__prune_all(struct gate *g, struct err *err)
{
    const struct whole w = {.g = g, .out = json_object(), .add = add_pruned};
    return gather(w, "POST", err);
}

int gate__info(struct gate *g, struct err *err)
{
    static const char *const counts[] = {
        "Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "Images",
        "NCPU",       "MemTotal"};
    struct answers all;
    const json_t *own = gate__own(g);
    _cleanup_json_ json_t *whole = NULL;
    int64_t sums[ARRAY_SIZE(counts)] = {0};
    int r = 0;
    gate__ask_all(g, "GET", "/info", NULL, &all);
    for (size_t i = 0; i < all.count; i++) {
        json_t *one = gate__parsed(&all.list[i]);
        for (size_t k = 0; k < ARRAY_SIZE(counts); k++)
            sums[k] += json_int(one, counts[k]);
        if (all.list[i].node == own) {
            json_decref(whole);
            whole = json_incref(one);
        }
        json_decref(one);
    }
    for (size_t k = 0; whole && k < ARRAY_SIZE(counts); k++)
        json_object_set_new(whole, counts[k], json_integer(sums[k]));
    if (whole)
        http_reply_json(g->q, 200, json_incref(whole));
    else
        r = gate__reply_first(g, &all, err);
    gate__answers_done(&all);
    return r;
}

/* --- Volumes and networks: those of one node are "NODE/NAME" --- */

static void name_one(json_t *one, const json_t *node)
{
    _cleanup_free_ char *name = str_printf("%s/%s", gate__node_name(node), json_str(one, "Name"));
    json_set_str(one, "Name", name);
}

static void add_volumes(struct whole *w, const json_t *node, json_t *said)
{
    json_t *warnings = json_object_get(said, "Warnings"), *one;
    size_t k;
    json_array_foreach (json_object_get(said, "Volumes"), k, one) {
        name_one(one, node);
        json_array_append(json_object_get(w->out, "Volumes"), one);
    }
    if (json_is_array(warnings))
        json_array_extend(json_object_get(w->out, "Warnings"), warnings);
}

int gate__list_volumes(struct gate *g, struct err *err)
{
    const struct whole w = {
        .g = g, .out = json_pack("{s:[], s:[]}", "Volumes", "Warnings"), .add = add_volumes};
    return gather(w, "GET", err);
}

/* The swarm's are on several nodes. */
static void add_networks(struct whole *w, const json_t *node, json_t *said)
{
    json_t *one;
    size_t k;
    json_array_foreach (said, k, one) {
        if (!str_eq(json_str(one, "Scope"), "swarm"))
            name_one(one, node);
        add_once(w, json_str(one, "Id"), one);
    }
}

int gate__list_networks(struct gate *g, struct err *err)
{
    const struct whole w = {.g = g, .out = json_array(), .add = add_networks};
    return gather(w, "GET", err);
}
