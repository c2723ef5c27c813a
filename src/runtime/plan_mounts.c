/* "mounts" and id maps of the config. */
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "runtime/plan.h"

#include <sys/mount.h>

/* Far above any list of layers; and what the kernel takes in a uid_map (user_namespaces(7)). */
enum { MAX_DATA = 65536 };

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
    static const char *const others[] = {
        "bind",      "rbind",   "private",    "rprivate",     "shared",       "rshared",
        "slave",     "rslave",  "unbindable", "runbindable",  "idmap",        "ridmap",
        "tmpcopyup", "remount", "defaults",   "copy-symlink", "src-nofollow", "dest-nofollow"};
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

/* What changes more than a flag. */
static bool parse_special(const char *text, struct plan_mount *mount)
{
    const char *top_map = str_after(text, "idmap="), *tree_map = str_after(text, "ridmap=");
    if (str_eq(text, "bind") || str_eq(text, "rbind")) {
        mount->bind = true;
        mount->recursive |= *text == 'r';
    } else if (str_eq(text, "idmap")) {
        mount->idmap = MAX(mount->idmap, IDMAP_TOP);
    } else if (str_eq(text, "ridmap")) {
        mount->idmap = IDMAP_TREE;
    } else if (top_map || tree_map) {
        mount->idmap = tree_map ? IDMAP_TREE : MAX(mount->idmap, IDMAP_TOP);
        mount->idmap_option = tree_map ? tree_map : top_map;
    } else if (str_eq(text, "remount")) {
        mount->remount = true;
    } else if (str_eq(text, "tmpcopyup")) {
        mount->copy_up = true;
    } else if (str_eq(text, "copy-symlink")) { /* these three as crun has them */
        mount->copy_symlink = true;
    } else if (str_eq(text, "src-nofollow")) {
        mount->keep_source = true;
    } else if (str_eq(text, "dest-nofollow")) {
        mount->keep_destination = true;
    } else {
        return str_eq(text, "defaults") || !*text;
    }
    return true;
}

/* `*ret_super` is set to an option that only a filesystem as a whole can have. */
static int parse_option(const char *text, struct plan_mount *mount, struct str *data, const char **ret_super,
                        struct err *err)
{
    const struct option *option = option_find(text);
    unsigned long propagation = plan__propagation(text);
    if (parse_special(text, mount))
        return 0;
    if (option) {
        mount->flags = option->clear ? mount->flags & ~option->flag : mount->flags | option->flag;
        if (option->attr || option->mask)
            apply(option, &mount->attr_set, &mount->attr_clear);
        else if (!option->clear && option->flag != MS_SILENT)
            *ret_super = option->name;
    } else if (propagation) {
        if (mount->propagation_count == PLAN_MAX_PROPAGATIONS)
            return err_set(err, ERR_LIMIT, "mount of %s: more than %d propagation options",
                           mount->destination, PLAN_MAX_PROPAGATIONS);
        mount->propagations[mount->propagation_count++] = propagation;
    } else if (*text == 'r' && (option = option_find(text + 1)) && (option->attr || option->mask)) {
        apply(option, &mount->tree_set, &mount->tree_clear);
    } else {
        str_addf(data, "%s%s", data->len ? "," : "", text);
    }
    return 0;
}

/* The kernel does not look at what a bind says of its file system, which is there already. Who says so may
 * think that it is a new one, and is told, where somebody listens. */
static void leave_out_data(const struct runtime_launch *launch, const struct plan_mount *mount,
                           struct str *data)
{
    if (!mount->bind || !data->len || !launch->warn)
        return;
    _cleanup_free_ char *text =
        str_printf("mount of %s: a bind mount cannot take the option \"%s\": it is left out",
                   mount->destination, str_get(data));
    launch->warn(text);
    str_clear(data);
}

static int check_options(struct plan_mount *mount, const char *super, const struct str *data, struct err *err)
{
    if (mount->bind && (data->len || (super && !mount->remount)))
        return err_set(err, ERR_INVALID, "mount of %s: a bind mount cannot take the option \"%s\"",
                       mount->destination, data->len ? str_get(data) : super);
    if (mount->copy_up && !str_eq(mount->type, "tmpfs"))
        return err_set(err, ERR_INVALID, "mount of %s: only a tmpfs can have \"tmpcopyup\"",
                       mount->destination);
    if ((mount->copy_symlink || mount->keep_source || mount->keep_destination) &&
        (!mount->bind || mount->remount))
        return err_set(err, ERR_INVALID,
                       "mount of %s: only a bind mount can have \"copy-symlink\", \"src-nofollow\" or "
                       "\"dest-nofollow\"",
                       mount->destination);
    if (mount->idmap && (!mount->bind || mount->remount))
        return err_set(err, ERR_UNSUPPORTED, "mount of %s: only a bind mount can be id-mapped",
                       mount->destination);
    if (data->len > MAX_DATA)
        return err_set(err, ERR_LIMIT, "mount of %s: more than %d bytes of options", mount->destination,
                       MAX_DATA);
    return 0;
}

