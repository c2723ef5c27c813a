/* Which node has it: a container, an exec, a network, a volume, an image that a request is about.
 *
 * Where containers and execs are is kept, at most KNOWN_MAX of them: an id of 64 digits is of one node for
 * ever, and is not asked for again; by a name or the beginning of an id the one node is asked that had it,
 * and all of them when it does not answer with the same id. That two nodes have the same name is so seen
 * when the name was not in use before. */
#include "cluster/gateway.h"

#include "base/map.h"
#include "cluster/port.h"

#include <ctype.h>

enum { KNOWN_MAX = 16384, ID_DIGITS = 64, EXEC_BODY_MAX = 1 << 20 };

struct gateway_known {
    pthread_mutex_t lock;
    struct map at; /* "/containers/REF/json" -> struct known */
};
struct known {
    char node[ID_BYTES], id[ID_DIGITS + 1];
};

/* --- What is known --- */

static struct gateway_known *known_of(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    if (!c->known) {
        c->known = NEW(struct gateway_known);
        pthread_mutex_init(&c->known->lock, NULL);
        c->known->at = MAP_INIT(free);
    }
    return c->known;
}

void gateway__forget(struct cluster *c)
{
    if (!c->known)
        return;
    map_done(&c->known->at);
    pthread_mutex_destroy(&c->known->lock);
    free(c->known);
    c->known = NULL;
}

static void drop_oldest(struct map *m)
{
    size_t at = 0;
    struct map_entry *e = map_next(m, &at);
    if (e)
        map_remove(m, e->key);
}

static void remember(struct gate *g, const char *target, const json_t *node, const char *id)
{
    struct gateway_known *k = known_of(g->c);
    struct known *one = NEW(struct known);
    snprintf(one->node, sizeof(one->node), "%s", json_str(node, "ID"));
    snprintf(one->id, sizeof(one->id), "%s", id);
    SCOPED_LOCK(locked, &k->lock);
    map_put(&k->at, target, one);
    while (k->at.count > KNOWN_MAX)
        drop_oldest(&k->at);
}

void gate__remember(struct gate *g, const char *kind, const char *id, const json_t *node)
{
    _cleanup_free_ char *target = str_printf("/%s/%s/json", kind, id);
    if (strlen(id) == ID_DIGITS)
        remember(g, target, node, id);
}

static void forget(struct gate *g, const char *target)
{
    struct gateway_known *k = known_of(g->c);
    SCOPED_LOCK(locked, &k->lock);
    map_remove(&k->at, target);
}

/* The node that had it and is ready; NULL. */
static const json_t *recall(struct gate *g, const char *target, char ret_id[ID_DIGITS + 1])
{
    struct gateway_known *k = known_of(g->c);
    pthread_mutex_lock(&k->lock);
    const struct known *one = map_get(&k->at, target);
    struct known found = one ? *one : (struct known){0};
    pthread_mutex_unlock(&k->lock);
    const json_t *node = *found.node ? gate__node(g, found.node) : NULL;
    memcpy(ret_id, found.id, sizeof(found.id));
    return node && gate__is_ready(node) ? node : NULL;
}

static void id_in(const struct str *body, char ret[ID_DIGITS + 1])
{
    _cleanup_json_ json_t *doc = NULL;
    json_parse(str_get((struct str *)body), body->len, "a node's answer", &doc, NULL);
    const char *id = json_str(doc, "Id");
    snprintf(ret, ID_DIGITS + 1, "%s", *id ? id : json_str(doc, "ID"));
}

static bool still_has(struct gate *g, const json_t *node, const char *target, const char *id)
{
    _cleanup_str_ struct str body = STR_INIT;
    _cleanup_free_ char *whole = str_printf("%s%s", g->version, target);
    char now[ID_DIGITS + 1] = "";
    int status = 0;
    if (reach__ask(g->c, node, "GET", whole, NULL, NULL, &status, &body, &(struct err){0}) == 0 &&
        status == 200)
        id_in(&body, now);
    return *now && str_eq(now, id);
}

/* --- Finding --- */

