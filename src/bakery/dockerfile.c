#include "bakery/dockerfile_priv.h"

#include "base/json.h"
#include "base/str.h"

#include <ctype.h>
#include <strings.h>

/* Lines of the text, without their ends. */
struct lines {
    const char *at, *end;
    int number; /* of the line that next_line gave last; 1 is the first */
};

struct parser {
    struct lines in;
    struct dockerfile *out;
    size_t capacity;
    struct err *err;
};

const char *df_flag(const struct df_step *s, const char *name)
{
    for (size_t i = s->flag_count; i-- > 0;)
        if (str_eq(s->flags[i].name, name))
            return s->flags[i].value ? s->flags[i].value : "";
    return NULL;
}

bool df_flag_on(const struct df_step *s, const char *name)
{
    const char *value = df_flag(s, name);
    bool on = false;
    return value && (!*value || (parse_bool(value, &on, NULL) == 0 && on));
}

static bool next_line(struct lines *in, const char **ret, size_t *ret_n)
{
    if (in->at >= in->end)
        return false;
    const char *newline = memchr(in->at, '\n', (size_t)(in->end - in->at));
    const char *stop = newline ? newline : in->end;
    *ret = in->at;
    in->at = newline ? newline + 1 : in->end;
    while (stop > *ret && stop[-1] == '\r')
        stop--;
    *ret_n = (size_t)(stop - *ret);
    in->number++;
    return true;
}

static void skip_space(const char **line, size_t *n)
{
    while (*n && isspace((unsigned char)**line)) {
        (*line)++;
        (*n)--;
    }
}

/* Cuts a continuation character off the end of a line; an escaped one is a letter. */
static bool cut_continuation(const char *line, size_t *n, char escape)
{
    size_t end = *n;
    while (end && (line[end - 1] == ' ' || line[end - 1] == '\t'))
        end--;
    if (!end || line[end - 1] != escape || (end > 1 && line[end - 2] == escape))
        return false;
    *n = end - 1;
    return true;
}

/* An instruction from its first line on: comments and empty lines between continued lines do not count. */
static void join_lines(struct parser *p, const char *line, size_t n, struct str *ret)
{
    bool more = cut_continuation(line, &n, p->out->escape);
    str_addn(ret, line, n);
    while (more && next_line(&p->in, &line, &n)) {
        const char *text = line;
        size_t length = n;
        skip_space(&text, &length);
        if (!length || *text == '#')
            continue;
        more = cut_continuation(line, &n, p->out->escape);
        str_addn(ret, line, n);
    }
}

/* --- Parser directives --- */

/* "# name=value": splits it; false when the line is something else. */
static bool directive_split(const char *line, size_t n, char **ret_name, char **ret_value)
{
    _cleanup_free_ char *all = mem_strndup(line, n);
    _cleanup_free_ char *text = str_strip(all);
    if (*text != '#')
        return false;
    char *equals = strchr(text, '=');
    if (!equals)
        return false;
    *equals = '\0';
    char *name = str_strip(text + 1);
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c)) {
            free(name);
            return false;
        }
    *ret_value = str_strip(equals + 1);
    *ret_name = str_lower(name);
    free(name);
    return true;
}

/* Directives stand before everything else, each at most once. */
static int parse_directives(struct parser *p)
{
    static const char *const known[] = {"syntax", "escape", "check"};
    bool seen[ARRAY_SIZE(known)] = {false};
    for (;;) {
        struct lines before = p->in;
        const char *line;
        size_t n;
        _cleanup_free_ char *name = NULL, *value = NULL;
        if (!next_line(&p->in, &line, &n) || !directive_split(line, n, &name, &value)) {
            p->in = before;
            return 0;
        }
        size_t i = 0;
        while (i < ARRAY_SIZE(known) && strcmp(known[i], name) != 0)
            i++;
        if (i == ARRAY_SIZE(known)) {
            p->in = before;
            return 0;
        }
        if (seen[i])
            return err_set(p->err, ERR_INVALID, "%s:%d: only one %s parser directive can be used",
                           p->out->name, p->in.number, name);
        seen[i] = true;
        if (strcmp(name, "escape") == 0) {
            if (strcmp(value, "\\") != 0 && strcmp(value, "`") != 0)
                return err_set(p->err, ERR_INVALID, "%s:%d: invalid escape '%s': it must be \\ or `",
                               p->out->name, p->in.number, value);
            p->out->escape = *value;
        }
    }
}

/* --- Heredocs --- */

static char *unquote(const char *word, bool *ret_quoted)
{
    struct str s = STR_INIT;
    *ret_quoted = false;
    for (; *word; word++) {
        if (*word == '"' || *word == '\'' || *word == '\\')
            *ret_quoted = true;
        else
            str_addc(&s, *word);
    }
    return str_take(&s);
}

