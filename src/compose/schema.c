#include "compose/schema.h"
#include "compose/schema_priv.h"

#include "compose/problem.h"
#include "compose/yaml.h"

/* Where a check puts what it finds. */
struct check {
    struct problems *problems, *notes;
    bool with_variables; /* a value with a variable may become anything */
};

static void check(const struct field *f, const struct yaml_node *node, const struct check *c);

static const struct field *find_field(const struct field *fields, const char *key)
{
    for (; fields->key; fields++)
        if (strcmp(fields->key, key) == 0)
            return fields;
    return NULL;
}

static void unknown_key(const struct field *fields, const struct yaml_node *map, const struct yaml_pair *pair,
                        const struct check *c)
{
    const char *words[128];
    size_t n = 0;
    for (const struct field *f = fields; f->key && n < ARRAY_SIZE(words) - 1; f++)
        words[n++] = f->key;
    words[n] = NULL;
    const char *near = problem_nearest(pair->key, words);
    if (near)
        problem_add_key(c->problems, map, pair, "unknown key; did you mean \"%s\"?", near);
    else
        problem_add_key(c->problems, map, pair,
                        "unknown key; begin it with \"x-\" to keep own data in the file");
}

static void check_fields(const struct field *fields, const struct yaml_node *map, const struct check *c)
{
    for (size_t i = 0; i < map->count; i++) {
        const struct yaml_pair *pair = &map->pairs[i];
        const struct field *f = find_field(fields, pair->key);
        if (str_after(pair->key, "x-") || pair->value->merge == YAML_MERGE_RESET)
            continue;
        if (!f)
            unknown_key(fields, map, pair, c);
        else if (f->shape == F_NOT)
            problem_add_key(c->problems, map, pair, "key is not supported; %s", f->words);
        else {
            if (f->shape & F_IDLE)
                problem_add_key(c->notes, map, pair, "has no effect: %s", f->note);
            check(f, pair->value, c);
        }
    }
}

/* What a field takes, in words. */
static void describe(const struct field *f, struct str *s)
{
    static const struct {
        unsigned shape;
        const char *words;
    } names[] = {{F_STR, "a string"},
                 {F_BOOL, "true or false"},
                 {F_INT, "a whole number"},
                 {F_NUM, "a number"},
                 {F_SIZE, "a size such as 512m"},
                 {F_TIME, "a duration such as 1m30s"},
                 {F_LIST, "a list"},
                 {F_DICT | F_MAP | F_NAMED, "a mapping"}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (f->shape & names[i].shape)
            str_addf(s, "%s%s", s->len ? " or " : "", names[i].words);
    if (f->shape & F_ENUM) {
        _cleanup_strv_ char **words = strv_split(f->words, '|');
        _cleanup_free_ char *list = strv_join(words, ", ");
        str_addf(s, "%s%s", words[1] ? "one of " : "", list);
    }
}

static void wrong_type(const struct field *f, const struct yaml_node *node, const struct check *c)
{
    _cleanup_str_ struct str wanted = STR_INIT;
    describe(f, &wanted);
    if (node->type == YAML_NULL)
        problem_add(c->problems, node, "has no value; it must be %s", str_get(&wanted));
    else if (node->type != YAML_SCALAR)
        problem_add(c->problems, node, "must be %s, not %s", str_get(&wanted), yaml_type_name(node));
    else if (node->plain && (f->shape & F_STR) &&
             (yaml_is_number_text(node->text) || yaml_is_bool_text(node->text)))
        problem_add(c->problems, node, "must be %s, not %s; put quotes around %s", str_get(&wanted),
                    yaml_type_name(node), node->text);
    else
        problem_add(c->problems, node, "must be %s, not \"%s\"", str_get(&wanted), node->text);
}

static bool scalar_fits(const struct field *f, const struct yaml_node *node)
{
    int64_t number;
    bool plain_other = node->plain && (yaml_is_number_text(node->text) || yaml_is_bool_text(node->text));
    if (f->shape & F_NAMED)
        return false;
    if ((f->shape & F_STR) && !plain_other)
        return true;
    if ((f->shape & F_BOOL) && yaml_is_bool_text(node->text))
        return true;
    if ((f->shape & F_INT) && parse_i64(node->text, INT64_MIN, INT64_MAX, &number, NULL) == 0)
        return true;
    if ((f->shape & F_NUM) && yaml_is_number_text(node->text))
        return true;
    if ((f->shape & F_SIZE) && (strcmp(node->text, "-1") == 0 || parse_bytes(node->text, &number, NULL) == 0))
        return true;
    if ((f->shape & F_TIME) && parse_duration(node->text, &number, NULL) == 0 && number >= 0)
        return true;
    if (f->shape & F_ENUM) {
        _cleanup_strv_ char **words = strv_split(f->words, '|');
        return strv_has(words, node->text);
    }
    return false;
}

static void check_list(const struct field *f, const struct yaml_node *list, const struct check *c)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct yaml_node *item = list->items[i];
        if (item->type == YAML_MAP && f->fields && !(f->shape & F_NAMED))
            check_fields(f->fields, item, c);
        else if (item->type == YAML_NULL)
            problem_add(c->problems, item, "the list has an empty item");
        else if (item->type != YAML_SCALAR)
            problem_add(c->problems, item, "must be a string, not %s", yaml_type_name(item));
        else if (f->shape & F_DEEP)
            problem_add(c->problems, item, "must be a mapping, not %s", yaml_type_name(item));
    }
}

