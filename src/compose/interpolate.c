#include "compose/interpolate.h"

#include "base/map.h"

#include <ctype.h>

static size_t name_length(const char *at)
{
    if (!isalpha((unsigned char)*at) && *at != '_')
        return 0;
    size_t n = 1;
    while (isalnum((unsigned char)at[n]) || at[n] == '_')
        n++;
    return n;
}

/* Expands until the end, or until an unmatched '}' when `in_braces`; *at is left there. With `out` NULL the
 * text is only skipped over. */
static int expand(const struct interpolate *with, const char **at, bool in_braces, int depth, struct str *out,
                  struct err *err);

static int bad_format(const char *at, struct err *err)
{
    int shown = (int)MIN(strcspn(at, "\n"), (size_t)60);
    return err_set(
        err, ERR_INVALID,
        "\"%.*s\" is not a variable; write $NAME, ${NAME}, ${NAME:-default}, or $$ for a dollar sign", shown,
        at);
}

static const char *lookup(const struct interpolate *with, const char *name)
{
    const char *value = map_get(with->variables, name);
    return value || !with->fallback ? value : map_get(with->fallback, name);
}

static int complain_required(const char *name, bool colon, const struct str *text, struct err *err)
{
    if (text->len)
        return err_set(err, ERR_INVALID, "required variable %s is missing: %s", name, str_get(text));
    return err_set(err, ERR_INVALID, "required variable %s is %s", name,
                   colon ? "not set or empty" : "not set");
}

static void tell_use(const struct interpolate *with, const char *name, char op, const char *written, size_t n)
{
    _cleanup_free_ char *word = written ? mem_strndup(written, n) : NULL;
    const struct variable_use use = {.name = name,
                                     .default_value = op == '-' ? word : NULL,
                                     .alternate = op == '+' ? word : NULL,
                                     .required = op == '?'};
    if (with->used)
        with->used(with->context, &use);
}

/* What is behind the name in "${NAME...}": an operator and its word, up to the closing brace. */
static int expand_operator(const struct interpolate *with, const char *name, const char **at, int depth,
                           struct str *out, const char *start, struct err *err)
{
    const char *value = lookup(with, name);
    bool colon = **at == ':';
    char op = (*at)[colon];
    if (!op || !strchr("-?+", op))
        return bad_format(start, err);
    bool set = value && (!colon || *value);
    *at += 1 + colon;
    bool use_word = op == '+' ? set : !set;
    _cleanup_str_ struct str word = STR_INIT;
    const char *written = *at;
    int r = expand(with, at, true, depth + 1, use_word && out ? &word : NULL, err);
    if (r < 0)
        return r;
    if (**at != '}')
        return bad_format(start, err);
    tell_use(with, name, op, written, (size_t)(*at - written));
    ++*at;
    if (!out)
        return 0;
    if (op == '?' && !set)
        return complain_required(name, colon, &word, err);
    if (use_word)
        str_addn(out, word.data, word.len);
    else if (op != '+')
        str_add(out, value);
    return 0;
}

/* At the dollar sign. One that no name and no brace follows is itself, so that "^a$" and "$(date)" need no
 * second one; docker compose reads files so too. */
static int expand_variable(const struct interpolate *with, const char **at, int depth, struct str *out,
                           struct err *err)
{
    const char *start = *at;
    bool braces = start[1] == '{';
    size_t n = name_length(start + 1 + braces);
    if (start[1] == '$') {
        *at += 2;
        if (out)
            str_addc(out, '$');
        return 0;
    }
    if (!n && !braces) {
        ++*at;
        if (out)
            str_addc(out, '$');
        return 0;
    }
    if (!n || depth > INTERPOLATE_MAX_DEPTH)
        return bad_format(start, err);
    _cleanup_free_ char *name = mem_strndup(start + 1 + braces, n);
    *at = start + 1 + braces + n;
    if (braces && **at != '}')
        return expand_operator(with, name, at, depth, out, start, err);
    *at += braces;
    tell_use(with, name, 0, NULL, 0);
    const char *value = lookup(with, name);
    if (out && value)
        str_add(out, value);
    if (out && !value && with->unset)
        with->unset(with->context, name);
    return 0;
}

static int expand(const struct interpolate *with, const char **at, bool in_braces, int depth, struct str *out,
                  struct err *err)
{
    while (**at) {
        if (in_braces && **at == '}')
            return 0;
        if (out && out->len > INTERPOLATE_MAX_BYTES)
            return err_set(err, ERR_LIMIT, "the value is longer than %d bytes with its variables",
                           INTERPOLATE_MAX_BYTES);
        if (**at == '$') {
            int r = expand_variable(with, at, depth, out, err);
            if (r < 0)
                return r;
            continue;
        }
        if (out)
            str_addc(out, **at);
        ++*at;
    }
    return 0;
}

int interpolate_text(const struct interpolate *with, const char *text, struct str *ret, struct err *err)
{
    const char *at = text;
    return expand(with, &at, false, 0, ret, err);
}
