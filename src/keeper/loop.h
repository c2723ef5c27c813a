/* The keeper's event loop: descriptors watched with epoll, and a tick of a second while somebody wants one.
 *
 * A watch is embedded in what it belongs to; `ready` finds its owner with OWNER(). Memory that holds a watch
 * is freed with loop_bury(), at the end of the round, because the round may still have an event for it. */
#ifndef KEEPER_LOOP_H
#define KEEPER_LOOP_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

struct watch {
    int fd;
    uint32_t events; /* as epoll has it; 0: not in the set, so that not even a hang-up is told */
    void (*ready)(struct watch *w, uint32_t events);
};

#define WATCH_NONE                                                                                           \
    ((struct watch){                                                                                         \
        .fd = -EBADF,                                                                                        \
    })
#define OWNER(watch, type, member) ((type *)((char *)(watch)-offsetof(type, member)))

struct loop {
    int epoll_fd;
    void **buried;
    size_t buried_count, buried_capacity;
    bool stop;
    bool tick_wanted; /* set by whoever waits for time to pass; cleared before each tick */
    void (*tick)(struct loop *l);
    int64_t last_tick_ns;
};

int loop_init(struct loop *l, struct err *err);
void loop_run(struct loop *l); /* until `stop` */
void loop_done(struct loop *l);
void loop_bury(struct loop *l, void *p);

/* Takes the descriptor over, and parks it (park.h). */
void watch_start(struct loop *l, struct watch *w, int fd, uint32_t events,
                 void (*ready)(struct watch *w, uint32_t events));
void watch_set(struct loop *l, struct watch *w, uint32_t events);
void watch_close(struct loop *l, struct watch *w); /* also the descriptor; none is fine */

#endif
