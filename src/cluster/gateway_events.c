/* The events of all nodes as one stream, each with the name and the id of its node among its actor's
 * attributes
 * ("node.name", "node.id"). They come as they come from the nodes; what is asked for of the past alone is put
 * in order. A node whose connection ends is tried again, and one that has joined is listened to as well,
 * every LOOK_MS. */
#include "cluster/gateway.h"

#include "base/log.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOK_MS = 5000, POLL_MS = 500, LINE_MAX_BYTES = 1 << 20, EVENTS_MAX = 100000 };

static json_t *with_node(const char *text, size_t n, const char *name, const char *id)
{
    json_t *doc = NULL;
    if (json_parse(text, n, "a node's event", &doc, NULL) < 0)
        return NULL;
    json_t *attributes = json_object_get(json_object_get(doc, "Actor"), "Attributes");
    if (json_is_object(attributes)) {
        json_set_str(attributes, "node.name", name);
        json_set_str(attributes, "node.id", id);
    }
    return doc;
}

/* --- Of the past --- */

static int by_time(const void *a, const void *b)
{
    int64_t x = json_int(*(json_t *const *)a, "timeNano"), y = json_int(*(json_t *const *)b, "timeNano");
    return (x > y) - (x < y);
}

static void take_lines(const struct answer *a, json_t *out)
{
    const char *at = str_get((struct str *)&a->body), *end;
    for (; *at && json_array_size(out) < EVENTS_MAX; at = end + (*end != '\0')) {
        end = at + strcspn(at, "\n");
        json_t *one = with_node(at, (size_t)(end - at), gate__node_name(a->node), json_str(a->node, "ID"));
        if (one)
            json_array_append_new(out, one);
    }
}

static int reply_past(struct gate *g, struct err *err)
{
    struct answers all;
    _cleanup_free_ char *target = gate__with_query(g, g->raw);
    _cleanup_json_ json_t *found = json_array();
    int r = 0;
    gate__ask_all(g, "GET", target, NULL, &all);
    for (size_t i = 0; i < all.count; i++)
        if (gate__answered(&all.list[i]))
            take_lines(&all.list[i], found);
    if (gate__any_answered(&all)) {
        size_t n = json_array_size(found);
        json_t **sorted = NEW_N(json_t *, n + 1);
        for (size_t i = 0; i < n; i++)
            sorted[i] = json_array_get(found, i);
        qsort(sorted, n, sizeof(*sorted), by_time);
        http_stream_begin(g->q, 200, "application/json");
        for (size_t i = 0; r == 0 && i < n; i++)
            r = http_stream_json(g->q, json_incref(sorted[i]), err);
        free(sorted);
    } else
        r = gate__reply_first(g, &all, err);
    gate__answers_done(&all);
    return r == -ERR_CANCELLED ? 0 : r;
}

/* --- As they come --- */

struct source {
    char *id, *name;
    struct reach *reach; /* NULL: it has ended */
    bool began;          /* the head of its answer is read */
    struct str text;     /* up to a whole line */
};

struct listening {
    struct gate *g;
    struct source *list;
    size_t count, capacity;
    int64_t until_ns; /* 0: for ever */
};

static void end_source(struct source *s)
{
    reach__close(s->reach);
    s->reach = NULL;
    s->began = false;
    str_clear(&s->text);
}

/* `again`: of what happens from now on. */
static void open_source(struct gate *g, struct source *s, const json_t *node, bool again)
{
    struct err err;
    _cleanup_free_ char *query = gate__with_query(g, g->raw), *target = NULL;
    const char *since = again ? strstr(query, "since=") : NULL;
    if (since) /* what it says again would be seen twice */
        target = str_printf("%s%.*s%s", g->version, (int)(since - query), query, since + strcspn(since, "&"));
    else
        target = str_printf("%s%s", g->version, query);
    if (reach__begin(g->c, node, "GET", target, &s->reach, &err) < 0)
        log_warning("events of all nodes: %s", err.msg);
}

static struct source *source_of(struct listening *l, const char *id)
{
    for (size_t i = 0; i < l->count; i++)
        if (str_eq(l->list[i].id, id))
            return &l->list[i];
    return NULL;
}

