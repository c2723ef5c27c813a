/* The members of the managers' store: their addresses, who votes, who leads, who goes. */
#include "cluster/managers_priv.h"

#include "base/log.h"

enum {
    LOOK_MS = 100,
    VOTE_MS = 30000, /* until one that joins is waited for no more */
};

bool managers__other_port(const char *address, int step, char ret[STORE_ADDRESS_BYTES])
{
    const char *colon = strrchr(address, ':');
    int64_t port;
    if (!colon || parse_i64(colon + 1, 1, 65535, &port, NULL) < 0 || port + step < 1 || port + step > 65535)
        return false;
    int n = snprintf(ret, STORE_ADDRESS_BYTES, "%.*s:%d", (int)(colon - address), address, (int)port + step);
    return n > 0 && n < STORE_ADDRESS_BYTES;
}

int managers__member(const char *address, char ret[STORE_ADDRESS_BYTES], struct err *err)
{
    return managers__other_port(address, 1, ret)
               ? 0
               : err_set(err, ERR_INVALID,
                         "\"%.100s\" cannot be a manager's address: its port is followed by that of the "
                         "managers' store, and the last is 65535",
                         address);
}

static int find_member(struct managers *m, const char *address, bool other, uint64_t *ret, struct err *err)
{
    struct store_member *list = NULL;
    size_t n = 0;
    bool found = false;
    int r = store_members_list(&m->members, &list, &n, err);
    for (size_t i = 0; r == 0 && i < n && !found; i++)
        if (str_eq(list[i].address, address) != other && (!other || list[i].role == STORE_VOTER)) {
            *ret = list[i].id;
            found = true;
        }
    free(list);
    return r < 0 || found ? r : err_set(err, ERR_NOT_FOUND, "the managers' store has no such member");
}

char **managers__voters(struct cluster *c, struct err *err)
{
    struct managers *m = c->manager;
    struct store_member *list = NULL;
    char **out = NULL, door[STORE_ADDRESS_BYTES];
    size_t n = 0;
    if (!m || store_members_list(&m->members, &list, &n, err) < 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (list[i].role == STORE_VOTER && managers__other_port(list[i].address, -1, door))
            strv_add(&out, door);
    free(list);
    return out;
}

void managers__wait(struct cluster *c)
{
    int64_t until_ns = time_monotonic_ns() + VOTE_MS * NS_PER_MS;
    while (c->manager && time_monotonic_ns() < until_ns) {
        _cleanup_strv_ char **voters = managers__voters(c, &(struct err){0});
        if (strv_has(voters, c->address))
            return;
        time_sleep_ns(LOOK_MS * NS_PER_MS);
    }
    if (c->manager)
        log_warning("managers: the store of this manager does not vote yet, and it goes on trying");
}

int managers__remove(struct cluster *c, const char *address, struct err *err)
{
    struct managers *m = c->manager;
    char member[STORE_ADDRESS_BYTES];
    uint64_t id = 0;
    if (!m)
        return 0;
    int r = managers__member(address, member, err);
    if (r == 0)
        r = find_member(m, member, false, &id, err);
    if (r == 0)
        r = store_members_remove(&m->members, id, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

int managers__hand_over(struct cluster *c, struct err *err)
{
    struct managers *m = c->manager;
    uint64_t id = 0;
    int r = m ? find_member(m, m->address, true, &id, err)
              : err_set(err, ERR_NOT_FOUND, "there is no other manager");
    if (r < 0)
        return r;
    lead__end_lease(m);
    return store_members_transfer(&m->members, id, err);
}

bool managers__leader(struct cluster *c, char ret[STORE_ADDRESS_BYTES])
{
    struct managers *m = c->manager;
    char member[STORE_ADDRESS_BYTES] = "";
    if (m) {
        SCOPED_LOCK(locked, &m->lock);
        snprintf(member, sizeof(member), "%s", m->leader);
    }
    if (*member && managers__other_port(member, -1, ret))
        return true;
    *ret = '\0';
    return false;
}
