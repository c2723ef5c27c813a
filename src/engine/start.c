/* Starting a container: its network, its config, and the request to the keeper; and taking everything back
 * when one of them fails. */
#include "engine/build_mounts.h"
#include "engine/links.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "engine/userns.h"

#include <unistd.h>

/* What a start holds until the keeper has it. */
struct starting {
    struct container *c;
    json_t *doc, *net, *spec;
    char **lowers;
    struct start_fds fds;
    int netns_index, userns_index;
};

static void starting_done(struct starting *s)
{
    json_decref(s->doc);
    json_decref(s->net);
    json_decref(s->spec);
    strv_free(s->lowers);
    for (size_t i = 0; i < s->fds.count; i++)
        close_fd(s->fds.fd[i]);
}

static int check_state(struct container *c, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    switch (c->state.status) {
    case STATUS_RUNNING:
        return err_set(err, ERR_NOT_MODIFIED, "the container is already running");
    case STATUS_PAUSED:
        return err_set(err, ERR_CONFLICT, "cannot start a paused container, try unpause instead");
    case STATUS_REMOVING:
    case STATUS_DEAD:
        return err_set(err, ERR_CONFLICT, "container is marked for removal and cannot be started");
    default:
        break;
    }
    if (c->removing || c->removed)
        return err_set(err, ERR_CONFLICT, "container is marked for removal and cannot be started");
    return 0;
}

static int pass_along(struct starting *s, int fd)
{
    s->fds.fd[s->fds.count] = fd;
    return (int)s->fds.count++;
}

/* A network namespace belongs to a user namespace, in which alone it can be changed: both are made together.
 * Other containers' namespaces are entered from theirs. */
static int make_user_namespace(struct starting *s, bool network, struct err *err)
{
    const json_t *host = json_object_get(s->doc, "HostConfig");
    const char *other = userns__joined(host);
    struct userns u = userns__of(s->doc);
    int user = -EBADF, net = -EBADF, r;
    if (other) {
        _cleanup_container_ struct container *c = NULL;
        r = container__find(s->c->engine, other, &c, err);
        if (r == 0)
            r = userns__open_of(c, &user, err);
        if (r == 0 && network)
            r = userns__net_in(user, &net, err);
    } else
        r = userns__open(&u, &user, network ? &net : NULL, err);
    if (r < 0) {
        close_fd(user);
        return r;
    }
    s->userns_index = pass_along(s, user);
    if (network)
        s->netns_index = pass_along(s, net);
    return 0;
}

static int connect_network(struct starting *s, struct err *err)
{
    const char *mode = network__mode(json_object_get(s->doc, "HostConfig"));
    bool shared = str_after(mode, "container:"), own = !shared && !str_eq(mode, "host");
    int fd = -EBADF, r = 0;
    if (userns__of(s->doc).count)
        r = make_user_namespace(s, own, err);
    else if (own && (r = net_namespace_take(s->c->engine->net, &fd, err)) == 0)
        s->netns_index = pass_along(s, fd);
    if (r < 0 || shared)
        return r;
    fd = s->netns_index >= 0 ? s->fds.fd[s->netns_index] : -EBADF;
    r = endpoint__connect_all(s->c, s->doc, s->net, fd, err);
    if (r == 0)
        container__set_net(s->c, json_incref(s->net));
    return r;
}

static struct image_mapping mapping_of(const struct starting *s)
{
    struct userns u = userns__of(s->doc);
    return (struct image_mapping){s->fds.fd[s->userns_index], u.uid, u.gid};
}

static int mount_volumes(struct starting *s, struct err *err)
{
    int r = volumes__mount(s->c, s->doc, err);
    if (r < 0 || s->userns_index < 0)
        return r < 0 ? r : image_mounts__mount(s->c, s->doc, NULL, err);
    const struct image_mapping mapping = mapping_of(s);
    return image_mounts__mount(s->c, s->doc, &mapping, err);
}

static int build_spec(struct starting *s, struct err *err)
{
    struct spec_input in = {.c = s->c,
                            .doc = s->doc,
                            .net = s->net,
                            .lowers = s->lowers,
                            .fds = &s->fds,
                            .netns_index = s->netns_index,
                            .userns_index = s->userns_index};
    return spec__build(&in, &s->spec, err);
}

