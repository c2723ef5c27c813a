/* The helper: everything here runs in a fork of the keeper, and may wait. See foreign.h. */
#include "keeper/foreign_priv.h"

#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RUNTIME_PATIENCE_MS = 120 * 1000, /* a runtime that says nothing for so long is ended */
    TERMINAL_PATIENCE_MS = 10 * 1000,
    LOG_MAX_BYTES = 256 * 1024,
    MOUNTINFO_MAX_BYTES = 8 << 20,
    KEPT_MAX = 32,
};

/* --- becoming a helper --- */

/* The keeper's handlers write into its pipes. */
static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Everything but these: other containers' pipes must not be kept open by a helper that lasts. */
static void close_all_but(int *kept, size_t count)
{
    unsigned next = 3;
    qsort(kept, count, sizeof(*kept), by_value);
    for (size_t i = 0; i < count; i++) {
        if (kept[i] < (int)next)
            continue;
        if (kept[i] > (int)next)
            syscall(SYS_close_range, next, (unsigned)kept[i] - 1, 0);
        next = (unsigned)kept[i] + 1;
    }
    syscall(SYS_close_range, next, ~0U, 0);
}

/* Dies with the keeper: the next one clears up what is half-made. */
static int begin(int oom_score_adj, struct err *err)
{
    char text[16];
    reset_signals();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "prepare the runtime's helper");
    snprintf(text, sizeof(text), "%d", oom_score_adj);
    file_poke("/proc/self/oom_score_adj", text, NULL);
    if (unshare(CLONE_NEWNS) < 0)
        return err_sys(err, errno, "make a mount namespace");
    if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
        return err_sys(err, errno, "change the propagation of mounts");
    return 0;
}

/* On a host of v1 controllers with a v2 tree beside them ("hybrid") some runtimes (crun) take the tree to
 * have the controllers, and refuse. They do not see it. */
static int hide_unified(struct err *err)
{
    if (cgroup_host_version() != 1)
        return 0;
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read("/proc/self/mountinfo", MOUNTINFO_MAX_BYTES, &text, err);
    if (r < 0)
        return r;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        if (!strstr(*line, " - cgroup2 "))
            continue;
        _cleanup_strv_ char **words = strv_split(*line, ' ');
        if (strv_len(words) > 4 && umount2(words[4], MNT_DETACH) < 0)
            return err_sys(err, errno, "hide %s from the runtime", words[4]);
    }
    return 0;
}

/* --- running the runtime --- */

/* The last error the runtime has logged, as the specification's command line has it: JSON, a line each. */
static void read_log(const char *path, struct str *ret)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read(path, LOG_MAX_BYTES, &text, NULL) < 0)
        return;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        _cleanup_json_ json_t *entry = json_loads(*line, 0, NULL);
        const char *level = json_str(entry, "level");
        if (!*json_str(entry, "msg") || (*level && !str_eq(level, "error") && !str_eq(level, "fatal")))
            continue;
        str_truncate(ret, 0);
        str_add(ret, json_str(entry, "msg"));
    }
}

