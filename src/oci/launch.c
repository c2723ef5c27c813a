#include "oci/launch.h"

#include "base/file.h"
#include "base/timeutil.h"
#include "oci/bundle.h"
#include "oci/console.h"
#include "oci/in_place.h"
#include "oci/notify.h"
#include "oci/report.h"
#include "runtime/cgroup.h"
#include "runtime/resctrl.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INHERITED_MAX = 1 << 16 };

/* sd_listen_fds(3): ours when LISTEN_PID is our pid, or when the engine did not say. */
static int64_t activation_fds(void)
{
    const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    int64_t count = 0, owner = 0;
    if (str_empty(fds) || parse_i64(fds, 0, INHERITED_MAX, &count, NULL) < 0)
        return 0;
    if (!str_empty(pid) && (parse_i64(pid, 0, INT32_MAX, &owner, NULL) < 0 || owner != getpid()))
        return 0;
    return count;
}

int64_t launch_inherited_count(const struct oci_args *args)
{
    return args->preserve_fds < 0 ? 0 : activation_fds() + MIN(args->preserve_fds, (int64_t)INHERITED_MAX);
}

int launch_inherited_fds(const struct oci_args *args, unsigned *ret_count, json_t *process, struct err *err)
{
    int64_t activated = activation_fds();
    if (args->preserve_fds < 0 || args->preserve_fds > INHERITED_MAX)
        return err_set(err, ERR_INVALID, "option --preserve-fds: %lld is not a count of descriptors",
                       (long long)args->preserve_fds);
    if (activated && process) {
        json_t *env = json_object_get(process, "env");
        if (!env)
            json_object_set_new(process, "env", env = json_array());
        json_array_append_new(env, json_sprintf("LISTEN_FDS=%lld", (long long)activated));
        json_array_append_new(env, json_string("LISTEN_PID=1"));
    }
    *ret_count = (unsigned)launch_inherited_count(args);
    return 0;
}

int launch_write_pid(const char *path, pid_t pid, struct err *err)
{
    char text[16];
    if (!path)
        return 0;
    int n = snprintf(text, sizeof(text), "%d", (int)pid);
    int r = file_replace(path, text, (size_t)n, 0644, false, err);
    return r < 0 ? err_wrap(err, "write the pid file") : 0;
}

int launch_send_pidfd(const char *path, int pidfd, struct err *err)
{
    static const char name[] = "pidfd";
    _cleanup_close_ int fd = -EBADF;
    if (str_empty(path))
        return 0;
    int r = file_connect_unix(path, SOCK_STREAM, &fd, err);
    if (r == 0)
        r = (int)file_send_fds(fd, name, sizeof(name) - 1, &pidfd, 1, err);
    return r < 0 ? err_wrap(err, "send the process's descriptor") : 0;
}

/* The option, and an annotation for callers that cannot give one. */
static int send_pidfd(const struct oci_args *args, const struct container *c, struct err *err)
{
    const char *receiver = json_str(json_object_get(c->config, "annotations"), RUNTIME_PIDFD_RECEIVER);
    int r = launch_send_pidfd(args->pidfd_socket, c->pidfd, err);
    return r < 0 ? r : launch_send_pidfd(receiver, c->pidfd, err);
}

struct attempt {
    struct runtime_launch launch;
    struct console console;
    int start_fd;
    unsigned inherited;
    bool detached;
};

/* What a program without a terminal has as its three standard descriptors, as a JSON array in a text: how
 * tools that save processes (CRIU) ask for what lies outside. A terminal lies inside. */
static char *descriptors_outside(bool terminal)
{
    _cleanup_json_ json_t *list = json_array();
    for (int fd = 0; fd <= 2 && !terminal; fd++) {
        char link[32], target[PATH_MAX];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof(target));
        json_t *text = json_stringn(target, n < 0 ? 0 : (size_t)n);
        json_array_append_new(list, text ? text : json_string("")); /* a name that is no UTF-8 */
    }
    return json_format(list);
}

static json_t *new_state(const struct bundle *bundle, const struct attempt *a)
{
    char when[TIME_RFC3339_BYTES], owner[32];
    json_t *state = json_object();
    json_set_str(state, "ociVersion", json_str(bundle->config, "ociVersion"));
    json_set_str(state, "bundle", bundle->path);
    json_set_str(state, "rootfs", bundle->rootfs);
    json_set_str(state, "created", time_format_rfc3339(time_now_ns(), when));
    json_t *annotations = json_object_get(bundle->config, "annotations");
    if (json_is_object(annotations))
        json_object_set(state, "annotations", annotations);
    snprintf(owner, sizeof(owner), "%u", (unsigned)geteuid());
    json_set_str(state, "owner", geteuid() == 0 ? "root" : owner);
    json_object_set_new(state, "systemd-cgroup", json_boolean(a->launch.systemd_cgroup));
    json_object_set_new(state, "detached", json_boolean(a->detached));
    _cleanup_free_ char *descriptors = descriptors_outside(a->launch.tty);
    json_set_str(state, "external_descriptors", descriptors);
    return state;
}

