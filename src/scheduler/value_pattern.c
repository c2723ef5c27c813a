#include "scheduler/value_pattern.h"

#include "base/str.h"

#include <ctype.h>

enum op { OP_SET, OP_SPLIT, OP_JUMP, OP_BEGIN, OP_END, OP_MATCH };
enum { DEPTH = 32, REPEAT = 255 };

struct state {
    enum op op;
    uint16_t to, other;   /* SPLIT and JUMP */
    uint8_t set[256 / 8]; /* SET: the bytes it takes */
};

struct value_pattern {
    char *glob; /* NULL: a regular expression */
    struct state *states;
    size_t count, cap;
};

struct parser {
    struct value_pattern *p;
    const char *at, *end;
    bool fold;
    int depth;
    struct err *err;
};

static void set_add(uint8_t *set, uint8_t c)
{
    set[c / 8] |= (uint8_t)(1u << (c % 8));
}

static bool set_has(const uint8_t *set, uint8_t c)
{
    return set[c / 8] >> (c % 8) & 1;
}

static int emit(struct parser *s, enum op op, struct state **ret)
{
    if (s->p->count >= PATTERN_STATES)
        return err_set(s->err, ERR_LIMIT, "the expression is too long: at most %d steps", PATTERN_STATES);
    GROW(s->p->states, s->p->count, s->p->cap);
    struct state *made = &s->p->states[s->p->count++];
    *made = (struct state){.op = op};
    if (ret)
        *ret = made;
    return 0;
}

/* Opens a gap of one state at `at`, for a SPLIT before what was emitted from there on. */
static int insert_split(struct parser *s, size_t at, struct state **ret)
{
    if (emit(s, OP_SPLIT, NULL) < 0)
        return -ERR_LIMIT;
    struct state *states = s->p->states;
    memmove(states + at + 1, states + at, (s->p->count - 1 - at) * sizeof(*states));
    for (size_t i = at + 1; i < s->p->count; i++)
        if (states[i].op == OP_SPLIT || states[i].op == OP_JUMP) {
            states[i].to += states[i].to >= at;
            states[i].other += states[i].other >= at;
        }
    states[at] = (struct state){.op = OP_SPLIT};
    *ret = &states[at];
    return 0;
}

static void set_named(uint8_t *set, char name)
{
    for (int c = 0; c < 256; c++) {
        bool in = tolower(name) == 'd'   ? c >= '0' && c <= '9'
                  : tolower(name) == 'w' ? c == '_' || (c < 128 && isalnum(c))
                                         : c == ' ' || (c >= '\t' && c <= '\r');
        if (in != (isupper((unsigned char)name) != 0))
            set_add(set, (uint8_t)c);
    }
}

/* One escaped or plain byte, or a named set (then *ret_byte is -1). */
static int parse_byte(struct parser *s, uint8_t *set, int *ret_byte)
{
    *ret_byte = (uint8_t)*s->at++;
    if (*ret_byte != '\\')
        return 0;
    if (s->at == s->end)
        return err_set(s->err, ERR_INVALID, "a backslash ends the expression");
    char c = *s->at++;
    if (strchr("dwsDWS", c)) {
        set_named(set, c);
        *ret_byte = -1;
    } else if (c == 'n' || c == 't') {
        *ret_byte = c == 'n' ? '\n' : '\t';
    } else if (isalnum((unsigned char)c)) {
        return err_set(s->err, ERR_INVALID, "\\%c is not known; \\d \\w \\s and escaped signs are", c);
    } else {
        *ret_byte = (uint8_t)c;
    }
    return 0;
}

static int parse_class(struct parser *s, uint8_t *set)
{
    bool negate = s->at < s->end && *s->at == '^';
    s->at += negate;
    for (bool first = true; s->at < s->end && (first || *s->at != ']'); first = false) {
        int low, high;
        if (parse_byte(s, set, &low) < 0)
            return -ERR_INVALID;
        high = low;
        if (low >= 0 && s->end - s->at >= 2 && s->at[0] == '-' && s->at[1] != ']') {
            s->at++;
            if (parse_byte(s, set, &high) < 0)
                return -ERR_INVALID;
            if (high < low)
                return err_set(s->err, ERR_INVALID, "a range in [] ends before it begins");
        }
        for (int c = low; low >= 0 && c <= high; c++)
            set_add(set, (uint8_t)c);
    }
    if (s->at == s->end)
        return err_set(s->err, ERR_INVALID, "[ has no ]");
    s->at++;
    for (int i = 0; negate && i < 32; i++)
        set[i] = (uint8_t)~set[i];
    return 0;
}

static void set_fold(uint8_t *set)
{
    for (int c = 'a'; c <= 'z'; c++)
        if (set_has(set, (uint8_t)c) || set_has(set, (uint8_t)(c - 32))) {
            set_add(set, (uint8_t)c);
            set_add(set, (uint8_t)(c - 32));
        }
}

