#include "keeper/daemon.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "base/json_arena.h"
#include "base/log.h"
#include "base/process.h"
#include "base/timeutil.h"
#include "keeper/foreign.h"
#include "keeper/park.h"
#include "keeper/policy.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Both ends of a process's standard streams; or of the socket on which its terminal will come, which the
 * runtime makes inside the container. */
struct streams {
    int child[3], child_console;
    int in, out[2], console;
};

static void streams_done(struct streams *s)
{
    for (int i = 0; i < 3; i++)
        close_fd(s->child[i]);
    close_fd(s->in);
    close_fd(s->out[0]);
    close_fd(s->out[1]);
    close_fd(s->child_console);
    close_fd(s->console);
}

static void streams_close_child(struct streams *s)
{
    for (int i = 0; i < 3; i++)
        s->child[i] = close_fd(s->child[i]);
    s->child_console = close_fd(s->child_console);
}

static int open_pipe(int *ret_reader, int *ret_writer, bool reader_is_ours, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    fcntl(ends[reader_is_ours ? 0 : 1], F_SETFL, O_NONBLOCK);
    *ret_reader = ends[0];
    *ret_writer = ends[1];
    return 0;
}

static int open_console(struct streams *s, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "make a socket pair");
    s->console = pair[0];
    s->child_console = pair[1];
    return 0;
}

