#include "bakery/expand.h"
#include "bakery/preprocess_priv.h"
#include "base/json.h"

#include <ctype.h>

/* Replaces references in the text of one instruction, and leaves the rest of it letter for letter. */

/* Who reads a part of the text after us, and so what is a reference in it and how a value is written there.
 */
enum reader {
    READER_SHELL,        /* a shell or nobody: as it is */
    READER_BUILDER,      /* words whose quotes and variables the builder takes */
    READER_BUILDER_LIST, /* the same, and white space parts words whatever the quotes */
    READER_HEREDOC,      /* a text whose variables the builder takes */
    READER_JSON,         /* strings that stay as they are */
    READER_BUILDER_JSON, /* strings whose variables the builder takes */
    READER_FLAG,         /* a flag that the builder takes as it is */
};

struct substitution {
    struct scope *scope;
    enum reader reader;
    char quote; /* the quotes we are in, where they count */
    struct str *out;
    struct err *err;
};

static bool is_builder(enum reader r)
{
    return r == READER_BUILDER || r == READER_BUILDER_LIST || r == READER_HEREDOC || r == READER_BUILDER_JSON;
}

/* --- Writing a value --- */

static bool needs_escape(const struct substitution *s, char c)
{
    char escape = s->scope->escape;
    if (c == '$' || c == escape)
        return true;
    if (s->reader == READER_HEREDOC)
        return false;
    return s->quote ? c == '"' : c == '"' || c == '\'' || isspace((unsigned char)c);
}

static void write_json(struct str *out, const char *text)
{
    _cleanup_json_ json_t *value = json_string(text);
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    if (quoted)
        str_addn(out, quoted + 1, strlen(quoted) - 2);
    free(quoted);
}

static int write_value(const struct substitution *s, const char *name, const char *value)
{
    bool words = s->reader == READER_BUILDER_LIST || s->reader == READER_FLAG;
    if (strpbrk(value, words ? " \t\r\n\v\f" : "\n\r"))
        return err_set(s->err, ERR_INVALID, "the value of %s has %s in it, which cannot stand here", name,
                       words ? "white space" : "a line's end");
    struct str text = STR_INIT;
    for (const char *c = value; *c; c++) {
        if (is_builder(s->reader) && needs_escape(s, *c))
            str_addc(&text, s->scope->escape);
        str_addc(&text, *c);
    }
    if (s->reader == READER_JSON || s->reader == READER_BUILDER_JSON)
        write_json(s->out, str_get(&text));
    else
        str_add(s->out, str_get(&text));
    str_free(&text);
    return 0;
}

/* --- References --- */

/* The end of "$name" or "${...}"; NULL when it is none. Sets where the name is. */
static const char *reference_end(const char *at, const char *stop, char escape, const char **ret_name,
                                 size_t *ret_n)
{
    bool braces = at + 1 < stop && at[1] == '{';
    const char *name = at + 1 + braces, *end = name;
    if (end >= stop || (!isalpha((unsigned char)*end) && *end != '_'))
        return NULL;
    while (end < stop && (isalnum((unsigned char)*end) || *end == '_'))
        end++;
    *ret_name = name;
    *ret_n = (size_t)(end - name);
    for (int depth = braces; depth && end < stop; end++) {
        if (*end == escape && end + 1 < stop)
            end++;
        else if (*end == '$' && end + 1 < stop && end[1] == '{')
            depth++;
        else if (*end == '}' && --depth == 0)
            return end + 1;
    }
    return braces ? NULL : end;
}

static int evaluate(struct substitution *s, const char *reference, char **ret)
{
    const struct expand x = {.escape = s->scope->escape, .lookup = scope__lookup_here, .context = s->scope};
    s->scope->unknown = false;
    return expand_word(&x, reference, ret, s->err);
}

static bool wants(const struct substitution *s, const char *name, const char *modifier)
{
    if (map_has(&s->scope->loops, name))
        return true;
    if (s->reader == READER_SHELL || !scope__lookup_here(s->scope, name))
        return false;
    return !is_builder(s->reader) || (*modifier && strchr("#%/", *modifier));
}

