/* Variables in values, as the Compose Specification defines them ("Interpolation"):
 *
 *     $V ${V}              the value, or nothing
 *     ${V:-x} ${V-x}       x when V is unset (with the colon: or empty)
 *     ${V:?text} ${V?text} an error with the text in those cases
 *     ${V:+x} ${V+x}       x when V is set (with the colon: and not empty)
 *     $$                   one dollar sign
 *
 * x and text may hold variables themselves, to any depth up to a bound. */
#ifndef COMPOSE_INTERPOLATE_H
#define COMPOSE_INTERPOLATE_H

#include "base/err.h"
#include "base/str.h"

struct map;

enum { INTERPOLATE_MAX_BYTES = 1 << 20, INTERPOLATE_MAX_DEPTH = 32 };

/* One place where a variable is used; texts are as written, and NULL when there is none. */
struct variable_use {
    const char *name;
    const char *default_value, *alternate; /* behind '-' and '+' */
    bool required;                         /* with '?' */
};

/* Values of a map of strings; a name that is not there is unset. */
struct interpolate {
    const struct map *variables;
    const struct map *fallback; /* asked second; may be NULL */
    /* Called for each variable that is unset and has no default; may be NULL. */
    void (*unset)(void *context, const char *name);
    /* Called for each use that is evaluated or skipped over; may be NULL. */
    void (*used)(void *context, const struct variable_use *use);
    void *context;
};

/* Appends `text` with its variables replaced. ERR_INVALID for bad syntax and for ${V?..}; ERR_LIMIT for a
 * result that is too long. */
int interpolate_text(const struct interpolate *with, const char *text, struct str *ret, struct err *err);

/* Whether it has any dollar sign at all. */
static inline bool interpolate_wanted(const char *text)
{
    return strchr(text, '$') != NULL;
}

#endif