static int parse_choice(struct parser *s);

static int parse_group(struct parser *s)
{
    if (s->end - s->at >= 2 && s->at[0] == '?' && s->at[1] == ':')
        s->at += 2;
    if (++s->depth > DEPTH)
        return err_set(s->err, ERR_LIMIT, "groups are nested more than %d deep", DEPTH);
    if (parse_choice(s) < 0)
        return -ERR_INVALID;
    s->depth--;
    if (s->at == s->end)
        return err_set(s->err, ERR_INVALID, "( has no )");
    s->at++;
    return 0;
}

static int parse_atom(struct parser *s)
{
    char c = *s->at;
    if (strchr("*+?{", c))
        return err_set(s->err, ERR_INVALID, "%c repeats nothing", c);
    if (c == '(') {
        s->at++;
        return parse_group(s);
    }
    if (c == '^' || c == '$') {
        s->at++;
        return emit(s, c == '^' ? OP_BEGIN : OP_END, NULL);
    }
    uint8_t set[32] = {0};
    int byte = -1;
    if (c == '[' || c == '.') {
        s->at++;
        if (c == '.')
            memset(set, 0xff, sizeof(set));
        else if (parse_class(s, set) < 0)
            return -ERR_INVALID;
    } else if (parse_byte(s, set, &byte) < 0) {
        return -ERR_INVALID;
    }
    if (byte >= 0)
        set_add(set, (uint8_t)byte);
    if (s->fold)
        set_fold(set);
    struct state *made;
    if (emit(s, OP_SET, &made) < 0)
        return -ERR_LIMIT;
    memcpy(made->set, set, sizeof(set));
    return 0;
}

/* What stands from `begin` to the end may also be left out. */
static int make_optional(struct parser *s, size_t begin)
{
    struct state *split;
    if (insert_split(s, begin, &split) < 0)
        return -ERR_LIMIT;
    split->to = (uint16_t)(begin + 1);
    split->other = (uint16_t)s->p->count;
    return 0;
}

static int make_star(struct parser *s, size_t begin)
{
    struct state *back;
    if (make_optional(s, begin) < 0 || emit(s, OP_JUMP, &back) < 0)
        return -ERR_LIMIT;
    back->to = (uint16_t)begin;
    s->p->states[begin].other = (uint16_t)s->p->count;
    return 0;
}

static int parse_number(struct parser *s, int *ret)
{
    int n = -1;
    for (; s->at < s->end && isdigit((unsigned char)*s->at) && n <= REPEAT; s->at++)
        n = MAX(n, 0) * 10 + (*s->at - '0');
    if (n < 0 || n > REPEAT)
        return err_set(s->err, ERR_INVALID, "{n,m} wants numbers up to %d", REPEAT);
    *ret = n;
    return 0;
}

static int parse_counts(struct parser *s, int *least, int *most)
{
    if (parse_number(s, least) < 0)
        return -ERR_INVALID;
    *most = *least;
    if (s->at < s->end && *s->at == ',') {
        s->at++;
        *most = -1;
        if (s->at < s->end && *s->at != '}' && parse_number(s, most) < 0)
            return -ERR_INVALID;
    }
    if (s->at == s->end || *s->at++ != '}' || (*most >= 0 && *most < *least))
        return err_set(s->err, ERR_INVALID, "{n,m} is not closed, or its end is below its begin");
    return 0;
}

/* {n,m}: the atom is parsed again for each copy. */
static int repeat_atom(struct parser *s, const char *source, size_t begin, int least, int most)
{
    const char *after = s->at;
    if (least == 0) {
        if (most == 0)
            s->p->count = begin;
        else if ((most < 0 ? make_star(s, begin) : make_optional(s, begin)) < 0)
            return -ERR_LIMIT;
        least = 1;
        if (most < 0)
            return 0;
    }
    int copies = most < 0 ? least + 1 : most;
    for (int i = 1; i < copies; i++) {
        size_t copy = s->p->count;
        s->at = source;
        if (parse_atom(s) < 0)
            return -ERR_INVALID;
        int r = i < least ? 0 : most < 0 ? make_star(s, copy) : make_optional(s, copy);
        if (r < 0)
            return r;
    }
    s->at = after;
    return 0;
}

static int parse_repeated(struct parser *s)
{
    const char *source = s->at;
    size_t begin = s->p->count;
    int least, most;
    if (parse_atom(s) < 0)
        return -ERR_INVALID;
    if (s->at == s->end || !strchr("*+?{", *s->at))
        return 0;
    switch (*s->at++) {
    case '*':
        least = 0, most = -1;
        break;
    case '+':
        least = 1, most = -1;
        break;
    case '?':
        least = 0, most = 1;
        break;
    default:
        if (parse_counts(s, &least, &most) < 0)
            return -ERR_INVALID;
    }
    if (s->p->count == begin)
        return 0; /* nothing, however often: nested repeats of it would take for ever */
    s->at += s->at < s->end && *s->at == '?'; /* as few as can be: the same, when only a yes is asked for */
    return repeat_atom(s, source, begin, least, most);
}

