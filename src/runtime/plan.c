#include "runtime/plan.h"

#include "base/json.h"
#include "base/str.h"
#include "runtime/filter.h"
#include "runtime/labels.h"
#include "runtime/listener.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

static bool is_empty(const json_t *value)
{
    if (!value || json_is_null(value) || json_is_false(value))
        return true;
    if (json_is_string(value))
        return json_string_length(value) == 0;
    if (json_is_array(value))
        return json_array_size(value) == 0;
    return json_is_object(value) && json_object_size(value) == 0;
}

int plan__refuse(const json_t *object, const char *where, const char *const *keys, struct err *err)
{
    for (; *keys; keys++)
        if (!is_empty(json_object_get(object, *keys)))
            return err_set(err, ERR_UNSUPPORTED, "\"%s%s%s\" of the container's config is not supported",
                           where, *where ? "." : "", *keys);
    return 0;
}

unsigned long plan__propagation(const char *option)
{
    static const struct {
        const char *name;
        unsigned long flags;
    } table[] = {
        {"private", MS_PRIVATE},
        {"shared", MS_SHARED},
        {"slave", MS_SLAVE},
        {"unbindable", MS_UNBINDABLE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (str_eq(option, table[i].name))
            return table[i].flags;
        if (*option == 'r' && str_eq(option + 1, table[i].name))
            return table[i].flags | MS_REC;
    }
    return 0;
}

static int parse_root(const json_t *spec, struct plan *plan, struct err *err)
{
    json_t *root = NULL;
    int r = json_get_object(spec, "", "root", &root, err);
    if (r == 0)
        r = json_get_bool(root, "root", "readonly", &plan->root_readonly, err);
    const char *path = NULL; /* the caller's to resolve */
    if (r == 0)
        r = json_get_string(root, "root", "path", &path, err);
    return r;
}

static int parse_seccomp(const json_t *policy, struct plan *plan, struct err *err)
{
    int r = seccomp_compile(policy, &plan->seccomp, &plan->seccomp_flags, err);
    return r < 0 ? r : listener_parse(policy, plan->seccomp_flags, &plan->listener, err);
}

static int parse_linux(const json_t *linux_, const struct runtime_launch *launch, struct plan *plan,
                       struct err *err)
{
    static const char *const refused[] = {"intelRdt", NULL};
    json_t *namespaces = NULL, *devices = NULL, *sysctl = NULL, *resources = NULL, *seccomp = NULL,
           *offsets = NULL;
    const char *propagation = NULL, *cgroups_path = NULL;
    int r = launch->bundle ? 0 : plan__refuse(linux_, "linux", refused, err); /* a bundle's: resctrl.h */
    if (r == 0)
        r = json_get_array(linux_, "linux", "namespaces", &namespaces, err);
    if (r == 0)
        r = json_get_array(linux_, "linux", "devices", &devices, err);
    if (r == 0)
        r = json_get_object(linux_, "linux", "sysctl", &sysctl, err);
    if (r == 0)
        r = json_get_object(linux_, "linux", "resources", &resources, err);
    if (r == 0)
        r = json_get_object(linux_, "linux", "seccomp", &seccomp, err);
    if (r == 0)
        r = json_get_object(linux_, "linux", "timeOffsets", &offsets, err);
    if (r == 0)
        r = json_get_string(linux_, "linux", "mountLabel", &plan->mount_label, err);
    if (r == 0)
        r = json_get_string(linux_, "linux", "rootfsPropagation", &propagation, err);
    if (r == 0)
        r = json_get_string(linux_, "linux", "cgroupsPath", &cgroups_path, err);
    if (r == 0)
        r = json_get_strv(linux_, "linux", "maskedPaths", &plan->masked_paths, err);
    if (r == 0)
        r = json_get_strv(linux_, "linux", "readonlyPaths", &plan->readonly_paths, err);
    if (r == 0)
        r = plan__parse_namespaces(namespaces, launch, plan, err);
    if (r == 0)
        r = plan__parse_time_offsets(offsets, plan, err);
    if (r == 0)
        r = plan__parse_id_maps(linux_, "linux", &plan->id_maps, err);
    if (r == 0)
        r = plan__parse_devices(devices, plan, err);
    if (r == 0)
        r = plan__parse_sysctls(sysctl, plan, err);
    if (r == 0)
        r = net_devices_parse(linux_, &plan->net_devices, err);
    if (r == 0)
        r = memory_policy_parse(linux_, &plan->memory_policy, err);
    if (r < 0)
        return r;
    if (!str_empty(propagation) && !(plan->root_propagation = plan__propagation(propagation)))
        return err_set(err, ERR_INVALID, "\"linux.rootfsPropagation\": unknown value \"%s\"", propagation);
    if (!str_empty(cgroups_path))
        plan->cgroups_path = mem_strdup(cgroups_path);
    plan->resources = resources;
    return seccomp ? parse_seccomp(seccomp, plan, err) : 0;
}

static int parse_personality(const json_t *linux_, struct plan *plan, struct err *err)
{
    json_t *personality = NULL;
    const char *domain = NULL;
    int r = json_get_object(linux_, "linux", "personality", &personality, err);
    if (r == 0)
        r = plan__refuse(personality, "linux.personality", (const char *const[]){"flags", NULL}, err);
    if (r == 0)
        r = json_get_string(personality, "linux.personality", "domain", &domain, err);
    if (r < 0 || !personality)
        return r;
    if (!domain)
        return err_set(err, ERR_INVALID, "\"linux.personality\" has no \"domain\"");
    if (str_eq(domain, "LINUX"))
        plan->personality = 0;
    else if (str_eq(domain, "LINUX32"))
        plan->personality = 8;
    else
        return err_set(err, ERR_INVALID, "\"linux.personality.domain\": unknown value \"%s\"", domain);
    return 0;
}

/* What one part of the config demands of another. */
static int check_whole(const struct plan *plan, struct err *err)
{
    if (!plan->root_prepared && (str_empty(plan->root) || *plan->root != '/'))
        return err_set(err, ERR_INVALID, "the container's root must be an absolute path");
    int r = plan__check_namespaces(plan, err);
    if (r < 0)
        return r;
    if (plan->net_devices.count && !(plan->namespaces & CLONE_NEWNET))
        return err_set(err, ERR_INVALID,
                       "\"linux.netDevices\": unable to move network devices without a NET namespace in "
                       "\"linux.namespaces\"");
    return labels_check(plan->process.apparmor_profile, plan->process.selinux_label, plan->mount_label, err);
}

/* Without SELinux a label on mounts is nothing that could be missed: it is said, and left out, where somebody
 * listens. */
static void leave_out_mount_label(const struct runtime_launch *launch, struct plan *plan)
{
    if (str_empty(plan->mount_label) || !launch->warn || labels_have_selinux())
        return;
    char text[512];
    snprintf(text, sizeof(text),
             "\"linux.mountLabel\" is \"%.200s\", but SELinux is not enabled on this machine: left out",
             plan->mount_label);
    launch->warn(text);
    plan->mount_label = NULL;
}

/* SemVer; what a later major version means is unknown. */
static int check_version(const json_t *spec, struct err *err)
{
    const char *version = NULL;
    int r = json_get_string(spec, "", "ociVersion", &version, err);
    if (r < 0 || !version)
        return r;
    int64_t major_ = 0;
    _cleanup_strv_ char **parts = strv_split(version, '.');
    if (strv_len(parts) < 3 || parse_i64(parts[0], 0, INT32_MAX, &major_, NULL) < 0 || major_ != 1)
        return err_set(err, ERR_UNSUPPORTED, "\"ociVersion\": \"%s\" is not supported, only 1.x.y is",
                       version);
    return 0;
}

/* What an engine that builds its configs itself may leave out, and a bundle may not. */
static int check_required(const struct runtime_launch *launch, const json_t *process, struct err *err)
{
    if (!launch->bundle)
        return 0;
    if (!json_object_get(launch->spec, "ociVersion"))
        return err_set(err, ERR_INVALID, "\"ociVersion\" is missing");
    if (process && str_empty(json_str(process, "cwd")))
        return err_set(err, ERR_INVALID, "\"process.cwd\" is missing: it must be an absolute path");
    return 0;
}

static int check_annotations(const json_t *spec, struct err *err)
{
    json_t *annotations = NULL, *value;
    const char *key;
    int r = json_get_object(spec, "", "annotations", &annotations, err);
    if (r < 0)
        return r;
    json_object_foreach (annotations, key, value)
        if (!*key)
            return err_set(err, ERR_INVALID, "\"annotations\": the name of an annotation is empty");
        else if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "\"annotations.%.200s\" must be a string", key);
    return 0;
}

