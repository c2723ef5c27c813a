#include "base/json.h"

#include "base/err.h"
#include "base/file.h"

#include <ctype.h>

enum { JSON_MAX_BYTES = 8 << 20, JSON_MAX_DEPTH = 64 };

static bool too_deep(const char *text, size_t n)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"')
            quoted = true;
        else if (c == '{' || c == '[') {
            if (++depth > JSON_MAX_DEPTH)
                return true;
        } else if (c == '}' || c == ']')
            depth--;
    }
    return false;
}

/* An integer above 2^63-1, such as the 18446744073709551615 that stands for "unlimited" in configs, does not
 * fit jansson's type: it is read as a real then. The text is copied only when there is one. */
static bool is_big_integer(const char *text, size_t n)
{
    static const char largest[] = "9223372036854775807";
    if (n && *text == '-')
        text++, n--;
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)text[i]))
            return false;
    return n > sizeof(largest) - 1 || (n == sizeof(largest) - 1 && memcmp(text, largest, n) > 0);
}

static void make_big_integers_real(const char *text, size_t n, struct str *ret)
{
    bool in_string = false;
    for (size_t i = 0; i < n;) {
        size_t start = i;
        if (in_string && text[i] == '\\' && i + 1 < n) {
            i += 2;
        } else if (!in_string && (text[i] == '-' || isdigit((unsigned char)text[i]))) {
            while (i < n && (isalnum((unsigned char)text[i]) || memchr("+-.", text[i], 3)))
                i++;
        } else {
            in_string ^= text[i] == '"';
            i++;
        }
        str_addn(ret, text + start, i - start);
        if (!in_string && is_big_integer(text + start, i - start))
            str_add(ret, ".0");
    }
}

static json_t *load(const char *text, size_t n, json_error_t *error)
{
    json_t *value = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, error);
    if (value || json_error_code(error) != json_error_numeric_overflow)
        return value;
    _cleanup_str_ struct str changed = STR_INIT;
    make_big_integers_real(text, n, &changed);
    return json_loadb(str_get(&changed), changed.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, error);
}

/* jansson's words, as "string or '}' expected near 'x'", in those of Go's decoder, which clients of Docker
 * know: the first character that is wrong, and what was looked for. */
static const struct wording {
    const char *ours, *theirs;
} wordings[] = {
    {"string or '}' expected", "looking for beginning of object key string"},
    {"string expected", "looking for beginning of object key string"},
    {"']' expected", "after array element"},
    {"'}' expected", "after object key:value pair"},
    {"':' expected", "after object key"},
    {"end of file expected", "after top-level value"},
    {"invalid token", "looking for beginning of value"},
    {"unexpected token", "looking for beginning of value"},
    {"'[' or '{' expected", "looking for beginning of value"},
};

static int explain(const json_error_t *error, const char *what, struct err *err)
{
    const char *near = strstr(error->text, " near '");
    if (json_error_code(error) == json_error_premature_end_of_input)
        return err_set(err, ERR_INVALID, "%s: unexpected EOF (line %d column %d)", what, error->line,
                       error->column);
    for (size_t i = 0; near && isprint((unsigned char)near[7]) && i < ARRAY_SIZE(wordings); i++)
        if (str_after(error->text, wordings[i].ours))
            return err_set(err, ERR_INVALID, "%s: invalid character '%c' %s (line %d column %d)", what,
                           near[7], wordings[i].theirs, error->line, error->column);
    return err_set(err, ERR_INVALID, "%s: line %d column %d: %s", what, error->line, error->column,
                   error->text);
}

int json_parse(const char *text, size_t n, const char *what, json_t **ret, struct err *err)
{
    if (n > JSON_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "%s: larger than %d bytes", what, JSON_MAX_BYTES);
    if (too_deep(text, n))
        return err_set(err, ERR_INVALID, "%s: nested deeper than %d levels", what, JSON_MAX_DEPTH);
    json_error_t error;
    json_t *value = load(text, n, &error);
    if (!value)
        return explain(&error, what, err);
    *ret = value;
    return 0;
}

int json_parse_file(const char *path, json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, JSON_MAX_BYTES, &text, err);
    if (r < 0)
        return r;
    return json_parse(str_get(&text), text.len, path, ret, err);
}

char *json_format(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    must(text);
    return text;
}

json_t *json_copy_tree(const json_t *value)
{
    json_t *from = (json_t *)value, *copy, *member; /* NULL is copied as NULL */
    const char *key;
    size_t i;
    if (json_is_object(from)) {
        copy = json_object();
        json_object_foreach (from, key, member)
            json_object_set_new_nocheck(copy, key, json_copy_tree(member));
        return copy;
    }
    if (!json_is_array(from))
        return json_incref(from);
    copy = json_array();
    json_array_foreach (from, i, member)
        json_array_append_new(copy, json_copy_tree(member));
    return copy;
}