/* `foreign`: another runtime, which has a socket of its own for terminals. */
static int streams_open(struct streams *s, bool foreign, bool tty, bool open_stdin, struct err *err)
{
    *s = (struct streams){{-EBADF, -EBADF, -EBADF}, -EBADF, -EBADF, {-EBADF, -EBADF}, -EBADF};
    if (tty)
        return foreign ? 0 : open_console(s, err);
    int r = open_pipe(&s->out[0], &s->child[1], true, err);
    if (r == 0)
        r = open_pipe(&s->out[1], &s->child[2], true, err);
    if (r == 0 && (open_stdin || foreign))
        r = open_pipe(&s->child[0], &s->in, false, err);
    /* Some runtimes give stdin to the container's user, and the null device is the whole machine's: they get
     * a pipe that is at its end. */
    if (r == 0 && foreign && !open_stdin)
        s->in = close_fd(s->in);
    else if (r == 0 && !open_stdin) {
        s->child[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (s->child[0] < 0)
            r = err_sys(err, errno, "open /dev/null");
    }
    return r;
}

static int read_json(int fd, const char *what, struct str *ret_text, json_t **ret, struct err *err)
{
    if (lseek(fd, 0, SEEK_SET) < 0) /* an earlier keeper may have read it */
        return err_sys(err, errno, "read %s", what);
    int r = file_read_fd(fd, PROTOCOL_MAX_SPEC_BYTES, ret_text, err);
    if (r < 0)
        return r;
    json_arena_begin();
    r = json_parse(str_get(ret_text), ret_text->len, what, ret, err);
    json_arena_end();
    return r;
}

static int read_config(int fd, struct str *ret_text, json_t **ret, struct err *err)
{
    int r = read_json(fd, "the container's config", ret_text, ret, err);
    if (r == 0)
        policy_expand(*ret);
    return r;
}

/* What the keeper has for its own work is not handed down: its protection from the OOM killer, its file
 * limit. */
static void hide_own_limits(const struct daemon *d, json_t *process)
{
    if (!json_is_object(process))
        return;
    if (!json_object_get(process, "oomScoreAdj"))
        json_object_set_new(process, "oomScoreAdj", json_integer(d->oom_score_adj));
    json_t *limits = json_object_get(process, "rlimits"), *one;
    size_t i;
    json_array_foreach (limits, i, one)
        if (str_eq(json_str(one, "type"), "RLIMIT_NOFILE"))
            return;
    if (!limits) {
        limits = json_array();
        json_object_set_new(process, "rlimits", limits);
    }
    json_array_append_new(limits,
                          json_pack("{s:s, s:I, s:I}", "type", "RLIMIT_NOFILE", "soft",
                                    (json_int_t)d->nofile.rlim_cur, "hard", (json_int_t)d->nofile.rlim_max));
}

int launch_read_spec(int config_fd, void *daemon, json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = read_config(config_fd, &text, ret, err);
    if (r == 0)
        hide_own_limits(daemon, json_object_get(*ret, "process"));
    return r;
}

static bool has_own_pid_namespace(const json_t *spec)
{
    json_t *one, *list = json_object_get(json_object_get(spec, "linux"), "namespaces");
    size_t i;
    json_array_foreach (list, i, one)
        if (str_eq(json_str(one, "type"), "pid"))
            return str_empty(json_str(one, "path"));
    return false;
}

static void tell_hold(struct process *p)
{
    _cleanup_str_ struct str m = STR_INIT;
    int fds[HELD_MAX];
    size_t count;
    proc_put_hold(p, &m, fds, &count);
    keeper__clients_tell(p->c->d, &m, fds, count);
}

static void reply_started(struct process *p)
{
    struct client *cl = keeper__client_find(p->c->d, p->reply_client);
    if (!cl)
        return;
    _cleanup_str_ struct str m = STR_INIT;
    protocol_begin(&m, PROTOCOL_REPLY, p->reply_request);
    protocol_put_u32(&m, 0);
    protocol_put_u32(&m, 0);
    protocol_put_text(&m, "");
    protocol_put_u32(&m, (uint32_t)p->pid);
    keeper__client_send(cl, &m, NULL, 0);
}

static void write_record(struct process *p)
{
    struct err err;
    p->started_ns = time_now_ns();
    if (record_write(p, &err) < 0)
        log_error("%s: a restart of the keeper would not find it: %s", p->c->id, err.msg);
}

bool launch_helper_ended(struct process *p)
{
    bool ok = foreign_helper_ended(p);
    if (ok) {
        write_record(p);
        tell_hold(p);
        proc_run(p);
        reply_started(p);
    }
    return ok;
}

static void status_ready(struct watch *w, uint32_t events)
{
    struct process *p = OWNER(w, struct process, status);
    struct err err = {0};
    if (p->launching) {
        foreign_hear(p);
        return;
    }
    bool executed = runtime_launch_executed(w->fd);
    int r = executed ? 0 : runtime_launch_result(w->fd, &err);
    watch_close(&p->c->d->loop, w);
    starter_done(p, executed);
    if (r < 0) {
        p->launch_err = mem_dup(&err, sizeof(err));
        return; /* the rest when it has been reaped */
    }
    FAILPOINT("keeper-program-executed");
    proc_run(p);
    reply_started(p);
    FAILPOINT("keeper-launch-answered");
}

static void watch_status(struct process *p, int status_fd)
{
    p->state = PROCESS_LAUNCHING;
    watch_start(&p->c->d->loop, &p->status, status_fd, EPOLLRDHUP, status_ready);
}

void launch_go_on(struct process *p, int status_fd)
{
    watch_status(p, status_fd);
    runtime_launch_confirm(p->status.fd);
}

static void let_go(struct process *p)
{
    tell_hold(p);
    FAILPOINT("keeper-hold-told");
    write_record(p);
    FAILPOINT("keeper-launch-recorded");
    FAILPOINT_STOP("keeper-stop-before-confirming");
    runtime_launch_confirm(p->status.fd);
    FAILPOINT("keeper-launch-confirmed");
    FAILPOINT_STOP("keeper-stop-after-confirming");
}

/* A starter's child has come to be, or never will. */
static void born_ready(struct watch *w, uint32_t events)
{
    struct process *p = OWNER(w, struct process, status);
    struct err err = {0};
    struct runtime_child child;
    int r = runtime_launch_born(w->fd, &child, &err);
    if (r < 0) {
        watch_close(&p->c->d->loop, w);
        starter_done(p, false);
        p->launch_err = mem_dup(&err, sizeof(err));
        if (keeper__client_find(p->c->d, p->reply_client))
            proc_launch_failed(p);
        else
            proc_launch_undo(p);
        return;
    }
    FAILPOINT("keeper-child-born");
    p->pid = child.pid;
    p->pid_start = process_start_time(child.pid);
    proc_watch_pidfd(p, child.pidfd);
    w->ready = status_ready;
    watch_set(&p->c->d->loop, w, EPOLLRDHUP);
    if (p->console.fd < 0)
        let_go(p);
}

/* The terminal has been made. When it has not, the status says why. */
static void console_ready(struct watch *w, uint32_t events)
{
    struct process *p = OWNER(w, struct process, console);
    struct err err = {0};
    char name[64];
    if (!p->pid) {
        p->status.ready(&p->status, EPOLLIN);
        return; /* we are called again, if there is still a process */
    }
    _cleanup_close_ int master = -EBADF;
    size_t count = 0;
    ssize_t n = file_recv_fds(w->fd, name, sizeof(name), &master, 1, &count, NULL);
    watch_close(&p->c->d->loop, w);
    if (n <= 0 || count != 1 || p->status.fd < 0)
        return;
    if (terminal_take(p, &master, &err) == 0) {
        FAILPOINT("keeper-terminal-taken");
        let_go(p);
        return;
    }
    p->launch_err = mem_dup(&err, sizeof(err));
    watch_close(&p->c->d->loop, &p->status); /* it sees that, and ends */
}

/* The child sets itself up; what it says arrives at status_ready. It executes nothing before a client can go
 * on with it (what it holds) and a new keeper could find it (its record), in this order: of a process that
 * has a record, the client has the status, too. Without a record it is cleared away and started anew. */
static void pending(struct process *p, const struct streams *s, const struct runtime_child *child)
{
    struct loop *l = &p->c->d->loop;
    p->state = PROCESS_LAUNCHING;
    p->out[0].fd = s->out[0];
    p->out[1].fd = s->out[1];
    if (s->in >= 0)
        stdin_start(p, s->in);
    if (!child->pid) {
        watch_start(l, &p->status, child->status_fd, EPOLLIN, born_ready);
        if (s->console >= 0)
            watch_start(l, &p->console, s->console, EPOLLIN, console_ready);
        return;
    }
    p->pid = child->pid;
    p->pid_start = process_start_time(child->pid);
    proc_watch_pidfd(p, child->pidfd);
    if (p->launching) { /* another runtime's */
        watch_start(l, &p->status, child->status_fd, EPOLLIN, status_ready);
        return;
    }
    watch_status(p, child->status_fd);
    if (s->console >= 0)
        watch_start(l, &p->console, s->console, EPOLLIN, console_ready);
    else
        let_go(p);
}

static int attach_all(struct process *p, int *fds, size_t count, struct err *err)
{
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++)
        r = attach_new(p, &fds[i], KEEPER_ATTACH_STDIN | KEEPER_ATTACH_STDOUT | KEEPER_ATTACH_STDERR, err);
    return r;
}

