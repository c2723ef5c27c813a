/* The process in which cowsql runs, and the one that runs in its place while the disk is full. */
#include "store/node_priv.h"

#include "base/log.h"
#include "base/str.h"
#include "base/timeutil.h"
#include "store/cowsql_api.h"
#include "store/store_priv.h"
#include "store/wire.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 256,
    HANDSHAKE_MS = 5000,
    CONNECT_MS = 1500, /* to another member: it holds one of libuv's threads, which also write to the disk */
    REQUEST_MAX = 4 << 20,
    GUARD_S = 1,
    SNAPSHOT_THRESHOLD = 1024, /* small values crash or stall */
    SNAPSHOT_TRAILING = 4096,
    HANDOVER_MS = 2000,
};

/* --- the port --- */

struct listener {
    int fd;
    struct tls_files tls;
    void (*serve)(struct tls_link *l, void *context);
    void *context;
    atomic_int connections;
    _Atomic int64_t said_ns;
};

struct arrival {
    struct listener *listener;
    int fd;
};

static void *serve_one(void *context)
{
    struct arrival a = *(struct arrival *)context;
    free(context);
    struct tls_link *l;
    struct err err;
    if (tls_accept(a.fd, &a.listener->tls, time_monotonic_ns() + HANDSHAKE_MS * NS_PER_MS, &l, &err) < 0) {
        /* Whoever reaches the port could fill the log. */
        int64_t now = time_monotonic_ns(), last = atomic_load(&a.listener->said_ns);
        if (now - last > NS_PER_S && atomic_compare_exchange_strong(&a.listener->said_ns, &last, now))
            log_warning("refused: %s", err.msg);
    } else {
        a.listener->serve(l, a.listener->context);
        tls_close(l);
    }
    atomic_fetch_sub(&a.listener->connections, 1);
    return NULL;
}

static void start_detached(void *(*main)(void *), void *context, void (*failed)(void *context))
{
    pthread_t t;
    struct err err;
    if (store__thread(&t, main, context, "a connection", &err) < 0) {
        log_error("%s", err.msg);
        failed(context);
    } else {
        pthread_detach(t);
    }
}

static void drop_arrival(void *context)
{
    struct arrival *a = context;
    atomic_fetch_sub(&a->listener->connections, 1);
    close_fd(a->fd);
    free(a);
}

static void *listen_main(void *context)
{
    struct listener *l = context;
    for (;;) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EINTR && errno != ECONNABORTED)
                time_sleep_ns(100 * NS_PER_MS); /* out of descriptors: they come back */
            continue;
        }
        if (atomic_fetch_add(&l->connections, 1) >= CONNECTIONS_MAX) {
            atomic_fetch_sub(&l->connections, 1);
            close(fd);
            continue;
        }
        struct arrival *a = NEW(struct arrival);
        *a = (struct arrival){l, fd};
        start_detached(serve_one, a, drop_arrival);
    }
    return NULL;
}

int node__listen(const struct store_node *n, void (*serve)(struct tls_link *l, void *context), void *context,
                 struct err *err)
{
    struct listener *l = NEW(struct listener); /* for the process's life */
    *l = (struct listener){.tls = n->tls, .serve = serve, .context = context};
    pthread_t t;
    int r = tls_listen(n->listen, &l->fd, err);
    if (r == 0)
        r = store__thread(&t, listen_main, l, "the port", err);
    if (r == 0)
        pthread_detach(t);
    return r;
}

/* Whether SIGTERM came within the time. */
static bool told_to_end(void)
{
    sigset_t set;
    struct timespec wait = {.tv_sec = GUARD_S};
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    return sigtimedwait(&set, NULL, &wait) == SIGTERM;
}

/* --- the disk is full --- */

static void answer_full(struct tls_link *l, void *context)
{
    const struct store_node *n = context;
    unsigned char head[WIRE_HEADER_BYTES];
    _cleanup_free_ char *text = str_printf("stopped, because its file system has less than %lld MiB free",
                                           (long long)(n->min_free_bytes >> 20));
    int64_t deadline_ns = time_monotonic_ns() + HANDSHAKE_MS * NS_PER_MS;
    int r = tls_recv(l, head, sizeof(head), deadline_ns, NULL); /* the protocol's version */
    while (r == 0 && tls_recv(l, head, sizeof(head), deadline_ns, NULL) == 0) {
        struct wire_header h = wire_header(head);
        if (h.body_bytes > REQUEST_MAX)
            return;
        _cleanup_free_ void *body = mem_new((size_t)h.body_bytes);
        _cleanup_str_ struct str out = STR_INIT;
        wire_put_failure(&out, SQLITE_FULL, text);
        r = tls_recv(l, body, (size_t)h.body_bytes, deadline_ns, NULL);
        if (r == 0)
            r = tls_send(l, out.data, out.len, deadline_ns, NULL);
    }
}

