/* The leader's side of session.h. */
#include "cluster/revoke.h"
#include "cluster/session.h"

#include "base/base64.h"
#include "base/log.h"
#include "cluster/attach.h"
#include "cluster/authority.h"
#include "cluster/autolock.h"
#include "cluster/identity.h"
#include "cluster/join.h"
#include "cluster/port.h"
#include "cluster/roles.h"
#include "cluster/traffic.h"
#include "store/tls.h"

#include <ctype.h>
#include <unistd.h>

enum {
    DESCRIPTION_MAX = 64 << 10,
    TEXT_MAX = 4096, /* of a task's message and error */
    CONTAINER_BYTES = 64,
    REPORTS_MAX = 20000,
    VERSION_BYTES = 64,
    TRUST_BYTES = 64, /* a fingerprint */
    HEARTBEAT_MIN_MS = 100,
    HEARTBEAT_MAX_S = 600,
};

int64_t assign__heartbeat(const struct cluster *c)
{
    const json_t *dispatcher = json_object_get(json_object_get(c->swarm, "Spec"), "Dispatcher");
    int64_t period = json_int(dispatcher, "HeartbeatPeriod");
    return period <= 0 ? 5 * NS_PER_S
                       : MAX(MIN(period, HEARTBEAT_MAX_S * NS_PER_S), HEARTBEAT_MIN_MS * NS_PER_MS);
}

/* --- What a node is assigned --- */

/* Where the node's call waits, with those of some others: a thousand are not woken for what concerns one. */
static pthread_cond_t *bell_of(struct cluster *c, const char *node)
{
    unsigned sum = 0;
    for (; *node; node++)
        sum = sum * 31 + (unsigned char)*node;
    return &c->bells[sum % BELLS];
}

void assign__ring(struct cluster *c, const char *node)
{
    pthread_cond_broadcast(bell_of(c, node));
}

void assign__ring_all(struct cluster *c)
{
    for (int i = 0; i < BELLS; i++)
        pthread_cond_broadcast(&c->bells[i]);
}

void assign__changed(struct cluster *c, const char *node)
{
    struct map_entry *e;
    struct node *one = node ? map_get(&c->objects[CLUSTER_NODE], node) : NULL;
    for (size_t i = 0; !node && (e = map_next(&c->objects[CLUSTER_NODE], &i));)
        ((struct node *)e->value)->assigned++;
    if (one)
        one->assigned++;
    if (node)
        assign__ring(c, node);
    else
        assign__ring_all(c);
}

/* "LEAD-ASSIGNED-STAMP" */
static void version_of(const struct cluster *c, const struct node *n, char ret[VERSION_BYTES])
{
    snprintf(ret, VERSION_BYTES, "%s-%lld-%lld", c->lead_id, (long long)n->assigned,
             (long long)c->facts.stamp);
}

/* What of that a node knows; of another leading nothing. */
struct known {
    bool assigned;
    int64_t stamp;
};
static struct known known_of(const struct cluster *c, const struct node *n, const char *version)
{
    const char *rest = str_after(version, c->lead_id), *dash = rest ? strchr(rest + 1, '-') : NULL;
    _cleanup_free_ char *number = dash ? mem_strndup(rest + 1, (size_t)(dash - rest - 1)) : NULL;
    int64_t assigned, stamp;
    if (!number || *rest != '-' || parse_i64(number, 0, INT64_MAX, &assigned, NULL) < 0 ||
        parse_i64(dash + 1, 0, INT64_MAX, &stamp, NULL) < 0)
        return (struct known){0};
    return (struct known){assigned == n->assigned, stamp};
}

static bool has_news(const struct cluster *c, const struct node *n, const char *version)
{
    struct known k = known_of(c, n, version);
    return !k.assigned || n->news_stamp > k.stamp;
}

