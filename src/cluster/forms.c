/* Objects as they are stored: everything that cannot be found out again. */
#include "cluster/cluster_priv.h"

#include "base/base64.h"

static json_t *task_form(const struct task *t, json_t *doc)
{
    json_set_str(doc, "service", t->service->o.id);
    json_object_set_new(doc, "slot", json_integer(t->slot));
    json_object_set_new(doc, "version", json_integer(t->version));
    json_set_str(doc, "node", t->node);
    json_set_str(doc, "state", task_state_name(t->state));
    json_set_str(doc, "desired", task_state_name(t->desired));
    json_object_set_new(doc, "stated_ns", json_integer(t->stated_ns));
    json_object_set_new(doc, "running_ns", json_integer(t->running_ns));
    json_object_set_new(doc, "ended_ns", json_integer(t->ended_ns));
    json_object_set_new(doc, "start_at_ns", json_integer(t->start_at_ns));
    json_object_set_new(doc, "settled", json_boolean(t->settled));
    json_set_str(doc, "message", t->message);
    json_set_str(doc, "error", t->error);
    json_set_str(doc, "container", t->container);
    json_object_set(doc, "ports", t->ports);
    json_object_set_new(doc, "exit_code", json_integer(t->exit_code));
    return doc;
}

static json_t *service_form(const struct service *s, json_t *doc)
{
    if (s->previous)
        json_object_set(doc, "previous", s->previous);
    json_object_set_new(doc, "version", json_integer(s->version));
    json_object_set_new(doc, "previous_version", json_integer(s->previous_version));
    json_object_set_new(doc, "next_version", json_integer(s->next_version));
    json_object_set_new(doc, "iteration", json_integer(s->iteration));
    json_object_set_new(doc, "executed_ns", json_integer(s->executed_ns));
    json_set_str(doc, "rollout", rollout_state_name(s->status.state));
    json_object_set_new(doc, "rollout_started_ns", json_integer(s->status.started_ns));
    json_object_set_new(doc, "rollout_completed_ns", json_integer(s->status.completed_ns));
    json_set_str(doc, "rollout_message", s->status.message);
    json_object_set(doc, "ports", s->ports);
    json_object_set(doc, "addresses", s->addresses);
    json_set_str(doc, "auth", s->auth);
    json_set_str(doc, "previous_auth", s->previous_auth);
    json_object_set_new(doc, "removed", json_boolean(s->removed));
    return doc;
}

json_t *cluster__store_form(const struct object *o)
{
    json_t *doc = json_pack("{s:s, s:I, s:I, s:I}", "id", o->id, "index", (json_int_t)o->index, "created_ns",
                            (json_int_t)o->created_ns, "updated_ns", (json_int_t)o->updated_ns);
    json_set_str(doc, "name", o->name);
    json_object_set(doc, "spec", o->spec);
    switch (o->kind) {
    case CLUSTER_NODE: {
        const struct node *n = (const struct node *)o;
        json_object_set(doc, "description", n->description);
        json_set_str(doc, "address", n->address);
        json_object_set_new(doc, "manager", json_boolean(n->manager));
        return doc;
    }
    case CLUSTER_SERVICE:
        return service_form((const struct service *)o, doc);
    case CLUSTER_TASK:
        return task_form((const struct task *)o, doc);
    default: {
        const struct secret *s = (const struct secret *)o;
        _cleanup_free_ char *data = base64_encode(s->data.data, s->data.len);
        json_set_str(doc, "data", data);
        return doc;
    }
    }
}

/* --- And back --- */

static char *text_of(const json_t *row, const char *key) /* NULL when absent or null */
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? mem_strdup(text) : NULL;
}

static json_t *part_of(const json_t *row, const char *key)
{
    json_t *part = json_object_get(row, key);
    return part && !json_is_null(part) ? json_incref(part) : NULL;
}

