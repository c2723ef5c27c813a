/* What the files about service addresses share: spread.c (what is set), network_reserve.c (addresses). */
#ifndef ENGINE_SPREAD_PRIV_H
#define ENGINE_SPREAD_PRIV_H

#include "engine/endpoint_priv.h"
#include "engine/network_priv.h"
#include "engine/spread.h"

/* An address, kept under a key. */
struct reservation {
    char *address, *address6; /* without prefix length; address6 may be NULL */
};

/* The one whose address this is ("10.0.1.2" or "10.0.1.2/24"), or NULL; engine.lock held. */
const struct reservation *reserve__find(const struct network *n, const char *address);

/* The network's, whose far containers have changed; engine.lock held. */
void spread__apply_all_of(struct engine *e, const struct network *n);

#endif
