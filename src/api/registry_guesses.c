#include "api/registry_guesses.h"

#include "base/str.h"
#include "base/timeutil.h"

#include <arpa/inet.h>

#define MELT_NS (GUESSES_MELT_S * NS_PER_S)

void guesses_init(struct guesses *g)
{
    g->debts = MAP_INIT(free);
}

void guesses_done(struct guesses *g)
{
    map_done(&g->debts);
}

static char *who(const char *address)
{
    struct in6_addr v6;
    char out[INET6_ADDRSTRLEN];
    if (inet_pton(AF_INET6, address, &v6) != 1 || IN6_IS_ADDR_V4MAPPED(&v6))
        return mem_strdup(address);
    memset(v6.s6_addr + 8, 0, 8);
    inet_ntop(AF_INET6, &v6, out, sizeof(out));
    return mem_strdup(out);
}

int guesses_wait_s(struct guesses *g, const char *address, int64_t now_ns)
{
    _cleanup_free_ char *key = who(address);
    const int64_t *melted = map_get(&g->debts, key);
    int64_t above = melted ? *melted - now_ns - (GUESSES_MAX - 1) * MELT_NS : 0;
    return above <= 0 ? 0 : (int)(above / NS_PER_S) + 1;
}

/* Those that owe nothing any more; when all do, whoever came first goes: the table is bounded. */
static void make_room(struct guesses *g, int64_t now_ns)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&g->debts, &i));)
        if (*(int64_t *)e->value <= now_ns)
            map_remove(&g->debts, e->key);
    size_t first = 0;
    if (g->debts.count >= GUESSES_ADDRESSES && (e = map_next(&g->debts, &first)))
        map_remove(&g->debts, e->key);
}

void guesses_wrong(struct guesses *g, const char *address, int64_t now_ns)
{
    _cleanup_free_ char *key = who(address);
    int64_t *melted = map_get(&g->debts, key);
    if (!melted) {
        if (g->debts.count >= GUESSES_ADDRESSES)
            make_room(g, now_ns);
        melted = NEW(int64_t);
        map_put(&g->debts, key, melted);
    }
    *melted = MAX(*melted, now_ns) + MELT_NS;
}
