#include "cluster/place_alone.h"

#include "cluster/peer.h"
#include "cluster/port.h"
#include "scheduler/scheduler.h"

/* LISTING_MS: nodes are seldom longer in saying what they have. */
enum {
    HOLD_MS = 60000,
    LISTING_MS = 2000,
    ASK_MS = 15000,
    MARKS_MAX = 64,
    PORTS_MAX = 256,
    VOLUMES_MAX = 64,
    GUESTS_MAX = 100000
};

#define MARK_LABEL "sh.drover.mark."

struct place_hold {
    int64_t number, until_ns;
    char node[ID_BYTES];
    int64_t cpu, memory;
    json_t *ports;
    char *container; /* made; NULL: not yet */
};

/* --- Holds --- */

static void drop_hold(struct cluster *c, size_t i)
{
    if (!c->holds[i])
        return;
    json_decref(c->holds[i]->ports);
    free(c->holds[i]->container);
    free(c->holds[i]);
    c->holds[i] = NULL;
}

void place_alone__forget(struct cluster *c)
{
    for (size_t i = 0; i < PLACE_HOLDS; i++)
        drop_hold(c, i);
}

static size_t count_holds(struct cluster *c)
{
    int64_t now_ns = time_monotonic_ns();
    size_t count = 0;
    for (size_t i = 0; i < PLACE_HOLDS; i++) {
        if (c->holds[i] && c->holds[i]->until_ns < now_ns)
            drop_hold(c, i);
        count += c->holds[i] != NULL;
    }
    return count;
}

/* When there is no room for one more, the oldest ends. */
static int64_t add_hold(struct cluster *c, const json_t *request, const char *node)
{
    size_t at = 0;
    for (size_t i = 0; i < PLACE_HOLDS && c->holds[at]; i++)
        if (!c->holds[i] || c->holds[i]->number < c->holds[at]->number)
            at = i;
    drop_hold(c, at);
    struct place_hold *h = NEW(struct place_hold);
    *h = (struct place_hold){.number = ++c->hold_number,
                             .until_ns = time_monotonic_ns() + HOLD_MS * NS_PER_MS,
                             .cpu = json_int(request, "cpu"),
                             .memory = json_int(request, "memory"),
                             .ports = json_incref(json_object_get(request, "ports"))};
    snprintf(h->node, sizeof(h->node), "%s", node);
    c->holds[at] = h;
    return h->number;
}

static void note_made(struct cluster *c, int64_t number, const char *container)
{
    for (size_t i = 0; i < PLACE_HOLDS; i++) {
        struct place_hold *h = c->holds[i];
        if (!h || h->number != number || h->container)
            continue;
        h->container = mem_strdup(container);
        h->until_ns = time_monotonic_ns() + LISTING_MS * NS_PER_MS;
        if (!*container)
            drop_hold(c, i);
    }
}

static bool is_said(const struct place_hold *h, const json_t *said)
{
    const json_t *one;
    size_t i;
    if (h->container)
        json_array_foreach (json_object_get(said, "ids"), i, one)
            if (str_eq(json_string_value(one), h->container))
                return true;
    return false;
}

/* --- One choice --- */

struct choice {
    struct cluster *c;
    const json_t *request;
    struct sched_shape *guest; /* what stands for a container that is there */
    sched_task *guests;        /* in the model for as long as the choice takes */
    size_t guest_count;
    char keys[MARKS_MAX][sizeof(MARK_LABEL) + 8];
};

static size_t read_ports(const json_t *list, struct sched_port ports[PORTS_MAX], size_t count)
{
    const json_t *one;
    size_t i;
    json_array_foreach ((json_t *)list, i, one) {
        const char *text = json_string_value(one) ? json_string_value(one) : "", *slash = strchr(text, '/');
        _cleanup_free_ char *digits = mem_strndup(text, slash ? (size_t)(slash - text) : strlen(text));
        int64_t port;
        if (count < PORTS_MAX && parse_i64(digits, 1, 65535, &port, NULL) == 0)
            ports[count++] = (struct sched_port){(uint16_t)port, !slash                      ? SCHED_TCP
                                                                 : str_eq(slash + 1, "udp")  ? SCHED_UDP
                                                                 : str_eq(slash + 1, "sctp") ? SCHED_SCTP
                                                                                             : SCHED_TCP};
    }
    return count;
}

static int add_guests(struct choice *x, const char *node, int64_t count, struct err *err)
{
    int r = 0;
    for (int64_t i = 0; r == 0 && i < count && x->guest_count < GUESTS_MAX; i++) {
        r = sched_task_add(x->c->model, x->guest, node, &x->guests[x->guest_count], err);
        x->guest_count += r == 0;
    }
    return r;
}

