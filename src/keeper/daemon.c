#include "keeper/keeper.h"

#include "base/file.h"
#include "base/json_arena.h"
#include "base/log.h"
#include "base/process.h"
#include "base/timeutil.h"
#include "keeper/daemon.h"
#include "keeper/foreign.h"
#include "keeper/holder.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int signal_pipe = -EBADF;

/* Handlers rather than blocked or ignored signals: those would be inherited by every container. */
static void on_signal(int signal)
{
    char c = (char)signal;
    int saved = errno;
    ssize_t ignored _unused_ = write(signal_pipe, &c, 1);
    errno = saved;
}

static void on_nothing(int signal)
{
}

static void count_unfinished(struct process *p, void *context)
{
    if (p->state != PROCESS_EXITED)
        ++*(size_t *)context;
}

static void signals_ready(struct watch *w, uint32_t events)
{
    struct daemon *d = OWNER(w, struct daemon, signals);
    char c;
    while (read(w->fd, &c, 1) == 1)
        ;
    size_t running = 0;
    daemon_each_process(d, count_unfinished, &running);
    if (running) {
        log_warning("asked to end, but %zu processes are running: ignored", running);
        return;
    }
    log_info("asked to end");
    d->loop.stop = true;
}

static int watch_signals(struct daemon *d, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_sys(err, errno, "pipe");
    signal_pipe = ends[1];
    watch_start(&d->loop, &d->signals, ends[0], EPOLLIN, signals_ready);
    struct sigaction end = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction nothing = {.sa_handler = on_nothing, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGHUP, &nothing, NULL);
    sigaction(SIGPIPE, &nothing, NULL);
    return 0;
}

static void tick_one(struct process *p, void *context)
{
    attach_check_stalls(p, *(const int64_t *)context);
    if (p->state == PROCESS_ENDING) {
        p->c->d->loop.tick_wanted = true;
        proc_conclude_if_done(p);
    }
}

/* One that nobody came for, or comes for any more, and that holds nothing, is of no use: of two that were
 * started at once on a slow machine, the second may come up after the first has ended. Who comes now starts
 * another. */
static void end_if_idle(struct daemon *d, int64_t now)
{
    if (d->clients || d->containers.count) {
        d->idle_since_ns = 0;
        return;
    }
    d->loop.tick_wanted = true;
    if (!d->idle_since_ns)
        d->idle_since_ns = now;
    if (now - d->idle_since_ns < IDLE_SECONDS * NS_PER_S)
        return;
    log_info("ends: it holds nothing, and nobody has come for %d s", IDLE_SECONDS);
    d->loop.stop = true;
}

static void tick(struct loop *l)
{
    int64_t now = time_monotonic_ns();
    struct daemon *d = OWNER(l, struct daemon, loop);
    daemon_each_process(d, tick_one, &now);
    end_if_idle(d, now);
    if (d->children.fd >= 0)
        foreign_reap_strays(d);
}

static void listener_ready(struct watch *w, uint32_t events)
{
    keeper__clients_accept(OWNER(w, struct daemon, listener));
}

/* The last to be killed when memory is short: with it go the exit codes and the output of all. */
static void protect(struct daemon *d)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read("/proc/self/oom_score_adj", 64, &text, NULL) == 0)
        d->oom_score_adj = (int)strtol(str_get(&text), NULL, 10);
    if (file_poke("/proc/self/oom_score_adj", "-999", NULL) < 0)
        log_debug("not protected from the out-of-memory killer: no CAP_SYS_RESOURCE");
    if (getrlimit(RLIMIT_NOFILE, &d->nofile) == 0) {
        struct rlimit all = {d->nofile.rlim_max, d->nofile.rlim_max};
        setrlimit(RLIMIT_NOFILE, &all);
    }
}

/* What one image of the process leaves to the next. */
struct inherited {
    int lock_fd, listen_fd, oom_score_adj;
    rlim_t nofile;
};

int daemon_execute(struct daemon *d, int binary_fd, struct err *err)
{
    _cleanup_free_ char *given = str_printf("%d,%d,%d,%llu", d->lock_fd, d->listener.fd, d->oom_score_adj,
                                            (unsigned long long)d->nofile.rlim_cur);
    char *argv[] = {
        (char *)"drover", (char *)"keeper", (char *)"--root", d->root, (char *)"--inherit", given, NULL};
    log_info("replaced by another binary");
    starters_end(d);
    fcntl(d->lock_fd, F_SETFD, 0);
    fcntl(d->listener.fd, F_SETFD, 0);
    execveat(binary_fd, "", argv, environ, AT_EMPTY_PATH);
    int sys = errno;
    fcntl(d->lock_fd, F_SETFD, FD_CLOEXEC);
    fcntl(d->listener.fd, F_SETFD, FD_CLOEXEC);
    return err_sys(err, sys, "execute the new binary");
}