static int parse_choice(struct parser *s)
{
    size_t begin = s->p->count;
    while (s->at < s->end && *s->at != '|' && *s->at != ')')
        if (parse_repeated(s) < 0)
            return -ERR_INVALID;
    if (s->at == s->end || *s->at != '|')
        return 0;
    s->at++;
    struct state *split, *jump;
    if (insert_split(s, begin, &split) < 0 || emit(s, OP_JUMP, &jump) < 0)
        return -ERR_LIMIT;
    size_t jump_at = s->p->count - 1;
    s->p->states[begin].to = (uint16_t)(begin + 1);
    s->p->states[begin].other = (uint16_t)s->p->count;
    if (++s->depth > DEPTH * 8)
        return err_set(s->err, ERR_LIMIT, "too many alternatives");
    if (parse_choice(s) < 0)
        return -ERR_INVALID;
    s->depth--;
    s->p->states[jump_at].to = (uint16_t)s->p->count;
    return 0;
}

static int compile(struct value_pattern *p, const char *text, size_t n, struct err *err)
{
    struct parser s = {.p = p, .at = text, .end = text + n, .err = err};
    if (n >= 4 && memcmp(text, "(?i)", 4) == 0) {
        s.fold = true;
        s.at += 4;
    }
    int r = parse_choice(&s);
    if (r < 0)
        return r;
    if (s.at != s.end)
        return err_set(err, ERR_INVALID, ") has no (");
    return emit(&s, OP_MATCH, NULL);
}

int value_pattern_new(const char *text, struct value_pattern **ret, struct err *err)
{
    struct value_pattern *p = NEW(struct value_pattern);
    size_t n = strlen(text);
    if (n < 2 || text[0] != '/' || text[n - 1] != '/') {
        p->glob = mem_strdup(text);
    } else {
        struct err why = {0};
        if (compile(p, text + 1, n - 2, &why) < 0) {
            value_pattern_free(p);
            return err_set(err, ERR_INVALID, "regular expression %s: %s", text, why.msg);
        }
    }
    *ret = p;
    return 0;
}

void value_pattern_free(struct value_pattern *p)
{
    if (!p)
        return;
    free(p->glob);
    free(p->states);
    free(p);
}

bool value_pattern_is_literal(const char *text)
{
    return !strpbrk(text, "*?") && text[0] != '/';
}

static bool glob_match(const char *glob, const char *text)
{
    const char *star = NULL, *resume = NULL;
    while (*text) {
        if (*glob == '*') {
            star = ++glob;
            resume = text;
        } else if (*glob == *text || *glob == '?') {
            glob++;
            text++;
        } else if (star) {
            glob = star;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return !*glob;
}

struct set_of_states {
    uint16_t list[PATTERN_STATES];
    size_t count;
    bool has[PATTERN_STATES];
};

/* Follows what takes no character; true when the whole expression has matched. */
static bool follow(const struct value_pattern *p, struct set_of_states *to, uint16_t first, bool begin,
                   bool end)
{
    uint16_t stack[PATTERN_STATES * 2 + 1];
    size_t depth = 0;
    stack[depth++] = first;
    while (depth > 0) {
        uint16_t at = stack[--depth];
        if (to->has[at])
            continue;
        to->has[at] = true;
        const struct state *s = &p->states[at];
        if (s->op == OP_MATCH)
            return true;
        if (s->op == OP_SET)
            to->list[to->count++] = at;
        else if (s->op == OP_JUMP)
            stack[depth++] = s->to;
        else if (s->op == OP_SPLIT)
            stack[depth++] = s->other, stack[depth++] = s->to;
        else if (s->op == OP_BEGIN ? begin : end)
            stack[depth++] = (uint16_t)(at + 1);
    }
    return false;
}

static bool regex_match(const struct value_pattern *p, const char *text)
{
    struct set_of_states sets[2], *now = &sets[0], *next = &sets[1];
    memset(now, 0, sizeof(*now));
    for (const char *c = text;; c++) {
        if (follow(p, now, 0, c == text, !*c))
            return true;
        if (!*c)
            return false;
        memset(next, 0, sizeof(*next));
        for (size_t i = 0; i < now->count; i++)
            if (set_has(p->states[now->list[i]].set, (uint8_t)*c) &&
                follow(p, next, (uint16_t)(now->list[i] + 1), false, !c[1]))
                return true;
        struct set_of_states *swap = now;
        now = next;
        next = swap;
    }
}

bool value_pattern_match(const struct value_pattern *p, const char *text)
{
    return p->glob ? glob_match(p->glob, text) : regex_match(p, text);
}
