/* How a manager comes to lead, and how it ceases to. */
#include "cluster/managers_priv.h"

#include "base/log.h"
#include "cluster/session.h"

static int open_members(struct managers *m, struct err *err)
{
    return m->store ? 0 : store_open_members(&m->members, cluster__migrations, &m->store, err);
}

/* The epochs before are over when this returns: what is read after it, nobody else changes. */
static int take_state(struct managers *m, int64_t epoch, struct err *err)
{
    struct cluster *c = m->cluster;
    SCOPED_LOCK(locked, &c->lock);
    if (c->store != m->store)
        m->before = c->store;
    c->store = m->store;
    c->epoch = epoch;
    cluster__free_all(c);
    int r = cluster__load(c, err);
    c->role = r == 0 ? ROLE_LEADS : ROLE_FOLLOWS;
    if (r == 0)
        r = loop__start(c, err);
    if (r < 0)
        cluster__free_all(c);
    return r;
}

int lead__begin(struct managers *m, struct err *err)
{
    struct cluster *c = m->cluster;
    int64_t epoch;
    SCOPED_LOCK(change, &c->change_lock);
    int r = open_members(m, err);
    if (r == 0)
        r = store_lead(m->store, m->address, &epoch, err);
    if (r < 0)
        return r;
    loop__pause(c);
    r = take_state(m, epoch, err);
    if (r < 0)
        return r;
    m->holds = true;
    log_info("this manager leads the swarm (epoch %lld)", (long long)epoch);
    return 0;
}

void lead__end(struct managers *m)
{
    struct cluster *c = m->cluster;
    SCOPED_LOCK(change, &c->change_lock);
    loop__pause(c);
    SCOPED_LOCK(locked, &c->lock);
    cluster__free_all(c);
    c->store = m->before;
    c->epoch = 0;
    c->role = ROLE_FOLLOWS;
    m->holds = c->assignment_known = c->assignment_fresh = false;
    log_info("this manager does not lead the swarm any more");
    struct err err;
    if (session__load(c, &err) < 0 || loop__start(c, &err) < 0)
        log_error("cluster: %s", err.msg);
}