/* Its pid and cgroup are on record before it may go on, so that whatever happens to us `delete --force` finds
 * all of it; before that it ends with us. */
static int record(struct container *c, const struct bundle *bundle, const struct attempt *a,
                  struct cgroup *cgroup, struct runtime_child *child, struct err *err)
{
    const char *path = cgroup_path(cgroup), *name = strrchr(path, '/');
    json_set_str(c->state, "cgroup-path", path);
    json_set_str(c->state, "scope", a->launch.systemd_cgroup && name ? name + 1 : "");
    c->pid = child->pid;
    c->pidfd = child->pidfd;
    json_object_set_new(c->state, "resctrl", resctrl_dirs(c->config, c->id));
    int r = container_save_config(c, str_get(&bundle->text), bundle->text.len, err);
    if (r == 0)
        r = container_save(c, err);
    if (r == 0 && (r = resctrl_enter(c->config, c->id, c->pid, err)) < 0)
        json_object_del(c->state, "resctrl");
    if (r == 0) {
        runtime_launch_confirm(child->status_fd);
        r = runtime_launch_result(child->status_fd, err);
    }
    close_fd(child->status_fd);
    return r;
}

static void warn(const char *message)
{
    report_warning("%s", message);
}

static void attempt_done(struct attempt *a)
{
    console_done(&a->console);
    close_fd(a->start_fd);
}

static int prepare(const struct oci_args *args, const struct container *c, const struct bundle *bundle,
                   bool two_phase, bool detached, struct attempt *a, struct err *err)
{
    _cleanup_free_ char *socket = container_start_socket(c);
    int r = console_open(args, bundle_wants_terminal(bundle), detached, &a->console, err);
    if (r == 0 && two_phase)
        r = file_listen_unix(socket, SOCK_STREAM, 0600, &a->start_fd, err);
    a->detached = detached;
    a->launch = (struct runtime_launch){
        .id = c->id,
        .spec = bundle->config,
        .root = bundle->rootfs,
        .stdio = {0, 1, 2},
        .tty = a->console.runtime_fd >= 0,
        .bundle = bundle->path,
        .preserve_fds = a->inherited,
        .no_pivot = args->no_pivot,
        .no_new_keyring = args->no_new_keyring,
        .mounts_in_place = in_place_wanted(bundle->config),
        .systemd_cgroup = args->systemd_cgroup || str_eq(args->cgroup_manager, "systemd"),
        .two_phase = two_phase,
        .start_fd = a->start_fd,
        .console_fd = a->console.runtime_fd,
        .plain_newlines = a->console.receive_fd >= 0,
        .confirmed = true,
        .warn = warn,
    };
    return r;
}

static int go(struct container *c, const struct bundle *bundle, struct attempt *a, struct err *err)
{
    struct cgroup *cgroup = NULL;
    struct runtime_child child;
    c->state = new_state(bundle, a);
    int r = resctrl_check(c->config, err);
    if (r == 0)
        r = runtime_launch(&a->launch, &cgroup, &child, err);
    if (r == -ERR_INVALID || r == -ERR_UNSUPPORTED)
        return err_wrap(err, "invalid configuration");
    if (r == 0)
        r = record(c, bundle, a, cgroup, &child, err);
    cgroup_free(cgroup);
    return r;
}

/* Whoever's hook was called while it was made is called when it is gone (runtime.md, "Lifecycle"). */
static bool has_begun(const struct container *c)
{
    static const char *const kinds[] = {"prestart", "createRuntime", "createContainer", "startContainer"};
    const json_t *hooks = json_object_get(c->config, "hooks");
    bool begun = c->pid > 0;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        begun |= json_array_size(json_object_get(hooks, kinds[i])) > 0;
    return begun;
}

