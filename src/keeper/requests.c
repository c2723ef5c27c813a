#include "keeper/daemon.h"

#include "base/failpoint.h"
#include "base/log.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct request {
    struct daemon *d;
    struct client *cl;
    uint64_t number;
    struct protocol_reader *r;
    bool again; /* sent before, to a keeper that died */
    int *fds;
    size_t fd_count;
};

/* A handler answers itself and returns 1, or returns 0 for a plain OK, or an error. */
typedef int (*handler)(struct request *q, struct err *err);

static int malformed(struct err *err)
{
    return err_set(err, ERR_PROTOCOL, "malformed request");
}

/* The ids that most requests begin with. */
static int get_process(struct request *q, struct process **ret, struct err *err)
{
    const char *id = protocol_get_text(q->r), *exec_id = protocol_get_text(q->r);
    if (q->r->bad)
        return malformed(err);
    *ret = proc_find(q->d, id, exec_id, err);
    return *ret ? 0 : -ERR_NOT_FOUND;
}

static int not_running(const struct process *p, struct err *err)
{
    return err_set(err, ERR_CONFLICT, "process %s%s%s is not running", p->c->id, *p->exec_id ? " exec " : "",
                   p->exec_id);
}

static int get_running(struct request *q, struct process **ret, struct err *err)
{
    int r = get_process(q, ret, err);
    return r < 0 ? r : (*ret)->state != PROCESS_RUNNING ? not_running(*ret, err) : 0;
}

static int handle_hello(struct request *q, struct err *err)
{
    if (!protocol_end(q->r))
        return malformed(err);
    q->cl->greeted = true;
    _cleanup_str_ struct str m = STR_INIT;
    protocol_begin(&m, PROTOCOL_REPLY, q->number);
    protocol_put_u32(&m, 0);
    protocol_put_u32(&m, 0);
    protocol_put_text(&m, "");
    protocol_put_u32(&m, (uint32_t)getpid());
    protocol_put_i64(&m, q->d->instance);
    protocol_put_u32(&m, PROTOCOL_CAN_UPGRADE | PROTOCOL_COUNTS | PROTOCOL_DEFAULTS);
    protocol_put_text(&m, DROVER_VERSION);
    keeper__client_send(q->cl, &m, NULL, 0);
    return 1;
}

static int handle_adopt(struct request *q, struct err *err)
{
    const char *id = protocol_get_text(q->r), *exec_id = protocol_get_text(q->r);
    uint32_t mask = protocol_get_u32(q->r);
    if (!protocol_end(q->r))
        return malformed(err);
    record_adopt(q->d, id, exec_id, mask, q->fds, q->fd_count);
    return 1;
}

static void tell_one(struct process *p, void *context)
{
    struct client *cl = context;
    _cleanup_str_ struct str m = STR_INIT;
    int fds[HELD_MAX];
    size_t count = 0;
    if (p->state == PROCESS_EXITED)
        proc_put_exit(p, &m);
    else if (!p->launching)
        proc_put_hold(p, &m, fds, &count);
    else
        return;
    keeper__client_send(cl, &m, fds, count);
}

static int handle_ready(struct request *q, struct err *err)
{
    if (!protocol_end(q->r))
        return malformed(err);
    keeper__clients_catch_up(q->cl);
    record_go_on(q->d);
    q->cl->ready = true;
    daemon_each_process(q->d, tell_one, q->cl);
    return 0;
}

static int handle_start(struct request *q, struct err *err)
{
    struct keeper_start s;
    _cleanup_(protocol_lists_done) struct protocol_lists lists = {0};
    int r = protocol_get_start(q->r, &s, &lists, err);
    if (r == 0 && q->fd_count != 1 + s.fd_count + s.attach_count)
        r = malformed(err);
    if (r == 0)
        r = launch_start(q->cl, q->number, &s, q->fds, q->again, err);
    return r < 0 ? r : 1;
}

static int handle_exec(struct request *q, struct err *err)
{
    struct keeper_exec e;
    int r = protocol_get_exec(q->r, &e, err);
    if (r == 0 && q->fd_count != 1 + e.attach_count)
        r = malformed(err);
    if (r == 0)
        r = launch_exec(q->cl, q->number, &e, q->fds, q->again, err);
    return r < 0 ? r : 1;
}

static int handle_attach(struct request *q, struct err *err)
{
    struct process *p;
    int r = get_running(q, &p, err);
    if (r < 0)
        return r;
    uint32_t flags = protocol_get_u32(q->r);
    if (!protocol_end(q->r) || q->fd_count != 1)
        return malformed(err);
    return attach_new(p, &q->fds[0], (int)(flags & 7), err);
}

static int kill_all(struct process *p, int signal, struct err *err)
{
    if (!p->c->cgroup)
        return err_set(err, ERR_NOT_FOUND, "container %s has no cgroup", p->c->id);
    return cgroup_kill(p->c->cgroup, signal, err);
}

