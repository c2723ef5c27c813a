#include "cluster/attach.h"

#include "base/log.h"
#include "cluster/cluster_priv.h"
#include "cluster/peer.h"
#include "cluster/port.h"
#include "cluster/session.h"
#include "cluster/traffic.h"

enum {
    ASK_MS = 15000,
    ATTACHMENTS_MAX = 4096, /* of a node */
    NAMES_MAX = 256,
    NAME_BYTES_MAX = 253,
    KEY_BYTES = 64 + 1 + 64 + 1,
    ENGINE_ID_BYTES = 64,
};

static void key_of(const json_t *attachment, char ret[KEY_BYTES])
{
    snprintf(ret, KEY_BYTES, "%.64s.%.64s", json_str(attachment, "Container"),
             json_str(attachment, "Network"));
}

static char *bare(const char *address)
{
    return mem_strndup(address, strcspn(address, "/"));
}

/* --- On who leads --- */

/* One that no other node's names would take would keep all of them from being answered there. */
static bool is_name(const char *text)
{
    bool good = *text && strlen(text) <= NAME_BYTES_MAX;
    for (const char *at = text; *at; at++)
        good = good && (unsigned char)*at > ' ' && *at != 0x7f;
    return good;
}

static int check(struct cluster *c, const json_t *attachment, struct err *err)
{
    const char *network = json_str(attachment, "Network"), *container = json_str(attachment, "Container");
    const json_t *body = json_object_get(networks__all(c), network);
    _cleanup_strv_ char **names = NULL;
    if (!body)
        return err_set(err, ERR_NOT_FOUND, "network %.100s not found", network);
    if (!json_bool(body, "Attachable") || json_bool(body, "Ingress"))
        return err_set(err, ERR_DENIED,
                       "rpc error: code = PermissionDenied desc = network %s not manually attachable",
                       json_str(body, "Name"));
    if (strlen(container) != ENGINE_ID_BYTES || !str_is_hex(container) ||
        strlen(json_str(attachment, "Run")) > ENGINE_ID_BYTES)
        return err_set(err, ERR_INVALID, "\"%.100s\" is not a container's id", container);
    if (!json_is_array(json_object_get(attachment, "Names")))
        return err_set(err, ERR_INVALID, "\"Names\" is not a list");
    int r = json_get_strv(attachment, "", "Names", &names, err);
    if (r == 0 && strv_len(names) > NAMES_MAX)
        r = err_set(err, ERR_LIMIT, "a container has more than %d names", NAMES_MAX);
    STRV_FOREACH (name, names)
        if (r == 0 && !is_name(*name))
            r = err_set(err, ERR_INVALID, "\"%.100s\" cannot be a name on a network", *name);
    return r;
}

static json_t *fact_of(const struct node *n, const json_t *attachment)
{
    return json_pack("{s:s, s:{s:O}, s:O}", "Node", n->o.id, "Addresses", json_str(attachment, "Network"),
                     json_object_get(attachment, "Address"), "Names", json_object_get(attachment, "Names"));
}

void attach__know(struct cluster *c, const struct node *n)
{
    const char *key;
    json_t *one;
    json_object_foreach (n->attachments, key, one)
        facts__put(&c->facts, FACT_TASK, key, fact_of(n, one));
}

/* Puts `fresh` in the place of all that the node has; what cannot be written is not kept. */
static int record(struct cluster *c, struct node *n, json_t *fresh, struct err *err)
{
    struct change ch = {0};
    json_t *before = n->attachments;
    n->attachments = fresh;
    change_put(&ch, &n->o);
    int r = change_commit(c, &ch, true, err);
    json_decref(r < 0 ? fresh : before);
    if (r < 0) {
        n->attachments = before;
        return r;
    }
    c->far_dirty = true;
    assign__changed(c, n->o.id);
    pthread_cond_signal(&c->decide);
    return 0;
}

