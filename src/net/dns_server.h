/* The DNS process: one thread, one epoll, everything bounded.
 *
 *     container -> [listener: a bridge's gateway] -> table knows -> answer
 *                                                 -> else: forwarder (UDP) or the same connection (TCP)
 *                                                    -> the host's resolvers in turn -> answer
 *
 * Events are taken one at a time, so that a handler may close any source. What an asker sends is untrusted,
 * and so is what comes back: an upstream answer counts only from the address asked (a connected socket of its
 * own, with a port the kernel chose), with the random id and for the question asked. */
#ifndef NET_DNS_SERVER_H
#define NET_DNS_SERVER_H

#include "net/dns_message.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    DNS_PENDING_MAX = 384, /* forwarded datagrams; below the usual limit of descriptors with all the rest */
    DNS_PENDING_CLIENT_MAX = 96,
    DNS_TCP_MAX = 64,
    DNS_TCP_CLIENT_MAX = 16,
    DNS_RESOLVERS_MAX = 3, /* as resolv.conf(5) has it */
    DNS_ATTEMPT_MS = 2000, /* programs wait 5 s by default: two resolvers get their chance */
    DNS_TCP_IDLE_MS = 10000,
    DNS_CONTROLS_MAX = 8,
};

struct dns_server;

/* Something epoll watches; embedded first in what it belongs to. */
struct dns_source {
    int fd;
    void (*ready)(struct dns_server *s, struct dns_source *source, uint32_t events);
};

struct dns_listener {
    struct dns_source udp, tcp;
    char bridge[16];
    uint32_t gateway;
    unsigned ifindex;
};

struct dns_resolver {
    struct sockaddr_storage address;
    socklen_t length;
};

struct dns_pending;
struct dns_tcp;

struct dns_server {
    const char *state_dir;
    int epoll;
    struct dns_table table;
    struct dns_listener **listeners;
    size_t listener_count, listener_capacity;
    struct dns_source control;
    struct dns_source *controls[DNS_CONTROLS_MAX];
    struct dns_pending *pending[DNS_PENDING_MAX];
    struct dns_tcp *tcp[DNS_TCP_MAX];
    struct dns_resolver resolvers[DNS_RESOLVERS_MAX];
    size_t resolver_count;
    int64_t resolvers_read_ns;
    unsigned rotation;
    bool stop;
};

/* 0 or a negative errno. */
int dns_watch(struct dns_server *s, struct dns_source *source, int fd, uint32_t events,
              void (*ready)(struct dns_server *, struct dns_source *, uint32_t));
void dns_rewatch(struct dns_server *s, struct dns_source *source, uint32_t events);
void dns_unwatch(struct dns_source *source); /* closes */
struct dns_listener *dns_listener_find(struct dns_server *s, const char *bridge);

/* --- dns_listen.c --- */
/* Makes the listeners those of the table. */
void dns_listeners_update(struct dns_server *s);
void dns_listeners_close(struct dns_server *s);

/* --- dns_forward.c --- */
void dns_resolvers_refresh(struct dns_server *s); /* reads /etc/resolv.conf, at most once a second */
int dns_resolvers_parse(const char *text, struct dns_resolver *ret, size_t capacity); /* count */
/* A datagram from `client` on `bridge`. */
void dns_forward(struct dns_server *s, const char *bridge, const struct sockaddr_in *client,
                 const uint8_t *query, size_t n);
/* Gives up or tries the next resolver where time is over; returns the next deadline, or 0. */
int64_t dns_forward_expire(struct dns_server *s, int64_t now_ns);
void dns_forward_close(struct dns_server *s);

/* --- dns_tcp.c --- */
void dns_tcp_accept(struct dns_server *s, struct dns_source *listener, uint32_t events);
int64_t dns_tcp_expire(struct dns_server *s, int64_t now_ns);
void dns_tcp_close(struct dns_server *s);

#endif