static struct keeper_log log_of(const struct container *c, const json_t *host, const char *path)
{
    const json_t *options = json_object_get(json_object_get(host, "LogConfig"), "Config");
    struct logdriver_local l = logdriver_local(c->log_driver, options);
    return (struct keeper_log){
        .path = l.kept ? path : NULL, .max_bytes = l.max_bytes, .max_files = l.max_files};
}

/* The root of a container with a user namespace, made here, where the rights for it are. */
static int mount_mapped_root(struct starting *s, struct image_snapshot *snapshot, bool is_volatile,
                             int *ret_index, struct err *err)
{
    const struct image_mapping mapping = mapping_of(s);
    int fd;
    int r = image_snapshot_mount_mapped(s->c->engine->images, snapshot, &mapping, is_volatile, &fd, err);
    if (r == 0)
        *ret_index = pass_along(s, fd);
    return r;
}

static int launch(struct starting *s, pid_t *ret_pid, struct err *err)
{
    struct container *c = s->c;
    const json_t *config = json_object_get(s->doc, "Config"), *host = json_object_get(s->doc, "HostConfig");
    _cleanup_(runtimes__choice_done) struct runtime_choice runtime = {0};
    int r = runtimes__find(c->engine, json_str(host, "Runtime"), &runtime, err);
    if (r < 0)
        return r;
    const json_t *size = json_object_get(host, "ConsoleSize");
    _cleanup_free_ char *dir = container__dir(c), *upper = str_printf("%s/upper", dir);
    _cleanup_free_ char *work = str_printf("%s/work", dir), *root = str_printf("%s/root", c->engine->root);
    _cleanup_free_ char *log = str_printf("%s/log", dir);
    /* Below the image: the places that the runtime mounts over, so that they are not made in the container's
     * own layer, from where a commit or a build would put them into an image. */
    strv_add(&s->lowers, "../init");
    if (c->build && c->build->places)
        strv_add(&s->lowers, c->build->places);
    /* What another runtime starts, the keeper does not list before it runs: recover.c could not tell it from
     * what a crash left. */
    bool is_volatile = c->is_volatile && !runtime.path;
    if (c->is_volatile)
        file_overlay_forget_volatile(work);
    int ready_root = -1;
    if (s->userns_index >= 0) {
        struct image_snapshot snapshot = {s->lowers, upper, work};
        r = mount_mapped_root(s, &snapshot, is_volatile, &ready_root, err);
        if (r < 0)
            return r;
    }
    int attach[PENDING_ATTACH_MAX];
    size_t attached = c->pending_count; /* container.op is held: nobody adds one */
    for (size_t i = 0; i < attached; i++)
        attach[i] = c->pending[i].fd;
    struct keeper_start start = {
        .id = c->id,
        .spec = s->spec,
        .overlay = {images_layers_dir(c->engine->images), (const char *const *)s->lowers, upper, work,
                    is_volatile},
        .root = root,
        .log = log_of(c, host, log),
        .open_stdin = json_bool(config, "OpenStdin"),
        .stdin_once = json_bool(config, "StdinOnce"),
        .tty = json_bool(config, "Tty"),
        .rows = (int)json_integer_value(json_array_get(size, 0)),
        .columns = (int)json_integer_value(json_array_get(size, 1)),
        .fds = s->fds.fd,
        .fd_count = s->fds.count,
        .attach_fds = attach,
        .attach_count = attached,
        .runtime = {runtime.path, (const char *const *)runtime.args},
        .ready_root = ready_root + 1,
    };
    return keeper_start(c->engine->keeper, &start, ret_pid, err);
}

static void close_pending(struct container *c)
{
    SCOPED_LOCK(locked, &c->lock);
    for (size_t i = 0; i < c->pending_count; i++)
        close_fd(c->pending[i].fd);
    c->pending_count = 0;
}