static void look(struct listening *l, bool again)
{
    json_t *node;
    size_t i;
    json_array_foreach (l->g->nodes, i, node) {
        struct source *s = source_of(l, json_str(node, "ID"));
        if (!gate__is_ready(node) || (s && s->reach))
            continue;
        if (!s) {
            GROW(l->list, l->count, l->capacity);
            s = &l->list[l->count++];
            *s = (struct source){.id = mem_strdup(json_str(node, "ID")),
                                 .name = mem_strdup(gate__node_name(node)),
                                 .text = STR_INIT};
        }
        open_source(l->g, s, node, again);
    }
}

static void look_again(struct listening *l)
{
    json_t *nodes = NULL;
    if (reach__nodes(l->g->c, &nodes, &(struct err){0}) < 0)
        return;
    json_decref(l->g->nodes);
    l->g->nodes = nodes;
    look(l, true);
}

/* The lines that are whole; what they took of the text. */
static int pass_lines(struct listening *l, struct source *s, size_t *ret_used, struct err *err)
{
    const char *text = str_get(&s->text), *at = text, *end;
    int r = 0;
    *ret_used = 0;
    if (!s->began) {
        end = strstr(text, "\r\n\r\n");
        if (!end)
            return 0;
        s->began = true;
        at = end + 4;
    }
    for (; r == 0 && (end = strchr(at, '\n')); at = end + 1) {
        json_t *one = with_node(at, (size_t)(end - at), s->name, s->id);
        if (one)
            r = http_stream_json(l->g->q, one, err);
    }
    *ret_used = (size_t)(at - text);
    return r;
}

static int take_some(struct listening *l, struct source *s, struct err *err)
{
    char buffer[16 << 10];
    ssize_t n = recv(reach__fd(s->reach), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0 || s->text.len + (size_t)n > LINE_MAX_BYTES) {
        end_source(s);
        return 0;
    }
    size_t used;
    str_addn(&s->text, buffer, (size_t)n);
    int r = pass_lines(l, s, &used, err);
    struct str rest = STR_INIT;
    str_addn(&rest, s->text.data + used, s->text.len - used);
    str_free(&s->text);
    s->text = rest;
    return r;
}

static int wait_for_some(struct listening *l, struct err *err)
{
    struct pollfd *p = NEW_N(struct pollfd, l->count + 1);
    int r = 0;
    for (size_t i = 0; i < l->count; i++)
        p[i] = (struct pollfd){.fd = l->list[i].reach ? reach__fd(l->list[i].reach) : -1, .events = POLLIN};
    if (poll(p, l->count, POLL_MS) > 0)
        for (size_t i = 0; r == 0 && i < l->count; i++)
            if (p[i].revents)
                r = take_some(l, &l->list[i], err);
    free(p);
    return r;
}

static int follow(struct listening *l, struct err *err)
{
    int64_t looked_ns = time_monotonic_ns();
    int r = 0;
    look(l, false);
    http_stream_begin(l->g->q, 200, "application/json");
    while (r == 0 && !http_peer_gone(l->g->q) && !l->g->c->cancel &&
           (!l->until_ns || time_now_ns() < l->until_ns)) {
        r = wait_for_some(l, err);
        if (time_monotonic_ns() - looked_ns > LOOK_MS * NS_PER_MS) {
            looked_ns = time_monotonic_ns();
            look_again(l);
        }
    }
    return r;
}

int gate__events(struct gate *g, struct err *err)
{
    const char *until = http_query(g->q, "until");
    struct listening l = {.g = g};
    int64_t seconds = 0;
    if (until && *until) {
        _cleanup_free_ char *whole = mem_strndup(until, strcspn(until, "."));
        if (parse_i64(whole, 0, INT64_MAX / NS_PER_S - 1, &seconds, err) < 0)
            return err_wrap(err, "until");
        l.until_ns = (seconds + 1) * NS_PER_S;
    }
    if (l.until_ns && l.until_ns <= time_now_ns() + NS_PER_S)
        return reply_past(g, err);
    int r = follow(&l, err);
    for (size_t i = 0; i < l.count; i++) {
        end_source(&l.list[i]);
        free(l.list[i].id);
        free(l.list[i].name);
        str_free(&l.list[i].text);
    }
    free(l.list);
    return r == -ERR_CANCELLED ? 0 : r;
}
