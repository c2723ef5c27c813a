/* The swarm itself: made, shown, changed, left. */
#include "cluster/cluster_priv.h"

#include "base/log.h"
#include "cluster/authority.h"
#include "cluster/autolock.h"
#include "cluster/identity.h"
#include "cluster/managers.h"
#include "cluster/port.h"
#include "cluster/revoke.h"
#include "cluster/session.h"
#include "cluster/traffic.h"

enum { POOL_BITS = 24 };

/* --- The document of the swarm --- */

static json_t *default_spec(void)
{
    json_t *spec = json_pack(
        "{s:s, s:{}, s:{s:i}, s:{s:i, s:i, s:i, s:i, s:i}, s:{s:I}, s:{s:I}, s:{}, s:{s:b}}", "Name",
        "default", "Labels", "Orchestration", "TaskHistoryRetentionLimit", 5, "Raft", "SnapshotInterval",
        10000, "KeepOldSnapshots", 0, "LogEntriesForSlowFollowers", 500, "ElectionTick", 10, "HeartbeatTick",
        1, "Dispatcher", "HeartbeatPeriod", (json_int_t)5 * 1000000000, "CAConfig", "NodeCertExpiry",
        (json_int_t)90 * 86400 * 1000000000, "TaskDefaults", "EncryptionConfig", "AutoLockManagers", 0);
    must(spec);
    return spec;
}

/* What is given, over what is there. */
static void merge(json_t *into, const json_t *given)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)given, key, value) {
        json_t *present = json_object_get(into, key);
        if (json_is_object(value) && json_is_object(present) && !str_eq(key, "Labels"))
            merge(present, value);
        else if (!json_is_null(value))
            json_object_set(into, key, value);
    }
}

static int check_spec(const json_t *spec, struct err *err)
{
    json_t *part = NULL;
    const char *name = "";
    bool lock = false;
    int64_t number = 0;
    int r = cluster__check_labels(spec, err);
    if (r == 0)
        r = balance__check(json_object_get(spec, "Labels"), err);
    if (r == 0)
        r = condition__check(json_object_get(spec, "Labels"), err);
    if (r == 0)
        r = json_get_string(spec, "", "Name", &name, err);
    if (r == 0 && !str_empty(name) && !str_eq(name, "default"))
        r = err_set(err, ERR_INVALID,
                    "rpc error: code = InvalidArgument desc = swarm spec must be named \"default\"");
    if (r == 0)
        r = json_get_object(spec, "", "EncryptionConfig", &part, err);
    if (r == 0)
        r = json_get_bool(part, "EncryptionConfig", "AutoLockManagers", &lock, err);
    part = NULL;
    if (r == 0)
        r = json_get_object(spec, "", "Orchestration", &part, err);
    if (r == 0)
        r = json_get_i64(part, "Orchestration", "TaskHistoryRetentionLimit", &number, err);
    part = NULL;
    number = INT64_MAX;
    if (r == 0)
        r = json_get_object(spec, "", "CAConfig", &part, err);
    if (r == 0)
        r = json_get_i64(part, "CAConfig", "NodeCertExpiry", &number, err);
    if (r == 0)
        r = authority__check(part, err);
    if (r == 0 && number && number < 3600 * NS_PER_S)
        r = err_set(err, ERR_INVALID,
                    "rpc error: code = InvalidArgument desc = minimum certificate expiry time is 1h0m0s");
    return r;
}

json_t *swarm__make_tokens(const char *fingerprint)
{
    _cleanup_free_ char *worker = keys__token(fingerprint), *manager = keys__token(fingerprint);
    return json_pack("{s:s, s:s}", "Worker", worker, "Manager", manager);
}

static int make_swarm(struct cluster *c, const json_t *body, const json_t *spec, struct err *err)
{
    _cleanup_free_ char *pem = NULL, *key = NULL;
    char id[ID_BYTES], when[TIME_RFC3339_BYTES];
    int r = keys__make_authority(true, &pem, &key, err);
    if (r == 0)
        r = keys__renew(c, err); /* with that of a swarm before nothing is encrypted any more */
    if (r < 0)
        return r;
    _cleanup_free_ char *fingerprint = keys__fingerprint(pem);
    json_t *pools = json_object_get(body, "DefaultAddrPool");
    int64_t size = json_int(body, "SubnetSize");
    cluster__new_id(id);
    time_format_rfc3339(time_now_ns(), when);
    c->swarm = json_pack("{s:s, s:{s:I}, s:s, s:s, s:O, s:o, s:b, s:o, s:I, s:i, s:o}", "ID", id, "Version",
                         "Index", (json_int_t)++c->index, "CreatedAt", when, "UpdatedAt", when, "Spec", spec,
                         "TLSInfo", keys__tls_info(pem, pem), "RootRotationInProgress", 0, "DefaultAddrPool",
                         json_array_size(pools) ? json_incref(pools) : json_pack("[s]", "10.0.0.0/8"),
                         "SubnetSize", (json_int_t)(size ? size : POOL_BITS), "DataPathPort", 4789,
                         "JoinTokens", swarm__make_tokens(fingerprint));
    must(c->swarm);
    c->swarm_id = mem_strdup(id);
    r = autolock__choose(c, c->swarm, false, err);
    if (r == 0) /* before there is anything to lock */
        r = autolock__obey(c, c->swarm, err);
    return r == 0 ? identity__write(c, pem, NULL, NULL, key, err) : r;
}

