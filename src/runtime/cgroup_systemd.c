/* Groups that systemd makes: on its hosts the tree is its own, and engines ask it for a transient scope with
 * Delegate=yes (systemd's CGROUP_DELEGATION), in which the container's group is theirs.
 *
 * It is spoken to through libsystemd, which every such host has, loaded when it is needed: others need not
 * have it. A scope starts with a process in it, before the container's exists; a stand-in of ours waits in it
 * until then. The limits that systemd knows are told to it too, or it would take them back when it reloads.
 */
#include "runtime/cgroup_priv.h"

#include "base/process.h"
#include "base/timeutil.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOB_SECONDS = 30 };

static const char service[] = "org.freedesktop.systemd1", object[] = "/org/freedesktop/systemd1",
                  manager[] = "org.freedesktop.systemd1.Manager";

/* sd-bus(3), as far as it is used. */
typedef struct sd_bus sd_bus;
typedef struct sd_bus_message sd_bus_message;
struct sd_bus_error {
    const char *name, *message;
    int need_free;
};
typedef int (*match_handler)(sd_bus_message *m, void *context, struct sd_bus_error *error);

#define FUNCTIONS(X)                                                                                         \
    X(int, open_system, (sd_bus **))                                                                         \
    X(int, open_user, (sd_bus **))                                                                           \
    X(int, new, (sd_bus **))                                                                                 \
    X(int, set_address, (sd_bus *, const char *))                                                            \
    X(int, start, (sd_bus *))                                                                                \
    X(sd_bus *, flush_close_unref, (sd_bus *))                                                               \
    X(int, add_match, (sd_bus *, void **, const char *, match_handler, void *))                              \
    X(int, process, (sd_bus *, sd_bus_message **))                                                           \
    X(int, wait, (sd_bus *, uint64_t))                                                                       \
    X(int, call, (sd_bus *, sd_bus_message *, uint64_t, struct sd_bus_error *, sd_bus_message **))           \
    X(int, message_new_method_call,                                                                          \
      (sd_bus *, sd_bus_message **, const char *, const char *, const char *, const char *))                 \
    X(int, message_append, (sd_bus_message *, const char *, ...))                                            \
    X(int, message_open_container, (sd_bus_message *, char, const char *))                                   \
    X(int, message_close_container, (sd_bus_message *))                                                      \
    X(int, message_read, (sd_bus_message *, const char *, ...))                                              \
    X(sd_bus_message *, message_unref, (sd_bus_message *))                                                   \
    X(void, error_free, (struct sd_bus_error *))

#define MEMBER(type, name, arguments) type(*name) arguments;
static struct {
    void *handle;
    FUNCTIONS(MEMBER)
} bus_;

