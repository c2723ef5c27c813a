/* A checked document in the order and with the types of the table. */
#include "compose/schema.h"
#include "compose/schema_priv.h"

#include "base/str.h"
#include "compose/yaml.h"

#include <ctype.h>

struct arranging {
    struct yaml_arena *arena;
    bool json;
    bool loose; /* variables were left in: the files' own keys, whatever their values are */
};

static struct yaml_node *arrange(const struct arranging *a, const struct field *f, struct yaml_node *node);

/* As Go prints a duration: 1h0m0s, 1m30s, 1.5s, 200ms. */
static const char *duration_text(struct yaml_arena *arena, int64_t ns)
{
    int64_t s = ns / INT64_C(1000000000), rest = ns % INT64_C(1000000000);
    if (!s && !rest)
        return "0s";
    if (!s) {
        static const char *const units[] = {"ns", "µs", "ms"};
        double value = (double)rest;
        size_t unit = 0;
        for (; value >= 1000 && unit < 2; unit++)
            value /= 1000;
        return yaml_printf(arena, "%.9g%s", value, units[unit]);
    }
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

/* The fewest digits that read back as the same number of 32 bits. */
static const char *number_text(struct yaml_arena *arena, const char *text)
{
    float number = strtof(text, NULL);
    const char *shortest = text;
    for (int digits = 1; digits <= 9; digits++) {
        shortest = yaml_printf(arena, "%.*g", digits, (double)number);
        if (strtof(shortest, NULL) == number)
            break;
    }
    return strchr(shortest, 'e') ? yaml_printf(arena, "%.12g", strtod(text, NULL)) : shortest;
}

static const char *mode_text(struct yaml_arena *arena, const char *text)
{
    const char *digits = text + (text[0] == '0' && (text[1] == 'o' || text[1] == 'O') ? 2 : 0);
    char *end;
    if (*text != '0')
        return text;
    unsigned long mode = strtoul(digits, &end, 8);
    return *end ? text : yaml_printf(arena, "%lu", mode);
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
        typed->plain = wanted && is_number && (node->plain || !(f->shape & F_STR) || f->shape & F_OCTAL);
        if (typed->plain && (f->shape & F_OCTAL))
            typed->text = mode_text(arena, node->text);
        else if (typed->plain && (f->shape & F_NUM))
            typed->text = number_text(arena, node->text);
        node = typed;
    }
    return node;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct yaml_pair *)a)->key, ((const struct yaml_pair *)b)->key);
}

/* Bytes of a longer character count as letters: they mostly are. */
static bool is_letter(char c)
{
    return isalpha((unsigned char)c) || (unsigned char)c >= 0x80;
}

static size_t digits_in(const char *text)
{
    return strspn(text, "0123456789");
}

/* As people count: a2 is before a10; what is no letter is before letters, but behind a number's last digit.
 */
static int compare_naturally(const char *a, const char *b)
{
    size_t i = 0;
    while (a[i] && a[i] == b[i])
        i++;
    if (!a[i] || !b[i])
        return (unsigned char)a[i] - (unsigned char)b[i];
    bool behind_digit = i && isdigit((unsigned char)a[i - 1]), letters = is_letter(a[i]);
    if (letters != is_letter(b[i]))
        return letters == behind_digit ? -1 : 1;
    if (letters)
        return (unsigned char)a[i] - (unsigned char)b[i];
    size_t start = i;
    while (start && isdigit((unsigned char)a[start - 1]))
        start--;
    bool zeros_lead = strspn(a + start, "0") >= i - start;
    size_t n = digits_in(a + i), m = digits_in(b + i);
    size_t skip_a = zeros_lead ? strspn(a + i, "0") : 0, skip_b = zeros_lead ? strspn(b + i, "0") : 0;
    if (n - MIN(skip_a, n) != m - MIN(skip_b, m))
        return n - MIN(skip_a, n) < m - MIN(skip_b, m) ? -1 : 1;
    int difference = strncmp(a + i + MIN(skip_a, n), b + i + MIN(skip_b, m), n - MIN(skip_a, n));
    if (difference || n != m)
        return difference ? difference : n < m ? -1 : 1;
    return (unsigned char)a[i] - (unsigned char)b[i];
}

static int by_key_naturally(const void *a, const void *b)
{
    return compare_naturally(((const struct yaml_pair *)a)->key, ((const struct yaml_pair *)b)->key);
}

/* Go sorts the keys of a map as bytes for JSON, and naturally for YAML. */
static void sort_keys(struct yaml_node *map, bool json)
{
    if (map->count)
        qsort(map->pairs, map->count, sizeof(*map->pairs), json ? by_key : by_key_naturally);
}

