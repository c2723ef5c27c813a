/* Blobs that were pushed just now, read into the page cache. An upload goes past it, which costs half the
 * processor time, but who pushes is soon followed by who pulls. A thread of its own reads them behind the
 * pushes' answers, one after the other. What memory has no room for, and what comes while many wait, is left
 * to the first pull. */
#ifndef REGISTRY_WARM_H
#define REGISTRY_WARM_H

#include "base/err.h"

#include <stdint.h>

struct registry_warmer;

int registry__warmer_start(struct registry_warmer **ret, struct err *err);
/* Takes the descriptor of a file of `size` bytes. */
void registry__warm(struct registry_warmer *w, int fd, int64_t size);
void registry__warmer_stop(struct registry_warmer *w); /* NULL: nothing */

#endif
