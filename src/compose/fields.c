#include "compose/fields.h"

enum { KEYS_MAX = 64 };

static void set_path(struct yaml_arena *arena, const struct yaml_node *map, const char *key,
                     struct yaml_node *value)
{
    value->path = str_empty(map->path) ? key : yaml_printf(arena, "%s.%s", map->path, key);
}

static const struct field *known(const struct field *table, const char *key)
{
    for (; table->key; table++)
        if (str_eq(table->key, key))
            return table;
    return NULL;
}

static void unknown(const struct field *table, const struct yaml_node *map, const struct yaml_pair *pair,
                    struct problems *problems)
{
    const char *keys[KEYS_MAX + 1];
    size_t n = 0;
    for (; table->key && n < KEYS_MAX; table++)
        keys[n++] = table->key;
    keys[n] = NULL;
    const char *near = problem_nearest(pair->key, keys);
    problem_add_key(problems, map, pair, "unknown key%s%s%s", near ? "; did you mean \"" : "",
                    near ? near : "", near ? "\"?" : "");
}

static bool is_a(const struct yaml_node *value, enum yaml_type type, const char *what,
                 struct problems *problems)
{
    if (value->type == type)
        return true;
    problem_add(problems, value, "must be %s, not %s", what, yaml_type_name(value));
    return false;
}

static void read_number(enum field_kind kind, const struct yaml_node *value, int64_t *target,
                        struct problems *problems)
{
    struct err err;
    int64_t number = 0;
    if (!is_a(value, YAML_SCALAR, "a number", problems))
        return;
    int r = kind == FIELD_COUNT   ? parse_i64(value->text, 0, INT64_MAX, &number, &err)
            : kind == FIELD_BYTES ? parse_bytes(value->text, &number, &err)
                                  : parse_duration(value->text, &number, &err);
    if (r == 0 && number < 0)
        r = err_set(&err, ERR_INVALID, "\"%.100s\" is less than nothing", value->text);
    if (r < 0)
        problem_add(problems, value, "%s", err.msg);
    else
        *target = number;
}

static void read_bool(const struct yaml_node *value, bool *target, struct problems *problems)
{
    if (value->type != YAML_SCALAR || (!str_eq(value->text, "true") && !str_eq(value->text, "false")))
        problem_add(problems, value, "must be true or false, not %s", yaml_type_name(value));
    else
        *target = str_eq(value->text, "true");
}

static void read_list(struct yaml_arena *arena, struct yaml_node *value, char ***target,
                      struct problems *problems)
{
    if (!is_a(value, YAML_LIST, "a list", problems))
        return;
    char **list = yaml_alloc(arena, (value->count + 1) * sizeof(*list));
    size_t n = 0;
    for (size_t i = 0; i < value->count; i++) {
        value->items[i]->path = yaml_printf(arena, "%s[%zu]", value->path, i);
        if (is_a(value->items[i], YAML_SCALAR, "a string", problems))
            list[n++] = (char *)value->items[i]->text;
    }
    *target = list;
}

static void read_many(struct yaml_arena *arena, enum field_kind kind, struct yaml_node *value,
                      const struct yaml_node **target, struct problems *problems)
{
    bool list = kind == FIELD_MAPS;
    if (!is_a(value, list ? YAML_LIST : YAML_MAP, list ? "a list" : "a mapping", problems))
        return;
    bool good = true;
    for (size_t i = 0; i < value->count; i++) {
        struct yaml_node *one = list ? value->items[i] : value->pairs[i].value;
        if (list)
            one->path = yaml_printf(arena, "%s[%zu]", value->path, i);
        else
            set_path(arena, value, value->pairs[i].key, one);
        if (kind == FIELD_TABLE)
            good = is_a(one, YAML_SCALAR, "a string", problems) && good;
        else
            good = is_a(one, YAML_MAP, "a mapping", problems) && good;
    }
    if (good)
        *target = value;
}

static void read_one(struct yaml_arena *arena, const struct field *f, struct yaml_node *value, void *target,
                     struct problems *problems)
{
    char *at = (char *)target + f->offset;
    switch (f->kind) {
    case FIELD_TEXT:
        if (is_a(value, YAML_SCALAR, "a string", problems))
            *(const char **)at = value->text;
        return;
    case FIELD_BOOL:
        read_bool(value, (bool *)at, problems);
        return;
    case FIELD_COUNT:
    case FIELD_BYTES:
    case FIELD_DURATION:
        read_number(f->kind, value, (int64_t *)at, problems);
        return;
    case FIELD_LIST:
        read_list(arena, value, (char ***)at, problems);
        return;
    case FIELD_TABLE:
    case FIELD_MAPS:
    case FIELD_NAMED:
        read_many(arena, f->kind, value, (const struct yaml_node **)at, problems);
        return;
    case FIELD_INSIDE:
    case FIELD_PRESENT:
        fields_read(arena, f->nested, value, target, problems);
        return;
    }
}

void fields_read(struct yaml_arena *arena, const struct field *table, struct yaml_node *map, void *target,
                 struct problems *problems)
{
    if (!is_a(map, YAML_MAP, "a mapping", problems))
        return;
    for (size_t i = 0; i < map->count; i++) {
        const struct yaml_pair *pair = &map->pairs[i];
        const struct field *f = known(table, pair->key);
        if (!f) {
            unknown(table, map, pair, problems);
            continue;
        }
        if (f->kind == FIELD_PRESENT)
            *(bool *)((char *)target + f->offset) = true;
        if (pair->value->type == YAML_NULL)
            continue;
        set_path(arena, map, pair->key, pair->value);
        read_one(arena, f, pair->value, target, problems);
    }
}

int fields_document(struct yaml_arena *arena, const char *file, const char *text, size_t n,
                    struct yaml_node **ret, struct err *err)
{
    struct yaml_node **documents;
    size_t count = 0;
    int r = yaml_parse(arena, file, text, n, &documents, &count, err);
    if (r < 0)
        return r;
    if (count > 1)
        return err_set(err, ERR_INVALID, "%s:%d:%d: a second document; the file has one", file,
                       documents[1]->line, documents[1]->column);
    struct yaml_node *top = count ? documents[0] : yaml_new(arena, YAML_MAP, NULL);
    if (top->type != YAML_MAP)
        return err_set(err, ERR_INVALID, "%s:%d:%d: must be a mapping, not %s", file, top->line, top->column,
                       yaml_type_name(top));
    *ret = top;
    return 0;
}

int fields_settle(struct problems *problems, struct err *err)
{
    if (!problems->count)
        return 0;
    size_t n = problems->text.len;
    if (n && problems->text.data[n - 1] == '\n')
        n--;
    return err_set(err, ERR_INVALID, "%.*s", (int)MIN(n, (size_t)ERR_MESSAGE_BYTES - 1),
                   str_get(&problems->text));
}
