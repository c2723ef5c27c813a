#include "oci/container.h"

#include "base/file.h"
#include "base/timeutil.h"
#include "oci/report.h"
#include "runtime/cgroup.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ID_MAX = 255, STATE_MAX = 8 << 20, CONTAINERS_MAX = 1 << 20 };

void container_done(struct container *c)
{
    container_unlock(c);
    close_fd(c->pidfd);
    json_decref(c->state);
    json_decref(c->config);
    free(c->id);
    free(c->dir);
    *c = CONTAINER_INIT;
}

char *container_root(const struct oci_args *args)
{
    if (!str_empty(args->root))
        return mem_strdup(args->root);
    const char *runtime_dir = getenv("XDG_RUNTIME_DIR");
    bool user = geteuid() != 0 || str_eq(args->rootless, "true");
    if (user && !str_empty(runtime_dir))
        return str_printf("%s/drover-oci", runtime_dir);
    if (user)
        return str_printf("/tmp/drover-oci-%u", (unsigned)geteuid());
    return mem_strdup("/run/drover-oci");
}

/* It becomes a file name and a part of a cgroup's: nothing that has a meaning in paths. */
static int check_id(const char *id, struct err *err)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.");
    if (!*id)
        return err_set(err, ERR_INVALID, "container id cannot be empty");
    if (id[n])
        return err_set(
            err, ERR_INVALID,
            "invalid character `%c` in the ID: invalid id format: \"%s\" (1 to %d of letters, digits, '_', "
            "'+', '-', '.', and no '-' first)",
            isprint((unsigned char)id[n]) ? id[n] : '?', id, (int)ID_MAX);
    if (*id == '-' || str_eq(id, ".") || str_eq(id, "..") || n > ID_MAX)
        return err_set(err, ERR_INVALID,
                       "invalid id format: \"%s\" (1 to %d of letters, digits, '_', '+', '-', '.', and no "
                       "'-' first)",
                       id, (int)ID_MAX);
    return 0;
}

/* Field 22 of /proc/<pid>/stat; 0 when there is no such process. */
static int64_t start_time_of(pid_t pid, char *ret_state)
{
    char path[64];
    _cleanup_str_ struct str text = STR_INIT;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (file_read(path, 4096, &text, NULL) < 0)
        return 0;
    const char *behind = strrchr(str_get(&text), ')'); /* the name may hold anything */
    if (!behind || !behind[1])
        return 0;
    _cleanup_strv_ char **fields = strv_split(behind + 2, ' ');
    int64_t started = 0;
    if (strv_len(fields) < 20 || parse_i64(fields[19], 0, INT64_MAX, &started, NULL) < 0)
        return 0;
    *ret_state = fields[0][0];
    return started;
}

static void find_process(struct container *c)
{
    pid_t pid = (pid_t)json_int(c->state, "pid");
    char state = 0;
    if (pid <= 0)
        return;
    c->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (c->pidfd < 0)
        return;
    if (start_time_of(pid, &state) != json_int(c->state, "process-start-time") || state == 'Z' ||
        state == 'X') {
        c->has_zombie = state == 'Z';
        c->pidfd = close_fd(c->pidfd);
        return;
    }
    c->pid = pid;
}

static int not_there(const char *id, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "container does not exist: \"%s\"", id);
}

