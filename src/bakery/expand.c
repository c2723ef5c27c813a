#include "bakery/expand_priv.h"

#include "base/str.h"

#include <ctype.h>

struct expansion {
    const struct expand *x;
    const char *at;
    struct str word;
    bool started; /* a word is open, if only by quotes: "" is a word */
    char **words; /* finished ones, when splitting */
    bool split;
    bool pattern; /* the text is a pattern: escapes stay, and what is quoted is escaped */
    bool literal; /* what a pattern's match is replaced by: escapes stay */
    char stop;    /* ends the text, besides its end; '\0': nothing does */
    char stop_too;
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

static int process(struct expansion *e);

/* A letter that is no part of a pattern's language, whatever it is. */
static int add_literal(struct expansion *e, char c)
{
    int r = e->pattern && strchr("*?\\", c) ? add(e, '\\') : 0;
    return r < 0 ? r : add(e, c);
}

static int single_quotes(struct expansion *e)
{
    int r = 0;
    e->started = true;
    for (e->at++; r == 0 && *e->at != '\''; e->at++) {
        if (!*e->at)
            return err_set(e->err, ERR_INVALID, "a single quote is not closed");
        r = add_literal(e, *e->at);
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

/* The text behind a modifier up to `stop` or the closing brace, itself expanded; e->at is on its end. */
static int read_operand(struct expansion *e, bool pattern, bool literal, char stop, char **ret)
{
    struct expansion inner = {.x = e->x,
                              .at = e->at,
                              .pattern = pattern,
                              .literal = literal,
                              .stop = '}',
                              .stop_too = stop,
                              .depth = e->depth + 1,
                              .err = e->err};
    int r = process(&inner);
    if (r == 0 && !*inner.at)
        r = err_set(e->err, ERR_INVALID, "a \"${\" is not closed");
    if (r < 0) {
        str_free(&inner.word);
        return r;
    }
    e->at = inner.at;
    *ret = str_take(&inner.word);
    return 0;
}

/* ${V:-x} and its kin; e->at is on the letter after ':'. */
static int with_default(struct expansion *e, const char *name, const char *value, bool set, bool quoted)
{
    char modifier = *e->at++;
    _cleanup_free_ char *text = NULL;
    int r = read_operand(e, false, false, '\0', &text);
    if (r < 0)
        return r;
    e->at++;
    if (modifier == '?' && !set)
        return err_set(e->err, ERR_INVALID, "%s: %s", name, *text ? text : "not set");
    if (modifier == '+')
        return set ? add_value(e, text, quoted) : 0;
    return add_value(e, set || modifier == '?' ? value : text, quoted);
}

/* ${V#p} ${V##p} ${V%p} ${V%%p} ${V/p/x} ${V//p/x}; e->at is on the modifier. */
static int with_pattern(struct expansion *e, const char *value, bool quoted)
{
    char modifier = *e->at++;
    bool twice = *e->at == modifier;
    e->at += twice;
    _cleanup_free_ char *pattern = NULL, *replacement = NULL, *result = NULL;
    int r = read_operand(e, true, false, modifier == '/' ? '/' : '\0', &pattern);
    if (r == 0 && modifier == '/' && *e->at == '/') {
        e->at++;
        r = read_operand(e, false, true, '\0', &replacement);
    }
    if (r < 0)
        return r;
    e->at++;
    const struct expand_edit edit = {
        .pattern = pattern, .replacement = replacement ? replacement : "", .how = modifier, .all = twice};
    r = expand__edit(&edit, value ? value : "", &result, e->err);
    return r < 0 ? r : add_value(e, result, quoted);
}

static int modified(struct expansion *e, const char *name, bool quoted)
{
    const char *value = e->x->lookup(e->x->context, name);
    bool set = value != NULL, colon = *e->at == ':';
    if (!colon && *e->at && strchr("#%/", *e->at))
        return with_pattern(e, value, quoted);
    if (colon) {
        set = set && *value;
        e->at++;
    }
    if (*e->at && strchr("-+?", *e->at))
        return with_default(e, name, value, set, quoted);
    return err_set(e->err, ERR_INVALID,
                   "\"${%s%s%.8s\": expected } or one of the modifiers :- :+ :? - + ? # ## %% %%%% / //",
                   name, colon ? ":" : "", e->at);
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
    /* Between double quotes the escape character is itself unless it guards something. */
    bool guards = next == '$' || next == e->x->escape || next == '"';
    if (e->literal || (quoted && !guards))
        r = add_literal(e, e->x->escape);
    e->at++;
    if (r == 0 && next) {
        r = add_literal(e, next);
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
            r = add_literal(e, *e->at++);
    }
    if (r == 0)
        e->at++;
    return r;
}

static bool at_end(const struct expansion *e)
{
    return !*e->at || (e->stop && *e->at == e->stop) || (e->stop_too && *e->at == e->stop_too);
}

static int process(struct expansion *e)
{
    if (e->depth > EXPAND_MAX_DEPTH)
        return err_set(e->err, ERR_LIMIT, "\"${\" nested more than %d deep", EXPAND_MAX_DEPTH);
    int r = 0;
    /* In a heredoc's text quotes have no meaning of their own. */
    while (r == 0 && !at_end(e)) {
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
    int r = process(&e);
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
    int r = process(&e);
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
