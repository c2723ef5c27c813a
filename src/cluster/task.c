/* Tasks: each one run of one container. */
#include "cluster/cluster_priv.h"
#include "cluster/traffic.h"

struct task *task__new(struct cluster *c, struct service *s, int64_t slot, const char *node)
{
    struct task *t = NEW(struct task);
    /* A rollout knows its tasks by that; it may have begun by the clock of another leader. */
    t->o = (struct object){.kind = CLUSTER_TASK, .created_ns = MAX(time_now_ns(), s->status.started_ns)};
    cluster__new_id(t->o.id);
    t->o.spec = links__into(c, s->o.spec);
    t->o.name = mem_strdup("");
    t->service = s;
    t->slot = slot;
    t->version = deploy_is_job(s->parsed.mode) ? s->iteration : s->version;
    t->node = mem_strdup(node);
    t->state = TASK_NEW;
    t->ports = json_incref(s->ports);
    t->placed = -1;
    cluster__add(c, &t->o);
    map_put(&s->tasks, t->o.id, t);
    task__set(c, t, TASK_PENDING, "pending task scheduling", NULL);
    return t;
}

void task__set(struct cluster *c, struct task *t, enum task_state state, const char *message,
               const char *error)
{
    int64_t now = time_now_ns();
    bool moves = state > t->state;
    if (!error && state >= TASK_SHUTDOWN)
        error = t->why;
    if (state < t->state || (task_ended(t->state) && !str_eq(t->error, error)))
        return;
    if (!moves && str_eq(t->message, message) && str_eq(t->error, error))
        return;
    t->state = state;
    t->stated_ns = now;
    if (moves && state == TASK_RUNNING)
        t->running_ns = now;
    if (moves && task_ended(state)) {
        t->ended_ns = now;
        place__left(c, t);
        failures__note(c, t);
        addresses__left(c, t);
    }
    free(t->message);
    t->message = mem_strdup(message);
    free(t->error);
    t->error = mem_strdup(error);
    t->dirty = true;
    cluster__touch(c, &t->o);
}

char *task__container_name(const struct task *t)
{
    if (t->slot)
        return str_printf("%s.%lld.%s", t->service->o.name, (long long)t->slot, t->o.id);
    return str_printf("%s.%s.%s", t->service->o.name, t->node ? t->node : "", t->o.id);
}

const json_t *task__networks(const struct task *t)
{
    const json_t *own = json_object_get(t->o.spec, "Networks");
    return json_array_size(own) ? own : json_object_get(t->service->o.spec, "Networks");
}

static json_t *attachments(struct cluster *c, const struct task *t)
{
    json_t *out = json_array(), *one;
    size_t i;
    json_array_foreach ((json_t *)task__networks(t), i, one) {
        _cleanup_json_ json_t *network = NULL;
        if (engine_network_inspect(c->engine, json_str(one, "Target"), &network, &(struct err){0}) < 0)
            continue;
        json_t *addresses = json_array();
        const char *own = json_str(t->addresses, json_str(network, "Id"));
        if (*own)
            json_array_append_new(addresses, json_string(own));
        json_array_append_new(
            out,
            json_pack("{s:{s:s, s:{s:i}, s:{s:s, s:O, s:{s:O}, s:s}, s:{s:s}, s:{s:{s:s}, s:O}}, s:o}",
                      "Network", "ID", json_str(network, "Id"), "Version", "Index", 1, "Spec", "Name",
                      json_str(network, "Name"), "Labels", json_object_get(network, "Labels"),
                      "DriverConfiguration", "Options", json_object_get(network, "Options"), "Scope", "swarm",
                      "DriverState", "Name", json_str(network, "Driver"), "IPAMOptions", "Driver", "Name",
                      "default", "Configs", json_object_get(json_object_get(network, "IPAM"), "Config"),
                      "Addresses", addresses));
    }
    return out;
}

