/* Bringing together what the database says and what the keeper holds: at start, and after the keeper was
 * replaced.
 *
 *     database        keeper      then
 *     running         running     it runs: its network is entered again
 *     running         exited      its end is handled now, with its exit code and time
 *     running         unknown     the machine went down: exit code 255; its policy decides
 *     not running     exited      a run that nothing was written of: its end is handled now
 *     not running     running     serve died between start and record: it runs
 *     not there       running     it was removed half-way: ended
 */
#include "engine/engine_priv.h"

#include "base/file.h"

#include <dirent.h>
#include <signal.h>

enum { EXIT_UNKNOWN = 255 };

static const struct keeper_process *process_of(const struct keeper_process *list, size_t count,
                                               const char *id)
{
    for (size_t i = 0; i < count; i++)
        if (!*list[i].exec_id && strcmp(list[i].id, id) == 0)
            return &list[i];
    return NULL;
}

/* The container runs: state, network, health probes. container.op held. */
static void take_over(struct container *c, const struct keeper_process *p)
{
    pthread_mutex_lock(&c->lock);
    bool changed = c->state.pid != p->pid;
    if (c->state.status != STATUS_PAUSED)
        c->state.status = STATUS_RUNNING;
    c->state.pid = p->pid;
    if (!c->state.started_ns || changed)
        c->state.started_ns = p->started_ns;
    pthread_mutex_unlock(&c->lock);
    if (changed)
        container__save_state(c);
    struct err err;
    if (endpoint__restore(c, &err) < 0)
        log_error("container %.12s: take over its network: %s", c->id, err.msg);
    volumes__restore(c);
    if (!*health__status(c)) {
        _cleanup_json_ json_t *doc = container__doc(c);
        health__begin(c, doc);
    }
}

static void went_down(struct container *c)
{
    struct keeper_exit gone = {.id = c->id, .exec_id = "", .status = EXIT_UNKNOWN, .at_ns = time_now_ns()};
    pthread_mutex_lock(&c->lock);
    free(c->state.error);
    c->state.error = mem_strdup("it ended when the machine or the keeper went down");
    pthread_mutex_unlock(&c->lock);
    container__exited(c, &gone);
}

static bool keeper_knows(struct container *c)
{
    struct keeper_process *list = NULL;
    size_t count = 0;
    /* Without an answer nothing is concluded: the next comparison does it. */
    bool known = keeper_list(c->engine->keeper, &list, &count, NULL) < 0 || process_of(list, count, c->id);
    free(list);
    return known;
}

static void compare(struct container *c, const struct keeper_process *p, bool at_open)
{
    bool running = container__running(c);
    if (p && p->state == KEEPER_EXITED && !running && p->exit.at_ns != container__state(c).finished_ns) {
        /* It was started and ended without either being written down. */
        pthread_mutex_lock(&c->lock);
        c->state.status = STATUS_RUNNING;
        c->state.started_ns = p->started_ns;
        pthread_mutex_unlock(&c->lock);
    }
    if (p && p->state == KEEPER_RUNNING) {
        SCOPED_LOCK(op, &c->op);
        take_over(c, p);
    } else if (p) {
        container__exited(c, &p->exit); /* forgets it, too, when it was known already */
    } else if (running) {
        /* One that was started after the list was made looks the same: it is asked for once more, when no
         * start is under way. While serve comes up there is none. */
        pthread_mutex_lock(&c->op);
        bool still = container__running(c) && (at_open || !keeper_knows(c));
        pthread_mutex_unlock(&c->op);
        if (still)
            went_down(c);
    }
}

/* One that is removed at its end, and has run, by its state or by what its root's mount left: the machine may
 * have gone down before its start was saved, and what it wrote was never synced. */
static bool is_at_its_end(struct container *c, enum container_status status, const char *dir)
{
    _cleanup_free_ char *work = str_printf("%s/work", dir);
    return c->auto_remove && (status == STATUS_EXITED || file_overlay_was_volatile(work));
}

/* The build has gone with the serve of before; its snapshot, to which the container's own leads, too. One
 * that has a snapshot of its own was either kept, after it had run, or not given the build's yet. */
static bool is_step_of_a_build(struct container *c)
{
    static const char *const parts[] = {CONTAINER_UPPER, "work"};
    _cleanup_json_ json_t *doc = container__doc(c);
    _cleanup_free_ char *dir = container__dir(c);
    bool is_link = false;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        _cleanup_free_ char *path = str_printf("%s/%s", dir, parts[i]);
        struct stat st;
        is_link = is_link || (lstat(path, &st) == 0 && S_ISLNK(st.st_mode));
    }
    return is_link || (json_bool(doc, "Step") && container__state(c).status == STATUS_CREATED);
}

/* Not running when serve comes up: a restart that was due, a policy that wants it, a removal that was not
 * finished. */
