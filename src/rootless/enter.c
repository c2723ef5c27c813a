/* The user's side: where an instance is, entering it, and asking its uplink. */
#include "rootless/rootless_priv.h"

#include "base/file.h"
#include "base/process.h"
#include "base/timeutil.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_SECONDS = 30, REPLACEMENT_TRIES = 50 };

char *rootless__path(const char *root, const char *name)
{
    return str_printf("%s/rootless/%s", root, name);
}

static const char *home(void)
{
    const char *dir = getenv("HOME");
    return dir && *dir == '/' ? dir : NULL;
}

char *rootless_default_root(void)
{
    const char *data = getenv("XDG_DATA_HOME");
    if (geteuid() == 0 || (!home() && str_empty(data)))
        return mem_strdup("/var/lib/drover");
    return data && *data == '/' ? str_printf("%s/drover", data)
                                : str_printf("%s/.local/share/drover", home());
}

char *rootless_default_socket(void)
{
    const char *run = getenv("XDG_RUNTIME_DIR");
    if (geteuid() == 0)
        return mem_strdup("/run/drover.sock");
    return run && *run == '/' ? str_printf("%s/drover.sock", run)
                              : str_printf("/run/user/%u/drover.sock", geteuid());
}

bool rootless_inside(const char *root)
{
    _cleanup_free_ char *path = rootless__path(root, "uplink.sock");
    return process_in_user_namespace() && file_exists(path);
}

/* --- the uplink's socket: one request a connection; "ok", or "CODE ERRNO TEXT" --- */

static int take_answer(char *answer, struct err *err)
{
    char *at;
    long code = strtol(answer, &at, 10);
    if (str_eq(answer, "ok"))
        return 0;
    long sys = strtol(at, &at, 10);
    if (code <= 0 || code >= ERR_MAX_ || *at != ' ')
        return err_set(err, ERR_PROTOCOL, "what listens on the uplink's socket is no uplink");
    int r = err_set(err, (enum err_code)code, "%s", at + 1);
    if (err)
        err->sys = (int)sys;
    return r;
}

static int ask(const char *root, const char *request, int *ret_fd, struct err *err)
{
    char answer[ROOTLESS_MESSAGE_BYTES];
    _cleanup_free_ char *path = rootless__path(root, "uplink.sock");
    _cleanup_close_ int fd = -EBADF;
    int r = file_connect_unix(path, SOCK_SEQPACKET, &fd, err);
    if (r < 0)
        return r;
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    int got = -EBADF;
    size_t count = 0;
    ssize_t n = file_send_fds(fd, request, strlen(request), NULL, 0, err);
    if (n >= 0)
        n = file_recv_fds(fd, answer, sizeof(answer) - 1, &got, 1, &count, err);
    _cleanup_close_ int holder = count ? got : -EBADF;
    if (n <= 0)
        return n < 0 ? (int)n : err_set(err, ERR_UNAVAILABLE, "the uplink closed the connection");
    answer[n] = '\0';
    r = take_answer(answer, err);
    if (r < 0 || !ret_fd)
        return r;
    if (holder < 0)
        return err_set(err, ERR_PROTOCOL, "the uplink sent no namespaces");
    *ret_fd = take_fd(&holder);
    return 0;
}

/* For a request that may be repeated: an uplink that has died is replaced in a moment. */
static int ask_again(const char *root, const char *request, struct err *err)
{
    int r = ask(root, request, NULL, err);
    for (int i = 0; (r == -ERR_NOT_FOUND || r == -ERR_UNAVAILABLE) && i < REPLACEMENT_TRIES; i++) {
        time_sleep_ns(100 * NS_PER_MS);
        r = ask(root, request, NULL, err);
    }
    if (r == -ERR_NOT_FOUND || r == -ERR_UNAVAILABLE)
        return err_set(err, ERR_UNAVAILABLE,
                       "the uplink of %s is not running; start drover serve again, which starts it", root);
    return r;
}

