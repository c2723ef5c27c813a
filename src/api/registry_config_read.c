/* The kinds of values, and the frames of mappings and lists. */
#include "api/registry_config_read.h"
#include "base/file.h"
#include "base/timeutil.h"
#include "compose/problem.h"

#include <libgen.h>

int config_bad(const struct yaml_node *at, struct err *err, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    err_vset(err, ERR_INVALID, format, ap);
    va_end(ap);
    return err_wrap(err, "%s:%d:%d", at->file, at->line, at->column);
}

/* --- values --- */

int config_read_text(const struct yaml_node *at, const char *what, char **ret, struct err *err)
{
    if (at->type != YAML_SCALAR || !*at->text)
        return config_bad(at, err, "%s must be a text, not %s", what, yaml_type_name(at));
    free(*ret);
    *ret = mem_strdup(at->text);
    return 0;
}

/* A list of texts, or one of them. */
int config_read_list(const struct yaml_node *at, const char *what, char ***ret, struct err *err)
{
    char *one = NULL;
    if (at->type == YAML_SCALAR) {
        int r = config_read_text(at, what, &one, err);
        if (r == 0)
            strv_take(ret, one);
        return r;
    }
    if (at->type != YAML_LIST || at->count > CONFIG_LIST_MAX)
        return config_bad(at, err, "%s must be a list of texts (%d at most)", what, CONFIG_LIST_MAX);
    for (size_t i = 0; i < at->count; i++) {
        one = NULL;
        int r = config_read_text(at->items[i], what, &one, err);
        if (r < 0)
            return r;
        strv_take(ret, one);
    }
    return 0;
}

int config_read_duration(const struct yaml_node *at, const char *what, int64_t least_ns, int64_t most_ns,
                         int64_t *ret_ns, struct err *err)
{
    int64_t ns;
    char shortest[TIME_RFC3339_BYTES], longest[TIME_RFC3339_BYTES];
    if (at->type != YAML_SCALAR || parse_duration(at->text, &ns, NULL) < 0 || ns < least_ns || ns > most_ns)
        return config_bad(at, err, "%s must be a duration from %s to %s", what,
                          time_format_duration(least_ns, shortest), time_format_duration(most_ns, longest));
    *ret_ns = ns;
    return 0;
}

static int read_size(const struct yaml_node *at, const char *what, int64_t *ret, struct err *err)
{
    int64_t bytes;
    if (at->type != YAML_SCALAR || parse_bytes(at->text, &bytes, NULL) < 0 || bytes < 1)
        return config_bad(at, err, "%s must be a size: 500m, 10g", what);
    *ret = bytes;
    return 0;
}

int config_read_file(struct reading *r, const char *what, struct str *ret, const struct yaml_node *at,
                     struct err *err)
{
    _cleanup_free_ char *name = NULL, *copy = mem_strdup(r->path);
    int code = config_read_text(at, what, &name, err);
    if (code < 0)
        return code;
    char *path = *name == '/' ? mem_strdup(name) : str_printf("%s/%s", dirname(copy), name);
    strv_take(&r->files, path);
    code = file_read(path, CONFIG_FILE_MAX_BYTES, ret, err);
    return code < 0 ? err_wrap(err, "%s:%d:%d", at->file, at->line, at->column) : 0;
}

/* A secret that does not stand in the configuration. */
static int read_secret(struct reading *r, const char *what, char **into, const struct yaml_node *at,
                       struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int code = config_read_file(r, what, &text, at, err);
    if (code < 0)
        return code;
    free(*into);
    *into = str_strip(str_get(&text));
    return 0;
}

/* --- keys --- */

static int unknown_key(const struct yaml_pair *pair, const struct config_key *keys, struct err *err)
{
    const char *names[32] = {0};
    for (size_t i = 0; keys[i].name && i + 1 < ARRAY_SIZE(names); i++)
        names[i] = keys[i].name;
    const char *near = problem_nearest(pair->key, names);
    err_set(err, ERR_INVALID, "\"%.100s\" is not known here%s%s%s", pair->key,
            near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return err_wrap(err, "%s:%d:%d", pair->file, pair->line, pair->column);
}

static int read_value(struct reading *r, const struct config_key *k, void *into, const struct yaml_node *at,
                      struct err *err)
{
    void *member = (char *)into + k->offset;
    switch (k->kind) {
    case CONFIG_TEXT:
        return config_read_text(at, k->name, member, err);
    case CONFIG_LIST:
        return config_read_list(at, k->name, member, err);
    case CONFIG_SIZE:
        return read_size(at, k->name, member, err);
    case CONFIG_SECRET_FILE:
        return read_secret(r, k->name, member, at, err);
    default:
        return k->read(r, into, at, err);
    }
}

int config_read_map(struct reading *r, void *into, const struct yaml_node *at, const char *what,
                    const struct config_key *keys, struct err *err)
{
    if (at->type != YAML_MAP)
        return config_bad(at, err, "%s must be a mapping, not %s", what, yaml_type_name(at));
    for (size_t i = 0; i < at->count; i++) {
        const struct config_key *k = keys;
        while (k->name && !str_eq(k->name, at->pairs[i].key))
            k++;
        if (!k->name)
            return unknown_key(&at->pairs[i], keys, err);
        int code = read_value(r, k, into, at->pairs[i].value, err);
        if (code < 0)
            return code;
    }
    return 0;
}

int config_read_items(struct reading *r, const struct config_items *c, void **ret_items, size_t *ret_count,
                      const struct yaml_node *at, struct err *err)
{
    if (at->type != YAML_LIST || at->count > c->most)
        return config_bad(at, err, "%s must be a list (%zu at most)", c->what, c->most);
    char *items = mem_new(mem_mul(at->count + 1, c->size));
    *ret_items = items;
    for (size_t i = 0; i < at->count; i++) {
        void *item = items + i * c->size;
        if (c->initial)
            memcpy(item, c->initial, c->size);
        *ret_count = i + 1;
        int code = config_read_map(r, item, at->items[i], c->one, c->keys, err);
        if (code == 0)
            code = c->check(items, i, at->items[i], err);
        if (code < 0)
            return code;
    }
    return 0;
}
