/* A container's own /etc/passwd and /etc/group: a first line with who is asked for, then the one file, a byte
 * 1, and the other. Also read as /etc/subuid. */
#include "base/str.h"
#include "engine/userns_ranges.h"
#include "engine/users.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct users_identity *u)
{
    must(u->uid <= INT32_MAX && u->gid <= INT32_MAX);
    must(u->group_count >= 1 && u->group_count <= USERS_GROUPS_MAX && u->groups[0] == u->gid);
    must(*u->home == '/' && !strpbrk(u->home, ":\n") && strlen(u->home) < sizeof(u->home));
    for (size_t i = 0; i < u->group_count; i++)
        for (size_t k = 0; k < i && i < 64; k++)
            must(u->groups[i] != u->groups[k]);
}

static void read_ranges(const char *text, const char *name)
{
    struct id_range found, *all = NULL;
    size_t n = userns_ranges_all(text, &all);
    uint32_t first;
    for (size_t i = 0; i < n; i++)
        must(all[i].count && (uint64_t)all[i].first + all[i].count <= UINT32_MAX);
    if (userns_ranges_find(text, name, 7, &found))
        must(found.count && found.first);
    struct id_range pool = {1000, 200000};
    if (userns_ranges_place(pool, 65536, 65536, all, n, &first, NULL) == 0) {
        must(first >= pool.first && first + 65536 <= pool.first + pool.count);
        for (size_t i = 0; i < n; i++)
            must((uint64_t)all[i].first + all[i].count <= first || all[i].first >= first + 65536);
    }
    free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = mem_strndup((const char *)data, strnlen((const char *)data, size));
    char *passwd = strchr(text, '\n');
    if (!passwd)
        return 0;
    *passwd++ = '\0';
    char *group = strchr(passwd, 1);
    if (group)
        *group++ = '\0';
    struct users_identity *u = NEW(struct users_identity);
    _cleanup_free_ void *owned = u;
    char *const more[] = {text, (char *)"adm", NULL};
    if (users_resolve(passwd, group ? group : "", text, NULL, u, NULL) == 0)
        check(u);
    if (users_resolve(passwd, group ? group : "", "0", more, u, NULL) == 0)
        check(u);
    read_ranges(passwd, text);
    return 0;
}
