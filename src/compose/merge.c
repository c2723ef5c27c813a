#include "compose/merge.h"

#include "compose/yaml.h"

/* What makes two items of a list the same one. Lists that are not here are appended, without equal items. */
static const struct {
    const char *key;
    const char *identity[5];
} unique_lists[] = {
    {"ports", {"host_ip", "target", "published", "protocol"}},
    {"volumes", {"target"}},
    {"secrets", {"source", "target"}},
    {"configs", {"source", "target"}},
    {"env_file", {"path"}},
    {"devices", {"target"}},
    {"watch", {"path", "target", "action"}},
};

static const char *const replaced_keys[] = {"command", "entrypoint", "test", NULL};

static bool same_item(const struct yaml_node *a, const struct yaml_node *b, const char *key)
{
    if (a->type == YAML_SCALAR && b->type == YAML_SCALAR)
        return strcmp(a->text, b->text) == 0;
    if (a->type != YAML_MAP || b->type != YAML_MAP)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(unique_lists); i++) {
        if (strcmp(unique_lists[i].key, key) != 0)
            continue;
        bool identified = false; /* reservations.devices have no target: each is another request */
        for (const char *const *name = unique_lists[i].identity; *name; name++) {
            if (strcmp(yaml_text(a, *name), yaml_text(b, *name)) != 0)
                return false;
            identified |= *yaml_text(a, *name) != '\0';
        }
        return identified;
    }
    return false;
}

static struct yaml_node *merge_lists(struct yaml_arena *arena, const char *key, const struct yaml_node *base,
                                     const struct yaml_node *over)
{
    struct yaml_node *list = yaml_new(arena, YAML_LIST, base);
    for (size_t i = 0; i < base->count; i++)
        yaml_append(arena, list, base->items[i]);
    for (size_t i = 0; i < over->count; i++) {
        size_t j = 0;
        while (j < list->count && !same_item(list->items[j], over->items[i], key))
            j++;
        if (j < list->count)
            list->items[j] = over->items[i];
        else
            yaml_append(arena, list, over->items[i]);
    }
    return list;
}

static struct yaml_node *merge_values(struct yaml_arena *arena, const char *key, struct yaml_node *base,
                                      struct yaml_node *over);

/* The address pools of a network: the later file says which there are, and what it leaves out of one comes
 * from the earlier pool of the same subnet. */
static struct yaml_node *merge_pools(struct yaml_arena *arena, const struct yaml_node *base,
                                     const struct yaml_node *over)
{
    struct yaml_node *list = yaml_new(arena, YAML_LIST, over);
    for (size_t i = 0; i < over->count; i++) {
        struct yaml_node *pool = over->items[i];
        for (size_t j = 0; j < base->count; j++)
            if (strcmp(yaml_text(base->items[j], "subnet"), yaml_text(pool, "subnet")) == 0)
                pool = merge_values(arena, "", base->items[j], pool);
        yaml_append(arena, list, pool);
    }
    return list;
}

static struct yaml_node *merge_maps(struct yaml_arena *arena, const struct yaml_node *base,
                                    const struct yaml_node *over)
{
    struct yaml_node *map = yaml_new(arena, YAML_MAP, base);
    for (size_t i = 0; i < base->count; i++)
        yaml_put(arena, map, &base->pairs[i], base->pairs[i].key, base->pairs[i].value);
    for (size_t i = 0; i < over->count; i++) {
        const struct yaml_pair *pair = &over->pairs[i];
        struct yaml_pair *old = yaml_find(map, pair->key);
        if (pair->value->merge == YAML_MERGE_RESET)
            yaml_remove(map, pair->key);
        else
            yaml_put(arena, map, pair, pair->key,
                     merge_values(arena, pair->key, old ? old->value : NULL, pair->value));
    }
    return map;
}

static struct yaml_node *merge_values(struct yaml_arena *arena, const char *key, struct yaml_node *base,
                                      struct yaml_node *over)
{
    if (!base || over->merge == YAML_MERGE_OVERRIDE || base->type != over->type) {
        if (over->type == YAML_MAP) /* inside, something may be !reset */
            return merge_maps(arena, yaml_new(arena, YAML_MAP, over), over);
        return over->type == YAML_NULL && base ? base : over;
    }
    /* Another logging driver knows other options. */
    if (strcmp(key, "logging") == 0 && *yaml_text(base, "driver") && *yaml_text(over, "driver") &&
        strcmp(yaml_text(base, "driver"), yaml_text(over, "driver")) != 0)
        return over;
    if (over->type == YAML_MAP)
        return merge_maps(arena, base, over);
    if (over->type == YAML_LIST && strcmp(key, "config") == 0)
        return merge_pools(arena, base, over);
    if (over->type == YAML_LIST && !strv_has((char *const *)replaced_keys, key))
        return merge_lists(arena, key, base, over);
    return over;
}

struct yaml_node *merge_files(struct yaml_arena *arena, struct yaml_node *base, struct yaml_node *over)
{
    /* Over nothing too, so that !reset and doubles are gone from a single file. */
    struct yaml_node *empty = yaml_new(arena, YAML_MAP, over);
    return merge_maps(arena, base ? base : empty, over);
}
