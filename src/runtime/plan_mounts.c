/* "mounts", "linux.devices" and "linux.sysctl" of the config. */
#include "base/json.h"
#include "base/str.h"
#include "runtime/plan.h"

#include <ctype.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* config.md, "Linux mount options". `attr` is the same as an attribute of one mount, for binds and for the
 * recursive forms, which have an "r" in front. A clearing option names what it takes away. */
static const struct option {
    const char *name;
    unsigned long flag;
    uint64_t attr;
    uint64_t mask; /* bits of the field that `attr` replaces; 0: attr itself */
    bool clear;
} options[] = {
    {"ro", MS_RDONLY, MOUNT_ATTR_RDONLY, 0, false},
    {"rw", MS_RDONLY, MOUNT_ATTR_RDONLY, 0, true},
    {"nosuid", MS_NOSUID, MOUNT_ATTR_NOSUID, 0, false},
    {"suid", MS_NOSUID, MOUNT_ATTR_NOSUID, 0, true},
    {"nodev", MS_NODEV, MOUNT_ATTR_NODEV, 0, false},
    {"dev", MS_NODEV, MOUNT_ATTR_NODEV, 0, true},
    {"noexec", MS_NOEXEC, MOUNT_ATTR_NOEXEC, 0, false},
    {"exec", MS_NOEXEC, MOUNT_ATTR_NOEXEC, 0, true},
    {"noatime", MS_NOATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, false},
    {"atime", MS_NOATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, true},
    {"relatime", MS_RELATIME, MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME, false},
    {"norelatime", MS_RELATIME, MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME, true},
    {"strictatime", MS_STRICTATIME, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME, false},
    {"nostrictatime", MS_STRICTATIME, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME, true},
    {"nodiratime", MS_NODIRATIME, MOUNT_ATTR_NODIRATIME, 0, false},
    {"diratime", MS_NODIRATIME, MOUNT_ATTR_NODIRATIME, 0, true},
    {"nosymfollow", MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW, 0, false},
    {"symfollow", MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW, 0, true},
    {"sync", MS_SYNCHRONOUS, 0, 0, false},
    {"async", MS_SYNCHRONOUS, 0, 0, true},
    {"dirsync", MS_DIRSYNC, 0, 0, false},
    {"mand", MS_MANDLOCK, 0, 0, false},
    {"nomand", MS_MANDLOCK, 0, 0, true},
    {"iversion", MS_I_VERSION, 0, 0, false},
    {"noiversion", MS_I_VERSION, 0, 0, true},
    {"lazytime", MS_LAZYTIME, 0, 0, false},
    {"nolazytime", MS_LAZYTIME, 0, 0, true},
    {"silent", MS_SILENT, 0, 0, false},
    {"loud", MS_SILENT, 0, 0, true},
};

static const struct option *option_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (str_eq(name, options[i].name))
            return &options[i];
    return NULL;
}

json_t *plan__mount_option_names(void)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        json_array_append_new(list, json_string(options[i].name));
        if (options[i].attr || options[i].mask)
            json_array_append_new(list, json_sprintf("r%s", options[i].name));
    }
    static const char *const others[] = {"bind",    "rbind",  "private",   "rprivate",   "shared",
                                         "rshared", "slave",  "rslave",    "unbindable", "runbindable",
                                         "idmap",   "ridmap", "tmpcopyup", "remount",    "defaults"};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        json_array_append_new(list, json_string(others[i]));
    return list;
}

static void apply(const struct option *option, uint64_t *set, uint64_t *clear)
{
    uint64_t mask = option->mask ? option->mask : option->attr;
    /* An access-time field is cleared as a whole, as mount_setattr(2) demands. */
    *set &= ~mask;
    *clear |= option->mask;
    if (option->clear)
        *clear |= mask;
    else {
        *set |= option->attr;
        if (!option->mask)
            *clear &= ~mask;
    }
}

static int parse_option(const char *text, struct plan_mount *mount, struct str *data, bool *ret_plain_flag,
                        struct err *err)
{
    const struct option *option = option_find(text);
    unsigned long propagation = plan__propagation(text);
    if (str_eq(text, "bind") || str_eq(text, "rbind")) {
        mount->bind = true;
        mount->recursive |= *text == 'r';
    } else if (option) {
        mount->flags = option->clear ? mount->flags & ~option->flag : mount->flags | option->flag;
        if (option->attr || option->mask)
            apply(option, &mount->attr_set, &mount->attr_clear);
        else
            *ret_plain_flag = true;
    } else if (propagation) {
        mount->propagation = propagation;
    } else if (*text == 'r' && (option = option_find(text + 1)) && (option->attr || option->mask)) {
        apply(option, &mount->tree_set, &mount->tree_clear);
    } else if (str_eq(text, "idmap") || str_eq(text, "ridmap") || str_eq(text, "tmpcopyup") ||
               str_eq(text, "remount")) {
        return err_set(err, ERR_UNSUPPORTED, "mount option \"%s\" of %s is not supported", text,
                       mount->destination);
    } else if (*text && !str_eq(text, "defaults")) {
        str_addf(data, "%s%s", data->len ? "," : "", text);
    }
    return 0;
}

