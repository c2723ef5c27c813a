/* Who a container's process runs as, from the text of its own /etc/passwd and /etc/group.
 *
 * Both files are an attacker's: lines of any length, numbers out of range, no end. Malformed lines are passed
 * over, the first match counts (passwd(5), group(5)). Pure. */
#ifndef ENGINE_USERS_H
#define ENGINE_USERS_H

#include "base/err.h"

#include <stddef.h>
#include <sys/types.h>

enum { USERS_GROUPS_MAX = 1024 };

struct users_identity {
    uid_t uid;
    gid_t gid;
    gid_t groups[USERS_GROUPS_MAX]; /* supplementary, the primary one first */
    size_t group_count;
    char home[1024]; /* "/" when the user has no entry */
};

/* `spec` is "user", "uid", "user:group", "uid:gid" or ""; group_add lists names or numbers. The texts may be
 * "". */
int users_resolve(const char *passwd, const char *group, const char *spec, char *const *group_add,
                  struct users_identity *ret, struct err *err);

#endif
