#include "compose/problem.h"

#include "compose/yaml.h"

static void add(struct problems *p, const char *file, int line, int column, const char *path,
                const char *format, va_list ap)
{
    if (++p->count > PROBLEM_MAX)
        return;
    if (line)
        str_addf(&p->text, "%s:%d:%d: ", file, line, column);
    if (!str_empty(path))
        str_addf(&p->text, "%s: ", path);
    str_vaddf(&p->text, format, ap);
    str_addc(&p->text, '\n');
}

void problem_add(struct problems *p, const struct yaml_node *at, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    add(p, at->file, at->line, at->column, at->path, format, ap);
    va_end(ap);
}

void problem_add_key(struct problems *p, const struct yaml_node *map, const struct yaml_pair *pair,
                     const char *format, ...)
{
    bool top = str_empty(map->path);
    _cleanup_free_ char *path = str_printf("%s%s%s", top ? "" : map->path, top ? "" : ".", pair->key);
    va_list ap;
    va_start(ap, format);
    add(p, pair->file, pair->line, pair->column, path, format, ap);
    va_end(ap);
}

/* Levenshtein's distance of short words. */
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 40 };
    size_t row[LONGEST + 1], n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t above = row[j];
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = MIN(change, MIN(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[m];
}

/* How long the words' common beginning is, where it is most of both. */
static size_t shared_beginning(const char *a, const char *b)
{
    enum { LEAST = 5 };
    size_t n = 0, longer = MAX(strlen(a), strlen(b));
    while (a[n] && a[n] == b[n])
        n++;
    return n >= LEAST && n * 5 >= longer * 3 ? n : 0;
}

static const char *with_longest_beginning(const char *word, const char *const *words)
{
    const char *best = NULL;
    for (size_t longest = 0; *words; words++) {
        size_t n = shared_beginning(word, *words);
        if (n > longest) {
            longest = n;
            best = *words;
        }
    }
    return best;
}

const char *problem_nearest(const char *word, const char *const *words)
{
    const char *best = NULL, *const *all = words;
    size_t best_distance = strlen(word) > 4 ? 3 : 2; /* up to one less */
    if (strlen(word) < 2)
        return NULL;
    for (; *words; words++) {
        size_t d = distance(word, *words);
        if (d < best_distance) {
            best_distance = d;
            best = *words;
        }
    }
    return best ? best : with_longest_beginning(word, all);
}
