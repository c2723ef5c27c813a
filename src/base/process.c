#include "base/process.h"

#include "base/err.h"
#include "base/file.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { OUTPUT_MAX = 1 << 20 };

static _Noreturn void child_exec(const char *const *argv, int in, int out, int report)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(127);
    execvp(argv[0], (char *const *)argv);
    int sys = errno;
    ssize_t ignored _unused_ = write(report, &sys, sizeof(sys));
    _exit(127);
}

struct listener {
    process_sink_fn sink; /* or NULL */
    void *context;
    struct str *output;
};

/* Feeds `input` and gathers output until both ends are closed. */
static int converse(int *in, int out, const char *input, const struct listener *l, struct err *err)
{
    size_t left = input ? strlen(input) : 0;
    if (!left)
        *in = close_fd(*in);
    for (;;) {
        struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = *in, .events = POLLOUT}};
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            return err_sys(err, errno, "poll");
        }
        if (*in >= 0 && fds[1].revents) {
            ssize_t n = write(*in, input, left);
            if (n > 0) {
                input += n;
                left -= (size_t)n;
            }
            if (!left || (n < 0 && errno != EAGAIN && errno != EINTR))
                *in = close_fd(*in);
        }
        if (fds[0].revents) {
            char buffer[4096];
            ssize_t n = read(out, buffer, sizeof(buffer));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return 0;
            if (l->output->len < OUTPUT_MAX)
                str_addn(l->output, buffer, (size_t)n);
            int r = l->sink ? l->sink(l->context, buffer, (size_t)n, err) : 0;
            if (r < 0)
                return r;
        }
    }
}

static const char *last_line(struct str *s)
{
    while (s->len && s->data[s->len - 1] == '\n')
        str_truncate(s, s->len - 1);
    const char *text = str_get(s), *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

static int run(const char *const *argv, const char *input, const struct listener *l, struct err *err)
{
    int in[2], out[2], report[2];
    if (pipe2(in, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    if (pipe2(out, O_CLOEXEC) < 0) {
        close(in[0]), close(in[1]);
        return err_sys(err, errno, "pipe");
    }
    if (pipe2(report, O_CLOEXEC) < 0) {
        close(in[0]), close(in[1]), close(out[0]), close(out[1]);
        return err_sys(err, errno, "pipe");
    }
    pid_t pid = fork();
    if (pid == 0)
        child_exec(argv, in[0], out[1], report[1]);
    close(in[0]), close(out[1]), close(report[1]);
    _cleanup_close_ int in_w = in[1], out_r = out[0], report_r = report[0];
    if (pid < 0)
        return err_sys(err, errno, "fork");
    fcntl(in_w, F_SETFL, O_NONBLOCK);
    int r = converse(&in_w, out_r, input, l, err);
    int status, sys;
    if (r < 0 && l->sink)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (r < 0)
        return r;
    if (read(report_r, &sys, sizeof(sys)) == sizeof(sys))
        return err_sys(err, sys, "run %s", argv[0]);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, ERR_SYSTEM, "%s %s %d: %s", argv[0],
                       WIFEXITED(status) ? "exited with" : "died of signal",
                       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), last_line(l->output));
    return 0;
}

int process_run(const char *const *argv, const char *input, struct str *ret_output, struct err *err)
{
    _cleanup_str_ struct str output = STR_INIT;
    int r = run(argv, input, &(struct listener){.output = &output}, err);
    if (r == 0 && ret_output) {
        str_free(ret_output);
        *ret_output = output;
        output = (struct str)STR_INIT;
    }
    return r;
}

int process_run_into(const char *const *argv, process_sink_fn sink, void *context, struct err *err)
{
    _cleanup_str_ struct str output = STR_INIT;
    return run(argv, NULL, &(struct listener){.sink = sink, .context = context, .output = &output}, err);
}

int process_spawn_daemon(const char *const *argv, int in, const char *log_path, struct err *err)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        pid_t grandchild = fork();
        if (grandchild != 0)
            _exit(grandchild < 0);
        int null = in < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : fcntl(in, F_DUPFD_CLOEXEC, 10);
        int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        /* Everything that was inherited without CLOEXEC is ours by accident: it goes, but the report pipe. */
        int last = dup3(report[1], 3, O_CLOEXEC) < 0 ? report[1] : 3;
        if (log < 4 && log >= 0)
            log = fcntl(log, F_DUPFD_CLOEXEC, 10);
        for (int fd = 4; fd < 1024; fd++)
            if (fd != log && fd != null)
                fcntl(fd, F_SETFD, FD_CLOEXEC);
        child_exec(argv, null, log, last);
    }
    close(report[1]);
    _cleanup_close_ int report_r = report[0];
    if (pid < 0)
        return err_sys(err, errno, "fork");
    int status, sys;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (read(report_r, &sys, sizeof(sys)) == sizeof(sys))
        return err_sys(err, sys, "start %s", argv[0]);
    return 0;
}

