/* The table of keys for people. */
#include "compose/schema.h"
#include "compose/schema_priv.h"

#include "base/str.h"

enum { MAX_DEPTH = 8, MAX_FIELDS = 128 };

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const struct field *const *)a)->key, (*(const struct field *const *)b)->key);
}

/* People look for a key by its name; only the file's own sections are in the order that files have them in.
 */
static size_t sort_fields(const struct field *fields, const struct field *sorted[static MAX_FIELDS])
{
    size_t n = 0;
    for (; fields && fields[n].key && n < MAX_FIELDS; n++)
        sorted[n] = &fields[n];
    if (n && fields != schema__top)
        qsort(sorted, n, sizeof(*sorted), by_key);
    return n;
}

static void add_values(const struct field *f, struct str *s)
{
    _cleanup_strv_ char **words = f->shape & F_ENUM ? strv_split(f->words, '|') : NULL;
    _cleanup_free_ char *list = strv_join(words, ", ");
    if (words)
        str_add(s, list);
    if (words && f->note)
        str_add(s, "; ");
    if (f->note)
        str_add(s, f->note);
}

/* `deploy.resources.limits.cpus`; a step that is a name of the user's own is shown as NAME. */
static void add_keys(const struct field *fields, const char *path, bool idle, int depth, struct str *s)
{
    const struct field *sorted[MAX_FIELDS];
    size_t n = depth < MAX_DEPTH ? sort_fields(fields, sorted) : 0;
    for (size_t i = 0; i < n; i++) {
        const struct field *f = sorted[i];
        _cleanup_free_ char *own = str_printf("%s%s%s", path, *path ? "." : "", f->key);
        bool without = idle || f->shape & F_IDLE;
        str_addf(s, "| `%s` | %s | ", own, f->shape & F_NOT ? "refused" : without ? "no effect" : "done");
        if (f->shape & F_NOT)
            str_add(s, f->words);
        else
            add_values(f, s);
        str_add(s, " |\n");
        const char *step = f->shape & F_NAMED ? ".NAME" : f->shape & F_LIST ? "[]" : "";
        _cleanup_free_ char *below = str_printf("%s%s", own, step);
        add_keys(f->fields, below, without, depth + 1, s);
    }
}

void schema_document(struct str *ret)
{
    str_add(ret, "| key | | |\n|---|---|---|\n");
    add_keys(schema__top, "", false, 0, ret);
}
