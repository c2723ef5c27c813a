/* The environment of a container's processes: defaults, what links tell, the container's own, and an exec's;
 * the later wins. */
#include "engine/links.h"

static const char default_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* The entry of that name, or NULL. */
static char **find(char **env, const char *name, size_t n)
{
    STRV_FOREACH (e, env)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return e;
    return NULL;
}

/* "NAME=value" sets; "NAME" alone takes the variable away. */
static void put(char ***env, const char *entry)
{
    size_t n = strcspn(entry, "=");
    char **old = find(*env, entry, n);
    if (!entry[n]) {
        if (old)
            free(*old);
        for (; old && *old; old++)
            *old = old[1];
    } else if (old) {
        free(*old);
        *old = mem_strdup(entry);
    } else
        strv_add(env, entry);
}

static void put_all(char ***env, char *const *entries)
{
    for (char *const *e = entries; e && *e; e++)
        put(env, *e);
}

int spec__environment(struct container *c, const json_t *config, const json_t *own_list, bool tty,
                      const char *home, json_t **ret, struct err *err)
{
    _cleanup_strv_ char **env = NULL, **base = NULL, **own = NULL;
    _cleanup_json_ json_t *owner = json_pack("{s:O?}", "Env", own_list);
    int r = json_get_strv(config, "Config", "Env", &base, err);
    if (r == 0)
        r = json_get_strv(owner, "", "Env", &own, err);
    if (r < 0)
        return r;
    const char *hostname = json_str(config, "Hostname");
    _cleanup_free_ char *host = str_printf("HOSTNAME=%.64s", *hostname ? hostname : c->id);
    put(&env, default_path);
    put(&env, host);
    if (tty)
        put(&env, "TERM=xterm");
    if ((r = links__env(c, &env, err)) < 0)
        return r;
    put_all(&env, base);
    put_all(&env, own);
    if (!find(env, "HOME", 4)) {
        _cleanup_free_ char *entry = str_printf("HOME=%s", str_empty(home) ? "/" : home);
        put(&env, entry);
    }
    *ret = json_of_strv(env);
    return 0;
}