static bool parse_inherited(const char *text, struct inherited *ret)
{
    unsigned long long nofile;
    if (sscanf(text, "%d,%d,%d,%llu", &ret->lock_fd, &ret->listen_fd, &ret->oom_score_adj, &nofile) != 4)
        return false;
    ret->nofile = nofile;
    return fcntl(ret->lock_fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(ret->listen_fd, F_SETFD, FD_CLOEXEC) == 0;
}

/* Whoever starts a keeper has the other end of a pipe, our stdin, until it has one, which may be another. */
static bool is_wanted(void)
{
    struct stat st;
    struct pollfd p = {.fd = STDIN_FILENO};
    return fstat(STDIN_FILENO, &st) < 0 || !S_ISFIFO(st.st_mode) || poll(&p, 1, 0) <= 0 ||
           !(p.revents & POLLHUP);
}

static int open_daemon(struct daemon *d, const char *root, const struct inherited *before, struct err *err)
{
    d->root = mem_strdup(root);
    d->instance = time_now_ns();
    d->dir = str_printf("%s/keeper", root);
    d->burst = mem_new(BURST_BYTES);
    /* Not what is above: a keeper that comes up late must not make a root anew that was removed. */
    if (mkdir(d->dir, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make %s", d->dir);
    int r = 0;
    _cleanup_free_ char *lock = str_printf("%s/keeper.lock", d->dir);
    _cleanup_free_ char *socket = str_printf("%s/keeper.sock", d->dir);
    if (before)
        d->lock_fd = before->lock_fd;
    else
        r = file_lock(lock, &d->lock_fd, err);
    /* Asked when no other can be the keeper any more: else one could be found and end in between. */
    if (r == 0 && !before && !is_wanted()) {
        log_info("ends: whoever started it has found another");
        r = -ERR_CONFLICT;
    }
    if (r == 0)
        r = loop_init(&d->loop, err);
    if (r == 0)
        r = watch_signals(d, err);
    if (r < 0)
        return r;
    d->loop.tick = tick;
    d->loop.tick_wanted = true; /* until a client is there */
    protect(d);
    if (before) {
        d->oom_score_adj = before->oom_score_adj;
        d->nofile.rlim_cur = before->nofile;
    }
    record_load_all(d);
    int fd = before ? before->listen_fd : -EBADF;
    if (!before)
        r = file_listen_unix(socket, SOCK_SEQPACKET, 0600, &fd, err);
    if (r < 0)
        return r;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    watch_start(&d->loop, &d->listener, fd, EPOLLIN, listener_ready);
    return 0;
}

static void close_daemon(struct daemon *d)
{
    /* The socket's file goes first, so that who comes now starts another keeper. */
    _cleanup_free_ char *socket = str_printf("%s/keeper.sock", d->dir);
    if (d->listener.fd >= 0)
        unlink(socket);
    keeper__clients_drop_all(d);
    starters_end(d);
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&d->containers, &i));)
        container_free(e->value);
    map_done(&d->containers);
    watch_close(&d->loop, &d->listener);
    watch_close(&d->loop, &d->signals);
    watch_close(&d->loop, &d->children);
    signal_pipe = close_fd(signal_pipe);
    loop_done(&d->loop);
    free(d->burst);
    free(d->dir);
    free(d->root);
    close_fd(d->lock_fd);
}

int keeper_main(int argc, char **argv)
{
    log_init("keeper", LOG_LEVEL_INFO);
    struct inherited inherited;
    bool again = argc == 5 && str_eq(argv[3], "--inherit") && parse_inherited(argv[4], &inherited);
    if ((argc != 3 && !again) || !str_eq(argv[1], "--root")) {
        fprintf(stderr, "usage: drover keeper --root DIRECTORY\n");
        return 2;
    }
    struct err guard_err = {0};
    /* What is inherited must outlive this execve, too. */
    for (int i = 0; again && i < 2; i++)
        fcntl(i ? inherited.listen_fd : inherited.lock_fd, F_SETFD, 0);
    if (process_guard_binary((char *[]){(char *)"drover", argv[0], argv[1], argv[2], again ? argv[3] : NULL,
                                        again ? argv[4] : NULL, NULL},
                             &guard_err) < 0)
        log_error("%s", guard_err.msg);
    if (again)
        parse_inherited(argv[4], &inherited);
    _cleanup_free_ char *records = str_printf("%s/keeper", argv[2]);
    if (!again && holder_start(records, &guard_err) < 0)
        log_error("exit codes of containers that outlive this keeper will not be known: %s", guard_err.msg);
    prctl(PR_SET_NAME, "drover-keeper");
    /* One thread, many small objects: what is freed goes back. */
    mallopt(M_TRIM_THRESHOLD, 64 * 1024);
    mallopt(M_MMAP_THRESHOLD, 64 * 1024);
    mallopt(M_MXFAST, 0); /* what is freed is joined at once, not all over the heap at the next large block */
    json_arena_use();
    runtime_shared_defaults(); /* before there are holes for it in the heap: see base/json_arena.h */
    struct daemon d = {.lock_fd = -EBADF,
                       .listener = WATCH_NONE,
                       .signals = WATCH_NONE,
                       .children = WATCH_NONE,
                       .loop.epoll_fd = -EBADF};
    starters_init(&d);
    struct err err = {0};
    int r = open_daemon(&d, argv[2], again ? &inherited : NULL, &err);
    if (r == 0)
        loop_run(&d.loop);
    else if (r == -ERR_CONFLICT)
        r = 0; /* another was faster: whoever started us finds it */
    else
        log_error("%s", err.msg);
    close_daemon(&d);
    return r < 0 ? err_exit_code(r) : 0;
}
