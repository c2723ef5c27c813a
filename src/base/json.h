/* Typed reading of JSON (jansson) with errors that name the field, and compact printing.
 *
 * The readers take an object, a key, and a place for the value. A missing key or a null leaves the place as
 * it is and returns 0; a value of another type is ERR_INVALID: `"HostConfig.Memory" must be a number, not a
 * string`. Strings are borrowed from the object. `where` is the path so far ("HostConfig"), or "" at the top.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/str.h"

#include <jansson.h>

struct err;

static inline void json_decref_p(json_t **j)
{
    json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_decref_p)

/* At most 8 MiB and 64 levels; duplicate keys are refused. An integer beyond 64 signed
 * bits is read as a real. `what` names the text in the message. */
int json_parse(const char *text, size_t n, const char *what, json_t **ret, struct err *err);
int json_parse_file(const char *path, json_t **ret, struct err *err);
/* Compact, keys in the order they were set; the caller frees. */
char *json_format(const json_t *value);

/* Appends a text with its quotes, as json_format() prints it; NULL is null, as in json_set_str(). */
void json_add_text(struct str *to, const char *text);

/* Lists and objects are copied, however deep; texts and numbers, which nobody changes, are shared. */
json_t *json_copy_tree(const json_t *value);

int json_get_string(const json_t *object, const char *where, const char *key, const char **ret,
                    struct err *err);
int json_get_bool(const json_t *object, const char *where, const char *key, bool *ret, struct err *err);
int json_get_i64(const json_t *object, const char *where, const char *key, int64_t *ret, struct err *err);
int json_get_double(const json_t *object, const char *where, const char *key, double *ret, struct err *err);
int json_get_object(const json_t *object, const char *where, const char *key, json_t **ret, struct err *err);
int json_get_array(const json_t *object, const char *where, const char *key, json_t **ret, struct err *err);
/* An array of strings as a list the caller frees. */
int json_get_strv(const json_t *object, const char *where, const char *key, char ***ret, struct err *err);

/* Shorthands for values known to be of the right form (our own documents): "" / 0 / false when absent. */
const char *json_str(const json_t *object, const char *key);
int64_t json_int(const json_t *object, const char *key);
bool json_bool(const json_t *object, const char *key);

json_t *json_of_strv(char *const *list); /* NULL gives [] */
/* Sets a string, or null when `value` is NULL. Invalid UTF-8 is replaced, so that printing never fails. */
void json_set_str(json_t *object, const char *key, const char *value);

#endif