/* "3<<-'EOF'": digits, <<, perhaps a dash, a name without '<'. */
static bool heredoc_word(const char *word, struct df_heredoc *ret, bool *ret_strip)
{
    word += strspn(word, "0123456789");
    if (strncmp(word, "<<", 2) != 0)
        return false;
    word += 2;
    *ret_strip = *word == '-';
    word += *ret_strip;
    if (!*word || strchr(word, '<'))
        return false;
    bool quoted;
    char *name = unquote(word, &quoted);
    if (!*name) {
        free(name);
        return false;
    }
    *ret = (struct df_heredoc){.name = name, .expand = !quoted};
    return true;
}

static int read_heredoc(struct parser *p, struct df_step *s, struct df_heredoc *h, bool strip)
{
    struct str content = STR_INIT;
    const char *line;
    size_t n;
    while (next_line(&p->in, &line, &n)) {
        while (strip && n && *line == '\t') {
            line++;
            n--;
        }
        if (n == strlen(h->name) && memcmp(line, h->name, n) == 0) {
            h->content = str_take(&content);
            return 0;
        }
        str_addn(&content, line, n);
        str_addc(&content, '\n');
    }
    str_free(&content);
    return err_set(p->err, ERR_INVALID, "%s:%d: %s: the heredoc \"%s\" is not ended by a line \"%s\"",
                   p->out->name, s->line, df_name(s->op), h->name, h->name);
}

static int read_heredocs(struct parser *p, struct df_step *s, const char *rest)
{
    _cleanup_strv_ char **words = df__raw_words(rest, p->out->escape);
    size_t capacity = 0;
    STRV_FOREACH (word, words) {
        struct df_heredoc h;
        bool strip;
        if (!heredoc_word(*word, &h, &strip))
            continue;
        GROW(s->heredocs, s->heredoc_count, capacity);
        s->heredocs[s->heredoc_count] = h;
        int r = read_heredoc(p, s, &s->heredocs[s->heredoc_count++], strip);
        if (r < 0)
            return r;
    }
    return 0;
}

/* COPY <<a <<b dir/: which argument each heredoc is. */
static void place_heredocs(struct df_step *s)
{
    s->heredoc_arg = NEW_N(size_t, s->heredoc_count);
    size_t at = 0;
    for (size_t i = 0; s->args && s->args[i] && at < s->heredoc_count; i++) {
        struct df_heredoc h;
        bool strip;
        if (!heredoc_word(s->args[i], &h, &strip))
            continue;
        free(h.name);
        s->heredoc_arg[at++] = i;
    }
}

/* --- Instructions --- */

static int unknown_instruction(struct parser *p, int line, const char *word)
{
    const char *near = df__near_instruction(word);
    return err_set(p->err, ERR_INVALID,
                   near ? "%s:%d: unknown instruction: %.80s (did you mean %s?)"
                        : "%s:%d: unknown instruction: %.80s",
                   p->out->name, line, word, near);
}

static char *cut_word(const char *text, const char **ret_rest)
{
    size_t n = 0;
    while (text[n] && !isspace((unsigned char)text[n]))
        n++;
    char *word = mem_strndup(text, n);
    text += n;
    while (isspace((unsigned char)*text))
        text++;
    *ret_rest = text;
    return word;
}

static bool takes_heredocs(const struct df_instruction *in, const char *rest)
{
    if (in->op != DF_ONBUILD)
        return in->heredocs;
    _cleanup_free_ char *word = cut_word(rest, &rest);
    const struct df_instruction *inner = df__find_instruction(word);
    return inner && inner->heredocs;
}

static struct df_step *new_step(struct parser *p)
{
    struct dockerfile *d = p->out;
    GROW(d->steps, d->step_count, p->capacity);
    struct df_step *s = &d->steps[d->step_count++];
    *s = (struct df_step){.line = p->in.number};
    return s;
}

/* An ONBUILD keeps its heredocs in its text, for the build that runs the trigger. */
static void fold_heredocs(struct df_step *s)
{
    struct str text = STR_INIT;
    str_add(&text, s->args[0]);
    for (size_t i = 0; i < s->heredoc_count; i++)
        str_addf(&text, "\n%s%s", s->heredocs[i].content, s->heredocs[i].name);
    free(s->args[0]);
    s->args[0] = str_take(&text);
}

