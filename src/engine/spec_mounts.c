/* Mounts and namespaces of a start. */
#include "engine/build_mounts.h"

#include "base/file.h"
#include "base/process.h"
#include "engine/userns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void drop_mount(json_t *mounts, const char *destination, bool below)
{
    size_t n = strlen(destination);
    for (size_t i = json_array_size(mounts); i-- > 0;) {
        const char *d = json_str(json_array_get(mounts, i), "destination");
        if (str_eq(d, destination) || (below && strncmp(d, destination, n) == 0 && d[n] == '/'))
            json_array_remove(mounts, i);
    }
}

/* Its index; the size of the list when it is not there. */
static size_t find_mount(const json_t *mounts, const char *destination)
{
    size_t i;
    const json_t *m;
    json_array_foreach (mounts, i, m)
        if (str_eq(json_str(m, "destination"), destination))
            break;
    return i;
}

static json_t *mount_of(const char *type, const char *source, const char *destination, const char *options)
{
    _cleanup_strv_ char **list = strv_split(options, ',');
    return json_pack("{s:s,s:s,s:s,s:o}", "destination", destination, "type", type, "source", source,
                     "options", json_of_strv(list));
}

static void writable_system(json_t *mounts)
{
    static const char *const where[] = {"/sys", "/sys/fs/cgroup"};
    for (size_t i = 0; i < ARRAY_SIZE(where); i++) {
        size_t at = find_mount(mounts, where[i]);
        json_t *own = json_copy_tree(json_array_get(mounts, at)), *options = json_object_get(own, "options");
        if (own)
            json_array_set_new(mounts, at, own); /* instead of the default, which all share */
        for (size_t k = json_array_size(options); k-- > 0;)
            if (str_eq(json_string_value(json_array_get(options, k)), "ro"))
                json_array_remove(options, k);
    }
}

/* --- IPC: /dev/shm and /dev/mqueue belong to the namespace --- */

struct borrowing {
    int namespace_fd, tree_fd, error;
};

/* A thread of its own, since it leaves the mount namespace of all others. What the path leads to there is
 * the other container's affair: nothing else can be reached from its namespace. */