/* To leave the parked ones out takes a process more, which pays from about a hundred containers on. */
static int parked_from(const struct daemon *d)
{
    enum { WORTH_IT = 128 };
    return d->containers.count >= WORTH_IT || FAILPOINT_SET("park-always") ? PARKED_FROM : 0;
}

static int launch_container(struct container *c, const struct keeper_start *s, json_t *spec, int config_fd,
                            int *fds, struct err *err)
{
    struct streams streams;
    struct runtime_child child;
    hide_own_limits(c->d, json_object_get(spec, "process"));
    struct starter *starter = c->foreign ? NULL : starters_idle(c->d);
    int r = streams_open(&streams, c->foreign != NULL, s->tty, s->open_stdin, err);
    if (r == 0)
        r = attach_all(c->first, fds + s->fd_count, s->attach_count, err);
    if (r == 0) {
        struct runtime_launch launch = {
            .starter = starter ? &starter->starter : NULL,
            .config_fd = config_fd,
            .id = c->id,
            .spec = spec,
            .root = s->root,
            .overlay = {.layers_dir = s->overlay.layers_dir,
                        .lowers = s->overlay.lowers,
                        .upper = s->overlay.upper,
                        .work = s->overlay.work,
                        .is_volatile = s->overlay.is_volatile},
            .stdio = {streams.child[0], streams.child[1], streams.child[2]},
            .tty = s->tty,
            .console_fd = streams.child_console,
            .confirmed = true,
            .parked_from = parked_from(c->d),
            .fds = fds,
            .fd_count = s->fd_count,
            .root_ready = s->ready_root > 0,
            .root_fd = s->ready_root > 0 ? fds[s->ready_root - 1] : -EBADF,
        };
        r = c->foreign ? foreign_create(c->first, &launch, &child, err)
                       : runtime_launch(&launch, &c->cgroup, &child, err);
    }
    if (r < 0) {
        streams_done(&streams);
        return r;
    }
    FAILPOINT("keeper-container-cloned");
    streams_close_child(&streams);
    if (!child.pid)
        starter_begins(starter, c->first);
    pending(c->first, &streams, &child);
    starters_refill(c->d, !c->foreign && !starter);
    return 0;
}