/* Docker's clients tell from the words what kind of failure it was, and so do its own exit codes. */
static enum err_code code_of(const char *text)
{
    static const struct {
        const char *words;
        enum err_code code;
    } table[] = {
        {"executable file not found", ERR_NOT_FOUND},
        {"executable file `", ERR_NOT_FOUND}, /* crun: executable file `x` not found in $PATH */
        {"no such file or directory", ERR_NOT_FOUND},
        {"No such file or directory", ERR_NOT_FOUND},
        {"ermission denied", ERR_DENIED},
        {"is a directory", ERR_DENIED},
        {"xec format error", ERR_DENIED},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (strstr(text, table[i].words))
            return table[i].code;
    return ERR_SYSTEM;
}

static int wait_for_exit(pid_t pid, int timeout_ms, int *ret_status)
{
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int n;
    do
        n = poll(&p, 1, timeout_ms);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return n == 0 ? -1 : 0;
}

/* The child of the helper, about to become the runtime. `stdio` NULL: none. That is an empty file rather than
 * the null device, which is the whole machine's: some runtimes give what they get to the container's user. */
static _Noreturn void become(char *const *argv, const int *stdio)
{
    int null = memfd_create("none", MFD_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    int from[3];
    for (int i = 0; i < 3; i++) {
        from[i] = fcntl(stdio ? stdio[i] : null, F_DUPFD_CLOEXEC, 3);
        if (from[i] < 0)
            _exit(127);
    }
    for (int i = 0; i < 3; i++)
        dup2(from[i], i);
    execv(argv[0], argv);
    _exit(127);
}

/* `words` follow the options that all commands share. */
static int call(const struct foreign *f, const int *stdio, const char *const *words, struct err *err)
{
    _cleanup_strv_ char **argv = NULL;
    _cleanup_free_ char *log = str_printf("%s/log", f->bundle);
    const char *const shared[] = {"--root", f->state, "--log", log, "--log-format", "json", NULL};
    strv_add(&argv, f->path);
    STRV_FOREACH (arg, f->args)
        strv_add(&argv, *arg);
    for (const char *const *word = shared; *word; word++)
        strv_add(&argv, *word);
    for (const char *const *word = words; *word; word++)
        strv_add(&argv, *word);
    unlink(log);
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(err, errno, "fork");
    if (pid == 0)
        become(argv, stdio);
    int status = 0;
    if (wait_for_exit(pid, RUNTIME_PATIENCE_MS, &status) < 0)
        return err_set(err, ERR_TIMEOUT, "the runtime %s did not finish `%s` within %d s", f->path, words[0],
                       RUNTIME_PATIENCE_MS / 1000);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    _cleanup_str_ struct str said = STR_INIT;
    read_log(log, &said);
    if (said.len)
        return err_set(err, code_of(str_get(&said)), "OCI runtime %s failed: %s", words[0], str_get(&said));
    if (access(f->path, X_OK) < 0)
        return err_set(err, ERR_SYSTEM, "OCI runtime %s cannot be executed any more", f->path);
    return err_set(err, ERR_SYSTEM, "OCI runtime %s failed: %s ended with %s %d and said nothing", words[0],
                   f->path, WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static int read_pid(const char *path, pid_t *ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int64_t pid;
    int r = file_read(path, 64, &text, err);
    if (r < 0)
        return err_wrap(err, "the runtime's pid file");
    _cleanup_free_ char *number = mem_strdup(str_strip(str_get(&text)));
    r = parse_i64(number, 2, INT32_MAX, &pid, err);
    if (r < 0)
        return err_wrap(err, "the runtime's pid file");
    *ret = (pid_t)pid;
    return 0;
}

/* --- the terminal: the runtime makes it and sends its master to a socket of ours --- */

static int take_terminal(int listener, int *ret_fd, struct err *err)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    if (poll(&p, 1, TERMINAL_PATIENCE_MS) <= 0)
        return err_set(err, ERR_TIMEOUT, "the runtime did not send the terminal");
    _cleanup_close_ int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection < 0)
        return err_sys(err, errno, "accept the terminal");
    char name[4096];
    size_t count = 0;
    ssize_t n = file_recv_fds(connection, name, sizeof(name), ret_fd, 1, &count, err);
    if (n < 0)
        return (int)n;
    return count ? 0 : err_set(err, ERR_PROTOCOL, "the runtime sent no terminal");
}

/* --- what to run --- */

static int add_namespace_path(json_t *entry, const struct foreign_job *job, int *userns_fd, struct err *err)
{
    const char *number = str_after(json_str(entry, "path"), "fd:");
    int64_t n;
    if (!number)
        return 0;
    int r = parse_i64(number, 0, (int64_t)job->launch->fd_count - 1, &n, err);
    if (r < 0)
        return err_wrap(err, "namespace path \"%s\"", json_str(entry, "path"));
    int fd = job->launch->fds[n];
    if (str_eq(json_str(entry, "type"), "user"))
        *userns_fd = fd;
    _cleanup_free_ char *path = str_printf("/proc/%d/fd/%d", (int)getpid(), fd);
    json_set_str(entry, "path", path);
    return 0;
}

static int write_json(const char *path, const json_t *value, struct err *err)
{
    _cleanup_free_ char *text = json_format(value);
    return file_replace(path, text, strlen(text), 0600, false, err);
}

static int write_config(const struct foreign_job *job, const char *root, struct err *err)
{
    _cleanup_json_ json_t *spec = json_deep_copy(job->launch->spec);
    _cleanup_free_ char *path = str_printf("%s/config.json", job->f->bundle);
    json_t *linux_ = json_object_get(spec, "linux"), *entry;
    size_t i;
    int userns_fd = -EBADF;
    json_set_str(spec, "ociVersion", "1.0.2"); /* of those in use, some refuse what is newer than they are */
    json_set_str(json_object_get(spec, "root"), "path", root);
    json_set_str(linux_, "cgroupsPath", job->f->cgroup);
    json_array_foreach (json_object_get(linux_, "namespaces"), i, entry) {
        int r = add_namespace_path(entry, job, &userns_fd, err);
        if (r < 0)
            return r;
    }
    int r = userns_fd >= 0 ? foreign__map_mounts(spec, userns_fd, err) : 0;
    return r < 0 ? r : write_json(path, spec, err);
}

/* --- create and exec --- */

struct work {
    const struct foreign_job *job;
    const struct foreign *f;
    char *pid_file, *process_file, *socket;
    char *short_socket; /* the same through a descriptor: a socket's address has 107 bytes */
    int bundle_fd, listener, terminal;
};

static int say(const struct work *w, enum foreign_said said, pid_t pid, const struct err *reason)
{
    struct foreign_message m = {.said = said, .pid = pid};
    if (reason)
        m.err = *reason;
    int fd = w->terminal;
    return file_send_fds(w->job->status_fd, &m, sizeof(m), &fd, said == FOREIGN_PID && fd >= 0, NULL) < 0 ? -1
                                                                                                          : 0;
}

/* Until the keeper holds the process. */
static int wait_for_go(const struct work *w, struct err *err)
{
    char go;
    ssize_t n;
    do
        n = recv(w->job->status_fd, &go, 1, 0);
    while (n < 0 && errno == EINTR);
    return n == 1 ? 0 : err_set(err, ERR_CANCELLED, "the keeper has given up the launch");
}

static int open_terminal_socket(struct work *w, struct err *err)
{
    if (!w->job->launch->tty)
        return 0;
    w->bundle_fd = open(w->f->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->bundle_fd < 0)
        return err_sys(err, errno, "open %s", w->f->bundle);
    w->short_socket = str_printf("/proc/%d/fd/%d/%d.sock", (int)getpid(), w->bundle_fd, (int)getpid());
    return file_listen_unix(w->socket, SOCK_STREAM, 0600, &w->listener, err);
}

static int hand_over(struct work *w, struct err *err)
{
    pid_t pid;
    int r = w->listener >= 0 ? take_terminal(w->listener, &w->terminal, err) : 0;
    if (r == 0)
        r = read_pid(w->pid_file, &pid, err);
    if (r == 0 && say(w, FOREIGN_PID, pid, NULL) < 0)
        r = err_set(err, ERR_CANCELLED, "the keeper has gone");
    return r < 0 ? r : wait_for_go(w, err);
}

static void forget(const struct foreign *f, struct err *err)
{
    const char *const words[] = {"delete", "--force", f->c->id, NULL};
    call(f, NULL, words, err);
}

static int create(struct work *w, struct err *err)
{
    const struct foreign *f = w->f;
    _cleanup_free_ char *old = str_printf("%s/%s", f->state, f->c->id);
    if (file_exists(old))
        forget(f, NULL);
    struct runtime_launch launch = *w->job->launch;
    int r = launch.root_ready ? foreign__open_places(&launch, err) : 0;
    if (r == 0)
        r = runtime_mount_root(&launch, err);
    if (r == 0)
        r = write_config(w->job, launch.root, err);
    if (r < 0)
        return r;
    const char *words[16] = {"create", "--bundle", f->bundle, "--pid-file", w->pid_file};
    size_t n = 5;
    if (w->listener >= 0) {
        words[n++] = "--console-socket";
        words[n++] = w->short_socket;
    }
    words[n++] = f->c->id;
    r = call(f, w->listener >= 0 ? NULL : w->job->launch->stdio, words, err);
    if (r == 0)
        r = hand_over(w, err);
    const char *const start[] = {"start", f->c->id, NULL};
    if (r == 0)
        r = call(f, NULL, start, err);
    if (r < 0)
        forget(f, NULL);
    return r;
}

static int exec(struct work *w, struct err *err)
{
    int r = write_json(w->process_file, w->job->process, err);
    if (r < 0)
        return r;
    const char *words[16] = {"exec", "--detach", "--process", w->process_file, "--pid-file", w->pid_file};
    size_t n = 6;
    if (w->listener >= 0) {
        words[n++] = "--console-socket";
        words[n++] = w->short_socket;
    }
    words[n++] = w->f->c->id;
    r = call(w->f, w->listener >= 0 ? NULL : w->job->launch->stdio, words, err);
    return r < 0 ? r : hand_over(w, err);
}

static void keep_needed(const struct foreign_job *job)
{
    const struct runtime_launch *l = job->launch;
    int kept[KEPT_MAX] = {job->status_fd, l->stdio[0], l->stdio[1], l->stdio[2]};
    size_t count = 4;
    if (l->root_ready)
        kept[count++] = l->root_fd;
    for (size_t i = 0; i < l->fd_count && count < KEPT_MAX; i++)
        kept[count++] = l->fds[i];
    close_all_but(kept, count);
}

_Noreturn void foreign__launch_main(const struct foreign_job *job)
{
    struct err err = {0};
    struct work w = {.job = job,
                     .f = job->f,
                     .pid_file = str_printf("%s/%d.pid", job->f->bundle, (int)getpid()),
                     .process_file = str_printf("%s/%d.json", job->f->bundle, (int)getpid()),
                     .socket = str_printf("%s/%d.sock", job->f->bundle, (int)getpid()),
                     .bundle_fd = -EBADF,
                     .listener = -EBADF,
                     .terminal = -EBADF};
    keep_needed(job);
    int r = begin(job->oom_score_adj, &err);
    if (r == 0)
        r = hide_unified(&err);
    if (r == 0)
        r = open_terminal_socket(&w, &err);
    if (r == 0)
        r = job->process ? exec(&w, &err) : create(&w, &err);
    say(&w, r < 0 ? FOREIGN_FAILED : FOREIGN_DONE, 0, r < 0 ? &err : NULL);
    unlink(w.pid_file);
    unlink(w.process_file);
    unlink(w.socket);
    _exit(r < 0);
}

_Noreturn void foreign__delete_main(const struct foreign *f)
{
    struct err err = {0};
    int none = -1;
    close_all_but(&none, 0);
    int r = begin(0, &err);
    if (r == 0)
        r = hide_unified(&err);
    if (r == 0)
        forget(f, &err);
    if (err.code)
        dprintf(2, "%s: %s\n", f->c->id, err.msg);
    file_remove_tree(f->bundle, NULL);
    _exit(err.code != 0);
}
