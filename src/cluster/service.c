/* Services: what is to run, and where its rollout stands. */
#include "cluster/cluster_priv.h"

#include "base/base64.h"
#include "cluster/attach.h"
#include "cluster/traffic.h"
#include "engine/spread.h"

enum { DETACH_MS = 1000 };

/* --- As GET shows it --- */

static json_t *endpoint_of(const struct service *s)
{
    const json_t *given = json_object_get(s->o.spec, "EndpointSpec");
    json_t *out = json_object(), *spec = given ? json_copy((json_t *)given) : json_object(), *addresses,
           *value;
    const char *id;
    if (given || json_array_size(s->ports) || json_object_size(s->addresses)) {
        if (!*json_str(spec, "Mode"))
            json_set_str(spec, "Mode", "vip");
    }
    json_object_set_new(out, "Spec", spec);
    if (json_array_size(s->ports))
        json_object_set(out, "Ports", s->ports);
    if (json_object_size(s->addresses)) {
        addresses = json_array();
        json_object_foreach (s->addresses, id, value)
            json_array_append_new(addresses, json_pack("{s:s, s:O}", "NetworkID", id, "Addr", value));
        json_object_set_new(out, "VirtualIPs", addresses);
    }
    return out;
}

json_t *service__show(struct cluster *c, const struct service *s)
{
    json_t *out = cluster__head(&s->o);
    json_object_set(out, "Spec", s->o.spec);
    if (s->previous)
        json_object_set(out, "PreviousSpec", s->previous);
    json_object_set_new(out, "Endpoint", endpoint_of(s));
    if (s->status.state != ROLLOUT_NONE) {
        json_t *status = json_pack("{s:s}", "State", rollout_state_name(s->status.state));
        cluster__set_time(status, "StartedAt", s->status.started_ns);
        if (s->status.completed_ns)
            cluster__set_time(status, "CompletedAt", s->status.completed_ns);
        json_set_str(status, "Message", s->status.message);
        json_object_set_new(out, "UpdateStatus", status);
    }
    if (deploy_is_job(s->parsed.mode)) {
        json_t *job = json_pack("{s:{s:I}}", "JobIteration", "Index", (json_int_t)s->iteration);
        cluster__set_time(job, "LastExecution", s->executed_ns);
        json_object_set_new(out, "JobStatus", job);
    }
    return out;
}

void service__add_status(struct cluster *c, const struct service *s, json_t *shown)
{
    int64_t running = 0, wanted = 0, completed = 0;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        const struct task *t = e->value;
        running += t->state == TASK_RUNNING && t->desired <= TASK_COMPLETE;
        wanted += t->desired <= TASK_RUNNING;
        completed += t->state == TASK_COMPLETE && t->version == s->iteration;
    }
    if (s->parsed.mode == DEPLOY_REPLICATED)
        wanted = s->parsed.replicas;
    else if (s->parsed.mode == DEPLOY_REPLICATED_JOB)
        wanted = s->parsed.max_concurrent;
    json_object_set_new(shown, "ServiceStatus",
                        json_pack("{s:I, s:I, s:I}", "RunningTasks", (json_int_t)running, "DesiredTasks",
                                  (json_int_t)wanted, "CompletedTasks",
                                  (json_int_t)(deploy_is_job(s->parsed.mode) ? completed : 0)));
}

bool service__uses(const struct service *s, enum cluster_kind kind, const char *id)
{
    bool secret = kind == CLUSTER_SECRET;
    const json_t *container = json_object_get(json_object_get(s->o.spec, "TaskTemplate"), "ContainerSpec");
    json_t *one;
    size_t i;
    json_array_foreach (json_object_get(container, secret ? "Secrets" : "Configs"), i, one)
        if (str_eq(json_str(one, secret ? "SecretID" : "ConfigID"), id))
            return true;
    return false;
}

static bool is_on(const struct service *s, const char *network)
{
    json_t *one;
    size_t i;
    json_array_foreach ((json_t *)service__networks(s->o.spec), i, one)
        if (str_eq(json_str(one, "Target"), network))
            return true;
    return false;
}