/* The one node that answers 200 to a GET of `target`. `what`: "No such container". */
static int find(struct gate *g, const char *target, const char *what, const char *ref, const json_t **ret,
                struct err *err)
{
    struct answers all;
    _cleanup_str_ struct str names = STR_INIT;
    char id[ID_DIGITS + 1];
    size_t found = 0;
    const json_t *node = recall(g, target, id);
    if (node && (str_eq(id, ref) || still_has(g, node, target, id))) {
        *ret = node;
        return 0;
    }
    forget(g, target);
    gate__ask_all(g, "GET", target, NULL, &all);
    for (size_t i = 0; i < all.count; i++)
        if (gate__answered(&all.list[i])) {
            *ret = all.list[i].node;
            id_in(&all.list[i].body, id);
            str_addf(&names, "%s%s/%s", found++ ? ", " : "", gate__node_name(*ret), ref);
        }
    gate__answers_done(&all);
    if (found > 1)
        return err_set(err, ERR_INVALID, "%s is on several nodes: name one of %s", ref, str_get(&names));
    if (!found)
        return err_set(err, ERR_NOT_FOUND, "%s: %s", what, ref);
    if (strlen(id) == ID_DIGITS)
        remember(g, target, *ret, id);
    return 0;
}

const json_t *gate__node(struct gate *g, const char *name)
{
    json_t *node;
    size_t i;
    json_array_foreach (g->nodes, i, node)
        if (str_eq(gate__node_name(node), name) || str_eq(json_str(node, "ID"), name))
            return node;
    return NULL;
}

/* --- Containers and execs --- */

static bool is_action(const char *word)
{
    static const char *const actions[] = {"json",   "top",         "logs",    "changes", "export", "stats",
                                          "resize", "start",       "stop",    "restart", "kill",   "update",
                                          "rename", "pause",       "unpause", "attach",  "wait",   "archive",
                                          "exec",   "checkpoints", NULL};
    return strv_has((char *const *)actions, word);
}

/* A new exec: its id is only said in the answer. */
static int make_exec(struct gate *g, const json_t *node, const char *raw, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    _cleanup_str_ struct str answer = STR_INIT;
    _cleanup_free_ char *query = gate__with_query(g, raw), *target = str_printf("%s%s", g->version, query);
    char id[ID_DIGITS + 1];
    int status = 0, r = http_body_json(g->q, EXEC_BODY_MAX, &body, err);
    if (r == 0)
        r = reach__ask(g->c, node, "POST", target, NULL, body, &status, &answer, err);
    if (r < 0)
        return r;
    id_in(&answer, id);
    gate__remember(g, "exec", id, node);
    http_reply_bytes(g->q, status, "application/json", answer.data, answer.len);
    return 0;
}

static int pass_on(struct gate *g, const json_t *node, const char *raw, const char *action, struct err *err)
{
    if (str_eq(action, "exec") && str_eq(http_method(g->q), "POST"))
        return make_exec(g, node, raw, err);
    gate__pass(g, node, raw);
    return 0;
}

/* "/containers/REF/ACTION" or "/containers/NODE/REF/ACTION". */
int gate__pass_container(struct gate *g, const char *rest, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(rest, '/');
    size_t n = strv_len(parts);
    const json_t *node = n > 1 ? gate__node(g, parts[0]) : NULL;
    bool plain = n < 2 || (is_action(parts[1]) && (n == 2 || str_eq(parts[2], "ws")));
    const char *raw = str_after(g->raw, "/containers/");
    if (node && !plain) {
        _cleanup_free_ char *there = str_printf("/containers%s", strchr(raw, '/'));
        return pass_on(g, node, there, n > 2 ? parts[2] : "", err);
    }
    _cleanup_free_ char *ref = mem_strndup(raw, strcspn(raw, "/"));
    _cleanup_free_ char *target = str_printf("/containers/%s/json", ref);
    int r = find(g, target, "No such container", n ? parts[0] : "", &node, err);
    return r == 0 ? pass_on(g, node, g->raw, n > 1 ? parts[1] : "", err) : r;
}

int gate__pass_exec(struct gate *g, const char *rest, struct err *err)
{
    const json_t *node = NULL;
    _cleanup_free_ char *id = mem_strndup(rest, strcspn(rest, "/"));
    _cleanup_free_ char *target = str_printf("/exec/%s/json", id);
    for (const char *at = id; *at; at++)
        if (!isalnum((unsigned char)*at))
            return err_set(err, ERR_NOT_FOUND, "No such exec instance: %s", id);
    int r = find(g, target, "No such exec instance", id, &node, err);
    if (r == 0)
        gate__pass(g, node, g->raw);
    return r;
}

/* --- Networks and volumes --- */

/* Whether it is this node's of what every node has: any that only is looked at ("bridge", or a volume and a
 * network that are on this one too), and a network of the swarm's. */
