#include "base/netlink.h"

#include "base/deferred.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdatomic.h>

enum { ANSWER_BYTES = 32768, DUMP_ATTEMPTS = 5 };

static atomic_uint next_sequence = 1;

int netlink_open(int bus, struct mnl_socket **ret, struct err *err)
{
    deferred_need(DEFERRED_MNL);
    struct mnl_socket *s = mnl_socket_open2(bus, SOCK_CLOEXEC);
    if (!s)
        return err_sys(err, errno, "open a netlink socket");
    if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0) {
        int sys = errno;
        mnl_socket_close(s);
        return err_sys(err, sys, "bind a netlink socket");
    }
    *ret = s;
    return 0;
}

void netlink_close(struct mnl_socket *s)
{
    if (s)
        mnl_socket_close(s);
}

/* Takes the mark of a dump that something changed under off its messages, so that reading goes on to its end.
 */
static bool interrupted(void *answer, ssize_t n)
{
    bool was = false;
    int left = (int)n;
    for (struct nlmsghdr *h = answer; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
        was = was || (h->nlmsg_flags & NLM_F_DUMP_INTR);
        h->nlmsg_flags &= (uint16_t)~NLM_F_DUMP_INTR;
    }
    return was;
}

/* -EINTR: the dump is complete, but for what changed meanwhile. */
static int talk_once(struct mnl_socket *s, struct nlmsghdr *request, netlink_fn fn, void *context)
{
    unsigned seq = atomic_fetch_add(&next_sequence, 1);
    request->nlmsg_seq = seq;
    request->nlmsg_flags |= NLM_F_REQUEST;
    if ((request->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP) /* one of its bits is NLM_F_EXCL */
        request->nlmsg_flags |= NLM_F_ACK;
    if (mnl_socket_sendto(s, request, request->nlmsg_len) < 0)
        return -errno;
    _cleanup_free_ char *answer = mem_new(ANSWER_BYTES);
    bool partial = false;
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(s, answer, ANSWER_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        partial = interrupted(answer, n) || partial;
        int r = mnl_cb_run(answer, (size_t)n, seq, mnl_socket_get_portid(s), fn, context);
        if (r < 0)
            return errno ? -errno : -EIO;
        if (r == MNL_CB_STOP)
            return partial ? -EINTR : 0;
    }
}

int netlink_talk(struct mnl_socket *s, struct nlmsghdr *request, netlink_fn fn, void *context)
{
    int r = -EINTR;
    for (int attempt = 0; r == -EINTR && attempt < DUMP_ATTEMPTS; attempt++)
        r = talk_once(s, request, fn, context);
    return r == -EINTR ? 0 : r;
}
