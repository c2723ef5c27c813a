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

static bool is_ready(const json_t *node)
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
        if (is_ready(node))
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
static int reply_first(struct gate *g, struct answers *all, struct err *err)
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

static bool any_answered(const struct answers *all)
{
    for (size_t i = 0; i < all->count; i++)
        if (gate__answered(&all->list[i]))
            return true;
    return false;
}

/* --- Passing on --- */

static void pass_raw(struct gate *g, const json_t *node, const char *raw)
{
    _cleanup_free_ char *target = str_printf("%s%s%s%s", g->version, raw, *g->query ? "?" : "", g->query);
    reach__pass(g->c, node, g->q, target);
}

static const json_t *own_node(struct gate *g)
{
    json_t *node;
    size_t i;
    SCOPED_LOCK(locked, &g->c->lock);
    json_array_foreach (g->nodes, i, node)
        if (str_eq(json_str(node, "ID"), g->c->self))
            return node;
    return NULL;
}

static int pass_to_own(struct gate *g, struct err *err)
{
    const json_t *own = own_node(g);
    if (!own)
        return err_set(err, ERR_UNAVAILABLE, "this node is not in the swarm's list of nodes");
    pass_raw(g, own, g->raw);
    return 0;
}

/* --- Finding --- */

/* The one node that answers 200 to a GET of `target`. `what`: "No such container: x". */
static int find(struct gate *g, const char *target, const char *what, const char *ref, const json_t **ret,
                struct err *err)
{
    struct answers all;
    _cleanup_str_ struct str names = STR_INIT;
    size_t found = 0;
    gate__ask_all(g, "GET", target, NULL, &all);
    for (size_t i = 0; i < all.count; i++)
        if (gate__answered(&all.list[i])) {
            *ret = all.list[i].node;
            str_addf(&names, "%s%s/%s", found++ ? ", " : "", gate__node_name(*ret), ref);
        }
    gate__answers_done(&all);
    if (found > 1)
        return err_set(err, ERR_INVALID, "%s is on several nodes: name one of %s", ref, str_get(&names));
    return found ? 0 : err_set(err, ERR_NOT_FOUND, "%s: %s", what, ref);
}

