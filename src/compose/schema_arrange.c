/* A checked document in the order and with the types of the table. */
#include "compose/schema.h"
#include "compose/schema_priv.h"

#include "base/str.h"
#include "compose/yaml.h"

static struct yaml_node *arrange(struct yaml_arena *arena, const struct field *f, struct yaml_node *node);

/* As Go prints a duration: 1h0m0s, 1m30s, 1.5s, 200ms. */
static const char *duration_text(struct yaml_arena *arena, int64_t ns)
{
    int64_t s = ns / INT64_C(1000000000), rest = ns % INT64_C(1000000000);
    if (!s)
        return !rest                 ? "0s"
               : rest % 1000000 == 0 ? yaml_printf(arena, "%dms", (int)(rest / 1000000))
               : rest % 1000 == 0    ? yaml_printf(arena, "%dus", (int)(rest / 1000))
                                     : yaml_printf(arena, "%dns", (int)rest);
    _cleanup_str_ struct str text = STR_INIT;
    if (s >= 3600)
        str_addf(&text, "%lldh", (long long)s / 3600);
    if (s >= 60)
        str_addf(&text, "%dm", (int)(s / 60 % 60));
    str_addf(&text, "%d", (int)(s % 60));
    if (rest) {
        _cleanup_free_ char *part = str_printf("%09d", (int)rest);
        size_t n = strlen(part);
        while (part[n - 1] == '0')
            n--;
        str_addf(&text, ".%.*s", (int)n, part);
    }
    return yaml_printf(arena, "%ss", str_get(&text));
}

/* Gives a scalar the type that its key wants; a variable that was left in it stays. */
static struct yaml_node *arrange_scalar(struct yaml_arena *arena, const struct field *f,
                                        struct yaml_node *node)
{
    int64_t number;
    if (strchr(node->text, '$'))
        return node;
    if ((f->shape & F_BOOL) && yaml_is_bool_text(node->text) && (node->plain || !(f->shape & F_STR))) {
        bool yes = *node->text == 't' || *node->text == 'T';
        node = yaml_new_text(arena, yes ? "true" : "false", node);
        node->plain = true;
    } else if (f->shape & F_SIZE && parse_bytes(node->text, &number, NULL) == 0) {
        node = yaml_new_text(arena, yaml_printf(arena, "%lld", (long long)number), node);
    } else if ((f->shape & F_TIME) && !(f->shape & F_INT) && parse_duration(node->text, &number, NULL) == 0) {
        node = yaml_new_text(arena, duration_text(arena, number), node);
    } else {
        bool is_number = yaml_is_number_text(node->text), wanted = f->shape & (F_INT | F_NUM);
        struct yaml_node *typed = yaml_new_text(arena, node->text, node);
        typed->plain = wanted && is_number && (node->plain || !(f->shape & F_STR));
        if (typed->plain && (f->shape & F_NUM))
            typed->text = yaml_printf(arena, "%.12g", strtod(node->text, NULL));
        node = typed;
    }
    return node;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct yaml_pair *)a)->key, ((const struct yaml_pair *)b)->key);
}

/* Keys in the table's order, those of the user's own ("x-") behind. */
static struct yaml_node *arrange_fields(struct yaml_arena *arena, const struct field *fields,
                                        const struct yaml_node *map)
{
    struct yaml_node *result = yaml_new(arena, YAML_MAP, map);
    for (const struct field *f = fields; f && f->key; f++) {
        struct yaml_pair *pair = yaml_find(map, f->key);
        if (pair)
            yaml_put(arena, result, pair, f->key, arrange(arena, f, pair->value));
    }
    for (size_t i = 0; i < map->count; i++)
        if (str_after(map->pairs[i].key, "x-"))
            yaml_put(arena, result, &map->pairs[i], map->pairs[i].key, map->pairs[i].value);
    return result;
}

static struct yaml_node *arrange_named(struct yaml_arena *arena, const struct field *f,
                                       const struct yaml_node *map)
{
    const struct field of = {f->key, f->shape & F_NAMED ? F_MAP | (f->shape & (F_INT | F_NULL)) : F_STR,
                             f->fields};
    struct yaml_node *result = yaml_new(arena, YAML_MAP, map);
    for (size_t i = 0; i < map->count; i++)
        yaml_put(arena, result, &map->pairs[i], map->pairs[i].key, arrange(arena, &of, map->pairs[i].value));
    if (result->count)
        qsort(result->pairs, result->count, sizeof(*result->pairs), by_key);
    return result;
}

static struct yaml_node *arrange(struct yaml_arena *arena, const struct field *f, struct yaml_node *node)
{
    if (node->type == YAML_SCALAR)
        return arrange_scalar(arena, f, node);
    if (node->type == YAML_MAP && f->shape & (F_NAMED | F_DICT))
        return arrange_named(arena, f, node);
    if (node->type == YAML_MAP)
        return arrange_fields(arena, f->fields, node);
    if (node->type != YAML_LIST)
        return node;
    const struct field item = {f->key, F_STR, f->fields};
    struct yaml_node *list = yaml_new(arena, YAML_LIST, node);
    for (size_t i = 0; i < node->count; i++)
        yaml_append(arena, list, arrange(arena, &item, node->items[i]));
    return list;
}

struct yaml_node *schema_arrange(struct yaml_arena *arena, struct yaml_node *root)
{
    static const struct field file = {"", F_MAP, schema__top};
    return arrange(arena, &file, root);
}