/* For files that only a group of the user may read, which an ordinary user's namespace cannot map: an
 * annotation that Podman passes on (--group-add keep-groups). */
static bool wants_groups_kept(const json_t *spec)
{
    return str_eq(json_str(json_object_get(spec, "annotations"), "run.oci.keep_original_groups"), "1");
}

/* For a first process that takes signals by waiting for them: the kernel drops what reaches the first process
 * of a PID namespace before it has a handler, unless it is blocked. */
static bool wants_signals_blocked(const json_t *spec)
{
    return str_eq(json_str(json_object_get(spec, "annotations"), RUNTIME_BLOCK_SIGNALS), "1");
}

int plan_parse(const struct runtime_launch *launch, struct plan *ret, struct err *err)
{
    static const char *const refused[] = {"solaris", "windows", "vm", "zos", "freebsd", NULL};
    _cleanup_plan_ struct plan plan = {.id = launch->id,
                                       .root = launch->root,
                                       .bundle = launch->bundle,
                                       .no_pivot = launch->no_pivot,
                                       .mounts_in_place = launch->mounts_in_place,

                                       .listener = {.fd = -EBADF},
                                       .personality = -1};
    if (launch->root_ready) {
        plan.root_prepared = true;
        plan.root_fd = fcntl(launch->root_fd, F_DUPFD_CLOEXEC, 3);
        if (plan.root_fd < 0)
            return err_sys(err, errno, "take the container's root");
    } else if (launch->overlay.lowers) {
        plan.overlay = &launch->overlay;
    }
    json_t *process = NULL, *linux_ = NULL, *mounts = NULL;
    int r = plan__refuse(launch->spec, "", refused, err);
    if (r == 0)
        r = check_version(launch->spec, err);
    if (r == 0)
        r = check_annotations(launch->spec, err);
    if (r == 0)
        r = hooks_parse(launch->spec, &plan.hooks, err);
    if (r == 0)
        r = json_get_object(launch->spec, "", "process", &process, err);
    if (r == 0)
        r = check_required(launch, process, err);
    if (r == 0)
        r = json_get_object(launch->spec, "", "linux", &linux_, err);
    if (r == 0)
        r = json_get_array(launch->spec, "", "mounts", &mounts, err);
    if (r == 0)
        r = json_get_string(launch->spec, "", "hostname", &plan.hostname, err);
    if (r == 0)
        r = json_get_string(launch->spec, "", "domainname", &plan.domainname, err);
    if (r == 0)
        r = parse_root(launch->spec, &plan, err);
    if (r == 0)
        r = parse_linux(linux_, launch, &plan, err);
    if (r == 0)
        r = plan__parse_mounts(mounts, launch, &plan, err);
    /* A container may be made without knowing what it will run: config.md asks for it at start only. */
    if (r == 0 && !process && launch->two_phase)
        plan.process = (struct plan_process){.cwd = "/", .umask = -1};
    else if (r == 0)
        r = plan__parse_process(process, launch, plan.namespaces & CLONE_NEWUSER, &plan.process, err);
    if (r == 0)
        r = parse_personality(linux_, &plan, err);
    if (r == 0) {
        plan.process.keep_groups = wants_groups_kept(launch->spec);
        plan.process.block_signals = wants_signals_blocked(launch->spec);
    }
    if (r == 0) {
        leave_out_mount_label(launch, &plan);
        r = check_whole(&plan, err);
    }
    if (r < 0)
        return r;
    *ret = plan;
    plan = (struct plan){0};
    return 0;
}

