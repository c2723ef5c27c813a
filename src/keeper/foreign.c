#include "keeper/foreign.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "keeper/foreign_priv.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUNTIME_FILE_MAX = 64 * 1024 };

/* --- children that nobody waits for --- */

/* A subreaper gets every orphan below it: helpers' runtimes, and what a container without a pid namespace of
 * its own leaves behind. */
static int child_event = -EBADF;

static void on_child(int signal)
{
    uint64_t one = 1;
    int saved = errno;
    ssize_t ignored _unused_ = write(child_event, &one, sizeof(one));
    errno = saved;
}

struct search {
    pid_t pid;
    bool found;
};

static void compare_pid(struct process *p, void *context)
{
    struct search *s = context;
    s->found |= (p->pidfd.fd >= 0 && p->pid == s->pid) || (p->launching && p->launching->pid == s->pid);
}

bool daemon_knows(struct daemon *d, pid_t pid)
{
    struct search s = {.pid = pid, .found = starters_know(d, pid)};
    struct map_entry *e;
    daemon_each_process(d, compare_pid, &s);
    for (size_t i = 0; !s.found && (e = map_next(&d->containers, &i));) {
        const struct container *c = e->value;
        s.found = c->foreign && c->foreign->deleter == pid;
    }
    return s.found;
}

void foreign_reap_strays(struct daemon *d)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || !info.si_pid)
            return;
        if (daemon_knows(d, info.si_pid)) {
            /* Its own watch reaps it; others may stand behind it in the queue. */
            d->loop.tick_wanted = true;
            return;
        }
        waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
    }
}

static void child_event_ready(struct watch *w, uint32_t events)
{
    struct daemon *d = OWNER(w, struct daemon, children);
    uint64_t count;
    ssize_t ignored _unused_ = read(w->fd, &count, sizeof(count));
    foreign_reap_strays(d);
}

static int become_subreaper(struct daemon *d, struct err *err)
{
    if (d->children.fd >= 0)
        return 0;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return err_sys(err, errno, "make an eventfd");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
        close_fd(fd);
        return err_sys(err, errno, "become a child subreaper");
    }
    watch_start(&d->loop, &d->children, fd, EPOLLIN, child_event_ready);
    child_event = d->children.fd;
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigaction(SIGCHLD, &action, NULL);
    return 0;
}

/* --- a container --- */

void foreign_free(struct foreign *f)
{
    if (!f)
        return;
    watch_close(&f->c->d->loop, &f->deletion);
    strv_free(f->args);
    free(f->path);
    free(f->bundle);
    free(f->state);
    free(f->cgroup);
    loop_bury(&f->c->d->loop, f);
}

static struct foreign *foreign_make(struct container *c, const char *path, char **args)
{
    struct foreign *f = NEW(struct foreign);
    f->c = c;
    f->path = mem_strdup(path);
    f->args = args;
    f->bundle = str_printf("%s/foreign/%s", c->d->dir, c->id);
    f->state = str_printf("%s/foreign/state", c->d->dir);
    f->deletion = WATCH_NONE;
    return f;
}

static int write_runtime(const struct foreign *f, struct err *err)
{
    _cleanup_json_ json_t *doc = json_pack("{s:s, s:o}", "path", f->path, "args", json_of_strv(f->args));
    _cleanup_free_ char *text = doc ? json_format(doc) : mem_strdup("");
    _cleanup_free_ char *file = str_printf("%s/runtime.json", f->bundle);
    return file_replace(file, text, strlen(text), 0600, false, err);
}

int foreign_new(struct container *c, const struct keeper_runtime *runtime, struct err *err)
{
    char **args = NULL;
    for (const char *const *arg = runtime->args; arg && *arg; arg++)
        strv_add(&args, *arg);
    struct foreign *f = c->foreign = foreign_make(c, runtime->path, args);
    int r = become_subreaper(c->d, err);
    if (r == 0 && access(f->path, X_OK) < 0)
        r = err_set(err, ERR_UNAVAILABLE, "the OCI runtime %s cannot be executed: %s", f->path,
                    errno == ENOENT ? "it is not installed" : "it is no program");
    if (r == 0)
        r = file_mkdirs(f->bundle, 0700, err);
    if (r == 0)
        r = file_mkdirs(f->state, 0700, err);
    return r < 0 ? r : write_runtime(f, err);
}

