/* Ranges of ids: the files that give them to users, and finding a free one. Pure. */
#ifndef ENGINE_USERNS_RANGES_H
#define ENGINE_USERNS_RANGES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct id_range {
    uint32_t first, count;
};

/* The largest range of one user in the text of /etc/subuid or /etc/subgid (subuid(5)): by name, or by `id`
 * when it is not -1. Malformed lines are passed over. False: there is none. */
bool userns_ranges_find(const char *text, const char *name, int64_t id, struct id_range *ret);
/* All of them; the caller frees. At most 4096 are looked at. */
size_t userns_ranges_all(const char *text, struct id_range **ret);
/* The lowest free place for `count` ids in `pool`, on a multiple of `step` from its begin. */
int userns_ranges_place(struct id_range pool, uint32_t count, uint32_t step, const struct id_range *taken,
                        size_t taken_count, uint32_t *ret_first, struct err *err);

#endif
