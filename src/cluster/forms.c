/* Objects as they are stored: everything that cannot be found out again. */
#include "cluster/cluster_priv.h"

#include "base/base64.h"

#include <stddef.h>

/* What is a text (NULL: null), a number, a flag, or a part of a document (NULL: left out) as it is. */
enum form { TEXT, NUMBER, FLAG, PART };

struct field {
    const char *key;
    enum form form;
    size_t offset;
};

#define FORM(value) _Generic((value), char * : TEXT, int64_t : NUMBER, bool : FLAG, json_t * : PART)
/* The member's type is its form. */
#define FIELD(type, member)                                                                                  \
    {                                                                                                        \
        .key = #member, .form = FORM(((struct type *)0)->member), .offset = offsetof(struct type, member)    \
    }

static const struct field object_fields[] = {
    FIELD(object, index), FIELD(object, created_ns), FIELD(object, updated_ns),
    FIELD(object, name),  FIELD(object, spec),
};
static const struct field node_fields[] = {
    FIELD(node, description), FIELD(node, address), FIELD(node, door),         FIELD(node, manager),
    FIELD(node, lost),        FIELD(node, message), FIELD(node, certificates), FIELD(node, attachments),
};
static const struct field service_fields[] = {
    FIELD(service, previous),
    FIELD(service, version),
    FIELD(service, previous_version),
    FIELD(service, next_version),
    FIELD(service, history),
    FIELD(service, revision),
    FIELD(service, previous_revision),
    FIELD(service, next_revision),
    FIELD(service, iteration),
    FIELD(service, executed_ns),
    FIELD(service, status.started_ns),
    FIELD(service, status.completed_ns),
    FIELD(service, ports),
    FIELD(service, addresses),
    FIELD(service, auth),
    FIELD(service, previous_auth),
    FIELD(service, removed),
};
static const struct field task_fields[] = {
    FIELD(task, slot),       FIELD(task, version),   FIELD(task, node),        FIELD(task, stated_ns),
    FIELD(task, running_ns), FIELD(task, ended_ns),  FIELD(task, start_at_ns), FIELD(task, settled),
    FIELD(task, message),    FIELD(task, error),     FIELD(task, container),   FIELD(task, ports),
    FIELD(task, addresses),  FIELD(task, exit_code), FIELD(task, why),         FIELD(task, gives_way),
    FIELD(task, moves),      FIELD(task, failures),  FIELD(task, made_room),
};

static void put_fields(json_t *doc, const void *from, const struct field *fields, size_t count)
{
    for (const struct field *f = fields; f < fields + count; f++) {
        const char *at = (const char *)from + f->offset;
        json_t *part = f->form == PART ? *(json_t *const *)at : NULL;
        if (f->form == TEXT)
            json_set_str(doc, f->key, *(char *const *)at);
        else if (f->form == NUMBER)
            json_object_set_new(doc, f->key, json_integer(*(const int64_t *)at));
        else if (f->form == FLAG)
            json_object_set_new(doc, f->key, json_boolean(*(const bool *)at));
        else if (part)
            json_object_set(doc, f->key, part);
    }
}

static void get_fields(const json_t *row, void *to, const struct field *fields, size_t count)
{
    for (const struct field *f = fields; f < fields + count; f++) {
        char *at = (char *)to + f->offset;
        if (f->form == TEXT)
            *(char **)at = mem_strdup(json_string_value(json_object_get(row, f->key)));
        else if (f->form == NUMBER)
            *(int64_t *)at = json_int(row, f->key);
        else if (f->form == FLAG)
            *(bool *)at = json_bool(row, f->key);
        else
            *(json_t **)at = json_incref(json_object_get(row, f->key));
    }
}

json_t *cluster__store_form(const struct object *o)
{
    json_t *doc = json_pack("{s:s}", "id", o->id);
    put_fields(doc, o, object_fields, ARRAY_SIZE(object_fields));
    if (o->kind == CLUSTER_NODE)
        put_fields(doc, o, node_fields, ARRAY_SIZE(node_fields));
    else if (o->kind == CLUSTER_SERVICE) {
        const struct service *s = (const struct service *)o;
        put_fields(doc, o, service_fields, ARRAY_SIZE(service_fields));
        json_set_str(doc, "status.state", rollout_state_name(s->status.state));
        json_set_str(doc, "status.message", s->status.message);
    } else if (o->kind == CLUSTER_TASK) {
        const struct task *t = (const struct task *)o;
        put_fields(doc, o, task_fields, ARRAY_SIZE(task_fields));
        json_set_str(doc, "service", t->service->o.id);
        json_set_str(doc, "state", task_state_name(t->state));
        json_set_str(doc, "desired", task_state_name(t->desired));
    } else {
        const struct secret *s = (const struct secret *)o;
        _cleanup_free_ char *data = base64_encode(s->data.data, s->data.len);
        json_set_str(doc, "data", data);
    }
    return doc;
}

/* --- And back --- */

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
    get_fields(row, t, task_fields, ARRAY_SIZE(task_fields));
    t->service = s;
    t->placed = -1;
    return &t->o;
}

static struct object *restore_service(const json_t *row, struct err *err)
{
    struct service *s = NEW(struct service);
    get_fields(row, s, service_fields, ARRAY_SIZE(service_fields));
    snprintf(s->status.message, sizeof(s->status.message), "%s", json_str(row, "status.message"));
    s->tasks = MAP_INIT(NULL);
    if (rollout_state_parse(json_str(row, "status.state"), &s->status.state) < 0 ||
        deploy_spec_parse(json_object_get(row, "spec"), &s->parsed, err) < 0) {
        service__free(s);
        err_set(err, ERR_CORRUPT, "service %s: not a valid spec", json_str(row, "id"));
        return NULL;
    }
    (void)labels__read(json_object_get(json_object_get(row, "spec"), "Labels"), &s->labels, NULL);
    return &s->o;
}

static struct object *restore_node(const json_t *row)
{
    struct node *n = NEW(struct node);
    get_fields(row, n, node_fields, ARRAY_SIZE(node_fields));
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
    get_fields(row, o, object_fields, ARRAY_SIZE(object_fields));
    if (kind == CLUSTER_TASK)
        map_put(&((struct task *)o)->service->tasks, o->id, o);
    return o;
}
