/* The end of a container: out of the tables and the database, its files away. */
#include "engine/engine_priv.h"

#include "base/failpoint.h"
#include "base/file.h"

#include <unistd.h>

/* Only one removal at a time; whoever comes second is told. */
static int claim(struct container *c, bool force, bool *ret_running, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    enum container_status s = c->state.status;
    if (c->removed)
        return err_set(err, ERR_NOT_FOUND, "No such container: %s", c->id);
    if (c->removing)
        return err_set(err, ERR_CONFLICT, "removal of container %s is already in progress", c->id);
    *ret_running = s == STATUS_RUNNING || s == STATUS_PAUSED || s == STATUS_RESTARTING;
    if (*ret_running && !force)
        return err_set(
            err, ERR_CONFLICT,
            "You cannot remove a %s container %s. %s container before attempting removal or force remove",
            container__status_name(s), c->id, s == STATUS_PAUSED ? "Unpause and then stop the" : "Stop the");
    c->removing = true;
    return 0;
}

static void give_up(struct container *c)
{
    SCOPED_LOCK(locked, &c->lock);
    c->removing = false;
}

static void forget_execs(struct container *c)
{
    SCOPED_LOCK(engine, &c->engine->lock);
    SCOPED_LOCK(locked, &c->lock);
    STRV_FOREACH (id, c->execs)
        map_remove(&c->engine->execs, *id);
    c->execs = strv_free(c->execs);
}

/* The container is gone when its directory is: recovery finishes what a crash leaves. */
static void delete_row(struct container *c)
{
    struct store_value values[] = {STORE_STR(c->id)};
    struct store_statement s = {"DELETE FROM containers WHERE id = ?", values, 1, -1};
    store_behind(c->engine->store, &s, NULL, NULL);
}

/* Away from its name at once, which is quick; what is not kept for others is deleted after, which may take
 * long. */
static int move_to_trash(struct container *c, char **ret, struct err *err)
{
    _cleanup_free_ char *dir = container__dir(c);
    if (spare__put(c->engine, dir))
        return 0;
    _cleanup_free_ char *trash = str_printf("%s/trash/%s", c->engine->root, c->id);
    if (rename(dir, trash) == 0)
        *ret = take_ptr(trash);
    else if (errno != ENOENT)
        return err_sys(err, errno, "remove %s", dir);
    return 0;
}

static void announce(struct container *c)
{
    container__event(c, "destroy", NULL, NULL);
    SCOPED_LOCK(locked, &c->lock);
    c->removed = true;
    c->state.status = STATUS_REMOVING;
    pthread_cond_broadcast(&c->changed);
}

enum { READERS_S = 1 };

/* Who was reading the log gets all of it; one that does not take what it is sent holds nothing up for long.
 */
static void let_readers_finish(struct container *c)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += READERS_S;
    SCOPED_LOCK(locked, &c->lock);
    while (c->log_readers && pthread_cond_timedwait(&c->changed, &c->lock, &until) == 0)
        ;
}

static int take_apart(struct container *c, char **ret_trash, struct err *err)
{
    SCOPED_LOCK(op, &c->op);
    shipping__removed(c);
    int r = move_to_trash(c, ret_trash, err);
    if (r < 0)
        return r;
    FAILPOINT("serve-directory-removed");
    delete_row(c);
    files__remove(c);
    health__end(c);
    container__release(c);
    keeper_forget_later(c->engine->keeper, c->id);
    c->forget_due = false;
    forget_execs(c);
    container__unregister(c);
    return 0;
}

static void remove_anonymous_volumes(struct container *c)
{
    pthread_mutex_lock(&c->lock);
    _cleanup_strv_ char **names = strv_dup(c->volumes);
    pthread_mutex_unlock(&c->lock);
    STRV_FOREACH (name, names)
        if (volume__anonymous(c->engine, *name))
            volume__remove(c->engine, *name, true, NULL); /* stays when another container has it */
}

/* container.op must not be held: a running container is ended first. */
int container__remove(struct container *c, bool force, bool volumes, struct err *err)
{
    bool running = false;
    _cleanup_free_ char *trash = NULL;
    int r = claim(c, force, &running, err);
    if (r < 0)
        return r;
    if (running)
        r = container__end(c, err);
    FAILPOINT("serve-removal-claimed");
    if (r == 0) {
        let_readers_finish(c);
        r = take_apart(c, &trash, err);
    }
    if (r < 0) {
        give_up(c);
        return r;
    }
    FAILPOINT("serve-container-removed");
    announce(c);
    users__sweep_images(c->engine);
    if (volumes)
        remove_anonymous_volumes(c);
    struct err late;
    if (trash && file_remove_tree(trash, &late) < 0)
        log_warning("container %.12s: %s", c->id, late.msg); /* swept at the next start */
    return 0;
}

int engine_container_remove(struct engine *e, const char *ref, bool force, bool volumes, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    return r < 0 ? r : container__remove(c, force, volumes, err);
}
