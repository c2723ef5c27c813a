/* The serve side of names: writes the table, and keeps the DNS process alive.
 *
 * The process holds <state_dir>/dns.sock, a seqpacket socket. One connection to it stays open: its end tells
 * of the process's death, and "reload" on it is answered when the new table is in force, so that a container
 * started after net_names_set() finds the names. */
#include "net/dns_table.h"
#include "net/priv.h"

#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/timeutil.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LOG_BYTES_MAX = 1 << 20,
    START_DEADLINE_MS = 5000,
    ANSWER_DEADLINE_MS = 2000,
    RESTART_PAUSE_MS = 1000
};

struct net__names {
    struct dns_table table; /* guarded by net's lock, as the mirror is */
    char *path, *socket_path, *lock_path, *log_path;
    pthread_mutex_t lock; /* of what follows */
    int connection;       /* to the DNS process, or -EBADF */
    bool wanted;          /* the process is to run */
    bool watching, closing;
    pthread_t watcher;
    int wake; /* eventfd: the watcher looks at this struct again */
};

static bool port_free(uint16_t port, int type)
{
    _cleanup_close_ int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    return fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

/* Where the DNS process listens on each gateway address. Not 53, which a resolver of the host or a published
 * port may have; below the ephemeral ports; the same for the instance's life, as rules and process share it.
 */
static uint16_t port_choose(void)
{
    for (int i = 0; i < 100; i++) {
        uint16_t random;
        must(getrandom(&random, sizeof(random), 0) == sizeof(random));
        uint16_t port = (uint16_t)(20000 + random % 12000);
        if (port_free(port, SOCK_DGRAM) && port_free(port, SOCK_STREAM))
            return port;
    }
    return 20053;
}

int net__names_open(struct net *n, struct err *err)
{
    struct net__names *s = n->names = NEW(struct net__names);
    s->path = str_printf("%s/dns.table", n->state_dir);
    s->socket_path = str_printf("%s/dns.sock", n->state_dir);
    s->lock_path = str_printf("%s/dns.lock", n->state_dir);
    s->log_path = str_printf("%s/dns.log", n->state_dir);
    s->connection = -EBADF;
    pthread_mutex_init(&s->lock, NULL);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake < 0)
        return err_sys(err, errno, "create an eventfd");
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(s->path, DNS_TABLE_BYTES_MAX, &text, err);
    if (r == 0)
        r = dns_table_parse(str_get(&text), &s->table, err);
    if (r < 0 && r != -ERR_NOT_FOUND && r != -ERR_CORRUPT)
        return err_wrap(err, "read the table of names %s", s->path);
    if (r < 0) /* new, or written by another version: the caller sets all names soon */
        s->table = (struct dns_table){.port = port_choose()};
    n->dns_port = s->table.port;
    return 0;
}

static void wake(struct net__names *s)
{
    uint64_t one = 1;
    ssize_t ignored _unused_ = write(s->wake, &one, sizeof(one));
}

void net__names_done(struct net *n)
{
    struct net__names *s = n->names;
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    bool watching = s->watching;
    pthread_mutex_unlock(&s->lock);
    wake(s);
    if (watching)
        pthread_join(s->watcher, NULL);
    dns_table_done(&s->table);
    close_fd(s->connection);
    close_fd(s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s->socket_path);
    free(s->lock_path);
    free(s->log_path);
    free(s);
    n->names = NULL;
}

/* --- the process --- */

/* Another program that uses this library (a test) names it, since starting itself would run it once more. */
int net__binary_path(char **ret, struct err *err)
{
    const char *named = getenv("DROVER_BINARY");
    if (!str_empty(named)) {
        *ret = mem_strdup(named);
        return 0;
    }
    _cleanup_free_ char *self = NULL;
    int r = process_self_path(&self, err);
    if (r < 0)
        return r;
    /* An upgrade replaced the file: the new one is at the same place. */
    if (str_ends_with(self, " (deleted)"))
        self[strlen(self) - strlen(" (deleted)")] = '\0';
    const char *name = strrchr(self, '/');
    if (!name || !str_after(name, "/drover"))
        return err_set(err, ERR_UNAVAILABLE, "%s is not drover: set DROVER_BINARY to the one to run", self);
    *ret = take_ptr(self);
    return 0;
}

static int process_start(struct net__names *s, const char *state_dir, struct err *err)
{
    _cleanup_free_ char *binary = NULL;
    struct stat st;
    int r = net__binary_path(&binary, err);
    if (r < 0)
        return r;
    if (stat(s->log_path, &st) == 0 && st.st_size > LOG_BYTES_MAX)
        unlink(s->log_path);
    const char *const argv[] = {binary, "dns", state_dir, NULL};
    return process_spawn_daemon(argv, -EBADF, s->log_path, err);
}

