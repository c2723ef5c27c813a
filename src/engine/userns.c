#include "engine/userns.h"

#include "base/file.h"
#include "base/process.h"
#include "engine/userns_ranges.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SUBID_MAX_BYTES = 1 << 20,
    RANGE_IDS = 65536, /* what an image's files use; a multiple keeps ranges readable */
    RANGE_IDS_MIN = 1024,
};

/* Where a machine gives no range to a user by a name of /etc/subuid: the end of those that service managers
 * draw containers' ids from, 4096 times 65536. */
static const struct id_range default_pool = {1610612736, 268435456};

/* --- configuration --- */

static int read_subids(struct str *ret_uids, struct str *ret_gids, struct err *err)
{
    int r = file_read("/etc/subuid", SUBID_MAX_BYTES, ret_uids, err);
    if (r == 0 || r == -ERR_NOT_FOUND)
        r = file_read("/etc/subgid", SUBID_MAX_BYTES, ret_gids, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int64_t number_of_user(const char *name)
{
    int64_t number;
    if (parse_i64(name, 0, UINT32_MAX - 1, &number, NULL) == 0)
        return number;
    char buffer[4096];
    struct passwd entry, *found = NULL;
    return getpwnam_r(name, &entry, buffer, sizeof(buffer), &found) == 0 && found ? (int64_t)found->pw_uid
                                                                                  : -1;
}

static int find_subids(const char *user, const char *group, struct userns *ret, struct err *err)
{
    _cleanup_str_ struct str uids = STR_INIT, gids = STR_INIT;
    struct id_range u, g;
    int r = read_subids(&uids, &gids, err);
    if (r < 0)
        return r;
    if (!userns_ranges_find(str_get(&uids), user, number_of_user(user), &u))
        return err_set(err, ERR_NOT_FOUND,
                       "user \"%.100s\" has no range of ids: add a line such as %.100s:100000:65536 to "
                       "/etc/subuid",
                       user, user);
    if (!userns_ranges_find(str_get(&gids), group, str_eq(user, group) ? number_of_user(user) : -1, &g))
        return err_set(err, ERR_NOT_FOUND,
                       "group \"%.100s\" has no range of ids: add a line such as %.100s:100000:65536 to "
                       "/etc/subgid",
                       group, group);
    *ret = (struct userns){u.first, g.first, MIN(u.count, g.count)};
    return 0;
}

/* Of all lines of both files. */
static size_t listed_ranges(struct id_range **ret)
{
    _cleanup_str_ struct str uids = STR_INIT, gids = STR_INIT;
    struct id_range *list = NULL, *more = NULL;
    if (read_subids(&uids, &gids, NULL) < 0)
        return 0;
    size_t n = userns_ranges_all(str_get(&uids), &list), m = userns_ranges_all(str_get(&gids), &more);
    list = mem_grow(list, n + m + 1, sizeof(*list));
    if (m)
        memcpy(list + n, more, m * sizeof(*more));
    free(more);
    *ret = list;
    return n + m;
}

/* Docker's user when the machine has it; else the first ids that nobody has. */
static int default_remap(struct engine *e, struct userns *ret, struct err *err)
{
    if (find_subids("dockremap", "dockremap", ret, NULL) == 0)
        return 0;
    _cleanup_free_ struct id_range *taken = NULL;
    size_t count = listed_ranges(&taken);
    uint32_t first = 0;
    int r = userns_ranges_place(default_pool, RANGE_IDS, RANGE_IDS, taken, count, &first, err);
    *ret = (struct userns){first, first, RANGE_IDS};
    return r;
}

static int parse_remap(struct engine *e, const char *text, struct userns *ret, struct err *err)
{
    const char *colon = strchr(text, ':');
    _cleanup_free_ char *before = colon ? mem_strndup(text, (size_t)(colon - text)) : mem_strdup(text);
    int64_t first, count;
    if (str_eq(text, "default"))
        return default_remap(e, ret, err);
    if (!colon || parse_i64(before, 0, UINT32_MAX, &first, NULL) < 0)
        return find_subids(before, colon ? colon + 1 : before, ret, err);
    int r = parse_i64(colon + 1, RANGE_IDS_MIN, UINT32_MAX, &count, err);
    if (r < 0)
        return r;
    if (first < 1 || first + count > UINT32_MAX)
        return err_set(err, ERR_INVALID, "%s is no range of user ids", text);
    *ret = (struct userns){(uint32_t)first, (uint32_t)first, (uint32_t)count};
    return 0;
}

int userns__configure(struct engine *e, const char *text, struct err *err)
{
    struct userns remap = {0};
    _cleanup_str_ struct str uids = STR_INIT, gids = STR_INIT;
    struct id_range u, g;
    e->id_pool_first = default_pool.first;
    e->id_pool_count = default_pool.count;
    /* Podman's name for whom all such containers' ranges belong to. */
    if (read_subids(&uids, &gids, NULL) == 0 && userns_ranges_find(str_get(&uids), "containers", -1, &u) &&
        userns_ranges_find(str_get(&gids), "containers", -1, &g) && u.first == g.first) {
        e->id_pool_first = u.first;
        e->id_pool_count = MIN(u.count, g.count);
    }
    if (str_empty(text))
        return 0;
    int r = parse_remap(e, text, &remap, err);
    if (r < 0)
        return err_wrap(err, "--userns-remap");
    if (remap.count < RANGE_IDS_MIN)
        return err_set(err, ERR_INVALID, "--userns-remap: a range of %u ids is too small", remap.count);
    if (process_in_user_namespace())
        return err_set(err, ERR_UNSUPPORTED,
                       "--userns-remap: this serve is itself root of a user namespace only, whose containers "
                       "are an ordinary user's already");
    e->remap_uid = remap.uid;
    e->remap_gid = remap.gid;
    e->remap_count = remap.count;
    return 0;
}

/* --- the choice --- */

struct userns userns__of(const json_t *doc)
{
    const json_t *o = json_object_get(doc, "UserNamespace");
    return (struct userns){(uint32_t)json_int(o, "Uid"), (uint32_t)json_int(o, "Gid"),
                           (uint32_t)json_int(o, "Count")};
}

static json_t *to_json(const struct userns *u, bool own)
{
    return json_pack("{s:I,s:I,s:I,s:b}", "Uid", (json_int_t)u->uid, "Gid", (json_int_t)u->gid, "Count",
                     (json_int_t)u->count, "Own", own);
}

void userns__restore(struct engine *e, const char *id, const json_t *doc)
{
    if (json_bool(json_object_get(doc, "UserNamespace"), "Own"))
        map_put(&e->id_ranges, id, mem_dup(&(struct userns){0}, sizeof(struct userns)));
    struct userns *place = map_get(&e->id_ranges, id);
    if (place)
        *place = userns__of(doc);
}

void userns__release(struct engine *e, const char *id)
{
    SCOPED_LOCK(locked, &e->lock);
    map_remove(&e->id_ranges, id);
}

/* All that is taken; engine.lock held. */
static size_t taken_ranges(struct engine *e, struct id_range **ret)
{
    struct id_range *list = NULL;
    struct map_entry *entry;
    size_t count = 0;
    /* Lines of others in the pool: nobody's ids are given twice. In a pool that is itself a line, none. */
    struct id_range *listed = NULL;
    size_t n = e->id_pool_first == default_pool.first ? listed_ranges(&listed) : 0;
    list = NEW_N(struct id_range, e->id_ranges.count + n + 1);
    for (size_t i = 0; (entry = map_next(&e->id_ranges, &i));) {
        const struct userns *u = entry->value;
        list[count++] = (struct id_range){u->uid, u->count};
    }
    for (size_t i = 0; i < n; i++)
        list[count++] = listed[i];
    free(listed);
    if (e->remap_count) {
        list = mem_grow(list, count + 2, sizeof(*list));
        list[count++] = (struct id_range){e->remap_uid, e->remap_count};
        list[count++] = (struct id_range){e->remap_gid, e->remap_count};
    }
    *ret = list;
    return count;
}

static int own_range(struct engine *e, const char *id, uint32_t count, struct userns *ret, struct err *err)
{
    _cleanup_free_ struct id_range *taken = NULL;
    uint32_t first;
    SCOPED_LOCK(locked, &e->lock);
    size_t n = taken_ranges(e, &taken);
    int r = userns_ranges_place((struct id_range){e->id_pool_first, e->id_pool_count}, count, RANGE_IDS,
                                taken, n, &first, err);
    if (r < 0)
        return r;
    *ret = (struct userns){first, first, count};
    map_put(&e->id_ranges, id, mem_dup(ret, sizeof(*ret)));
    return 0;
}

/* "auto:size=N" */
static int size_of(const char *mode, uint32_t *ret, struct err *err)
{
    const char *size = str_after(mode, "auto:size=");
    int64_t count = RANGE_IDS;
    *ret = RANGE_IDS;
    if (!size)
        return 0;
    int r = parse_i64(size, RANGE_IDS_MIN, 1 << 24, &count, err);
    *ret = (uint32_t)count;
    return r < 0 ? err_wrap(err, "\"HostConfig.UsernsMode\": \"%s\"", mode) : 0;
}

/* Docker's words for what would join root's own namespaces. */
static int check_sharing(const json_t *host, struct err *err)
{
    if (json_bool(host, "Privileged"))
        return err_set(err, ERR_INVALID,
                       "privileged mode is incompatible with user namespaces.  You must run the container in "
                       "the host namespace when running privileged mode");
    if (str_eq(network__mode(host), "host"))
        return err_set(err, ERR_INVALID,
                       "cannot share the host's network namespace when user namespaces are enabled");
    if (str_eq(json_str(host, "PidMode"), "host"))
        return err_set(err, ERR_INVALID,
                       "cannot share the host PID namespace when user namespaces are enabled");
    return 0;
}

/* The container whose namespaces are to be joined: they can only be entered from its user namespace. */
const char *userns__joined(const json_t *host)
{
    static const char *const fields[] = {"PidMode", "IpcMode"};
    const char *other = str_after(network__mode(host), "container:");
    for (size_t i = 0; !other && i < ARRAY_SIZE(fields); i++)
        other = str_after(json_str(host, fields[i]), "container:");
    return other;
}

static int choose_as(struct engine *e, const char *ref, const char *mode, json_t **ret, struct err *err)
{
    _cleanup_container_ struct container *other = NULL;
    bool wants = !str_empty(mode) && !str_eq(mode, "host");
    int r = container__find(e, ref, &other, err);
    if (r == -ERR_NOT_FOUND && !wants) { /* it may come before the start: see userns__check_joined() */
        *ret = NULL;
        return 0;
    }
    if (r == -ERR_NOT_FOUND && err)
        r = -(err->code = ERR_INVALID); /* the body is wrong; 404 would mean the image to clients */
    if (r < 0)
        return r;
    _cleanup_json_ json_t *doc = container__doc(other);
    struct userns u = userns__of(doc);
    if (wants || (u.count && str_eq(mode, "host")))
        return err_set(err, ERR_CONFLICT,
                       "\"HostConfig.UsernsMode\": a container that joins namespaces of %.12s has its user "
                       "namespace too, and cannot have \"%.50s\"",
                       other->id, mode);
    *ret = u.count ? to_json(&u, false) : NULL;
    return 0;
}

/* Whoever has that name now need not be who had it, if anybody did, when the container was made. */
int userns__check_joined(struct engine *e, const json_t *own_doc, struct err *err)
{
    const char *ref = userns__joined(json_object_get(own_doc, "HostConfig"));
    _cleanup_container_ struct container *other = NULL;
    int r = ref ? container__find(e, ref, &other, err) : 0;
    if (!ref || r < 0)
        return r;
    _cleanup_json_ json_t *doc = container__doc(other);
    struct userns u = userns__of(doc), own = userns__of(own_doc);
    if (u.count == own.count && (!u.count || (u.uid == own.uid && u.gid == own.gid)))
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "container %.12s has another user namespace than this one was made for: create this one "
                   "again to join it",
                   other->id);
}

int userns__choose(struct engine *e, const char *id, const json_t *host, json_t **ret, struct err *err)
{
    const char *mode = json_str(host, "UsernsMode"), *other = userns__joined(host);
    bool own = str_eq(mode, "private") || str_eq(mode, "auto") || str_after(mode, "auto:size=");
    struct userns u = {e->remap_uid, e->remap_gid, e->remap_count};
    *ret = NULL;
    if (*mode && !own && !str_eq(mode, "host"))
        return err_set(err, ERR_INVALID,
                       "invalid userns mode: \"%.100s\" can be host, private, auto or auto:size=N", mode);
    if (own && process_in_user_namespace())
        return err_set(err, ERR_UNSUPPORTED,
                       "\"HostConfig.UsernsMode\": \"%s\" is not supported by a serve without root", mode);
    if (other) {
        return choose_as(e, other, mode, ret, err);
    }
    if (str_eq(mode, "host") || (!own && !e->remap_count))
        return 0;
    uint32_t count;
    int r = check_sharing(host, err);
    if (r == 0)
        r = size_of(mode, &count, err);
    if (r == 0 && own)
        r = own_range(e, id, count, &u, err);
    if (r == 0)
        *ret = to_json(&u, own);
    return r;
}

/* --- the namespaces --- */

static int write_map(pid_t pid, const char *file, uint32_t first, uint32_t count, struct err *err)
{
    char path[64], text[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    snprintf(text, sizeof(text), "0 %u %u\n", first, count);
    int r = file_poke(path, text, err);
    return r < 0 ? err_wrap(err, "map %u ids from %u on", count, first) : 0;
}

static int open_of_process(pid_t pid, const char *name, int *ret, struct err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    *ret = fd;
    return 0;
}

int userns__open(const struct userns *u, int *ret_user, int *ret_net, struct err *err)
{
    /* A process must be in it for its map to be written; it does nothing else. Without an exit signal nobody
     * else's wait sees it. */
    struct clone_args args = {.flags = CLONE_NEWUSER | (ret_net ? CLONE_NEWNET : 0u)};
    _cleanup_close_ int user = -EBADF, net = -EBADF;
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        for (;;)
            pause();
    if (pid < 0)
        return err_sys(err, errno, "make a user namespace (see the sysctl user.max_user_namespaces)");
    int r = write_map(pid, "uid_map", u->uid, u->count, err);
    if (r == 0)
        r = write_map(pid, "gid_map", u->gid, u->count, err);
    if (r == 0)
        r = open_of_process(pid, "user", &user, err);
    if (r == 0 && ret_net)
        r = open_of_process(pid, "net", &net, err);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
    if (r == 0 && ret_net)
        r = net_namespace_prepare(net, err);
    if (r < 0)
        return r;
    *ret_user = take_fd(&user);
    if (ret_net)
        *ret_net = take_fd(&net);
    return 0;
}

/* One more network in a user namespace that is there: a process enters that, and makes it. */
int userns__net_in(int user, int *ret_net, struct err *err)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    struct clone_args args = {0};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0) {
        char ok = setns(user, CLONE_NEWUSER) == 0 && unshare(CLONE_NEWNET) == 0;
        if (write(ready[1], &ok, 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char ok = 0;
    close_fd(ready[1]);
    int r = pid < 0 ? err_sys(err, errno, "fork") : 0;
    if (r == 0 && (read(ready[0], &ok, 1) != 1 || !ok))
        r = err_set(err, ERR_SYSTEM,
                    "a network namespace could not be made in another container's user "
                    "namespace");
    close_fd(ready[0]);
    _cleanup_close_ int net = -EBADF;
    if (r == 0)
        r = open_of_process(pid, "net", &net, err);
    if (pid > 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
            ;
    }
    if (r == 0)
        r = net_namespace_prepare(net, err);
    if (r == 0)
        *ret_net = take_fd(&net);
    return r;
}

int userns__open_of(struct container *c, int *ret_user, struct err *err)
{
    int r = container__running(c) ? open_of_process(container__state(c).pid, "user", ret_user, err)
                                  : err_set(err, ERR_CONFLICT, "container %.12s is not running", c->id);
    if (r == 0 && !container__running(c)) {
        *ret_user = close_fd(*ret_user);
        return err_set(err, ERR_CONFLICT, "container %.12s is not running", c->id);
    }
    return r;
}

void userns__describe(const struct userns *u, size_t index, json_t *spec)
{
    json_t *linux_ = json_object_get(spec, "linux");
    char path[16];
    snprintf(path, sizeof(path), "fd:%zu", index);
    json_array_append_new(json_object_get(linux_, "namespaces"),
                          json_pack("{s:s,s:s}", "type", "user", "path", path));
    json_object_set_new(linux_, "uidMappings",
                        json_pack("[{s:i,s:I,s:I}]", "containerID", 0, "hostID", (json_int_t)u->uid, "size",
                                  (json_int_t)u->count));
    json_object_set_new(linux_, "gidMappings",
                        json_pack("[{s:i,s:I,s:I}]", "containerID", 0, "hostID", (json_int_t)u->gid, "size",
                                  (json_int_t)u->count));
}

/* --- a thread's identity for making files --- */

/* Leaving user 0 takes rights over files away, which the permitted set still has. */
static int keep_rights(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &head, data) < 0)
        return err_sys(err, errno, "read capabilities");
    for (int i = 0; i < 2; i++)
        data[i].effective = data[i].permitted;
    return syscall(SYS_capset, &head, data) < 0 ? err_sys(err, errno, "keep capabilities") : 0;
}

int userns__identity_take(const struct tar_ids *ids, struct userns_identity *ret, struct err *err)
{
    if (!ids->count)
        return 0;
    ret->taken = true;
    setfsgid(ids->gid);
    setfsuid(ids->uid);
    return keep_rights(err);
}

void userns__identity_give_back(struct userns_identity *identity)
{
    if (!identity->taken)
        return;
    setfsuid(geteuid());
    setfsgid(getegid());
}