static int prepare_container(struct container *c, const struct keeper_start *s, const json_t *spec,
                             struct str *text, struct err *err)
{
    c->own_pid_namespace = has_own_pid_namespace(spec);
    c->memory_limited =
        json_object_get(
            json_object_get(json_object_get(json_object_get(spec, "linux"), "resources"), "memory"),
            "limit") != NULL;
    c->log_path = mem_strdup(s->log.path);
    c->log_max_bytes = s->log.max_bytes;
    c->log_max_files = s->log.max_files;
    int r = record_begin(c, text, err);
    FAILPOINT("keeper-config-recorded");
    if (r == 0 && c->log_path)
        r = log_file_open(c->log_path, c->log_max_bytes, c->log_max_files, false, &c->log, err);
    return r;
}

/* The answer to a request that an earlier keeper took, or that was sent again. */
static int answer_again(struct process *p, struct client *cl, uint64_t request, int *fds, size_t count,
                        struct err *err)
{
    p->reply_client = cl->number;
    p->reply_request = request;
    if (p->state == PROCESS_EXITED) {
        if (p->launch_err)
            proc_launch_failed(p);
        else
            reply_started(p);
        return 0;
    }
    int r = attach_all(p, fds, count, err);
    if (r == 0 && p->state != PROCESS_LAUNCHING)
        reply_started(p);
    return r;
}

int launch_start(struct client *cl, uint64_t request, const struct keeper_start *s, int *fds, bool again,
                 struct err *err)
{
    struct daemon *d = cl->d;
    struct container *known = map_get(&d->containers, s->id);
    if (known && again && known->first)
        return answer_again(known->first, cl, request, fds + 1 + s->fd_count, s->attach_count, err);
    if (known)
        return err_set(err, ERR_CONFLICT, "the keeper has a container %s already", s->id);
    _cleanup_json_ json_t *spec = NULL;
    _cleanup_str_ struct str text = STR_INIT;
    int r = read_config(fds[0], &text, &spec, err);
    if (r < 0)
        return r;
    if (s->runtime.path) { /* what is handed to another is changed for it */
        json_t *own = json_deep_copy(spec);
        json_decref(spec);
        spec = own;
    }
    FAILPOINT("keeper-launch-asked");
    struct container *c = container_new(d, s->id);
    struct process *p = proc_new(c, "");
    p->tty = s->tty;
    p->rows = (uint16_t)s->rows;
    p->columns = (uint16_t)s->columns;
    p->open_stdin = s->open_stdin;
    p->stdin_once = s->stdin_once;
    p->reply_client = cl->number;
    p->reply_request = request;
    r = prepare_container(c, s, spec, &text, err);
    if (r == 0 && s->runtime.path)
        r = foreign_new(c, &s->runtime, err);
    if (r == 0)
        r = launch_container(c, s, spec, fds[0], fds + 1, err);
    if (r < 0) {
        record_remove(p);
        container_free(c);
    }
    return r;
}

