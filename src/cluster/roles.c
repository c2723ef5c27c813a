/* Managers that become workers, workers that become managers, and managers that leave.
 *
 * A node's spec says what it is to be (docker node promote, demote), n->manager what it is. The leader brings
 * the second after the first: who is to manage no more is taken out of the managers' store before it hears of
 * it, because its vote may be needed for that. The node finds its role in what it is assigned, and fetches
 * the certificate of it. */
#include "cluster/roles.h"

#include "base/file.h"
#include "base/log.h"
#include "cluster/autolock.h"
#include "cluster/identity.h"
#include "cluster/managers.h"
#include "cluster/peer.h"
#include "cluster/pki.h"
#include "cluster/port.h"
#include "cluster/session.h"

#include <unistd.h>

enum { VOTERS_MS = 100, CALL_MS = 10000, LEAVE_TRIES = 40, LEAVE_PAUSE_MS = 250 };

/* --- The leader --- */

static bool is_to_manage(const struct node *n)
{
    return str_eq(json_str(n->o.spec, "Role"), "manager");
}

static struct node *find_change(struct cluster *c)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        struct node *n = e->value;
        if (is_to_manage(n) != n->manager && (is_to_manage(n) || !n->role_failed))
            return n;
    }
    return NULL;
}

static int set_manager(struct cluster *c, struct node *n, bool manager, struct err *err)
{
    struct change ch = {0};
    n->manager = manager;
    n->votes = n->role_failed = false;
    cluster__touch(c, &n->o);
    change_put(&ch, &n->o);
    int r = change_commit(c, &ch, true, err);
    if (r < 0) {
        n->manager = !manager;
        return r;
    }
    identity__know_manager(c, n->o.id, manager ? n->door : NULL);
    place__node_changed(c, n);
    assign__changed(c, NULL); /* all know the managers */
    log_info("cluster: node %s (%s) is a %s", n->o.id, n->o.name, manager ? "manager" : "worker");
    return 0;
}

static int demote(struct cluster *c, const char *id, const char *door, struct err *err)
{
    if (str_eq(id, c->self)) /* the next leader does it */
        return managers__hand_over(c, err);
    int r = managers__remove(c, door, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(locked, &c->lock);
    struct node *n = map_get(&c->objects[CLUSTER_NODE], id);
    return n && n->manager && c->role == ROLE_LEADS ? set_manager(c, n, false, err) : 0;
}

/* A manager that has just come is not to be relied on before it votes. */
static void look_at_voters(struct cluster *c)
{
    struct map_entry *e;
    bool due = false;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        const struct node *n = e->value;
        due = due || (n->manager && !n->votes);
    }
    pthread_mutex_unlock(&c->lock);
    if (!due || time_monotonic_ns() - c->voters_ns < VOTERS_MS * NS_PER_MS)
        return;
    c->voters_ns = time_monotonic_ns();
    _cleanup_strv_ char **voters = managers__voters(c, &(struct err){0});
    SCOPED_LOCK(locked, &c->lock);
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        struct node *n = e->value;
        n->votes = n->manager && strv_has(voters, n->door);
    }
}

void roles__reconcile(struct cluster *c)
{
    look_at_voters(c);
    char id[ID_BYTES];
    struct err err;
    pthread_mutex_lock(&c->lock);
    struct node *n = find_change(c);
    bool promote = n && is_to_manage(n);
    int r = promote ? set_manager(c, n, true, &err) : 0;
    _cleanup_free_ char *door = n && !promote ? mem_strdup(n->door) : NULL;
    if (n)
        snprintf(id, sizeof(id), "%s", n->o.id);
    pthread_mutex_unlock(&c->lock);
    if (door)
        r = demote(c, id, door, &err);
    if (r == 0)
        return;
    log_warning("cluster: the role of node %s: %s", id, err.msg);
    SCOPED_LOCK(locked, &c->lock);
    n = map_get(&c->objects[CLUSTER_NODE], id);
    if (n) /* until it is asked for again, or another leads */
        n->role_failed = true;
}

size_t roles__count(struct cluster *c)
{
    struct map_entry *e;
    size_t count = 0;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));)
        count += is_to_manage(e->value);
    return count;
}

