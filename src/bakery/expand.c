#include "bakery/expand.h"

#include "base/str.h"

#include <ctype.h>

struct expansion {
    const struct expand *x;
    const char *at;
    struct str word;
    bool started; /* a word is open, if only by quotes: "" is a word */
    char **words; /* finished ones, when splitting */
    bool split;
    int depth;
    struct err *err;
};

static int add(struct expansion *e, char c)
{
    if (e->word.len >= EXPAND_MAX_BYTES)
        return err_set(e->err, ERR_LIMIT, "a value grows beyond %d bytes by its variables", EXPAND_MAX_BYTES);
    str_addc(&e->word, c);
    e->started = true;
    return 0;
}

static void end_word(struct expansion *e)
{
    if (!e->started)
        return;
    strv_take(&e->words, str_take(&e->word));
    e->started = false;
}

static int add_value(struct expansion *e, const char *value, bool quoted)
{
    int r = 0;
    for (; r == 0 && value && *value; value++) {
        if (e->split && !quoted && isspace((unsigned char)*value))
            end_word(e);
        else
            r = add(e, *value);
    }
    return r;
}

static int process(struct expansion *e, char stop);

static int single_quotes(struct expansion *e)
{
    int r = 0;
    e->started = true;
    for (e->at++; r == 0 && *e->at != '\''; e->at++) {
        if (!*e->at)
            return err_set(e->err, ERR_INVALID, "a single quote is not closed");
        r = add(e, *e->at);
    }
    if (r == 0)
        e->at++;
    return r;
}

/* A variable's name after `$` or `${`: a word, digits, or one special character. */
static char *read_name(struct expansion *e)
{
    const char *start = e->at;
    if (isalpha((unsigned char)*e->at) || *e->at == '_')
        while (isalnum((unsigned char)*e->at) || *e->at == '_')
            e->at++;
    else if (isdigit((unsigned char)*e->at))
        while (isdigit((unsigned char)*e->at))
            e->at++;
    else if (*e->at && strchr("@*#?-$!", *e->at))
        e->at++;
    return mem_strndup(start, (size_t)(e->at - start));
}

/* The text behind a modifier up to the closing brace, itself expanded. */
static int read_default(struct expansion *e, char **ret)
{
    struct expansion inner = {.x = e->x, .at = e->at, .depth = e->depth + 1, .err = e->err};
    int r = process(&inner, '}');
    if (r == 0 && *inner.at != '}')
        r = err_set(e->err, ERR_INVALID, "a \"${\" is not closed");
    if (r < 0) {
        str_free(&inner.word);
        return r;
    }
    e->at = inner.at + 1;
    *ret = str_take(&inner.word);
    return 0;
}

static int modified(struct expansion *e, const char *name, bool quoted)
{
    const char *value = e->x->lookup(e->x->context, name);
    bool set = value != NULL;
    if (*e->at == ':') {
        set = set && *value;
        e->at++;
    }
    char modifier = *e->at;
    if (!modifier || !strchr("-+?", modifier))
        return err_set(e->err, modifier ? ERR_UNSUPPORTED : ERR_INVALID,
                       "\"${%s%.8s\": the modifiers known are :- :+ :? - + ?", name, e->at);
    e->at++;
    _cleanup_free_ char *text = NULL;
    int r = read_default(e, &text);
    if (r < 0)
        return r;
    if (modifier == '?' && !set)
        return err_set(e->err, ERR_INVALID, "%s: %s", name, *text ? text : "not set");
    if (modifier == '+')
        return set ? add_value(e, text, quoted) : 0;
    return add_value(e, set || modifier == '?' ? value : text, quoted);
}

static int dollar(struct expansion *e, bool quoted)
{
    e->at++;
    bool braces = *e->at == '{';
    if (braces)
        e->at++;
    _cleanup_free_ char *name = read_name(e);
    if (!*name)
        return braces ? err_set(e->err, ERR_INVALID, "\"${\" without a variable's name") : add(e, '$');
    if (!braces || *e->at == '}') {
        e->at += braces;
        return add_value(e, e->x->lookup(e->x->context, name), quoted);
    }
    return modified(e, name, quoted);
}

static int escape(struct expansion *e, bool quoted)
{
    char next = e->at[1];
    int r = 0;
    /* Between double quotes, and in a heredoc, the escape character is itself unless it guards something. */
    bool guards = next == '$' || next == e->x->escape || (next == '"' && !e->x->raw);
    if ((quoted || e->x->raw) && !guards)
        r = add(e, e->x->escape);
    e->at++;
    if (r == 0 && next) {
        r = add(e, next);
        e->at++;
    }
    return r;
}

static int double_quotes(struct expansion *e)
{
    int r = 0;
    e->started = true;
    e->at++;
    while (r == 0 && *e->at != '"') {
        if (!*e->at)
            return err_set(e->err, ERR_INVALID, "a double quote is not closed");
        if (*e->at == '$')
            r = dollar(e, true);
        else if (*e->at == e->x->escape)
            r = escape(e, true);
        else
            r = add(e, *e->at++);
    }
    if (r == 0)
        e->at++;
    return r;
}

static int process(struct expansion *e, char stop)
{
    if (e->depth > EXPAND_MAX_DEPTH)
        return err_set(e->err, ERR_LIMIT, "\"${\" nested more than %d deep", EXPAND_MAX_DEPTH);
    int r = 0;
    /* In a heredoc's text quotes have no meaning of their own. */
    while (r == 0 && *e->at && *e->at != stop) {
        if (*e->at == '\'' && !e->x->raw)
            r = single_quotes(e);
        else if (*e->at == '"' && !e->x->raw)
            r = double_quotes(e);
        else if (*e->at == '$')
            r = dollar(e, false);
        else if (*e->at == e->x->escape)
            r = escape(e, false);
        else if (e->split && isspace((unsigned char)*e->at)) {
            end_word(e);
            e->at++;
        } else
            r = add(e, *e->at++);
    }
    return r;
}

int expand_word(const struct expand *x, const char *text, char **ret, struct err *err)
{
    struct expansion e = {.x = x, .at = text, .err = err};
    int r = process(&e, '\0');
    if (r < 0) {
        str_free(&e.word);
        return r;
    }
    *ret = str_take(&e.word);
    return 0;
}

int expand_words(const struct expand *x, const char *text, char ***ret, struct err *err)
{
    struct expansion e = {.x = x, .at = text, .split = true, .err = err};
    int r = process(&e, '\0');
    if (r < 0) {
        str_free(&e.word);
        strv_free(e.words);
        return r;
    }
    end_word(&e);
    str_free(&e.word);
    *ret = e.words;
    return 0;
}
