#include "engine/userns_ranges.h"

#include "base/mem.h"
#include "base/str.h"

enum { LINES_MAX = 4096, LINE_BYTES_MAX = 1024 };

/* 4294967295 is no id ("unchanged" in chown(2)). */
static bool make_range(int64_t first, int64_t count, struct id_range *ret)
{
    if (first < 1 || count < 1 || first > UINT32_MAX - 1 || count > UINT32_MAX - first)
        return false;
    *ret = (struct id_range){(uint32_t)first, (uint32_t)count};
    return true;
}

/* "name:first:count" */
static bool parse_line(const char *line, size_t n, char **ret_name, struct id_range *ret)
{
    if (n == 0 || n > LINE_BYTES_MAX)
        return false;
    _cleanup_free_ char *text = mem_strndup(line, n);
    _cleanup_strv_ char **fields = strv_split(text, ':');
    int64_t first, count;
    if (strv_len(fields) != 3 || !*fields[0] || parse_i64(fields[1], 0, UINT32_MAX, &first, NULL) < 0 ||
        parse_i64(fields[2], 0, UINT32_MAX, &count, NULL) < 0 || !make_range(first, count, ret))
        return false;
    *ret_name = mem_strdup(fields[0]);
    return true;
}

/* Calls for each good line until it says true. */
static bool each(const char *text, bool (*visit)(void *, const char *name, struct id_range), void *context)
{
    for (int lines = 0; *text && lines < LINES_MAX; lines++) {
        size_t n = strcspn(text, "\n");
        _cleanup_free_ char *name = NULL;
        struct id_range range;
        if (parse_line(text, n, &name, &range) && visit(context, name, range))
            return true;
        text += n + (text[n] == '\n');
    }
    return false;
}

struct search {
    const char *name;
    char number[16];
    struct id_range *best;
    bool found;
};

static bool compare(void *context, const char *name, struct id_range range)
{
    struct search *s = context;
    if (!str_eq(name, s->name) && !(*s->number && str_eq(name, s->number)))
        return false;
    if (!s->found || range.count > s->best->count)
        *s->best = range;
    s->found = true;
    return false;
}

bool userns_ranges_find(const char *text, const char *name, int64_t id, struct id_range *ret)
{
    struct search s = {.name = name, .best = ret};
    if (id >= 0)
        snprintf(s.number, sizeof(s.number), "%lld", (long long)id);
    each(text, compare, &s);
    return s.found;
}

struct list {
    struct id_range *items;
    size_t count, capacity;
};

static bool add(void *context, const char *name, struct id_range range)
{
    struct list *l = context;
    GROW(l->items, l->count, l->capacity);
    l->items[l->count++] = range;
    return false;
}

size_t userns_ranges_all(const char *text, struct id_range **ret)
{
    struct list l = {0};
    each(text, add, &l);
    *ret = l.items;
    return l.count;
}

static const struct id_range *overlapping(uint32_t first, uint32_t count, const struct id_range *taken,
                                          size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (first < (uint64_t)taken[i].first + taken[i].count && taken[i].first < (uint64_t)first + count)
            return &taken[i];
    return NULL;
}

int userns_ranges_place(struct id_range pool, uint32_t count, uint32_t step, const struct id_range *taken,
                        size_t taken_count, uint32_t *ret_first, struct err *err)
{
    uint64_t at = pool.first, end = (uint64_t)pool.first + pool.count;
    while (at + count <= end) {
        const struct id_range *other = overlapping((uint32_t)at, count, taken, taken_count);
        if (!other) {
            *ret_first = (uint32_t)at;
            return 0;
        }
        uint64_t past = (uint64_t)other->first + other->count - pool.first;
        at = pool.first + (past + step - 1) / step * step;
    }
    return err_set(err, ERR_LIMIT,
                   "there are no %u free user ids left in %u:%u for a container of its own range", count,
                   pool.first, pool.count);
}