/* Writes what the reference at `at` stands for, or itself. Returns its end. */
static int reference(struct substitution *s, const char *at, const char *stop, const char **ret_end)
{
    const char *name_at;
    size_t n;
    const char *end = reference_end(at, stop, s->scope->escape, &name_at, &n);
    *ret_end = end ? end : at + 1;
    _cleanup_free_ char *name = end ? mem_strndup(name_at, n) : NULL, *value = NULL;
    bool braces = at + 1 < stop && at[1] == '{';
    if (!end || !wants(s, name, braces ? name_at + n : "")) {
        str_addn(s->out, at, (size_t)(*ret_end - at));
        return 0;
    }
    _cleanup_free_ char *text = mem_strndup(at, (size_t)(end - at));
    int r = evaluate(s, text, &value);
    if (r < 0)
        return r;
    if (!s->scope->unknown)
        return write_value(s, name, value);
    if (map_has(&s->scope->loops, name))
        return err_set(s->err, ERR_INVALID, "%.120s: a value in it is not known before the build", text);
    str_add(s->out, text);
    return 0;
}

static void follow_quotes(struct substitution *s, char c)
{
    if (s->reader != READER_BUILDER && s->reader != READER_BUILDER_LIST)
        return;
    if (s->quote)
        s->quote = c == s->quote ? '\0' : s->quote;
    else if (c == '"' || c == '\'')
        s->quote = c;
}

/* One stretch of text for one reader. */
static int stretch(struct substitution *s, const char *at, const char *stop)
{
    int r = 0;
    while (r == 0 && at < stop) {
        if (*at == s->scope->escape && at + 1 < stop && s->quote != '\'') {
            str_addn(s->out, at, 2);
            at += 2;
        } else if (*at == '$' && s->quote != '\'') {
            r = reference(s, at, stop, &at);
        } else {
            follow_quotes(s, *at);
            str_addc(s->out, *at++);
        }
    }
    return r;
}

/* --- The instruction --- */

static const char *space_end(const char *at, const char *stop)
{
    while (at < stop && isspace((unsigned char)*at))
        at++;
    return at;
}

static const char *word_end(const char *at, const char *stop)
{
    while (at < stop && !isspace((unsigned char)*at))
        at++;
    return at;
}

static const struct df_instruction *instruction_at(const char *at, const char *stop)
{
    _cleanup_free_ char *word = mem_strndup(at, (size_t)(word_end(at, stop) - at));
    return df__find_instruction(word);
}

static bool is_json(const char *at, const char *stop, char escape)
{
    if (at >= stop || *at != '[')
        return false;
    struct str joined = STR_INIT; /* over continued lines */
    struct df_lines in = {.at = at, .end = stop};
    const char *line;
    size_t n;
    if (df__next_line(&in, &line, &n))
        df__join_lines(&in, escape, line, n, &joined);
    _cleanup_json_ json_t *array = json_loads(str_get(&joined), 0, NULL);
    str_free(&joined);
    return json_is_array(array);
}

static enum reader reader_of(enum df_op op, bool json)
{
    switch (op) {
    case DF_ENV:
    case DF_LABEL:
    case DF_ARG:
    case DF_USER:
    case DF_WORKDIR:
    case DF_STOPSIGNAL:
        return READER_BUILDER;
    case DF_FROM:
    case DF_EXPOSE:
        return READER_BUILDER_LIST;
    case DF_COPY:
    case DF_ADD:
    case DF_VOLUME:
        return json ? READER_BUILDER_JSON : READER_BUILDER_LIST;
    default:
        return json ? READER_JSON : READER_SHELL;
    }
}

static enum reader flag_reader(enum df_op op, const char *flag)
{
    bool taken_as_is = op == DF_RUN || op == DF_HEALTHCHECK || str_after(flag, "--from=");
    return taken_as_is ? READER_FLAG : READER_BUILDER_LIST;
}