/* Why one that is ready does not begin. */
static void show_wait(const struct task *t, json_t *status)
{
    char time[TIME_RFC3339_BYTES], text[128];
    int64_t left = (t->start_at_ns - time_now_ns() + NS_PER_S - 1) / NS_PER_S * NS_PER_S;
    if (t->error || t->failures < 2 || t->desired != TASK_READY || left <= 0)
        return;
    snprintf(text, sizeof(text), "%lld failed in a row: this one starts in %s", (long long)t->failures,
             time_format_duration(left, time));
    json_set_str(status, "Err", text);
}

json_t *task__show(struct cluster *c, const struct task *t)
{
    json_t *out = cluster__head(&t->o), *status = json_object();
    json_object_set_new(out, "Labels", json_object());
    json_t *spec = json_copy(t->o.spec);
    json_object_del(spec, "Runtime");
    json_object_set_new(out, "Spec", spec);
    json_set_str(out, "ServiceID", t->service->o.id);
    if (t->slot)
        json_object_set_new(out, "Slot", json_integer(t->slot));
    if (t->node)
        json_set_str(out, "NodeID", t->node);
    cluster__set_time(status, "Timestamp", t->stated_ns);
    json_set_str(status, "State", task_state_name(t->state));
    json_set_str(status, "Message", t->message);
    if (t->error)
        json_set_str(status, "Err", t->error);
    show_wait(t, status);
    if (t->container)
        json_object_set_new(status, "ContainerStatus",
                            json_pack("{s:s, s:I, s:I}", "ContainerID", t->container, "PID",
                                      (json_int_t)t->pid, "ExitCode", (json_int_t)t->exit_code));
    json_object_set_new(status, "PortStatus", json_object());
    json_object_set_new(out, "Status", status);
    json_set_str(out, "DesiredState", task_state_name(t->desired));
    json_t *networks = attachments(c, t);
    if (json_array_size(networks))
        json_object_set_new(out, "NetworksAttachments", networks);
    else
        json_decref(networks);
    if (deploy_is_job(t->service->parsed.mode))
        json_object_set_new(out, "JobIteration", json_pack("{s:I}", "Index", (json_int_t)t->version));
    return out;
}

static bool is_desired(const void *object, const char *value)
{
    const struct task *t = object;
    /* As docker's clients ask: running and what is about to; or over. */
    if (str_eq(value, "running"))
        return t->desired <= TASK_RUNNING || (t->desired == TASK_COMPLETE && !task_ended(t->state));
    return str_eq(value, task_state_name(t->desired));
}

static bool is_service(const void *object, const char *id)
{
    return str_eq(((const struct task *)object)->service->o.id, id);
}

static bool is_node(const void *object, const char *id)
{
    return str_eq(((const struct task *)object)->node, id);
}

static bool is_named(const void *object, const char *value)
{
    const struct task *t = object;
    _cleanup_free_ char *name = str_printf("%s.%lld", t->service->o.name, (long long)t->slot);
    return strstr(name, value) != NULL;
}

static bool is_current(const void *object, const char *value)
{
    const struct task *t = object;
    const struct service *s = t->service;
    bool yes = false;
    return parse_bool(value, &yes, NULL) == 0 &&
           yes == (t->version == (deploy_is_job(s->parsed.mode) ? s->iteration : s->version));
}

bool task__matches(const struct task *t, const json_t *filters)
{
    return cluster__filter(filters, "desired-state", is_desired, t) &&
           cluster__filter(filters, "service", is_service, t) &&
           cluster__filter(filters, "node", is_node, t) && cluster__filter(filters, "name", is_named, t) &&
           cluster__filter(filters, "_up-to-date", is_current, t);
}

void task__free(struct task *t)
{
    cluster__object_done(&t->o);
    json_decref(t->ports);
    json_decref(t->addresses);
    free(t->node);
    free(t->message);
    free(t->error);
    free(t->why);
    free(t->gives_way);
    free(t->container);
    free(t);
}