static int launch_in(struct process *p, const struct keeper_exec *e, json_t *process, int *fds,
                     struct err *err)
{
    struct container *c = p->c;
    struct streams streams;
    struct runtime_child child;
    _cleanup_json_ json_t *container_spec = NULL;
    _cleanup_json_ json_t *spec = json_pack("{s:O}", "process", process);
    int r = record_read_config(c, &container_spec, err);
    if (r < 0)
        return r;
    hide_own_limits(c->d, process);
    r = streams_open(&streams, c->foreign != NULL, e->tty, e->open_stdin, err);
    if (r == 0)
        r = attach_all(p, fds, e->attach_count, err);
    if (r == 0) {
        struct runtime_launch launch = {
            .id = c->id,
            .spec = spec,
            .stdio = {streams.child[0], streams.child[1], streams.child[2]},
            .tty = e->tty,
            .console_fd = streams.child_console,
            .confirmed = true,
            .parked_from = parked_from(c->d),
        };
        r = c->foreign ? foreign_exec(p, process, &launch, &child, err)
                       : runtime_exec(&launch, container_spec, c->first->pid, c->first->pidfd.fd, c->cgroup,
                                      &child, err);
    }
    if (r < 0) {
        streams_done(&streams);
        return r;
    }
    FAILPOINT("keeper-exec-cloned");
    streams_close_child(&streams);
    pending(p, &streams, &child);
    return 0;
}

int launch_exec(struct client *cl, uint64_t request, const struct keeper_exec *e, int *fds, bool again,
                struct err *err)
{
    struct process *first = proc_find(cl->d, e->id, "", err);
    if (!first)
        return -ERR_NOT_FOUND;
    struct container *c = first->c;
    struct process *known = map_get(&c->execs, e->exec_id);
    if (known && again)
        return answer_again(known, cl, request, fds + 1, e->attach_count, err);
    if (first->state != PROCESS_RUNNING)
        return err_set(err, ERR_CONFLICT, "container %s is not running", e->id);
    if (c->paused)
        return err_set(err, ERR_CONFLICT, "container %s is paused, unpause the container before exec", e->id);
    if (known)
        return err_set(err, ERR_CONFLICT, "container %s has a process %s already", e->id, e->exec_id);
    if (strlen(e->id) + strlen(e->exec_id) > MAX_IDS_BYTES)
        return err_set(err, ERR_LIMIT,
                       "the ids of the container and the process are longer than %d bytes together",
                       MAX_IDS_BYTES);
    if (c->execs.count >= MAX_EXECS)
        return err_set(err, ERR_LIMIT, "container %s has %d exec records that were not forgotten", e->id,
                       MAX_EXECS);
    _cleanup_json_ json_t *process = NULL;
    _cleanup_str_ struct str text = STR_INIT;
    int r = read_json(fds[0], "the process", &text, &process, err);
    if (r < 0)
        return r;
    struct process *p = proc_new(c, e->exec_id);
    p->tty = e->tty;
    p->rows = (uint16_t)e->rows;
    p->columns = (uint16_t)e->columns;
    p->open_stdin = e->open_stdin;
    p->stdin_once = true;
    p->keep_output = e->keep_output;
    p->reply_client = cl->number;
    p->reply_request = request;
    r = launch_in(p, e, process, fds + 1, err);
    if (r < 0)
        proc_free(p);
    return r;
}
