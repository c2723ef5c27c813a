#include "compose/envfile.h"

#include "base/file.h"
#include "compose/interpolate.h"

#include <ctype.h>

struct source {
    const char *file, *at;
    int line;
    const struct map *outer;
    struct map *into;
};

static void skip_blanks(struct source *s)
{
    s->at += strspn(s->at, " \t\r");
}

/* The text between quotes, at the opening one; escapes of double quotes are resolved, but \$ stays a doubled
 * dollar sign for the interpolation that follows. */
static int read_quoted(struct source *s, struct str *out, struct err *err)
{
    char quote = *s->at;
    int first_line = s->line;
    for (s->at++; *s->at && *s->at != quote; s->at++) {
        char c = *s->at;
        if (c == '\n')
            s->line++;
        if (quote == '"' && c == '\\' && s->at[1]) {
            char escaped = *++s->at;
            static const char from[] = "nrt", to[] = "\n\r\t";
            const char *known = strchr(from, escaped);
            if (escaped == '$')
                str_add(out, "$$");
            else if (known)
                str_addc(out, to[known - from]);
            else if (escaped == '"' || escaped == '\\')
                str_addc(out, escaped);
            else
                str_addn(out, (const char[]){'\\', escaped}, 2);
            continue;
        }
        str_addc(out, c);
    }
    if (!*s->at)
        return err_set(err, ERR_INVALID, "%s:%d: the value's closing %c is missing", s->file, first_line,
                       quote);
    s->at++;
    return 0;
}

static void read_plain(struct source *s, struct str *out)
{
    size_t n = 0;
    while (s->at[n] && s->at[n] != '\n' &&
           !(s->at[n] == '#' && (n == 0 || s->at[n - 1] == ' ' || s->at[n - 1] == '\t')))
        n++;
    size_t end = n;
    while (end && isspace((unsigned char)s->at[end - 1]))
        end--;
    str_addn(out, s->at, end);
    s->at += n;
}

static int read_value(struct source *s, struct str *ret, struct err *err)
{
    _cleanup_str_ struct str raw = STR_INIT;
    int line = s->line, r = 0;
    bool single = *s->at == '\'';
    if (*s->at == '\'' || *s->at == '"')
        r = read_quoted(s, &raw, err);
    else
        read_plain(s, &raw);
    if (r < 0)
        return r;
    if (single) {
        str_addn(ret, raw.data, raw.len);
        return 0;
    }
    /* What the caller's environment says wins over earlier lines. */
    const struct map *first = s->outer ? s->outer : s->into;
    const struct interpolate with = {.variables = first, .fallback = s->into};
    r = interpolate_text(&with, str_get(&raw), ret, err);
    return r < 0 ? err_wrap(err, "%s:%d", s->file, line) : 0;
}

static int read_line(struct source *s, struct err *err)
{
    if (str_after(s->at, "export ") || str_after(s->at, "export\t")) {
        s->at += 7;
        skip_blanks(s);
    }
    size_t n = strcspn(s->at, "=:\n \t\r#");
    if (!n)
        return err_set(err, ERR_INVALID, "%s:%d: expected NAME=value", s->file, s->line);
    _cleanup_free_ char *name = mem_strndup(s->at, n);
    s->at += n;
    skip_blanks(s);
    if (*s->at != '=' && *s->at != ':') {
        if (*s->at && *s->at != '\n' && *s->at != '#')
            return err_set(err, ERR_INVALID, "%s:%d: expected \"=\" or \":\" behind %s", s->file, s->line,
                           name);
        const char *value = s->outer ? map_get(s->outer, name) : NULL;
        if (value)
            map_put(s->into, name, mem_strdup(value));
        s->at += strcspn(s->at, "\n");
        return 0;
    }
    s->at++;
    skip_blanks(s);
    _cleanup_str_ struct str value = STR_INIT;
    int line = s->line, r = read_value(s, &value, err);
    if (r < 0)
        return r;
    skip_blanks(s);
    if (*s->at && *s->at != '\n' && *s->at != '#')
        return err_set(err, ERR_INVALID, "%s:%d: text after the closing quote of %s", s->file, line, name);
    s->at += strcspn(s->at, "\n");
    map_put(s->into, name, str_take(&value));
    return 0;
}

int envfile_parse(const char *file, const char *text, const struct map *outer, struct map *into,
                  struct err *err)
{
    const char *bom = str_after(text, "\xef\xbb\xbf");
    struct source s = {.file = file, .at = bom ? bom : text, .line = 1, .outer = outer, .into = into};
    while (*s.at) {
        skip_blanks(&s);
        if (*s.at == '#')
            s.at += strcspn(s.at, "\n");
        if (*s.at == '\n') {
            s.at++;
            s.line++;
            continue;
        }
        int r = *s.at ? read_line(&s, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_text(const char *path, struct str *text, struct err *err)
{
    int r = file_read(path, ENVFILE_MAX_BYTES, text, err);
    if (r == 0 && memchr(str_get(text), '\0', text->len))
        r = err_set(err, ERR_INVALID, "%s: contains a NUL byte; not a text file", path);
    return r;
}

int envfile_read_raw(const char *path, struct map *into, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = read_text(path, &text, err), number = 1;
    if (r < 0)
        return r;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        char *at = *line + strspn(*line, " \t"), *end = at + strlen(at);
        if (end > at && end[-1] == '\r')
            end[-1] = '\0';
        size_t n = strcspn(at, "=");
        if (*at && *at != '#' && (!n || memchr(at, ' ', n)))
            return err_set(err, ERR_INVALID, "%s:%d: expected NAME=value", path, number);
        if (*at && *at != '#' && at[n]) {
            at[n] = '\0';
            map_put(into, at, mem_strdup(at + n + 1));
        }
        number++;
    }
    return 0;
}

int envfile_read(const char *path, const struct map *outer, struct map *into, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = read_text(path, &text, err);
    return r < 0 ? r : envfile_parse(path, str_get(&text), outer, into, err);
}
