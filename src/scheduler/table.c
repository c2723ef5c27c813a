#include "scheduler/table.h"

void table_done(struct table *t)
{
    free(t->entries);
    *t = (struct table){0};
}

/* Where the key is, or the free place where it would be. */
static uint32_t table_place(const struct table *t, uint64_t key)
{
    uint32_t at = (uint32_t)mix64(key) & (t->cap - 1);
    while (t->entries[at].count && t->entries[at].key != key)
        at = (at + 1) & (t->cap - 1);
    return at;
}

uint32_t table_get(const struct table *t, uint64_t key)
{
    return t->used ? t->entries[table_place(t, key)].count : 0;
}

static void table_resize(struct table *t, uint32_t cap)
{
    struct table old = *t;
    t->entries = NEW_N(struct table_entry, cap);
    t->cap = cap;
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.entries[i].count)
            t->entries[table_place(t, old.entries[i].key)] = old.entries[i];
    free(old.entries);
}

/* Entries behind a gap move up, so that a search never stops too early. */
static void table_close_gap(struct table *t, uint32_t gap)
{
    for (uint32_t at = (gap + 1) & (t->cap - 1); t->entries[at].count; at = (at + 1) & (t->cap - 1)) {
        uint32_t home = (uint32_t)mix64(t->entries[at].key) & (t->cap - 1);
        if (((at - home) & (t->cap - 1)) >= ((at - gap) & (t->cap - 1))) {
            t->entries[gap] = t->entries[at];
            t->entries[at].count = 0;
            gap = at;
        }
    }
}

uint32_t table_add(struct table *t, uint64_t key, int32_t difference)
{
    if (t->used + 1 > t->cap / 4 * 3)
        table_resize(t, t->cap ? t->cap * 2 : 4);
    uint32_t at = table_place(t, key);
    struct table_entry *e = &t->entries[at];
    int64_t count = (int64_t)e->count + difference;
    uint32_t now = count > 0 ? (uint32_t)count : 0;
    t->used += (now > 0) - (e->count > 0);
    bool gone = e->count && !now;
    e->key = key;
    e->count = now;
    if (gone)
        table_close_gap(t, at);
    return now;
}