/* The one that it has, if it wishes for no other. */
static int address_for(struct cluster *c, const json_t *before, const json_t *attachment, char **ret,
                       struct err *err)
{
    const char *wished = json_str(attachment, "Address"), *network = json_str(attachment, "Network");
    _cleanup_free_ char *present = bare(json_str(before, "Address"));
    if (*present && (!*wished || str_eq(wished, present))) {
        *ret = mem_strdup(json_str(before, "Address"));
        return 0;
    }
    return *wished ? addresses__take_one(c, network, wished, ret, err)
                   : addresses__take(c, network, ret, err);
}

static int take(struct cluster *c, struct node *n, const json_t *attachment, char **ret, struct err *err)
{
    char key[KEY_BYTES];
    key_of(attachment, key);
    const json_t *before = json_object_get(n->attachments, key);
    _cleanup_free_ char *address = NULL, *had = mem_strdup(json_str(before, "Address"));
    if (!before && json_object_size(n->attachments) >= ATTACHMENTS_MAX)
        return err_set(err, ERR_LIMIT, "a node has at most %d containers on networks of the swarm",
                       ATTACHMENTS_MAX);
    int r = check(c, attachment, err);
    if (r == 0)
        r = address_for(c, before, attachment, &address, err);
    if (r < 0)
        return r;
    json_t *row =
        json_pack("{s:O, s:O, s:s, s:O, s:s}", "Container", json_object_get(attachment, "Container"),
                  "Network", json_object_get(attachment, "Network"), "Run", json_str(attachment, "Run"),
                  "Names", json_object_get(attachment, "Names"), "Address", address);
    must(row);
    json_t *fresh = n->attachments ? json_copy(n->attachments) : json_object();
    json_object_set(fresh, key, row);
    r = json_equal(row, before) ? (json_decref(fresh), 0) : record(c, n, fresh, err);
    const char *network = json_str(row, "Network"), *unused = r < 0 ? address : had;
    if (*unused && !str_eq(had, address))
        addresses__give_back(c, network, unused);
    if (r == 0) {
        facts__put(&c->facts, FACT_TASK, key, fact_of(n, row));
        *ret = take_ptr(address);
    }
    json_decref(row);
    return r;
}

static void forget(struct cluster *c, const char *key, const json_t *attachment)
{
    addresses__give_back(c, json_str(attachment, "Network"), json_str(attachment, "Address"));
    facts__put(&c->facts, FACT_TASK, key, NULL);
    c->far_dirty = c->facts_urgent = true;
}

/* `runs`: {key: run}. */
static int drop(struct cluster *c, struct node *n, const json_t *runs, struct err *err)
{
    _cleanup_json_ json_t *gone = json_object();
    json_t *left = json_object(), *one;
    const char *key;
    json_object_foreach (n->attachments, key, one) {
        const char *run = json_string_value(json_object_get(runs, key));
        json_object_set(run && str_eq(run, json_str(one, "Run")) ? gone : left, key, one);
    }
    int r = json_object_size(gone) ? record(c, n, left, err) : (json_decref(left), 0);
    json_object_foreach (gone, key, one)
        if (r == 0)
            forget(c, key, one);
    return r;
}

void attach__drop_all(struct cluster *c, struct node *n)
{
    const char *key;
    json_t *one;
    json_object_foreach (n->attachments, key, one)
        forget(c, key, one);
    json_decref(n->attachments);
    n->attachments = NULL;
    n->dirty = true;
}

const struct node *attach__user(struct cluster *c, const char *network, const char **ret_container)
{
    struct map_entry *e;
    const char *key;
    json_t *one;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));)
        json_object_foreach (((const struct node *)e->value)->attachments, key, one)
            if (str_eq(json_str(one, "Network"), network)) {
                *ret_container = json_str(one, "Container");
                return e->value;
            }
    return NULL;
}

/* --- Calls of other nodes --- */

/* With the lock; `ret` is what is answered, or left alone. */
typedef int call_fn(struct cluster *c, struct node *n, const json_t *body, json_t **ret, struct err *err);

