/* The process that was started: lock, marker, and a child that is started again. */
#include "store/node_priv.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/timeutil.h"
#include "store/cowsql_api.h"

#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BACK_OFF_FIRST_MS = 200, BACK_OFF_MAX_MS = 5000, CALM_S = 60, STOP_S = 15, LOCK_MS = 2000 };

/* --- the marker --- */

int node__marker_read(const char *directory, struct node_marker *ret, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/member.json", directory);
    _cleanup_json_ json_t *j = NULL;
    int r = json_parse_file(path, &j, err);
    if (r < 0)
        return r;
    *ret = (struct node_marker){.id = (uint64_t)json_int(j, "id"), .begun = json_bool(j, "begun")};
    snprintf(ret->address, sizeof(ret->address), "%s", json_str(j, "address"));
    return ret->id && *ret->address ? 0
                                    : err_set(err, ERR_CORRUPT, "%s does not say which member this is", path);
}

int node__marker_write(const char *directory, const struct node_marker *m, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/member.json", directory);
    _cleanup_json_ json_t *j =
        json_pack("{s:I, s:s, s:b}", "id", (json_int_t)m->id, "address", m->address, "begun", m->begun);
    _cleanup_free_ char *text = json_format(j);
    return file_replace(path, text, strlen(text), 0600, true, err);
}

int64_t node__free_bytes(const char *directory)
{
    _cleanup_free_ char *path = str_printf("%s/data", directory);
    struct statvfs v;
    return statvfs(path, &v) < 0 ? 0 : (int64_t)v.f_bavail * (int64_t)v.f_frsize;
}

static bool has_data(const char *directory)
{
    _cleanup_free_ char *path = str_printf("%s/data", directory);
    DIR *d = opendir(path);
    bool any = false;
    for (struct dirent *e; d && (e = readdir(d));)
        any |= str_after(e->d_name, "metadata") || str_after(e->d_name, "open-") ||
               str_after(e->d_name, "snapshot-") || str_after(e->d_name, "0000");
    if (d)
        closedir(d);
    return any;
}

static int make_marker(const struct store_node *n, struct node_marker *ret, struct err *err)
{
    if (!n->bootstrap && !n->join)
        return err_set(
            err, ERR_INVALID,
            "%s has no member yet: begin a new store with --bootstrap, or join one with --join ADDRESS",
            n->directory);
    *ret = (struct node_marker){.id = 1};
    snprintf(ret->address, sizeof(ret->address), "%s", n->address);
    /* 1 makes itself the leader of a store of its own; every other id is used once in all times. */
    while (!n->bootstrap && ret->id < 2) {
        if (getrandom(&ret->id, sizeof(ret->id), 0) != sizeof(ret->id))
            return err_sys(err, errno, "make a member's id");
        ret->id >>= 2;
    }
    return node__marker_write(n->directory, ret, err);
}

static int read_or_make_marker(const struct store_node *n, struct node_marker *ret, struct err *err)
{
    bool data = has_data(n->directory);
    int r = node__marker_read(n->directory, ret, err);
    if (r == -ERR_NOT_FOUND && data)
        return err_set(
            err, ERR_CONFLICT,
            "%s/data has data, but %s/member.json is gone, which says whose: restore it, or empty both "
            "and join as a new member",
            n->directory, n->directory);
    if (r == -ERR_NOT_FOUND)
        return make_marker(n, ret, err);
    if (r < 0)
        return r;
    if (ret->begun && !data)
        return err_set(
            err, ERR_CONFLICT,
            "the data of member %llu in %s/data are gone; it may not vote again on what it has forgotten: "
            "remove %s/member.json and join as a new member with --join",
            (unsigned long long)ret->id, n->directory, n->directory);
    if (!str_eq(ret->address, n->address))
        return err_set(err, ERR_CONFLICT,
                       "member %llu is known to the others as %s, not as %s: it keeps its address",
                       (unsigned long long)ret->id, ret->address, n->address);
    return 0;
}

