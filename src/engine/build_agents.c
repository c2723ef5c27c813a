#include "engine/build_mounts.h"

#include "base/file.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* One thread carries all connections of a step's ssh sockets to the agents, and the answers back. A peer that
 * does not read holds up only its own connection: no more is read for it than one buffer. */

enum { CONNECTIONS_MAX = 32, BUFFER = 16384 };

struct way { /* of one direction */
    char buffer[BUFFER];
    size_t at, end;
    bool closed; /* its reading end has come to its end, which has been passed on */
};

struct connection {
    int fd[2]; /* the step's, the agent's */
    struct way way[2];
};

struct build_agents {
    struct build_mounts *m;
    int stop_fd;
    pthread_t thread;
    struct connection *connections[CONNECTIONS_MAX];
};

static void drop(struct build_agents *a, size_t i)
{
    struct connection *c = a->connections[i];
    close_fd(c->fd[0]);
    close_fd(c->fd[1]);
    explicit_bzero(c, sizeof(*c));
    free(c);
    a->connections[i] = NULL;
}

static void welcome(struct build_agents *a, const struct build_mount *b)
{
    const struct bakery_run *run = a->m->run;
    _cleanup_close_ int fd = accept4(b->agent, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    size_t i = 0;
    while (i < CONNECTIONS_MAX && a->connections[i])
        i++;
    int agent = -EBADF;
    struct err err;
    if (fd < 0 || i == CONNECTIONS_MAX)
        return;
    if (run->ssh_agent(run->ssh_context, b->asked->id, &agent, &err) < 0) {
        run->output(run->output_context, 2, err.msg, strlen(err.msg));
        run->output(run->output_context, 2, "\n", 1);
        return;
    }
    a->connections[i] = NEW(struct connection);
    a->connections[i]->fd[0] = take_fd(&fd);
    a->connections[i]->fd[1] = agent;
}

/* One direction goes on as far as it can now; false at its error. */
static bool carry(struct connection *c, int from)
{
    struct way *w = &c->way[from];
    if (w->at == w->end && !w->closed) {
        ssize_t n = recv(c->fd[from], w->buffer, sizeof(w->buffer), MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        w->at = 0;
        w->end = (size_t)n;
        if (n == 0) {
            w->closed = true;
            shutdown(c->fd[!from], SHUT_WR);
        }
    }
    while (w->at < w->end) {
        ssize_t n = send(c->fd[!from], w->buffer + w->at, w->end - w->at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        w->at += (size_t)n;
    }
    return true;
}

static short events_of(const struct connection *c, int side)
{
    const struct way *in = &c->way[side], *out = &c->way[!side];
    return (short)((!in->closed && in->at == in->end ? POLLIN : 0) | (out->at < out->end ? POLLOUT : 0));
}

/* A descriptor that nothing is wanted of is passed over: it would be told of its hang-up for ever. */
static struct pollfd end_of(const struct connection *c, int side)
{
    short events = c ? events_of(c, side) : 0;
    return (struct pollfd){.fd = events ? c->fd[side] : -1, .events = events};
}

static size_t gather(struct build_agents *a, struct pollfd *p)
{
    size_t n = 0;
    p[n++] = (struct pollfd){.fd = a->stop_fd, .events = POLLIN};
    for (size_t i = 0; i < a->m->count; i++)
        p[n++] = (struct pollfd){.fd = a->m->list[i].agent, .events = POLLIN}; /* negative: passed over */
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        for (int side = 0; side < 2; side++)
            p[n++] = end_of(a->connections[i], side);
    return n;
}

static void *serve(void *context)
{
    struct build_agents *a = context;
    _cleanup_free_ struct pollfd *p = NEW_N(struct pollfd, 1 + a->m->count + 2 * CONNECTIONS_MAX);
    for (;;) {
        size_t n = gather(a, p);
        if (poll(p, n, -1) < 0 && errno != EINTR)
            return NULL;
        if (p[0].revents)
            return NULL;
        const struct pollfd *ends = p + 1 + a->m->count;
        for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
            struct connection *c = a->connections[i];
            bool event = c && (ends[2 * i].revents || ends[2 * i + 1].revents);
            if (event && (!carry(c, 0) || !carry(c, 1) || (c->way[0].closed && c->way[1].closed)))
                drop(a, i);
        }
        for (size_t i = 0; i < a->m->count; i++)
            if (p[1 + i].revents)
                welcome(a, &a->m->list[i]);
    }
}

int build_agents__start(struct build_mounts *m, struct err *err)
{
    bool any = false;
    for (size_t i = 0; i < m->count; i++)
        any = any || m->list[i].agent >= 0;
    if (!any)
        return 0;
    struct build_agents *a = NEW(struct build_agents);
    a->m = m;
    a->stop_fd = eventfd(0, EFD_CLOEXEC);
    int sys = a->stop_fd < 0 ? errno : pthread_create(&a->thread, NULL, serve, a);
    if (sys) {
        close_fd(a->stop_fd);
        free(a);
        return err_sys(err, sys, "serve the build's ssh agents");
    }
    m->agents = a;
    return 0;
}

void build_agents__stop(struct build_agents *a)
{
    if (!a)
        return;
    uint64_t one = 1;
    must(write(a->stop_fd, &one, sizeof(one)) == sizeof(one));
    pthread_join(a->thread, NULL);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (a->connections[i])
            drop(a, i);
    close_fd(a->stop_fd);
    free(a);
}