void foreign_load(struct container *c)
{
    _cleanup_free_ char *file = str_printf("%s/foreign/%s/runtime.json", c->d->dir, c->id);
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *doc = NULL;
    struct err err;
    char **args = NULL;
    if (file_read(file, RUNTIME_FILE_MAX, &text, NULL) < 0)
        return;
    if (json_parse(str_get(&text), text.len, file, &doc, &err) < 0 ||
        json_get_strv(doc, "", "args", &args, &err) < 0 || become_subreaper(c->d, &err) < 0) {
        log_error("%s: %s", c->id, err.msg);
        return;
    }
    c->foreign = foreign_make(c, json_str(doc, "path"), args);
}

/* --- launching --- */

/* fork with a pidfd. */
static pid_t fork_helper(int *ret_pidfd)
{
    struct clone_args args = {
        .flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)ret_pidfd, .exit_signal = SIGCHLD};
    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static int start_helper(struct process *p, struct foreign_job *job, struct runtime_child *ret,
                        struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "make a socket pair");
    _cleanup_close_ int ours = pair[0], theirs = pair[1];
    job->status_fd = theirs;
    job->oom_score_adj = p->c->d->oom_score_adj;
    int pidfd = -EBADF;
    pid_t pid = fork_helper(&pidfd);
    if (pid < 0)
        return err_sys(err, errno, "fork");
    if (pid == 0)
        foreign__launch_main(job);
    fcntl(ours, F_SETFL, O_NONBLOCK);
    p->launching = NEW(struct foreign_launch);
    *p->launching = (struct foreign_launch){.pidfd = -EBADF};
    *ret = (struct runtime_child){.pid = pid, .pidfd = pidfd, .status_fd = take_fd(&ours)};
    return 0;
}

/* Where runtime/cgroup.h would put it: all groups are below one of ours. */
static char *cgroup_of(const json_t *spec, const char *id)
{
    const char *path = json_str(json_object_get(spec, "linux"), "cgroupsPath");
    while (*path == '/')
        path++;
    const char *below = str_after(path, "drover/");
    return str_printf("/drover/%s", below ? below : *path ? path : id);
}

int foreign_create(struct process *p, const struct runtime_launch *launch, struct runtime_child *ret,
                   struct err *err)
{
    struct foreign *f = p->c->foreign;
    free(f->cgroup);
    f->cgroup = cgroup_of(launch->spec, p->c->id);
    struct foreign_job job = {.f = f, .launch = launch, .exec_id = ""};
    return start_helper(p, &job, ret, err);
}

int foreign_exec(struct process *p, const json_t *process, const struct runtime_launch *launch,
                 struct runtime_child *ret, struct err *err)
{
    struct foreign_job job = {
        .f = p->c->foreign, .launch = launch, .process = process, .exec_id = p->exec_id};
    return start_helper(p, &job, ret, err);
}

