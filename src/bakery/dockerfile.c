#include "bakery/dockerfile_priv.h"
#include "bakery/preprocess.h"

#include "base/json.h"
#include "base/str.h"

#include <ctype.h>
#include <strings.h>

struct parser {
    struct df_lines in;
    const struct df_text *source; /* where its lines are from; NULL: this file */
    struct dockerfile *out;
    size_t capacity;
    char **comments; /* since the last empty line or instruction */
    struct err *err;
};

const char *df_flag(const struct df_step *s, const char *name)
{
    for (size_t i = s->flag_count; i-- > 0;)
        if (str_eq(s->flags[i].name, name)) {
            const char *value = s->flags[i].value;
            return !value ? "" : *value ? value : NULL;
        }
    return NULL;
}

bool df_flag_on(const struct df_step *s, const char *name)
{
    const char *value = df_flag(s, name);
    bool on = false;
    return value && (!*value || (parse_bool(value, &on, NULL) == 0 && on));
}

const char *df_comment_on(const struct df_step *s, const char *name)
{
    size_t n = name ? strlen(name) : 0;
    STRV_FOREACH (line, s->comments)
        if (n && strncmp(*line, name, n) == 0 && (*line)[n] == ' ')
            return *line + n + 1;
    return NULL;
}

/* --- Heredocs --- */

static int read_heredoc(struct parser *p, struct df_step *s, struct df_heredoc *h, bool strip)
{
    struct str content = STR_INIT;
    const char *line;
    size_t n;
    while (df__next_line(&p->in, &line, &n)) {
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
                   s->file, s->line, df_name(s->op), h->name, h->name);
}