static void *borrow(void *context)
{
    struct borrowing *b = context;
    if (unshare(CLONE_FS) == 0 && setns(b->namespace_fd, CLONE_NEWNS) == 0)
        b->tree_fd = (int)syscall(SYS_open_tree, AT_FDCWD, "/dev/shm",
                                  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
    b->error = b->tree_fd < 0 ? errno : 0;
    return NULL;
}

/* Another, running container's /dev/shm as a detached tree among the descriptors of the start. */
static int borrow_shared_memory(const struct spec_input *in, const char *ref, char **ret_source,
                                struct err *err)
{
    _cleanup_container_ struct container *other = NULL;
    int r = container__find(in->c->engine, ref, &other, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *path = str_printf("/proc/%d/ns/mnt", (int)container__state(other).pid);
    _cleanup_close_ int namespace_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (namespace_fd < 0 || !container__running(other)) /* so that the number was still its own */
        return err_set(err, ERR_CONFLICT, "cannot join the ipc namespace of a non running container: %s",
                       other->id);
    struct borrowing b = {.namespace_fd = namespace_fd, .tree_fd = -EBADF};
    pthread_t thread;
    int sys = pthread_create(&thread, NULL, borrow, &b);
    if (sys == 0) {
        pthread_join(thread, NULL);
        sys = b.error;
    }
    if (sys)
        return err_sys(err, sys, "share /dev/shm with container %.12s", other->id);
    *ret_source = str_printf("fd:%zu", in->fds->count);
    in->fds->fd[in->fds->count++] = b.tree_fd;
    return 0;
}

static int shared_memory(const struct spec_input *in, json_t *mounts, struct err *err)
{
    const json_t *host = json_object_get(in->doc, "HostConfig");
    const char *mode = json_str(host, "IpcMode"), *other = str_after(mode, "container:");
    if (str_eq(mode, "host") || other) {
        drop_mount(mounts, "/dev/shm", false);
        drop_mount(mounts, "/dev/mqueue", false);
        _cleanup_free_ char *source = mem_strdup("/dev/shm");
        if (other) {
            free(take_ptr(source));
            int r = borrow_shared_memory(in, other, &source, err);
            if (r < 0)
                return r;
        }
        json_array_append_new(mounts, mount_of("bind", source, "/dev/shm", "rbind,nosuid,nodev,noexec"));
        return 0;
    }
    if (str_eq(mode, "none")) {
        drop_mount(mounts, "/dev/shm", false);
        return 0;
    }
    _cleanup_free_ char *options =
        str_printf("nosuid,noexec,nodev,mode=1777,size=%lld", (long long)json_int(host, "ShmSize"));
    drop_mount(mounts, "/dev/shm", false);
    json_array_append_new(mounts, mount_of("tmpfs", "shm", "/dev/shm", options));
    return 0;
}

/* --- the user's --- */

/* A volume has the ids of the containers that use it; a directory of the machine shows who its owner is. */
static json_t *bind_of(const json_t *p, bool mapped)
{
    const char *propagation = json_str(p, "Propagation"), *part = json_str(p, "Part");
    bool volume = str_eq(json_str(p, "Type"), "volume"), rw = json_bool(p, "RW");
    _cleanup_free_ char *options = str_printf("%s,%s,%s%s", json_bool(p, "NonRecursive") ? "bind" : "rbind",
                                              *propagation ? propagation : "rprivate",
                                              rw                                  ? "rw"
                                              : json_bool(p, "RecursiveReadOnly") ? "rro"
                                                                                  : "ro",
                                              mapped && volume ? ",idmap" : "");
    return mount_of("bind", *part ? part : json_str(p, "Source"), json_str(p, "Destination"), options);
}

static json_t *tmpfs_of(const json_t *p)
{
    _cleanup_str_ struct str options = STR_INIT;
    str_addf(&options, "nosuid,nodev,noexec,%s", json_bool(p, "RW") ? "rw" : "ro");
    if (json_int(p, "SizeBytes"))
        str_addf(&options, ",size=%lld", (long long)json_int(p, "SizeBytes"));
    if (json_int(p, "TmpfsMode"))
        str_addf(&options, ",mode=%llo", (long long)json_int(p, "TmpfsMode"));
    str_add(&options, json_str(p, "Words"));
    return mount_of("tmpfs", "tmpfs", json_str(p, "Destination"), str_get(&options));
}

static int depth(const char *path)
{
    int n = 0;
    for (; *path; path++)
        n += *path == '/';
    return n;
}

static int by_depth(const void *a, const void *b)
{
    const char *x = json_str(*(json_t *const *)a, "destination"),
               *y = json_str(*(json_t *const *)b, "destination");
    int d = depth(x) - depth(y);
    return d ? d : strcmp(x, y);
}

static void append_sorted(json_t *mounts, json_t *own)
{
    size_t n = json_array_size(own);
    json_t **list = NEW_N(json_t *, n + 1);
    for (size_t i = 0; i < n; i++)
        list[i] = json_array_get(own, i);
    qsort(list, n, sizeof(*list), by_depth);
    for (size_t i = 0; i < n; i++) {
        const char *d = json_str(list[i], "destination");
        bool whole = str_eq(d, "/dev") || str_eq(d, "/proc") || str_eq(d, "/sys");
        drop_mount(mounts, d, whole);
    }
    for (size_t i = 0; i < n; i++)
        json_array_append(mounts, list[i]);
    free(list);
}

bool spec__has_init(const json_t *host)
{
    const char *pid = json_str(host, "PidMode");
    return json_bool(host, "Init") && (!*pid || str_eq(pid, "private"));
}

static void init_mount(const struct spec_input *in, const json_t *host, json_t *own)
{
    _cleanup_free_ char *source = init_file__path(in->c->engine);
    if (spec__has_init(host))
        json_array_append_new(own, mount_of("bind", source, "/sbin/docker-init", "bind,ro,rprivate"));
}

static void system_files(const struct spec_input *in, json_t *own)
{
    static const char *const names[] = {"hosts", "hostname", "resolv.conf"};
    _cleanup_free_ char *dir = files__dir(in->c);
    const json_t *points = json_object_get(in->doc, "MountPoints"), *p;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_free_ char *inside = str_printf("/etc/%s", names[i]),
                            *source = str_printf("%s/%s", dir, names[i]);
        bool taken = false;
        size_t k;
        json_array_foreach (points, k, p)
            taken = taken || str_eq(json_str(p, "Destination"), inside);
        if (!taken)
            json_array_append_new(own,
                                  mount_of("bind", source, inside,
                                           in->userns_index < 0 ? "bind,rprivate" : "bind,rprivate,idmap"));
    }
}

int spec__mounts(const struct spec_input *in, json_t *spec, struct err *err)
{
    const json_t *host = json_object_get(in->doc, "HostConfig"), *p;
    json_t *mounts = json_object_get(spec, "mounts"), *text;
    _cleanup_json_ json_t *own = json_array();
    const char *destination;
    size_t i;
    if (json_bool(host, "Privileged"))
        writable_system(mounts);
    int r = shared_memory(in, mounts, err);
    if (r < 0)
        return r;
    init_mount(in, host, own);
    json_object_foreach (json_object_get(host, "Tmpfs"), destination, text) {
        const char *given = json_string_value(text);
        _cleanup_free_ char *options =
            str_printf("nosuid,nodev,noexec%s%s", str_empty(given) ? "" : ",", given ? given : "");
        json_array_append_new(own, mount_of("tmpfs", "tmpfs", destination, options));
    }
    json_array_foreach (json_object_get(in->doc, "MountPoints"), i, p)
        json_array_append_new(own, str_eq(json_str(p, "Type"), "tmpfs") ? tmpfs_of(p)
                                                                        : bind_of(p, in->userns_index >= 0));
    if (in->c->build)
        build_mounts__into_spec(in->c->build, in->fds, own);
    system_files(in, own);
    append_sorted(mounts, own);
    return 0;
}

/* --- namespaces --- */

static void remove_namespace(json_t *list, const char *type)
{
    for (size_t i = json_array_size(list); i-- > 0;)
        if (str_eq(json_str(json_array_get(list, i), "type"), type))
            json_array_remove(list, i);
}

static void join_descriptor(json_t *list, const char *type, size_t index)
{
    char path[16];
    snprintf(path, sizeof(path), "fd:%zu", index);
    remove_namespace(list, type);
    json_array_append_new(list, json_pack("{s:s,s:s}", "type", type, "path", path));
}

/* Joins a namespace of another, running container; its descriptor goes along with the request, so that a
 * process number that is used again leads nowhere. */
static int join_other(const struct spec_input *in, json_t *list, const char *type, const char *file,
                      const char *ref, struct err *err)
{
    _cleanup_container_ struct container *other = NULL;
    int r = container__find(in->c->engine, ref, &other, err);
    if (r < 0)
        return r;
    if (other == in->c)
        return err_set(err, ERR_SYSTEM, "cannot join own %s", type);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)container__state(other).pid, file);
    int fd = container__running(other) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 || !container__running(other)) {
        close_fd(fd);
        return err_set(err, ERR_CONFLICT, "cannot join the %s namespace of a non running container: %s", type,
                       other->id);
    }
    in->fds->fd[in->fds->count] = fd;
    join_descriptor(list, type, in->fds->count++);
    return 0;
}

