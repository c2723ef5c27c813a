#include "api/serve.h"

#include "api/api.h"
#include "api/listen.h"
#include "api/serve_registry.h"
#include "api/signature_file.h"
#include "base/deferred.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "image/peers.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { STOP_GRACE_MS = 3000 };

static int stop_event = -EBADF;
static _Atomic(char *) successor; /* the binary to become */
static atomic_bool told_to_stop, told_to_reload;

static void on_signal(int signal)
{
    int saved = errno;
    atomic_store(signal == SIGHUP ? &told_to_reload : &told_to_stop, true);
    uint64_t one = 1;
    /* An eventfd that is full has been told already. */
    (void)!write(stop_event, &one, sizeof(one));
    errno = saved;
}

static int handle_signals(struct err *err)
{
    stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_event < 0)
        return err_sys(err, errno, "make an eventfd");
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART},
                     ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&stop.sa_mask);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGHUP, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    return 0;
}

/* A daemon that idles most of its life: few heaps, and memory goes back to the system. */
static void keep_memory_small(void)
{
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    mallopt(M_TRIM_THRESHOLD, 256 << 10);
    mallopt(M_MXFAST, 0); /* else each larger block first joins all small ones that were freed */
}

/* A container costs a few descriptors, a connection one. */
static void raise_file_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

static int lock_root(const char *root, int *ret_fd, struct err *err)
{
    int r = file_mkdirs(root, 0700, err);
    if (r < 0)
        return r;
    if (chmod(root, 0700) < 0)
        return err_sys(err, errno, "chmod %s", root);
    _cleanup_free_ char *path = str_printf("%s/serve.lock", root);
    r = file_lock(path, ret_fd, err);
    if (r == -ERR_CONFLICT)
        return err_set(
            err, ERR_CONFLICT,
            "another drover serve runs on %s: stop it, or give this one its own --root and --socket", root);
    return r;
}

/* The service manager's readiness protocol, sd_notify(3). */
static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    if (n == 0 || n >= sizeof(to.sun_path))
        return;
    memcpy(to.sun_path, path, n);
    if (path[0] == '@')
        to.sun_path[0] = '\0';
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
        log_warning("tell %s that we are ready: %m", path);
}

static void wait_for_stop(struct serve_registry *registry)
{
    struct pollfd p = {.fd = stop_event, .events = POLLIN};
    while (!atomic_load(&told_to_stop)) {
        uint64_t count;
        struct err err = {0};
        if (poll(&p, 1, -1) <= 0 || read(stop_event, &count, sizeof(count)) < 0)
            continue;
        if (atomic_exchange(&told_to_reload, false) && serve_registry_reload(registry, &err) < 0)
            log_warning("registry: %s; what was there before stays in force", err.msg);
    }
}

int serve_request_upgrade(const char *path, struct err *err)
{
    char *none = NULL, *copy = mem_strdup(path);
    if (!atomic_compare_exchange_strong(&successor, &none, copy)) {
        free(copy);
        return err_set(err, ERR_CONFLICT, "an upgrade is under way");
    }
    on_signal(0);
    return 0;
}

/* The same arguments and environment, and the socket with those who wait in its queue. */
static int become(const char *path, struct err *err)
{
    _cleanup_str_ struct str line = STR_INIT;
    int r = file_read("/proc/self/cmdline", 1 << 20, &line, err);
    if (r < 0)
        return r;
    char **argv = NEW_N(char *, line.len + 1);
    size_t count = 0;
    for (char *at = line.data; at < line.data + line.len; at += strlen(at) + 1)
        argv[count++] = at;
    log_info("becoming %s", path);
    execv(path, argv);
    r = err_sys(err, errno, "execute %s", path);
    free(argv);
    return r;
}

/* What one process listens with. */
struct door {
    struct listener listeners[LISTENERS_MAX];
    struct http_server *servers[LISTENERS_MAX];
    int count;
};

static void door_close(struct door *d)
{
    for (int i = 0; i < d->count; i++)
        listener_close(&d->listeners[i]);
    d->count = 0;
}

static int door_open(struct door *d, const struct serve_options *o, struct err *err)
{
    const char *paths[LISTENERS_MAX] = {o->socket,
                                        str_eq(o->docker_socket, o->socket) ? NULL : o->docker_socket};
    int r = 0;
    for (int i = 0; r == 0 && i < LISTENERS_MAX && paths[i]; i++) {
        r = listener_open(paths[i], o->group, &d->listeners[i], err);
        if (r == 0)
            d->count++;
        else if (paths[i] == o->docker_socket)
            err_wrap(err, "--docker-socket");
    }
    listeners_forget_inherited();
    return r;
}