int process_self_path(char **ret, struct err *err)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (n < 0)
        return err_sys(err, errno, "read /proc/self/exe");
    path[n] = '\0';
    *ret = mem_strdup(path);
    return 0;
}

bool process_stat(pid_t pid, struct process_stat *ret)
{
    enum { PARENT = 4, FLAGS = 9, START = 22, EXIT_CODE = 52 };
    enum { PF_FORKNOEXEC_ = 0x40 }; /* include/linux/sched.h; the field is part of the ABI since 2.6 */
    char path[40];
    _cleanup_str_ struct str text = STR_INIT;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (file_read(path, 4096, &text, NULL) < 0)
        return false;
    /* The name, second field, may hold spaces and parentheses (proc(5)). */
    const char *at = strrchr(str_get(&text), ')');
    if (!at || at[1] != ' ')
        return false;
    *ret = (struct process_stat){.state = at[2]};
    at += 2;
    for (int field = 4; (at = strchr(at + 1, ' ')); field++) {
        unsigned long long number = strtoull(at, NULL, 10);
        if (field == PARENT)
            ret->parent = (pid_t)number;
        else if (field == FLAGS)
            ret->executed = !(number & PF_FORKNOEXEC_);
        else if (field == START)
            ret->start = number;
        else if (field == EXIT_CODE)
            ret->exit_code = (int)number;
    }
    return ret->start != 0;
}

uint64_t process_start_time(pid_t pid)
{
    struct process_stat stat;
    return process_stat(pid, &stat) ? stat.start : 0;
}

bool process_in_user_namespace(void)
{
    static int known; /* 0: not looked yet. The answer stays true until the process enters another one. */
    int value = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!value) {
        _cleanup_str_ struct str text = STR_INIT;
        unsigned inside = 0, outside = 0, count = UINT32_MAX;
        if (file_read("/proc/self/uid_map", 4096, &text, NULL) == 0)
            (void)!sscanf(str_get(&text), "%u %u %u", &inside, &outside, &count);
        value = inside == 0 && outside == 0 && count == UINT32_MAX ? 1 : 2;
        __atomic_store_n(&known, value, __ATOMIC_RELAXED);
    }
    return value == 2;
}

uint32_t process_last_group(void)
{
    unsigned first, outside, count;
    uint64_t next = 0;
    _cleanup_file_ FILE *map = process_in_user_namespace() ? fopen("/proc/self/gid_map", "re") : NULL;
    while (map && fscanf(map, "%u %u %u", &first, &outside, &count) == 3 && first == next)
        next += count;
    return next && next < INT32_MAX ? (uint32_t)next - 1 : INT32_MAX;
}

/* --- the binary and containers --- */

enum { BINARY_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static int read_only_mount(int binary)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    int fd = open_tree(binary, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (fd >= 0 && mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        fd = close_fd(fd);
    return fd;
}

static int sealed_copy(int binary)
{
    _cleanup_close_ int fd = memfd_create("drover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    off_t at = 0;
    ssize_t n;
    if (fd < 0)
        return -1;
    while ((n = sendfile(fd, binary, &at, INT32_MAX)) > 0 || (n < 0 && errno == EINTR))
        ;
    if (n < 0 || fchmod(fd, 0555) < 0 || fcntl(fd, F_ADD_SEALS, BINARY_SEALS) < 0)
        return -1;
    return take_fd(&fd);
}

static bool guarded(int binary)
{
    struct statvfs fs;
    return fcntl(binary, F_GET_SEALS) >= BINARY_SEALS ||
           (fstatvfs(binary, &fs) == 0 && (fs.f_flag & ST_RDONLY));
}

int process_guard_binary(char *const *argv, struct err *err)
{
    _cleanup_close_ int binary = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (binary < 0)
        return err_sys(err, errno, "open /proc/self/exe");
    if (guarded(binary))
        return 0;
    _cleanup_close_ int safe = read_only_mount(binary);
    if (safe < 0)
        safe = sealed_copy(binary);
    if (safe >= 0)
        execveat(safe, "", argv, environ, AT_EMPTY_PATH);
    return err_sys(err, errno, "protect the binary from containers");
}