static const char *const type_names[] = {
    [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
    [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "a boolean",
    [JSON_FALSE] = "a boolean",  [JSON_NULL] = "null",
};

static int wrong_type(const json_t *value, const char *where, const char *key, const char *wanted,
                      struct err *err)
{
    return err_set(err, ERR_INVALID, "\"%s%s%s\" must be %s, not %s", where, *where ? "." : "", key, wanted,
                   type_names[json_typeof(value)]);
}

static const json_t *present(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

int json_get_string(const json_t *object, const char *where, const char *key, const char **ret,
                    struct err *err)
{
    const json_t *value = present(object, key);
    if (!value)
        return 0;
    if (!json_is_string(value))
        return wrong_type(value, where, key, "a string", err);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return err_set(err, ERR_INVALID, "\"%s%s%s\" contains a NUL byte", where, *where ? "." : "", key);
    *ret = json_string_value(value);
    return 0;
}

int json_get_bool(const json_t *object, const char *where, const char *key, bool *ret, struct err *err)
{
    const json_t *value = present(object, key);
    if (!value)
        return 0;
    if (!json_is_boolean(value))
        return wrong_type(value, where, key, "a boolean", err);
    *ret = json_is_true(value);
    return 0;
}

int json_get_i64(const json_t *object, const char *where, const char *key, int64_t *ret, struct err *err)
{
    const json_t *value = present(object, key);
    if (!value)
        return 0;
    if (!json_is_integer(value))
        return wrong_type(value, where, key, "a whole number", err);
    *ret = json_integer_value(value);
    return 0;
}

int json_get_double(const json_t *object, const char *where, const char *key, double *ret, struct err *err)
{
    const json_t *value = present(object, key);
    if (!value)
        return 0;
    if (!json_is_number(value))
        return wrong_type(value, where, key, "a number", err);
    *ret = json_number_value(value);
    return 0;
}

int json_get_object(const json_t *object, const char *where, const char *key, json_t **ret, struct err *err)
{
    const json_t *value = present(object, key);
    if (!value)
        return 0;
    if (!json_is_object(value))
        return wrong_type(value, where, key, "an object", err);
    *ret = (json_t *)value;
    return 0;
}

int json_get_array(const json_t *object, const char *where, const char *key, json_t **ret, struct err *err)
{
    const json_t *value = present(object, key);
    if (!value)
        return 0;
    if (!json_is_array(value))
        return wrong_type(value, where, key, "a list", err);
    *ret = (json_t *)value;
    return 0;
}

int json_get_strv(const json_t *object, const char *where, const char *key, char ***ret, struct err *err)
{
    json_t *array = NULL;
    int r = json_get_array(object, where, key, &array, err);
    if (r < 0 || !array)
        return r;
    size_t n = json_array_size(array);
    _cleanup_strv_ char **list = NEW_N(char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_string(item) || strlen(json_string_value(item)) != json_string_length(item))
            return wrong_type(item, where, key, "a list of strings", err);
        list[i] = mem_strdup(json_string_value(item));
    }
    *ret = take_ptr(list);
    return 0;
}

const char *json_str(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

int64_t json_int(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

bool json_bool(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

json_t *json_of_strv(char *const *list)
{
    json_t *array = json_array();
    for (size_t i = 0; list && list[i]; i++) {
        json_t *item = json_string(list[i]);
        json_array_append_new(array, item ? item : json_string("\xef\xbf\xbd"));
    }
    return array;
}

void json_set_str(json_t *object, const char *key, const char *value)
{
    if (!value) {
        json_object_set_new(object, key, json_null());
        return;
    }
    json_t *string = json_string(value);
    if (!string) { /* not UTF-8: each byte above 127 becomes U+FFFD */
        _cleanup_str_ struct str clean = STR_INIT;
        for (const char *c = value; *c; c++) {
            if ((unsigned char)*c < 128)
                str_addc(&clean, *c);
            else
                str_add(&clean, "\xef\xbf\xbd");
        }
        string = json_string(str_get(&clean));
    }
    json_object_set_new(object, key, string);
}

static bool is_plain(const char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
            return false;
    return true;
}

void json_add_text(struct str *to, const char *text)
{
    if (text && is_plain(text)) {
        str_addc(to, '"');
        str_add(to, text);
        str_addc(to, '"');
        return;
    }
    _cleanup_json_ json_t *holder = json_object();
    json_set_str(holder, "t", text);
    _cleanup_free_ char *shown = json_format(json_object_get(holder, "t"));
    str_add(to, shown);
}
