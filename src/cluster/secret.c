/* Secrets, which no request ever shows again, and configs, which are the same in the open. */
#include "cluster/cluster_priv.h"

#include "base/base64.h"

static bool is_secret(const struct secret *s)
{
    return s->o.kind == CLUSTER_SECRET;
}

json_t *secret__show(const struct secret *s)
{
    json_t *out = cluster__head(&s->o), *spec = json_copy(s->o.spec);
    if (!is_secret(s)) {
        _cleanup_free_ char *text = base64_encode(s->data.data, s->data.len);
        json_set_str(spec, "Data", text);
    }
    json_object_set_new(out, "Spec", spec);
    return out;
}

static int decode(const json_t *spec, bool secret, struct str *ret, struct err *err)
{
    const char *text = "";
    size_t max = secret ? SECRET_MAX : CONFIG_MAX;
    int r = json_get_string(spec, "", "Data", &text, err);
    if (r == 0 && base64_decode(text, ret, err) < 0)
        r = err_set(err, ERR_INVALID, "\"Data\" must be base64");
    if (r == 0 && (ret->len == 0 || ret->len >= max))
        r = err_set(
            err, ERR_INVALID,
            "rpc error: code = InvalidArgument desc = %s data must be larger than 0 and less than %zu bytes",
            secret ? "secret" : "config", max);
    return r;
}

int secret__create(struct cluster *c, enum cluster_kind kind, const json_t *spec, struct secret **ret,
                   struct err *err)
{
    const char *name = "";
    bool secret = kind == CLUSTER_SECRET;
    json_t *driver = NULL;
    _cleanup_str_ struct str plain = STR_INIT;
    int r = json_get_string(spec, "", "Name", &name, err);
    if (r == 0)
        r = cluster__check_labels(spec, err);
    if (r == 0)
        r = cluster__check_file_name(name, err);
    if (r == 0)
        r = json_get_object(spec, "", "Driver", &driver, err);
    if (r == 0 && driver && !str_empty(json_str(driver, "Name")))
        r = err_set(err, ERR_UNSUPPORTED, "secret driver \"%.100s\": not supported by Drover",
                    json_str(driver, "Name"));
    if (r == 0)
        r = decode(spec, secret, &plain, err);
    if (r == 0 && map_get(&c->names[kind], name))
        r = err_set(err, ERR_CONFLICT, "rpc error: code = AlreadyExists desc = %s %s already exists",
                    cluster__kind_name(kind), name);
    if (r < 0)
        return r;
    struct secret *s = NEW(struct secret);
    s->o = (struct object){.kind = kind, .name = mem_strdup(name), .created_ns = time_now_ns()};
    cluster__new_id(s->o.id);
    cluster__touch(c, &s->o);
    json_t *labels = json_object_get(spec, "Labels");
    s->o.spec = json_object();
    json_set_str(s->o.spec, "Name", name);
    json_object_set_new(s->o.spec, "Labels", json_is_object(labels) ? json_incref(labels) : json_object());
    const json_t *templating = json_object_get(spec, "Templating");
    if (json_is_object(templating))
        json_object_set(s->o.spec, "Templating", (json_t *)templating);
    if (secret)
        r = keys__seal(c, s->o.id, plain.data, plain.len, &s->data, err);
    else
        str_addn(&s->data, plain.data, plain.len);
    if (r < 0) {
        secret__free(s);
        return r;
    }
    *ret = s;
    return 0;
}

int secret__reveal(struct cluster *c, const struct secret *s, struct str *ret, struct err *err)
{
    if (is_secret(s))
        return keys__open(c, s->o.id, &s->data, ret, err);
    str_addn(ret, s->data.data, s->data.len);
    return 0;
}

int secret__change(struct cluster *c, struct secret *s, const json_t *spec, struct err *err)
{
    int r = cluster__check_labels(spec, err);
    const char *name = json_str(spec, "Name"), *data = json_str(spec, "Data");
    bool same = str_empty(name) || str_eq(name, s->o.name);
    if (r == 0 && *data) {
        _cleanup_str_ struct str given = STR_INIT, present = STR_INIT;
        r = secret__reveal(c, s, &present, err);
        same = same && r == 0 && base64_decode(data, &given, NULL) == 0 && given.len == present.len &&
               memcmp(str_get(&given), str_get(&present), given.len) == 0;
    }
    if (r == 0 && !same)
        r = err_set(err, ERR_INVALID,
                    "rpc error: code = InvalidArgument desc = only updates to Labels are allowed");
    if (r < 0)
        return r;
    json_t *before = s->o.spec, *labels = json_object_get(spec, "Labels");
    s->o.spec = json_copy(before);
    json_object_set_new(s->o.spec, "Labels", json_is_object(labels) ? json_incref(labels) : json_object());
    cluster__touch(c, &s->o);
    struct change ch = {0};
    change_put(&ch, &s->o);
    r = change_commit(c, &ch, true, err);
    json_decref(r < 0 ? s->o.spec : before);
    if (r < 0)
        s->o.spec = before;
    return r;
}

int secret__remove(struct cluster *c, struct secret *s, struct err *err)
{
    _cleanup_strv_ char **users = NULL;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_SERVICE], &i));) {
        const struct service *one = e->value;
        if (service__uses(one, s->o.kind, s->o.id))
            strv_add(&users, one->o.name);
    }
    if (users) {
        _cleanup_free_ char *list = strv_join(users, ", ");
        return err_set(
            err, ERR_INVALID,
            "rpc error: code = InvalidArgument desc = %s '%s' is in use by the following service%s: %s",
            cluster__kind_name(s->o.kind), s->o.name, users[1] ? "s" : "", list);
    }
    struct change ch = {0};
    change_remove(&ch, &s->o);
    return change_commit(c, &ch, true, err);
}

void secret__free(struct secret *s)
{
    cluster__object_done(&s->o);
    str_free(&s->data);
    free(s);
}
