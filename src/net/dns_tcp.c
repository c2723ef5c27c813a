/* Questions over TCP (RFC 7766): each message after its length in two bytes, one question at a time on a
 * connection; those that are not ours go to a resolver over TCP as well.
 *
 *   READ --whole query--> local: WRITE ; else ASK --connected, sent--> HEAR --whole answer--> WRITE --> READ
 */
#include "net/dns_server.h"

#include "base/timeutil.h"

#include <arpa/inet.h>
#include <sys/random.h>
#include <unistd.h>

enum state { READ, ASK, HEAR, WRITE };
enum { RCODE_SERVER_FAILURE = 2 };

struct dns_tcp {
    struct dns_source client, upstream;
    size_t slot;
    uint32_t address; /* host order */
    enum state state;
    unsigned attempt;
    int64_t deadline_ns;
    struct str query, answer; /* both with their length in front */
    size_t moved;             /* bytes of the one that is being sent */
};

static struct dns_tcp *of_upstream(struct dns_source *source)
{
    return (struct dns_tcp *)((char *)source - offsetof(struct dns_tcp, upstream));
}

static void tcp_free(struct dns_server *s, struct dns_tcp *c)
{
    s->tcp[c->slot] = NULL;
    dns_unwatch(&c->client);
    dns_unwatch(&c->upstream);
    str_free(&c->query);
    str_free(&c->answer);
    free(c);
}

static void touch(struct dns_tcp *c)
{
    c->deadline_ns = time_monotonic_ns() + DNS_TCP_IDLE_MS * NS_PER_MS;
}

/* Reads towards one whole message. 1: there; 0: more to come; negative: over. */
static int message_read(int fd, struct str *m)
{
    const uint8_t *p = (const uint8_t *)m->data;
    size_t want = m->len < 2 ? 2 : 2 + (size_t)(p[0] << 8 | p[1]);
    while (m->len < want) {
        ssize_t n = recv(fd, str_reserve(m, want - m->len), want - m->len, 0);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0)
            return -ECONNRESET;
        m->len += (size_t)n;
        p = (const uint8_t *)m->data;
        if (m->len == 2)
            want = 2 + (size_t)(p[0] << 8 | p[1]);
    }
    return 1;
}

static int message_write(int fd, const struct str *m, size_t *moved)
{
    while (*moved < m->len) {
        ssize_t n = send(fd, m->data + *moved, m->len - *moved, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        *moved += (size_t)n;
    }
    return 1;
}

static void answer_start(struct dns_server *s, struct dns_tcp *c)
{
    dns_unwatch(&c->upstream);
    c->state = WRITE;
    c->moved = 0;
    touch(c);
    dns_rewatch(s, &c->client, EPOLLOUT);
}

static void answer_set(struct dns_tcp *c, const uint8_t *bytes, size_t n)
{
    const uint8_t head[2] = {(uint8_t)(n >> 8), (uint8_t)n};
    str_clear(&c->answer);
    str_addn(&c->answer, head, 2);
    str_addn(&c->answer, bytes, n);
}

static void on_upstream(struct dns_server *s, struct dns_source *source, uint32_t events);

static bool upstream_open(struct dns_server *s, struct dns_tcp *c)
{
    const struct dns_resolver *to = &s->resolvers[c->attempt];
    dns_unwatch(&c->upstream);
    int fd = socket(to->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to->address, to->length) < 0 && errno != EINPROGRESS)
        fd = close_fd(fd);
    return fd >= 0 && dns_watch(s, &c->upstream, fd, EPOLLOUT, on_upstream) == 0;
}

/* The next resolver, or the failure as the answer. */
static void ask(struct dns_server *s, struct dns_tcp *c)
{
    c->state = ASK;
    c->moved = 0;
    str_clear(&c->answer);
    while (c->attempt < s->resolver_count) {
        bool open = upstream_open(s, c);
        c->attempt++;
        if (open) {
            c->deadline_ns = time_monotonic_ns() + DNS_ATTEMPT_MS * NS_PER_MS;
            dns_rewatch(s, &c->client, 0);
            return;
        }
    }
    uint8_t refusal[DNS_UDP_BYTES];
    answer_set(c, refusal,
               dns_message_refuse((uint8_t *)c->query.data + 2, c->query.len - 2, RCODE_SERVER_FAILURE,
                                  refusal, sizeof(refusal)));
    answer_start(s, c);
}