/* By our own runtime, whose words we know. */
static bool runs_natively(const json_t *doc)
{
    const char *name = json_str(json_object_get(doc, "HostConfig"), "Runtime");
    return !*name || str_eq(name, "native");
}

/* Docker's exit codes of a start that failed, and its HTTP statuses: a wrong command is the request's fault.
 */
static int describe_failure(int code, bool native, struct err *err)
{
    /* A mount's source that is gone, or a sysctl that may not be set, is not the program's fault. */
    bool program = !native || strstr(err->msg, "exec: ") || strstr(err->msg, "exec /");
    int exit_code = !program ? 128 : code == -ERR_NOT_FOUND ? 127 : code == -ERR_DENIED ? 126 : 128;
    if (exit_code != 128)
        err->code = ERR_INVALID;
    /* Docker's CLI makes its own exit status from these words. */
    err_wrap(err, "failed to create task for container%s",
             exit_code == 127   ? ": executable file not found"
             : exit_code == 126 ? ": permission denied"
                                : "");
    return exit_code;
}

static void record_failure(struct container *c, int exit_code, const struct err *err)
{
    container__release(c);
    close_pending(c);
    pthread_mutex_lock(&c->lock);
    if (c->state.status == STATUS_RESTARTING)
        c->state.status = STATUS_EXITED;
    c->state.exit_code = exit_code;
    free(c->state.error);
    c->state.error = mem_strdup(err->msg);
    c->exits++; /* whoever waits for the next exit has seen all there will be */
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    container__save_state(c);
}

static void record_success(struct container *c, pid_t pid, int64_t at_ns, bool wired)
{
    close_pending(c);
    pthread_mutex_lock(&c->lock);
    free(c->state.error);
    c->state = (struct container_state){.status = STATUS_RUNNING,
                                        .pid = pid,
                                        .restart_count = c->state.restart_count,
                                        .started_ns = at_ns,
                                        .finished_ns = c->state.finished_ns};
    c->restart_at_ns = 0;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    /* That it runs, the keeper knows; its addresses are known here only. */
    if (wired)
        container__save_state(c);
    else
        container__save_behind(c, false);
}

int container__start(struct container *c, bool by_policy, struct err *err)
{
    int r = check_state(c, err);
    if (r < 0)
        return r;
    _cleanup_(starting_done) struct starting s = {
        .c = c, .doc = container__doc(c), .net = container__net(c), .netns_index = -1, .userns_index = -1};
    if (c->forget_due) { /* its last exit has been taken, but not yet given up */
        keeper_forget(c->engine->keeper, c->id, "", NULL);
        c->forget_due = false;
    }
    int64_t now = time_now_ns();
    pid_t pid = 0;
    int exit_code = 128;
    r = by_policy ? 0 : shipping__check(c, s.doc, err);
    if (r == 0 && *c->image_id)
        r = image_lowers(c->engine->images, c->image_id, &s.lowers, err);
    if (r == 0)
        r = check__device_drivers(json_object_get(s.doc, "HostConfig"), err);
    if (r == 0)
        r = userns__check_joined(c->engine, s.doc, err);
    if (r == 0)
        r = connect_network(&s, err);
    FAILPOINT("serve-network-connected");
    if (r == 0)
        r = mount_volumes(&s, err);
    if (r == 0)
        r = build_spec(&s, err);
    if (r == 0)
        shipping__begin(c);
    FAILPOINT("serve-launch-ready");
    if (r == 0 && (r = launch(&s, &pid, err)) < 0) {
        exit_code = describe_failure(r, runs_natively(s.doc), err);
        r = -err->code;
    }
    if (r < 0) {
        shipping__ended(c);
        record_failure(c, exit_code, err);
        return r;
    }
    FAILPOINT("serve-launch-answered");
    if (!by_policy) {
        SCOPED_LOCK(locked, &c->lock);
        c->state.restart_count = 0;
        c->backoff_ns = 0;
    }
    record_success(c, pid, now, endpoint__wired(s.net));
    FAILPOINT("serve-start-saved");
    volumes__tell(c, s.doc, true);
    container__event(c, "start", NULL, NULL);
    health__begin(c, s.doc);
    links__started(c);
    return 0;
}
