/* "linux.devices" and "linux.sysctl" of the config. */
#include "base/json.h"
#include "base/str.h"
#include "runtime/plan.h"

#include <ctype.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static void strip_slashes(struct plan_device *device)
{
    size_t n = strlen(device->path);
    while (n > 1 && device->path[n - 1] == '/')
        n--;
    if (device->path[n])
        device->path = device->own_path = mem_strndup(device->path, n);
}

static int parse_device(const json_t *entry, struct plan_device *device, struct err *err)
{
    const char *type = "";
    int64_t major_ = -1, minor_ = -1, mode = 0666, uid = 0, gid = 0;
    if (!json_is_object(entry))
        return err_set(err, ERR_INVALID, "\"linux.devices\": a device must be an object");
    int r = json_get_string(entry, "linux.devices", "type", &type, err);
    if (r == 0)
        r = json_get_string(entry, "linux.devices", "path", &device->path, err);
    if (r == 0)
        r = json_get_i64(entry, "linux.devices", "major", &major_, err);
    if (r == 0)
        r = json_get_i64(entry, "linux.devices", "minor", &minor_, err);
    if (r == 0)
        r = json_get_i64(entry, "linux.devices", "fileMode", &mode, err);
    if (r == 0)
        r = json_get_i64(entry, "linux.devices", "uid", &uid, err);
    if (r == 0)
        r = json_get_i64(entry, "linux.devices", "gid", &gid, err);
    if (r < 0)
        return r;
    if (str_empty(device->path) || *device->path != '/')
        return err_set(err, ERR_INVALID, "\"linux.devices\": the path of a device must be absolute");
    strip_slashes(device);
    mode_t kind = str_eq(type, "c") || str_eq(type, "u") ? S_IFCHR
                  : str_eq(type, "b")                    ? S_IFBLK
                  : str_eq(type, "p")                    ? S_IFIFO
                                                         : 0;
    if (!kind)
        return err_set(err, ERR_INVALID, "device %s: unknown type \"%s\"", device->path, type);
    if (kind == S_IFIFO)
        major_ = minor_ = 0;
    if (major_ < 0 || major_ > 4095 || minor_ < 0 || minor_ > 0xfffff)
        return err_set(err, ERR_INVALID,
                       "device %s: major and minor must be given and be a possible number, not %lld:%lld",
                       device->path, (long long)major_, (long long)minor_);
    if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX || mode < 0)
        return err_set(err, ERR_INVALID, "device %s: uid, gid or fileMode is out of range", device->path);
    device->mode = kind | ((mode_t)mode & 07777);
    device->number = makedev((unsigned)major_, (unsigned)minor_);
    device->uid = (uid_t)uid;
    device->gid = (gid_t)gid;
    return 0;
}

int plan__parse_devices(const json_t *list, struct plan *plan, struct err *err)
{
    if (json_array_size(list) > PLAN_MAX_ITEMS)
        return err_set(err, ERR_LIMIT, "more than %d devices", PLAN_MAX_ITEMS);
    plan->devices = NEW_N(struct plan_device, json_array_size(list) + 1);
    size_t i;
    json_t *entry;
    json_array_foreach (list, i, entry) {
        plan->device_count++;
        int r = parse_device(entry, &plan->devices[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The namespace that a sysctl belongs to, or 0 when it is the whole machine's. */
static uint64_t sysctl_namespace(const char *name)
{
    static const char *const ipc[] = {"kernel.msgmax", "kernel.msgmnb",         "kernel.msgmni",
                                      "kernel.sem",    "kernel.shmall",         "kernel.shmmax",
                                      "kernel.shmmni", "kernel.shm_rmid_forced"};
    for (size_t i = 0; i < ARRAY_SIZE(ipc); i++)
        if (str_eq(name, ipc[i]))
            return CLONE_NEWIPC;
    if (str_after(name, "fs.mqueue."))
        return CLONE_NEWIPC;
    if (str_after(name, "net."))
        return CLONE_NEWNET;
    return str_eq(name, "kernel.domainname") ? CLONE_NEWUTS : 0;
}

/* "net.ipv4.conf.eth0/1.forwarding" is net/ipv4/conf/eth0.1/forwarding: sysctl(8) swaps the two signs. */
static char *sysctl_path(const char *name)
{
    char *path = str_printf("/proc/sys/%s", name);
    for (char *c = path + strlen("/proc/sys/"); *c; c++)
        *c = *c == '.' ? '/' : *c == '/' ? '.' : *c;
    return path;
}

/* It becomes a path: one that leads elsewhere would be another name than the one that is checked. */
static int check_sysctl_name(const char *name, struct err *err)
{
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-/:@", *c))
            return err_set(err, ERR_INVALID, "sysctl \"%s\" is not a well-formed name", name);
    if (!isalnum((unsigned char)*name) || strstr(name, "//") || strstr(name, ".."))
        return err_set(err, ERR_INVALID,
                       "sysctl \"%s\" is not a well-formed name: it contains an invalid path", name);
    return 0;
}

static int parse_sysctl(const char *name, const json_t *value, struct plan *plan, struct err *err)
{
    uint64_t owner = sysctl_namespace(name);
    int r = check_sysctl_name(name, err);
    if (r < 0)
        return r;
    if (str_eq(name, "kernel.hostname"))
        return err_set(err, ERR_INVALID, "sysctl \"%s\" conflicts with the config's \"hostname\": use that",
                       name);
    if (!owner)
        return err_set(err, ERR_DENIED,
                       "sysctl \"%s\" is not of a namespace: it would change the whole machine", name);
    if (!json_is_string(value))
        return err_set(err, ERR_INVALID, "\"linux.sysctl.%s\" must be a string", name);
    if (!(plan->namespaces & owner))
        return err_set(err, ERR_DENIED,
                       "sysctl \"%s\" needs a namespace that the container shares with the machine", name);
    plan->sysctls[plan->sysctl_count++] =
        (struct plan_sysctl){.path = sysctl_path(name), .name = name, .value = json_string_value(value)};
    return 0;
}

int plan__parse_sysctls(const json_t *sysctls, struct plan *plan, struct err *err)
{
    if (json_object_size(sysctls) > PLAN_MAX_ITEMS)
        return err_set(err, ERR_LIMIT, "more than %d sysctls", PLAN_MAX_ITEMS);
    plan->sysctls = NEW_N(struct plan_sysctl, json_object_size(sysctls) + 1);
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)sysctls, name, value) {
        int r = parse_sysctl(name, value, plan, err);
        if (r < 0)
            return r;
    }
    return 0;
}