/* The directory may have been removed, or replaced, while we waited for its lock. */
static bool still_there(const struct container *c)
{
    struct stat held, named;
    return fstat(c->dir_fd, &held) == 0 && stat(c->dir, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

int container_lock(struct container *c, struct err *err)
{
    c->dir_fd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (c->dir_fd < 0 && errno == ENOENT)
        return not_there(c->id, err);
    if (c->dir_fd < 0)
        return err_sys(err, errno, "open \"%s\"", c->dir);
    while (flock(c->dir_fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return err_sys(err, errno, "lock \"%s\"", c->dir);
    return still_there(c) ? 0 : not_there(c->id, err);
}

/* Explicitly: a copy of the descriptor in a process on its way into a container would keep it. */
void container_unlock(struct container *c)
{
    if (c->dir_fd >= 0)
        flock(c->dir_fd, LOCK_UN);
    c->dir_fd = close_fd(c->dir_fd);
}

static int name_it(const struct oci_args *args, const char *id, struct container *c, struct err *err)
{
    int r = check_id(id, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *root = container_root(args);
    c->id = mem_strdup(id);
    c->dir = str_printf("%s/%s", root, id);
    return 0;
}

static char *file_of(const struct container *c, const char *name)
{
    return str_printf("%s/%s", c->dir, name);
}

static int make_dir(const char *dir, struct err *err)
{
    if (mkdir(dir, 0711) == 0 || errno == EEXIST)
        return 0;
    if (errno != ENOENT)
        return err_sys(err, errno, "make the directory \"%s\"", dir);
    _cleanup_free_ char *root = mem_strdup(dir);
    *strrchr(root, '/') = '\0';
    int r = file_mkdirs(root, 0711, err);
    if (r == 0 && mkdir(dir, 0711) < 0 && errno != EEXIST)
        r = err_sys(err, errno, "make the directory \"%s\"", dir);
    return r;
}

int container_make(const struct oci_args *args, const char *id, struct container *ret, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    int r = name_it(args, id, &c, err);
    if (r < 0)
        return r;
    do { /* again when another's failed creation took the directory away in between */
        container_unlock(&c);
        r = make_dir(c.dir, err);
        if (r == 0)
            r = container_lock(&c, err);
    } while (r == -ERR_NOT_FOUND && !str_empty(c.dir) && c.dir_fd >= 0);
    if (r < 0)
        return r;
    _cleanup_free_ char *state = file_of(&c, "state.json");
    if (file_exists(state))
        return err_set(err, ERR_CONFLICT, "container with id exists: \"%s\"", id);
    *ret = c;
    c = CONTAINER_INIT;
    return 0;
}

int container_open(const struct oci_args *args, const char *id, bool locked, struct container *ret,
                   struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    int r = name_it(args, id, &c, err);
    if (r == 0 && locked)
        r = container_lock(&c, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *path = file_of(&c, "state.json");
    r = json_parse_file(path, &c.state, err);
    if (r == -ERR_NOT_FOUND)
        return not_there(id, err);
    if (r < 0)
        return r;
    find_process(&c);
    *ret = c;
    c = CONTAINER_INIT;
    return 0;
}

int container_save(struct container *c, struct err *err)
{
    char state;
    json_object_set_new(c->state, "pid", json_integer(c->pid));
    json_object_set_new(c->state, "process-start-time", json_integer(start_time_of(c->pid, &state)));
    _cleanup_free_ char *path = file_of(c, "state.json"), *text = json_format(c->state);
    int r = file_replace(path, text, strlen(text), 0600, false, err);
    if (r == 0 && symlinkat("state.json", c->dir_fd, "status") < 0 && errno != EEXIST)
        r = err_sys(err, errno, "make the link \"%s/status\"", c->dir);
    return r;
}

int container_save_config(struct container *c, const char *text, size_t n, struct err *err)
{
    _cleanup_free_ char *path = file_of(c, "config.json");
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "write \"%s\"", path);
    return file_write_all(fd, text, n, err);
}

int container_config(struct container *c, const json_t **ret, struct err *err)
{
    if (!c->config) {
        _cleanup_free_ char *path = file_of(c, "config.json");
        int r = json_parse_file(path, &c->config, err);
        if (r < 0)
            return r;
    }
    *ret = c->config;
    return 0;
}

int container_forget(struct container *c, struct err *err)
{
    static const char *const files[] = {"state.json", "status", "config.json", "start.sock"};
    for (size_t i = 0; c->dir_fd >= 0 && i < ARRAY_SIZE(files); i++)
        unlinkat(c->dir_fd, files[i], 0);
    int r = rmdir(c->dir) == 0 ? 0 : file_remove_tree(c->dir, err);
    container_unlock(c);
    return r;
}

char *container_start_socket(const struct container *c)
{
    return file_of(c, "start.sock");
}

struct cgroup *container_cgroup(const struct container *c)
{
    struct cgroup *cgroup = NULL;
    const char *path = json_str(c->state, "cgroup-path");
    if (*path)
        cgroup_open(path, &cgroup, NULL);
    return cgroup;
}

const char *container_status(const struct container *c)
{
    if (c->pid <= 0)
        return "stopped";
    _cleanup_free_ char *socket = container_start_socket(c);
    if (file_exists(socket))
        return "created";
    struct cgroup *cgroup = container_cgroup(c);
    bool frozen = cgroup && cgroup_is_frozen(cgroup);
    cgroup_free(cgroup);
    return frozen ? "paused" : "running";
}

json_t *container_state_json(const struct container *c, const char *status)
{
    json_t *out = json_object();
    json_set_str(out, "ociVersion", json_str(c->state, "ociVersion"));
    json_set_str(out, "id", c->id);
    if (!status)
        status = container_status(c);
    json_object_set_new(out, "pid", json_integer(str_eq(status, "stopped") ? 0 : c->pid));
    json_set_str(out, "status", status);
    json_set_str(out, "bundle", json_str(c->state, "bundle"));
    json_set_str(out, "rootfs", json_str(c->state, "rootfs"));
    json_set_str(out, "created", json_str(c->state, "created"));
    const json_t *annotations = json_object_get(c->state, "annotations");
    if (json_object_size(annotations))
        json_object_set(out, "annotations", (json_t *)annotations);
    if (*json_str(c->state, "scope"))
        json_set_str(out, "systemd-scope", json_str(c->state, "scope"));
    json_set_str(out, "owner", json_str(c->state, "owner"));
    return out;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int container_each(const struct oci_args *args, void (*visit)(struct container *c, void *arg), void *arg,
                   struct err *err)
{
    _cleanup_free_ char *root = container_root(args);
    _cleanup_strv_ char **names = NULL;
    size_t count = 0, capacity = 0;
    DIR *dir = opendir(root);
    if (!dir)
        return errno == ENOENT ? 0 : err_sys(err, errno, "read the directory \"%s\"", root);
    for (struct dirent *entry; count < CONTAINERS_MAX && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' && check_id(entry->d_name, NULL) < 0)
            continue;
        GROW(names, count + 1, capacity);
        names[count++] = mem_strdup(entry->d_name);
        names[count] = NULL;
    }
    closedir(dir);
    if (count)
        qsort(names, count, sizeof(*names), compare);
    STRV_FOREACH (name, names) {
        _cleanup_container_ struct container c = CONTAINER_INIT;
        if (container_open(args, *name, false, &c, NULL) == 0)
            visit(&c, arg);
    }
    return 0;
}
