/* Addresses of networks that are kept for somebody, and that no container gets. */
#include "engine/spread_priv.h"

enum { KEY_BYTES_MAX = 255, RESERVATIONS_MAX = 16384 };

void reserve__free(void *reservation)
{
    struct reservation *r = reservation;
    if (!r)
        return;
    free(r->address);
    free(r->address6);
    free(r);
}

static int load_row(void *context, const struct store_value *v, size_t count, struct err *err)
{
    struct engine *e = context;
    struct network *n = map_get(&e->networks, v[0].bytes);
    if (!n)
        return 0;
    struct reservation *r = NEW(struct reservation);
    r->address = mem_strdup(v[2].bytes);
    r->address6 = v[3].size ? mem_strdup(v[3].bytes) : NULL;
    map_put(&n->reserved, v[1].bytes, r);
    return 0;
}

int reserve__load_all(struct engine *e, struct err *err)
{
    return store_query(e->store, "SELECT network, key, address, address6 FROM reservations ORDER BY rowid",
                       NULL, 0, load_row, e, err);
}

void reserve__add_taken(const struct network *n, bool ipv6, char ***taken)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&n->reserved, &i));) {
        const struct reservation *r = entry->value;
        const char *address = ipv6 ? r->address6 : r->address;
        if (address)
            strv_add(taken, address);
    }
}

const struct reservation *reserve__find(const struct network *n, const char *address)
{
    size_t length = strcspn(address, "/");
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&n->reserved, &i));) {
        const struct reservation *r = entry->value;
        if (strlen(r->address) == length && strncmp(r->address, address, length) == 0)
            return r;
    }
    return NULL;
}

static int check(const struct network *n, const char *key, struct err *err)
{
    if (str_empty(key) || strlen(key) > KEY_BYTES_MAX)
        return err_set(err, ERR_INVALID, "the key of a reserved address must be 1 to %d bytes",
                       KEY_BYTES_MAX);
    if (!n->is_bridge || !n->subnet_count)
        return err_set(err, ERR_INVALID,
                       "network %s cannot have addresses of services: it is of the driver \"%s\"", n->name,
                       n->driver);
    if (n->reserved.count >= RESERVATIONS_MAX)
        return err_set(err, ERR_LIMIT, "network %s has %d reserved addresses already", n->name,
                       RESERVATIONS_MAX);
    return 0;
}

static int insert(struct engine *e, const struct network *n, const char *key, const struct reservation *r,
                  struct err *err)
{
    struct store_value values[] = {STORE_STR(n->id), STORE_STR(key), STORE_STR(r->address),
                                   STORE_STR(r->address6 ? r->address6 : "")};
    struct store_statement s = {
        "INSERT INTO reservations (network, key, address, address6) VALUES (?, ?, ?, ?)", values, 4, 1};
    return store_batch(e->store, &s, 1, STORE_DURABLE, err);
}

static char *with_length(const struct network *n, const char *address)
{
    const struct subnet *s = network__subnet_of(n, address);
    return str_printf("%s%s", address, s ? strchr(s->cidr, '/') : "");
}

static int release(struct engine *e, struct network *n, const char *key, struct err *err)
{
    const struct reservation *there = map_get(&n->reserved, key);
    const char *user = spread__user(e, n, there->address);
    if (user)
        return err_set(err, ERR_CONFLICT, "address %s of network %s is that of service %s", there->address,
                       n->name, user);
    struct store_value values[] = {STORE_STR(n->id), STORE_STR(key)};
    struct store_statement s = {"DELETE FROM reservations WHERE network = ? AND key = ?", values, 2, -1};
    int r = store_batch(e->store, &s, 1, STORE_DURABLE, err);
    if (r == 0)
        map_remove(&n->reserved, key);
    return r;
}

/* `wished`: "", or the address. */
static int reserve(struct engine *e, struct network *n, const char *key, const char *wished, struct err *err)
{
    int r = check(n, key, err);
    if (r < 0)
        return r;
    struct reservation *fresh = NEW(struct reservation);
    r = network__free_address(n, false, wished, &fresh->address, err);
    if (r == 0)
        r = network__free_address(n, true, "", &fresh->address6, err);
    if (r == 0)
        r = insert(e, n, key, fresh, err);
    if (r < 0) {
        reserve__free(fresh);
        return err_wrap(err, "network %s", n->name);
    }
    map_put(&n->reserved, key, fresh);
    return 0;
}

int engine_network_hold(struct engine *e, const char *network, const char *key, const char *address,
                        struct err *err)
{
    _cleanup_free_ char *bare = mem_strndup(address, strcspn(address, "/"));
    SCOPED_LOCK(locked, &e->lock);
    struct network *n = network__find(e, network, err);
    if (!n)
        return -err->code;
    const struct reservation *there = str_empty(key) ? NULL : map_get(&n->reserved, key);
    if (there && str_eq(there->address, bare))
        return 0;
    if (!network__subnet_of(n, bare))
        return err_set(err, ERR_INVALID, "network %s: %.50s is not an address of its subnet", n->name, bare);
    int r = there ? release(e, n, key, err) : 0;
    if (r == 0)
        r = reserve(e, n, key, bare, err);
    return r == -ERR_DENIED ? -(int)(err->code = ERR_CONFLICT) : r;
}

int engine_network_held(struct engine *e, const char *network, char ***ret, struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    const struct network *n = network__find(e, network, err);
    struct map_entry *entry;
    char **list = NULL;
    if (!n)
        return -err->code;
    for (size_t i = 0; (entry = map_next(&n->reserved, &i));)
        strv_add(&list, entry->key);
    *ret = list;
    return 0;
}

int engine_network_reserve(struct engine *e, const char *network, const char *key, char **ret,
                           struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    struct network *n = network__find(e, network, err);
    if (!n)
        return -err->code;
    const struct reservation *there = str_empty(key) ? NULL : map_get(&n->reserved, key);
    if (there) {
        *ret = with_length(n, there->address);
        return 0;
    }
    int r = reserve(e, n, key, "", err);
    if (r < 0)
        return r;
    there = map_get(&n->reserved, key);
    *ret = with_length(n, there->address);
    return 0;
}

int engine_network_release(struct engine *e, const char *network, const char *key, struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    struct network *n = network__find(e, network, err);
    if (!n)
        return -err->code;
    const struct reservation *there = str_empty(key) ? NULL : map_get(&n->reserved, key);
    if (!there)
        return err_set(err, ERR_NOT_FOUND, "network %s has no address reserved for \"%.255s\"", n->name,
                       key ? key : "");
    return release(e, n, key, err);
}
