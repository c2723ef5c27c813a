/* docker commit: a container's changes as a layer, on its image. */
#include "engine/engine_priv.h"

#include "base/err.h"
#include "base/log.h"

/* What was asked for, completed from the container's configuration, without what belongs to one run only. */
static json_t *image_config_of(const json_t *doc, const json_t *asked)
{
    static const char *const kept[] = {"Cmd",         "Entrypoint", "Env",     "ExposedPorts",
                                       "Healthcheck", "Labels",     "OnBuild", "Shell",
                                       "StopSignal",  "User",       "Volumes", "WorkingDir"};
    _cleanup_json_ json_t *config = asked ? json_deep_copy(asked) : json_object();
    image_config__merge(config, json_object_get(doc, "Config"));
    json_t *result = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        json_t *value = json_object_get(config, kept[i]);
        if (value && !json_is_null(value))
            json_object_set(result, kept[i], value);
    }
    return result;
}

static json_t *history_entry(const char *comment, const char *author, const json_t *doc, int64_t now)
{
    json_t *entry = json_object();
    _cleanup_strv_ char **cmd = NULL;
    json_get_strv(json_object_get(doc, "Config"), "", "Cmd", &cmd, NULL);
    _cleanup_free_ char *by = strv_join(cmd, " ");
    inspect__set_time(entry, "created", now);
    json_set_str(entry, "created_by", by);
    if (!str_empty(comment))
        json_set_str(entry, "comment", comment);
    if (!str_empty(author))
        json_set_str(entry, "author", author);
    return entry;
}

/* The new image's config document, from its base's. */
static json_t *document_of(struct container *c, const json_t *doc, const json_t *config, const char *comment,
                           const char *author, struct err *err)
{
    struct image_info base = {0};
    json_t *document = NULL;
    if (*c->image_id) {
        if (image_get(c->engine->images, c->image_id, &base, err) < 0)
            return NULL;
        document = json_deep_copy(base.config);
        image_info_done(&base);
    } else
        document = json_object();
    int64_t now = time_now_ns();
    json_t *history = json_object_get(document, "history");
    if (!json_is_array(history)) {
        history = json_array();
        json_object_set_new(document, "history", history);
    }
    json_array_append_new(history, history_entry(comment, author, doc, now));
    inspect__set_time(document, "created", now);
    if (!str_empty(author))
        json_set_str(document, "author", author);
    json_object_set_new(document, "config", image_config_of(doc, config));
    return document;
}

static int commit(struct container *c, const char *reference, const json_t *document, char **ret_id,
                  struct err *err)
{
    struct images *images = c->engine->images;
    const char *base = *c->image_id ? c->image_id : NULL;
    _cleanup_free_ char *dir = container__dir(c), *layer = NULL, *diff_id = NULL;
    struct image_snapshot snapshot = {0};
    int r = image_snapshot_open(images, base, dir, &snapshot, err);
    if (r == 0)
        r = image_layer_commit(images, base, snapshot.lowers, snapshot.upper, false, -1, &layer, &diff_id,
                               err);
    image_snapshot_done(&snapshot);
    if (r < 0)
        return r;
    char *layers[] = {layer, NULL}; /* NULL when nothing has changed */
    return image_create(images, base, layers, document, reference, ret_id, err);
}

static void tell(struct container *c, const char *comment, const char *reference, const char *image_id)
{
    _cleanup_json_ json_t *more = json_object();
    json_set_str(more, "comment", comment ? comment : "");
    json_set_str(more, "imageID", image_id);
    json_set_str(more, "imageRef", reference ? reference : "");
    if (reference)
        engine_image_event(c->engine, "tag", image_id, reference);
    container__event_with(c, "commit", more);
}

/* Stops a running container's processes for as long as its files are read; false when they go on. */
static int freeze(struct container *c, bool pause, bool *ret_frozen, struct err *err)
{
    struct err why = {0};
    *ret_frozen = false;
    if (!pause || container__state(c).status != STATUS_RUNNING)
        return 0;
    int r = keeper_pause(c->engine->keeper, c->id, true, &why);
    if (r == 0) {
        *ret_frozen = true;
        container__event(c, "pause", NULL, NULL);
        return 0;
    }
    /* Without a cgroup nothing can be paused, and pausing is only the default: what is written meanwhile
     * may be in the image or not. */
    if (r == -ERR_CONFLICT)
        return 0; /* it has just ended by itself */
    if (r != -ERR_UNSUPPORTED)
        return err_copy(err, &why);
    log_warning("commit of %.12s: it goes on running: %s", c->id, why.msg);
    return 0;
}

int engine_container_commit(struct engine *e, const char *ref, const char *reference, const char *comment,
                            const char *author, const json_t *config, bool pause, char **ret_image_id,
                            struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op);
    _cleanup_json_ json_t *doc = container__doc(c);
    _cleanup_json_ json_t *document = document_of(c, doc, config, comment, author, err);
    if (!document)
        return -ERR_NOT_FOUND;
    bool frozen;
    if ((r = freeze(c, pause, &frozen, err)) < 0)
        return r;
    r = commit(c, reference, document, ret_image_id, err);
    if (r == 0)
        tell(c, comment, reference, *ret_image_id);
    if (!frozen)
        return r;
    struct err why;
    int thawed = keeper_pause(e->keeper, c->id, false, &why);
    if (thawed < 0 && thawed != -ERR_CONFLICT) /* killed meanwhile */
        return r < 0 ? r : err_copy(err, &why);
    container__event(c, "unpause", NULL, NULL);
    return r;
}
