#include "base/str.h"

#include "base/err.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

void str_free(struct str *s)
{
    free(s->data);
    *s = (struct str)STR_INIT;
}

void str_clear(struct str *s)
{
    str_truncate(s, 0);
}

char *str_reserve(struct str *s, size_t n)
{
    must(n < SIZE_MAX / 2 - s->len);
    size_t need = s->len + n + 1;
    if (need > s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        if (cap < need)
            cap = need;
        s->data = mem_grow(s->data, cap, 1);
        s->cap = cap;
    }
    s->data[s->len] = '\0';
    return s->data + s->len;
}

void str_addn(struct str *s, const void *bytes, size_t n)
{
    char *end = str_reserve(s, n);
    if (n)
        memcpy(end, bytes, n);
    end[n] = '\0';
    s->len += n;
}

void str_add(struct str *s, const char *text)
{
    str_addn(s, text, strlen(text));
}

void str_addc(struct str *s, char c)
{
    str_addn(s, &c, 1);
}

void str_vaddf(struct str *s, const char *format, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    must(n >= 0);
    vsnprintf(str_reserve(s, (size_t)n), (size_t)n + 1, format, again);
    va_end(again);
    s->len += (size_t)n;
}

void str_addf(struct str *s, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    str_vaddf(s, format, ap);
    va_end(ap);
}

void str_truncate(struct str *s, size_t len)
{
    if (!s->data)
        return;
    must(len <= s->len);
    s->len = len;
    s->data[len] = '\0';
}

const char *str_get(const struct str *s)
{
    return s->data ? s->data : "";
}

char *str_take(struct str *s)
{
    str_reserve(s, 0);
    char *data = s->data;
    *s = (struct str)STR_INIT;
    return data;
}

char *str_printf(const char *format, ...)
{
    struct str s = STR_INIT;
    va_list ap;
    va_start(ap, format);
    str_vaddf(&s, format, ap);
    va_end(ap);
    return str_take(&s);
}

