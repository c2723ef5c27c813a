/* "linux.namespaces", "linux.timeOffsets" and what they demand of each other (config-linux.md, "Namespaces").
 */
#include "base/json.h"
#include "base/str.h"
#include "runtime/plan.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *type, *file; /* its name in /proc/self/ns */
    uint64_t flag;
} types[] = {
    {"pid", "pid", CLONE_NEWPID},    {"mount", "mnt", CLONE_NEWNS},    {"uts", "uts", CLONE_NEWUTS},
    {"ipc", "ipc", CLONE_NEWIPC},    {"network", "net", CLONE_NEWNET}, {"cgroup", "cgroup", CLONE_NEWCGROUP},
    {"user", "user", CLONE_NEWUSER}, {"time", "time", CLONE_NEWTIME},
};

const char *plan__namespace_type(size_t i)
{
    return i < ARRAY_SIZE(types) ? types[i].type : NULL;
}

uint64_t plan__namespace_flag(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (str_eq(type, types[i].type))
            return types[i].flag;
    return 0;
}

static int open_namespace(const char *path, const struct runtime_launch *launch, struct plan_join *join,
                          struct err *err)
{
    const char *number = str_after(path, "fd:");
    if (number) {
        int64_t n;
        int r = parse_i64(number, 0, INT32_MAX, &n, err);
        if (r < 0)
            return r;
        if ((size_t)n >= launch->fd_count)
            return err_set(err, ERR_INVALID, "namespace path \"%s\": only %zu descriptors were passed", path,
                           launch->fd_count);
        join->fd = launch->fds[n];
        join->owned = false;
        return 0;
    }
    if (*path != '/')
        return err_set(err, ERR_INVALID, "\"linux.namespaces\": the path \"%s\" is not absolute", path);
    join->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    join->owned = true;
    return join->fd < 0 ? err_sys(err, errno, "open namespace %s", path) : 0;
}

/* Whether it is the one we are in. Joining that would be no change, and for a user namespace an error. */
static int is_our_own(const struct plan_join *join, const char *file, const char *path, bool *ret,
                      struct err *err)
{
    char own[32];
    snprintf(own, sizeof(own), "/proc/self/ns/%s", file);
    struct stat ours, there;
    int kind = ioctl(join->fd, NS_GET_NSTYPE);
    if (kind < 0)
        return err_set(err, ERR_INVALID, "\"linux.namespaces\": %s is not a namespace", path);
    if (kind != join->flag)
        return err_set(err, ERR_INVALID, "\"linux.namespaces\": %s is not a namespace of type \"%s\"", path,
                       file);
    if (stat(own, &ours) < 0 || fstat(join->fd, &there) < 0)
        return err_sys(err, errno, "look at namespace %s", path);
    *ret = ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
    return 0;
}

static int join_namespace(const char *path, size_t type, const struct runtime_launch *launch,
                          struct plan *plan, struct err *err)
{
    must(plan->join_count < PLAN_MAX_JOINS);
    struct plan_join *join = &plan->joins[plan->join_count];
    int r = open_namespace(path, launch, join, err);
    if (r < 0)
        return r;
    plan->join_count++;
    join->flag = (int)types[type].flag;
    if (!join->owned)
        return 0;
    bool own = false;
    r = is_our_own(join, types[type].file, path, &own, err);
    if (r == 0 && own) {
        plan->join_count--;
        join->fd = close_fd(join->fd);
        plan->namespaces &= ~types[type].flag;
    }
    return r;
}

static int parse_namespace(const json_t *entry, const struct runtime_launch *launch, struct plan *plan,
                           struct err *err)
{
    const char *name = "", *path = NULL;
    if (!json_is_object(entry))
        return err_set(err, ERR_INVALID, "\"linux.namespaces\" has an entry that is not an object");
    int r = json_get_string(entry, "linux.namespaces", "type", &name, err);
    if (r == 0)
        r = json_get_string(entry, "linux.namespaces", "path", &path, err);
    if (r < 0)
        return r;
    size_t type = 0;
    while (type < ARRAY_SIZE(types) && !str_eq(name, types[type].type))
        type++;
    if (type == ARRAY_SIZE(types))
        return err_set(err, ERR_INVALID, "\"linux.namespaces.type\": unknown namespace type \"%s\"", name);
    uint64_t flag = types[type].flag;
    if (plan->seen_namespaces & flag)
        return err_set(err, ERR_INVALID, "\"linux.namespaces\": namespace \"%s\" is listed twice", name);
    plan->seen_namespaces |= flag;
    plan->namespaces |= flag;
    if (!str_empty(path))
        return join_namespace(path, type, launch, plan, err);
    if (flag == CLONE_NEWCGROUP)
        plan->new_cgroup_namespace = true;
    else if (flag == CLONE_NEWTIME)
        plan->new_time_namespace = true;
    else
        plan->new_namespaces |= flag;
    return 0;
}

