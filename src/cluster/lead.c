/* How a manager comes to lead, and how it ceases to. */
#include "cluster/managers_priv.h"

#include "base/log.h"
#include "cluster/session.h"
#include "store/node.h"

#include <time.h>

/* A leader that answers from its memory must not be one that was replaced. It was not when a batch began
 * that has the fence of its epoch and was committed. That stays so for LEASE_MS: another leader must have
 * that batch in its log (Raft, 5.4.1), so it has heard from this one after the batch began, and a member asks
 * for votes only when an election's time has gone by since. That is 15 times what a message takes
 * (cowsql_node_set_network_latency_ms); a lease is half of it. Its time is CLOCK_BOOTTIME, which stops
 * neither for a process that stands still nor for a machine that sleeps. Without a lease such a batch is
 * committed, one for all who ask meanwhile.
 *
 * Only a lead that is handed over knows no election: whoever hands it over ends the lease before. (A store
 * that somebody else tells to end, with SIGTERM to its process alone, does not: then answers of LEASE_MS may
 * be old.) */
enum { LEASE_MS = STORE_LATENCY_MS * 15 / 2 };

/* --- What was confirmed --- */

int64_t managers__now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

void managers__committed(struct cluster *c, int64_t epoch, int64_t begin_ns)
{
    struct managers *m = __atomic_load_n(&c->manager, __ATOMIC_ACQUIRE);
    if (!m)
        return;
    SCOPED_LOCK(locked, &m->lock);
    if (m->no_lease || (m->lease_epoch == epoch && m->lease_begin_ns > begin_ns))
        return;
    m->lease_epoch = epoch;
    m->lease_begin_ns = begin_ns;
}

void lead__end_lease(struct managers *m)
{
    SCOPED_LOCK(locked, &m->lock);
    m->no_lease = true;
    m->lease_begin_ns = 0;
}

void lead__close(struct managers *m)
{
    lead__end_lease(m);
    SCOPED_LOCK(locked, &m->lock);
    m->closed = true;
    while (m->confirms)
        pthread_cond_wait(&m->confirmed, &m->lock);
}

static bool has_lease(const struct managers *m, int64_t epoch)
{
    return m->lease_begin_ns && m->lease_epoch == epoch &&
           managers__now() - m->lease_begin_ns < LEASE_MS * NS_PER_MS;
}

/* Its turn: m->confirms is set, m->lock is held, but for the batch. */
static void confirm(struct managers *m, int64_t epoch)
{
    const struct store_value number = STORE_I64(epoch);
    const struct store_statement fence = store_fence(&number);
    struct err err = {0};
    pthread_mutex_unlock(&m->lock);
    int64_t begin_ns = managers__now();
    int r = store_batch(m->store, &fence, 1, STORE_DURABLE, &err);
    if (r == 0)
        managers__committed(m->cluster, epoch, begin_ns);
    else if (r == -ERR_NOT_LEADER)
        managers__doubt(m->cluster);
    pthread_mutex_lock(&m->lock);
    m->confirm_err = err;
    m->confirm_err.code = r < 0 ? err.code : 0;
    m->confirms = false;
    pthread_cond_broadcast(&m->confirmed);
}

int cluster_confirm(struct cluster *c, struct err *err)
{
    struct managers *m = __atomic_load_n(&c->manager, __ATOMIC_ACQUIRE);
    if (!m)
        return 0;
    pthread_mutex_lock(&c->lock);
    bool leads = c->role == ROLE_LEADS && c->epoch && c->store == m->store;
    int64_t epoch = c->epoch;
    pthread_mutex_unlock(&c->lock);
    if (!leads)
        return managers__no_leader(err);
    SCOPED_LOCK(locked, &m->lock);
    uint64_t before = m->confirm_number; /* one that has begun may be older than what this call is to see */
    while (!has_lease(m, epoch)) {
        if (m->closed)
            return managers__no_leader(err);
        if (m->confirms) {
            pthread_cond_wait(&m->confirmed, &m->lock);
            continue;
        }
        if (m->confirm_number > before)
            return m->confirm_err.code ? managers__no_leader(err) : 0;
        m->confirms = true;
        m->confirm_number++;
        confirm(m, epoch);
    }
    return 0;
}

/* --- The lead --- */

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
    c->epoch = c->heard_epoch = epoch;
    c->heard_ns = time_monotonic_ns();
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
    pthread_mutex_lock(&m->lock);
    m->no_lease = false;
    pthread_mutex_unlock(&m->lock);
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