static int on_call(struct http_request *q, struct cluster *c, call_fn *act, struct err *err)
{
    struct port_peer peer;
    struct node *n;
    _cleanup_json_ json_t *body = NULL;
    json_t *answer = NULL;
    if (port__elsewhere(c, q))
        return 0;
    int r = port__peer(c, q, &peer, err); /* before anything of it is read */
    if (r == 0)
        r = http_body_json(q, PORT_BODY_MAX, &body, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    r = cluster__no_swarm(c, err);
    if (r == 0)
        r = port__node(c, &peer, &n, err);
    if (r == 0)
        r = act(c, n, body, &answer, err);
    pthread_mutex_unlock(&c->lock);
    if (r == 0)
        http_reply_json(q, 200, answer ? answer : json_object());
    return r;
}

static int take_for(struct cluster *c, struct node *n, const json_t *body, json_t **ret, struct err *err)
{
    _cleanup_free_ char *address = NULL;
    int r = take(c, n, body, &address, err);
    if (r == 0)
        *ret = json_pack("{s:s}", "Address", address);
    return r;
}

static int drop_for(struct cluster *c, struct node *n, const json_t *body, json_t **ret, struct err *err)
{
    return drop(c, n, json_object_get(body, "Attachments"), err);
}

int attach__take(struct http_request *q, void *context, struct err *err)
{
    return on_call(q, context, take_for, err);
}

int attach__leave(struct http_request *q, void *context, struct err *err)
{
    return on_call(q, context, drop_for, err);
}

/* --- On any node --- */

static struct node *own(struct cluster *c)
{
    return c->self ? map_get(&c->objects[CLUSTER_NODE], c->self) : NULL;
}

void attach__changed(struct cluster *c)
{
    c->attach_dirty = true;
    pthread_cond_broadcast(&c->decide);
}

/* What this node was given is its own until it gives it back. */
static bool find_own(struct cluster *c, const json_t *attachment, char **ret)
{
    char key[KEY_BYTES];
    key_of(attachment, key);
    const struct node *n = own(c);
    const char *given = n ? json_str(json_object_get(n->attachments, key), "Address") : "";
    const char *wished = json_str(attachment, "Address");
    _cleanup_free_ char *address = bare(given);
    if (!*given || (*wished && !str_eq(wished, address)))
        return false;
    *ret = mem_strdup(given);
    return true;
}

/* Until the leader says so with what it assigns. */
static void keep_own(struct cluster *c, const char *key, json_t *row)
{
    SCOPED_LOCK(locked, &c->lock);
    struct node *n = own(c);
    if (n && !n->attachments)
        n->attachments = json_object();
    if (n)
        json_object_set(n->attachments, key, row);
}

static int ask_leader(struct cluster *c, struct peer_kept *kept, const json_t *attachment, char **ret,
                      struct err *err)
{
    char key[KEY_BYTES];
    key_of(attachment, key);
    _cleanup_json_ json_t *answer = NULL, *row = json_copy((json_t *)attachment);
    int r = peer_call_leader_over(c, kept, "POST", "/cluster/attach", attachment, ASK_MS, &answer, err);
    if (r < 0)
        return r;
    json_set_str(row, "Address", json_str(answer, "Address"));
    keep_own(c, key, row);
    *ret = mem_strdup(json_str(answer, "Address"));
    return 0;
}

int attach__give(void *context, const json_t *attachment, bool wait, char **ret, struct err *err)
{
    struct cluster *c = context;
    _cleanup_free_ char *address = NULL;
    pthread_mutex_lock(&c->lock);
    bool found = find_own(c, attachment, &address), leads = c->role == ROLE_LEADS;
    int r = found || leads || c->role != ROLE_NONE ? 0 : cluster__no_swarm(c, err);
    if (found || !wait)
        attach__changed(c); /* it is this run's from now on, or asked for */
    if (!found && !wait)
        r = err_set(err, ERR_UNAVAILABLE, "the swarm has not given an address yet");
    else if (!found && leads && r == 0)
        r = take(c, own(c), attachment, &address, err);
    pthread_mutex_unlock(&c->lock);
    if (!found && !leads && r == 0 && wait) {
        struct peer_kept kept = {0};
        r = ask_leader(c, &kept, attachment, &address, err);
        peer_kept_done(&kept);
    }
    if (r == 0)
        *ret = bare(address);
    return r;
}

/* What differs of what the engine has and of what this node was given; with the lock. */
struct difference {
    json_t *take; /* [attachment] */
    json_t *drop; /* {key: attachment, as it was given} */
};

static void difference_done(struct difference *d)
{
    json_decref(d->take);
    json_decref(d->drop);
}

/* Whether it was not given this address for this run and these names. What starts just now asks itself, and
 * what waits for its restart has no run. */
static bool differs(const json_t *present, const json_t *given)
{
    if (!*json_str(present, "Run"))
        return !given;
    return *json_str(present, "Address") &&
           !(given && str_eq(json_str(given, "Run"), json_str(present, "Run")) &&
             json_equal(json_object_get(given, "Names"), json_object_get(present, "Names")));
}

static struct difference compare(struct cluster *c)
{
    _cleanup_json_ json_t *list = engine_attachments(c->engine), *keys = json_object();
    struct difference d = {json_array(), json_object()};
    const struct node *n = own(c);
    const char *key;
    json_t *one;
    size_t i;
    json_array_foreach (list, i, one) {
        char name[KEY_BYTES];
        key_of(one, name);
        json_object_set_new(keys, name, json_true());
        if (differs(one, n ? json_object_get(n->attachments, name) : NULL))
            json_array_append(d.take, one);
    }
    if (n)
        json_object_foreach (n->attachments, key, one)
            if (!json_object_get(keys, key))
                json_object_set(d.drop, key, one);
    return d;
}

static json_t *runs_of(const json_t *attachments)
{
    json_t *runs = json_object(), *one;
    const char *key;
    json_object_foreach ((json_t *)attachments, key, one)
        json_object_set(runs, key, json_object_get(one, "Run"));
    return runs;
}

int attach__settle(struct cluster *c, struct err *err)
{
    _cleanup_(difference_done) struct difference d = compare(c);
    _cleanup_json_ json_t *runs = runs_of(d.drop);
    struct err why;
    json_t *one;
    size_t i;
    int r = 0;
    json_array_foreach (d.take, i, one) {
        _cleanup_free_ char *address = NULL;
        if (take(c, own(c), one, &address, &why) < 0 && r == 0)
            r = err_copy(err, &why);
    }
    if (drop(c, own(c), runs, &why) < 0 && r == 0)
        r = err_copy(err, &why);
    return r;
}

/* Of its own before the leader is told, so that no container that starts meanwhile is given it. */
static struct difference compare_and_drop(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    struct difference d = compare(c);
    const char *key;
    json_t *one;
    json_object_foreach (d.drop, key, one)
        json_object_del(own(c)->attachments, key);
    return d;
}

static int tell_dropped(struct cluster *c, struct peer_kept *kept, const json_t *dropped, struct err *err)
{
    const char *key;
    json_t *one;
    if (!json_object_size(dropped))
        return 0;
    _cleanup_json_ json_t *body = json_pack("{s:o}", "Attachments", runs_of(dropped));
    int r = peer_call_leader_over(c, kept, "POST", "/cluster/detach", body, ASK_MS, NULL, err);
    if (r == 0)
        return 0;
    json_object_foreach ((json_t *)dropped, key, one)
        keep_own(c, key, one); /* to be told again */
    return r;
}

int attach__settle_over(struct cluster *c, struct peer_kept *kept, struct err *err)
{
    _cleanup_(difference_done) struct difference d = compare_and_drop(c);
    struct err why;
    json_t *one;
    size_t i;
    int r = tell_dropped(c, kept, d.drop, err);
    json_array_foreach (d.take, i, one) {
        _cleanup_free_ char *address = NULL;
        if (ask_leader(c, kept, one, &address, &why) < 0 && r == 0)
            r = err_copy(err, &why);
    }
    return r;
}