static void on_upstream(struct dns_server *s, struct dns_source *source, uint32_t events)
{
    (void)events;
    struct dns_tcp *c = of_upstream(source);
    int r;
    if (c->state == ASK) {
        r = message_write(source->fd, &c->query, &c->moved);
        if (r > 0) {
            c->state = HEAR;
            dns_rewatch(s, source, EPOLLIN);
        }
    } else {
        r = message_read(source->fd, &c->answer);
        if (r > 0 &&
            dns_message_matches((uint8_t *)c->query.data + 2, c->query.len - 2, (uint8_t *)c->answer.data + 2,
                                c->answer.len - 2) &&
            memcmp(c->query.data + 2, c->answer.data + 2, 2) == 0)
            answer_start(s, c);
        else if (r > 0)
            r = -EPROTO;
    }
    if (r < 0)
        ask(s, c);
}

static void query_handle(struct dns_server *s, struct dns_tcp *c)
{
    static uint8_t answer[DNS_MESSAGE_BYTES];
    size_t n = 0;
    switch (dns_message_answer(&s->table, c->address, (uint8_t *)c->query.data + 2, c->query.len - 2, true,
                               s->rotation++, answer, sizeof(answer), &n)) {
    case DNS_DROP:
        tcp_free(s, c);
        return;
    case DNS_ANSWER:
        answer_set(c, answer, n);
        answer_start(s, c);
        return;
    case DNS_FORWARD:
        dns_resolvers_refresh(s);
        c->attempt = 0;
        ask(s, c);
        return;
    }
}

static void on_client(struct dns_server *s, struct dns_source *source, uint32_t events)
{
    struct dns_tcp *c = (struct dns_tcp *)source;
    int r = -ECONNRESET;
    if (c->state == READ) {
        r = message_read(source->fd, &c->query);
        if (r > 0) {
            query_handle(s, c);
            return;
        }
    } else if (c->state == WRITE) {
        r = message_write(source->fd, &c->answer, &c->moved);
        if (r > 0) {
            c->state = READ;
            str_clear(&c->query);
            touch(c);
            dns_rewatch(s, source, EPOLLIN);
        }
    } else if (!(events & (EPOLLHUP | EPOLLERR))) {
        r = 0;
    }
    if (r < 0)
        tcp_free(s, c);
}

void dns_tcp_accept(struct dns_server *s, struct dns_source *listener, uint32_t events)
{
    (void)events;
    struct sockaddr_in from;
    socklen_t length = sizeof(from);
    _cleanup_close_ int fd =
        accept4(listener->fd, (struct sockaddr *)&from, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    uint32_t address = ntohl(from.sin_addr.s_addr);
    size_t slot = DNS_TCP_MAX, of_client = 0;
    for (size_t i = 0; i < DNS_TCP_MAX; i++) {
        if (!s->tcp[i])
            slot = i;
        else if (s->tcp[i]->address == address)
            of_client++;
    }
    if (slot == DNS_TCP_MAX || of_client >= DNS_TCP_CLIENT_MAX)
        return; /* closed: the asker tries again */
    struct dns_tcp *c = NEW(struct dns_tcp);
    c->slot = slot;
    c->address = address;
    c->client.fd = c->upstream.fd = -EBADF;
    s->tcp[slot] = c;
    touch(c);
    if (dns_watch(s, &c->client, take_fd(&fd), EPOLLIN, on_client) < 0)
        tcp_free(s, c);
}

int64_t dns_tcp_expire(struct dns_server *s, int64_t now_ns)
{
    int64_t next = 0;
    for (size_t i = 0; i < DNS_TCP_MAX; i++) {
        if (s->tcp[i] && s->tcp[i]->deadline_ns <= now_ns) {
            if (s->tcp[i]->state == ASK || s->tcp[i]->state == HEAR)
                ask(s, s->tcp[i]);
            else
                tcp_free(s, s->tcp[i]);
        }
        if (s->tcp[i] && (!next || s->tcp[i]->deadline_ns < next))
            next = s->tcp[i]->deadline_ns;
    }
    return next;
}

void dns_tcp_close(struct dns_server *s)
{
    for (size_t i = 0; i < DNS_TCP_MAX; i++)
        if (s->tcp[i])
            tcp_free(s, s->tcp[i]);
}
