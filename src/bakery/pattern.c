#include "bakery/pattern.h"

#include "base/mem.h"

#include <string.h>

enum token_kind {
    TOKEN_LETTER,
    TOKEN_ANY,     /* ?: one letter but '/' */
    TOKEN_STAR,    /* *: letters but '/' */
    TOKEN_DEEP,    /* ** at the end: anything */
    TOKEN_DIRS,    /* ** and its slash: nothing, or anything that ends with a slash; the entry */
    TOKEN_DIRS_IN, /* ... and the state within */
    TOKEN_CLASS,
};

struct token {
    enum token_kind kind;
    unsigned char letter;
    unsigned char set[32]; /* of a class: one bit a byte */
};

struct pattern {
    struct token *tokens;
    size_t count, capacity;
};

bool pattern_has_wildcard(const char *text)
{
    for (; *text; text++) {
        if (*text == '\\' && text[1])
            text++;
        else if (strchr("*?[", *text))
            return true;
    }
    return false;
}

static struct token *add(struct pattern *p, enum token_kind kind, char letter)
{
    GROW(p->tokens, p->count, p->capacity);
    p->tokens[p->count] = (struct token){.kind = kind, .letter = (unsigned char)letter};
    return &p->tokens[p->count++];
}

static bool class_letter(const char **at, unsigned char *ret)
{
    if (**at == '\\')
        (*at)++;
    if (!**at)
        return false;
    *ret = (unsigned char)*(*at)++;
    return true;
}

/* "[a-z]", "[^a-z]"; `at` is behind the bracket. False when it is not closed, is empty or runs backwards. */
static bool add_class(struct pattern *p, const char **at)
{
    struct token *t = add(p, TOKEN_CLASS, 0);
    bool negated = **at == '^';
    *at += negated;
    bool any = false;
    while (**at != ']' || !any) {
        unsigned char from, to;
        if (**at == ']' || **at == '-' || !class_letter(at, &from))
            return false;
        to = from;
        if (**at == '-') {
            (*at)++;
            if (**at == ']' || !class_letter(at, &to) || to < from)
                return false;
        }
        for (int c = from; c <= to; c++)
            t->set[c / 8] |= (unsigned char)(1 << c % 8);
        any = true;
    }
    (*at)++;
    for (size_t i = 0; negated && i < sizeof(t->set); i++)
        t->set[i] = (unsigned char)~t->set[i];
    t->set['/' / 8] &= (unsigned char)~(1 << '/' % 8);
    return true;
}

static void add_star(struct pattern *p, const char **at, bool double_star)
{
    if (!double_star || **at != '*') {
        add(p, TOKEN_STAR, 0);
        return;
    }
    (*at)++;
    if (**at == '/')
        (*at)++;
    if (!**at) {
        add(p, TOKEN_DEEP, 0);
    } else {
        add(p, TOKEN_DIRS, 0);
        add(p, TOKEN_DIRS_IN, 0);
    }
}

int pattern_new(const char *text, bool double_star, struct pattern **ret, struct err *err)
{
    if (strlen(text) > PATTERN_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "a pattern of more than %d bytes", PATTERN_MAX_BYTES);
    struct pattern *p = NEW(struct pattern);
    bool ok = true;
    for (const char *at = text; ok && *at;) {
        char c = *at++;
        if (c == '*')
            add_star(p, &at, double_star);
        else if (c == '?')
            add(p, TOKEN_ANY, 0);
        else if (c == '[')
            ok = add_class(p, &at);
        else if (c == '\\' && !*at)
            ok = false;
        else
            add(p, TOKEN_LETTER, c == '\\' ? *at++ : c);
    }
    if (!ok) {
        pattern_free(p);
        return err_set(err, ERR_INVALID, "syntax error in pattern \"%.80s\"", text);
    }
    *ret = p;
    return 0;
}

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    free(p->tokens);
    free(p);
}

/* Puts a state in, with those it reaches without a letter. */
static void enter(const struct pattern *p, bool *states, size_t at)
{
    while (!states[at]) {
        states[at] = true;
        if (at == p->count)
            return;
        switch (p->tokens[at].kind) {
        case TOKEN_STAR:
        case TOKEN_DEEP:
            at++;
            break;
        case TOKEN_DIRS:
            at += 2;
            break;
        default:
            return;
        }
    }
}

static void step(const struct pattern *p, size_t at, unsigned char c, bool *next)
{
    const struct token *t = &p->tokens[at];
    switch (t->kind) {
    case TOKEN_LETTER:
        if (c == t->letter)
            enter(p, next, at + 1);
        break;
    case TOKEN_ANY:
        if (c != '/')
            enter(p, next, at + 1);
        break;
    case TOKEN_STAR:
        if (c != '/')
            enter(p, next, at);
        break;
    case TOKEN_DEEP:
        enter(p, next, at);
        break;
    case TOKEN_DIRS:
        if (c == '/')
            enter(p, next, at + 2);
        enter(p, next, at + 1);
        break;
    case TOKEN_DIRS_IN:
        if (c == '/')
            enter(p, next, at + 1);
        enter(p, next, at);
        break;
    case TOKEN_CLASS:
        if (t->set[c / 8] & 1 << c % 8)
            enter(p, next, at + 1);
        break;
    }
}

bool pattern_match(const struct pattern *p, const char *name, size_t n)
{
    size_t bytes = p->count + 1;
    _cleanup_free_ bool *memory = mem_new(2 * bytes);
    bool *now = memory, *next = memory + bytes;
    enter(p, now, 0);
    for (size_t i = 0; i < n; i++) {
        memset(next, 0, bytes);
        for (size_t s = 0; s < p->count; s++)
            if (now[s])
                step(p, s, (unsigned char)name[i], next);
        bool *swap = now;
        now = next;
        next = swap;
    }
    return now[p->count];
}