/* With its registry credentials in the clear: each node has a key of its own. */
static json_t *service_row(struct cluster *c, const struct service *s)
{
    json_t *row = cluster__store_form(&s->o);
    _cleanup_free_ char *auth = agent__open_auth(c, s->auth);
    json_object_del(row, "previous");
    json_object_del(row, "previous_auth");
    json_object_del(row, "history");
    json_object_del(row, "auth");
    if (auth)
        json_set_str(row, "auth", auth);
    return row;
}

static void add_secrets(struct cluster *c, enum cluster_kind kind, const json_t *list, const char *key,
                        json_t *to)
{
    json_t *one;
    size_t i;
    json_array_foreach (list, i, one) {
        const struct secret *s = map_get(&c->objects[kind], json_str(one, key));
        _cleanup_str_ struct str content = STR_INIT;
        struct err err;
        if (!s || json_object_get(to, s->o.id))
            continue;
        if (secret__reveal(c, s, &content, &err) < 0) {
            log_warning("cluster: %s", err.msg);
            continue;
        }
        _cleanup_free_ char *data = base64_encode(content.data, content.len);
        json_t *row = cluster__store_form(&s->o);
        json_set_str(row, "data", data);
        json_object_set_new(to, s->o.id, row);
    }
}

static json_t *values_of(json_t *object)
{
    json_t *out = json_array(), *value;
    const char *key;
    json_object_foreach (object, key, value)
        json_array_append(out, value);
    json_decref(object);
    return out;
}

static void add_assignment(struct cluster *c, const struct node *n, json_t *answer)
{
    json_t *tasks = json_array(), *services = json_object(), *secrets = json_object(),
           *configs = json_object();
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        const struct task *t = e->value;
        if (!str_eq(t->node, n->o.id) || t->state < TASK_ASSIGNED)
            continue;
        json_array_append_new(tasks, cluster__store_form(&t->o));
        if (!json_object_get(services, t->service->o.id))
            json_object_set_new(services, t->service->o.id, service_row(c, t->service));
        const json_t *container = json_object_get(t->o.spec, "ContainerSpec");
        if (task_ended(t->state))
            continue;
        add_secrets(c, CLUSTER_SECRET, json_object_get(container, "Secrets"), "SecretID", secrets);
        add_secrets(c, CLUSTER_CONFIG, json_object_get(container, "Configs"), "ConfigID", configs);
    }
    json_object_set_new(answer, "node", cluster__store_form(&n->o));
    json_object_set_new(answer, "tasks", tasks);
    json_object_set_new(answer, "services", values_of(services));
    json_object_set_new(answer, "secrets", values_of(secrets));
    json_object_set_new(answer, "configs", values_of(configs));
}

/* --- A node's machine, in its own words --- */

json_t *assign__description(const json_t *given, struct err *err)
{
    static const char *const parts[] = {"Platform", "Resources", "Engine", "TLSInfo"};
    const char *name = json_str(given, "Hostname"), *link = json_str(given, "LinkAddress"),
               *trust = json_str(given, "Trust");
    json_t *out = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (json_is_object(json_object_get(given, parts[i])))
            json_object_set(out, parts[i], json_object_get(given, parts[i]));
    bool printable = *name && strlen(name) <= 255;
    for (const char *at = name; *at; at++)
        printable = printable && isgraph((unsigned char)*at);
    _cleanup_free_ char *text = json_format(out);
    if (!printable || strlen(text) > DESCRIPTION_MAX) {
        json_decref(out);
        err_set(err, ERR_INVALID, "the node's description: %s",
                printable ? "it is too large" : "Hostname must be a name of at most 255 characters");
        return NULL;
    }
    json_set_str(out, "Hostname", name);
    if (traffic__is_link_address(link))
        json_set_str(out, "LinkAddress", link);
    if (strlen(trust) <= TRUST_BYTES)
        json_set_str(out, "Trust", trust);
    return out;
}