static void door_leave(const struct door *d)
{
    for (int i = 0; i < d->count; i++)
        listener_remove(&d->listeners[i]);
}

static int door_serve(struct door *d, struct api *a, struct err *err)
{
    int r = 0;
    for (int i = 0; r == 0 && i < d->count; i++) {
        int fd = fcntl(d->listeners[i].fd, F_DUPFD_CLOEXEC, 3);
        r = fd < 0 ? err_sys(err, errno, "duplicate a socket") : api_serve(a, fd, &d->servers[i], err);
    }
    return r;
}

static bool door_stop(struct door *d)
{
    bool idle = true;
    for (int i = 0; i < d->count; i++)
        idle = http_server_stop(d->servers[i], STOP_GRACE_MS) && idle;
    return idle;
}

static void tell_ready(const struct door *d, struct serve_registry *registry)
{
    printf("drover serve: ready, socket %s", d->listeners[0].path);
    for (int i = 1; i < d->count; i++)
        printf(", socket %s", d->listeners[i].path);
    if (registry)
        printf(", registry %s", serve_registry_address(registry));
    printf("\n");
    fflush(stdout);
    notify("READY=1");
}

/* *ret_idle: no request is in progress any more. */
static int serve(const struct serve_options *o, struct engine *e, struct cluster *c, struct door *door,
                 bool *ret_idle, struct err *err)
{
    int r = door_open(door, o, err);
    if (r < 0) {
        door_leave(door);
        return r;
    }
    struct api *a = api_new(e, c);
    cluster_set_socket(c, door->listeners[0].path);
    api_limit_build_cache(a, o->build_cache_bytes, o->build_cache_age_ns);
    struct serve_registry *registry = NULL;
    struct signature_file *signatures = NULL;
    struct keep_free *keep_free = NULL;
    if (o->signature_policy && (r = signature_file_open(o->signature_policy, &signatures, err)) == 0)
        images_set_signatures(engine_images(e), signature_file_source(signatures));
    if (r == 0 && o->peers)
        r = images_set_peers(engine_images(e), o->peers, err);
    if (r == 0 && o->registry.address)
        r = serve_registry_start(engine_images(e), &o->registry, &registry, err);
    api_set_registry(a, serve_registry_inside(registry));
    if (r == 0)
        r = keep_free_start(a, &o->keep_free, &keep_free, err);
    if (r == 0)
        r = door_serve(door, a, err);
    if (r == 0) {
        tell_ready(door, registry);
        malloc_trim(0);
        wait_for_stop(registry);
        notify("STOPPING=1");
        log_info("stopping; containers live on");
    }
    keep_free_stop(keep_free);
    if (!atomic_load(&successor))
        door_leave(door);
    *ret_idle = door_stop(door);
    if (!serve_registry_stop(registry, STOP_GRACE_MS))
        *ret_idle = false;
    if (!cluster_shut(c, STOP_GRACE_MS))
        *ret_idle = false;
    if (*ret_idle) {
        api_free(a);
        images_set_signatures(engine_images(e), NULL);
        signature_file_free(signatures);
    }
    return r;
}

int serve_run(const struct serve_options *options, struct err *err)
{
    _cleanup_close_ int lock = -EBADF;
    struct engine *e;
    struct cluster *c = NULL;
    deferred_need_all();
    keep_memory_small();
    raise_file_limit();
    int r = handle_signals(err);
    if (r == 0)
        r = lock_root(options->root, &lock, err);
    if (r < 0)
        return r;
    struct engine_config config = {.root = options->root,
                                   .insecure_registries = options->insecure_registries,
                                   .certs_dir = options->certs_dir,
                                   .runtimes = options->runtimes,
                                   .address_pools = options->address_pools,
                                   .default_runtime = options->default_runtime,
                                   .log_driver = options->log_driver,
                                   .log_options = options->log_options,
                                   .userns_remap = options->userns_remap};
    r = engine_open(&config, &e, err);
    if (r < 0)
        return r;
    _cleanup_(door_close) struct door door = {0};
    bool idle = true;
    r = cluster_open(e, &c, err);
    if (r == 0)
        r = serve(options, e, c, &door, &idle, err);
    /* A request that hangs still uses the engine, which is then left as a kill would leave it: all that
     * counts is on disk or with the keeper. */
    if (idle && (idle = cluster_close(c, STOP_GRACE_MS)))
        engine_close(e);
    if (r == 0 && atomic_load(&successor)) {
        listeners_hand_over(door.listeners, door.count);
        r = become(atomic_load(&successor), err);
    }
    if (!idle && r < 0)
        log_error("%s", err->msg);
    if (!idle)
        _exit(r < 0 ? err_exit_code(r) : 0);
    return r;
}