int node__say_full(const struct store_node *n)
{
    struct err err;
    log_error("%s/data has less than %lld MiB free: the store waits for room", n->directory,
              (long long)(n->min_free_bytes >> 20));
    if (node__listen(n, answer_full, (void *)n, &err) < 0) {
        log_error("%s", err.msg);
        return NODE_FAILED;
    }
    while (node__free_bytes(n->directory) < n->min_free_bytes + n->min_free_bytes / 4)
        if (told_to_end())
            return NODE_STOPPED;
    return NODE_ROOM;
}

#ifdef HAVE_COWSQL

/* --- cowsql --- */

static int connect_abstract(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || n > sizeof(a.sun_path))
        return close_fd(fd);
    memcpy(a.sun_path, name, n);
    a.sun_path[0] = '\0'; /* cowsql writes it as "@" */
    return connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0
               ? close_fd(fd)
               : fd;
}

static void carry_in(struct tls_link *l, void *context)
{
    _cleanup_close_ int fd = connect_abstract(context);
    if (fd >= 0)
        tls_relay(l, fd);
}

struct outgoing {
    struct tls_link *link;
    int fd;
};

static void *carry_out(void *context)
{
    struct outgoing *o = context;
    tls_relay(o->link, o->fd);
    tls_close(o->link);
    close_fd(o->fd);
    free(o);
    return NULL;
}

static void drop_outgoing(void *context)
{
    struct outgoing *o = context;
    tls_close(o->link);
    close_fd(o->fd);
    free(o);
}

/* On one of libuv's threads. */
static int connect_member(void *context, const char *address, int *fd)
{
    const struct store_node *n = context;
    struct tls_link *l;
    int pair[2];
    if (tls_connect(address, &n->tls, time_monotonic_ns() + CONNECT_MS * NS_PER_MS, &l, NULL) < 0)
        return 1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        tls_close(l);
        return 1;
    }
    struct outgoing *o = NEW(struct outgoing);
    *o = (struct outgoing){l, pair[1]};
    start_detached(carry_out, o, drop_outgoing);
    *fd = pair[0];
    return 0;
}

/* cowsql opens descriptors without CLOEXEC. */
static void close_on_exec(void)
{
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e; d && (e = readdir(d));) {
        int64_t fd;
        if (parse_i64(e->d_name, 3, INT32_MAX, &fd, NULL) == 0)
            fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    }
    if (d)
        closedir(d);
}

static int start_cowsql(const struct cowsql_api *api, const struct store_node *n,
                        const struct node_marker *marker, cowsql_node **ret, struct err *err)
{
    _cleanup_free_ char *data = str_printf("%s/data", n->directory);
    cowsql_node *node = NULL;
    setenv("UV_THREADPOOL_SIZE", "16", 1);
    setenv("SQLITE_TMPDIR", data, 1); /* where the guard looks */
    const char *step = "open";
    int rc = api->cowsql_node_create(marker->id, marker->address, data, &node);
    if (rc == 0 && (step = "bind", rc = api->cowsql_node_set_bind_address(node, "@")) == 0 &&
        (step = "configure", rc = api->cowsql_node_set_connect_func(node, connect_member, (void *)n)) == 0 &&
        (rc = api->cowsql_node_set_network_latency_ms(node, (unsigned)n->latency_ms)) == 0 &&
        (rc = api->cowsql_node_set_snapshot_params(node, SNAPSHOT_THRESHOLD, SNAPSHOT_TRAILING)) == 0) {
        step = "start";
        rc = api->cowsql_node_start(node);
    }
    if (rc != 0)
        return err_set(err, ERR_SYSTEM, "%s the store in %s: %s", step, data, api->cowsql_node_errmsg(node));
    *ret = node;
    return 0;
}

