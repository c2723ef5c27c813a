#include "bakery/dockerfile_priv.h"

#include "base/str.h"

#include <ctype.h>

/* The lines of a Dockerfile, for its parser and for what is done before it (preprocess.c). */

bool df__next_line(struct df_lines *in, const char **ret, size_t *ret_n)
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

void df__skip_space(const char **line, size_t *n)
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

bool df__join_lines(struct df_lines *in, char escape, const char *line, size_t n, struct str *ret)
{
    bool more = cut_continuation(line, &n, escape), empty = false;
    str_addn(ret, line, n);
    while (more && df__next_line(in, &line, &n)) {
        const char *text = line;
        size_t length = n;
        df__skip_space(&text, &length);
        empty = empty || !length;
        if (!length || *text == '#')
            continue;
        more = cut_continuation(line, &n, escape);
        str_addn(ret, line, n);
    }
    return empty;
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

/* "#!": a file that is a program, whose interpreter builds it. */
static bool skip_interpreter(struct df_lines *in)
{
    const char *line;
    size_t n;
    bool there = in->end - in->at >= 2 && memcmp(in->at, "#!", 2) == 0;
    return there && df__next_line(in, &line, &n);
}

int df__read_directives(struct df_lines *in, const char *name, struct df_directives *ret, struct err *err)
{
    struct df_directives d = {.escape = '\\'};
    struct df_lines before = *in;
    bool escape_seen = false, program = skip_interpreter(in);
    int r = 0;
    for (; r == 0; before = *in) {
        const char *line;
        size_t n;
        _cleanup_free_ char *word = NULL, *value = NULL;
        bool is_escape = df__next_line(in, &line, &n) && directive_split(line, n, &word, &value) &&
                         strcmp(word, "escape") == 0;
        char **text = str_eq(word, "syntax") ? &d.syntax : str_eq(word, "check") ? &d.check : NULL;
        if (!is_escape && !text) {
            *in = before;
            *ret = d;
            return 0;
        }
        if (is_escape ? escape_seen : *text != NULL)
            r = err_set(err, ERR_INVALID, "%s:%d: only one %s parser directive can be used", name, in->number,
                        word);
        else if (text)
            *text = take_ptr(value);
        else if (program)
            ; /* a comment */
        else if (strcmp(value, "\\") != 0 && strcmp(value, "`") != 0)
            r = err_set(err, ERR_INVALID, "%s:%d: invalid escape '%s': it must be \\ or `", name, in->number,
                        value);
        else
            d.escape = *value;
        escape_seen = escape_seen || is_escape;
    }
    free(d.syntax);
    free(d.check);
    return r;
}

/* --- Heredocs --- */

/* A backslash takes the next letter as it is, and is no quote. NULL: a quote is not closed. */
static char *unquote(const char *word, bool *ret_quoted)
{
    struct str s = STR_INIT;
    char quote = '\0';
    *ret_quoted = false;
    for (; *word; word++) {
        bool guards = word[1] && quote != '\'' && (!quote || strchr("\"$\\", word[1]));
        if (*word == '\\' && guards) {
            str_addc(&s, *++word);
        } else if (quote ? *word == quote : *word == '"' || *word == '\'') {
            quote = quote ? '\0' : *word;
            *ret_quoted = true;
        } else {
            str_addc(&s, *word);
        }
    }
    char *name = str_take(&s);
    if (!quote)
        return name;
    free(name);
    return NULL;
}

/* What follows "3<<-" when it may be a heredoc's name, else NULL. */
static const char *name_of_heredoc(const char *word, bool *ret_strip)
{
    word += strspn(word, "0123456789");
    if (strncmp(word, "<<", 2) != 0)
        return NULL;
    word += 2;
    *ret_strip = *word == '-';
    word += *ret_strip;
    return !*word || strchr(word, '<') ? NULL : word;
}

bool df__heredoc_open(const char *word)
{
    bool strip, quoted;
    word = name_of_heredoc(word, &strip);
    _cleanup_free_ char *name = word ? unquote(word, &quoted) : NULL;
    return word && !name;
}

bool df__heredoc_word(const char *word, struct df_heredoc *ret, bool *ret_strip)
{
    bool quoted = false;
    word = name_of_heredoc(word, ret_strip);
    char *name = word ? unquote(word, &quoted) : NULL;
    if (str_empty(name)) {
        free(name);
        return false;
    }
    *ret = (struct df_heredoc){.name = name, .expand = !quoted};
    return true;
}
