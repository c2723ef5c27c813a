#include "api/serve.h"

#include "api/api.h"
#include "api/serve_registry.h"
#include "base/deferred.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"

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

#define LISTEN_VARIABLE "DROVER_LISTEN_FD"

static int stop_event = -EBADF;
static _Atomic(char *) successor; /* the binary to become */

static void on_stop(int signal)
{
    int saved = errno;
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
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART}, ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&stop.sa_mask);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    return 0;
}

/* A daemon that idles most of its life: few heaps, and memory goes back to the system. */
static void keep_memory_small(void)
{
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    mallopt(M_TRIM_THRESHOLD, 256 << 10);
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

/* From the image of this process before an upgrade; negative when there is none for `path`. */
static int inherited_socket(const char *path)
{
    const char *text = getenv(LISTEN_VARIABLE);
    struct sockaddr_un at = {0};
    socklen_t n = sizeof(at), m = sizeof(int);
    int64_t fd = -1;
    int listening = 0;
    if (text && parse_i64(text, 3, INT_MAX, &fd, NULL) == 0 &&
        (getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &m) < 0 || !listening ||
         getsockname((int)fd, (struct sockaddr *)&at, &n) < 0 || !str_eq(at.sun_path, path) ||
         fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0))
        fd = -1;
    unsetenv(LISTEN_VARIABLE);
    return (int)fd;
}

static int listen_on(const char *path, int *ret_fd, struct err *err)
{
    int inherited = inherited_socket(path);
    if (inherited >= 0) {
        *ret_fd = inherited;
        return 0;
    }
    _cleanup_close_ int fd = -EBADF;
    int r = file_listen_unix(path, SOCK_STREAM, 0600, &fd, err);
    if (r < 0)
        return r;
    /* That group is none of ours when an ordinary user runs us. */
    const struct group *docker = process_in_user_namespace() ? NULL : getgrnam("docker");
    if (docker && (chown(path, (uid_t)-1, docker->gr_gid) < 0 || chmod(path, 0660) < 0))
        return err_sys(err, errno, "give %s to the group docker", path);
    *ret_fd = take_fd(&fd);
    return 0;
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

static void wait_for_stop(void)
{
    struct pollfd p = {.fd = stop_event, .events = POLLIN};
    while (poll(&p, 1, -1) <= 0)
        ;
}

int serve_request_upgrade(const char *path, struct err *err)
{
    char *none = NULL, *copy = mem_strdup(path);
    if (!atomic_compare_exchange_strong(&successor, &none, copy)) {
        free(copy);
        return err_set(err, ERR_CONFLICT, "an upgrade is under way");
    }
    on_stop(0);
    return 0;
}

/* The same arguments and environment, and the socket with those who wait in its queue. */
static int become(const char *path, int listen_fd, struct err *err)
{
    _cleanup_str_ struct str line = STR_INIT;
    int r = file_read("/proc/self/cmdline", 1 << 20, &line, err);
    if (r < 0)
        return r;
    char **argv = NEW_N(char *, line.len + 1);
    size_t count = 0;
    for (char *at = line.data; at < line.data + line.len; at += strlen(at) + 1)
        argv[count++] = at;
    char number[16];
    snprintf(number, sizeof(number), "%d", listen_fd);
    setenv(LISTEN_VARIABLE, number, 1);
    fcntl(listen_fd, F_SETFD, 0);
    log_info("becoming %s", path);
    execv(path, argv);
    r = err_sys(err, errno, "execute %s", path);
    free(argv);
    return r;
}

/* *ret_idle: no request is in progress any more. */
static int serve(const struct serve_options *o, struct engine *e, int *ret_kept, bool *ret_idle,
                 struct err *err)
{
    _cleanup_close_ int listen_fd = -EBADF;
    int r = listen_on(o->socket, &listen_fd, err);
    if (r < 0)
        return r;
    _cleanup_close_ int kept = fcntl(listen_fd, F_DUPFD_CLOEXEC, 3);
    struct api *a = api_new(e);
    struct http_server *server;
    struct serve_registry *registry = NULL;
    if (o->registry.address)
        r = serve_registry_start(engine_images(e), &o->registry, &registry, err);
    if (r == 0)
        r = api_serve(a, take_fd(&listen_fd), &server, err);
    if (r == 0) {
        printf("drover serve: ready, socket %s%s%s\n", o->socket, registry ? ", registry " : "",
               registry ? serve_registry_address(registry) : "");
        fflush(stdout);
        notify("READY=1");
        malloc_trim(0);
        wait_for_stop();
        notify("STOPPING=1");
        log_info("stopping; containers live on");
        if (atomic_load(&successor))
            *ret_kept = take_fd(&kept);
        else
            unlink(o->socket);
        *ret_idle = http_server_stop(server, STOP_GRACE_MS);
    }
    if (!serve_registry_stop(registry, STOP_GRACE_MS))
        *ret_idle = false;
    if (*ret_idle)
        api_free(a);
    return r;
}

int serve_run(const struct serve_options *options, struct err *err)
{
    _cleanup_close_ int lock = -EBADF;
    struct engine *e;
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
                                   .runtimes = options->runtimes,
                                   .default_runtime = options->default_runtime,
                                   .userns_remap = options->userns_remap};
    r = engine_open(&config, &e, err);
    if (r < 0)
        return r;
    _cleanup_close_ int kept = -EBADF;
    bool idle = true;
    r = serve(options, e, &kept, &idle, err);
    /* A request that hangs still uses the engine, which is then left as a kill would leave it: all that
     * counts is on disk or with the keeper. */
    if (idle)
        engine_close(e);
    if (r == 0 && kept >= 0)
        r = become(atomic_load(&successor), kept, err);
    if (!idle && r < 0)
        log_error("%s", err->msg);
    if (!idle)
        _exit(r < 0 ? err_exit_code(r) : 0);
    return r;
}
