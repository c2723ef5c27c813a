/* The cluster as one engine: who shows a client's certificate at a manager's port has every node's containers
 * before it. A request about one container goes to its node, through and through, so that attach, logs and
 * copies are what they are there; lists are put together; a new container is placed.
 *
 * A container is named by its id, by its name where only one node has that, or by "NODE/NAME", as it is
 * listed. */
#include "cluster/gateway.h"

#include "base/log.h"
#include "cluster/identity.h"
#include "cluster/place_alone.h"
#include "cluster/port.h"

#include <ctype.h>

enum { AT_ONCE = 16, CREATE_BODY_MAX = 8 << 20 };

const char *gate__node_name(const json_t *node)
{
    const char *name = json_str(json_object_get(node, "Description"), "Hostname");
    return *name ? name : json_str(node, "ID");
}

bool gate__is_ready(const json_t *node)
{
    return str_eq(json_str(json_object_get(node, "Status"), "State"), "ready");
}

/* --- The same request for all --- */

struct asking {
    struct gate *g;
    const char *method, *target, *head;
    struct answers *answers;
    pthread_mutex_t lock;
    size_t next;
};

static void *ask_some(void *context)
{
    struct asking *a = context;
    for (;;) {
        pthread_mutex_lock(&a->lock);
        size_t i = a->next++;
        pthread_mutex_unlock(&a->lock);
        if (i >= a->answers->count)
            return NULL;
        struct answer *one = &a->answers->list[i];
        if (reach__ask(a->g->c, one->node, a->method, a->target, a->head, NULL, &one->status, &one->body,
                       &one->err) < 0) {
            one->status = 0;
            log_warning("cluster as one engine: %s", one->err.msg);
        }
    }
}

void gate__ask_all(struct gate *g, const char *method, const char *target, const char *head,
                   struct answers *ret)
{
    _cleanup_free_ char *whole = str_printf("%s%s", g->version, target);
    struct asking a = {.g = g,
                       .method = method,
                       .target = whole,
                       .head = head,
                       .answers = ret,
                       .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[AT_ONCE];
    size_t started = 0, i;
    json_t *node;
    *ret = (struct answers){.list = NEW_N(struct answer, json_array_size(g->nodes) + 1)};
    json_array_foreach (g->nodes, i, node)
        if (gate__is_ready(node))
            ret->list[ret->count++] = (struct answer){.node = node, .body = STR_INIT};
    while (started + 1 < MIN(ret->count, (size_t)AT_ONCE) &&
           pthread_create(&threads[started], NULL, ask_some, &a) == 0)
        started++;
    ask_some(&a);
    while (started > 0)
        pthread_join(threads[--started], NULL);
    pthread_mutex_destroy(&a.lock);
}

void gate__answers_done(struct answers *a)
{
    for (size_t i = 0; i < a->count; i++)
        str_free(&a->list[i].body);
    free(a->list);
}

json_t *gate__parsed(const struct answer *a)
{
    json_t *doc = NULL;
    if (gate__answered(a))
        json_parse(str_get((struct str *)&a->body), a->body.len, "a node's answer", &doc, NULL);
    return doc;
}

/* What the first that answered says, when none said what was asked for. */
int gate__reply_first(struct gate *g, struct answers *all, struct err *err)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->list[i].status) {
            http_reply_bytes(g->q, all->list[i].status, "application/json", all->list[i].body.data,
                             all->list[i].body.len);
            return 0;
        }
    return all->count ? err_copy(err, &all->list[0].err)
                      : err_set(err, ERR_UNAVAILABLE, "no node of the swarm is ready");
}

bool gate__any_answered(const struct answers *all)
{
    for (size_t i = 0; i < all->count; i++)
        if (gate__answered(&all->list[i]))
            return true;
    return false;
}

char *gate__with_query(const struct gate *g, const char *raw)
{
    return str_printf("%s%s%s", raw, *g->query ? "?" : "", g->query);
}

/* --- Passing on --- */

void gate__pass(struct gate *g, const json_t *node, const char *raw)
{
    _cleanup_free_ char *target = str_printf("%s%s%s%s", g->version, raw, *g->query ? "?" : "", g->query);
    reach__pass(g->c, node, g->q, target);
}

