#include "engine/users.h"

#include "base/str.h"

#include <ctype.h>

enum { ID_MAX = 2147483647 };

/* One line of colon-separated fields; values point into the text. */
struct entry {
    const char *field[7];
    size_t length[7];
    size_t count;
};

static const char *next_entry(const char *text, struct entry *ret)
{
    const char *end = strchrnul(text, '\n');
    ret->count = 0;
    for (const char *at = text; ret->count < 7 && at <= end;) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        const char *stop = colon ? colon : end;
        ret->field[ret->count] = at;
        ret->length[ret->count++] = (size_t)(stop - at);
        at = stop + 1;
    }
    return *end ? end + 1 : NULL;
}

static bool field_is(const struct entry *e, size_t i, const char *text)
{
    return i < e->count && strlen(text) == e->length[i] && memcmp(e->field[i], text, e->length[i]) == 0;
}

static bool to_id(const char *text, size_t n, unsigned *ret)
{
    unsigned long long value = 0;
    if (!n || n > 10)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    if (value > ID_MAX)
        return false;
    *ret = (unsigned)value;
    return true;
}

static bool field_id(const struct entry *e, size_t i, unsigned *ret)
{
    return i < e->count && to_id(e->field[i], e->length[i], ret);
}

static void set_home(const struct entry *e, struct users_identity *ret)
{
    if (e->count < 6 || !e->length[5] || e->length[5] >= sizeof(ret->home) || *e->field[5] != '/')
        return;
    memcpy(ret->home, e->field[5], e->length[5]);
    ret->home[e->length[5]] = '\0';
}

/* Fills uid, gid and home; *ret_name is the entry's name, to be freed, or NULL when there is none. */
static int find_user(const char *passwd, const char *who, struct users_identity *ret, char **ret_name,
                     struct err *err)
{
    struct entry e;
    unsigned number = 0, uid, gid;
    bool numeric = to_id(who, strlen(who), &number);
    for (const char *at = *passwd ? passwd : NULL; at;) {
        at = next_entry(at, &e);
        if (e.count < 4 || !e.length[0] || !field_id(&e, 2, &uid) || !field_id(&e, 3, &gid))
            continue;
        /* A number is never a name: an image could call root "1000" (CVE-2016-3697). */
        if (numeric ? uid != number : !field_is(&e, 0, who))
            continue;
        ret->uid = uid;
        ret->gid = gid;
        set_home(&e, ret);
        *ret_name = mem_strndup(e.field[0], e.length[0]);
        return 0;
    }
    if (!numeric && *who && strspn(who + (*who == '-'), "0123456789") == strlen(who) - (*who == '-'))
        return err_set(err, ERR_INVALID, "uids and gids must be in range 0-%u", ID_MAX);
    if (!numeric)
        return err_set(err, ERR_INVALID, "unable to find user %.200s: no matching entries in passwd file",
                       who);
    ret->uid = number;
    return 0;
}

static int find_group(const char *group, const char *which, gid_t *ret, struct err *err)
{
    struct entry e;
    unsigned number = 0, gid;
    bool numeric = to_id(which, strlen(which), &number);
    for (const char *at = *group && !numeric ? group : NULL; at;) {
        at = next_entry(at, &e);
        if (field_is(&e, 0, which) && field_id(&e, 2, &gid)) {
            *ret = gid;
            return 0;
        }
    }
    if (!numeric)
        return err_set(err, ERR_INVALID, "unable to find group %.200s: no matching entries in group file",
                       which);
    *ret = number;
    return 0;
}

static void add_group(struct users_identity *u, gid_t gid)
{
    for (size_t i = 0; i < u->group_count; i++)
        if (u->groups[i] == gid)
            return;
    if (u->group_count < USERS_GROUPS_MAX)
        u->groups[u->group_count++] = gid;
}

static bool lists_member(const struct entry *e, const char *name)
{
    size_t n = strlen(name);
    const char *at = e->field[3], *end = at + e->length[3];
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end;
        if ((size_t)(stop - at) == n && memcmp(at, name, n) == 0)
            return true;
        at = stop + 1;
    }
    return false;
}

static void add_memberships(const char *group, const char *name, struct users_identity *ret)
{
    struct entry e;
    unsigned gid;
    for (const char *at = *group ? group : NULL; at;) {
        at = next_entry(at, &e);
        if (e.count >= 4 && field_id(&e, 2, &gid) && lists_member(&e, name))
            add_group(ret, gid);
    }
}

int users_resolve(const char *passwd, const char *group, const char *spec, char *const *group_add,
                  struct users_identity *ret, struct err *err)
{
    struct users_identity *u = NEW(struct users_identity);
    _cleanup_free_ void *owned = u;
    const char *colon = strchr(spec, ':');
    _cleanup_free_ char *who = colon ? mem_strndup(spec, (size_t)(colon - spec)) : mem_strdup(spec),
                        *name = NULL;
    memcpy(u->home, "/", 2);
    int r = find_user(passwd, *who ? who : "0", u, &name, err);
    if (r == 0 && colon && colon[1])
        r = find_group(group, colon + 1, &u->gid, err);
    if (r < 0)
        return r;
    add_group(u, u->gid);
    if (name && !(colon && colon[1]))
        add_memberships(group, name, u);
    for (size_t i = 0; group_add && group_add[i]; i++) {
        gid_t gid = 0;
        if ((r = find_group(group, group_add[i], &gid, err)) < 0)
            return r;
        add_group(u, gid);
    }
    *ret = *u;
    return 0;
}
