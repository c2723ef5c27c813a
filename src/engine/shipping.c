/* Which containers' logs are brought elsewhere, and what is told along with them. */
#include "engine/engine_priv.h"

#include "logdriver/compress.h"

#include <unistd.h>

enum { GRACE_MS = 2000 };

static json_t *log_config(const json_t *doc)
{
    return json_object_get(json_object_get(doc, "HostConfig"), "LogConfig");
}

int logs__driver(const json_t *doc, enum logdriver_type *ret, struct err *err)
{
    const char *type = json_str(log_config(doc), "Type");
    return logdriver_find(*type ? type : LOGDRIVER_DEFAULT, ret, err);
}

static enum logdriver_type driver_of(const json_t *doc)
{
    enum logdriver_type type = LOGDRIVER_LOCAL;
    logs__driver(doc, &type, NULL);
    return type;
}

static char *command_of(const json_t *config)
{
    _cleanup_strv_ char **words = NULL;
    static const char *const keys[] = {"Entrypoint", "Cmd"};
    for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
        size_t i;
        json_t *v;
        json_array_foreach (json_object_get(config, keys[k]), i, v)
            strv_add(&words, json_string_value(v));
    }
    return strv_join(words, " ");
}

/* Puts what info's texts point into on `keeps`. */
static const char *keep(json_t *keeps, const char *key, char *text)
{
    json_set_str(keeps, key, text);
    free(text);
    return json_str(keeps, key);
}

static void fill_info(struct container *c, const json_t *doc, json_t *keeps, struct logdriver_info *ret)
{
    const json_t *config = json_object_get(doc, "Config");
    char *name = container__name(c);
    *ret = (struct logdriver_info){
        .id = keep(keeps, "id", mem_strdup(c->id)),
        .name = keep(keeps, "name", str_printf("/%s", name)),
        .image_id = json_str(doc, "Image"),
        .image_name = json_str(config, "Image"),
        .command = keep(keeps, "command", command_of(config)),
        .created_ns = c->created_ns,
        .labels = json_object_get(config, "Labels"),
        .env = json_object_get(config, "Env"),
        .options = json_object_get(log_config(doc), "Config"),
    };
    free(name);
}

char *logs__json_path(struct container *c)
{
    _cleanup_free_ char *dir = container__dir(c);
    return str_printf("%s/%s-json.log", dir, c->id);
}

static bool describe(void *context, const char *id, struct shipment *ret, json_t **ret_keeps)
{
    _cleanup_container_ struct container *c = NULL;
    if (container__find(context, id, &c, NULL) < 0)
        return false;
    json_t *doc = container__doc(c), *keeps = json_object();
    json_object_set_new(keeps, "doc", doc);
    *ret = (struct shipment){.type = driver_of(doc),
                             .log = keep(keeps, "log", logs__path(c)),
                             .file = keep(keeps, "file", logs__json_path(c))};
    fill_info(c, doc, keeps, &ret->info);
    *ret_keeps = keeps;
    return true;
}

json_t *logs__attributes(struct container *c)
{
    struct logdriver_info info;
    _cleanup_json_ json_t *doc = container__doc(c), *keeps = json_object();
    fill_info(c, doc, keeps, &info);
    json_t *attributes = logdriver_attributes(&info);
    const char *tag = json_str(info.options, "tag");
    _cleanup_free_ char *made = NULL;
    if (*tag && logdriver_tag(&info, "", &made, NULL) == 0)
        json_set_str(attributes, "tag", made);
    return attributes;
}

int shipping__open(struct engine *e, struct err *err)
{
    return shippers_open(describe, e, &e->shippers, err);
}

static bool ships(struct container *c)
{
    return logdriver_ships(c->log_driver);
}

int shipping__check(struct container *c, const json_t *doc, struct err *err)
{
    struct logdriver_info info;
    if (!ships(c) || c->log_driver == LOGDRIVER_JSON_FILE)
        return 0;
    _cleanup_json_ json_t *keeps = json_object();
    fill_info(c, doc, keeps, &info);
    return shippers_probe(c->log_driver, &info, err);
}

/* json-file's own file is compressed by its shipper. */
static bool compresses(struct container *c)
{
    if (c->log_driver == LOGDRIVER_JSON_FILE || c->log_driver == LOGDRIVER_NONE)
        return false;
    _cleanup_json_ json_t *doc = container__doc(c);
    return logdriver_local(c->log_driver, json_object_get(log_config(doc), "Config")).compress;
}

static void compress_begin(struct container *c)
{
    if (!compresses(c))
        return;
    _cleanup_free_ char *log = logs__path(c);
    compress_watch(log);
}

static void compress_end(struct container *c)
{
    if (!compresses(c))
        return;
    _cleanup_free_ char *log = logs__path(c);
    compress_unwatch(log);
}

void shipping__begin(struct container *c)
{
    compress_begin(c);
    if (!ships(c))
        return;
    _cleanup_free_ char *log = logs__path(c);
    shippers_begin(c->engine->shippers, c->id, log, true);
}

void shipping__ended(struct container *c)
{
    compress_end(c);
    if (ships(c) && c->engine->shippers)
        shippers_ended(c->engine->shippers, c->id);
}

void shipping__removed(struct container *c)
{
    if (!ships(c))
        return;
    _cleanup_free_ char *log = logs__path(c);
    /* Without a log there is nothing that it could still have in hand. */
    shippers_remove(c->engine->shippers, c->id, access(log, F_OK) == 0 ? GRACE_MS : 0);
}

void shipping__resume(struct engine *e)
{
    struct container **all = container__all(e);
    for (struct container **c = all; *c; c++) {
        if (container__running(*c))
            compress_begin(*c);
        if (!ships(*c))
            continue;
        _cleanup_free_ char *log = logs__path(*c);
        if (container__running(*c) || access(log, F_OK) == 0)
            shippers_begin(e->shippers, (*c)->id, log, container__running(*c));
    }
    container__all_free(all);
}

void shipping__show(struct container *c, json_t *lost)
{
    struct shipper_counters n;
    if (!ships(c) || !shippers_counters(c->engine->shippers, c->id, &n))
        return;
    json_object_set_new(lost, "Shipped", json_integer(n.sent_lines));
    json_object_set_new(lost, "DroppedLines", json_integer(n.dropped_lines));
    json_object_set_new(lost, "MissedFiles", json_integer(n.missed_files));
    json_object_set_new(lost, "WaitingBytes", json_integer(n.waiting_bytes));
    json_set_str(lost, "Away", n.why);
}
