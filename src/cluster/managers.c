#include "cluster/managers_priv.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "cluster/roles.h"
#include "store/probe.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LOOK_MS = 100,
    NO_LEADER_MS = 2000,
    RESTART_MS = 1000, /* `drover store run` itself has longer pauses */
    VOTE_MS = 30000,   /* until one that joins is waited for no more */
    START_MS = 20000,  /* until a member that was started leads a store of one */
    END_MS = 8000,     /* it hands over the lead, and waits for its connections */
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

/* The port above, or with -1 the one below. False: it is no address. */
static bool other_port(const char *address, int step, char ret[STORE_ADDRESS_BYTES])
{
    const char *colon = strrchr(address, ':');
    int64_t port;
    if (!colon || parse_i64(colon + 1, 1, 65535, &port, NULL) < 0 || port + step < 1 || port + step > 65535)
        return false;
    int n = snprintf(ret, STORE_ADDRESS_BYTES, "%.*s:%d", (int)(colon - address), address, (int)port + step);
    return n > 0 && n < STORE_ADDRESS_BYTES;
}

static int member_address(const char *address, char ret[STORE_ADDRESS_BYTES], struct err *err)
{
    return other_port(address, 1, ret)
               ? 0
               : err_set(err, ERR_INVALID,
                         "\"%.100s\" cannot be a manager's address: its port is followed by that of the "
                         "managers' store, and the last is 65535",
                         address);
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

/* --- The child --- */

static char **command(const struct managers *m)
{
    char **argv = NULL;
    strv_add(&argv, "drover");
    strv_add(&argv, "store");
    strv_add(&argv, "run");
    strv_add(&argv, "--address");
    strv_add(&argv, m->address);
    strv_add(&argv, "--ca");
    strv_add(&argv, m->tls.authority);
    strv_add(&argv, "--cert");
    strv_add(&argv, m->tls.certificate);
    strv_add(&argv, "--key");
    strv_add(&argv, m->tls.key);
    strv_add(&argv, "--revoked");
    strv_add(&argv, m->tls.revoked);
    if (!m->others)
        strv_add(&argv, "--bootstrap");
    STRV_FOREACH (o, m->others) {
        strv_add(&argv, "--join");
        strv_add(&argv, *o);
    }
    strv_add(&argv, m->directory);
    return argv;
}

/* Only calls between fork and execve that are safe beside other threads. */
static _Noreturn void become_store(const char *path, char *const *argv, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent)
        execv(path, argv);
    _exit(127);
}

/* The kernel sends a child its PDEATHSIG when the thread ends that made it: only the managers' thread. */
static void start_child(struct managers *m)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_strv_ char **argv = command(m);
    struct err err;
    if (process_self_path(&path, &err) < 0) {
        log_error("managers: %s", err.msg);
        return;
    }
    pid_t parent = getpid(), child = fork();
    if (child == 0)
        become_store(path, argv, parent);
    if (child < 0)
        log_error("managers: start the store: %m");
    m->child = MAX(child, 0);
}