static const struct service *user_of(struct map *services, const char *network)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(services, &i));)
        if (is_on(e->value, network))
            return e->value;
    return NULL;
}

/* One whose container has just gone takes a moment to be known as gone. */
static int check_attachments(struct cluster *c, const char *id, int64_t until_ns, bool *ret_again,
                             struct err *err)
{
    const char *container = "";
    const struct node *user = attach__user(c, id, &container);
    if (user && str_eq(user->o.id, c->self)) {
        (void)attach__settle(c, &(struct err){0});
        user = attach__user(c, id, &container);
    }
    *ret_again = user && time_monotonic_ns() < until_ns;
    return user && !*ret_again
               ? err_set(err, ERR_INVALID,
                         "rpc error: code = FailedPrecondition desc = network %s is in use by container "
                         "%.12s on node %s",
                         id, container, node__name(c, user->o.id))
               : 0;
}

int cluster_free_network(struct cluster *c, const char *ref, bool (*gone)(void *), void *context,
                         struct err *err)
{
    int64_t until_ns = time_monotonic_ns() + DETACH_MS * NS_PER_MS;
    _cleanup_json_ json_t *network = NULL;
    if (engine_network_inspect(c->engine, ref, &network, &(struct err){0}) < 0)
        return 0;
    const char *id = json_str(network, "Id");
    for (;;) {
        pthread_mutex_lock(&c->lock);
        const struct service *user = user_of(&c->objects[CLUSTER_SERVICE], id);
        int r =
            user ? err_set(err, ERR_INVALID,
                           "rpc error: code = FailedPrecondition desc = network %s is in use by service %s",
                           id, user->o.id)
                 : 0;
        bool detaching = false;
        if (r == 0 && c->role == ROLE_LEADS)
            r = check_attachments(c, id, until_ns, &detaching, err);
        bool leaving = !c->stopping && (detaching || user_of(&c->leaving, id));
        pthread_mutex_unlock(&c->lock);
        if (r < 0 || !leaving)
            return r;
        if (gone(context))
            return err_set(err, ERR_CANCELLED, "the client has left");
        time_sleep_ns(20 * NS_PER_MS);
    }
}

/* --- Addresses on its networks --- */

static bool has_virtual_address(const json_t *spec)
{
    return !str_eq(json_str(json_object_get(spec, "EndpointSpec"), "Mode"), "dnsrr");
}

/* Takes an address for the service on a network of the swarm, or keeps the one it has. */
static int want_address(struct cluster *c, const struct service *s, const char *ref, json_t *wanted,
                        struct err *err)
{
    const char *id = json_str(networks__find(c, ref), "Id"), *present = json_str(s->addresses, id);
    if (!*id)
        return 0;
    _cleanup_free_ char *address = *present ? mem_strdup(present) : NULL;
    int r = address ? 0 : addresses__take(c, id, &address, err);
    if (r == 0)
        json_set_str(wanted, id, address);
    return r;
}

/* The addresses of `from` that are not among `kept` (may be NULL). */
static void give_back(struct cluster *c, const struct service *s, json_t *from, const json_t *kept)
{
    const char *id;
    json_t *value;
    json_object_foreach (from, id, value)
        if (!json_object_get(kept, id)) {
            engine_spread_remove(c->engine, s->o.id, id, &(struct err){0});
            engine_network_release(c->engine, id, s->o.id, &(struct err){0});
            addresses__give_back(c, id, json_string_value(value));
        }
}

void service__leave_networks(struct cluster *c, const struct service *s)
{
    traffic__drop(c, s);
    give_back(c, s, s->addresses, NULL);
}

/* Takes what the spec's networks need, and gives back what they no longer do. */
static int settle_addresses(struct cluster *c, struct service *s, const json_t *spec, const json_t *ports,
                            struct err *err)
{
    _cleanup_json_ json_t *wanted = json_object();
    bool any = has_virtual_address(spec) && !deploy_is_job(s->parsed.mode);
    json_t *one;
    size_t i;
    int r = any && service__has_ingress(ports) ? want_address(c, s, "ingress", wanted, err) : 0;
    json_array_foreach ((json_t *)service__networks(spec), i, one)
        if (r == 0 && any)
            r = want_address(c, s, json_str(one, "Target"), wanted, err);
    if (r < 0)
        give_back(c, s, wanted, s->addresses);
    if (r < 0)
        return r;
    give_back(c, s, s->addresses, wanted);
    json_decref(s->addresses);
    s->addresses = json_incref(wanted);
    return 0;
}

