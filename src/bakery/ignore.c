#include "bakery/ignore.h"

#include "bakery/path.h"
#include "bakery/pattern.h"
#include "base/str.h"

struct rule {
    struct pattern *pattern;
    bool exception;
    char *literal; /* the pattern up to its first wildcard */
};

struct ignore {
    struct rule *rules;
    size_t count, capacity;
};

int ignore_add(struct ignore **g, const char *text, const char *what, struct err *err)
{
    bool exception = *text == '!';
    _cleanup_free_ char *body = str_strip(text + exception);
    if (!*body)
        return err_set(err, ERR_INVALID, "%s: illegal exclusion pattern: \"%s\"", what, text);
    /* "." as a pattern stands for the context itself, which is never left out. */
    _cleanup_free_ char *clean = path_clean(body);
    const char *relative = clean[0] == '/' && clean[1] ? clean + 1 : clean;
    struct pattern *pattern;
    int r = pattern_new(relative, true, &pattern, err);
    if (r < 0)
        return err_wrap(err, "%s", what);
    if (!*g)
        *g = NEW(struct ignore);
    GROW((*g)->rules, (*g)->count, (*g)->capacity);
    (*g)->rules[(*g)->count++] = (struct rule){.pattern = pattern,
                                               .exception = exception,
                                               .literal = mem_strndup(relative, strcspn(relative, "*?[\\"))};
    return 0;
}

static int add_line(struct ignore **g, const char *line, int number, struct err *err)
{
    _cleanup_free_ char *text = str_strip(line);
    if (!*text || *line == '#')
        return 0;
    _cleanup_free_ char *what = str_printf(".dockerignore:%d", number);
    return ignore_add(g, text, what, err);
}

int ignore_parse(const char *text, size_t n, struct ignore **ret, struct err *err)
{
    if (n > IGNORE_MAX_BYTES)
        return err_set(err, ERR_LIMIT, ".dockerignore: larger than %d bytes", IGNORE_MAX_BYTES);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        n -= 3;
    }
    struct ignore *g = NEW(struct ignore);
    int r = 0;
    for (int number = 1; r == 0 && n; number++) {
        const char *newline = memchr(text, '\n', n);
        size_t length = newline ? (size_t)(newline - text) : n;
        _cleanup_free_ char *line = mem_strndup(text, length);
        r = add_line(&g, line, number, err);
        length += newline != NULL;
        text += length;
        n -= length;
    }
    if (r < 0) {
        ignore_free(g);
        return r;
    }
    *ret = g;
    return 0;
}

void ignore_free(struct ignore *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->count; i++) {
        pattern_free(g->rules[i].pattern);
        free(g->rules[i].literal);
    }
    free(g->rules);
    free(g);
}

static bool matches_or_parent(const struct pattern *p, const char *path)
{
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/'))
        if (pattern_match(p, path, (size_t)(slash - path)))
            return true;
    return pattern_match(p, path, strlen(path));
}

bool ignore_matches(const struct ignore *g, const char *path)
{
    bool ignored = false;
    for (size_t i = 0; g && i < g->count; i++)
        if (g->rules[i].exception == ignored && matches_or_parent(g->rules[i].pattern, path))
            ignored = !g->rules[i].exception;
    return ignored;
}

bool ignore_may_except(const struct ignore *g, const char *path)
{
    _cleanup_free_ char *dir = str_printf("%s/", path);
    for (size_t i = 0; g && i < g->count; i++) {
        const struct rule *rule = &g->rules[i];
        if (rule->exception && strncmp(dir, rule->literal, MIN(strlen(dir), strlen(rule->literal))) == 0)
            return true;
    }
    return false;
}