int rootless_port_add(const char *root, const char *protocol, const char *host_ip, uint16_t port,
                      struct err *err)
{
    _cleanup_free_ char *request =
        str_printf("add %s %s %u", protocol, str_empty(host_ip) ? "0.0.0.0" : host_ip, port);
    return ask_again(root, request, err);
}

int rootless_port_remove(const char *root, const char *protocol, uint16_t port, struct err *err)
{
    _cleanup_free_ char *request = str_printf("remove %s - %u", protocol, port);
    return ask_again(root, request, err);
}

int rootless_end(const char *root, struct err *err)
{
    int r = ask(root, "end", NULL, err);
    if (r == -ERR_NOT_FOUND || r == -ERR_UNAVAILABLE)
        return 0;
    return r;
}

/* --- starting it --- */

static _Noreturn void uplink_exec(const char *root, const char *log_path, int report)
{
    _cleanup_free_ char *binary = NULL;
    setsid();
    pid_t grandchild = fork();
    if (grandchild != 0)
        _exit(grandchild < 0);
    int high = fcntl(report, F_DUPFD_CLOEXEC, 10);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (high < 0 || null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
        dup2(high, ROOTLESS_REPORT_FD) < 0)
        _exit(1);
    syscall(SYS_close_range, ROOTLESS_REPORT_FD + 1, ~0U, 0);
    if (process_self_path(&binary, NULL) == 0)
        execl(binary, "drover", "rootless", "--root", root, (char *)NULL);
    _exit(1);
}

/* The uplink writes "ok" or a struct err to its descriptor 3 and closes it. */
static int uplink_start(const char *root, struct err *err)
{
    int ends[2];
    _cleanup_free_ char *dir = rootless__path(root, ""), *log = rootless__path(root, "log");
    int r = file_mkdirs(dir, 0700, err);
    if (r < 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    pid_t pid = fork();
    if (pid == 0)
        uplink_exec(root, log, ends[1]);
    close(ends[1]);
    _cleanup_close_ int report = ends[0];
    if (pid < 0)
        return err_sys(err, errno, "fork");
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    struct err said;
    ssize_t n = file_read_full(report, &said, sizeof(said), err);
    if (n == (ssize_t)sizeof(said))
        return said.code == ERR_NONE ? 0 : err_copy(err, &said);
    return n < 0 ? (int)n : err_set(err, ERR_SYSTEM, "the uplink could not be started; see %s", log);
}

static int uplink_join(const char *root, bool make, int *ret_holder, struct err *err)
{
    int64_t deadline = time_monotonic_ns() + ANSWER_SECONDS * NS_PER_S;
    for (;;) {
        int r = ask(root, "join", ret_holder, err);
        if (r != -ERR_NOT_FOUND && r != -ERR_UNAVAILABLE)
            return r;
        if (!make)
            return r;
        r = uplink_start(root, err);
        /* Another one is being started, whose answer is as good. */
        if (r < 0 && (r != -ERR_CONFLICT || time_monotonic_ns() > deadline))
            return r;
        if (r < 0)
            time_sleep_ns(20 * NS_PER_MS);
    }
}

/* --- entering --- */

int rootless_enter(const char *root, bool make, char *const *argv, struct err *err)
{
    _cleanup_close_ int holder = -EBADF;
    int r = make ? file_mkdirs(root, 0700, err) : 0;
    if (r == 0)
        r = uplink_join(root, make, &holder, err);
    if (!make && (r == -ERR_NOT_FOUND || r == -ERR_UNAVAILABLE))
        return 0;
    if (r < 0)
        return err_wrap(err, "run without root");
    _cleanup_free_ char *cwd = getcwd(NULL, 0), *binary = NULL;
    r = process_self_path(&binary, err);
    if (r < 0)
        return r;
    if (setns(holder, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) < 0)
        return err_sys(err, errno, "enter the namespaces of %s", root);
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return err_sys(err, errno, "become root of the user namespace");
    if (!cwd || chdir(cwd) < 0)
        (void)!chdir("/");
    holder = close_fd(holder);
    rootless__join_cgroup();
    execv(binary, argv);
    return err_sys(err, errno, "execute %s", binary);
}