static int try_connect(struct net__names *s)
{
    int fd, r = file_connect_unix(s->socket_path, SOCK_SEQPACKET, &fd, NULL);
    if (r < 0)
        return r;
    struct timeval patience = {.tv_sec = ANSWER_DEADLINE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    s->connection = fd;
    return 0;
}

/* Connects, starting the process when there is none. It listens only after it has read the table. The lock is
 * held; *ret_started tells that what is on disk is in force. */
static int process_ensure(struct net__names *s, const char *state_dir, bool *ret_started, struct err *err)
{
    *ret_started = false;
    if (s->connection >= 0 || try_connect(s) == 0)
        return 0;
    int64_t start = time_monotonic_ns(), pause = NS_PER_MS;
    int r = process_start(s, state_dir, err);
    while (r == 0 && try_connect(s) < 0) {
        if (time_monotonic_ns() - start > START_DEADLINE_MS * NS_PER_MS)
            return err_set(err, ERR_UNAVAILABLE, "the DNS process does not start: see %s", s->log_path);
        time_sleep_ns(pause);
        pause = MIN(pause * 2, 50 * NS_PER_MS);
        /* One that was just ending may have held the lock when ours looked. */
        if (pause == 50 * NS_PER_MS)
            r = process_start(s, state_dir, err);
    }
    *ret_started = r == 0;
    return r;
}

/* Ends a process that hangs. The number is sure to be its own: it holds the other end. */
static void peer_kill(int connection)
{
    struct ucred peer = {0};
    socklen_t length = sizeof(peer);
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || peer.pid <= 0)
        return;
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
    if (pidfd >= 0)
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

/* Sends one word and takes the answer. */
static int converse(struct net__names *s, const char *word, struct err *err)
{
    char answer[ERR_MESSAGE_BYTES];
    ssize_t n = send(s->connection, word, strlen(word), MSG_NOSIGNAL);
    if (n > 0)
        n = recv(s->connection, answer, sizeof(answer) - 1, 0);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN)
            peer_kill(s->connection);
        s->connection = close_fd(s->connection);
        return err_set(err, ERR_UNAVAILABLE, "the DNS process does not answer");
    }
    answer[n] = '\0';
    return str_eq(answer, "ok") ? 0 : err_set(err, ERR_SYSTEM, "the DNS process: %s", answer);
}

/* Restarts a process that died. */
static void *watch(void *context)
{
    struct net *n = context;
    struct net__names *s = n->names;
    int timeout = -1;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        bool closing = s->closing, started;
        struct err err = {0};
        if (!closing && s->wanted && s->connection < 0) {
            if (process_ensure(s, n->state_dir, &started, &err) < 0)
                log_warning("%s", err.msg);
            timeout = s->connection < 0 ? RESTART_PAUSE_MS : -1;
        }
        struct pollfd p[2] = {{.fd = s->wake, .events = POLLIN}, {.fd = s->connection, .events = POLLRDHUP}};
        pthread_mutex_unlock(&s->lock);
        if (closing)
            return NULL;
        poll(p, 2, timeout);
        uint64_t count;
        if (p[0].revents)
            while (read(s->wake, &count, sizeof(count)) > 0)
                ;
        pthread_mutex_lock(&s->lock);
        if (p[1].revents && s->connection == p[1].fd)
            s->connection = close_fd(s->connection);
        pthread_mutex_unlock(&s->lock);
    }
}

/* Waits until the process has let its lock go. */
static bool ended(const struct net__names *s)
{
    for (int64_t start = time_monotonic_ns(); time_monotonic_ns() - start < ANSWER_DEADLINE_MS * NS_PER_MS;) {
        _cleanup_close_ int lock = -EBADF;
        if (file_lock(s->lock_path, &lock, NULL) == 0)
            return true;
        time_sleep_ns(NS_PER_MS);
    }
    return false;
}

/* The table on disk comes into force. */
static int process_reload(struct net *n, struct err *err)
{
    struct net__names *s = n->names;
    bool started;
    int r;
    pthread_mutex_lock(&s->lock);
    s->wanted = s->table.bridge_count > 0;
    if (!s->wanted && s->connection < 0)
        try_connect(s);
    r = s->wanted ? process_ensure(s, n->state_dir, &started, err) : 0;
    if (r == 0 && s->connection >= 0 && !(s->wanted && started)) {
        r = converse(s, "reload", err);
        if (r == -ERR_SYSTEM &&
            converse(s, "stop", NULL) == 0) { /* of an earlier version: it cannot read it */
            s->connection = close_fd(s->connection);
            r = -ERR_UNAVAILABLE;
        }
        if (r == -ERR_UNAVAILABLE && s->wanted) { /* it died, or hung and was killed */
            ended(s);
            r = process_ensure(s, n->state_dir, &started, err);
        } else if (r == -ERR_UNAVAILABLE)
            r = 0;
    }
    if (r == 0 && !s->watching && s->connection >= 0)
        s->watching = pthread_create(&s->watcher, NULL, watch, n) == 0;
    pthread_mutex_unlock(&s->lock);
    wake(s);
    return r;
}

