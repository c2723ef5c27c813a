#include "cluster/managers_priv.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/roles.h"
#include "store/probe.h"

#include <unistd.h>

enum {
    LOOK_MS = 100,
    NO_LEADER_MS = 2000,
    START_MS = 20000, /* until a member that was started leads a store of one */
};

bool managers__replicated(const struct cluster *c)
{
    return __atomic_load_n(&c->manager, __ATOMIC_ACQUIRE) != NULL;
}

int managers__no_leader(struct err *err)
{
    return err_set(err, ERR_NO_MAJORITY,
                   "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that "
                   "too few managers are online. Make sure more than half of the managers are online.");
}

/* --- store.json --- */

static char *record_path(const struct cluster *c)
{
    return str_printf("%s/store.json", c->dir);
}

static int record_write(const struct managers *m, bool moving, struct err *err)
{
    _cleanup_free_ char *path = record_path(m->cluster);
    json_t *others = json_array();
    STRV_FOREACH (o, m->others)
        json_array_append_new(others, json_string(*o));
    _cleanup_json_ json_t *doc =
        json_pack("{s:s, s:o, s:b}", "address", m->address, "others", others, "moving", moving);
    _cleanup_free_ char *text = json_format(doc);
    return file_replace(path, text, strlen(text), 0600, true, err);
}

static void record_remove(const struct cluster *c)
{
    _cleanup_free_ char *path = record_path(c);
    unlink(path);
}

/* --- The thread --- */

static void note_leader(struct managers *m, const char *leader)
{
    pthread_mutex_lock(&m->lock);
    if (*leader)
        m->led_ns = time_monotonic_ns();
    snprintf(m->leader, sizeof(m->leader), "%s", leader);
    pthread_mutex_unlock(&m->lock);
}

static bool take_doubt(struct managers *m)
{
    pthread_mutex_lock(&m->lock);
    bool doubt = m->doubt;
    m->doubt = false;
    pthread_mutex_unlock(&m->lock);
    return doubt;
}

static void act(struct managers *m, const char *leader, struct err *said)
{
    struct err err;
    bool own = str_eq(leader, m->address), nobody = !*leader;
    if (m->holds && (take_doubt(m) || (!own && !nobody) ||
                     (nobody && time_monotonic_ns() - m->led_ns > NO_LEADER_MS * NS_PER_MS)))
        lead__end(m);
    if (m->holds || !own)
        return;
    (void)take_doubt(m);
    if (lead__begin(m, &err) == 0)
        return;
    if (!str_eq(err.msg, said->msg))
        log_warning("managers: take the lead: %s", err.msg);
    *said = err;
}

static bool wait_ms(struct managers *m, int ms, bool *ret_paused)
{
    int64_t until_ns = time_monotonic_ns() + ms * NS_PER_MS;
    pthread_mutex_lock(&m->lock);
    if (!m->stopping && !m->doubt)
        cond_wait_until(&m->wake, &m->lock, until_ns);
    bool stopping = m->stopping;
    *ret_paused = m->paused;
    pthread_mutex_unlock(&m->lock);
    return !stopping;
}

static void *managers_main(void *context)
{
    struct managers *m = context;
    struct store_probe *probe = store_probe_new(m->address, &m->tls);
    int64_t started_ns = 0;
    struct err said = {0};
    bool paused;
    do {
        char leader[STORE_ADDRESS_BYTES] = "";
        managers__tend_child(m, &started_ns);
        if (store_probe_leader(probe, leader, &(struct err){0}) < 0)
            *leader = '\0';
        note_leader(m, leader);
        pthread_mutex_lock(&m->lock);
        paused = m->paused;
        pthread_mutex_unlock(&m->lock);
        if (!paused)
            act(m, leader, &said);
        if (!paused && m->holds)
            roles__reconcile(m->cluster);
    } while (wait_ms(m, LOOK_MS, &paused));
    store_probe_free(probe);
    lead__end_lease(m); /* the child hands the lead over */
    managers__end_child(m);
    return NULL;
}

/* --- Made and ended --- */