/* --- Changes --- */

static char *seal_auth(struct cluster *c, const char *auth)
{
    _cleanup_str_ struct str sealed = STR_INIT;
    if (str_empty(auth) || keys__seal(c, "auth", auth, strlen(auth), &sealed, &(struct err){0}) < 0)
        return NULL;
    return base64_encode(sealed.data, sealed.len);
}

void service__wake(struct cluster *c, struct service *s)
{
    s->dirty = true;
    pthread_cond_signal(&c->decide);
}

static bool absent(const json_t *spec, const char *key)
{
    const json_t *value = json_object_get(spec, key);
    return !value || json_is_null(value) || (json_is_object(value) && !json_object_size(value));
}

/* Docker's engine takes the names of fields in any case; docker-py writes the modes small. */
static void name_mode(json_t *spec)
{
    static const char *const names[] = {"Replicated", "Global", "ReplicatedJob", "GlobalJob"};
    json_t *mode = json_object_get(spec, "Mode"), *value;
    const char *key;
    void *next;
    json_object_foreach_safe (mode, next, key, value)
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            if (strcasecmp(key, names[i]) == 0 && strcmp(key, names[i]) != 0) {
                json_object_set(mode, names[i], value);
                json_object_del(mode, key);
                break;
            }
}

static void name_service(struct cluster *c, json_t *spec)
{
    const json_t *name = json_object_get(spec, "Name");
    if (name && !json_is_null(name) && !(json_is_string(name) && !json_string_length(name)))
        return;
    for (unsigned attempt = 0;; attempt++) {
        _cleanup_free_ char *made = engine_random_name(attempt);
        if (map_get(&c->names[CLUSTER_SERVICE], made))
            continue;
        json_set_str(spec, "Name", made);
        return;
    }
}

static void set_default(json_t *object, const char *key, json_t *value)
{
    if (json_object_get(object, key))
        json_decref(value);
    else
        json_object_set_new(object, key, value);
}

static void complete_rollout(json_t *config)
{
    if (!json_is_object(config))
        return;
    set_default(config, "FailureAction", json_string("pause"));
    set_default(config, "MaxFailureRatio", json_integer(0));
    set_default(config, "Order", json_string("stop-first"));
}

/* What dockerd shows of a spec that does not say it. */
static void complete(json_t *spec)
{
    json_t *template = json_object_get(spec, "TaskTemplate"),
           *endpoint = json_object_get(spec, "EndpointSpec"), *port;
    json_t *container = json_object_get(template, "ContainerSpec");
    size_t i;
    if (json_is_object(container)) {
        set_default(container, "Isolation", json_string("default"));
        set_default(template, "ForceUpdate", json_integer(0));
        set_default(template, "Runtime", json_string("container"));
    }
    if (json_is_object(json_object_get(template, "RestartPolicy")))
        set_default(json_object_get(template, "RestartPolicy"), "MaxAttempts", json_integer(0));
    complete_rollout(json_object_get(spec, "UpdateConfig"));
    complete_rollout(json_object_get(spec, "RollbackConfig"));
    if (!json_is_object(endpoint))
        return;
    set_default(endpoint, "Mode", json_string("vip"));
    json_array_foreach (json_object_get(endpoint, "Ports"), i, port)
        if (json_is_object(port)) {
            set_default(port, "Protocol", json_string("tcp"));
            set_default(port, "PublishMode", json_string("ingress"));
            if (json_object_get(port, "PublishedPort") && json_int(port, "PublishedPort") == 0)
                json_object_del(port, "PublishedPort");
        }
}

