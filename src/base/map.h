/* A hash map from strings to pointers, that keeps the order in which keys were first put.
 *
 * Keys are copied. Values are borrowed unless `free_value` is set, which then frees a value that is replaced,
 * removed, or left at map_done(). Not locked: the owner serialises. Hashing is seeded by the process, so that
 * a peer who chooses keys cannot make them collide. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/mem.h"

#include <stdbool.h>

struct map_entry {
    char *key; /* NULL: removed */
    void *value;
    uint64_t hash;
};

struct map {
    struct map_entry *entries; /* in order of insertion, with gaps */
    size_t used;               /* entries in use or removed */
    size_t capacity;
    size_t count; /* live ones */
    uint32_t *slots;
    size_t slot_count; /* a power of two, or 0 */
    void (*free_value)(void *);
};

#define MAP_INIT(free_fn) ((struct map){.free_value = (free_fn)})

void map_done(struct map *m);
void map_put(struct map *m, const char *key, void *value);
void *map_get(const struct map *m, const char *key); /* NULL if absent */
bool map_has(const struct map *m, const char *key);
bool map_remove(struct map *m, const char *key);
/* Takes the value out without freeing it; NULL if absent. */
void *map_steal(struct map *m, const char *key);
/* Walks in order: for (size_t i = 0; (e = map_next(m, &i));). Removing the entry just seen is allowed. */
struct map_entry *map_next(const struct map *m, size_t *position);

#endif