int swarm__make_ingress(struct cluster *c, struct err *err)
{
    _cleanup_json_ json_t *body = json_pack("{s:s, s:s, s:b, s:s}", "Name", "ingress", "Driver", "overlay",
                                            "Ingress", 1, "Scope", "swarm"),
                          *warning = NULL, *present = NULL;
    _cleanup_free_ char *id = NULL;
    if (engine_network_inspect(c->engine, "ingress", &present, &(struct err){0}) == 0)
        return 0;
    networks__use_pools(c);
    return engine_network_create_swarm(c->engine, body, &id, &warning, err);
}

static int check_init(const json_t *body, struct err *err)
{
    static const char *const states[] = {"", "active", "pause", "drain", NULL};
    const char *text = "";
    bool lock = false;
    int64_t size = 0;
    _cleanup_strv_ char **pools = NULL;
    int r = json_get_string(body, "", "ListenAddr", &text, err);
    if (r == 0 && str_empty(text))
        r = err_set(err, ERR_INVALID, "invalid ListenAddr \"\": invalid empty address");
    if (r == 0)
        r = json_get_string(body, "", "AdvertiseAddr", &text, err);
    text = "";
    if (r == 0)
        r = json_get_string(body, "", "Availability", &text, err);
    if (r == 0 && !strv_has((char *const *)states, text))
        r = err_set(err, ERR_INVALID, "invalid Availability: \"%.50s\"", text);
    if (r == 0)
        r = json_get_bool(body, "", "AutoLockManagers", &lock, err);
    if (r == 0)
        r = json_get_strv(body, "", "DefaultAddrPool", &pools, err);
    if (r == 0)
        r = json_get_i64(body, "", "SubnetSize", &size, err);
    if (r == 0 && (size < 0 || size > 29))
        r = err_set(err, ERR_INVALID, "invalid SubnetSize %lld: it is the bits of a subnet, up to 29",
                    (long long)size);
    if (r == 0)
        r = engine_swarm_pools_check(json_object_get(body, "DefaultAddrPool"), size ? (int)size : POOL_BITS,
                                     err);
    return r;
}

/* Where this node's port is, and how others reach it, of ListenAddr and AdvertiseAddr: each an address or an
 * interface, with a port or without. `told_later`: without AdvertiseAddr the leader says what it is. */
int swarm__set_addresses(struct cluster *c, const json_t *body, bool told_later, struct err *err)
{
    const char *advertise = json_str(body, "AdvertiseAddr"), *listen = json_str(body, "ListenAddr");
    bool anywhere = !*listen || *listen == ':' || str_after(listen, "0.0.0.0") || str_after(listen, "[::]");
    _cleanup_free_ char *bound = NULL, *reached = NULL;
    int port = identity__port_of(listen);
    int r = anywhere ? 0 : node__resolve_address(listen, &bound, err);
    if (r == 0)
        r = node__resolve_address(*advertise   ? advertise
                                  : !anywhere  ? bound
                                  : told_later ? "0.0.0.0"
                                               : "",
                                  &reached, err);
    if (r < 0)
        return r;
    /* Docker's clients always say 0.0.0.0: with an IPv6 address, which nobody reaches there, it is both. */
    const char *manager = json_string_value(json_array_get(json_object_get(body, "RemoteAddrs"), 0));
    bool v6 = strchr(listen, '[') || strchr(reached, ':') || (told_later && manager && *manager == '[');
    c->listen = identity__door(anywhere ? (v6 ? "::" : "0.0.0.0") : bound, port);
    bool own_port = strchr(advertise, ':') && identity__port_of(advertise) != CLUSTER_PORT;
    c->address = identity__door(reached, own_port ? identity__port_of(advertise) : port);
    return 0;
}

/* "HOST:PORT" without the port, and without an IPv6 address's brackets. */
char *swarm__host_of(const char *address)
{
    const char *end = strrchr(address, ']'), *colon = strrchr(address, ':');
    if (*address == '[' && end)
        return mem_strndup(address + 1, (size_t)(end - address - 1));
    return mem_strndup(address, colon ? (size_t)(colon - address) : strlen(address));
}

