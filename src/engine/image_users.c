/* docker rmi, which must know the containers that use an image. */
#include "engine/engine_priv.h"

static bool mounts(struct container *c, const char *id)
{
    SCOPED_LOCK(lock, &c->lock);
    return strv_has(c->images, id);
}

/* Names the container that keeps an image from being removed, a running one before others; NULL: none. */
static char *user_of(void *context, const char *id)
{
    char *user = NULL;
    struct container **all = container__all(context);
    for (struct container **c = all; *c; c++) {
        if (!str_eq((*c)->image_id, id) && !mounts(*c, id))
            continue;
        bool running = container__running(*c);
        if (user && !running)
            continue;
        free(user);
        user = str_printf("%s container %.12s", running ? "running" : "stopped", (*c)->id);
        if (running)
            break;
    }
    container__all_free(all);
    return user;
}

void engine_images_mounted(struct engine *e, struct map *ids)
{
    struct container **all = container__all(e);
    for (struct container **c = all; *c; c++) {
        SCOPED_LOCK(lock, &(*c)->lock);
        STRV_FOREACH (id, (*c)->images)
            map_put(ids, *id, ids);
    }
    container__all_free(all);
}

void engine_image_event(struct engine *e, const char *action, const char *id, const char *name)
{
    _cleanup_json_ json_t *attributes = json_object();
    struct image_info info;
    if (image_get(e->images, id, &info, NULL) == 0) {
        const json_t *labels = json_object_get(json_object_get(info.config, "config"), "Labels");
        if (json_is_object(labels))
            json_object_update(attributes, (json_t *)labels);
        image_info_done(&info);
    }
    json_set_str(attributes, "name", name);
    engine_event(e, "image", action, id, attributes);
}

static void tell_removal(void *context, const char *action, const char *id)
{
    engine_image_event(context, action, id, id);
}

void users__sweep_images(struct engine *e)
{
    image_sweep_removed(e->images, user_of, e);
}

int engine_image_remove(struct engine *e, const char *name, bool force, bool keep_parents, json_t **ret_log,
                        int64_t *freed, struct err *err)
{
    struct image_removal how = {.force = force,
                                .keep_parents = keep_parents,
                                .in_use = user_of,
                                .tell = tell_removal,
                                .context = e,
                                .freed = freed};
    return image_remove(e->images, name, &how, ret_log, err);
}