/* The node with what it said, and what is held there. */
static int look_at(struct choice *x, const struct node *n, struct err *err)
{
    struct sched_port ports[PORTS_MAX];
    struct sched_label labels[MARKS_MAX];
    const json_t *said = json_object_get(json_object_get(x->request, "nodes"), n->o.id), *one;
    _cleanup_strv_ char **volumes = NULL;
    char *images[] = {(char *)json_str(x->request, "image"), NULL};
    int64_t guests = json_int(said, "tasks");
    struct place_sight sight = {.hidden = !said,
                                .labels = labels,
                                .cpu_nano = json_int(said, "cpu"),
                                .memory_bytes = json_int(said, "memory"),
                                .ports = ports,
                                .port_count = read_ports(json_object_get(said, "ports"), ports, 0),
                                .images = json_bool(said, "image") ? images : NULL};
    size_t i;
    int r = json_get_strv(said, "nodes", "volumes", &volumes, err);
    sight.volumes = volumes;
    json_array_foreach (json_object_get(said, "meets"), i, one) {
        json_int_t mark = json_integer_value(one);
        if (mark >= 0 && mark < MARKS_MAX && sight.label_count < MARKS_MAX)
            labels[sight.label_count++] = (struct sched_label){x->keys[mark], "yes"};
    }
    for (i = 0; i < PLACE_HOLDS; i++) {
        const struct place_hold *h = x->c->holds[i];
        if (!h || !str_eq(h->node, n->o.id) || is_said(h, said))
            continue;
        guests++;
        sight.cpu_nano += h->cpu;
        sight.memory_bytes += h->memory;
        sight.port_count = read_ports(h->ports, ports, sight.port_count);
    }
    if (r == 0)
        r = place__look_at(x->c, n, &sight, err);
    return r == 0 ? add_guests(x, n->o.id, guests, err) : r;
}

static int look_at_all(struct choice *x, struct err *err)
{
    const struct sched_request guest = {.service = "-container"};
    struct map_entry *e;
    int r = sched_shape_new(x->c->model, &guest, &x->guest, err);
    for (size_t i = 0; r == 0 && (e = map_next(&x->c->objects[CLUSTER_NODE], &i));)
        r = look_at(x, e->value, err);
    return r;
}

/* As if nobody had asked: what services find afterwards is what the state has. */
static void look_away(struct choice *x)
{
    struct map_entry *e;
    int r = 0;
    for (size_t i = 0; i < x->guest_count; i++)
        sched_task_remove(x->c->model, x->guests[i]);
    sched_shape_unref(x->guest);
    for (size_t i = 0; r == 0 && (e = map_next(&x->c->objects[CLUSTER_NODE], &i));)
        r = place__look_away(x->c, e->value, &(struct err){0});
    if (r < 0)
        place__forget(x->c);
}

/* --- What is asked for --- */

static int read_shape(struct choice *x, struct sched_shape **ret, struct err *err)
{
    const json_t *q = x->request, *one;
    struct sched_port ports[PORTS_MAX];
    const struct sched_platform platform = {json_str(q, "os"), json_str(q, "architecture")};
    struct sched_volume volumes[VOLUMES_MAX];
    _cleanup_strv_ char **constraints = NULL, **names = NULL;
    size_t i, volume_count = 0;
    int r = json_get_strv(q, "", "constraints", &constraints, err);
    if (r == 0)
        r = json_get_strv(q, "", "volumes", &names, err);
    if (r == 0 && strv_len(names) > VOLUMES_MAX)
        r = err_set(err, ERR_LIMIT, "more than %d volumes", VOLUMES_MAX);
    if (r == 0 && json_array_size(json_object_get(q, "marks")) > MARKS_MAX)
        r = err_set(err, ERR_LIMIT, "more than %d affinities", MARKS_MAX);
    if (r < 0)
        return r;
    json_array_foreach (json_object_get(q, "marks"), i, one) {
        snprintf(x->keys[i], sizeof(x->keys[i]), MARK_LABEL "%zu", i);
        char *text = str_printf("node.labels.%s==%syes", x->keys[i], json_bool(one, "soft") ? "~" : "");
        strv_add(&constraints, text);
        free(text);
    }
    STRV_FOREACH (name, names)
        volumes[volume_count++] = (struct sched_volume){.name = *name};
    const struct sched_request request = {.service = "-container-new",
                                          .cpu_nano = json_int(q, "cpu"),
                                          .memory_bytes = json_int(q, "memory"),
                                          .constraints = constraints,
                                          .platforms = &platform,
                                          .platform_count = *platform.os || *platform.architecture,
                                          .ports = ports,
                                          .port_count = read_ports(json_object_get(q, "ports"), ports, 0),
                                          .volumes = volumes,
                                          .volume_count = volume_count,
                                          .image = json_str(q, "image"),
                                          .strategy = json_str(q, "strategy"),
                                          .options = json_str(q, "options")};
    return sched_shape_new(x->c->model, &request, ret, err);
}