int roles__left(struct cluster *c, const char *id, struct err *err)
{
    pthread_mutex_lock(&c->lock);
    const struct node *n = map_get(&c->objects[CLUSTER_NODE], id);
    _cleanup_free_ char *door = n && n->manager ? mem_strdup(n->door) : NULL;
    pthread_mutex_unlock(&c->lock);
    if (!door)
        return 0;
    int r = managers__remove(c, door, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(locked, &c->lock);
    struct node *left = map_get(&c->objects[CLUSTER_NODE], id);
    if (!left)
        return 0;
    json_set_str(left->o.spec, "Role", "worker");
    return set_manager(c, left, false, err);
}

/* --- The node --- */

static int take_manager(struct cluster *c, const json_t *answer, const char *key, struct err *err)
{
    int r = autolock__follow(c, answer, err);
    if (r == 0)
        r = identity__write(c, NULL, json_str(answer, "certificate"), key,
                            json_string_value(json_object_get(answer, "authority_key")), err);
    SCOPED_LOCK(locked, &c->lock);
    if (r == 0)
        r = managers__begin(c, answer, err);
    if (r == 0) {
        c->role = ROLE_FOLLOWS;
        r = identity__save(c, err);
    }
    return r;
}

static int take_worker(struct cluster *c, const json_t *answer, const char *key, struct err *err)
{
    _cleanup_free_ char *authority_key = identity__path(c, "ca.key");
    int r = identity__write(c, NULL, json_str(answer, "certificate"), key, NULL, err);
    if (r < 0)
        return r;
    managers__forget(c);
    unlink(authority_key);
    r = keys__leave(c, err);
    if (r == 0) /* a worker has nothing left that is to be locked */
        r = seal__set(c, NULL, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(locked, &c->lock);
    c->role = ROLE_WORKS;
    return identity__save(c, err);
}

static int change_role(struct cluster *c, bool manager, struct err *err)
{
    _cleanup_free_ char *csr = NULL, *key = NULL;
    _cleanup_json_ json_t *answer = NULL, *body = NULL;
    int r = pki_request(&csr, &key, err);
    if (r < 0)
        return r;
    body = json_pack("{s:s}", "csr", csr);
    r = peer_call_leader(c, "POST", "/cluster/renew", body, CALL_MS, &answer, err);
    if (r == 0 && !str_eq(json_str(answer, "role"), manager ? "manager" : "worker"))
        return 0; /* it has changed again, and what is assigned says so next */
    if (r == 0)
        r = manager ? take_manager(c, answer, key, err) : take_worker(c, answer, key, err);
    if (r < 0)
        return r;
    port__renewed(c);
    managers__start(c);
    log_info("this node is a %s of the swarm", manager ? "manager" : "worker");
    return 0;
}

static void *change_main(void *context)
{
    struct cluster *c = context;
    struct err err;
    bool manager = c->role == ROLE_WORKS;
    if (change_role(c, manager, &err) < 0)
        log_warning("cluster: become a %s: %s", manager ? "manager" : "worker", err.msg);
    SCOPED_LOCK(locked, &c->lock);
    c->role_changes = false;
    return NULL;
}

void roles__follow(struct cluster *c, bool manager)
{
    if (manager == (c->role != ROLE_WORKS) || c->role == ROLE_LEADS || c->role_changes || c->role_kept)
        return;
    roles__wait(c);
    c->role_changes = c->role_thread_made = true;
    must(pthread_create(&c->role_thread, NULL, change_main, c) == 0);
}

void roles__keep(struct cluster *c, bool kept)
{
    pthread_mutex_lock(&c->lock);
    c->role_kept = kept;
    pthread_mutex_unlock(&c->lock);
    if (kept)
        roles__wait(c);
}

void roles__wait(struct cluster *c)
{
    if (c->role_thread_made)
        pthread_join(c->role_thread, NULL);
    c->role_thread_made = false;
}

void roles__leave(struct cluster *c)
{
    struct err err;
    int r = -ERR_NO_MAJORITY;
    /* The lead first; its next holder takes this manager out of the store. */
    for (int i = 0; r < 0 && i < LEAVE_TRIES; i++) {
        if (c->role == ROLE_LEADS && managers__hand_over(c, &err) == -ERR_NOT_FOUND)
            return; /* it was the last one */
        r = peer_call_leader(c, "POST", "/cluster/leave", NULL, CALL_MS, NULL, &err);
        if (r < 0)
            time_sleep_ns(LEAVE_PAUSE_MS * NS_PER_MS);
    }
    if (r < 0)
        log_warning("cluster: the others do not know that this manager has left: %s", err.msg);
}