int launch_container(const struct oci_args *args, const char *id, bool two_phase, bool detached,
                     struct container *ret, struct launched *ret_more, struct err *err)
{
    _cleanup_bundle_ struct bundle bundle = {0};
    _cleanup_container_ struct container c = CONTAINER_INIT;
    _cleanup_(attempt_done) struct attempt a = {.console = CONSOLE_INIT, .start_fd = -EBADF};
    int r = bundle_load(args->bundle, args->config, &bundle, err);
    if (r == 0)
        r = launch_inherited_fds(args, &a.inherited, json_object_get(bundle.config, "process"), err);
    if (r == 0)
        r = container_make(args, id, &c, err);
    if (r < 0)
        return r;
    c.config = json_incref(bundle.config);
    r = notify_prepare(&c, bundle.config, err);
    if (r == 0 && !two_phase)
        r = notify_listen(&c, &ret_more->notify_fd, err);
    if (r == 0)
        r = prepare(args, &c, &bundle, two_phase, detached, &a, err);
    if (r == 0 && a.launch.mounts_in_place)
        r = in_place_prepare(&c, bundle.rootfs, err);
    if (r == 0)
        r = go(&c, &bundle, &a, err);
    if (r == 0)
        r = console_receive(&a.console, &ret_more->master, err);
    if (r == 0)
        r = launch_write_pid(args->pid_file, c.pid, err);
    if (r == 0)
        r = send_pidfd(args, &c, err);
    if (r < 0) {
        struct err ignored;
        if (!has_begun(&c)) {
            json_decref(c.state);
            c.state = NULL;
        }
        launch_destroy(&c, true, &ignored);
        return r;
    }
    report_debug("container %s: process %d is set up", id, (int)c.pid);
    *ret = c;
    c = CONTAINER_INIT;
    return 0;
}

/* One by one: those behind one that fails run all the same. */
static void run_hook(struct container *c, const char *kind, json_t *hook, const json_t *state)
{
    struct err err = {0};
    _cleanup_json_ json_t *alone = json_pack("{s:{s:[O]}}", "hooks", kind, hook);
    if (!alone || runtime_run_hooks(alone, kind, state, &err) < 0)
        report_warning("%s hook of container %s: %s", kind, c->id, err.msg);
}

/* Of 1.3 and later, which has a poststart hook that fails end the container, as one of any other kind does.
 */
static bool poststart_must_work(const json_t *config)
{
    const char *minor = str_after(json_str(config, "ociVersion"), "1.");
    return minor && strtol(minor, NULL, 10) >= 3;
}

int launch_run_poststart(struct container *c, struct err *err)
{
    const json_t *config;
    if (container_config(c, &config, NULL) < 0 || !poststart_must_work(config)) {
        launch_run_hooks(c, "poststart", "running");
        return 0;
    }
    if (!json_array_size(json_object_get(json_object_get(config, "hooks"), "poststart")))
        return 0;
    _cleanup_json_ json_t *state = container_state_json(c, "running");
    return runtime_run_hooks(config, "poststart", state, err);
}

void launch_run_hooks(struct container *c, const char *kind, const char *status)
{
    const json_t *config;
    size_t i;
    json_t *hook;
    if (container_config(c, &config, NULL) < 0)
        return;
    const json_t *list = json_object_get(json_object_get(config, "hooks"), kind);
    if (!json_is_array(list) || json_array_size(list) == 0)
        return;
    _cleanup_json_ json_t *state = container_state_json(c, status);
    json_array_foreach (list, i, hook)
        run_hook(c, kind, hook, state);
}

/* The first process, and with it its pid namespace; then whatever else is in the cgroup. */
static void end_processes(struct container *c, struct cgroup *cgroup)
{
    if (c->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
    /* Who was frozen in a v1 group of somebody else's does not die there; back in its own it thaws. */
    if (cgroup && c->pidfd >= 0 && cgroup_host_version() != 2)
        cgroup_add_pid(cgroup, c->pid, NULL);
    if (cgroup)
        cgroup_kill(cgroup, SIGKILL, NULL);
    if (c->pid > 0)
        waitpid(c->pid, NULL, 0); /* when it is our own child */
    c->pid = 0;
}

void launch_end(struct container *c)
{
    struct cgroup *cgroup = container_cgroup(c);
    end_processes(c, cgroup);
    cgroup_free(cgroup);
}

int launch_destroy(struct container *c, bool force, struct err *err)
{
    struct cgroup *cgroup = container_cgroup(c);
    bool existed = c->state != NULL;
    end_processes(c, cgroup);
    int r = cgroup ? cgroup_remove(cgroup, err) : 0;
    cgroup_free(cgroup);
    if (r < 0) {
        /* Such as a process that somebody froze elsewhere, and that dies when it thaws. */
        err_wrap(err, "remove the cgroup of container %s", c->id);
        if (!force)
            return r;
        if (err->sys == EBUSY)
            report_warning(
                "the cgroup of container %s stays: %s: a process of it was killed and has not ended, "
                "such as one that is frozen elsewhere",
                c->id, strerror(EBUSY));
        else
            report_warning("%s", err->msg);
    }
    resctrl_remove(json_object_get(c->state, "resctrl"));
    const json_t *ignored;
    if (existed)
        container_config(c, &ignored, NULL); /* for the hooks, while it is there */
    in_place_undo(c);
    r = container_forget(c, err);
    if (r == 0 && existed)
        launch_run_hooks(c, "poststop", "stopped");
    return r;
}