static void describe(struct cluster *c, struct node *n, const json_t *given)
{
    struct err err;
    json_t *fresh = given ? assign__description(given, &err) : NULL;
    if (!fresh || json_equal(fresh, n->description)) {
        json_decref(fresh);
        return;
    }
    json_decref(n->description);
    n->description = fresh;
    free(n->o.name);
    n->o.name = mem_strdup(json_str(fresh, "Hostname"));
    cluster__touch(c, &n->o);
    n->dirty = true;
    place__node_changed(c, n);
    c->all_dirty = true;
    pthread_cond_signal(&c->decide);
}

/* --- Heard and lost --- */

static void set_lost(struct cluster *c, struct node *n, bool lost, const char *why)
{
    if (n->lost == lost)
        return;
    n->lost = lost;
    n->dirty = true;
    free(n->message);
    n->message = mem_strdup(lost ? why : NULL);
    cluster__touch(c, &n->o);
    cluster__event(c, &n->o, "update", NULL);
    log_info("cluster: node %s (%s) is %s", n->o.id, n->o.name, lost ? "down" : "ready");
    place__node_changed(c, n);
    c->all_dirty = true;
    pthread_cond_signal(&c->decide);
    assign__changed(c, n->o.id);
}

static void heard(struct cluster *c, struct node *n)
{
    n->seen_ns = time_monotonic_ns();
    set_lost(c, n, false, NULL);
}

void assign__begin(struct cluster *c)
{
    struct map_entry *e;
    unsigned char random[8];
    keys__random(random, sizeof(random));
    str_hex(random, sizeof(random), c->lead_id);
    c->ticked_ns = time_monotonic_ns();
    c->wall_ahead_ns = 0; /* nodes tell of the clock of who led before */
    _cleanup_free_ char *path = identity__path(c, "assigned.json");
    unlink(path); /* what it says grows old from now on */
    json_t *managers = json_array();
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        struct node *n = e->value;
        n->seen_ns = c->ticked_ns;
        if (n->manager)
            json_array_append_new(managers, json_pack("{s:s, s:s}", "node", n->o.id, "address", n->door));
    }
    struct err err;
    bool same = json_equal(managers, c->managers);
    authority__begin(c);
    if (autolock__obey(c, c->swarm, &err) < 0)
        log_error("cluster: %s", err.msg);
    json_decref(c->managers);
    c->managers = managers;
    if (!same && identity__save(c, &err) < 0)
        log_error("cluster: %s", err.msg);
}

int64_t assign__tick(struct cluster *c)
{
    int64_t now = time_monotonic_ns(), beat = assign__heartbeat(c);
    /* When this process stood still, the nodes' calls stood in a queue. */
    bool stood_still = now - c->ticked_ns > 2 * beat;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        struct node *n = e->value;
        if (stood_still || str_eq(n->o.id, c->self))
            n->seen_ns = now;
        else if (now - n->seen_ns > LOST_AFTER * beat)
            set_lost(c, n, true, "heartbeat failure");
    }
    c->ticked_ns = now;
    return now + beat / 2;
}

/* --- The calls --- */

static int leader_changes(struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "the swarm changes its leader: ask again");
}

/* Who has ceased to lead since port__elsewhere() knows no nodes, and must not tell one that it was removed.
 */
static int leading_node(struct cluster *c, const struct port_peer *peer, struct node **ret, struct err *err)
{
    return c->role == ROLE_LEADS ? port__node(c, peer, ret, err) : leader_changes(err);
}

/* A report without `lead` is of a node that is one version behind. */
static int check_lead(const struct cluster *c, const json_t *body, struct err *err)
{
    const char *meant = json_str(body, "lead");
    return !*meant || str_eq(meant, c->lead_id) ? 0 : leader_changes(err);
}

/* It shows that it has a worker's certificate by now, which it needed its manager's for. */
static void end_managing(struct cluster *c, struct node *n)
{
    struct change ch = {0};
    struct err err;
    if (!revoke__node(c, n, true))
        return;
    change_put(&ch, &n->o);
    change_put_swarm(&ch, c);
    if (change_commit(c, &ch, true, &err) < 0) /* who leads next does it */
        log_warning("cluster: take back the manager's certificate of node %s: %s", n->o.id, err.msg);
    revoke__publish(c);
}