const json_t *gate__own(struct gate *g)
{
    json_t *node;
    size_t i;
    SCOPED_LOCK(locked, &g->c->lock);
    json_array_foreach (g->nodes, i, node)
        if (str_eq(json_str(node, "ID"), g->c->self))
            return node;
    return NULL;
}

int gate__pass_to_own(struct gate *g, struct err *err)
{
    const json_t *own = gate__own(g);
    if (!own)
        return err_set(err, ERR_UNAVAILABLE, "this node is not in the swarm's list of nodes");
    gate__pass(g, own, g->raw);
    return 0;
}

/* --- New ones --- */

/* A pull, on every node at once. The contents of an archive go to this node alone. */
static int pull(struct gate *g, struct err *err)
{
    struct answers all;
    const char *auth = http_header(g->q, "X-Registry-Auth");
    _cleanup_free_ char *target = gate__with_query(g, g->raw),
                        *head = auth ? str_printf("X-Registry-Auth: %s\r\n", auth) : NULL;
    _cleanup_str_ struct str out = STR_INIT;
    int r = 0;
    if (!http_query(g->q, "fromImage"))
        return gate__pass_to_own(g, err);
    gate__ask_all(g, "POST", target, head, &all);
    for (size_t i = 0; i < all.count; i++)
        if (gate__answered(&all.list[i]))
            str_addn(&out, all.list[i].body.data, all.list[i].body.len);
    if (gate__any_answered(&all))
        http_reply_bytes(g->q, 200, "application/json", out.data, out.len);
    else
        r = gate__reply_first(g, &all, err);
    gate__answers_done(&all);
    return r;
}

/* A volume or a network: on the node that its name begins with ("NODE/NAME"), else on this one. */
static int make_local(struct gate *g, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    _cleanup_str_ struct str answer = STR_INIT;
    const json_t *node = gate__own(g);
    int status = 0, r = http_body_json(g->q, CREATE_BODY_MAX, &body, err);
    if (r < 0)
        return r;
    const char *name = json_str(body, "Name"), *slash = strchr(name, '/');
    if (slash) {
        _cleanup_free_ char *where = mem_strndup(name, (size_t)(slash - name)), *rest = mem_strdup(slash + 1);
        node = gate__node(g, where);
        if (!node)
            return err_set(err, ERR_NOT_FOUND, "no node of the swarm is called %.200s", where);
        json_set_str(body, "Name", rest);
    }
    if (!node)
        return err_set(err, ERR_UNAVAILABLE, "this node is not in the swarm's list of nodes");
    _cleanup_free_ char *whole = gate__with_query(g, g->raw), *target = str_printf("%s%s", g->version, whole);
    r = reach__ask(g->c, node, "POST", target, NULL, body, &status, &answer, err);
    if (r == 0)
        http_reply_bytes(g->q, status, "application/json", answer.data, answer.len);
    return r;
}

static int check_name(struct gate *g, const char *name, struct err *err)
{
    struct answers all;
    int r = 0;
    for (const char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("_.-/", *at))
            return 0; /* the engine refuses it */
    _cleanup_free_ char *target = str_printf("/containers/%s/json", *name == '/' ? name + 1 : name);
    gate__ask_all(g, "GET", target, NULL, &all);
    for (size_t i = 0; i < all.count && r == 0; i++) {
        _cleanup_json_ json_t *doc = gate__parsed(&all.list[i]);
        const char *have = json_str(doc, "Name");
        if (str_eq(*have == '/' ? have + 1 : have, *name == '/' ? name + 1 : name))
            r = err_set(
                err, ERR_CONFLICT,
                "Conflict. The container name \"/%s\" is already in use by container \"%s\" on node %s. You "
                "have to remove (or rename) that container to be able to reuse that name.",
                *name == '/' ? name + 1 : name, json_str(doc, "Id"), gate__node_name(all.list[i].node));
    }
    gate__answers_done(&all);
    return r;
}

