/* Sockets on the bridges' gateways, and what is asked there by datagram. */
#include "net/dns_server.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <unistd.h>

static void on_query(struct dns_server *s, struct dns_source *source, uint32_t events)
{
    (void)events;
    struct dns_listener *l = (struct dns_listener *)((char *)source - offsetof(struct dns_listener, udp));
    uint8_t query[4096], answer[DNS_EDNS_BYTES];
    struct sockaddr_in from;
    socklen_t length = sizeof(from);
    ssize_t n = recvfrom(source->fd, query, sizeof(query), MSG_TRUNC, (struct sockaddr *)&from, &length);
    if (n < 0 || (size_t)n > sizeof(query) || from.sin_family != AF_INET)
        return;
    size_t bytes = 0;
    switch (dns_message_answer(&s->table, ntohl(from.sin_addr.s_addr), query, (size_t)n, false, s->rotation++,
                               answer, sizeof(answer), &bytes)) {
    case DNS_DROP:
        return;
    case DNS_ANSWER:
        sendto(source->fd, answer, bytes, 0, (struct sockaddr *)&from, length);
        return;
    case DNS_FORWARD:
        dns_forward(s, l->bridge, &from, query, (size_t)n);
        return;
    }
}

/* Bound to the bridge as well as to its address, so that nobody on another interface can ask: the host must
 * not become an open resolver. */
static int listen_socket(const struct dns_listener *l, uint16_t port, int type)
{
    _cleanup_close_ int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int yes = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(l->gateway)}};
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, l->bridge, (socklen_t)strlen(l->bridge) + 1) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &yes, sizeof(yes)) < 0 ||
        (type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0) ||
        bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || (type == SOCK_STREAM && listen(fd, 64) < 0))
        return -errno;
    return take_fd(&fd);
}

static void listener_free(struct dns_listener *l)
{
    dns_unwatch(&l->udp);
    dns_unwatch(&l->tcp);
    free(l);
}

static void listener_open(struct dns_server *s, const struct dns_bridge *b, unsigned ifindex)
{
    struct dns_listener *l = NEW(struct dns_listener);
    snprintf(l->bridge, sizeof(l->bridge), "%s", b->name);
    l->gateway = b->gateway;
    l->ifindex = ifindex;
    l->udp.fd = l->tcp.fd = -EBADF;
    int r = dns_watch(s, &l->udp, listen_socket(l, s->table.port, SOCK_DGRAM), EPOLLIN, on_query);
    if (r == 0)
        r = dns_watch(s, &l->tcp, listen_socket(l, s->table.port, SOCK_STREAM), EPOLLIN, dns_tcp_accept);
    if (r < 0) {
        log_warning("names of bridge %s cannot be served: port %u: %s", b->name, s->table.port, strerror(-r));
        listener_free(l);
        return;
    }
    GROW(s->listeners, s->listener_count, s->listener_capacity);
    s->listeners[s->listener_count++] = l;
}

struct dns_listener *dns_listener_find(struct dns_server *s, const char *bridge)
{
    for (size_t i = 0; i < s->listener_count; i++)
        if (str_eq(s->listeners[i]->bridge, bridge))
            return s->listeners[i];
    return NULL;
}

static bool still_wanted(const struct dns_server *s, const struct dns_listener *l)
{
    for (size_t i = 0; i < s->table.bridge_count; i++) {
        const struct dns_bridge *b = &s->table.bridges[i];
        if (str_eq(b->name, l->bridge))
            return b->gateway == l->gateway && if_nametoindex(l->bridge) == l->ifindex;
    }
    return false;
}

void dns_listeners_update(struct dns_server *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->listener_count; i++) {
        if (still_wanted(s, s->listeners[i]))
            s->listeners[kept++] = s->listeners[i];
        else
            listener_free(s->listeners[i]);
    }
    s->listener_count = kept;
    for (size_t i = 0; i < s->table.bridge_count; i++) {
        const struct dns_bridge *b = &s->table.bridges[i];
        unsigned ifindex = if_nametoindex(b->name);
        if (ifindex && !dns_listener_find(s, b->name)) /* a bridge yet to be made is announced again */
            listener_open(s, b, ifindex);
    }
}

void dns_listeners_close(struct dns_server *s)
{
    for (size_t i = 0; i < s->listener_count; i++)
        listener_free(s->listeners[i]);
    free(s->listeners);
    s->listeners = NULL;
    s->listener_count = s->listener_capacity = 0;
}