static void wait_for_news(struct cluster *c, const char *node, const char *have)
{
    int64_t until_ns = time_monotonic_ns() + assign__heartbeat(c);
    while (!c->stopping && c->role == ROLE_LEADS) {
        const struct node *n = map_get(&c->objects[CLUSTER_NODE], node);
        if (!n || has_news(c, n, have) || !cond_wait_until(bell_of(c, node), &c->lock, until_ns))
            return;
    }
}

/* Hears it, and waits: whether there is news. */
static int await(struct cluster *c, const struct port_peer *peer, const json_t *body, bool *ret_news,
                 struct err *err)
{
    struct node *n;
    SCOPED_LOCK(locked, &c->lock);
    int r = leading_node(c, peer, &n, err);
    if (r == 0)
        r = join__check_protocol(body, err);
    if (r < 0)
        return r;
    heard(c, n);
    condition__heard(c, n, json_object_get(body, "vitals"));
    if (!peer->manager && !n->manager)
        end_managing(c, n);
    describe(c, n, json_object_get(body, "description"));
    wait_for_news(c, peer->node, json_str(body, "version"));
    n = map_get(&c->objects[CLUSTER_NODE], peer->node);
    if (!n || c->role != ROLE_LEADS || c->stopping)
        return leader_changes(err);
    n->seen_ns = time_monotonic_ns();
    *ret_news = has_news(c, n, json_str(body, "version"));
    return 0;
}

static void add_news(struct cluster *c, struct node *n, const json_t *body, bool manages, json_t *answer)
{
    struct known k = known_of(c, n, json_str(body, "version"));
    bool facts = json_bool(body, "facts") && !join__speaks_before();
    if (!k.assigned || !facts) {
        add_assignment(c, n, answer);
        revoke__add(c, answer);
        authority__add(c, answer);
        if (n->manager && manages)
            autolock__add(c, answer);
    }
    if (facts)
        json_object_set_new(answer, "facts", traffic__news(c, n, k.stamp));
    else {
        _cleanup_json_ json_t *traffic = traffic__describe(c, n);
        json_object_update(answer, traffic);
    }
}