static struct object *restore_task(struct cluster *c, const json_t *row, struct err *err)
{
    const char *service = json_str(row, "service");
    struct service *s = map_get(&c->objects[CLUSTER_SERVICE], service);
    if (!s)
        s = map_get(&c->leaving, service);
    struct task *t = NEW(struct task);
    if (!s || task_state_parse(json_str(row, "state"), &t->state) < 0 ||
        task_state_parse(json_str(row, "desired"), &t->desired) < 0) {
        free(t);
        err_set(err, ERR_CORRUPT, "task %s: no such service or state", json_str(row, "id"));
        return NULL;
    }
    t->service = s;
    t->slot = json_int(row, "slot");
    t->version = json_int(row, "version");
    t->node = text_of(row, "node");
    t->stated_ns = json_int(row, "stated_ns");
    t->running_ns = json_int(row, "running_ns");
    t->ended_ns = json_int(row, "ended_ns");
    t->start_at_ns = json_int(row, "start_at_ns");
    t->settled = json_bool(row, "settled");
    t->message = mem_strdup(json_str(row, "message"));
    t->error = text_of(row, "error");
    t->container = text_of(row, "container");
    t->ports = part_of(row, "ports");
    t->exit_code = (int)json_int(row, "exit_code");
    t->placed = -1;
    return &t->o;
}

static struct object *restore_service(const json_t *row, struct err *err)
{
    struct service *s = NEW(struct service);
    s->previous = part_of(row, "previous");
    s->version = json_int(row, "version");
    s->previous_version = json_int(row, "previous_version");
    s->next_version = json_int(row, "next_version");
    s->iteration = json_int(row, "iteration");
    s->executed_ns = json_int(row, "executed_ns");
    s->status.started_ns = json_int(row, "rollout_started_ns");
    s->status.completed_ns = json_int(row, "rollout_completed_ns");
    snprintf(s->status.message, sizeof(s->status.message), "%s", json_str(row, "rollout_message"));
    s->ports = part_of(row, "ports");
    s->addresses = part_of(row, "addresses");
    s->auth = text_of(row, "auth");
    s->previous_auth = text_of(row, "previous_auth");
    s->removed = json_bool(row, "removed");
    s->tasks = MAP_INIT(NULL);
    if (rollout_state_parse(json_str(row, "rollout"), &s->status.state) < 0 ||
        deploy_spec_parse(json_object_get(row, "spec"), &s->parsed, err) < 0) {
        service__free(s);
        err_set(err, ERR_CORRUPT, "service %s: not a valid spec", json_str(row, "id"));
        return NULL;
    }
    return &s->o;
}

static struct object *restore_node(const json_t *row)
{
    struct node *n = NEW(struct node);
    n->description = part_of(row, "description");
    n->address = mem_strdup(json_str(row, "address"));
    n->manager = json_bool(row, "manager");
    return &n->o;
}

static struct object *restore_secret(const json_t *row, struct err *err)
{
    struct secret *s = NEW(struct secret);
    if (base64_decode(json_str(row, "data"), &s->data, err) < 0) {
        free(s);
        return NULL;
    }
    return &s->o;
}

struct object *cluster__restore(struct cluster *c, enum cluster_kind kind, const json_t *row, struct err *err)
{
    struct object *o = kind == CLUSTER_NODE      ? restore_node(row)
                       : kind == CLUSTER_SERVICE ? restore_service(row, err)
                       : kind == CLUSTER_TASK    ? restore_task(c, row, err)
                                                 : restore_secret(row, err);
    if (!o)
        return NULL;
    o->kind = kind;
    snprintf(o->id, sizeof(o->id), "%s", json_str(row, "id"));
    o->name = mem_strdup(json_str(row, "name"));
    o->index = json_int(row, "index");
    o->created_ns = json_int(row, "created_ns");
    o->updated_ns = json_int(row, "updated_ns");
    o->spec = part_of(row, "spec");
    if (kind == CLUSTER_TASK)
        map_put(&((struct task *)o)->service->tasks, o->id, o);
    return o;
}