/* --- joining, and leaving the lead --- */

static void *join_main(void *context)
{
    const struct store_node *n = context;
    struct store_members members = {n->join, n->tls, 0};
    struct node_marker marker;
    struct err err, said = {0};
    for (;; time_sleep_ns(NS_PER_S)) {
        if (node__marker_read(n->directory, &marker, &err) == 0 &&
            store_members_add(&members, marker.id, marker.address, &err) == 0) {
            log_info("member %llu votes", (unsigned long long)marker.id);
            return NULL;
        }
        if (strcmp(err.msg, said.msg) != 0)
            log_warning("join: %s", err.msg);
        said = err;
    }
}

static void hand_over(const struct store_node *n, uint64_t self)
{
    char *const addresses[] = {(char *)n->address, NULL};
    struct store_members members = {addresses, n->tls, HANDOVER_MS};
    struct store_member *list = NULL;
    size_t count = 0;
    bool leads = false;
    if (store_members_list(&members, &list, &count, NULL) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        leads |= list[i].id == self && list[i].leader;
    for (size_t i = 0; leads && i < count; i++)
        if (list[i].id != self && list[i].role == STORE_VOTER &&
            store_members_transfer(&members, list[i].id, NULL) == 0)
            break;
    free(list);
}

/* --- the process --- */

static void say_ready(const struct store_node *n, const struct node_marker *marker)
{
    log_info("member %llu listens on %s", (unsigned long long)marker->id, n->listen);
}

static int run(const struct store_node *n, struct node_marker *marker, struct err *err)
{
    static struct cowsql_api api;
    cowsql_node *node;
    int r = cowsql_api_load(&api, err);
    if (r == 0)
        r = start_cowsql(&api, n, marker, &node, err);
    if (r < 0)
        return r;
    close_on_exec();
    const char *socket_name = api.cowsql_node_get_bind_address(node);
    marker->begun = true;
    r = node__marker_write(n->directory, marker, err);
    if (r == 0)
        r = node__listen(n, carry_in, (void *)socket_name, err);
    if (r < 0)
        return r;
    say_ready(n, marker);
    pthread_t t;
    if (n->join && store__thread(&t, join_main, (void *)n, "joining", err) == 0)
        pthread_detach(t);
    for (;;) {
        bool end = told_to_end();
        bool full = node__free_bytes(n->directory) < n->min_free_bytes;
        if (!end && !full)
            continue;
        if (end) /* a manager that knows nothing of it goes on answering for a lease: lead.c */
            hand_over(n, marker->id);
        alarm(5); /* cowsql waits for its connections; those that do not end are cut */
        api.cowsql_node_stop(node);
        return full ? NODE_FULL : NODE_STOPPED;
    }
}

int node__serve(const struct store_node *n, struct node_marker *marker)
{
    struct err err;
    if (node__free_bytes(n->directory) < n->min_free_bytes)
        return NODE_FULL;
    int r = run(n, marker, &err);
    if (r < 0)
        log_error("%s", err.msg);
    return r < 0 ? NODE_FAILED : r;
}

int node__recover(const char *directory, const struct node_marker *marker, struct err *err)
{
    _cleanup_free_ char *data = str_printf("%s/data", directory);
    struct cowsql_api api;
    cowsql_node *node;
    int r = cowsql_api_load(&api, err);
    if (r < 0)
        return r;
    if (api.cowsql_node_create(marker->id, marker->address, data, &node) != 0)
        return err_set(err, ERR_SYSTEM, "open %s: %s", data, api.cowsql_node_errmsg(node));
    struct cowsql_node_info_ext self = {.size = sizeof(self),
                                        .id = marker->id,
                                        .address = (uint64_t)(uintptr_t)marker->address,
                                        .cowsql_role = STORE_VOTER};
    if (api.cowsql_node_recover_ext(node, &self, 1) != 0)
        return err_set(err, ERR_SYSTEM, "recover %s: %s", data, api.cowsql_node_errmsg(node));
    return 0; /* a node that was never started can not be taken apart; the process ends */
}

#else /* the parent has said why */
int node__serve(const struct store_node *n, struct node_marker *marker)
{
    return NODE_FAILED;
}

int node__recover(const char *directory, const struct node_marker *marker, struct err *err)
{
    struct cowsql_api api;
    return cowsql_api_load(&api, err);
}
#endif