static int kill_one(struct process *p, int signal, struct err *err)
{
    if (syscall(SYS_pidfd_send_signal, p->pidfd.fd, signal, NULL, 0) == 0)
        return 0;
    return errno == ESRCH ? not_running(p, err) : err_sys(err, errno, "signal %d to %s", signal, p->c->id);
}

static int handle_kill(struct request *q, struct err *err)
{
    struct process *p;
    int r = get_process(q, &p, err);
    if (r < 0)
        return r;
    int signal = (int)protocol_get_u32(q->r);
    bool all = protocol_get_u32(q->r);
    if (!protocol_end(q->r))
        return malformed(err);
    if (signal < 0 || signal >= NSIG)
        return err_set(err, ERR_INVALID, "%d is no signal", signal);
    if (p->state != PROCESS_RUNNING)
        return not_running(p, err);
    r = all ? kill_all(p, signal, err) : -ERR_UNSUPPORTED;
    /* Without a cgroup the others cannot be found: those of the container's pid namespace end with the first.
     */
    if (r == -ERR_UNSUPPORTED)
        r = kill_one(p, signal, err);
    FAILPOINT("keeper-signal-sent");
    /* A frozen process does not die before it is thawed. */
    if (r == 0 && signal == SIGKILL && p->c->paused && cgroup_freeze(p->c->cgroup, false, err) == 0)
        p->c->paused = false;
    return r;
}

static int handle_resize(struct request *q, struct err *err)
{
    struct process *p;
    int r = get_running(q, &p, err);
    if (r < 0)
        return r;
    struct winsize size = {.ws_row = (uint16_t)protocol_get_u32(q->r),
                           .ws_col = (uint16_t)protocol_get_u32(q->r)};
    if (!protocol_end(q->r))
        return malformed(err);
    if (!p->tty)
        return err_set(err, ERR_INVALID, "process %s has no terminal", p->c->id);
    if (p->out[0].fd < 0 || ioctl(p->out[0].fd, TIOCSWINSZ, &size) < 0)
        return not_running(p, err);
    return 0;
}

static int handle_pause(struct request *q, struct err *err)
{
    struct process *p;
    int r = get_running(q, &p, err);
    if (r < 0)
        return r;
    bool paused = protocol_get_u32(q->r);
    if (!protocol_end(q->r))
        return malformed(err);
    if (!p->c->cgroup)
        return err_set(err, ERR_NOT_FOUND, "container %s has no cgroup", p->c->id);
    r = cgroup_try_freeze(p->c->cgroup, paused, err); /* everybody's containers wait meanwhile */
    if (r == 0)
        p->c->paused = paused;
    return r;
}

static int handle_close_stdin(struct request *q, struct err *err)
{
    struct process *p;
    int r = get_process(q, &p, err);
    if (r < 0)
        return r;
    if (!protocol_end(q->r))
        return malformed(err);
    proc_close_stdin(p);
    return 0;
}

struct listing {
    struct str items;
    uint32_t count;
};

static void list_one(struct process *p, void *context)
{
    struct listing *l = context;
    if (p->launching) /* another runtime's: nobody knows yet what it will be */
        return;
    struct keeper_exit exit = p->exit;
    exit.id = p->c->id;
    exit.exec_id = p->exec_id;
    protocol_put_u32(&l->items, p->state == PROCESS_EXITED ? KEEPER_EXITED : KEEPER_RUNNING);
    protocol_put_u32(&l->items, (uint32_t)p->pid);
    protocol_put_i64(&l->items, p->started_ns);
    protocol_put_exit(&l->items, &exit);
    l->count++;
}

static int handle_list(struct request *q, struct err *err)
{
    if (!protocol_end(q->r))
        return malformed(err);
    struct listing l = {0};
    daemon_each_process(q->d, list_one, &l);
    _cleanup_close_ int fd = -EBADF;
    int r = protocol_memfd(l.items.data, l.items.len, &fd, err);
    str_free(&l.items);
    if (r < 0)
        return r;
    _cleanup_str_ struct str m = STR_INIT;
    protocol_begin(&m, PROTOCOL_REPLY, q->number);
    protocol_put_u32(&m, 0);
    protocol_put_u32(&m, 0);
    protocol_put_text(&m, "");
    protocol_put_u32(&m, l.count);
    keeper__client_send(q->cl, &m, &fd, 1);
    return 1;
}

static int handle_forget(struct request *q, struct err *err)
{
    FAILPOINT("keeper-forget-asked");
    struct process *p;
    int r = get_process(q, &p, err);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r < 0 || !protocol_end(q->r))
        return r < 0 ? r : malformed(err);
    if (p->state != PROCESS_EXITED)
        return err_set(err, ERR_CONFLICT, "process %s is still running", p->c->id);
    struct container *c = p->c;
    if (*p->exec_id) {
        record_remove(p);
        proc_free(p);
        return 0;
    }
    if (c->cgroup) {
        r = cgroup_remove(c->cgroup, err);
        if (r < 0)
            return r;
    }
    record_remove(p);
    container_free(c);
    return 0;
}

