/* Addresses of tasks, services and attachments on the swarm's networks. Which are taken follows from the
 * objects; a bitmap of each network is made of them when the first is asked for. They are given out in turn,
 * so that the address of a task that has ended is another's as late as can be: its neighbours may still know
 * where it was. */
#include "cluster/traffic.h"

#include "cluster/cluster_priv.h"

#include <arpa/inet.h>

enum { BITS_MIN = 8 };

struct pool {
    uint32_t base; /* of the subnet, host order */
    int bits;
    uint32_t low, high; /* what is given out first, as offsets; */
    uint32_t last;      /* then up to here */
    uint32_t next;
    unsigned char *used;
};

static void pool_free(void *pool)
{
    struct pool *p = pool;
    if (p)
        free(p->used);
    free(p);
}

static bool parse(const char *text, uint32_t *ret, int *ret_bits)
{
    _cleanup_free_ char *bare = mem_strndup(text, strcspn(text, "/"));
    struct in_addr in;
    int64_t bits = 32;
    if (inet_pton(AF_INET, bare, &in) != 1 ||
        (strchr(text, '/') && parse_i64(strchr(text, '/') + 1, 0, 32, &bits, NULL) < 0))
        return false;
    *ret = ntohl(in.s_addr);
    if (ret_bits)
        *ret_bits = (int)bits;
    return true;
}

static bool has(const struct pool *p, uint32_t address)
{
    return address >= p->base && (address - p->base) >> (32 - p->bits) == 0;
}

static void mark(struct pool *p, const char *text, bool used)
{
    uint32_t address;
    if (!parse(text, &address, NULL) || !has(p, address))
        return;
    uint32_t at = address - p->base;
    unsigned char bit = (unsigned char)(1 << (at % 8));
    p->used[at / 8] = (unsigned char)(used ? p->used[at / 8] | bit : p->used[at / 8] & ~bit);
}

static bool find(struct pool *p, uint32_t from, uint32_t to, uint32_t *ret)
{
    for (uint32_t at = from; at <= to; at++)
        if (!(p->used[at / 8] & (1 << (at % 8)))) {
            *ret = at;
            return true;
        }
    return false;
}

/* A gateway that nobody chose is the first address that is not an auxiliary one, as the engine has it. */
static void mark_kept(struct pool *p, const json_t *config)
{
    const char *name, *gateway = json_str(config, "Gateway");
    json_t *one;
    uint32_t at;
    json_object_foreach (json_object_get(config, "AuxiliaryAddresses"), name, one)
        mark(p, json_string_value(one) ? json_string_value(one) : "", true);
    if (*gateway)
        mark(p, gateway, true);
    else if (find(p, 1, p->last, &at))
        p->used[at / 8] |= (unsigned char)(1 << (at % 8));
}

/* The last quarter is given out when all else is taken: containers that are no tasks have addresses of it
 * that nodes of an earlier version have chosen alone. */
static struct pool *pool_of_config(const json_t *config)
{
    uint32_t base, from;
    int bits, from_bits;
    if (!parse(json_str(config, "Subnet"), &base, &bits) || bits < BITS_MIN || bits > 30)
        return NULL;
    struct pool *p = NEW(struct pool);
    uint32_t size = 1u << (32 - bits);
    p->base = base & ~(size - 1);
    p->bits = bits;
    p->low = 1;
    p->last = size - 2;
    p->high = bits <= 28 ? size / 4 * 3 - 1 : p->last;
    if (parse(json_str(config, "IPRange"), &from, &from_bits) && from_bits >= bits && from - p->base < size) {
        uint32_t within = from_bits == 32 ? 1 : 1u << (32 - from_bits);
        p->low = MAX(p->low, (from - p->base) & ~(within - 1));
        p->high = p->last = MIN(p->last, ((from - p->base) | (within - 1)));
    }
    p->next = p->low;
    p->used = mem_new(size / 8 + 1);
    mark_kept(p, config);
    return p;
}

