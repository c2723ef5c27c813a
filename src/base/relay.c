#include "base/relay.h"

#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { RELAY_BYTES = 64 << 10 };

struct direction {
    const struct relay_end *from, *to;
    bool ended, done; /* nothing more comes; and who it goes to has all, and knows */
    size_t at, end;   /* what has been read and not yet written */
    char bytes[RELAY_BYTES];
};

static ssize_t take(const struct relay_end *e, void *bytes, size_t n)
{
    return e->recv ? e->recv(e->of, bytes, n) : recv(e->fd, bytes, n, MSG_DONTWAIT);
}

static ssize_t give(const struct relay_end *e, const void *bytes, size_t n)
{
    return e->send ? e->send(e->of, bytes, n) : send(e->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void finish(struct direction *d)
{
    if (d->to->shut)
        d->to->shut(d->to->of);
    else
        shutdown(d->to->fd, SHUT_WR);
    d->done = true;
}

static bool later(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* What can be moved without waiting; whether anything was. */
static bool move(struct direction *d)
{
    bool moved = false;
    if (d->done)
        return false;
    if (d->at == d->end && !d->ended) {
        ssize_t n = take(d->from, d->bytes, sizeof(d->bytes));
        d->at = 0;
        d->end = n > 0 ? (size_t)n : 0;
        d->ended = n == 0 || (n < 0 && !later());
        moved = n > 0;
    }
    if (d->at < d->end) {
        ssize_t n = give(d->to, d->bytes + d->at, d->end - d->at);
        if (n < 0 && !later()) {
            d->at = d->end; /* nobody is there to have it */
            d->ended = true;
        }
        d->at += n > 0 ? (size_t)n : 0;
        moved = moved || n > 0;
    }
    if (d->at == d->end && d->ended)
        finish(d);
    return moved;
}

static bool over(const struct direction *in, const struct direction *out, enum relay_until until)
{
    return until == RELAY_EITHER ? in->done || out->done
           : until == RELAY_BOTH ? in->done && out->done
                                 : out->done;
}

/* What one end is waited for. One that is neither read nor written now is left alone: it would say again and
 * again that it has ended, and what it had sent before is still to come. When all of that has come, it is
 * waited for to be gone. */
static struct pollfd wanted(const struct relay_end *e, const struct direction *from,
                            const struct direction *to)
{
    bool reads = !from->ended && from->at == from->end, writes = !to->done && to->at < to->end;
    short events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
    return (struct pollfd){.fd = events || (from->done && !to->done) ? e->fd : -1, .events = events};
}

/* An end that was read to its end, and is gone altogether, takes nothing more either. */
static void note_gone(const struct pollfd *p, const struct direction *from, struct direction *to)
{
    if (from->done && !to->done && p->revents & (POLLERR | POLLHUP)) {
        to->at = to->end;
        to->ended = true;
        finish(to);
    }
}

/* False: nothing more is to be carried. */
static bool await(struct pollfd p[3], const struct relay_rule *rule)
{
    if (poll(p, 3, rule->look ? rule->look_ms : -1) < 0 && errno != EINTR)
        return false;
    return !p[2].revents && (!rule->look || rule->look(rule->context));
}

void relay(const struct relay_end *a, const struct relay_end *b, const struct relay_rule *rule)
{
    struct direction *in = NEW(struct direction), *out = NEW(struct direction);
    in->from = out->to = a;
    in->to = out->from = b;
    for (;;) {
        while (move(in) | move(out))
            ;
        if (over(in, out, rule->until))
            break;
        struct pollfd p[3] = {
            wanted(a, in, out), wanted(b, out, in), {.fd = rule->stop_fd, .events = POLLIN}};
        if (!await(p, rule))
            break;
        note_gone(&p[0], in, out);
        note_gone(&p[1], out, in);
    }
    explicit_bzero(in->bytes, sizeof(in->bytes));
    explicit_bzero(out->bytes, sizeof(out->bytes));
    free(in);
    free(out);
}