int plan__parse_namespaces(const json_t *list, const struct runtime_launch *launch, struct plan *plan,
                           struct err *err)
{
    size_t i;
    json_t *entry;
    json_array_foreach (list, i, entry) {
        int r = parse_namespace(entry, launch, plan, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int plan__parse_time_offsets(const json_t *offsets, struct plan *plan, struct err *err)
{
    static const struct {
        const char *name;
        int clock;
    } clocks[] = {{"monotonic", CLOCK_MONOTONIC}, {"boottime", CLOCK_BOOTTIME}};
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)offsets, name, value) {
        size_t i = 0;
        int64_t seconds = 0, nanoseconds = 0;
        while (i < ARRAY_SIZE(clocks) && !str_eq(name, clocks[i].name))
            i++;
        if (i == ARRAY_SIZE(clocks))
            return err_set(err, ERR_INVALID, "\"linux.timeOffsets\": unknown clock \"%s\"", name);
        if (!json_is_object(value))
            return err_set(err, ERR_INVALID, "\"linux.timeOffsets.%s\" must be an object", name);
        int r = json_get_i64(value, "linux.timeOffsets", "secs", &seconds, err);
        if (r == 0)
            r = json_get_i64(value, "linux.timeOffsets", "nanosecs", &nanoseconds, err);
        if (r < 0)
            return r;
        if (nanoseconds < 0 || nanoseconds > 999999999)
            return err_set(err, ERR_INVALID,
                           "\"linux.timeOffsets.%s.nanosecs\": %lld is not between 0 and "
                           "999999999",
                           name, (long long)nanoseconds);
        plan->time_offsets[plan->time_offset_count++] =
            (struct plan_time_offset){clocks[i].clock, seconds, (uint32_t)nanoseconds};
    }
    if (plan->time_offset_count && !plan->new_time_namespace)
        return err_set(err, ERR_INVALID,
                       "\"linux.timeOffsets\" is given, but the container has no time namespace of its own");
    return 0;
}

int plan__check_namespaces(const struct plan *plan, struct err *err)
{
    bool own_users = plan->new_namespaces & CLONE_NEWUSER;
    bool maps = plan->id_maps.uid_count || plan->id_maps.gid_count;
    if (maps && !(plan->namespaces & CLONE_NEWUSER))
        return err_set(err, ERR_INVALID,
                       "\"linux.uidMappings\" or \"linux.gidMappings\" is given, but the "
                       "container has no user namespace");
    if (own_users && !plan->id_maps.uid_count)
        return err_set(err, ERR_INVALID,
                       "a new user namespace needs \"linux.uidMappings\" to say who its users are");
    if (own_users && !plan->id_maps.gid_count)
        return err_set(err, ERR_INVALID,
                       "a new user namespace needs \"linux.gidMappings\" to say who its groups are");
    if (!str_empty(plan->hostname) && !(plan->namespaces & CLONE_NEWUTS))
        return err_set(err, ERR_INVALID,
                       "\"hostname\" is given, but the container has no uts namespace of its own");
    if (!str_empty(plan->domainname) && !(plan->namespaces & CLONE_NEWUTS))
        return err_set(err, ERR_INVALID,
                       "\"domainname\" is given, but the container has no uts namespace of its own");
    bool changes_tree = plan->mount_count || strv_len(plan->masked_paths) || strv_len(plan->readonly_paths) ||
                        plan->device_count || plan->root_readonly;
    if (!(plan->namespaces & CLONE_NEWNS) &&
        (plan->overlay || plan->root_propagation || (changes_tree && !plan->mounts_in_place)))
        return err_set(err, ERR_INVALID,
                       "a container without a mount namespace cannot have mounts, devices, masked or "
                       "read-only paths: they would be made on the whole machine");
    return 0;
}
