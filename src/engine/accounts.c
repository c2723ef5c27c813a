/* The account files of images, kept: a layer never changes, and to walk to /etc/passwd and /etc/group without
 * leaving a hostile root takes some twenty system calls. Only for a container that has nothing of its own
 * below /etc; all others are looked at. */
#include "engine/engine_priv.h"

#include <fcntl.h>
#include <unistd.h>

enum { KEPT = 8, KEPT_MAX_BYTES = 64 << 10 };

static struct {
    pthread_mutex_t lock;
    struct {
        char *layers, *passwd, *group;
    } kept[KEPT];
    size_t next;
} accounts = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* NULL: they may differ from the image's. */
static char *key_of(struct container *c, char *const *lowers)
{
    _cleanup_free_ char *dir = container__dir(c), *own = str_printf("%s/" CONTAINER_UPPER "/etc", dir);
    if (!lowers || !*lowers || faccessat(AT_FDCWD, own, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
        return NULL;
    _cleanup_free_ char *layers = strv_join(lowers, ":");
    return str_printf("%s:%s", images_layers_dir(c->engine->images), layers);
}

static bool recall(const char *key, struct str *passwd, struct str *group)
{
    SCOPED_LOCK(locked, &accounts.lock);
    for (size_t i = 0; i < KEPT; i++)
        if (accounts.kept[i].layers && str_eq(accounts.kept[i].layers, key)) {
            str_add(passwd, accounts.kept[i].passwd);
            str_add(group, accounts.kept[i].group);
            return true;
        }
    return false;
}

static void keep(char *key, const struct str *passwd, const struct str *group)
{
    SCOPED_LOCK(locked, &accounts.lock);
    size_t i = accounts.next;
    accounts.next = (i + 1) % KEPT;
    free(accounts.kept[i].layers);
    free(accounts.kept[i].passwd);
    free(accounts.kept[i].group);
    accounts.kept[i].layers = key;
    accounts.kept[i].passwd = mem_strdup(str_get(passwd));
    accounts.kept[i].group = mem_strdup(str_get(group));
}

int accounts__read(struct container *c, char *const *lowers, struct str *passwd, struct str *group,
                   struct err *err)
{
    _cleanup_free_ char *key = key_of(c, lowers);
    if (key && recall(key, passwd, group))
        return 0;
    int r = spec__account_file(c, lowers, "/etc/passwd", passwd, err);
    if (r == 0)
        r = spec__account_file(c, lowers, "/etc/group", group, err);
    if (r == 0 && key && passwd->len + group->len <= KEPT_MAX_BYTES &&
        strlen(str_get(passwd)) == passwd->len && strlen(str_get(group)) == group->len)
        keep(take_ptr(key), passwd, group);
    return r;
}