/* A donor says so beforehand, with --ipc=shareable: else its shared memory is its own. */
static int check_shareable(const struct spec_input *in, const char *ref, struct err *err)
{
    _cleanup_container_ struct container *other = NULL;
    int r = container__find(in->c->engine, ref, &other, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *doc = container__doc(other);
    const char *mode = json_str(json_object_get(doc, "HostConfig"), "IpcMode");
    if (str_eq(mode, "shareable"))
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "can't join IPC of container %s: non-shareable IPC (hint: use IpcMode:shareable for the "
                   "donor container)",
                   other->id);
}

static int one_mode(const struct spec_input *in, json_t *list, const char *field, const char *type,
                    const char *file, struct err *err)
{
    const char *mode = json_str(json_object_get(in->doc, "HostConfig"), field);
    const char *other = str_after(mode, "container:");
    static const char *const own[] = {"", "private", "shareable", "none", NULL};
    if (other && str_eq(type, "ipc")) {
        int r = check_shareable(in, other, err);
        if (r < 0)
            return r;
    }
    if (other)
        return join_other(in, list, type, file, other, err);
    if (str_eq(mode, "host"))
        remove_namespace(list, type);
    else if (!strv_has((char *const *)own, mode))
        return err_set(err, ERR_INVALID, "\"HostConfig.%s\": \"%.100s\" is not valid", field, mode);
    return 0;
}

/* Processes that are not all ours may be shown, not mounted anew: the kernel refuses a user namespace a
 * procfs of a pid namespace that is not its own. */
static void show_proc(json_t *spec)
{
    size_t i;
    json_t *m;
    json_array_foreach (json_object_get(spec, "mounts"), i, m)
        if (str_eq(json_str(m, "destination"), "/proc"))
            json_array_set_new(json_object_get(spec, "mounts"), i,
                               json_pack("{s:s, s:s, s:s, s:[s,s,s,s]}", "destination", "/proc", "type",
                                         "bind", "source", "/proc", "options", "rbind", "nosuid", "noexec",
                                         "nodev"));
}

int spec__namespaces(const struct spec_input *in, json_t *spec, struct err *err)
{
    json_t *list = json_object_get(json_object_get(spec, "linux"), "namespaces");
    const char *other = str_after(network__mode(json_object_get(in->doc, "HostConfig")), "container:");
    if (str_eq(json_str(json_object_get(in->doc, "HostConfig"), "PidMode"), "host") &&
        process_in_user_namespace())
        show_proc(spec);
    int r = one_mode(in, list, "PidMode", "pid", "pid", err);
    if (r == 0)
        r = one_mode(in, list, "IpcMode", "ipc", "ipc", err);
    if (r == 0)
        r = one_mode(in, list, "UTSMode", "uts", "uts", err);
    if (r == 0)
        r = one_mode(in, list, "CgroupnsMode", "cgroup", "cgroup", err);
    if (r == 0 && other)
        r = join_other(in, list, "network", "net", other, err);
    if (r == 0 && in->netns_index >= 0)
        join_descriptor(list, "network", (size_t)in->netns_index);
    struct userns u = userns__of(in->doc);
    if (r == 0 && in->userns_index >= 0)
        userns__describe(&u, (size_t)in->userns_index, spec);
    return r;
}
