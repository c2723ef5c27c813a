/* A hash table from numbers to small counts; a count of 0 is no entry. All zero is an empty table. The
 * numbers are ours (nodes' indexes, hashes), so nobody can choose ones that collide. */
#ifndef SCHEDULER_TABLE_H
#define SCHEDULER_TABLE_H

#include "base/mem.h"

#include <stdbool.h>

struct table_entry {
    uint64_t key;
    uint32_t count; /* 0: free */
};
struct table {
    struct table_entry *entries;
    uint32_t used, cap; /* cap is a power of two, or 0 */
};

void table_done(struct table *t);
uint32_t table_get(const struct table *t, uint64_t key);
/* Adds to the count and returns the new one. It never goes below 0. */
uint32_t table_add(struct table *t, uint64_t key, int32_t difference);

/* A good spread of the bits of a number. */
static inline uint64_t mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#endif