static bool is_action(const char *word)
{
    static const char *const actions[] = {"json",   "top",         "logs",    "changes", "export", "stats",
                                          "resize", "start",       "stop",    "restart", "kill",   "update",
                                          "rename", "pause",       "unpause", "attach",  "wait",   "archive",
                                          "exec",   "checkpoints", NULL};
    return strv_has((char *const *)actions, word);
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

/* "/containers/REF/ACTION" or "/containers/NODE/REF/ACTION". */
static int pass_container(struct gate *g, const char *rest, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(rest, '/');
    size_t n = strv_len(parts);
    const json_t *node = n > 1 ? gate__node(g, parts[0]) : NULL;
    bool plain = n < 2 || (is_action(parts[1]) && (n == 2 || str_eq(parts[2], "ws")));
    if (node && !plain) {
        const char *raw = str_after(g->raw, "/containers/"), *slash = strchr(raw, '/');
        _cleanup_free_ char *there = str_printf("/containers%s", slash);
        pass_raw(g, node, there);
        return 0;
    }
    const char *raw = str_after(g->raw, "/containers/");
    _cleanup_free_ char *ref = mem_strndup(raw, strcspn(raw, "/"));
    _cleanup_free_ char *target = str_printf("/containers/%s/json", ref);
    int r = find(g, target, "No such container", n ? parts[0] : "", &node, err);
    if (r == 0)
        pass_raw(g, node, g->raw);
    return r;
}

static int pass_exec(struct gate *g, const char *rest, struct err *err)
{
    const json_t *node = NULL;
    _cleanup_free_ char *id = mem_strndup(rest, strcspn(rest, "/"));
    _cleanup_free_ char *target = str_printf("/exec/%s/json", id);
    for (const char *at = id; *at; at++)
        if (!isalnum((unsigned char)*at))
            return err_set(err, ERR_NOT_FOUND, "No such exec instance: %s", id);
    int r = find(g, target, "No such exec instance", id, &node, err);
    if (r == 0)
        pass_raw(g, node, g->raw);
    return r;
}

/* The node that has the image, this one first. */
static int pass_image(struct gate *g, const char *raw, struct err *err)
{
    static const char *const ends[] = {"/json", "/history", "/tag", "/push", "/get", NULL};
    _cleanup_free_ char *name = mem_strdup(raw);
    struct answers all;
    const json_t *own = own_node(g), *node = NULL;
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
        return pass_to_own(g, err);
    pass_raw(g, node, g->raw);
    return 0;
}

/* --- Lists of all --- */

static char *with_query(const struct gate *g, const char *raw)
{
    return str_printf("%s%s%s", raw, *g->query ? "?" : "", g->query);
}

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

static void reply_sorted(struct gate *g, json_t *list, size_t limit)
{
    size_t n = json_array_size(list), i;
    json_t **sorted = NEW_N(json_t *, n + 1), *out = json_array();
    for (i = 0; i < n; i++)
        sorted[i] = json_array_get(list, i);
    qsort(sorted, n, sizeof(*sorted), by_creation);
    for (i = 0; i < n && (!limit || i < limit); i++)
        json_array_append(out, sorted[i]);
    free(sorted);
    http_reply_json(g->q, 200, out);
}

static int list_containers(struct gate *g, struct err *err)
{
    struct answers all;
    _cleanup_json_ json_t *out = json_array();
    _cleanup_free_ char *target = with_query(g, g->raw);
    const char *limit = http_query(g->q, "limit");
    int64_t most = 0;
    json_t *one;
    size_t k;
    int r = 0;
    if (limit && parse_i64(limit, 1, INT32_MAX, &most, NULL) < 0)
        most = 0;
    gate__ask_all(g, "GET", target, NULL, &all);
    for (size_t i = 0; i < all.count; i++) {
        _cleanup_json_ json_t *list = gate__parsed(&all.list[i]);
        json_array_foreach (list, k, one) {
            name_node(one, gate__node_name(all.list[i].node));
            json_array_append(out, one);
        }
    }
    if (any_answered(&all))
        reply_sorted(g, out, (size_t)most);
    else
        r = reply_first(g, &all, err);
    gate__answers_done(&all);
    return r;
}

static int list_images(struct gate *g, struct err *err)
{
    struct answers all;
    struct map seen = MAP_INIT(NULL);
    _cleanup_json_ json_t *out = json_array();
    _cleanup_free_ char *target = with_query(g, g->raw);
    json_t *one;
    size_t k;
    int r = 0;
    gate__ask_all(g, "GET", target, NULL, &all);
    for (size_t i = 0; i < all.count; i++) {
        _cleanup_json_ json_t *list = gate__parsed(&all.list[i]);
        json_array_foreach (list, k, one) {
            _cleanup_free_ char *tags = json_format(json_object_get(one, "RepoTags"));
            _cleanup_free_ char *key = str_printf("%s %s", json_str(one, "Id"), tags);
            if (!map_has(&seen, key))
                json_array_append(out, one);
            map_put(&seen, key, one);
        }
    }
    map_done(&seen);
    if (any_answered(&all))
        reply_sorted(g, out, 0);
    else
        r = reply_first(g, &all, err);
    gate__answers_done(&all);
    return r;
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

static int prune_all(struct gate *g, struct err *err)
{
    struct answers all;
    _cleanup_json_ json_t *sum = json_object();
    _cleanup_free_ char *target = with_query(g, g->raw);
    int r = 0;
    gate__ask_all(g, "POST", target, NULL, &all);
    for (size_t i = 0; i < all.count; i++) {
        _cleanup_json_ json_t *one = gate__parsed(&all.list[i]);
        add_up(sum, one);
    }
    if (any_answered(&all))
        http_reply_json(g->q, 200, json_incref(sum));
    else
        r = reply_first(g, &all, err);
    gate__answers_done(&all);
    return r;
}

static int info(struct gate *g, struct err *err)
{
    static const char *const counts[] = {
        "Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "Images",
        "NCPU",       "MemTotal"};
    struct answers all;
    const json_t *own = own_node(g);
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
        r = reply_first(g, &all, err);
    gate__answers_done(&all);
    return r;
}

/* --- New ones --- */

/* A pull, on every node at once. The contents of an archive go to this node alone. */
static int pull(struct gate *g, struct err *err)
{
    struct answers all;
    const char *auth = http_header(g->q, "X-Registry-Auth");
    _cleanup_free_ char *target = with_query(g, g->raw),
                        *head = auth ? str_printf("X-Registry-Auth: %s\r\n", auth) : NULL;
    _cleanup_str_ struct str out = STR_INIT;
    int r = 0;
    if (!http_query(g->q, "fromImage"))
        return pass_to_own(g, err);
    gate__ask_all(g, "POST", target, head, &all);
    for (size_t i = 0; i < all.count; i++)
        if (gate__answered(&all.list[i]))
            str_addn(&out, all.list[i].body.data, all.list[i].body.len);
    if (any_answered(&all))
        http_reply_bytes(g->q, 200, "application/json", out.data, out.len);
    else
        r = reply_first(g, &all, err);
    gate__answers_done(&all);
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
    _cleanup_free_ char *whole = with_query(g, g->raw);
    _cleanup_free_ char *target = str_printf("%s%s", g->version, whole);
    r = reach__ask(g->c, node, "POST", target, NULL, body, &status, &answer, err);
    _cleanup_json_ json_t *made = NULL;
    if (r == 0 && status < 300)
        json_parse(str_get(&answer), answer.len, "a node's answer", &made, NULL);
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
    } acts[] = {{"GET", "/containers/json", list_containers},
                {"POST", "/containers/create", create},
                {"POST", "/containers/prune", prune_all},
                {"GET", "/images/json", list_images},
                {"POST", "/images/create", pull},
                {"POST", "/images/prune", prune_all},
                {"POST", "/volumes/prune", prune_all},
                {"GET", "/info", info}};
    const char *method = http_method(g->q), *rest;
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
        if (str_eq(acts[i].path, g->path) && str_eq(acts[i].method, method))
            return acts[i].act(g, err);
    if ((rest = str_after(g->path, "/containers/")))
        return pass_container(g, rest, err);
    if ((rest = str_after(g->path, "/exec/")))
        return pass_exec(g, rest, err);
    if ((rest = str_after(g->raw, "/images/")) && !str_eq(rest, "load") && !str_eq(rest, "get") &&
        !str_eq(rest, "search"))
        return pass_image(g, rest, err);
    return pass_to_own(g, err);
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

int cluster_client(struct cluster *c, const char *name, const char *csr, char **ret_certificate,
                   char **ret_authority, struct err *err)
{
    struct pki_subject subject = {.client = true};
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r == 0)
        r = cluster__check_file_name(name, err);
    if (r < 0)
        return r;
    snprintf(subject.node, sizeof(subject.node), "%.60s", name);
    r = identity__issue(c, csr, &subject, ret_certificate, err);
    if (r < 0)
        return r;
    *ret_authority = identity__authority(c);
    if (*ret_authority)
        return 0;
    free(*ret_certificate);
    return err_set(err, ERR_CORRUPT, "the certificate of the swarm's authority is missing");
}