static struct managers *make(struct cluster *c, const char *member)
{
    struct managers *m = NEW(struct managers);
    m->cluster = c;
    snprintf(m->address, sizeof(m->address), "%s", member);
    m->directory = str_printf("%s/store", c->dir);
    identity__files(c, &m->files);
    m->tls = (struct tls_files){.authority = m->files.authority,
                                .certificate = m->files.certificate,
                                .key = m->files.key,
                                .revoked = m->files.revoked};
    m->member_list[0] = m->address;
    m->members = (struct store_members){m->member_list, m->tls, MANAGER_STORE_MS};
    pthread_mutex_init(&m->lock, NULL);
    cond_init(&m->wake);
    cond_init(&m->confirmed);
    return m;
}

static void discard(struct managers *m)
{
    free(m->directory);
    strv_free(m->others);
    identity__files_done(&m->files);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->wake);
    pthread_cond_destroy(&m->confirmed);
    free(m);
}

static void set_manager(struct cluster *c, struct managers *m)
{
    __atomic_store_n(&c->manager, m, __ATOMIC_RELEASE);
}

static void begin(struct managers *m)
{
    m->led_ns = time_monotonic_ns();
    must(pthread_create(&m->thread, NULL, managers_main, m) == 0);
}

static void go_on(struct managers *m)
{
    SCOPED_LOCK(locked, &m->lock);
    m->paused = false;
}

static void stop_thread(struct managers *m)
{
    pthread_mutex_lock(&m->lock);
    m->stopping = true;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->thread, NULL);
}

/* Whoever asked for the leader at this moment still has it. */
static void retire(struct managers *m)
{
    struct cluster *c = m->cluster;
    set_manager(c, NULL);
    m->retired = c->retired;
    c->retired = m;
}

void managers__close(struct cluster *c)
{
    struct managers *m = c->manager;
    if (!m)
        return;
    stop_thread(m);
    lead__close(m);
    if (m->before != c->store)
        store_close(m->before);
    if (m->store != c->store)
        store_close(m->store);
    retire(m);
}

void managers__done(struct cluster *c)
{
    managers__close(c);
    while (c->retired) {
        struct managers *m = c->retired;
        c->retired = m->retired;
        discard(m);
    }
}

/* The move had begun when the process ended. The file says whether anything was copied: when not, it can be
 * opened, and goes on. */
static int end_move(struct managers *m, struct err *err)
{
    _cleanup_free_ char *path = cluster__db_path(m->cluster);
    int64_t until_ns = time_monotonic_ns() + START_MS * NS_PER_MS;
    int r;
    do
        r = store_members_restore(&m->members, path, err);
    while (r == -ERR_NO_MAJORITY && time_monotonic_ns() < until_ns);
    return r == -ERR_CONFLICT ? 0 : r; /* not empty: it had ended */
}

int managers__open(struct cluster *c, struct err *err)
{
    _cleanup_free_ char *path = record_path(c);
    _cleanup_json_ json_t *doc = NULL;
    int r = json_parse_file(path, &doc, err);
    if (r == -ERR_NOT_FOUND)
        return 0;
    const char *address = json_str(doc, "address");
    bool moving = json_bool(doc, "moving");
    if (r == 0 && !*address)
        r = err_set(err, ERR_CORRUPT, "%s does not say which member of the store this is", path);
    if (r < 0)
        return r;
    if (moving && cluster__open_file(c, &(struct err){0}) == 0) {
        unlink(path);
        return 0;
    }
    struct managers *m = make(c, address);
    r = json_get_strv(doc, "", "others", &m->others, err);
    if (r < 0) {
        discard(m);
        return r;
    }
    m->paused = true;
    c->role = ROLE_FOLLOWS; /* until the members say otherwise */
    set_manager(c, m);
    begin(m);
    if (moving) {
        r = end_move(m, err);
        if (r == 0)
            r = record_write(m, false, err);
    }
    return r < 0 ? err_wrap(err, "take up the managers' store again") : 0;
}

void managers__start(struct cluster *c)
{
    if (c->manager)
        go_on(c->manager);
}

/* --- One manager becomes several --- */

static int wait_for_member(struct managers *m, struct err *err)
{
    int64_t until_ns = time_monotonic_ns() + START_MS * NS_PER_MS;
    int r;
    do {
        struct store_member *list = NULL;
        size_t n;
        r = store_members_list(&m->members, &list, &n, err);
        free(list);
    } while (r < 0 && r != -ERR_INVALID && time_monotonic_ns() < until_ns);
    return r < 0 ? err_wrap(err, "start the managers' store, see this daemon's log") : 0;
}

