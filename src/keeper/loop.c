#include "keeper/loop.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "keeper/park.h"

#include <string.h>
#include <unistd.h>

int loop_init(struct loop *l, struct err *err)
{
    *l = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    return l->epoll_fd < 0 ? err_sys(err, errno, "epoll") : 0;
}

void loop_bury(struct loop *l, void *p)
{
    GROW(l->buried, l->buried_count, l->buried_capacity);
    l->buried[l->buried_count++] = p;
}

static void bury_all(struct loop *l)
{
    for (size_t i = 0; i < l->buried_count; i++)
        free(l->buried[i]);
    l->buried_count = 0;
}

static void run_tick(struct loop *l)
{
    int64_t now = time_monotonic_ns();
    if (!l->tick_wanted || now - l->last_tick_ns < NS_PER_S)
        return;
    l->last_tick_ns = now;
    l->tick_wanted = false;
    l->tick(l);
}

void loop_run(struct loop *l)
{
    struct epoll_event events[64];
    while (!l->stop) {
        int n = epoll_wait(l->epoll_fd, events, ARRAY_SIZE(events), l->tick_wanted ? 1000 : -1);
        if (n < 0 && errno != EINTR)
            must_fail("epoll_wait", __FILE__, __LINE__);
        for (int i = 0; i < n; i++) {
            struct watch *w = events[i].data.ptr;
            if (w->fd >= 0 && w->events)
                w->ready(w, events[i].events);
        }
        if (l->tick_wanted)
            run_tick(l);
        bury_all(l);
    }
}

void loop_done(struct loop *l)
{
    bury_all(l);
    free(l->buried);
    close_fd(l->epoll_fd);
}

void watch_start(struct loop *l, struct watch *w, int fd, uint32_t events,
                 void (*ready)(struct watch *w, uint32_t events))
{
    *w = (struct watch){.fd = park_fd(fd), .ready = ready};
    watch_set(l, w, events);
}

void watch_set(struct loop *l, struct watch *w, uint32_t events)
{
    if (w->fd < 0 || w->events == events)
        return;
    int op = !w->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    struct epoll_event e = {.events = events, .data.ptr = w};
    if (epoll_ctl(l->epoll_fd, op, w->fd, &e) < 0)
        log_error("epoll_ctl: %s", strerror(errno));
    w->events = events;
}

void watch_close(struct loop *l, struct watch *w)
{
    watch_set(l, w, 0);
    w->fd = close_fd(w->fd);
}