static void mark_all(struct cluster *c, struct pool *p, const char *network)
{
    struct map *services[] = {&c->objects[CLUSTER_SERVICE], &c->leaving};
    struct map_entry *e;
    for (size_t s = 0; s < ARRAY_SIZE(services); s++)
        for (size_t i = 0; (e = map_next(services[s], &i));)
            mark(p, json_str(((struct service *)e->value)->addresses, network), true);
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        const struct task *t = e->value;
        if (!task_ended(t->state))
            mark(p, json_str(t->addresses, network), true);
    }
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        const char *key;
        json_t *one;
        json_object_foreach (((const struct node *)e->value)->attachments, key, one)
            if (str_eq(json_str(one, "Network"), network))
                mark(p, json_str(one, "Address"), true);
    }
}

static struct pool *pool_of(struct cluster *c, const char *network)
{
    struct pool *p = map_get(&c->pools, network);
    const json_t *body = p ? NULL : networks__find(c, network), *config;
    size_t i;
    json_array_foreach (json_object_get(json_object_get(body, "IPAM"), "Config"), i, config)
        if (!p && (p = pool_of_config(config))) {
            mark_all(c, p, network);
            if (!c->pools.count)
                c->pools = MAP_INIT(pool_free);
            map_put(&c->pools, network, p);
        }
    return p;
}

static char *give(struct pool *p, uint32_t at)
{
    struct in_addr in = {htonl(p->base + at)};
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &in, text, sizeof(text));
    mark(p, text, true);
    return str_printf("%s/%d", text, p->bits);
}

int addresses__take(struct cluster *c, const char *network, char **ret, struct err *err)
{
    struct pool *p = pool_of(c, network);
    uint32_t at;
    if (!p)
        return err_set(err, ERR_NOT_FOUND, "network %.100s not found", network);
    if (!find(p, p->next, p->high, &at) && !find(p, p->low, p->high, &at) && !find(p, p->high, p->last, &at))
        return err_set(err, ERR_UNAVAILABLE,
                       "no available IPv4 addresses on network %s: make one with a larger subnet",
                       json_str(networks__find(c, network), "Name"));
    p->next = at + 1;
    *ret = give(p, at);
    return 0;
}

int addresses__take_one(struct cluster *c, const char *network, const char *wished, char **ret,
                        struct err *err)
{
    struct pool *p = pool_of(c, network);
    uint32_t address, at;
    if (!p)
        return err_set(err, ERR_NOT_FOUND, "network %.100s not found", network);
    if (!parse(wished, &address, NULL) || address <= p->base || !has(p, address + 1))
        return err_set(err, ERR_INVALID, "%.50s is no container's address of network %s", wished,
                       json_str(networks__find(c, network), "Name"));
    if (!find(p, address - p->base, address - p->base, &at))
        return err_set(err, ERR_DENIED, "Address already in use: %.50s", wished);
    *ret = give(p, at);
    return 0;
}

void addresses__give_back(struct cluster *c, const char *network, const char *address)
{
    struct pool *p = map_get(&c->pools, network);
    if (p)
        mark(p, address, false);
}

static int give_one(struct cluster *c, json_t *to, const char *ref, struct err *err)
{
    const char *id = json_str(networks__find(c, ref), "Id");
    _cleanup_free_ char *address = NULL;
    if (!*id || json_object_get(to, id))
        return 0;
    int r = addresses__take(c, id, &address, err);
    if (r == 0)
        json_set_str(to, id, address);
    return r;
}

int addresses__give(struct cluster *c, struct task *t, struct err *err)
{
    json_t *one;
    size_t i;
    int r = 0;
    if (t->addresses)
        return 0;
    t->addresses = json_object();
    json_array_foreach ((json_t *)task__networks(t), i, one)
        if (r == 0)
            r = give_one(c, t->addresses, json_str(one, "Target"), err);
    if (r == 0 && service__has_ingress(t->ports))
        r = give_one(c, t->addresses, "ingress", err);
    if (r < 0)
        addresses__left(c, t);
    if (r < 0 || !json_object_size(t->addresses)) {
        json_decref(t->addresses);
        t->addresses = NULL;
    }
    return r;
}

void addresses__left(struct cluster *c, const struct task *t)
{
    const char *network;
    json_t *address;
    json_object_foreach (t->addresses, network, address)
        addresses__give_back(c, network, json_string_value(address));
}

void addresses__forget(struct cluster *c)
{
    map_done(&c->pools);
    c->pools = MAP_INIT(pool_free);
}
