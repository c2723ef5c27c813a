/* Objects of all kinds: ids, names, versions, and their rows. */
#include "cluster/autolock.h"
#include "cluster/cluster_priv.h"
#include "cluster/managers.h"

#include <ctype.h>

const char *const cluster__migrations[] = {
    "CREATE TABLE objects (kind TEXT NOT NULL, id TEXT NOT NULL PRIMARY KEY, doc TEXT NOT NULL) STRICT;",
    NULL};

static const char *const kind_names[CLUSTER_KINDS] = {"node", "service", "task", "secret", "config"};
static const char swarm_kind[] = "swarm";

const char *cluster__kind_name(enum cluster_kind kind)
{
    return kind_names[kind];
}

void cluster__new_id(char ret[ID_BYTES])
{
    unsigned char random[ID_BYTES - 1];
    keys__random(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        ret[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[random[i] % 36];
    ret[ID_BYTES - 1] = '\0';
}

int cluster__no_swarm(const struct cluster *c, struct err *err)
{
    if (c->locked)
        return autolock__locked(err);
    if (c->role == ROLE_LEADS)
        return 0;
    return c->role == ROLE_NONE
               ? err_set(err, ERR_UNAVAILABLE,
                         "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm "
                         "join\" to "
                         "connect this node to swarm and try again.")
               : err_set(
                     err, ERR_UNAVAILABLE,
                     "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster "
                     "state. Please run this command on a manager node or promote the current node to a "
                     "manager.");
}

void *cluster__lookup(struct cluster *c, enum cluster_kind kind, const char *ref, struct err *err)
{
    struct object *found = map_get(&c->objects[kind], ref);
    if (!found && kind != CLUSTER_TASK)
        found = map_get(&c->names[kind], ref);
    if (found || str_empty(ref))
        goto out;
    int matches = 0;
    struct map_entry *e;
    bool named = false; /* nodes may share a host name */
    for (size_t i = 0; (e = map_next(&c->objects[kind], &i));) {
        const struct object *o = e->value;
        bool by_name = kind == CLUSTER_NODE && str_eq(o->name, ref);
        if (by_name && !named)
            matches = 0;
        named = named || by_name;
        if (named ? by_name : str_after(e->key, ref) != NULL) {
            found = e->value;
            matches++;
        }
    }
    if (matches > 1) {
        err_set(err, ERR_INVALID, "%s %.200s is ambiguous (%d matches found)", kind_names[kind], ref,
                matches);
        return NULL;
    }
out:
    if (!found)
        err_set(err, ERR_NOT_FOUND, "%s %.200s not found", kind_names[kind], ref);
    return found;
}

void cluster__add(struct cluster *c, struct object *o)
{
    if (o->kind == CLUSTER_SERVICE && ((struct service *)o)->removed) {
        map_put(&c->leaving, o->id, o);
        return;
    }
    map_put(&c->objects[o->kind], o->id, o);
    if (!str_empty(o->name) && o->kind != CLUSTER_NODE)
        map_put(&c->names[o->kind], o->name, o);
}

void cluster__drop(struct cluster *c, struct object *o)
{
    map_remove(&c->objects[o->kind], o->id);
    if (!str_empty(o->name) && map_get(&c->names[o->kind], o->name) == o)
        map_remove(&c->names[o->kind], o->name);
}

void cluster__object_done(struct object *o)
{
    free(o->name);
    json_decref(o->spec);
}

void cluster__touch(struct cluster *c, struct object *o)
{
    o->index = ++c->index;
    o->updated_ns = time_now_ns();
}

void cluster__set_time(json_t *to, const char *key, int64_t ns)
{
    char text[TIME_RFC3339_BYTES] = "0001-01-01T00:00:00Z";
    if (ns)
        time_format_rfc3339(ns, text);
    json_set_str(to, key, text);
}

json_t *cluster__head(const struct object *o)
{
    json_t *out = json_pack("{s:s, s:{s:I}}", "ID", o->id, "Version", "Index", (json_int_t)o->index);
    cluster__set_time(out, "CreatedAt", o->created_ns);
    cluster__set_time(out, "UpdatedAt", o->updated_ns);
    return out;
}

/* --- Checks --- */

int cluster__check_name(const char *name, struct err *err)
{
    size_t n = strlen(name);
    if (n == 0)
        return err_set(err, ERR_INVALID,
                       "rpc error: code = InvalidArgument desc = meta: name must be provided");
    bool good = isalnum((unsigned char)name[0]) && isalnum((unsigned char)name[n - 1]);
    for (size_t i = 0; i < n; i++)
        good = good && (isalnum((unsigned char)name[i]) || name[i] == '-' || name[i] == '_');
    if (!good)
        return err_set(err, ERR_INVALID,
                       "rpc error: code = InvalidArgument desc = name must be valid as a DNS name component");
    return n > 63 ? err_set(err, ERR_INVALID,
                            "rpc error: code = InvalidArgument desc = name must be 63 characters or fewer")
                  : 0;
}

/* Of secrets and configs, which may have dots too. */
int cluster__check_file_name(const char *name, struct err *err)
{
    size_t n = strlen(name);
    if (n == 0)
        return err_set(err, ERR_INVALID, "rpc error: code = InvalidArgument desc = name must be provided");
    bool good = n <= 64 && isalnum((unsigned char)name[0]) && isalnum((unsigned char)name[n - 1]);
    for (size_t i = 0; i < n; i++)
        good = good && (isalnum((unsigned char)name[i]) || strchr("-_.", name[i]));
    return good ? 0
                : err_set(err, ERR_INVALID,
                          "rpc error: code = InvalidArgument desc = invalid name, only 64 [a-zA-Z0-9-_.] "
                          "characters "
                          "allowed, and the start and end character must be [a-zA-Z0-9]");
}

int cluster__check_labels(const json_t *spec, struct err *err)
{
    json_t *labels = NULL, *value;
    const char *key;
    int r = json_get_object(spec, "", "Labels", &labels, err);
    json_object_foreach (labels, key, value)
        if (r == 0 && !json_is_string(value))
            r = err_set(err, ERR_INVALID, "\"Labels.%.100s\" must be a text", key);
    return r;
}

bool cluster__filter(const json_t *filters, const char *key, bool (*fits)(const void *, const char *),
                     const void *object)
{
    const json_t *values = json_object_get(filters, key);
    const char *name;
    json_t *value;
    size_t i;
    bool any = false;
    if (json_is_object(values))
        json_object_foreach ((json_t *)values, name, value) {
            if (fits(object, name))
                return true;
            any = true;
        }
    json_array_foreach (values, i, value) {
        if (json_is_string(value) && fits(object, json_string_value(value)))
            return true;
        any = true;
    }
    return !any;
}

/* --- Rows --- */

static void change_add(struct change *ch, const char *sql, size_t params, const char *kind, const char *id,
                       char *doc)
{
    if (ch->count >= ch->capacity) {
        ch->capacity = MAX(ch->capacity * 2, 8);
        ch->statements = mem_grow(ch->statements, ch->capacity, sizeof(*ch->statements));
        ch->values = mem_grow(ch->values, ch->capacity, sizeof(*ch->values));
    }
    strv_add(&ch->texts, kind);
    strv_add(&ch->texts, id);
    strv_take(&ch->texts, doc ? doc : mem_strdup(""));
    ch->statements[ch->count++] =
        (struct store_statement){.sql = sql, .param_count = params, .expect_changes = -1};
}

void change_put(struct change *ch, const struct object *o)
{
    _cleanup_json_ json_t *doc = cluster__store_form(o);
    change_add(ch, "INSERT OR REPLACE INTO objects (kind, id, doc) VALUES (?1, ?2, ?3)", 3,
               kind_names[o->kind], o->id, json_format(doc));
}

void change_put_swarm(struct change *ch, const struct cluster *c)
{
    _cleanup_json_ json_t *doc = autolock__store_form(c);
    change_add(ch, "INSERT OR REPLACE INTO objects (kind, id, doc) VALUES (?1, ?2, ?3)", 3, swarm_kind,
               json_str(c->swarm, "ID"), json_format(doc));
}

void change_remove(struct change *ch, const struct object *o)
{
    change_add(ch, "DELETE FROM objects WHERE kind = ?1 AND id = ?2", 2, kind_names[o->kind], o->id, NULL);
}

void change_done(struct change *ch)
{
    free(ch->statements);
    free(ch->values);
    strv_free(ch->texts);
    *ch = (struct change){0};
}

/* A manager that has been replaced does not know it yet: its epoch does. */
static int commit_fenced(struct cluster *c, const struct change *ch, struct err *err)
{
    if (!c->epoch)
        return managers__no_leader(err);
    const struct store_value epoch = STORE_I64(c->epoch);
    _cleanup_free_ struct store_statement *all = NEW_N(struct store_statement, ch->count + 1);
    all[0] = store_fence(&epoch);
    memcpy(all + 1, ch->statements, ch->count * sizeof(*all));
    int64_t begin_ns = managers__now();
    int r = store_batch(c->store, all, ch->count + 1, STORE_DURABLE, err);
    if (r == 0)
        managers__committed(c, c->epoch, begin_ns);
    /* Whether it was done may not be known, and what was to be written behind is marked as written. */
    if (r < 0 && r != -ERR_LIMIT && r != -ERR_INVALID)
        managers__doubt(c);
    return r == -ERR_NOT_LEADER || r == -ERR_NO_MAJORITY ? managers__no_leader(err) : r;
}

int change_commit(struct cluster *c, struct change *ch, bool durable, struct err *err)
{
    for (size_t i = 0; i < ch->count; i++) {
        for (int j = 0; j < 3; j++)
            ch->values[i][j] = STORE_STR(ch->texts[3 * i + (size_t)j]);
        ch->statements[i].params = ch->values[i];
    }
    int r = 0;
    if (ch->count && managers__replicated(c))
        r = commit_fenced(c, ch, err);
    else if (ch->count &&
             store_batch(c->store, ch->statements, ch->count, durable ? STORE_DURABLE : STORE_LAZY, err) < 0)
        r = err_wrap(err, "write the cluster's state");
    change_done(ch);
    return r;
}

struct loading {
    struct cluster *c;
    enum cluster_kind kind;
};

static int load_row(void *context, const struct store_value *columns, size_t count, struct err *err)
{
    struct loading *l = context;
    struct cluster *c = l->c;
    _cleanup_json_ json_t *doc = NULL;
    int r = json_parse(columns[1].bytes, columns[1].size, "a row of cluster.db", &doc, err);
    if (r < 0)
        return r;
    if (l->kind == CLUSTER_KINDS) {
        json_decref(c->swarm);
        c->swarm = json_incref(doc);
        autolock__restore(c, c->swarm);
        c->index = MAX(c->index, json_int(json_object_get(doc, "Version"), "Index"));
        return 0;
    }
    struct object *o = cluster__restore(c, l->kind, doc, err);
    if (!o)
        return -ERR_CORRUPT;
    c->index = MAX(c->index, o->index);
    cluster__add(c, o);
    return 0;
}

char *cluster__db_path(const struct cluster *c)
{
    return str_printf("%s/cluster.db", engine_root(c->engine));
}

int cluster__open_file(struct cluster *c, struct err *err)
{
    _cleanup_free_ char *path = cluster__db_path(c);
    return store_open(path, cluster__migrations, &c->store, err) < 0 ? err_wrap(err, "open %s", path) : 0;
}

int cluster__load(struct cluster *c, struct err *err)
{
    int r = 0;
    /* Services before their tasks. */
    for (int kind = 0; r == 0 && kind <= CLUSTER_KINDS; kind++) {
        struct loading l = {c, (enum cluster_kind)kind};
        const struct store_value which = STORE_STR(kind < CLUSTER_KINDS ? kind_names[kind] : swarm_kind);
        r = store_query(c->store, "SELECT id, doc FROM objects WHERE kind = ?1 ORDER BY rowid", &which, 1,
                        load_row, &l, err);
    }
    /* Indexes that were given out and not yet written are not given out again. */
    c->index += 1000;
    return r < 0 ? err_wrap(err, "read the cluster's state") : 0;
}

void cluster__event(struct cluster *c, const struct object *o, const char *action, const json_t *more)
{
    _cleanup_json_ json_t *attributes = json_pack("{s:s}", "name", o->name ? o->name : "");
    if (more)
        json_object_update(attributes, (json_t *)more);
    engine_event(c->engine, kind_names[o->kind], action, o->id, attributes);
}