void net__names_stop(struct net *n)
{
    struct net__names *s = n->names;
    pthread_mutex_lock(&s->lock);
    s->wanted = false;
    if (s->connection >= 0 || try_connect(s) == 0) {
        converse(s, "stop", NULL); /* one that hangs is killed */
        s->connection = close_fd(s->connection);
        if (!ended(s))
            log_warning("the DNS process of %s did not end in time", n->state_dir);
    }
    unlink(s->path);
    unlink(s->socket_path);
    unlink(s->lock_path);
    pthread_mutex_unlock(&s->lock);
    wake(s);
}

/* --- the table --- */

static void bridges_take(struct net *n, struct dns_table *t)
{
    struct map_entry *e;
    t->bridge_count = 0;
    for (size_t i = 0; (e = map_next(&n->bridges, &i));) {
        const struct net__bridge *b = e->value;
        struct dns_bridge d = {.internal = b->internal};
        snprintf(d.name, sizeof(d.name), "%s", b->name);
        if (!net__address_parse(b->gateway, &d.gateway) || !net__cidr_parse(b->subnet, &d.subnet))
            continue;
        GROW(t->bridges, t->bridge_count, t->bridge_capacity);
        t->bridges[t->bridge_count++] = d;
    }
}

int net__names_publish(struct net *n, struct err *err)
{
    struct net__names *s = n->names;
    _cleanup_str_ struct str text = STR_INIT;
    bridges_take(n, &s->table);
    dns_table_format(&s->table, &text);
    int r = file_replace(s->path, str_get(&text), text.len, 0600, false, err);
    if (r < 0)
        return err_wrap(err, "write the table of names");
    r = process_reload(n, err);
    return r < 0 ? err_wrap(err, "serve names") : 0;
}

/* What cannot be a name is left out: nobody could ask for it. */
static void links_take(const struct net_name *n, struct dns_table *t)
{
    for (char *const *text = n->links; text && *text; text++) {
        const char *colon = strchr(*text, ':');
        _cleanup_free_ char *name = mem_strndup(*text, strcspn(*text, ":"));
        const char *alias = colon && colon[1] ? colon + 1 : name;
        if (!str_empty(n->owner) && dns_name_valid(name) && dns_name_valid(alias))
            dns_table_add_link(t, mem_strdup(n->owner), mem_strdup(alias), mem_strdup(name));
    }
}

static int hosts_take(const struct net_name *names, size_t count, struct dns_table *t, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t address;
        struct net__ip address6 = {0};
        const char *owner = names[i].owner ? names[i].owner : "";
        if (!net__address_parse(names[i].address, &address) || strlen(names[i].bridge) >= 16 ||
            (*owner && !dns_name_valid(owner)))
            return err_set(err, ERR_INVALID, "names of address %s on bridge %s cannot be set",
                           names[i].address, names[i].bridge);
        STRV_FOREACH (name, (char **)names[i].names)
            if (!dns_name_valid(*name))
                return err_set(err, ERR_INVALID, "\"%s\" cannot be a name on a network", *name);
        if (names[i].address6 && !net__ip_parse(names[i].address6, &address6))
            return err_set(err, ERR_INVALID, "names of address %s cannot be set", names[i].address6);
        dns_table_add_host(t, names[i].bridge, address, mem_strdup(owner), strv_dup(names[i].names));
        t->hosts[t->host_count - 1].address6 = address6;
        links_take(&names[i], t);
    }
    return 0;
}

int net_names_set(struct net *n, const struct net_name *names, size_t count, struct err *err)
{
    struct dns_table fresh = {.port = n->dns_port};
    int r = hosts_take(names, count, &fresh, err);
    if (r == 0) {
        pthread_mutex_lock(&n->lock);
        struct dns_table old = n->names->table;
        n->names->table = fresh;
        fresh = old;
        r = net__firewall_load(n, err);
        if (r == 0)
            r = net__names_publish(n, err);
        pthread_mutex_unlock(&n->lock);
    }
    dns_table_done(&fresh);
    return r;
}