static int move(struct managers *m, struct err *err)
{
    struct cluster *c = m->cluster;
    struct err later;
    int64_t epoch = 0;
    int r = wait_for_member(m, err);
    if (r == 0)
        r = store_move(c->store, &m->members, cluster__migrations, err);
    if (r < 0)
        return r;
    /* There is no way back from here: what fails now, the thread or the next start does again. */
    if (record_write(m, false, &later) < 0 || store_lead(c->store, m->address, &epoch, &later) < 0) {
        log_warning("managers: %s", later.msg);
        m->doubt = true;
    }
    SCOPED_LOCK(locked, &c->lock);
    c->epoch = epoch;
    m->store = c->store;
    m->holds = true;
    set_manager(c, m);
    return 0;
}

int managers__replicate(struct cluster *c, const char *address, struct err *err)
{
    char member[STORE_ADDRESS_BYTES];
    SCOPED_LOCK(change, &c->change_lock);
    if (c->manager)
        return 0;
    int r = managers__member(address, member, err);
    if (r < 0)
        return r;
    struct managers *m = make(c, member);
    m->paused = true;
    r = record_write(m, true, err);
    if (r == 0) {
        begin(m);
        r = move(m, err);
        if (r < 0)
            stop_thread(m);
    }
    if (r < 0) {
        record_remove(c);
        discard(m);
        return err_wrap(err, "move the swarm's state to a store of several managers");
    }
    go_on(m);
    log_info("the swarm's state is with the managers' store, of which this is the first member");
    return 0;
}

static int take_key(struct cluster *c, const char *text, struct err *err)
{
    _cleanup_str_ struct str key = STR_INIT;
    int r = base64_decode(text, &key, err);
    return r == 0 ? keys__take(c, key.data, key.len, err) : r;
}

int managers__begin(struct cluster *c, const json_t *answer, struct err *err)
{
    char member[STORE_ADDRESS_BYTES], other[STORE_ADDRESS_BYTES];
    json_t *one;
    size_t i;
    must(!c->manager);
    int r = managers__member(c->address, member, err);
    if (r == 0)
        r = take_key(c, json_str(answer, "secrets_key"), err);
    if (r < 0)
        return r;
    struct managers *m = make(c, member);
    m->paused = true;
    json_array_foreach (json_object_get(answer, "managers"), i, one)
        if (managers__other_port(json_str(one, "address"), 1, other) && !str_eq(other, member))
            strv_add(&m->others, other);
    if (!m->others)
        r = err_set(err, ERR_PROTOCOL, "the leader names no other manager whose store can be joined");
    if (r == 0)
        r = record_write(m, false, err);
    if (r < 0) {
        discard(m);
        return r;
    }
    set_manager(c, m);
    begin(m);
    return 0;
}

/* A file that was moved is not opened any more. */
static void new_file(struct cluster *c)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    _cleanup_free_ char *path = cluster__db_path(c);
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        _cleanup_free_ char *one = str_printf("%s%s", path, ends[i]);
        unlink(one);
    }
    if (cluster__open_file(c, &err) < 0)
        log_error("cluster: %s", err.msg);
}

static void remove_member(struct cluster *c)
{
    _cleanup_free_ char *directory = str_printf("%s/store", c->dir);
    record_remove(c);
    file_remove_tree(directory, &(struct err){0});
}

void managers__discard(struct cluster *c)
{
    must(!c->manager && !c->store);
    remove_member(c);
    new_file(c);
}

void managers__forget(struct cluster *c)
{
    struct managers *m = c->manager;
    if (!m)
        return;
    stop_thread(m);
    lead__close(m);
    if (m->holds) /* the last one leaves */
        loop__stop(c, -1);
    SCOPED_LOCK(locked, &c->lock);
    if (m->before)
        c->store = m->before;
    else if (c->store == m->store)
        c->store = NULL;
    store_close(m->store);
    m->store = m->before = NULL;
    retire(m);
    remove_member(c);
    if (!c->store)
        new_file(c);
}

void managers__doubt(struct cluster *c)
{
    struct managers *m = c->manager;
    if (!m)
        return;
    SCOPED_LOCK(locked, &m->lock);
    m->doubt = true;
    pthread_cond_signal(&m->wake);
}
