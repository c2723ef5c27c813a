#include "bakery/pattern.h"
#include "bakery/preprocess_priv.h"

#include <ctype.h>

/* or     = and { "||" and }
 * and    = not { "&&" not }
 * not    = "!" not | "(" or ")" | "defined" name | word [ ( "==" | "!=" | "=~" | "!~" ) word ]
 * A word ends at white space, a parenthesis or an operator, outside quotes and ${}. Both sides of || and &&
 * are evaluated, so that a mistake is found whatever the values are. */

struct condition {
    struct scope *scope;
    const char *at;
    int depth;
    struct err *err;
};

static int parse_or(struct condition *c, bool *ret);

static bool take(struct condition *c, const char *token)
{
    while (isspace((unsigned char)*c->at))
        c->at++;
    const char *rest = str_after(c->at, token);
    if (!rest)
        return false;
    c->at = rest;
    return true;
}

static bool ends_word(const char *at)
{
    return !*at || isspace((unsigned char)*at) || strchr("()", *at) || str_after(at, "&&") ||
           str_after(at, "||") || str_after(at, "==") || str_after(at, "!=") || str_after(at, "=~") ||
           str_after(at, "!~");
}

/* The end of a word, whose quotes and braces hide what would end it. */
static const char *word_end(const char *at, char escape)
{
    char quote = '\0';
    int braces = 0;
    for (; *at && (quote || braces || !ends_word(at)); at++) {
        if (*at == escape && at[1] && quote != '\'')
            at++;
        else if (quote)
            quote = *at == quote ? '\0' : quote;
        else if (*at == '"' || *at == '\'')
            quote = *at;
        else if (at[0] == '$' && at[1] == '{')
            braces++;
        else if (*at == '}' && braces)
            braces--;
    }
    return at;
}

static int word(struct condition *c, char **ret)
{
    take(c, "");
    const char *end = word_end(c->at, c->scope->escape);
    if (end == c->at)
        return err_set(c->err, ERR_INVALID,
                       *c->at ? "expected a value at \"%.40s\"" : "expected a value at the end%s", c->at);
    _cleanup_free_ char *text = mem_strndup(c->at, (size_t)(end - c->at));
    c->at = end;
    return scope__expand(c->scope, text, ret, c->err);
}

static int defined(struct condition *c, bool *ret)
{
    bool parenthesis = take(c, "(");
    take(c, "");
    size_t n = 0;
    while (isalnum((unsigned char)c->at[n]) || c->at[n] == '_')
        n++;
    if (!n)
        return err_set(c->err, ERR_INVALID, "expected a name after \"defined\"");
    _cleanup_free_ char *name = mem_strndup(c->at, n);
    c->at += n;
    if (parenthesis && !take(c, ")"))
        return err_set(c->err, ERR_INVALID, "expected ) at \"%.40s\"", c->at);
    c->scope->unknown = false;
    *ret = scope__lookup_all(c->scope, name) != NULL || c->scope->unknown;
    return 0;
}

static int matches(struct condition *c, const char *value, const char *pattern, bool *ret)
{
    _cleanup_(pattern_free_p) struct pattern *p = NULL;
    int r = pattern_new(pattern, false, &p, c->err);
    if (r == 0)
        *ret = pattern_match(p, value, strlen(value));
    return r;
}

static int comparison(struct condition *c, bool *ret)
{
    static const char *const operators[] = {"==", "!=", "=~", "!~"};
    _cleanup_free_ char *left = NULL, *right = NULL;
    int r = word(c, &left);
    if (r < 0)
        return r;
    size_t i = 0;
    while (i < ARRAY_SIZE(operators) && !take(c, operators[i]))
        i++;
    if (i == ARRAY_SIZE(operators)) { /* a value alone: set, and no way to say no */
        *ret = *left && strcmp(left, "0") != 0 && strcmp(left, "false") != 0;
        return 0;
    }
    r = word(c, &right);
    if (r == 0 && i >= 2)
        r = matches(c, left, right, ret);
    else if (r == 0)
        *ret = strcmp(left, right) == 0;
    if (r == 0 && i % 2)
        *ret = !*ret;
    return r;
}

static int parse_not(struct condition *c, bool *ret)
{
    if (++c->depth > 64)
        return err_set(c->err, ERR_LIMIT, "a condition nested more than 64 deep");
    int r;
    take(c, "");
    if (*c->at == '!' && c->at[1] != '=' && c->at[1] != '~') {
        c->at++;
        r = parse_not(c, ret);
        *ret = !*ret;
    } else if (take(c, "(")) {
        r = parse_or(c, ret);
        if (r == 0 && !take(c, ")"))
            r = err_set(c->err, ERR_INVALID, "expected ) at \"%.40s\"", c->at);
    } else if (str_after(c->at, "defined") && !isalnum((unsigned char)c->at[7]) && c->at[7] != '_') {
        c->at += 7;
        r = defined(c, ret);
    } else {
        r = comparison(c, ret);
    }
    c->depth--;
    return r;
}

static int parse_and(struct condition *c, bool *ret)
{
    int r = parse_not(c, ret);
    while (r == 0 && take(c, "&&")) {
        bool right = false;
        r = parse_not(c, &right);
        *ret = *ret && right;
    }
    return r;
}

static int parse_or(struct condition *c, bool *ret)
{
    int r = parse_and(c, ret);
    while (r == 0 && take(c, "||")) {
        bool right = false;
        r = parse_and(c, &right);
        *ret = *ret || right;
    }
    return r;
}

int condition__eval(struct scope *s, const char *text, bool *ret, struct err *err)
{
    struct condition c = {.scope = s, .at = text, .err = err};
    bool value = false;
    int r = parse_or(&c, &value);
    take(&c, "");
    if (r == 0 && *c.at)
        r = err_set(err, ERR_INVALID, "expected && or || at \"%.40s\"", c.at);
    if (r == 0)
        *ret = value;
    return r;
}