static int make_self(struct cluster *c, const json_t *body, struct node **ret, struct err *err)
{
    int r = swarm__set_addresses(c, body, false, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *host = swarm__host_of(c->address);
    json_t *description = node__describe(c, err);
    if (!description)
        return -err->code;
    *ret = node__new(c, description, host, true, json_str(body, "Availability"));
    (*ret)->door = mem_strdup(c->address);
    c->self = mem_strdup((*ret)->o.id);
    c->managers = json_pack("[{s:s, s:s}]", "node", c->self, "address", c->address);
    r = identity__issue_own(c, err);
    _cleanup_free_ char *pem = r == 0 ? identity__certificate(c) : NULL;
    if (pem)
        revoke__note(*ret, pem);
    return r;
}

static int prepare_init(struct cluster *c, const json_t *body, struct node **ret_self, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    json_t *given = NULL;
    _cleanup_json_ json_t *spec = default_spec();
    if (c->role != ROLE_NONE)
        return swarm__already(err);
    int r = check_init(body, err);
    if (r == 0)
        r = json_get_object(body, "", "Spec", &given, err);
    if (r == 0)
        r = check_spec(given, err);
    if (r < 0)
        return r;
    if (*json_str(json_object_get(given, "CAConfig"), "SigningCACert"))
        return err_set(
            err, ERR_UNSUPPORTED,
            "CAConfig.SigningCACert: not supported by Drover when a swarm is made: docker swarm ca "
            "--rotate --ca-cert --ca-key gives it one of your own afterwards");
    merge(spec, given);
    if (json_bool(body, "AutoLockManagers"))
        json_object_set_new(json_object_get(spec, "EncryptionConfig"), "AutoLockManagers", json_true());
    r = make_swarm(c, body, spec, err);
    if (r == 0)
        r = make_self(c, body, ret_self, err);
    return r == 0 ? swarm__make_ingress(c, err) : r;
}

static int begin_to_lead(struct cluster *c, struct node *self, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    struct change ch = {0};
    change_put(&ch, &self->o);
    change_put_swarm(&ch, c);
    int r = change_commit(c, &ch, true, err);
    if (r < 0)
        return r;
    c->role = ROLE_LEADS;
    r = identity__save(c, err);
    if (r < 0) {
        c->role = ROLE_NONE;
        return r;
    }
    cluster__add(c, &self->o);
    cluster__event(c, &self->o, "create", NULL);
    return loop__start(c, err);
}

int swarm__already(struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE,
                   "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and "
                   "join another one.");
}

int cluster_init(struct cluster *c, const json_t *body, char **ret_node, struct err *err)
{
    SCOPED_LOCK(change, &c->change_lock);
    struct node *self = NULL;
    if (cluster_active(c))
        return swarm__already(err);
    int r = prepare_init(c, body, &self, err);
    if (r == 0)
        r = port__open(c, err);
    if (r == 0)
        r = begin_to_lead(c, self, err);
    if (r == 0) {
        *ret_node = mem_strdup(c->self);
        return 0;
    }
    port__close(c, 0);
    if (self)
        node__free(self);
    SCOPED_LOCK(locked, &c->lock);
    json_decref(c->swarm);
    c->swarm = NULL;
    identity__forget(c);
    return r;
}

/* --- Shown and changed --- */

/* What is kept in the document and is not Docker's. */
static void hide_own(json_t *document)
{
    json_object_del(document, "Self");
    json_object_del(document, "Networks");
    json_object_del(document, "Revoked");
    json_object_del(document, "Clients");
    json_object_del(document, "UnlockKey");
    json_object_del(document, "Authority");
    json_object_del(document, "Rotation");
}

int cluster_inspect(struct cluster *c, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    *ret = json_copy_tree(c->swarm);
    hide_own(*ret);
    return 0;
}

void swarm__touch(struct cluster *c, json_t *document)
{
    char when[TIME_RFC3339_BYTES];
    json_object_set_new(json_object_get(document, "Version"), "Index", json_integer(++c->index));
    json_set_str(document, "UpdatedAt", time_format_rfc3339(time_now_ns(), when));
}

/* Keys and certificates, of this manager at once, of the others as they hear of it. */
static void obey(struct cluster *c, const json_t *before)
{
    struct err err;
    bool lock = !str_eq(json_str(before, "UnlockKey"), json_str(c->swarm, "UnlockKey"));
    bool rotates = !json_equal(json_object_get(before, "Rotation"), json_object_get(c->swarm, "Rotation"));
    if (lock && autolock__obey(c, c->swarm, &err) < 0)
        log_error("cluster: %s", err.msg);
    if (rotates)
        authority__begin(c);
    if (!lock && !rotates)
        return;
    c->swept_ns = 0; /* its certificate is renewed soon */
    assign__changed(c, NULL);
}

