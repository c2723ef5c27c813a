#include "cluster/facts.h"

#include "base/json.h"
#include "base/str.h"

enum { GONE_MAX = 4096 };

const char *fact_part(enum fact_kind kind)
{
    static const char *const parts[FACT_KINDS] = {"networks", "nodes", "services", "tasks"};
    return parts[kind];
}

static void unlink_fact(struct facts *f, struct fact *one)
{
    *(one->older ? &one->older->newer : &f->oldest) = one->newer;
    *(one->newer ? &one->newer->older : &f->newest) = one->older;
    one->older = one->newer = NULL;
}

static void link_newest(struct facts *f, struct fact *one)
{
    one->stamp = ++f->stamp;
    one->older = f->newest;
    *(f->newest ? &f->newest->newer : &f->oldest) = one;
    f->newest = one;
}

static void free_fact(struct fact *one)
{
    free(one->id);
    json_decref(one->row);
    free(one);
}

/* All that are gone; who has not heard of the last of them is told all. */
static void sweep_gone(struct facts *f)
{
    for (struct fact *one = f->oldest, *next; one; one = next) {
        next = one->newer;
        if (!one->gone)
            continue;
        f->floor = one->stamp;
        map_remove(&f->by_id[one->kind], one->id);
        unlink_fact(f, one);
        free_fact(one);
    }
    f->gone = 0;
}

bool facts__put(struct facts *f, enum fact_kind kind, const char *id, json_t *row)
{
    struct fact *one = map_get(&f->by_id[kind], id);
    if (one ? (row ? !one->gone && json_equal(row, one->row) : one->gone) : !row) {
        json_decref(row);
        return false;
    }
    if (one) {
        unlink_fact(f, one);
        f->gone -= one->gone;
    } else {
        one = NEW(struct fact);
        *one = (struct fact){.kind = kind, .id = mem_strdup(id)};
        map_put(&f->by_id[kind], id, one);
    }
    one->gone = !row;
    f->gone += one->gone;
    if (row) {
        json_decref(one->row);
        one->row = row;
    }
    link_newest(f, one);
    if (f->gone > GONE_MAX)
        sweep_gone(f);
    return true;
}

json_t *facts__get(const struct facts *f, enum fact_kind kind, const char *id)
{
    const struct fact *one = map_get(&f->by_id[kind], id);
    return one && !one->gone ? one->row : NULL;
}

void facts__done(struct facts *f)
{
    for (struct fact *one = f->oldest, *next; one; one = next) {
        next = one->newer;
        free_fact(one);
    }
    for (int kind = 0; kind < FACT_KINDS; kind++)
        map_done(&f->by_id[kind]);
    *f = (struct facts){0};
}

json_t *facts__since(const struct facts *f, int64_t since, facts_wanted_fn *wanted, void *context)
{
    json_t *out = json_object();
    for (int kind = 0; kind < FACT_KINDS; kind++)
        json_object_set_new(out, fact_part((enum fact_kind)kind), json_object());
    for (const struct fact *one = f->newest; one && one->stamp > since; one = one->older) {
        json_t *part = json_object_get(out, fact_part(one->kind));
        bool concerns = wanted(context, one);
        if (concerns && !one->gone)
            json_object_set(part, one->id, one->row);
        else if (since && (concerns || one->kind == FACT_SERVICE))
            json_object_set_new(part, one->id, json_null());
    }
    return out;
}

void facts__merge(json_t *document, const json_t *told)
{
    for (int kind = 0; kind < FACT_KINDS; kind++) {
        const char *part = fact_part((enum fact_kind)kind), *id;
        json_t *rows = json_object_get(document, part), *row;
        if (!rows)
            json_object_set_new(document, part, rows = json_object());
        json_object_foreach (json_object_get(told, part), id, row)
            if (json_is_object(row))
                json_object_set(rows, id, row);
            else
                json_object_del(rows, id);
    }
}
