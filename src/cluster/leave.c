/* A node leaves its swarm: its containers, networks and files go. */
#include "cluster/cluster_priv.h"

#include "base/log.h"
#include "cluster/identity.h"
#include "cluster/managers.h"
#include "cluster/peer.h"
#include "cluster/port.h"
#include "cluster/roles.h"
#include "cluster/traffic.h"

enum { LEAVE_TIMEOUT_MS = 3000 };

static void remove_traces(struct cluster *c)
{
    _cleanup_json_ json_t *containers = NULL,
                          *filters = json_pack("{s:[s]}", "label", "com.docker.swarm.task.id");
    json_t *one;
    size_t i;
    if (engine_container_list(c->engine, true, 0, false, filters, &containers, &(struct err){0}) == 0)
        json_array_foreach (containers, i, one)
            engine_container_remove(c->engine, json_str(one, "Id"), true, true, &(struct err){0});
    traffic__apply(c, NULL, NULL, &(struct err){0});
}

/* So that its tasks are replaced at once; a leader that does not hear it finds out by itself. */
static void tell_of_leaving(struct cluster *c)
{
    struct err err;
    if (peer_call_leader(c, "POST", "/cluster/leave", NULL, LEAVE_TIMEOUT_MS, NULL, &err) < 0)
        log_warning("cluster: tell the leader that this node leaves: %s", err.msg);
}

/* The other managers cannot be told: docker node rm there. */
static int leave_locked(struct cluster *c, bool force, struct err *err)
{
    if (!force)
        return err_set(
            err, ERR_UNAVAILABLE,
            "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this "
            "message.");
    managers__discard(c);
    SCOPED_LOCK(locked, &c->lock);
    remove_traces(c);
    identity__forget(c);
    c->locked = false;
    return 0;
}

int cluster_leave(struct cluster *c, bool force, struct err *err)
{
    SCOPED_LOCK(change, &c->change_lock);
    if (c->locked)
        return leave_locked(c, force, err);
    pthread_mutex_lock(&c->lock);
    enum cluster_role role = c->role;
    pthread_mutex_unlock(&c->lock);
    if (role == ROLE_NONE)
        return err_set(err, ERR_UNAVAILABLE, "This node is not part of a swarm");
    if (!force && role != ROLE_WORKS)
        return err_set(
            err, ERR_UNAVAILABLE,
            "You are attempting to leave the swarm on a node that is participating as a manager. Removing "
            "the last manager erases all current state of the swarm. Use `--force` to ignore this message. ");
    if (role == ROLE_WORKS) {
        loop__pause(c); /* who is heard after it has left is there again */
        c->cancel = false;
        tell_of_leaving(c);
    }
    bool replicated = managers__replicated(c);
    if (replicated) { /* the managers' thread may need the lock */
        pthread_mutex_unlock(&c->change_lock);
        roles__keep(c, true); /* that it is no manager any more is not to be followed meanwhile */
        roles__leave(c);
        managers__forget(c);
        pthread_mutex_lock(&c->change_lock);
    }
    loop__stop(c, -1);
    port__close(c, 0);
    SCOPED_LOCK(locked, &c->lock);
    c->role_kept = false;
    const struct store_statement erase = {.sql = "DELETE FROM objects", .expect_changes = -1};
    int r = store_batch(c->store, &erase, 1, STORE_DURABLE, err);
    if (r < 0) {
        loop__start(c, NULL);
        return r;
    }
    remove_traces(c);
    cluster__free_all(c);
    identity__forget(c);
    return 0;
}
