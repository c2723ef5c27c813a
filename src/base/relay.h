/* Carries bytes in both directions between two streams, until they end.
 *
 * Each stream is a descriptor to wait for, and calls that read and write without waiting. What is read is
 * written before more is read, so that who reads slowly holds up who writes. A direction is over when its
 * source has ended, or whoever it goes to is gone; the one it goes to is told then. One thread. */
#ifndef BASE_RELAY_H
#define BASE_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct relay_end {
    void *of; /* for the calls */
    int fd;
    /* As recv(2) and send(2) are without waiting. NULL: these themselves. */
    ssize_t (*recv)(void *of, void *bytes, size_t n);
    ssize_t (*send)(void *of, const void *bytes, size_t n);
    void (*shut)(void *of); /* nothing more is sent. NULL: shutdown(2) */
};

/* What else is over with a direction. */
enum relay_until {
    RELAY_EITHER, /* everything, with the first of them */
    RELAY_BOTH,   /* nothing: each goes on until it ends */
    RELAY_ANSWER, /* everything, with that from `b` to `a` */
};

struct relay_rule {
    enum relay_until until;
    int stop_fd; /* readable, or hung up: nothing more is carried. <0: there is none */
    /* Called at least every `look_ms`, unless it is NULL. False: the same. */
    bool (*look)(void *context);
    void *context;
    int look_ms;
};

/* The descriptors stay the caller's. What went through is not left in memory. */
void relay(const struct relay_end *a, const struct relay_end *b, const struct relay_rule *rule);

#endif