/* Starts it when there is none, at most every RESTART_MS. */
static void tend_child(struct managers *m, int64_t *started_ns)
{
    int status;
    if (m->child && waitpid(m->child, &status, WNOHANG) == m->child) {
        log_warning("managers: the store ended (%s %d)", WIFSIGNALED(status) ? "signal" : "status",
                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        m->child = 0;
    }
    int64_t now = time_monotonic_ns();
    if (!m->child && now - *started_ns >= RESTART_MS * NS_PER_MS) {
        *started_ns = now;
        start_child(m);
    }
}

static void end_child(struct managers *m)
{
    int64_t until_ns = time_monotonic_ns() + END_MS * NS_PER_MS;
    int status;
    if (!m->child)
        return;
    kill(m->child, SIGTERM);
    while (waitpid(m->child, &status, WNOHANG) == 0) {
        if (time_monotonic_ns() > until_ns)
            kill(m->child, SIGKILL); /* its own child goes with it */
        time_sleep_ns(10 * NS_PER_MS);
    }
    m->child = 0;
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
    int64_t started_ns = -RESTART_MS * NS_PER_MS;
    struct err said = {0};
    bool paused;
    do {
        char leader[STORE_ADDRESS_BYTES] = "";
        tend_child(m, &started_ns);
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
    end_child(m);
    return NULL;
}

/* --- Made and ended --- */

static struct managers *make(struct cluster *c, const char *member)
{
    struct managers *m = NEW(struct managers);
    m->cluster = c;
    snprintf(m->address, sizeof(m->address), "%s", member);
    m->directory = str_printf("%s/store", c->dir);
    m->tls = (struct tls_files){.authority = str_printf("%s/ca.pem", c->dir),
                                .certificate = str_printf("%s/node.pem", c->dir),
                                .key = str_printf("%s/node.key", c->dir),
                                .revoked = str_printf("%s/ca.crl", c->dir)};
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
    free((char *)m->tls.authority);
    free((char *)m->tls.certificate);
    free((char *)m->tls.key);
    free((char *)m->tls.revoked);
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
    int r = member_address(address, member, err);
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
    _cleanup_free_ char *path = str_printf("%s/secrets.key", c->dir);
    _cleanup_str_ struct str key = STR_INIT;
    int r = base64_decode(text, &key, err);
    if (r == 0 && key.len != sizeof(c->key))
        r = err_set(err, ERR_PROTOCOL, "the key of the swarm's secrets has %zu bytes, not %zu", key.len,
                    sizeof(c->key));
    if (r == 0)
        r = file_replace(path, key.data, key.len, 0600, true, err);
    if (r == 0)
        memcpy(c->key, key.data, key.len);
    return r;
}

int managers__begin(struct cluster *c, const json_t *answer, struct err *err)
{
    char member[STORE_ADDRESS_BYTES], other[STORE_ADDRESS_BYTES];
    json_t *one;
    size_t i;
    must(!c->manager);
    int r = member_address(c->address, member, err);
    if (r == 0)
        r = take_key(c, json_str(answer, "secrets_key"), err);
    if (r < 0)
        return r;
    struct managers *m = make(c, member);
    m->paused = true;
    json_array_foreach (json_object_get(answer, "managers"), i, one)
        if (other_port(json_str(one, "address"), 1, other) && !str_eq(other, member))
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

void managers__forget(struct cluster *c)
{
    _cleanup_free_ char *directory = str_printf("%s/store", c->dir);
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
    record_remove(c);
    file_remove_tree(directory, &(struct err){0});
    if (!c->store)
        new_file(c);
}

/* --- Members --- */

static int find_member(struct managers *m, const char *address, bool other, uint64_t *ret, struct err *err)
{
    struct store_member *list = NULL;
    size_t n = 0;
    bool found = false;
    int r = store_members_list(&m->members, &list, &n, err);
    for (size_t i = 0; r == 0 && i < n && !found; i++)
        if (str_eq(list[i].address, address) != other && (!other || list[i].role == STORE_VOTER)) {
            *ret = list[i].id;
            found = true;
        }
    free(list);
    return r < 0 || found ? r : err_set(err, ERR_NOT_FOUND, "the managers' store has no such member");
}

char **managers__voters(struct cluster *c, struct err *err)
{
    struct managers *m = c->manager;
    struct store_member *list = NULL;
    char **out = NULL, door[STORE_ADDRESS_BYTES];
    size_t n = 0;
    if (!m || store_members_list(&m->members, &list, &n, err) < 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (list[i].role == STORE_VOTER && other_port(list[i].address, -1, door))
            strv_add(&out, door);
    free(list);
    return out;
}

void managers__wait(struct cluster *c)
{
    int64_t until_ns = time_monotonic_ns() + VOTE_MS * NS_PER_MS;
    while (c->manager && time_monotonic_ns() < until_ns) {
        _cleanup_strv_ char **voters = managers__voters(c, &(struct err){0});
        if (strv_has(voters, c->address))
            return;
        time_sleep_ns(LOOK_MS * NS_PER_MS);
    }
    if (c->manager)
        log_warning("managers: the store of this manager does not vote yet, and it goes on trying");
}

int managers__remove(struct cluster *c, const char *address, struct err *err)
{
    struct managers *m = c->manager;
    char member[STORE_ADDRESS_BYTES];
    uint64_t id = 0;
    if (!m)
        return 0;
    int r = member_address(address, member, err);
    if (r == 0)
        r = find_member(m, member, false, &id, err);
    if (r == 0)
        r = store_members_remove(&m->members, id, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

int managers__hand_over(struct cluster *c, struct err *err)
{
    struct managers *m = c->manager;
    uint64_t id = 0;
    int r = m ? find_member(m, m->address, true, &id, err)
              : err_set(err, ERR_NOT_FOUND, "there is no other manager");
    if (r < 0)
        return r;
    lead__end_lease(m);
    return store_members_transfer(&m->members, id, err);
}

bool managers__leader(struct cluster *c, char ret[STORE_ADDRESS_BYTES])
{
    struct managers *m = c->manager;
    char member[STORE_ADDRESS_BYTES] = "";
    if (m) {
        SCOPED_LOCK(locked, &m->lock);
        snprintf(member, sizeof(member), "%s", m->leader);
    }
    if (*member && other_port(member, -1, ret))
        return true;
    *ret = '\0';
    return false;
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