static bool is_own(struct gate *g, const char *target)
{
    const json_t *own = gate__own(g);
    _cleanup_str_ struct str body = STR_INIT;
    _cleanup_free_ char *whole = str_printf("%s%s", g->version, target);
    _cleanup_json_ json_t *doc = NULL;
    int status = 0;
    if (!own || reach__ask(g->c, own, "GET", whole, NULL, NULL, &status, &body, &(struct err){0}) < 0 ||
        status != 200 || json_parse(str_get(&body), body.len, "", &doc, &(struct err){0}) < 0)
        return false;
    return str_eq(http_method(g->q), "GET") || str_eq(json_str(doc, "Scope"), "swarm");
}

/* "/KIND/REF[/ACTION]" or "/KIND/NODE/REF[/ACTION]". Only what changes nothing goes by itself to one of
 * several, and what concerns a network of the swarm's. */
int gate__pass_local(struct gate *g, const char *kind, struct err *err)
{
    _cleanup_free_ char *prefix = str_printf("/%s/", kind);
    const char *raw = str_after(g->raw, prefix), *slash = strchr(raw, '/');
    _cleanup_free_ char *ref = mem_strndup(raw, slash ? (size_t)(slash - raw) : strlen(raw));
    const json_t *node = slash ? gate__node(g, ref) : NULL;
    if (node && !str_eq(slash, "/connect") && !str_eq(slash, "/disconnect")) {
        _cleanup_free_ char *there = str_printf("/%s%s", kind, slash);
        gate__pass(g, node, there);
        return 0;
    }
    _cleanup_free_ char *target = str_printf("/%s/%s", kind, ref);
    if (is_own(g, target))
        return gate__pass_to_own(g, err);
    int r = find(g, target, kind, ref, &node, err);
    if (r == -ERR_NOT_FOUND) /* in the engine's words */
        return gate__pass_to_own(g, err);
    if (r == 0)
        gate__pass(g, node, g->raw);
    return r;
}

/* A network is connected where the container is. */
int gate__connect(struct gate *g, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    _cleanup_str_ struct str answer = STR_INIT;
    _cleanup_free_ char *query = gate__with_query(g, g->raw), *target = str_printf("%s%s", g->version, query);
    const json_t *node = NULL;
    int status = 0, r = http_body_json(g->q, EXEC_BODY_MAX, &body, err);
    if (r < 0)
        return r;
    const char *container = json_str(body, "Container"), *slash = strchr(container, '/');
    _cleanup_free_ char *name = slash ? mem_strndup(container, (size_t)(slash - container)) : NULL;
    if (name && (node = gate__node(g, name))) {
        _cleanup_free_ char *there = mem_strdup(slash + 1);
        json_set_str(body, "Container", there);
    } else if (!*container || strpbrk(container, "/ \r\n?#%")) {
        return err_set(err, ERR_NOT_FOUND, "No such container: %.200s", container);
    } else {
        _cleanup_free_ char *at = str_printf("/containers/%s/json", container);
        r = find(g, at, "No such container", container, &node, err);
    }
    if (r == 0)
        r = reach__ask(g->c, node, "POST", target, NULL, body, &status, &answer, err);
    if (r == 0)
        http_reply_bytes(g->q, status, "application/json", answer.data, answer.len);
    return r;
}

/* --- Images --- */

/* The node that has the image, this one first. */
int gate__pass_image(struct gate *g, const char *raw, struct err *err)
{
    static const char *const ends[] = {"/json", "/history", "/tag", "/push", "/get", NULL};
    _cleanup_free_ char *name = mem_strdup(raw);
    struct answers all;
    const json_t *own = gate__own(g), *node = NULL;
    for (const char *const *end = ends; *end; end++) {
        size_t n = strlen(name), k = strlen(*end);
        if (n > k && str_eq(name + n - k, *end)) {
            name[n - k] = '\0';
            break;
        }
    }
    _cleanup_free_ char *target = str_printf("/images/%s/json", name);
    gate__ask_all(g, "GET", target, NULL, &all);
    for (size_t i = 0; i < all.count; i++)
        if (gate__answered(&all.list[i]) && (!node || all.list[i].node == own))
            node = all.list[i].node;
    gate__answers_done(&all);
    if (!node)
        return gate__pass_to_own(g, err);
    gate__pass(g, node, g->raw);
    return 0;
}