int plan_parse_exec(const struct runtime_launch *launch, const json_t *container_spec, struct plan *ret,
                    struct err *err)
{
    _cleanup_plan_ struct plan plan = {
        .id = launch->id, .listener = {.fd = -EBADF}, .personality = -1, .root_is_first_process = true};
    const json_t *process = json_object_get(launch->spec, "process");
    const json_t *linux_ = json_object_get(container_spec, "linux");
    json_t *seccomp = NULL;
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(linux_, "namespaces"), i, entry) {
        uint64_t flag = plan__namespace_flag(json_str(entry, "type"));
        plan.namespaces |= flag;
        if (flag == CLONE_NEWNS && str_empty(json_str(entry, "path")))
            plan.root_is_first_process = false;
    }
    int r = plan__parse_process(process ? process : launch->spec, launch, plan.namespaces & CLONE_NEWUSER,
                                &plan.process, err);
    if (r == 0)
        r = labels_check(plan.process.apparmor_profile, plan.process.selinux_label, NULL, err);
    if (r == 0)
        r = parse_personality(linux_, &plan, err);
    if (r == 0)
        r = memory_policy_parse(linux_, &plan.memory_policy, err);
    if (r == 0)
        r = json_get_object(linux_, "linux", "seccomp", &seccomp, err);
    if (r == 0 && seccomp)
        r = parse_seccomp(seccomp, &plan, err);
    if (r < 0)
        return r;
    *ret = plan;
    plan = (struct plan){0};
    return 0;
}

void plan_done(struct plan *plan)
{
    hooks_done(&plan->hooks);
    listener_done(&plan->listener);
    strv_free(plan->process.args);
    strv_free(plan->process.env);
    free(plan->process.gids);
    free(plan->process.rlimits);
    for (size_t i = 0; i < plan->join_count; i++)
        if (plan->joins[i].owned)
            close_fd(plan->joins[i].fd);
    plan__mounts_done(plan);
    net_devices_done(&plan->net_devices);
    for (size_t i = 0; i < plan->sysctl_count; i++)
        free(plan->sysctls[i].path);
    free(plan->sysctls);
    strv_free(plan->masked_paths);
    strv_free(plan->readonly_paths);
    free(plan->cgroups_path);
}