/* The inner process of one that was killed may hold the lock for a moment longer. */
static int prepare_directory(const struct store_node *n, int *ret_lock, struct err *err)
{
    _cleanup_free_ char *data = str_printf("%s/data", n->directory),
                        *lock = str_printf("%s/lock", n->directory);
    int64_t deadline_ns = time_monotonic_ns() + LOCK_MS * NS_PER_MS;
    int r = file_mkdirs(data, 0700, err);
    if (r < 0)
        return r;
    while ((r = file_lock(lock, ret_lock, err)) == -ERR_CONFLICT && time_monotonic_ns() < deadline_ns)
        time_sleep_ns(10 * NS_PER_MS);
    return r == -ERR_CONFLICT ? err_set(err, ERR_CONFLICT, "another store runs in %s", n->directory) : r;
}

/* --- the child --- */

static pid_t start(const struct store_node *n, struct node_marker *marker, bool full, struct err *err)
{
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        return err_sys(err, errno, "start the store");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(NODE_FAILED);
        _exit(full ? node__say_full(n) : node__serve(n, marker));
    }
    return child;
}

/* Waits for the child's end; *ret_stop: we were told to end, and it too. */
static int watch(pid_t child, bool *ret_stop)
{
    sigset_t set;
    int status;
    int64_t kill_at = INT64_MAX;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    for (;;) {
        if (waitpid(child, &status, WNOHANG) == child)
            return status;
        struct timespec second = {.tv_sec = 1};
        int got = sigtimedwait(&set, NULL, &second);
        if (got == SIGTERM || got == SIGINT) {
            *ret_stop = true;
            kill(child, SIGTERM);
            kill_at = MIN(kill_at, time_monotonic_ns() + STOP_S * NS_PER_S);
        }
        if (time_monotonic_ns() >= kill_at)
            kill(child, SIGKILL);
    }
}

static int supervise(const struct store_node *n, struct node_marker *marker, struct err *err)
{
    bool stop = false, full = false;
    int back_off_ms = BACK_OFF_FIRST_MS;
    while (!stop) {
        int64_t began = time_monotonic_ns();
        pid_t child = start(n, marker, full, err);
        if (child < 0)
            return (int)child;
        int status = watch(child, &stop);
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        if (stop || code == NODE_STOPPED)
            return 0;
        full = code == NODE_FULL;
        if (code == NODE_FULL || code == NODE_ROOM)
            continue;
        if (code == NODE_FAILED && !marker->begun) /* it never ran; its own message says why */
            return err_set(err, ERR_SYSTEM, "the store did not start");
        if (time_monotonic_ns() - began > CALM_S * NS_PER_S)
            back_off_ms = BACK_OFF_FIRST_MS;
        log_warning("the store ended (%s %d), it starts again in %d ms",
                    WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : code,
                    back_off_ms);
        time_sleep_ns(back_off_ms * NS_PER_MS);
        back_off_ms = MIN(back_off_ms * 2, BACK_OFF_MAX_MS);
        node__marker_read(n->directory, marker, NULL); /* the child may have begun */
    }
    return 0;
}

int store_node_run(const struct store_node *given, struct err *err)
{
    struct store_node n = *given;
    struct node_marker marker;
    _cleanup_close_ int lock = -EBADF;
    struct cowsql_api api;
    sigset_t set;
    n.listen = n.listen ? n.listen : n.address;
    n.latency_ms = n.latency_ms ? n.latency_ms : STORE_LATENCY_MS;
    n.min_free_bytes = n.min_free_bytes ? n.min_free_bytes : STORE_MIN_FREE;
    int r = cowsql_api_load(&api, err); /* so that a missing one is an error, and no endless start */
    if (r == 0)
        r = prepare_directory(&n, &lock, err);
    if (r == 0 && node__free_bytes(n.directory) < n.min_free_bytes)
        r = err_set(err, ERR_NO_SPACE,
                    "%s/data has %lld MiB free, less than the %lld that a store needs to start", n.directory,
                    (long long)(node__free_bytes(n.directory) >> 20), (long long)(n.min_free_bytes >> 20));
    if (r == 0)
        r = read_or_make_marker(&n, &marker, err);
    if (r < 0)
        return r;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return supervise(&n, &marker, err);
}

int store_node_recover(const char *directory, struct err *err)
{
    struct node_marker marker;
    _cleanup_close_ int lock = -EBADF;
    int r = node__marker_read(directory, &marker, err);
    if (r == 0 && !has_data(directory))
        r = err_set(err, ERR_NOT_FOUND, "%s/data has no data: recover a member that has them", directory);
    if (r == 0)
        r = prepare_directory(&(struct store_node){.directory = directory}, &lock, err);
    return r < 0 ? r : node__recover(directory, &marker, err);
}