static void check_dict(const struct field *f, const struct yaml_node *map, const struct check *c)
{
    static const struct field list = {"", F_LIST, NULL};
    for (size_t i = 0; i < map->count; i++) {
        const struct yaml_node *value = map->pairs[i].value;
        if (value->type == YAML_LIST && (f->shape & F_MANY))
            check_list(&list, value, c);
        else if (value->type == YAML_LIST || value->type == YAML_MAP)
            problem_add(c->problems, value, "must be a string, not %s", yaml_type_name(value));
    }
}

static void check_named(const struct field *f, const struct yaml_node *map, const struct check *c)
{
    const struct field of = {f->key, F_MAP | (f->shape & F_INT), f->fields};
    for (size_t i = 0; i < map->count; i++) {
        const struct yaml_node *value = map->pairs[i].value;
        if (str_after(map->pairs[i].key, "x-") || value->merge == YAML_MERGE_RESET)
            continue;
        if (value->type != YAML_NULL || !(f->shape & F_NULL))
            check(&of, value, c);
    }
}

static void check(const struct field *f, const struct yaml_node *node, const struct check *c)
{
    if (node->type == YAML_NULL && (f->shape & F_NULL))
        return;
    if (c->with_variables && node->type == YAML_SCALAR && strchr(node->text, '$'))
        return;
    if (node->type == YAML_LIST && (f->shape & F_LIST))
        check_list(f, node, c);
    else if (node->type == YAML_MAP && (f->shape & F_DICT))
        check_dict(f, node, c);
    else if (node->type == YAML_MAP && (f->shape & F_NAMED))
        check_named(f, node, c);
    else if (node->type == YAML_MAP && (f->shape & F_MAP) && !(f->shape & F_LIST))
        check_fields(f->fields, node, c);
    else if (node->type != YAML_SCALAR || !scalar_fits(f, node))
        wrong_type(f, node, c);
}

void schema_check(const struct yaml_node *root, struct problems *problems, struct problems *notes,
                  bool with_variables)
{
    static const struct field file = {"", F_MAP, schema__top};
    const struct check c = {problems, notes, with_variables};
    if (root->type != YAML_MAP)
        problem_add(problems, root, "a Compose file is a mapping with \"services:\", not %s",
                    yaml_type_name(root));
    else
        check(&file, root, &c);
}