static int load_library(struct err *err)
{
    if (bus_.handle)
        return 0;
    void *library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return err_set(err, ERR_UNSUPPORTED, "--systemd-cgroup: libsystemd.so.0 is missing: %s", dlerror());
#define LOOK_UP(type, name, arguments)                                                                       \
    if (!(*(void **)&bus_.name = dlsym(library, "sd_bus_" #name)))                                           \
        return err_set(err, ERR_UNSUPPORTED, "--systemd-cgroup: libsystemd has no sd_bus_" #name);
    FUNCTIONS(LOOK_UP)
    bus_.handle = library;
    return 0;
}

/* --- the path: "slice:prefix:name" --- */

static int unit_name(const struct cgroup_place *place, char **ret_slice, char **ret_unit, struct err *err)
{
    const char *path = str_empty(place->path) ? "::" : place->path;
    _cleanup_strv_ char **parts = strv_split(path, ':');
    if (strv_len(parts) != 3)
        return err_set(err, ERR_INVALID,
                       "\"linux.cgroupsPath\": \"%s\" is not of the form slice:prefix:name that "
                       "--systemd-cgroup expects",
                       path);
    bool plain = str_empty(place->path);
    const char *prefix = plain ? "drover" : parts[1], *name = plain ? place->id : parts[2];
    bool user = geteuid() != 0 || process_in_user_namespace();
    STRV_FOREACH (part, parts)
        if ((*part)[strspn(*part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")])
            return err_set(err, ERR_INVALID, "\"linux.cgroupsPath\": \"%s\" has characters that units cannot",
                           path);
    if (!*name || strlen(prefix) + strlen(name) > 200)
        return err_set(err, ERR_INVALID, "\"linux.cgroupsPath\": \"%s\" has no name of a unit", path);
    *ret_slice = mem_strdup(*parts[0] ? parts[0] : user ? "user.slice" : "system.slice");
    *ret_unit = str_printf("%s%s%s.scope", prefix, *prefix ? "-" : "", name);
    if (!str_ends_with(*ret_slice, ".slice"))
        return err_set(err, ERR_INVALID, "\"linux.cgroupsPath\": \"%s\" is not a slice", *ret_slice);
    return 0;
}

/* --- the conversation --- */

static void close_bus(sd_bus **bus)
{
    if (*bus)
        bus_.flush_close_unref(*bus);
}

static void unref_message(sd_bus_message **m)
{
    if (*m)
        bus_.message_unref(*m);
}

/* The bus, or systemd's own socket where there is no bus daemon. */
static int connect_bus(sd_bus **ret, struct err *err)
{
    bool user = geteuid() != 0 || process_in_user_namespace();
    sd_bus *bus = NULL;
    int r = user ? bus_.open_user(&bus) : bus_.open_system(&bus);
    if (r >= 0) {
        *ret = bus;
        return 0;
    }
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    _cleanup_free_ char *address = user && runtime ? str_printf("unix:path=%s/systemd/private", runtime)
                                                   : mem_strdup("unix:path=/run/systemd/private");
    if (bus_.new(&bus) < 0)
        return err_sys(err, ENOMEM, "sd_bus_new");
    if ((r = bus_.set_address(bus, address)) < 0 || (r = bus_.start(bus)) < 0) {
        close_bus(&bus);
        return err_sys(err, -r, "--systemd-cgroup: connect to systemd");
    }
    *ret = bus;
    return 0;
}

static void append_bool(sd_bus_message *m, const char *name, int value)
{
    bus_.message_append(m, "(sv)", name, "b", value);
}

static void append_u64(sd_bus_message *m, const char *name, const struct cgroup_number *number, int64_t none)
{
    if (number->set)
        bus_.message_append(m, "(sv)", name, "t", number->n <= none ? UINT64_MAX : (uint64_t)number->n);
}

/* What systemd keeps of the limits; the rest it leaves to a delegated unit's owner. */
static void append_limits(sd_bus_message *m, const struct cgroup_limits *l)
{
    bool v2 = cgroup__host()->version == 2;
    append_u64(m, v2 ? "MemoryMax" : "MemoryLimit", &l->memory, 0);
    append_u64(m, "TasksMax", &l->pids, 0);
    if (v2)
        append_u64(m, "MemoryLow", &l->reservation, 0);
    if (l->shares.set && v2) {
        int64_t shares = MAX(2, MIN(l->shares.n, 262144));
        bus_.message_append(m, "(sv)", "CPUWeight", "t", (uint64_t)(1 + (shares - 2) * 9999 / 262142));
    } else if (l->shares.set) {
        bus_.message_append(m, "(sv)", "CPUShares", "t", (uint64_t)l->shares.n);
    }
    if (l->quota.set && l->quota.n > 0) {
        int64_t period = l->period.set ? l->period.n : 100000;
        /* A day's worth of CPUs is more than there are; systemd takes steps of 10 ms. */
        uint64_t usec = (uint64_t)MIN(l->quota.n, INT64_C(86400000000)) * 1000000 / (uint64_t)MAX(period, 1);
        bus_.message_append(m, "(sv)", "CPUQuotaPerSecUSec", "t", (usec + 9999) / 10000 * 10000);
    }
}

static int new_call(sd_bus *bus, const char *method, sd_bus_message **ret, struct err *err)
{
    int r = bus_.message_new_method_call(bus, ret, service, object, manager, method);
    return r < 0 ? err_sys(err, -r, "call systemd's %s", method) : 0;
}

static int call(sd_bus *bus, sd_bus_message *m, const char *what, bool *ret_exists, sd_bus_message **ret,
                struct err *err)
{
    struct sd_bus_error error = {0};
    int r = bus_.call(bus, m, JOB_SECONDS * UINT64_C(1000000), &error, ret);
    if (r >= 0)
        return 0;
    if (ret_exists)
        *ret_exists = error.name && str_ends_with(error.name, ".UnitExists");
    r = err_set(err, r == -EACCES || r == -EPERM ? ERR_DENIED : ERR_SYSTEM, "systemd: %s: %s", what,
                error.message ? error.message : strerror(-r));
    bus_.error_free(&error);
    return r;
}

static int simple_call(sd_bus *bus, const char *method, const char *argument, struct err *err)
{
    sd_bus_message *m _cleanup_(unref_message) = NULL, *answer _cleanup_(unref_message) = NULL;
    int r = new_call(bus, method, &m, err);
    if (r == 0 && argument)
        bus_.message_append(m, "s", argument);
    return r < 0 ? r : call(bus, m, method, NULL, &answer, err);
}

static int start_unit(sd_bus *bus, const char *slice, const char *unit, pid_t pid,
                      const struct cgroup_place *place, const struct cgroup_limits *l, bool *ret_exists,
                      char **ret_job, struct err *err)
{
    sd_bus_message *m _cleanup_(unref_message) = NULL, *answer _cleanup_(unref_message) = NULL;
    _cleanup_free_ char *description = str_printf("drover container %s", place->id);
    const char *job = "";
    int r = new_call(bus, "StartTransientUnit", &m, err);
    if (r < 0)
        return r;
    bus_.message_append(m, "ss", unit, "replace");
    bus_.message_open_container(m, 'a', "(sv)");
    bus_.message_append(m, "(sv)", "Description", "s", description);
    bus_.message_append(m, "(sv)", "Slice", "s", slice);
    bus_.message_append(m, "(sv)", "PIDs", "au", 1, (uint32_t)pid);
    bus_.message_append(m, "(sv)", "CollectMode", "s", "inactive-or-failed");
    append_bool(m, "Delegate", 1);
    append_bool(m, "DefaultDependencies", 0);
    append_bool(m, "MemoryAccounting", 1);
    append_bool(m, "CPUAccounting", 1);
    append_bool(m, "TasksAccounting", 1);
    if (cgroup__host()->version == 2)
        append_bool(m, "IOAccounting", 1);
    append_limits(m, l);
    bus_.message_close_container(m);
    bus_.message_append(m, "a(sa(sv))", 0);
    if ((r = call(bus, m, unit, ret_exists, &answer, err)) < 0)
        return r;
    if ((r = bus_.message_read(answer, "o", &job)) < 0)
        return err_sys(err, -r, "systemd's answer");
    *ret_job = mem_strdup(job);
    return 0;
}

struct job {
    char *path;
    bool over;
    char result[32];
};

static int job_removed(sd_bus_message *m, void *context, struct sd_bus_error *error)
{
    struct job *job = context;
    uint32_t id;
    const char *path, *unit, *result;
    if (bus_.message_read(m, "uoss", &id, &path, &unit, &result) < 0)
        return 0;
    /* It may be over before its name is known to us. */
    if (!job->path || str_eq(job->path, path)) {
        job->over = job->path != NULL;
        snprintf(job->result, sizeof(job->result), "%s", result);
    }
    return 0;
}

static int wait_for_job(sd_bus *bus, struct job *job, const char *unit, struct err *err)
{
    int64_t end = time_monotonic_ns() + JOB_SECONDS * NS_PER_S;
    while (!job->over) {
        int r = bus_.process(bus, NULL);
        if (r < 0)
            return err_sys(err, -r, "systemd: %s", unit);
        int64_t left = end - time_monotonic_ns();
        if (left <= 0)
            return err_set(err, ERR_TIMEOUT, "systemd did not start %s within %d seconds", unit, JOB_SECONDS);
        if (r == 0 && (r = bus_.wait(bus, (uint64_t)(left / 1000))) < 0 && r != -EINTR)
            return err_sys(err, -r, "systemd: %s", unit);
    }
    return str_eq(job->result, "done")
               ? 0
               : err_set(err, ERR_SYSTEM, "systemd did not start %s: %s", unit, job->result);
}

/* --- the stand-in --- */

static pid_t start_stand_in(struct err *err)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) /* it has died already: nobody would end us */
            _exit(0);
        syscall(SYS_close_range, 0, ~0U, 0);
        for (;;)
            pause();
    }
    return pid < 0 ? (pid_t)err_sys(err, errno, "fork") : pid;
}

static void end_stand_in(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void cgroup__systemd_release(struct cgroup *g)
{
    if (g->stand_in > 0)
        end_stand_in(g->stand_in);
    g->stand_in = 0;
}

static int start_scope(const char *slice, const char *unit, pid_t pid, const struct cgroup_place *place,
                       const struct cgroup_limits *l, struct err *err)
{
    sd_bus *bus _cleanup_(close_bus) = NULL;
    struct job job = {0};
    bool exists = false;
    int r = connect_bus(&bus, err);
    if (r == 0)
        r = simple_call(bus, "Subscribe", NULL, err);
    if (r < 0)
        return r;
    r = bus_.add_match(bus, NULL,
                       "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved',"
                       "path='/org/freedesktop/systemd1'",
                       job_removed, &job);
    if (r < 0)
        return err_sys(err, -r, "listen to systemd");
    r = start_unit(bus, slice, unit, pid, place, l, &exists, &job.path, err);
    /* One that failed and was not cleared away. */
    if (r < 0 && exists && simple_call(bus, "ResetFailedUnit", unit, NULL) == 0)
        r = start_unit(bus, slice, unit, pid, place, l, &exists, &job.path, err);
    if (r < 0 && exists)
        err->code = ERR_CONFLICT;
    if (r == 0)
        r = wait_for_job(bus, &job, unit, err);
    free(job.path);
    return r;
}

int cgroup__systemd_scope(const struct cgroup_place *place, const struct cgroup_limits *l, char **ret_fs_path,
                          pid_t *ret_stand_in, struct err *err)
{
    _cleanup_free_ char *slice = NULL, *unit = NULL;
    if (access("/run/systemd/system", F_OK) < 0)
        return err_set(err, ERR_UNSUPPORTED, "--systemd-cgroup: this machine is not run by systemd");
    int r = unit_name(place, &slice, &unit, err);
    if (r == 0)
        r = load_library(err);
    if (r < 0)
        return r;
    pid_t pid = start_stand_in(err);
    if (pid < 0)
        return pid;
    r = start_scope(slice, unit, pid, place, l, err);
    char *path = NULL;
    if (r == 0 && !(path = cgroup__place_of(pid, CG_SYSTEMD)))
        r = err_set(err, ERR_SYSTEM, "systemd started %s, and its cgroup cannot be found", unit);
    if (r < 0) {
        end_stand_in(pid);
        return r;
    }
    *ret_fs_path = path;
    *ret_stand_in = pid;
    return 0;
}

int cgroup__systemd_update(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    const char *unit = strrchr(g->fs_path, '/');
    if (!unit || !g->as_given || !str_ends_with(unit, ".scope") || access("/run/systemd/system", F_OK) < 0)
        return 0;
    sd_bus *bus _cleanup_(close_bus) = NULL;
    sd_bus_message *m _cleanup_(unref_message) = NULL, *answer _cleanup_(unref_message) = NULL;
    int r = load_library(err);
    if (r == 0)
        r = connect_bus(&bus, err);
    if (r == 0)
        r = new_call(bus, "SetUnitProperties", &m, err);
    if (r < 0)
        return r;
    bus_.message_append(m, "sb", unit + 1, 1); /* for this boot */
    bus_.message_open_container(m, 'a', "(sv)");
    append_limits(m, l);
    bus_.message_close_container(m);
    return call(bus, m, unit + 1, NULL, &answer, err);
}