static int check_trigger(const char *trigger, struct err *err)
{
    const char *rest;
    _cleanup_free_ char *word = cut_word(trigger, &rest);
    if (!df__find_instruction(word))
        return err_set(err, ERR_INVALID, "unknown instruction: %.80s", word);
    if (strcasecmp(word, "ONBUILD") == 0)
        return err_set(err, ERR_INVALID, "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    if (strcasecmp(word, "FROM") == 0 || strcasecmp(word, "MAINTAINER") == 0)
        return err_set(err, ERR_INVALID, "%s isn't allowed as an ONBUILD trigger", word);
    return 0;
}

static int parse_instruction(struct parser *p, const char *line, size_t n)
{
    struct df_step *s = new_step(p);
    struct str joined = STR_INIT;
    join_lines(p, line, n, &joined);
    s->text = str_strip(str_get(&joined));
    str_free(&joined);
    /* All of it may end in the image's config, which is JSON. Heredocs may be any bytes. */
    _cleanup_json_ json_t *text = json_string(s->text);
    if (!text)
        return err_set(p->err, ERR_INVALID, "%s:%d: not valid UTF-8", p->out->name, s->line);
    const char *rest;
    _cleanup_free_ char *word = cut_word(s->text, &rest);
    const struct df_instruction *in = df__find_instruction(word);
    if (!in)
        return unknown_instruction(p, s->line, word);
    s->op = in->op;
    int r = df__parse_arguments(in, rest, p->out->escape, s, p->err);
    if (r == 0 && in->op == DF_ONBUILD)
        r = check_trigger(s->args[0], p->err);
    if (r < 0)
        return err_wrap(p->err, "%s:%d: %s", p->out->name, s->line, in->name);
    if (!s->json && takes_heredocs(in, rest)) {
        r = read_heredocs(p, s, rest);
        if (r < 0)
            return r;
    }
    if (s->heredoc_count && in->op == DF_ONBUILD)
        fold_heredocs(s);
    if (s->heredoc_count)
        place_heredocs(s);
    return 0;
}

static int parse_all(struct parser *p)
{
    if (p->in.end - p->in.at >= 3 && memcmp(p->in.at, "\xef\xbb\xbf", 3) == 0)
        p->in.at += 3;
    int r = parse_directives(p);
    const char *line;
    size_t n;
    while (r == 0 && next_line(&p->in, &line, &n)) {
        skip_space(&line, &n);
        if (n && *line != '#')
            r = parse_instruction(p, line, n);
    }
    if (r == 0 && !p->out->step_count)
        r = err_set(p->err, ERR_INVALID, "%s: file with no instructions", p->out->name);
    return r;
}

/* A stage must have begun before anything but ARG. */
static int check_order(const struct dockerfile *d, struct err *err)
{
    for (size_t i = 0; i < d->step_count; i++) {
        if (d->steps[i].op == DF_FROM)
            return 0;
        if (d->steps[i].op != DF_ARG)
            return err_set(err, ERR_INVALID,
                           "%s:%d: %s: no build stage in current context: a FROM must come before it",
                           d->name, d->steps[i].line, df_name(d->steps[i].op));
    }
    return err_set(err, ERR_INVALID, "%s: no FROM in it", d->name);
}

static int parse(const char *text, size_t n, const char *name, bool whole, struct dockerfile *ret,
                 struct err *err)
{
    if (n > DOCKERFILE_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "%s: larger than %d bytes", name, DOCKERFILE_MAX_BYTES);
    const char *zero = n ? memchr(text, '\0', n) : NULL;
    if (zero) {
        int line = 1;
        for (const char *c = text; c < zero; c++)
            line += *c == '\n';
        return err_set(err, ERR_INVALID, "%s:%d: a zero byte: this is not a text file", name, line);
    }
    struct dockerfile d = {.name = mem_strdup(name), .escape = '\\'};
    struct parser p = {.in = {.at = text, .end = text + n}, .out = &d, .err = err};
    int r = parse_all(&p);
    if (r == 0 && whole)
        r = check_order(&d, err);
    if (r < 0) {
        dockerfile_done(&d);
        return r;
    }
    *ret = d;
    return 0;
}

int dockerfile_parse(const char *text, size_t n, const char *name, struct dockerfile *ret, struct err *err)
{
    return parse(text, n, name, true, ret, err);
}

int dockerfile_parse_trigger(const char *text, const char *name, struct dockerfile *ret, struct err *err)
{
    return parse(text, strlen(text), name, false, ret, err);
}

static void pairs_free(struct df_pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(pairs[i].name);
        free(pairs[i].value);
    }
    free(pairs);
}

void dockerfile_done(struct dockerfile *d)
{
    for (size_t i = 0; i < d->step_count; i++) {
        struct df_step *s = &d->steps[i];
        free(s->text);
        pairs_free(s->flags, s->flag_count);
        pairs_free(s->pairs, s->pair_count);
        strv_free(s->args);
        for (size_t j = 0; j < s->heredoc_count; j++) {
            free(s->heredocs[j].name);
            free(s->heredocs[j].content);
        }
        free(s->heredocs);
        free(s->heredoc_arg);
    }
    free(d->steps);
    free(d->name);
    *d = (struct dockerfile){0};
}
