/* A request to the kernel over netlink and its whole answer, through libmnl, which is brought in by the first
 * socket.
 *
 * A socket belongs to the network namespace of the thread that opened it and may be used from another; one
 * thread at a time. netlink_talk() returns 0 or a negative errno, so that callers can tell "exists already"
 * from a failure; they turn it into a struct err with their own words. */
#ifndef BASE_NETLINK_H
#define BASE_NETLINK_H

#include "base/err.h"
#include "base/mem.h"

struct mnl_socket;
struct nlmsghdr;

/* `bus`: NETLINK_ROUTE, ... */
int netlink_open(int bus, struct mnl_socket **ret, struct err *err);
void netlink_close(struct mnl_socket *s);
static inline void netlink_close_p(struct mnl_socket **s)
{
    netlink_close(*s);
}
#define _cleanup_netlink_ _cleanup_(netlink_close_p)

/* Sends `request`, which gets its sequence number and NLM_F_REQUEST here, NLM_F_ACK too unless it is a dump,
 * and reads until the acknowledgement or the end of the dump. `fn` is libmnl's kind of callback, or NULL.
 *
 * A dump that something changed under is taken again, so that `fn` may see things twice; on a machine where
 * things change all the time the last of five has to do. */
typedef int (*netlink_fn)(const struct nlmsghdr *message, void *context);
int netlink_talk(struct mnl_socket *s, struct nlmsghdr *request, netlink_fn fn, void *context);

#endif