static void count_running(struct process *p, void *context)
{
    if (p->state != PROCESS_EXITED)
        ++*(size_t *)context;
}

static void remove_groups(struct daemon *d)
{
    struct map_entry *e;
    struct err err;
    for (size_t i = 0; (e = map_next(&d->containers, &i));) {
        struct container *c = e->value;
        if (c->cgroup && cgroup_remove(c->cgroup, &err) < 0)
            log_warning("%s: %s", c->id, err.msg);
    }
}

static int handle_shutdown(struct request *q, struct err *err)
{
    if (!protocol_end(q->r))
        return malformed(err);
    size_t running = 0;
    daemon_each_process(q->d, count_running, &running);
    if (running)
        return err_set(err, ERR_CONFLICT, "%zu processes are running", running);
    remove_groups(q->d);
    keeper__client_send_ok(q->cl, q->number);
    q->d->loop.stop = true;
    return 1;
}

/* Of another runtime, or of a process that is not born yet. */
static void count_launches(struct process *p, void *context)
{
    *(size_t *)context += p->launching || (p->starter && !p->pid);
}

/* Answered by the new binary, which is asked again (PROTOCOL_AGAIN) when the connection has gone. */
static int handle_upgrade(struct request *q, struct err *err)
{
    if (!protocol_end(q->r) || q->fd_count != 1)
        return malformed(err);
    if (q->again)
        return 0;
    size_t launches = 0;
    daemon_each_process(q->d, count_launches, &launches);
    /* The pipes of all processes live on in this client alone. */
    if (!q->cl->ready || q->cl->first || launches)
        return err_set(err, ERR_CONFLICT, "the keeper cannot be replaced at this instant: try again");
    return daemon_execute(q->d, q->fds[0], err);
}

static int handle_counters(struct request *q, struct err *err)
{
    struct process *p;
    int r = get_process(q, &p, err);
    if (r < 0)
        return r;
    if (!protocol_end(q->r))
        return malformed(err);
    _cleanup_str_ struct str m = STR_INIT;
    protocol_begin(&m, PROTOCOL_REPLY, q->number);
    protocol_put_u32(&m, 0);
    protocol_put_u32(&m, 0);
    protocol_put_text(&m, "");
    protocol_put_i64(&m, p->c->log ? (int64_t)log_file_dropped(p->c->log) : 0);
    protocol_put_i64(&m, p->c->readers_dropped);
    keeper__client_send(q->cl, &m, NULL, 0);
    return 1;
}

static const handler handlers[] = {
    [PROTOCOL_HELLO] = handle_hello,       [PROTOCOL_ADOPT] = handle_adopt,
    [PROTOCOL_READY] = handle_ready,       [PROTOCOL_START] = handle_start,
    [PROTOCOL_EXEC] = handle_exec,         [PROTOCOL_ATTACH] = handle_attach,
    [PROTOCOL_KILL] = handle_kill,         [PROTOCOL_RESIZE] = handle_resize,
    [PROTOCOL_PAUSE] = handle_pause,       [PROTOCOL_CLOSE_STDIN] = handle_close_stdin,
    [PROTOCOL_LIST] = handle_list,         [PROTOCOL_FORGET] = handle_forget,
    [PROTOCOL_SHUTDOWN] = handle_shutdown, [PROTOCOL_UPGRADE] = handle_upgrade,
    [PROTOCOL_COUNTERS] = handle_counters,
};

static int dispatch(struct request *q, const struct protocol_head *head, struct err *err)
{
    if (head->version != PROTOCOL_VERSION)
        return err_set(err, ERR_UNSUPPORTED,
                       "the keeper (version " DROVER_VERSION
                       ") speaks protocol %d, this program %d: restart the "
                       "older of the two",
                       PROTOCOL_VERSION, head->version);
    if (head->type >= ARRAY_SIZE(handlers) || !handlers[head->type])
        return err_set(err, ERR_UNSUPPORTED, "unknown request %d", head->type);
    if (!q->cl->greeted && head->type != PROTOCOL_HELLO)
        return err_set(err, ERR_PROTOCOL, "the first message must be a greeting");
    return handlers[head->type](q, err);
}

void keeper__handle_request(struct client *cl, const void *bytes, size_t n, int *fds, size_t fd_count)
{
    struct protocol_head head = {0};
    struct protocol_reader reader;
    struct err err = {0};
    if (!protocol_open(bytes, n, &head, &reader)) {
        err_set(&err, ERR_PROTOCOL, "not a message of this protocol");
        keeper__client_send_error(cl, 0, &err);
        return;
    }
    bool again = head.type & PROTOCOL_AGAIN;
    head.type &= (uint16_t)~PROTOCOL_AGAIN;
    struct request q = {cl->d, cl, head.request, &reader, again, fds, fd_count};
    int r = dispatch(&q, &head, &err);
    if (r < 0)
        keeper__client_send_error(cl, head.request, &err);
    else if (r == 0)
        keeper__client_send_ok(cl, head.request);
}