/* Counts that were left out are shown as what they mean. */
static void count_mode(json_t *spec)
{
    json_t *mode = json_object_get(spec, "Mode"), *replicated = json_object_get(mode, "Replicated"),
           *job = json_object_get(mode, "ReplicatedJob");
    if (json_is_object(replicated) && absent(replicated, "Replicas"))
        json_object_set_new(replicated, "Replicas", json_integer(1));
    if (json_is_object(job) && absent(job, "MaxConcurrent"))
        json_object_set_new(job, "MaxConcurrent", json_integer(1));
    if (json_is_object(job) && absent(job, "TotalCompletions"))
        json_object_set(job, "TotalCompletions", json_object_get(job, "MaxConcurrent"));
}

static json_t *with_defaults(const json_t *given)
{
    json_t *spec = json_copy_tree(given);
    name_mode(spec);
    if (absent(spec, "Labels"))
        json_object_set_new(spec, "Labels", json_object());
    if (absent(spec, "Mode"))
        json_object_set_new(spec, "Mode", json_pack("{s:{s:i}}", "Replicated", "Replicas", 1));
    count_mode(spec);
    complete(spec);
    return spec;
}

int service__foresee(struct cluster *c, const struct service *s, const json_t *given, json_t **ret_spec,
                     json_t **ret_ports, struct err *err)
{
    _cleanup_json_ json_t *spec = with_defaults(given);
    int r = service__check(c, s, spec, err);
    if (r == 0)
        r = service__publish(c, s, spec, ret_ports, err);
    if (r == 0)
        *ret_spec = json_incref(spec);
    return r;
}

int service__create(struct cluster *c, const json_t *given, const char *auth, struct service **ret,
                    struct err *err)
{
    _cleanup_json_ json_t *spec = with_defaults(given), *ports = NULL;
    name_service(c, spec);
    int r = service__check(c, NULL, spec, err);
    if (r < 0)
        return r;
    const char *name = json_str(spec, "Name");
    if (map_get(&c->names[CLUSTER_SERVICE], name))
        return err_set(
            err, ERR_CONFLICT,
            "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service %s "
            "already exists",
            name);
    r = service__publish(c, NULL, spec, &ports, err);
    if (r < 0)
        return r;
    struct service *s = NEW(struct service);
    s->o = (struct object){.kind = CLUSTER_SERVICE,
                           .name = mem_strdup(name),
                           .spec = json_incref(spec),
                           .created_ns = time_now_ns()};
    cluster__new_id(s->o.id);
    cluster__touch(c, &s->o);
    service__read_spec(s);
    s->version = s->next_version = 1;
    s->executed_ns = s->o.created_ns;
    s->ports = json_incref(ports);
    s->addresses = json_object();
    s->auth = seal_auth(c, auth);
    s->tasks = MAP_INIT(NULL);
    history__note(s);
    r = settle_addresses(c, s, spec, ports, err);
    if (r < 0) {
        service__free(s);
        return r;
    }
    *ret = s;
    return 0;
}

static bool same_list(const json_t *a, const json_t *b)
{
    return !json_array_size(a) && !json_array_size(b) ? true : json_equal((json_t *)a, (json_t *)b);
}

/* What, when it changes, makes tasks of another version. */
bool service__same_tasks(const json_t *a, const json_t *b)
{
    return json_equal(json_object_get(a, "TaskTemplate"), json_object_get(b, "TaskTemplate")) &&
           same_list(service__networks(a), service__networks(b)) &&
           same_list(json_object_get(json_object_get(a, "EndpointSpec"), "Ports"),
                     json_object_get(json_object_get(b, "EndpointSpec"), "Ports"));
}

void service__read_spec(struct service *s)
{
    must(deploy_spec_parse(s->o.spec, &s->parsed, NULL) == 0);
    (void)labels__read(json_object_get(s->o.spec, "Labels"), &s->labels, NULL);
}

/* Tasks have their service's priority, also those that run. */
static void put_spec(struct cluster *c, struct service *s, json_t *spec)
{
    int32_t priority = s->labels.priority;
    json_decref(s->o.spec);
    s->o.spec = spec;
    service__read_spec(s);
    if (s->labels.priority != priority)
        place__forget(c);
}