static int create(struct gate *g, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    _cleanup_str_ struct str answer = STR_INIT;
    const json_t *node = NULL;
    const char *name = http_query(g->q, "name");
    int64_t hold = 0;
    int status = 0, r = http_body_json(g->q, CREATE_BODY_MAX, &body, err);
    if (r == 0 && !json_is_object(body))
        r = err_set(err, ERR_INVALID, "the request body must be a JSON object");
    if (r == 0 && !str_empty(name))
        r = check_name(g, name, err);
    if (r == 0)
        r = gate__place(g, body, &node, &hold, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *whole = gate__with_query(g, g->raw);
    _cleanup_free_ char *target = str_printf("%s%s", g->version, whole);
    r = reach__ask(g->c, node, "POST", target, NULL, body, &status, &answer, err);
    _cleanup_json_ json_t *made = NULL;
    if (r == 0 && status < 300)
        json_parse(str_get(&answer), answer.len, "a node's answer", &made, NULL);
    gate__remember(g, "containers", json_str(made, "Id"), node);
    place_alone__placed(g->c, hold, json_str(made, "Id"));
    if (r == 0)
        http_reply_bytes(g->q, status, "application/json", answer.data, answer.len);
    return r;
}

/* --- Which of these --- */

static int take(struct gate *g, struct err *err)
{
    static const struct {
        const char *method, *path;
        int (*act)(struct gate *g, struct err *err);
    } acts[] = {{"GET", "/containers/json", gate__list_containers},
                {"POST", "/containers/create", create},
                {"POST", "/containers/prune", gate__prune_all},
                {"GET", "/images/json", gate__list_images},
                {"POST", "/images/create", pull},
                {"POST", "/images/prune", gate__prune_all},
                {"GET", "/volumes", gate__list_volumes},
                {"POST", "/volumes/create", make_local},
                {"POST", "/volumes/prune", gate__prune_all},
                {"GET", "/networks", gate__list_networks},
                {"GET", "/networks/", gate__list_networks},
                {"POST", "/networks/create", make_local},
                {"POST", "/networks/prune", gate__prune_all},
                {"GET", "/events", gate__events},
                {"GET", "/info", gate__info}};
    const char *method = http_method(g->q), *rest;
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
        if (str_eq(acts[i].path, g->path) && str_eq(acts[i].method, method))
            return acts[i].act(g, err);
    if ((rest = str_after(g->path, "/containers/")))
        return gate__pass_container(g, rest, err);
    if ((rest = str_after(g->path, "/exec/")))
        return gate__pass_exec(g, rest, err);
    if ((rest = str_after(g->path, "/networks/")) && *rest)
        return str_ends_with(rest, "/connect") || str_ends_with(rest, "/disconnect")
                   ? gate__connect(g, err)
                   : gate__pass_local(g, "networks", err);
    if ((rest = str_after(g->path, "/volumes/")) && *rest)
        return gate__pass_local(g, "volumes", err);
    if ((rest = str_after(g->raw, "/images/")) && !str_eq(rest, "load") && !str_eq(rest, "get") &&
        !str_eq(rest, "search"))
        return gate__pass_image(g, rest, err);
    return gate__pass_to_own(g, err);
}

/* How much of the path is "/v1.41". */
static size_t version_length(const char *path)
{
    size_t n = str_after(path, "/v") ? 2 + strspn(path + 2, "0123456789.") : 0;
    return n > 2 && path[n] == '/' ? n : 0;
}

void gateway__take(struct http_request *q, struct cluster *c)
{
    const char *path = http_path(q), *raw = http_raw_path(q);
    size_t n = version_length(raw);
    struct gate g = {.c = c,
                     .q = q,
                     .version = mem_strndup(raw, n),
                     .raw = raw + n,
                     .path = path + n,
                     .query = http_raw_query(q)};
    struct err err;
    int r = reach__nodes(c, &g.nodes, &err);
    if (r == 0)
        r = take(&g, &err);
    if (r < 0)
        http_reply_err(q, &err);
    json_decref(g.nodes);
    free(g.version);
}

void cluster_set_socket(struct cluster *c, const char *path)
{
    __atomic_store_n(&c->socket, mem_strdup(path), __ATOMIC_RELEASE);
}