/* From the instruction's name on, up to its heredocs. */
static int head(struct substitution *s, const char *at, const char *stop, const struct df_instruction *in)
{
    const char *rest = space_end(word_end(at, stop), stop);
    if (in && in->op == DF_ONBUILD) {
        str_addn(s->out, at, (size_t)(rest - at));
        return head(s, rest, stop, instruction_at(rest, stop));
    }
    str_addn(s->out, at, (size_t)(rest - at));
    if (!in)
        return stretch(s, rest, stop);
    int r = 0;
    while (r == 0 && rest + 1 < stop && rest[0] == '-' && rest[1] == '-') {
        const char *end = space_end(word_end(rest, stop), stop);
        s->reader = flag_reader(in->op, rest);
        r = stretch(s, rest, end);
        rest = end;
    }
    if (in->op == DF_HEALTHCHECK) { /* its CMD */
        const char *command = space_end(word_end(rest, stop), stop);
        str_addn(s->out, rest, (size_t)(command - rest));
        rest = command;
    }
    s->reader = reader_of(in->op, is_json(rest, stop, s->scope->escape));
    s->quote = '\0';
    return r < 0 ? r : stretch(s, rest, stop);
}

/* --- Heredocs --- */

static bool is_terminator(const char *line, size_t n, const char *name, bool strip)
{
    while (strip && n && *line == '\t') {
        line++;
        n--;
    }
    return n == strlen(name) && memcmp(line, name, n) == 0;
}

static int heredoc(struct substitution *s, struct df_lines *in, const struct df_heredoc *h, bool strip)
{
    const char *line, *from = in->at;
    size_t n;
    int r = 0;
    while (r == 0 && df__next_line(in, &line, &n)) {
        bool last = is_terminator(line, n, h->name, strip);
        if (last || !h->expand)
            str_addn(s->out, from, (size_t)(in->at - from));
        else
            r = stretch(s, from, in->at);
        from = in->at;
        if (last)
            break;
    }
    return r;
}

static int heredocs(struct substitution *s, struct df_lines *in, const char *joined, enum df_op op)
{
    _cleanup_strv_ char **words = df__raw_words(joined, s->scope->escape);
    s->reader = op == DF_RUN ? READER_SHELL : READER_HEREDOC;
    s->quote = '\0';
    int r = 0;
    for (char **word = words; r == 0 && word && *word; word++) {
        struct df_heredoc h;
        bool strip;
        if (!df__heredoc_word(*word, &h, &strip))
            continue;
        r = heredoc(s, in, &h, strip);
        free(h.name);
    }
    return r;
}

/* Comments between continued lines become empty ones: nothing in them is a reference. */
static int head_lines(struct substitution *s, const char *at, const char *stop,
                      const struct df_instruction *in)
{
    struct str clean = STR_INIT;
    struct df_lines lines = {.at = at, .end = stop};
    const char *line, *from = at;
    size_t n;
    while (df__next_line(&lines, &line, &n)) {
        df__skip_space(&line, &n);
        if (from == at || (n && *line != '#'))
            str_addn(&clean, from, (size_t)(lines.at - from));
        else
            str_addc(&clean, '\n'); /* the lines keep their numbers */
        from = lines.at;
    }
    const char *text = str_get(&clean);
    int r = head(s, text, text + clean.len, in);
    str_free(&clean);
    return r;
}

int substitute__unit(struct scope *scope, const char *text, size_t n, struct str *ret, struct err *err)
{
    struct df_lines in = {.at = text, .end = text + n};
    const char *line;
    size_t line_n;
    struct str joined = STR_INIT;
    if (!df__next_line(&in, &line, &line_n))
        return 0;
    df__skip_space(&line, &line_n);
    const struct df_instruction *instruction = instruction_at(line, line + line_n);
    const char *start = line;
    df__join_lines(&in, scope->escape, line, line_n, &joined);
    struct substitution s = {.scope = scope, .out = ret, .err = err};
    bool from = instruction && instruction->op == DF_FROM, in_stage = scope->in_stage;
    scope->in_stage = in_stage && !from;
    int r = head_lines(&s, start, in.at, instruction);
    scope->in_stage = in_stage;
    if (r == 0 && in.at < in.end) {
        const struct df_instruction *inner = instruction;
        if (inner && inner->op == DF_ONBUILD) {
            const char *at = space_end(word_end(start, in.at), in.at);
            inner = instruction_at(at, in.at);
        }
        r = heredocs(&s, &in, str_get(&joined), inner ? inner->op : DF_RUN);
    }
    str_free(&joined);
    return r;
}