static int parse_options(char **list, const struct runtime_launch *launch, struct plan_mount *mount,
                         struct err *err)
{
    _cleanup_str_ struct str data = STR_INIT;
    const char *super = NULL;
    STRV_FOREACH (text, list) {
        int r = parse_option(*text, mount, &data, &super, err);
        if (r < 0)
            return r;
    }
    if (str_eq(mount->type, "bind") || str_eq(mount->type, "rbind")) {
        mount->bind = true;
        mount->recursive |= *mount->type == 'r';
    }
    if (!mount->idmap && (mount->id_maps.uid_count || mount->id_maps.gid_count))
        mount->idmap = IDMAP_TOP;
    leave_out_data(launch, mount, &data);
    int r = check_options(mount, super, &data, err);
    if (r == 0 && data.len)
        mount->data = str_take(&data);
    return r;
}

static int find_given(struct plan_mount *mount, const struct runtime_launch *launch, struct err *err)
{
    int64_t n = 0;
    int r = parse_i64(str_after(mount->source, "fd:"), 0, (int64_t)launch->fd_count - 1, &n, err);
    if (r < 0)
        return err_wrap(err, "mount of %s", mount->destination);
    mount->given = launch->fds[n] + 1;
    return 0;
}

/* The path in the container of what is named by its place below the root on the machine; NULL for any other.
 */
static const char *path_within(const char *root, const char *path)
{
    const char *within = str_empty(root) || str_eq(root, "/") ? NULL : str_after(path, root);
    if (!within || (*within && *within != '/'))
        return NULL;
    return *within ? within : "/";
}

/* The sources of binds are the host's: relative ones are the bundle's. Destinations are absolute by the
 * specification; a relative one has always been taken as if it began at the root. */
static int complete_paths(struct plan_mount *mount, const struct plan *plan,
                          const struct runtime_launch *launch, struct err *err)
{
    if (str_empty(mount->destination))
        return err_set(err, ERR_INVALID, "a mount has no destination");
    if (*mount->destination != '/')
        mount->destination = mount->own_destination = str_printf("/%s", mount->destination);
    const char *within = path_within(plan->root, mount->destination);
    if (within)
        mount->destination = within;
    if (mount->remount || !mount->bind)
        return 0;
    if (str_empty(mount->source))
        return err_set(err, ERR_INVALID, "mount of %s: a bind mount needs a source", mount->destination);
    mount->source_within = path_within(plan->root, mount->source);
    if (*mount->source == '/')
        return 0;
    if (launch->fd_count && str_after(mount->source, "fd:"))
        return find_given(mount, launch, err);
    if (str_empty(plan->bundle))
        return err_set(err, ERR_INVALID, "mount of %s: the source of a bind mount must be an absolute path",
                       mount->destination);
    mount->source = mount->own_source = str_printf("%s/%s", plan->bundle, mount->source);
    mount->source_within = path_within(plan->root, mount->source);
    return 0;
}

static int parse_mount(const json_t *entry, const struct plan *plan, const struct runtime_launch *launch,
                       struct plan_mount *mount, struct err *err)
{
    _cleanup_strv_ char **list = NULL;
    if (!json_is_object(entry))
        return err_set(err, ERR_INVALID, "\"mounts\": a mount must be an object");
    int r = json_get_string(entry, "mounts", "destination", &mount->destination, err);
    if (r == 0)
        r = json_get_string(entry, "mounts", "type", &mount->type, err);
    if (r == 0)
        r = json_get_string(entry, "mounts", "source", &mount->source, err);
    if (r == 0)
        r = json_get_strv(entry, "mounts", "options", &list, err);
    if (r == 0)
        r = plan__parse_id_maps(entry, "mounts", &mount->id_maps, err);
    if (r == 0)
        r = parse_options(list, launch, mount, err);
    if (r == 0 && mount->idmap_option)
        r = plan__parse_id_map_option(mount, &plan->id_maps, err);
    if (r == 0)
        r = complete_paths(mount, plan, launch, err);
    if (r == 0 && !mount->bind && !mount->remount && str_empty(mount->type))
        return err_set(err, ERR_INVALID, "mount of %s has no type", mount->destination);
    return r;
}

int plan__parse_mounts(const json_t *list, const struct runtime_launch *launch, struct plan *plan,
                       struct err *err)
{
    if (json_array_size(list) > PLAN_MAX_ITEMS)
        return err_set(err, ERR_LIMIT, "more than %d mounts", PLAN_MAX_ITEMS);
    plan->mounts = NEW_N(struct plan_mount, json_array_size(list) + 1);
    size_t i;
    json_t *entry;
    json_array_foreach (list, i, entry) {
        plan->mounts[plan->mount_count].tree_fd = plan->mounts[plan->mount_count].userns_fd = -EBADF;
        int r = parse_mount(entry, plan, launch, &plan->mounts[plan->mount_count++], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static void id_maps_done(struct plan_id_maps *maps)
{
    free(maps->uids);
    free(maps->gids);
}

void plan__mounts_done(struct plan *plan)
{
    for (size_t i = 0; i < plan->mount_count; i++) {
        struct plan_mount *mount = &plan->mounts[i];
        free(mount->own_source);
        free(mount->own_destination);
        free(mount->data);
        id_maps_done(&mount->id_maps);
        close_fd(mount->tree_fd);
        close_fd(mount->userns_fd);
    }
    free(plan->mounts);
    for (size_t i = 0; i < plan->device_count; i++)
        free(plan->devices[i].own_path);
    free(plan->devices);
    id_maps_done(&plan->id_maps);
    if (plan->root_prepared)
        close_fd(plan->root_fd);
    for (size_t i = 0; i < plan->node_count; i++)
        close_fd(plan->node_fds[i]);
    free(plan->node_fds);
}