const char *str_after(const char *s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s && strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

bool str_ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

char *str_strip(const char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        n--;
    return mem_strndup(s, n);
}

char *str_lower(const char *s)
{
    char *copy = mem_strdup(s);
    for (char *c = copy; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return copy;
}

bool str_is_hex(const char *s)
{
    if (!*s)
        return false;
    return s[strspn(s, "0123456789abcdef")] == '\0';
}

void str_hex(const void *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[b[i] >> 4];
        *out++ = digits[b[i] & 15];
    }
    *out = '\0';
}

char **strv_free(char **list)
{
    STRV_FOREACH (i, list)
        free(*i);
    free(list);
    return NULL;
}

size_t strv_len(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

void strv_take(char ***list, char *item)
{
    size_t n = strv_len(*list);
    *list = mem_grow(*list, n + 2, sizeof(char *));
    (*list)[n] = item;
    (*list)[n + 1] = NULL;
}

void strv_add(char ***list, const char *item)
{
    strv_take(list, mem_strdup(item));
}

bool strv_has(char *const *list, const char *item)
{
    for (size_t i = 0; list && list[i]; i++)
        if (strcmp(list[i], item) == 0)
            return true;
    return false;
}

char **strv_dup(char *const *list)
{
    size_t n = strv_len(list);
    char **copy = NEW_N(char *, n + 1);
    for (size_t i = 0; i < n; i++)
        copy[i] = mem_strdup(list[i]);
    return copy;
}

char **strv_split(const char *text, char separator)
{
    size_t parts = 1;
    for (const char *c = text; *c; c++)
        parts += *c == separator;
    char **list = NEW_N(char *, parts + 1);
    for (size_t i = 0; i < parts; i++) {
        const char *end = strchrnul(text, separator);
        list[i] = mem_strndup(text, (size_t)(end - text));
        text = end + 1;
    }
    return list;
}

char *strv_join(char *const *list, const char *separator)
{
    struct str s = STR_INIT;
    for (size_t i = 0; list && list[i]; i++) {
        if (i)
            str_add(&s, separator);
        str_add(&s, list[i]);
    }
    return str_take(&s);
}

int parse_i64(const char *text, int64_t min, int64_t max, int64_t *ret, struct err *err)
{
    char *end = NULL;
    errno = 0;
    long long value = text && *text && !isspace((unsigned char)*text) ? strtoll(text, &end, 10) : 0;
    if (!end || *end || end == text)
        return err_set(err, ERR_INVALID, "\"%s\" is not a whole number", text ? text : "");
    if (errno == ERANGE || value < min || value > max)
        return err_set(err, ERR_INVALID, "%s is out of range (%lld to %lld)", text, (long long)min,
                       (long long)max);
    *ret = value;
    return 0;
}

/* The shift of a size unit: "k", "kb" and "kib" are 10, and so on; -1 for what is none. */
static int unit_shift(const char *unit)
{
    static const char letters[] = "bkmgtp";
    const char *at = *unit ? strchr(letters, tolower((unsigned char)*unit)) : letters;
    if (!at)
        return -1;
    if (*unit && *at != 'b') {
        const char *rest = unit + 1;
        if (*rest && strcasecmp(rest, "b") != 0 && strcasecmp(rest, "ib") != 0)
            return -1;
    } else if (*unit && unit[1])
        return -1;
    return 10 * (int)(at - letters);
}

int parse_bytes(const char *text, int64_t *ret, struct err *err)
{
    char *end = NULL;
    double value = text && isdigit((unsigned char)*text) ? strtod(text, &end) : -1;
    if (!end)
        return err_set(err, ERR_INVALID, "\"%s\" is not a size; write for example 512m or 2g",
                       text ? text : "");
    while (*end == ' ')
        end++;
    int shift = unit_shift(end);
    if (shift < 0)
        return err_set(err, ERR_INVALID, "\"%s\" has an unknown unit \"%s\"; use b, k, m, g, t or p", text,
                       end);
    double bytes = value * (double)(INT64_C(1) << shift);
    if (!(bytes < 9.2e18))
        return err_set(err, ERR_INVALID, "%s is too large", text);
    *ret = (int64_t)bytes;
    return 0;
}

int parse_duration(const char *text, int64_t *ret_ns, struct err *err)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    const char *at = text ? text : "";
    double total = 0;
    bool negative = *at == '-';
    if (*at == '-' || *at == '+')
        at++;
    if (strcmp(at, "0") == 0) {
        *ret_ns = 0;
        return 0;
    }
    if (!*at)
        goto bad;
    while (*at) {
        char *end;
        if (!isdigit((unsigned char)*at) && *at != '.')
            goto bad;
        double value = strtod(at, &end);
        size_t n = strcspn(end, "0123456789.");
        size_t i = 0;
        while (i < ARRAY_SIZE(units) && (strlen(units[i].unit) != n || strncmp(units[i].unit, end, n) != 0))
            i++;
        if (end == at || i == ARRAY_SIZE(units))
            goto bad;
        total += value * units[i].ns;
        at = end + n;
    }
    if (!(total < 9.2e18))
        return err_set(err, ERR_INVALID, "duration %s is too long", text);
    *ret_ns = (int64_t)llround(negative ? -total : total);
    return 0;
bad:
    return err_set(err, ERR_INVALID, "\"%s\" is not a duration; write for example 10s or 1m30s",
                   text ? text : "");
}

int parse_bool(const char *text, bool *ret, struct err *err)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True", NULL};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False", NULL};
    bool is_yes = text && strv_has((char *const *)yes, text);
    if (!is_yes && !(text && strv_has((char *const *)no, text)))
        return err_set(err, ERR_INVALID, "\"%s\" is not true or false", text ? text : "");
    *ret = is_yes;
    return 0;
}

int str_hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

char *str_percent_decode(const char *text, size_t n, bool plus_is_space)
{
    char *out = mem_new(n + 1);
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < n ? str_hex_value(text[i + 1]) : -1;
            int low = high >= 0 ? str_hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                free(out);
                return NULL;
            }
            c = (char)(high << 4 | low);
            i += 2;
        }
        out[len++] = c;
    }
    return out;
}
