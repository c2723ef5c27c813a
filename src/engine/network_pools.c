/* Where the subnets of networks come from that name none: Docker's default address pools, or the daemon's
 * configuration's. */
#include "engine/engine_priv.h"

#include "base/digest.h"

enum { POOLS_MAX = 64 };

static void add(struct engine *e, char *base, int size)
{
    e->pools = mem_grow(e->pools, e->pool_count + 1, sizeof(*e->pools));
    e->pools[e->pool_count++] = (struct net_pool){base, size};
}

/* A unique local prefix (RFC 4193) that stays the same for an instance: from its machine and its root. */
static void add_local_prefix(struct engine *e)
{
    char digest[DIGEST_BYTES], machine[65] = "";
    FILE *f = fopen("/etc/machine-id", "re");
    if (f && fscanf(f, "%64s", machine) != 1)
        *machine = '\0';
    if (f)
        fclose(f);
    _cleanup_free_ char *seed = str_printf("%s %s", machine, e->root);
    digest_of(seed, strlen(seed), digest);
    const char *h = digest_hex(digest);
    add(e, str_printf("fd%.2s:%.4s:%.4s::/48", h, h + 2, h + 6), 64);
}

static void add_defaults(struct engine *e)
{
    static const struct net_pool docker[] = {
        {"172.17.0.0/16", 16}, {"172.18.0.0/16", 16}, {"172.19.0.0/16", 16},  {"172.20.0.0/14", 16},
        {"172.24.0.0/14", 16}, {"172.28.0.0/14", 16}, {"192.168.0.0/16", 20},
    };
    for (size_t i = 0; i < ARRAY_SIZE(docker); i++)
        add(e, mem_strdup(docker[i].base), docker[i].size);
}

int pools__configure(struct engine *e, const json_t *pools, struct err *err)
{
    size_t i;
    const json_t *p;
    bool ipv4 = false, ipv6 = false;
    if (json_array_size(pools) > POOLS_MAX)
        return err_set(err, ERR_INVALID, "more than %d default address pools", POOLS_MAX);
    json_array_foreach (pools, i, p) {
        struct net_pool pool = {json_str(p, "base"), (int)json_int(p, "size")};
        int r = net_pool_check(&pool, err);
        if (r < 0)
            return err_wrap(err, "default-address-pools");
        *(net_address_is_ipv6(pool.base) ? &ipv6 : &ipv4) = true;
        add(e, mem_strdup(pool.base), pool.size);
    }
    if (!ipv4)
        add_defaults(e);
    e->pools_shown = e->pool_count;
    if (!ipv6)
        add_local_prefix(e);
    return 0;
}

static void forget_swarm(struct engine *e)
{
    for (size_t i = 0; i < e->swarm_pool_count; i++)
        free((char *)e->swarm_pools[i].base);
    free(e->swarm_pools);
    e->swarm_pools = NULL;
    e->swarm_pool_count = 0;
}

int engine_swarm_pools_check(const json_t *bases, int size, struct err *err)
{
    _cleanup_strv_ char **taken = NULL;
    size_t i;
    const json_t *base;
    if (json_array_size(bases) > POOLS_MAX)
        return err_set(err, ERR_INVALID, "more than %d default address pools", POOLS_MAX);
    json_array_foreach (bases, i, base) {
        _cleanup_free_ char *subnet = NULL;
        const struct net_pool pool = {json_is_string(base) ? json_string_value(base) : "", size};
        int r = net_pool_check(&pool, err);
        if (r == 0 && net_address_is_ipv6(pool.base))
            r = err_set(err, ERR_INVALID, "the pool %.100s is not of IPv4", pool.base);
        if (r == 0 && (r = net_subnet_canonical(pool.base, &subnet, err)) == 0)
            r = net_subnet_check(subnet, taken, err);
        if (r < 0)
            return err_wrap(err, "default address pool");
        strv_take(&taken, take_ptr(subnet));
    }
    return 0;
}

void engine_swarm_pools(struct engine *e, const json_t *bases, int size)
{
    size_t i;
    const json_t *base;
    SCOPED_LOCK(locked, &e->lock);
    forget_swarm(e);
    e->swarm_pools = NEW_N(struct net_pool, json_array_size(bases) + 1);
    json_array_foreach (bases, i, base)
        e->swarm_pools[e->swarm_pool_count++] = (struct net_pool){mem_strdup(json_string_value(base)), size};
}

void pools__done(struct engine *e)
{
    forget_swarm(e);
    for (size_t i = 0; i < e->pool_count; i++)
        free((char *)e->pools[i].base);
    free(e->pools);
}