/* What Go's encoders leave out. */
static bool is_zero(const struct field *f, const struct yaml_node *node, bool json)
{
    bool keep = f->shape & F_KEEP || (!json && f->shape & F_YAML);
    switch (node->type) {
    case YAML_NULL:
        return true;
    case YAML_SCALAR:
        return !keep && (!*node->text || (node->plain && strcmp(node->text, "false") == 0) ||
                         (f->shape & (F_INT | F_NUM | F_SIZE) && strcmp(node->text, "0") == 0));
    case YAML_LIST:
        return !node->count && !(f->shape & F_WORDS);
    case YAML_MAP:
        return !node->count && (!(f->shape & F_MAP) || f->shape & F_STRUCT);
    }
    return false;
}

/* What is the user's own, with the keys of its mappings sorted. */
static struct yaml_node *sorted(const struct arranging *a, struct yaml_node *node)
{
    if (node->type != YAML_MAP && node->type != YAML_LIST)
        return node;
    struct yaml_node *result = yaml_new(a->arena, node->type, node);
    for (size_t i = 0; i < node->count; i++)
        if (node->type == YAML_LIST)
            yaml_append(a->arena, result, sorted(a, node->items[i]));
        else
            yaml_put(a->arena, result, &node->pairs[i], node->pairs[i].key, sorted(a, node->pairs[i].value));
    if (node->type == YAML_MAP)
        sort_keys(result, a->json);
    return result;
}

static const char *key_of(const struct arranging *a, const struct field *f)
{
    if (!a->json || !(f->shape & F_CASE))
        return f->key;
    return yaml_printf(a->arena, "%c%s", toupper((unsigned char)*f->key), f->key + 1);
}

static void put_field(const struct arranging *a, const struct field *f, const struct yaml_node *map,
                      struct yaml_node *result)
{
    struct yaml_pair *pair = yaml_find(map, f->key);
    struct yaml_node *value = pair ? arrange(a, f, pair->value) : NULL;
    if (value && (a->loose || !is_zero(f, value, a->json)))
        yaml_put(a->arena, result, pair, key_of(a, f), value);
    else if (a->json && !a->loose && f->shape & F_WORDS)
        yaml_put(a->arena, result, NULL, f->key, yaml_new(a->arena, YAML_NULL, map));
    else if (a->json && !a->loose && f->shape & F_STRUCT) {
        struct yaml_node *empty = yaml_new(a->arena, YAML_MAP, map);
        yaml_put(a->arena, result, NULL, f->key, arrange(a, f, empty));
    }
}

/* Keys in the table's order, those of the user's own ("x-") behind: JSON has them at the top only. */
static struct yaml_node *arrange_fields(const struct arranging *a, const struct field *fields,
                                        const struct yaml_node *map)
{
    struct yaml_node *result = yaml_new(a->arena, YAML_MAP, map),
                     *extensions = yaml_new(a->arena, YAML_MAP, map);
    for (const struct field *f = fields; f && f->key; f++)
        put_field(a, f, map, result);
    for (size_t i = 0; i < map->count; i++)
        if (str_after(map->pairs[i].key, "x-"))
            yaml_put(a->arena, extensions, &map->pairs[i], map->pairs[i].key, map->pairs[i].value);
    sort_keys(extensions, a->json);
    for (size_t i = 0; i < extensions->count && (!a->json || a->loose || fields == schema__top); i++)
        yaml_put(a->arena, result, &extensions->pairs[i], extensions->pairs[i].key,
                 sorted(a, extensions->pairs[i].value));
    if (a->loose || (a->json && fields == schema__top))
        sort_keys(result, a->json);
    return result;
}

static struct yaml_node *arrange_named(const struct arranging *a, const struct field *f,
                                       const struct yaml_node *map)
{
    const struct field of = {f->key, f->shape & F_NAMED ? F_MAP | (f->shape & (F_INT | F_NULL)) : F_STR,
                             f->fields};
    struct yaml_node *result = yaml_new(a->arena, YAML_MAP, map);
    for (size_t i = 0; i < map->count; i++)
        yaml_put(a->arena, result, &map->pairs[i], map->pairs[i].key, arrange(a, &of, map->pairs[i].value));
    sort_keys(result, a->json);
    return result;
}

static struct yaml_node *arrange(const struct arranging *a, const struct field *f, struct yaml_node *node)
{
    if (node->type == YAML_SCALAR)
        return arrange_scalar(a->arena, f, node);
    if (node->type == YAML_MAP && f->shape & (F_NAMED | F_DICT))
        return arrange_named(a, f, node);
    if (node->type == YAML_MAP)
        return arrange_fields(a, f->fields, node);
    if (node->type != YAML_LIST)
        return node;
    const struct field item = {f->key, F_STR, f->fields};
    struct yaml_node *list = yaml_new(a->arena, YAML_LIST, node);
    for (size_t i = 0; i < node->count; i++)
        yaml_append(a->arena, list, arrange(a, &item, node->items[i]));
    return list;
}

struct yaml_node *schema_arrange(struct yaml_arena *arena, struct yaml_node *root, bool json, bool loose)
{
    static const struct field file = {"", F_MAP, schema__top};
    const struct arranging a = {arena, json, loose};
    return arrange(&a, &file, root);
}