/* A mark in the words of who asked. */
static const char *reason_text(const struct choice *x, const char *text)
{
    const char *digits = str_after(text, "node.labels." MARK_LABEL);
    int64_t mark;
    _cleanup_free_ char *number = digits ? mem_strndup(digits, strcspn(digits, "=")) : NULL;
    if (!number || parse_i64(number, 0, MARKS_MAX - 1, &mark, NULL) < 0)
        return text;
    return json_str(json_array_get(json_object_get(x->request, "marks"), (size_t)mark), "text");
}

static char *refusal(struct choice *x, struct sched_shape *shape)
{
    struct sched_explanation *e = NEW(struct sched_explanation);
    _cleanup_str_ struct str text = STR_INIT;
    sched_explain(x->c->model, shape, time_now_ns(), e);
    for (size_t i = 0; i < e->reason_count; i++) {
        const struct sched_reason *r = &e->reasons[i];
        str_addf(&text, "%s%s (on ", i ? "; " : "", reason_text(x, r->text));
        for (size_t k = 0; k < r->name_count; k++)
            str_addf(&text, "%s%s", k ? ", " : "", r->names[k]);
        str_add(&text, r->nodes > r->name_count ? ", ...)" : ")");
    }
    free(e);
    return str_printf("no node fits: %s", text.len ? str_get(&text) : "there is none");
}

static int choose(struct choice *x, json_t **ret, struct err *err)
{
    struct sched_shape *shape = NULL;
    sched_task task;
    size_t held = count_holds(x->c);
    int r = read_shape(x, &shape, err);
    if (r == 0)
        r = look_at_all(x, err);
    if (r == 0 && sched_place(x->c->model, shape, 1, time_now_ns(), &task) == 1) {
        const char *node = sched_task_node(x->c->model, task);
        *ret = json_pack("{s:s, s:I}", "node", node, "hold", (json_int_t)add_hold(x->c, x->request, node));
        sched_task_remove(x->c->model, task);
    } else if (r == 0) {
        _cleanup_free_ char *why = refusal(x, shape);
        *ret = json_pack("{s:s, s:I}", "refused", why, "held", (json_int_t)held);
    }
    must(r < 0 || *ret);
    look_away(x);
    sched_shape_unref(shape);
    return r;
}

static int place(struct cluster *c, const json_t *request, json_t **ret, struct err *err)
{
    int r = place__model(c, err);
    if (r < 0)
        return r;
    struct choice *x = NEW(struct choice);
    *x = (struct choice){.c = c, .request = request, .guests = NEW_N(sched_task, GUESTS_MAX)};
    r = choose(x, ret, err);
    free(x->guests);
    free(x);
    return r;
}

/* --- Calls --- */

int place_alone__ask(struct cluster *c, const json_t *request, json_t **ret, struct err *err)
{
    if (cluster_elsewhere(c))
        return peer_call_leader(c, "POST", "/cluster/place", request, ASK_MS, ret, err);
    SCOPED_LOCK(locked, &c->lock);
    return place(c, request, ret, err);
}

void place_alone__placed(struct cluster *c, int64_t hold, const char *container)
{
    if (cluster_elsewhere(c)) {
        _cleanup_json_ json_t *body =
            json_pack("{s:I, s:s}", "hold", (json_int_t)hold, "container", container);
        peer_call_leader(c, "POST", "/cluster/placed", body, ASK_MS, NULL, &(struct err){0});
        return;
    }
    SCOPED_LOCK(locked, &c->lock);
    note_made(c, hold, container);
}

static int take_call(struct http_request *q, struct cluster *c, json_t **ret_body, struct err *err)
{
    struct port_peer peer;
    int r = port__peer(c, q, &peer, err);
    if (r == 0 && !peer.manager)
        r = err_set(err, ERR_DENIED, "this is for managers");
    return r == 0 ? http_body_json(q, PORT_BODY_MAX, ret_body, err) : r;
}

int place_alone__take(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    _cleanup_json_ json_t *body = NULL;
    json_t *answer = NULL;
    if (port__elsewhere(c, q))
        return 0;
    int r = take_call(q, c, &body, err);
    if (r == 0) {
        SCOPED_LOCK(locked, &c->lock);
        r = cluster__no_swarm(c, err);
        if (r == 0)
            r = place(c, body, &answer, err);
    }
    if (r == 0)
        http_reply_json(q, 200, answer);
    return r;
}

int place_alone__taken(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    _cleanup_json_ json_t *body = NULL;
    if (port__elsewhere(c, q))
        return 0;
    int r = take_call(q, c, &body, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    note_made(c, json_int(body, "hold"), json_str(body, "container"));
    pthread_mutex_unlock(&c->lock);
    http_reply_json(q, 200, json_object());
    return 0;
}