static void after_start(struct container *c)
{
    struct container_state s = container__state(c);
    struct err err;
    if (is_step_of_a_build(c) && (s.status == STATUS_RUNNING || s.status == STATUS_PAUSED)) {
        c->auto_remove = true; /* when its end has been told */
        keeper_kill(c->engine->keeper, c->id, "", SIGKILL, false, NULL);
        return;
    }
    if (is_step_of_a_build(c)) {
        if (container__remove(c, true, true, &err) < 0)
            log_error("container %.12s: end the step of a build: %s", c->id, err.msg);
        return;
    }
    if (s.status == STATUS_RUNNING || s.status == STATUS_PAUSED)
        return;
    _cleanup_free_ char *dir = container__dir(c), *upper = str_printf("%s/" CONTAINER_UPPER, dir);
    if (s.status == STATUS_REMOVING || !file_exists(upper) || is_at_its_end(c, s.status, dir)) {
        if (container__remove(c, true, c->auto_remove, &err) < 0)
            log_error("container %.12s: finish its removal: %s", c->id, err.msg);
        return;
    }
    SCOPED_LOCK(op, &c->op);
    _cleanup_json_ json_t *doc = container__doc(c);
    const json_t *policy = json_object_get(json_object_get(doc, "HostConfig"), "RestartPolicy");
    if (!s.started_ns || !restart__wanted(policy, s.exit_code, s.restart_count, s.stopped_by_user, true))
        return;
    pthread_mutex_lock(&c->lock);
    c->state.status = STATUS_RESTARTING;
    c->restart_at_ns = 1; /* at once */
    pthread_mutex_unlock(&c->lock);
    supervisor__restarts_due(c->engine);
}

/* What the keeper holds for nobody: ended when it runs, forgotten when it has ended. */
static void clear_strangers(struct engine *e, const struct keeper_process *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct keeper_process *p = &list[i];
        _cleanup_container_ struct container *c = NULL;
        bool known = container__find(e, p->id, &c, NULL) == 0 && strcmp(c->id, p->id) == 0;
        bool ours = known && !*p->exec_id;
        bool probe = str_after(p->exec_id, "health-") != NULL;
        if (ours || (known && !probe && p->state == KEEPER_RUNNING))
            continue;
        if (p->state == KEEPER_RUNNING)
            keeper_kill(e->keeper, p->id, p->exec_id, SIGKILL, !known,
                        NULL); /* its exit is forgotten when it comes */
        else
            keeper_forget(e->keeper, p->id, p->exec_id, NULL);
    }
}

/* Directories whose container never came to be, or is gone. */
static void sweep_directories(struct engine *e)
{
    _cleanup_free_ char *path = str_printf("%s/containers", e->root),
                        *trash = str_printf("%s/trash", e->root);
    DIR *dir = opendir(path);
    struct err err;
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (*d->d_name == '.' || map_has(&e->containers, d->d_name))
            continue;
        _cleanup_free_ char *stale = str_printf("%s/%s", path, d->d_name);
        if (file_remove_tree(stale, &err) < 0)
            log_warning("%s", err.msg);
    }
    if (dir)
        closedir(dir);
    if (file_remove_tree(trash, &err) < 0 || file_mkdirs(trash, 0710, &err) < 0)
        log_warning("%s", err.msg);
}

/* Bridges and rules of a time before this one go. */
static void reconcile_network(struct engine *e)
{
    _cleanup_strv_ char **bridges = NULL, **owners = NULL, **spreads = spread__keys(e);
    struct container **all = container__all(e);
    for (struct container **c = all; *c; c++)
        if (container__running(*c))
            strv_add(&owners, (*c)->id);
    container__all_free(all);
    pthread_mutex_lock(&e->lock);
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        const struct network *n = entry->value;
        if (*n->bridge)
            strv_add(&bridges, n->bridge);
    }
    pthread_mutex_unlock(&e->lock);
    struct err err;
    if (net_reconcile(e->net, bridges, owners, spreads, &err) < 0)
        log_error("clear the network of what is gone: %s", err.msg);
}

int recover__run(struct engine *e, bool at_open, struct err *err)
{
    struct keeper_process *list = NULL;
    size_t count = 0;
    int r = keeper_list(e->keeper, &list, &count, err);
    if (r < 0)
        return err_wrap(err, "ask the keeper what runs");
    struct container **all = container__all(e);
    for (struct container **c = all; *c; c++)
        compare(*c, process_of(list, count, (*c)->id), at_open);
    if (at_open)
        spread__restore_all(e); /* before anything is started, which could get an old target's address */
    clear_strangers(e, list, count);
    free(list);
    if (at_open) {
        for (struct container **c = all; *c; c++)
            after_start(*c);
        sweep_directories(e);
        files__sweep(e);
        spare__clear(e->root);
        reconcile_network(e);
    }
    container__all_free(all);
    supervisor__names_due(e);
    return 0;
}
