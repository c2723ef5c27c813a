/* docker rmi, which must know the containers that use an image. */
#include "engine/engine_priv.h"

/* Names the container that keeps an image from being removed, a running one before others; NULL: none. */
static char *user_of(void *context, const char *id)
{
    char *user = NULL;
    struct container **all = container__all(context);
    for (struct container **c = all; *c; c++) {
        if (strcmp((*c)->image_id, id) != 0)
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

int engine_image_remove(struct engine *e, const char *name, bool force, json_t **ret_log, struct err *err)
{
    return image_remove(e->images, name, force, user_of, e, ret_log, err);
}