int cluster_update(struct cluster *c, int64_t version, const struct cluster_rotate *rotate,
                   const json_t *given, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r == 0)
        r = check_spec(given, err);
    if (r == 0 && version != json_int(json_object_get(c->swarm, "Version"), "Index"))
        r = err_set(err, ERR_SYSTEM, "rpc error: code = Unknown desc = update out of sequence");
    if (r < 0)
        return r;
    json_t *before = c->swarm, *after = json_copy_tree(before),
           *tokens = json_object_get(after, "JoinTokens");
    _cleanup_free_ char *fingerprint =
        keys__fingerprint(json_str(json_object_get(after, "TLSInfo"), "TrustRoot"));
    _cleanup_json_ json_t *fresh = swarm__make_tokens(fingerprint);
    merge(json_object_get(after, "Spec"), given);
    if (rotate->worker_token)
        json_object_set(tokens, "Worker", json_object_get(fresh, "Worker"));
    if (rotate->manager_token)
        json_object_set(tokens, "Manager", json_object_get(fresh, "Manager"));
    swarm__touch(c, after);
    r = autolock__choose(c, after, rotate->unlock_key, err);
    if (r == 0)
        r = authority__choose(c, after, json_object_get(given, "CAConfig"), err);
    c->swarm = after;
    struct change ch = {0};
    if (r == 0) {
        change_put_swarm(&ch, c);
        r = change_commit(c, &ch, true, err);
    }
    if (r == 0)
        obey(c, before);
    c->swarm = r < 0 ? before : after;
    json_decref(r < 0 ? after : before);
    place__forget(c); /* its labels may choose another strategy */
    c->all_dirty = true;
    pthread_cond_signal(&c->decide);
    return r;
}

int swarm__set_label(struct cluster *c, const char *key, const char *value, struct err *err)
{
    pthread_mutex_lock(&c->lock);
    int64_t version = json_int(json_object_get(c->swarm, "Version"), "Index");
    const json_t *present = json_object_get(json_object_get(c->swarm, "Spec"), "Labels");
    _cleanup_json_ json_t *labels = json_is_object(present) ? json_copy((json_t *)present) : json_object();
    int r = cluster__no_swarm(c, err);
    pthread_mutex_unlock(&c->lock);
    if (r < 0)
        return r;
    json_set_str(labels, key, value);
    _cleanup_json_ json_t *spec = json_pack("{s:O}", "Labels", labels);
    return cluster_update(c, version, &(struct cluster_rotate){0}, spec, err);
}

static json_t *remote_managers(const struct cluster *c)
{
    json_t *out = json_array(), *one;
    size_t i;
    json_array_foreach (c->managers, i, one)
        json_array_append_new(
            out, json_pack("{s:s, s:s}", "NodeID", json_str(one, "node"), "Addr", json_str(one, "address")));
    return out;
}

json_t *swarm__summary(struct cluster *c)
{
    int managers = 0;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));)
        managers += ((const struct node *)e->value)->manager;
    json_t *cluster = json_copy_tree(c->swarm);
    hide_own(cluster);
    json_object_del(cluster, "JoinTokens");
    json_t *out = json_pack("{s:I, s:i, s:o}", "Nodes", (json_int_t)c->objects[CLUSTER_NODE].count,
                            "Managers", managers, "Cluster", cluster);
    must(out);
    return out;
}

static json_t *locked_info(const struct cluster *c)
{
    struct err why;
    autolock__locked(&why);
    _cleanup_free_ char *host = swarm__host_of(c->address);
    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:n}", "NodeID", c->self, "NodeAddr", host, "LocalNodeState",
                     "locked", "ControlAvailable", 0, "Error", why.msg, "RemoteManagers");
}

json_t *cluster_info(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    if (c->locked)
        return locked_info(c);
    if (c->role == ROLE_NONE)
        return json_pack("{s:s, s:s, s:s, s:b, s:s, s:n}", "NodeID", "", "NodeAddr", "", "LocalNodeState",
                         "inactive", "ControlAvailable", 0, "Error", "", "RemoteManagers");
    _cleanup_free_ char *host = swarm__host_of(c->address);
    json_t *out = json_pack("{s:s, s:s, s:s, s:b, s:s, s:o}", "NodeID", c->self, "NodeAddr", host,
                            "LocalNodeState", "active", "ControlAvailable", c->role != ROLE_WORKS, "Error",
                            c->trouble ? c->trouble : "", "RemoteManagers", remote_managers(c));
    must(out);
    _cleanup_json_ json_t *summary = c->role == ROLE_LEADS     ? swarm__summary(c)
                                     : c->role == ROLE_FOLLOWS ? json_incref(c->summary)
                                                               : NULL;
    if (summary)
        json_object_update(out, summary);
    return out;
}

bool cluster_active(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    return c->role != ROLE_NONE || c->locked;
}

bool cluster_is_worker(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    return c->role == ROLE_WORKS;
}
