/* Growing strings, lists of strings, and small string helpers.
 *
 * `struct str` holds bytes with a NUL behind them that is not counted; STR_INIT and an all-zero struct are
 * empty strings. str_get() never returns NULL. str_take() hands the buffer over and leaves an empty string.
 *
 * A `char **` list ("strv") ends with NULL; NULL is the empty list. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include "base/mem.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

struct err;

struct str {
    char *data;
    size_t len;
    size_t cap;
};

#define STR_INIT                                                                                             \
    {                                                                                                        \
        0                                                                                                    \
    }
#define _cleanup_str_ _cleanup_(str_free)

void str_free(struct str *s);
void str_clear(struct str *s);
void str_add(struct str *s, const char *text);
void str_addc(struct str *s, char c);
void str_addn(struct str *s, const void *bytes, size_t n);
void str_addf(struct str *s, const char *format, ...) _printf_(2, 3);
void str_vaddf(struct str *s, const char *format, va_list ap) _printf_(2, 0);
void str_truncate(struct str *s, size_t len);
/* Makes room for `n` more bytes behind the present end and returns where; set ->len after writing. */
char *str_reserve(struct str *s, size_t n);
const char *str_get(const struct str *s);
char *str_take(struct str *s); /* "" if empty; the caller frees */

char *str_printf(const char *format, ...) _printf_(1, 2); /* the caller frees */

static inline bool str_eq(const char *a, const char *b) /* NULL equals only NULL */
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}
static inline bool str_empty(const char *s)
{
    return !s || !*s;
}
/* What follows `prefix` in `s`, or NULL. */
const char *str_after(const char *s, const char *prefix);
bool str_ends_with(const char *s, const char *suffix);
/* The part of `s` without white space at both ends; the caller frees. */
char *str_strip(const char *s);
char *str_lower(const char *s);
/* Only [0-9a-f], and at least one. */
bool str_is_hex(const char *s);
/* Hex of `bytes`, lower case, into `out` of 2*n+1 bytes. */
void str_hex(const void *bytes, size_t n, char *out);
int str_hex_value(char c); /* of a hex digit in either case, or -1 */
/* A part of a URL without its escapes; NULL when one is malformed or a zero byte. The caller frees. */
char *str_percent_decode(const char *text, size_t n, bool plus_is_space);

#define STRV_FOREACH(i, list) for (char **i = (list); i && *i; i++)
#define _cleanup_strv_        _cleanup_(strv_free_p)

char **strv_free(char **list); /* returns NULL */
static inline void strv_free_p(char ***list)
{
    strv_free(*list);
}
size_t strv_len(char *const *list);
void strv_add(char ***list, const char *item); /* copies */
void strv_take(char ***list, char *item);      /* takes */
bool strv_has(char *const *list, const char *item);
char **strv_dup(char *const *list);
/* Splits at each `separator`, keeping empty parts; "" gives one empty part. */
char **strv_split(const char *text, char separator);
char *strv_join(char *const *list, const char *separator); /* the caller frees */

/* Numbers. The whole text must be the number. 0, or -ERR_INVALID / -ERR_LIMIT with a message naming `text`.
 */
int parse_i64(const char *text, int64_t min, int64_t max, int64_t *ret, struct err *err);
/* A size as Docker writes it: 512, 512b, 64k, 1.5m, 2g, 1t, also kb/kib/mb/..., in powers of 1024. */
int parse_bytes(const char *text, int64_t *ret, struct err *err);
/* A duration as Go writes it: 300ms, 1.5h, 1m30s; a bare 0 is allowed. Nanoseconds. */
int parse_duration(const char *text, int64_t *ret_ns, struct err *err);
/* A boolean as Go's strconv.ParseBool takes it: 1 t T true TRUE True, and their opposites. */
int parse_bool(const char *text, bool *ret, struct err *err);

#endif