void service__revert(struct cluster *c, struct service *s)
{
    json_t *back = take_ptr(s->previous), *ports = NULL;
    int64_t version = s->version, revision = s->revision;
    char *auth = s->auth;
    if (!back)
        return;
    s->previous = json_incref(s->o.spec);
    put_spec(c, s, back);
    s->version = s->previous_version;
    s->previous_version = version;
    place__forgive(c, s);
    s->revision = s->previous_revision;
    s->previous_revision = revision;
    s->auth = s->previous_auth;
    s->previous_auth = auth;
    if (service__publish(c, s, s->o.spec, &ports, NULL) == 0) {
        json_decref(s->ports);
        s->ports = ports;
    }
    struct err err;
    if (settle_addresses(c, s, s->o.spec, s->ports, &err) < 0)
        snprintf(s->status.message, sizeof(s->status.message), "%.190s", err.msg);
    if (deploy_is_job(s->parsed.mode)) {
        s->iteration++;
        s->executed_ns = time_now_ns();
    }
    cluster__touch(c, &s->o);
}

static int adopt(struct cluster *c, struct service *s, const struct cluster_service_update *u,
                 struct err *err)
{
    _cleanup_json_ json_t *spec = with_defaults(u->spec), *ports = NULL;
    int r = service__check(c, s, spec, err);
    if (r == 0)
        r = service__publish(c, s, spec, &ports, err);
    if (r == 0)
        r = settle_addresses(c, s, spec, ports, err);
    if (r < 0)
        return r;
    bool same = json_equal(s->o.spec, spec);
    history__leave(s);
    if (!service__same_tasks(s->o.spec, spec)) {
        s->previous_version = s->version;
        s->version = ++s->next_version;
        place__forgive(c, s);
    } else
        s->previous_version = s->version;
    json_decref(s->previous);
    s->previous = json_incref(s->o.spec);
    put_spec(c, s, json_incref(spec));
    json_decref(s->ports);
    s->ports = json_incref(ports);
    free(s->previous_auth);
    s->previous_auth = mem_strdup(s->auth);
    if (!str_empty(u->auth)) {
        free(s->auth);
        s->auth = seal_auth(c, u->auth);
    }
    if (deploy_is_job(s->parsed.mode)) {
        s->iteration++;
        s->executed_ns = time_now_ns();
    }
    s->status = (struct deploy_rollout_status){0};
    if (!same)
        s->revision = 0;
    history__note(s);
    cluster__touch(c, &s->o);
    return 0;
}

int service__update(struct cluster *c, struct service *s, const struct cluster_service_update *u,
                    struct err *err)
{
    int r = 0;
    if (u->rollback && !s->previous)
        return err_set(err, ERR_INVALID,
                       "rpc error: code = FailedPrecondition desc = service %s does not have a previous spec",
                       s->o.id);
    if (u->rollback) {
        s->status = (struct deploy_rollout_status){.state = ROLLOUT_ROLLBACK_STARTED,
                                                   .started_ns = time_now_ns(),
                                                   .message = "manually requested rollback"};
        service__revert(c, s);
    } else
        r = adopt(c, s, u, err);
    if (r < 0)
        return r;
    struct change ch = {0};
    change_put(&ch, &s->o);
    r = change_commit(c, &ch, true, err);
    s->write = r < 0; /* it is in force, and is tried again */
    service__wake(c, s);
    return r;
}

int service__remove(struct cluster *c, struct service *s, struct err *err)
{
    s->removed = true;
    cluster__touch(c, &s->o);
    struct change ch = {0};
    change_put(&ch, &s->o);
    int r = change_commit(c, &ch, true, err);
    if (r < 0) {
        s->removed = false;
        return r;
    }
    traffic__drop(c, s);
    cluster__drop(c, &s->o);
    map_put(&c->leaving, s->o.id, s);
    service__wake(c, s);
    return 0;
}

void service__free(struct service *s)
{
    failures__unkeep(s);
    cluster__object_done(&s->o);
    json_decref(s->previous);
    json_decref(s->history);
    json_decref(s->ports);
    json_decref(s->addresses);
    free(s->auth);
    free(s->previous_auth);
    free(s->spread_text);
    strv_free(s->spread_networks);
    map_done(&s->tasks);
    free(s);
}
