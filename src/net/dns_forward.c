/* Questions that are not about our containers go to the host's resolvers. */
#include "net/dns_server.h"

#include "base/file.h"
#include "base/timeutil.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sys/random.h>
#include <unistd.h>

enum { RCODE_SERVER_FAILURE = 2, RCODE_REFUSED = 5, RESOLV_CONF_BYTES_MAX = 64 << 10, ATTEMPTS_MAX = 4 };

struct dns_pending {
    struct dns_source source;
    size_t slot;
    char bridge[16];
    struct sockaddr_in client;
    uint16_t client_id, id;
    unsigned attempt;
    int64_t deadline_ns;
    size_t bytes;
    uint8_t query[];
};

/* --- which resolvers --- */

static bool resolver_parse(const char *word, struct dns_resolver *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ret->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ret->address;
    *ret = (struct dns_resolver){0};
    if (inet_pton(AF_INET, word, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(53);
        ret->length = sizeof(*v4);
        return true;
    }
    char address[INET6_ADDRSTRLEN];
    size_t n = strcspn(word, "%");
    if (n >= sizeof(address))
        return false;
    memcpy(address, word, n);
    address[n] = '\0';
    if (inet_pton(AF_INET6, address, &v6->sin6_addr) != 1)
        return false;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(53);
    v6->sin6_scope_id = word[n] ? if_nametoindex(word + n + 1) : 0;
    ret->length = sizeof(*v6);
    return true;
}

int dns_resolvers_parse(const char *text, struct dns_resolver *ret, size_t capacity)
{
    size_t count = 0;
    char word[128];
    for (const char *line = text; *line && count < capacity;) {
        if (sscanf(line, "nameserver%*[ \t]%127[^ \t\r\n#;]", word) == 1 && resolver_parse(word, &ret[count]))
            count++;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return (int)count;
}

void dns_resolvers_refresh(struct dns_server *s)
{
    int64_t now = time_monotonic_ns();
    if (s->resolvers_read_ns && now - s->resolvers_read_ns < NS_PER_S)
        return;
    s->resolvers_read_ns = now;
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read("/etc/resolv.conf", RESOLV_CONF_BYTES_MAX, &text, NULL) == 0)
        s->resolver_count =
            (size_t)dns_resolvers_parse(str_get(&text), s->resolvers, ARRAY_SIZE(s->resolvers));
}

/* --- one question under way --- */

static void pending_free(struct dns_server *s, struct dns_pending *p)
{
    s->pending[p->slot] = NULL;
    dns_unwatch(&p->source);
    free(p);
}

/* The bridge may have gone meanwhile, and with it the asker. */
static void reply(struct dns_server *s, const struct dns_pending *p, uint8_t *answer, size_t n)
{
    struct dns_listener *l = dns_listener_find(s, p->bridge);
    answer[0] = (uint8_t)(p->client_id >> 8);
    answer[1] = (uint8_t)p->client_id;
    if (l)
        sendto(l->udp.fd, answer, n, 0, (const struct sockaddr *)&p->client, sizeof(p->client));
}

static void fail(struct dns_server *s, struct dns_pending *p)
{
    uint8_t answer[DNS_UDP_BYTES];
    size_t n = dns_message_refuse(p->query, p->bytes, RCODE_SERVER_FAILURE, answer, sizeof(answer));
    reply(s, p, answer, n);
    pending_free(s, p);
}

static void on_answer(struct dns_server *s, struct dns_source *source, uint32_t events);

static bool attempt_send(struct dns_server *s, struct dns_pending *p)
{
    const struct dns_resolver *to = &s->resolvers[p->attempt % s->resolver_count];
    dns_unwatch(&p->source);
    int fd = socket(to->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to->address, to->length) < 0)
        fd = close_fd(fd);
    if (fd < 0 || dns_watch(s, &p->source, fd, EPOLLIN, on_answer) < 0)
        return false;
    return send(fd, p->query, p->bytes, 0) == (ssize_t)p->bytes;
}

/* The next resolver that takes the question; none left: the asker hears of it. */
static void attempt_next(struct dns_server *s, struct dns_pending *p)
{
    size_t most = s->resolver_count > 1 ? ATTEMPTS_MAX : 2;
    while (s->resolver_count && p->attempt < most) {
        bool sent = attempt_send(s, p);
        p->attempt++;
        if (sent) {
            p->deadline_ns = time_monotonic_ns() + DNS_ATTEMPT_MS * NS_PER_MS;
            return;
        }
    }
    fail(s, p);
}

static void on_answer(struct dns_server *s, struct dns_source *source, uint32_t events)
{
    (void)events;
    static uint8_t answer[DNS_MESSAGE_BYTES];
    struct dns_pending *p = (struct dns_pending *)source;
    ssize_t n = recv(source->fd, answer, sizeof(answer), 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            attempt_next(s, p); /* nobody listens there */
        return;
    }
    if (n < 12 || (answer[0] << 8 | answer[1]) != p->id ||
        !dns_message_matches(p->query, p->bytes, answer, (size_t)n))
        return; /* not for us: the true one may still come */
    int rcode = answer[3] & 0x0f;
    size_t most = s->resolver_count > 1 ? s->resolver_count : 0;
    if ((rcode == RCODE_SERVER_FAILURE || rcode == RCODE_REFUSED) && p->attempt < most) {
        attempt_next(s, p);
        return;
    }
    reply(s, p, answer, (size_t)n);
    pending_free(s, p);
}

static bool slot_find(const struct dns_server *s, const struct sockaddr_in *client, size_t *ret)
{
    size_t of_client = 0, free_slot = DNS_PENDING_MAX;
    for (size_t i = 0; i < DNS_PENDING_MAX; i++) {
        const struct dns_pending *p = s->pending[i];
        if (!p)
            free_slot = i;
        else if (p->client.sin_addr.s_addr == client->sin_addr.s_addr)
            of_client++;
    }
    *ret = free_slot;
    return free_slot < DNS_PENDING_MAX && of_client < DNS_PENDING_CLIENT_MAX;
}

void dns_forward(struct dns_server *s, const char *bridge, const struct sockaddr_in *client,
                 const uint8_t *query, size_t n)
{
    size_t slot;
    if (!slot_find(s, client, &slot))
        return; /* as a lost datagram: the asker repeats it, when there may be room */
    struct dns_pending *p = mem_new(sizeof(*p) + n);
    p->source.fd = -EBADF;
    p->slot = slot;
    snprintf(p->bridge, sizeof(p->bridge), "%s", bridge);
    p->client = *client;
    p->client_id = (uint16_t)(query[0] << 8 | query[1]);
    must(getrandom(&p->id, sizeof(p->id), 0) == sizeof(p->id));
    p->bytes = n;
    memcpy(p->query, query, n);
    p->query[0] = (uint8_t)(p->id >> 8);
    p->query[1] = (uint8_t)p->id;
    s->pending[slot] = p;
    dns_resolvers_refresh(s);
    attempt_next(s, p);
}

int64_t dns_forward_expire(struct dns_server *s, int64_t now_ns)
{
    int64_t next = 0;
    for (size_t i = 0; i < DNS_PENDING_MAX; i++) {
        if (s->pending[i] && s->pending[i]->deadline_ns <= now_ns)
            attempt_next(s, s->pending[i]);
        if (s->pending[i] && (!next || s->pending[i]->deadline_ns < next))
            next = s->pending[i]->deadline_ns;
    }
    return next;
}

void dns_forward_close(struct dns_server *s)
{
    for (size_t i = 0; i < DNS_PENDING_MAX; i++)
        if (s->pending[i])
            pending_free(s, s->pending[i]);
}