static int read_heredocs(struct parser *p, struct df_step *s, const char *rest)
{
    _cleanup_strv_ char **words = df__raw_words(rest, p->out->escape);
    size_t capacity = 0;
    STRV_FOREACH (word, words) {
        struct df_heredoc h;
        bool strip;
        if (df__heredoc_open(*word))
            return err_set(p->err, ERR_INVALID,
                           "%s:%d: %s: a quote in the heredoc's name %.80s is not closed", s->file, s->line,
                           df_name(s->op), *word);
        if (!df__heredoc_word(*word, &h, &strip))
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
static int place_heredocs(const struct parser *p, struct df_step *s)
{
    s->heredoc_arg = NEW_N(size_t, s->heredoc_count);
    size_t at = 0;
    for (size_t i = 0; s->args && s->args[i] && at < s->heredoc_count; i++) {
        struct df_heredoc h;
        bool strip;
        if (!df__heredoc_word(s->args[i], &h, &strip))
            continue;
        free(h.name);
        s->heredoc_arg[at++] = i;
        if ((s->op == DF_COPY || s->op == DF_ADD) && !s->args[i + 1])
            return err_set(p->err, ERR_INVALID, "%s:%d: %s cannot accept a heredoc as a destination", s->file,
                           s->line, df_name(s->op));
    }
    return 0;
}

/* --- Instructions --- */

static int unknown_instruction(struct parser *p, const struct df_step *s, const char *word)
{
    if (preprocess__is_word(word) && !p->source)
        return err_set(p->err, ERR_INVALID, "%s:%d: %s is for files that begin with \"# syntax=drover/1\"",
                       s->file, s->line, word);
    const char *near = df__near_instruction(word);
    return err_set(p->err, ERR_INVALID,
                   near ? "%s:%d: unknown instruction: %.80s (did you mean %s?)"
                        : "%s:%d: unknown instruction: %.80s",
                   s->file, s->line, word, near);
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

static struct df_origin origin(const struct parser *p)
{
    return p->source ? p->source->lines[MIN((size_t)p->in.number, p->source->line_count) - 1]
                     : (struct df_origin){p->out->name, p->in.number};
}

static struct df_step *new_step(struct parser *p)
{
    struct dockerfile *d = p->out;
    GROW(d->steps, d->step_count, p->capacity);
    struct df_step *s = &d->steps[d->step_count++];
    struct df_origin from = origin(p);
    *s = (struct df_step){.file = from.file, .line = from.line};
    return s;
}

/* A line that is empty or a comment. A comment of nothing parts what is above it from what is below. */
static void note_comment(struct parser *p, const char *line, size_t n)
{
    _cleanup_free_ char *all = n ? mem_strndup(line + 1, n - 1) : NULL;
    char *text = str_strip(all ? all : "");
    if (*text) {
        strv_take(&p->comments, text);
        return;
    }
    free(text);
    strv_free(p->comments);
    p->comments = NULL;
}

static void take_comments(struct parser *p, struct df_step *s)
{
    if (s->op == DF_FROM || s->op == DF_ARG)
        s->comments = take_ptr(p->comments);
    strv_free(p->comments);
    p->comments = NULL;
}

/* An ONBUILD keeps all of its line in its text, spaces at the end too, and its heredocs, for the build that
 * runs the trigger. */
static void fold_trigger(struct df_step *s, const char *spaces)
{
    struct str text = STR_INIT;
    str_addf(&text, "%s%s", s->args[0], spaces);
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
    _cleanup_str_ struct str joined = STR_INIT;
    s->empty_line = df__join_lines(&p->in, p->out->escape, line, n, &joined);
    s->text = str_strip(str_get(&joined));
    size_t end = joined.len;
    while (end && isspace((unsigned char)joined.data[end - 1]))
        end--;
    /* All of it may end in the image's config, which is JSON. Heredocs may be any bytes. */
    _cleanup_json_ json_t *text = json_string(s->text);
    if (!text)
        return err_set(p->err, ERR_INVALID, "%s:%d: not valid UTF-8", s->file, s->line);
    const char *rest;
    _cleanup_free_ char *word = cut_word(s->text, &rest);
    const struct df_instruction *in = df__find_instruction(word);
    if (!in)
        return unknown_instruction(p, s, word);
    s->op = in->op;
    int r = df__parse_arguments(in, rest, p->out->escape, s, p->err);
    if (r == 0 && in->op == DF_ONBUILD)
        r = check_trigger(s->args[0], p->err);
    if (r < 0 && p->err && str_after(p->err->msg, in->name)) /* "ADD requires ..." names itself */
        return err_wrap(p->err, "%s:%d", s->file, s->line);
    if (r < 0)
        return err_wrap(p->err, "%s:%d: %s", s->file, s->line, in->name);
    if (!s->json && takes_heredocs(in, rest)) {
        r = read_heredocs(p, s, rest);
        if (r < 0)
            return r;
    }
    if (in->op == DF_ONBUILD)
        fold_trigger(s, str_get(&joined) + end);
    return s->heredoc_count ? place_heredocs(p, s) : 0;
}

static int parse_all(struct parser *p)
{
    if (p->in.end - p->in.at >= 3 && memcmp(p->in.at, "\xef\xbb\xbf", 3) == 0)
        p->in.at += 3;
    struct df_directives d = {0};
    int r = df__read_directives(&p->in, p->out->name, &d, p->err);
    if (r == 0)
        p->out->escape = d.escape;
    free(d.syntax);
    p->out->check = d.check;
    const char *line;
    size_t n;
    while (r == 0 && df__next_line(&p->in, &line, &n)) {
        df__skip_space(&line, &n);
        if (!n || *line == '#') {
            note_comment(p, line, n);
            continue;
        }
        size_t at = p->out->step_count;
        r = parse_instruction(p, line, n);
        p->out->steps[at].last_line = origin(p).line;
        take_comments(p, &p->out->steps[at]);
    }
    strv_free(p->comments);
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
                           d->steps[i].file, d->steps[i].line, df_name(d->steps[i].op));
    }
    return err_set(err, ERR_INVALID, "%s: no FROM in it", d->name);
}

static int parse(const char *text, size_t n, const char *name, const struct df_text *source, bool whole,
                 struct dockerfile *ret, struct err *err)
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
    struct parser p = {.in = {.at = text, .end = text + n}, .source = source, .out = &d, .err = err};
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
    return parse(text, n, name, NULL, true, ret, err);
}

int dockerfile_parse_text(struct df_text *text, const char *name, struct dockerfile *ret, struct err *err)
{
    int r = parse(str_get(&text->text), text->text.len, name, text, true, ret, err);
    if (r < 0)
        return r;
    ret->files = take_ptr(text->files);
    ret->groups = take_ptr(text->groups);
    ret->group_count = text->group_count;
    text->group_count = 0;
    return 0;
}

int dockerfile_parse_trigger(const char *text, const char *name, struct dockerfile *ret, struct err *err)
{
    return parse(text, strlen(text), name, NULL, false, ret, err);
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
        strv_free(s->comments);
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
    free(d->check);
    strv_free(d->files);
    df__groups_free(d->groups, d->group_count);
    *d = (struct dockerfile){0};
}
