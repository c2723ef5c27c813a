#include "base/map.h"

#include <string.h>
#include <sys/random.h>

static uint64_t seed(void)
{
    static uint64_t value;
    uint64_t v = __atomic_load_n(&value, __ATOMIC_RELAXED);
    if (v)
        return v;
    if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v))
        v = (uint64_t)(uintptr_t)&value;
    v |= 1;
    uint64_t none = 0;
    if (!__atomic_compare_exchange_n(&value, &none, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        v = none;
    return v;
}

/* FNV-1a over a secret start, finished with the mixing step of MurmurHash3. */
static uint64_t hash_of(const char *key)
{
    uint64_t h = 0xcbf29ce484222325u ^ seed();
    for (const unsigned char *c = (const unsigned char *)key; *c; c++)
        h = (h ^ *c) * 0x100000001b3u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    return h;
}

enum { SLOT_EMPTY = 0 }; /* otherwise an entry's index + 1 */

static void place(struct map *m, uint64_t hash, uint32_t index)
{
    size_t i = hash & (m->slot_count - 1);
    while (m->slots[i] != SLOT_EMPTY)
        i = (i + 1) & (m->slot_count - 1);
    m->slots[i] = index + 1;
}

/* Drops the gaps and makes the table at least twice as large as what lives in it. */
static void rebuild(struct map *m)
{
    size_t live = 0;
    for (size_t i = 0; i < m->used; i++)
        if (m->entries[i].key)
            m->entries[live++] = m->entries[i];
    m->used = live;
    size_t slots = 16;
    while (slots < live * 4)
        slots *= 2;
    free(m->slots);
    m->slots = NEW_N(uint32_t, slots);
    m->slot_count = slots;
    for (size_t i = 0; i < live; i++)
        place(m, m->entries[i].hash, (uint32_t)i);
}

static struct map_entry *find(const struct map *m, const char *key)
{
    if (!m->slot_count)
        return NULL;
    uint64_t hash = hash_of(key);
    for (size_t i = hash & (m->slot_count - 1); m->slots[i] != SLOT_EMPTY;
         i = (i + 1) & (m->slot_count - 1)) {
        struct map_entry *e = &m->entries[m->slots[i] - 1];
        if (e->key && e->hash == hash && strcmp(e->key, key) == 0)
            return e;
    }
    return NULL;
}

void map_done(struct map *m)
{
    for (size_t i = 0; i < m->used; i++) {
        if (m->entries[i].key && m->free_value)
            m->free_value(m->entries[i].value);
        free(m->entries[i].key);
    }
    free(m->entries);
    free(m->slots);
    *m = MAP_INIT(m->free_value);
}

void map_put(struct map *m, const char *key, void *value)
{
    struct map_entry *e = find(m, key);
    if (e) {
        if (m->free_value && e->value != value)
            m->free_value(e->value);
        e->value = value;
        return;
    }
    if ((m->used + 1) * 2 > m->slot_count)
        rebuild(m);
    GROW(m->entries, m->used, m->capacity);
    uint64_t hash = hash_of(key);
    m->entries[m->used] = (struct map_entry){.key = mem_strdup(key), .value = value, .hash = hash};
    place(m, hash, (uint32_t)m->used);
    m->used++;
    m->count++;
}

void *map_get(const struct map *m, const char *key)
{
    struct map_entry *e = find(m, key);
    return e ? e->value : NULL;
}

bool map_has(const struct map *m, const char *key)
{
    return find(m, key) != NULL;
}

void *map_steal(struct map *m, const char *key)
{
    struct map_entry *e = find(m, key);
    if (!e)
        return NULL;
    void *value = e->value;
    free(e->key);
    e->key = NULL;
    e->value = NULL;
    m->count--;
    return value;
}

bool map_remove(struct map *m, const char *key)
{
    if (!map_has(m, key))
        return false;
    void *value = map_steal(m, key);
    if (m->free_value)
        m->free_value(value);
    return true;
}

struct map_entry *map_next(const struct map *m, size_t *position)
{
    while (*position < m->used) {
        struct map_entry *e = &m->entries[(*position)++];
        if (e->key)
            return e;
    }
    return NULL;
}
