/* Containers of a swarm's network that other machines have. */
#include "engine/spread_priv.h"

#include "net/net.h"

static bool is_here(const struct network *n, const char *address)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&n->endpoints, &i));)
        if (str_eq(((struct endpoint *)entry->value)->address, address))
            return true;
    return false;
}

/* What was asked for last, to tell whether names and rules have to follow. */
static bool is_new(struct network *n, const struct net_far *list, size_t count, bool done)
{
    struct str text = STR_INIT;
    str_addf(&text, "%d", done);
    for (size_t i = 0; i < count; i++)
        str_addf(&text, " %s %s %s", list[i].address, list[i].via, list[i].mac);
    bool same = str_eq(n->far, str_get(&text));
    free(n->far);
    n->far = str_take(&text);
    return !same;
}

static void add_names(struct engine *e, const struct network *n, struct network__names *to)
{
    json_t *one;
    size_t i;
    json_array_foreach (n->far_names, i, one) {
        const char *address = json_str(one, "Address");
        char **names = NULL;
        if (!net_far_has(e->net, n->bridge, address) ||
            json_get_strv(one, "", "Names", &names, &(struct err){0}) < 0)
            continue;
        GROW(to->list, to->count, to->capacity);
        to->list[to->count++] = (struct net_name){.network = n->id,
                                                  .bridge = n->bridge,
                                                  .address = address,
                                                  .names = network__with_its_name(n, names)};
    }
}

void network__add_far_names(struct engine *e, struct network__names *to)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));)
        add_names(e, entry->value, to);
}

static bool take_names(struct network *n, const json_t *names)
{
    bool same = json_array_size(names) ? json_equal(names, n->far_names) : !n->far_names;
    json_decref(n->far_names);
    n->far_names = json_array_size(names) ? json_incref((json_t *)names) : NULL;
    return !same;
}

static int set_locked(struct engine *e, const char *network, const struct net_far *list, size_t count,
                      const json_t *names, bool *ret_named, struct err *err)
{
    _cleanup_free_ struct net_far *others = NEW_N(struct net_far, count + 1);
    size_t kept = 0;
    struct network *n = network__find(e, network, err);
    if (!n)
        return -err->code;
    if (!n->swarm)
        return err_set(err, ERR_INVALID, "network %s is this machine's alone: it is of the driver \"%s\"",
                       n->name, n->driver);
    for (size_t i = 0; i < count; i++)
        if (!is_here(n, list[i].address))
            others[kept++] = list[i];
    int r = net_far_set(e->net, n->bridge, others, kept, err);
    bool fresh = is_new(n, others, kept, r == 0), spread = fresh && spread__user(e, n, NULL);
    if (spread)
        spread__apply_all_of(e, n); /* to those that are reached, and no others */
    *ret_named = take_names(n, names) || spread || (fresh && n->far_names);
    return r < 0 ? err_wrap(err, "network %s", n->name) : 0;
}

int engine_network_far(struct engine *e, const char *network, const struct net_far *list, size_t count,
                       const json_t *names, struct err *err)
{
    bool named = false;
    pthread_mutex_lock(&e->lock);
    int r = set_locked(e, network, list, count, names, &named, err);
    pthread_mutex_unlock(&e->lock);
    if (named)
        network__push_names(e, &(struct err){0});
    return r;
}
