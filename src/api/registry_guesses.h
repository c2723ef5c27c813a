/* A bound on guessing passwords, by the address that guesses. Each wrong guess is a debt, which melts with
 * time; who owes GUESSES_MAX is refused until some of it has melted. An IPv6 address counts by its first 64
 * bits, since one machine has all of the rest. Not locked. */
#ifndef API_REGISTRY_GUESSES_H
#define API_REGISTRY_GUESSES_H

#include "base/map.h"

#include <stdint.h>

enum { GUESSES_MAX = 10, GUESSES_MELT_S = 6, GUESSES_ADDRESSES = 4096 };

struct guesses {
    struct map debts; /* address -> when the debt has melted, in ns */
};
void guesses_init(struct guesses *g);
void guesses_done(struct guesses *g);
/* 0: it may guess; else the seconds to wait. */
int guesses_wait_s(struct guesses *g, const char *address, int64_t now_ns);
void guesses_wrong(struct guesses *g, const char *address, int64_t now_ns);

#endif
