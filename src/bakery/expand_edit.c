#include "bakery/expand_priv.h"

#include "base/str.h"

#include <stdint.h>

/* A pattern is pieces of letters with stars between them. Placing each piece at its first possible spot is
 * right for all but the last one: an early spot leaves the later pieces the most room. So nothing is tried
 * twice, and the time is that of value times pattern. */

enum { ANY = -1 }; /* the letter "?" */

struct letters {
    int32_t *at; /* code points; a byte that is no UTF-8 is itself plus 0x200000 */
    size_t n;
};

struct piece {
    size_t start, n; /* letters of the pattern */
};

struct matcher {
    struct letters pattern, value;
    struct piece *pieces;
    size_t count;
};

static size_t decode(const unsigned char *text, int32_t *ret)
{
    size_t n = *text < 0x80 ? 1 : *text >> 5 == 6 ? 2 : *text >> 4 == 14 ? 3 : *text >> 3 == 30 ? 4 : 0;
    int32_t c = n == 1 ? *text : n ? *text & (0x7f >> n) : 0;
    for (size_t i = 1; i < n; i++) {
        if (text[i] >> 6 != 2)
            n = 0;
        else
            c = c << 6 | (text[i] & 0x3f);
    }
    static const int32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    bool good = n && c >= smallest[n];
    *ret = good ? c : *text + 0x200000;
    return good ? n : 1;
}

static void add_letter(struct str *s, int32_t c)
{
    if (c >= 0x200000) {
        str_addc(s, (char)(c - 0x200000));
        return;
    }
    if (c < 0x80) {
        str_addc(s, (char)c);
        return;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    str_addc(s, (char)((0xff00 >> (more + 1) & 0xff) | c >> 6 * more));
    while (more--)
        str_addc(s, (char)(0x80 | (c >> 6 * more & 0x3f)));
}

static struct letters letters_of(const char *text)
{
    struct letters l = {.at = NEW_N(int32_t, strlen(text) + 1)};
    for (const unsigned char *at = (const unsigned char *)text; *at;)
        at += decode(at, &l.at[l.n++]);
    return l;
}

/* The pattern's letters and its pieces; there is always one, perhaps empty. */
static void compile(struct matcher *m, const char *text)
{
    size_t capacity = 0;
    m->pattern.at = NEW_N(int32_t, strlen(text) + 1);
    struct piece now = {0};
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        if (*at == '*') {
            GROW(m->pieces, m->count, capacity);
            m->pieces[m->count++] = now;
            now = (struct piece){.start = m->pattern.n};
            at++;
            continue;
        }
        bool escaped = *at == '\\' && at[1];
        int32_t c = ANY;
        at += escaped;
        at += *at == '?' && !escaped ? 1 : decode(at, &c);
        m->pattern.at[m->pattern.n++] = c;
        now.n++;
    }
    GROW(m->pieces, m->count, capacity);
    m->pieces[m->count++] = now;
}

static void reverse(int32_t *at, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        int32_t c = at[i];
        at[i] = at[n - 1 - i];
        at[n - 1 - i] = c;
    }
}

/* The end of the value becomes its front. */
static void turn_round(struct matcher *m)
{
    reverse(m->value.at, m->value.n);
    reverse(m->pattern.at, m->pattern.n);
    for (size_t i = 0; i < m->count; i++)
        m->pieces[i].start = m->pattern.n - m->pieces[i].start - m->pieces[i].n;
    for (size_t i = 0; i < m->count / 2; i++) {
        struct piece p = m->pieces[i];
        m->pieces[i] = m->pieces[m->count - 1 - i];
        m->pieces[m->count - 1 - i] = p;
    }
}

static bool fits(const struct matcher *m, const struct piece *p, size_t at)
{
    if (p->n > m->value.n - at)
        return false;
    for (size_t i = 0; i < p->n; i++)
        if (m->pattern.at[p->start + i] != ANY && m->pattern.at[p->start + i] != m->value.at[at + i])
            return false;
    return true;
}

/* The first spot from `at` on where the piece fits, or SIZE_MAX. */
static size_t find(const struct matcher *m, const struct piece *p, size_t at)
{
    for (; at <= m->value.n; at++)
        if (fits(m, p, at))
            return at;
    return SIZE_MAX;
}

static size_t find_last(const struct matcher *m, const struct piece *p, size_t from)
{
    for (size_t at = m->value.n + 1; at-- > from;)
        if (fits(m, p, at))
            return at;
    return SIZE_MAX;
}

/* The end of the shortest or longest match that starts at `at`, where the first piece fits; or SIZE_MAX. */
static size_t match_end(const struct matcher *m, size_t at, bool longest)
{
    at += m->pieces[0].n;
    for (size_t i = 1; i < m->count; i++) {
        const struct piece *p = &m->pieces[i];
        at = longest && i + 1 == m->count ? find_last(m, p, at) : find(m, p, at);
        if (at == SIZE_MAX)
            return SIZE_MAX;
        at += p->n;
    }
    return at;
}

static void add_range(struct str *s, const struct letters *l, size_t from, size_t to)
{
    for (; from < to; from++)
        add_letter(s, l->at[from]);
}

static int too_long(struct err *err)
{
    return err_set(err, ERR_LIMIT, "a value grows beyond %d bytes by its variables", EXPAND_MAX_BYTES);
}

/* Where a match fails behind its first piece it fails from every later spot as well. */
static int replace(const struct matcher *m, const struct expand_edit *edit, struct str *ret, struct err *err)
{
    size_t at = 0, n = strlen(edit->replacement);
    for (bool first = true; at < m->value.n && (first || edit->all); first = false) {
        size_t start = find(m, &m->pieces[0], at);
        size_t end = start == SIZE_MAX ? SIZE_MAX : match_end(m, start, true);
        if (end == SIZE_MAX || end == start)
            break;
        if (ret->len + n > EXPAND_MAX_BYTES)
            return too_long(err);
        add_range(ret, &m->value, at, start);
        str_addn(ret, edit->replacement, n);
        at = end;
    }
    add_range(ret, &m->value, at, m->value.n);
    return ret->len > EXPAND_MAX_BYTES ? too_long(err) : 0;
}

static void cut(struct matcher *m, const struct expand_edit *edit, struct str *ret)
{
    if (edit->how == '%')
        turn_round(m);
    size_t end = fits(m, &m->pieces[0], 0) ? match_end(m, 0, edit->all) : SIZE_MAX;
    end = end == SIZE_MAX ? 0 : end;
    if (edit->how == '%') {
        reverse(m->value.at, m->value.n);
        add_range(ret, &m->value, 0, m->value.n - end);
    } else {
        add_range(ret, &m->value, end, m->value.n);
    }
}

int expand__edit(const struct expand_edit *edit, const char *value, char **ret, struct err *err)
{
    enum { MAX_PATTERN = 4096 };
    if (strlen(edit->pattern) > MAX_PATTERN)
        return err_set(err, ERR_LIMIT, "a pattern of more than %d bytes", MAX_PATTERN);
    struct matcher m = {.value = letters_of(value)};
    compile(&m, edit->pattern);
    struct str s = STR_INIT;
    int r = 0;
    if (edit->how == '/')
        r = replace(&m, edit, &s, err);
    else
        cut(&m, edit, &s);
    free(m.value.at);
    free(m.pattern.at);
    free(m.pieces);
    if (r < 0)
        str_free(&s);
    else
        *ret = str_take(&s);
    return r;
}