static int answer_session(struct cluster *c, const struct port_peer *peer, const json_t *body, bool news,
                          int64_t taken_ns, char **ret, struct err *err)
{
    struct node *n;
    char version[VERSION_BYTES];
    SCOPED_LOCK(locked, &c->lock);
    int r = leading_node(c, peer, &n, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *answer =
        json_pack("{s:s, s:I, s:I, s:O, s:s, s:I}", "lead", c->lead_id, "epoch", (json_int_t)c->epoch,
                  "heartbeat_ns", (json_int_t)assign__heartbeat(c), "managers", c->managers, "leader",
                  c->address, "certificate_ns", (json_int_t)identity__life(c));
    must(answer);
    if (n->manager)
        json_object_set_new(answer, "summary", swarm__summary(c));
    if (news)
        add_news(c, n, body, peer->manager, answer);
    json_object_set_new(
        answer, "clock",
        json_pack("[I, I]", (json_int_t)(taken_ns / NS_PER_MS), (json_int_t)(time_now_ns() / NS_PER_MS)));
    version_of(c, n, version);
    json_set_str(answer, "version",
                 news ? version : json_str(body, "version")); /* what came since is told next */
    *ret = json_format(answer);
    return 0;
}

int assign__session(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    struct port_peer peer;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_free_ char *answer = NULL;
    bool news = false;
    if (port__elsewhere(c, q))
        return 0;
    int r = port__peer(c, q, &peer, err); /* before anything of it is read */
    if (r == 0)
        r = http_body_json(q, PORT_BODY_MAX, &body, err);
    int64_t taken_ns = time_now_ns();
    if (r == 0)
        r = await(c, &peer, body, &news, err);
    if (r == 0 && news) /* a leader that was replaced has no node do anything */
        r = cluster_confirm(c, err);
    if (r == 0)
        r = port__peer(c, q, &peer, err); /* its certificate may have been taken back meanwhile */
    if (r == 0)
        r = answer_session(c, &peer, body, news, taken_ns, &answer, err);
    if (r == 0)
        http_reply_text(q, 200, "application/json", answer);
    return r;
}

static bool is_container_id(const char *text)
{
    return strlen(text) == CONTAINER_BYTES && str_is_hex(text);
}

static void take_report(struct cluster *c, const char *node, const json_t *row)
{
    struct task *t = map_get(&c->objects[CLUSTER_TASK], json_str(row, "id"));
    const char *container = json_str(row, "container"), *error = json_str(row, "error");
    enum task_state state;
    if (!t || !str_eq(t->node, node) || task_state_parse(json_str(row, "state"), &state) < 0 ||
        state < TASK_ACCEPTED || state >= TASK_ORPHANED || task_ended(t->state))
        return;
    if (is_container_id(container) && !str_eq(container, t->container)) {
        free(t->container);
        t->container = mem_strdup(container);
        t->dirty = true;
    }
    int64_t before = t->o.index;
    t->pid = json_int(row, "pid");
    t->exit_code = json_int(row, "exit_code");
    _cleanup_free_ char *message = mem_strndup(json_str(row, "message"), TEXT_MAX);
    _cleanup_free_ char *why = *error ? mem_strndup(error, TEXT_MAX) : NULL;
    task__set(c, t, state, message, why);
    if (t->dirty ||
        t->o.index != before) /* its service is looked at, with all its tasks, only for what is new */
        service__wake(c, t->service);
}

static int take_reports(struct cluster *c, const struct port_peer *peer, const json_t *body,
                        const json_t *list, struct err *err)
{
    struct node *n;
    const json_t *one;
    size_t i;
    SCOPED_LOCK(locked, &c->lock);
    int r = leading_node(c, peer, &n, err);
    if (r == 0)
        r = check_lead(c, body, err);
    if (r < 0)
        return r;
    heard(c, n);
    json_array_foreach (list, i, one)
        take_report(c, peer->node, one);
    return 0;
}

int assign__report(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    struct port_peer peer;
    _cleanup_json_ json_t *body = NULL;
    json_t *list = NULL;
    if (port__elsewhere(c, q))
        return 0;
    int r = port__peer(c, q, &peer, err); /* before anything of it is read */
    if (r == 0)
        r = http_body_json(q, PORT_BODY_MAX, &body, err);
    if (r == 0)
        r = json_get_array(body, "", "tasks", &list, err);
    if (r == 0 && json_array_size(list) > REPORTS_MAX)
        r = err_set(err, ERR_LIMIT, "a report has at most %d tasks", REPORTS_MAX);
    if (r == 0)
        r = take_reports(c, &peer, body, list, err);
    if (r == 0)
        http_reply_json(q, 200, json_object());
    return r;
}

static int check_member(struct cluster *c, const struct port_peer *peer, struct err *err)
{
    struct node *n;
    SCOPED_LOCK(locked, &c->lock);
    return port__node(c, peer, &n, err);
}

static int has_left(struct cluster *c, const struct port_peer *peer, struct err *err)
{
    struct node *n;
    SCOPED_LOCK(locked, &c->lock);
    int r = port__node(c, peer, &n, err);
    if (r < 0)
        return r;
    attach__drop_all(c, n);
    set_lost(c, n, true, NODE_HAS_LEFT);
    return 0;
}

int assign__leave(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    struct port_peer peer;
    if (port__elsewhere(c, q))
        return 0;
    int r = port__peer(c, q, &peer, err);
    if (r == 0)
        r = check_member(c, &peer, err);
    if (r == 0)
        r = roles__left(c, peer.node, err);
    if (r == 0)
        r = has_left(c, &peer, err);
    if (r == 0)
        http_reply_json(q, 200, json_object());
    return r;
}