static int parse_options(char **list, struct plan_mount *mount, struct err *err)
{
    _cleanup_str_ struct str data = STR_INIT;
    bool plain_flag = false;
    STRV_FOREACH (text, list) {
        int r = parse_option(*text, mount, &data, &plain_flag, err);
        if (r < 0)
            return r;
    }
    if (str_eq(mount->type, "bind") || str_eq(mount->type, "rbind")) {
        mount->bind = true;
        mount->recursive |= *mount->type == 'r';
    }
    if (mount->bind && (data.len || plain_flag))
        return err_set(err, ERR_INVALID, "mount of %s: a bind mount cannot take the option \"%s\"",
                       mount->destination,
                       data.len ? str_get(&data) : "sync, dirsync, mand, iversion, lazytime");
    /* mount(2) takes one page of options and ignores what is behind. */
    if (data.len > 4000)
        return err_set(err, ERR_LIMIT, "mount of %s: more than 4000 bytes of options", mount->destination);
    if (data.len)
        mount->data = str_take(&data);
    return 0;
}

static int parse_mount(const json_t *entry, struct plan_mount *mount, struct err *err)
{
    static const char *const refused[] = {"uidMappings", "gidMappings", NULL};
    _cleanup_strv_ char **list = NULL;
    int r = plan__refuse(entry, "mounts", refused, err);
    if (r == 0)
        r = json_get_string(entry, "mounts", "destination", &mount->destination, err);
    if (r == 0)
        r = json_get_string(entry, "mounts", "type", &mount->type, err);
    if (r == 0)
        r = json_get_string(entry, "mounts", "source", &mount->source, err);
    if (r == 0)
        r = json_get_strv(entry, "mounts", "options", &list, err);
    if (r < 0)
        return r;
    if (str_empty(mount->destination))
        return err_set(err, ERR_INVALID, "a mount has no destination");
    if ((r = parse_options(list, mount, err)) < 0)
        return r;
    if (mount->bind && (str_empty(mount->source) || *mount->source != '/'))
        return err_set(err, ERR_INVALID, "mount of %s: the source of a bind mount must be an absolute path",
                       mount->destination);
    if (!mount->bind && str_empty(mount->type))
        return err_set(err, ERR_INVALID, "mount of %s has no type", mount->destination);
    return 0;
}

int plan__parse_mounts(const json_t *list, struct plan *plan, struct err *err)
{
    if (json_array_size(list) > PLAN_MAX_ITEMS)
        return err_set(err, ERR_LIMIT, "more than %d mounts", PLAN_MAX_ITEMS);
    plan->mounts = NEW_N(struct plan_mount, json_array_size(list) + 1);
    size_t i;
    json_t *entry;
    json_array_foreach (list, i, entry) {
        plan->mount_count++;
        int r = parse_mount(entry, &plan->mounts[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_device(const json_t *entry, struct plan_device *device, struct err *err)
{
    const char *type = "";
    int64_t major_ = 0, minor_ = 0, mode = 0666, uid = 0, gid = 0;
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
    if (major_ < 0 || major_ > 4095 || minor_ < 0 || minor_ > 0xfffff)
        return err_set(err, ERR_INVALID, "device %s: no such number %lld:%lld", device->path,
                       (long long)major_, (long long)minor_);
    mode_t kind = str_eq(type, "c") || str_eq(type, "u") ? S_IFCHR
                  : str_eq(type, "b")                    ? S_IFBLK
                  : str_eq(type, "p")                    ? S_IFIFO
                                                         : 0;
    if (!kind)
        return err_set(err, ERR_INVALID, "device %s: unknown type \"%s\"", device->path, type);
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
    return str_eq(name, "kernel.domainname") || str_eq(name, "kernel.hostname") ? CLONE_NEWUTS : 0;
}

/* "net.ipv4.conf.eth0/1.forwarding" is net/ipv4/conf/eth0.1/forwarding: sysctl(8) swaps the two signs. */
static char *sysctl_path(const char *name)
{
    char *path = str_printf("/proc/sys/%s", name);
    for (char *c = path + strlen("/proc/sys/"); *c; c++)
        *c = *c == '.' ? '/' : *c == '/' ? '.' : *c;
    return path;
}

static int parse_sysctl(const char *name, const json_t *value, struct plan *plan, struct err *err)
{
    uint64_t owner = sysctl_namespace(name);
    if (!owner)
        return err_set(err, ERR_DENIED,
                       "sysctl \"%s\" is not of a namespace: it would change the whole machine", name);
    if (!json_is_string(value))
        return err_set(err, ERR_INVALID, "\"linux.sysctl.%s\" must be a string", name);
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-/:@", *c))
            return err_set(err, ERR_INVALID, "sysctl \"%s\" is not a well-formed name", name);
    if (strstr(name, "//") || strstr(name, ".."))
        return err_set(err, ERR_INVALID, "sysctl \"%s\" is not a well-formed name", name);
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