/* The helper is its parent until it hears from us, so that the number is surely this process's. */
static int take_process(struct process *p, pid_t pid, int *terminal, struct err *err)
{
    struct foreign_launch *l = p->launching;
    l->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (l->pidfd < 0)
        return err_sys(err, errno, "hold the container's process %d", (int)pid);
    l->pid = pid;
    l->start = process_start_time(pid);
    int r = 0;
    if (p->tty)
        r = *terminal >= 0 ? terminal_take(p, terminal, err)
                           : err_set(err, ERR_PROTOCOL, "the runtime gave no terminal");
    if (r == 0 && !*p->exec_id && !p->c->cgroup)
        r = cgroup_open(p->c->foreign->cgroup, &p->c->cgroup, err);
    if (r == 0 && send(p->status.fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        r = err_sys(err, errno, "let the runtime go on");
    return r;
}

static void fail(struct process *p, const struct err *err)
{
    if (!p->launch_err)
        p->launch_err = mem_dup(err, sizeof(*err));
}

static void hear_one(struct process *p, struct foreign_message *m, int *terminal)
{
    struct err err = {0};
    switch (m->said) {
    case FOREIGN_PID:
        if (p->launching->pidfd < 0 && take_process(p, m->pid, terminal, &err) < 0) {
            fail(p, &err);
            watch_close(&p->c->d->loop, &p->status); /* it sees that, and takes everything back */
        }
        break;
    case FOREIGN_DONE:
        p->launching->done = p->launching->pidfd >= 0;
        break;
    case FOREIGN_FAILED:
        m->err.msg[sizeof(m->err.msg) - 1] = '\0';
        fail(p, &m->err);
        break;
    }
}

void foreign_hear(struct process *p)
{
    while (p->status.fd >= 0) {
        struct foreign_message m;
        _cleanup_close_ int terminal = -EBADF;
        struct iovec iov = {&m, sizeof(m)};
        union {
            struct cmsghdr head;
            char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct msghdr head = {.msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes)};
        ssize_t n = recvmsg(p->status.fd, &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&head) : NULL;
        if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
            memcpy(&terminal, CMSG_DATA(c), sizeof(int));
        if (n != (ssize_t)sizeof(m)) {
            watch_close(&p->c->d->loop, &p->status); /* its end: the rest when it has been reaped */
            return;
        }
        hear_one(p, &m, &terminal);
    }
}

void foreign_launch_free(struct foreign_launch *l)
{
    if (!l)
        return;
    close_fd(l->pidfd);
    free(l);
}

bool foreign_helper_ended(struct process *p)
{
    _cleanup_(foreign_launch_free_p) struct foreign_launch *l = take_ptr(p->launching);
    struct loop *loop = &p->c->d->loop;
    watch_close(loop, &p->status);
    if (l->done && !p->launch_err) {
        p->exit = (struct keeper_exit){0};
        p->pid = l->pid;
        p->pid_start = l->start;
        watch_close(loop, &p->pidfd);
        proc_watch_pidfd(p, take_fd(&l->pidfd));
        return true;
    }
    struct err err = {0};
    err_set(&err, ERR_SYSTEM, "the helper of the OCI runtime %s died (status %d)", p->c->foreign->path,
            p->exit.status);
    fail(p, &err);
    if (l->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, l->pidfd, SIGKILL, NULL, 0);
    if (!*p->exec_id)
        foreign_clean_up(p->c);
    return false;
}

/* --- the end --- */

static void deletion_ready(struct watch *w, uint32_t events)
{
    struct foreign *f = OWNER(w, struct foreign, deletion);
    siginfo_t info = {0};
    if (waitid((idtype_t)P_PIDFD, (id_t)w->fd, &info, WEXITED | WNOHANG) == 0 && !info.si_pid)
        return;
    watch_close(&f->c->d->loop, w);
    f->deleter = 0;
    f->gone = true;
    if (f->c->first)
        proc_conclude_if_done(f->c->first);
}

static pid_t start_deletion(struct foreign *f, int *ret_pidfd)
{
    pid_t pid = fork_helper(ret_pidfd);
    if (pid == 0)
        foreign__delete_main(f);
    if (pid < 0)
        log_error("%s: have %s forget it: %s", f->c->id, f->path, strerror(errno));
    return pid;
}

bool foreign_gone(struct container *c)
{
    struct foreign *f = c->foreign;
    if (!f || f->gone)
        return true;
    int pidfd = -EBADF;
    if (f->deletion.fd < 0 && (f->deleter = start_deletion(f, &pidfd)) > 0)
        watch_start(&c->d->loop, &f->deletion, pidfd, EPOLLIN, deletion_ready);
    else if (f->deletion.fd < 0)
        c->d->loop.tick_wanted = true; /* once more later */
    return false;
}

void foreign_clean_up(struct container *c)
{
    int pidfd = -EBADF;
    if (!c->foreign)
        return;
    start_deletion(c->foreign, &pidfd); /* a stray, when it ends */
    close_fd(pidfd);
}
