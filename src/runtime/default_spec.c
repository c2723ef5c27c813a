/* Docker's defaults for a container, as an OCI config. */
#include "runtime/runtime.h"

#include "base/json.h"
#include "base/process.h"
#include "base/str.h"
#include "runtime/cgroup.h"

#include <pthread.h>

/* In the order of runtime_all_capabilities(). */
static const char *const default_capabilities[] = {
    "CAP_CHOWN",      "CAP_DAC_OVERRIDE", "CAP_FOWNER",      "CAP_FSETID",           "CAP_KILL",
    "CAP_SETGID",     "CAP_SETUID",       "CAP_SETPCAP",     "CAP_NET_BIND_SERVICE", "CAP_NET_RAW",
    "CAP_SYS_CHROOT", "CAP_MKNOD",        "CAP_AUDIT_WRITE", "CAP_SETFCAP",          NULL,
};

/* What in /proc and /sys tells about the machine or lets it be changed. */
static const char *const masked[] = {
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    NULL,
};

static const char *const read_only[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL,
};

static const struct {
    const char *destination, *type, *source, *options;
} mounts[] = {
    {"/proc", "proc", "proc", "nosuid,noexec,nodev"},
    {"/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"},
    {"/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"},
    {"/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"},
    {"/sys/fs/cgroup", "cgroup", "cgroup", "ro,nosuid,noexec,nodev"},
    {"/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"},
    {"/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=67108864"},
};

static const struct {
    char type;
    int major, minor; /* <0: any */
    const char *access;
} device_rules[] = {
    {'c', -1, -1, "m"},    {'b', -1, -1, "m"}, /* nodes may be made, not opened */
    {'c', 1, 3, "rwm"},    {'c', 1, 5, "rwm"}, {'c', 1, 7, "rwm"}, {'c', 1, 8, "rwm"}, {'c', 1, 9, "rwm"},
    {'c', 5, 0, "rwm"},    {'c', 5, 1, "rwm"}, {'c', 5, 2, "rwm"}, /* tty, console, ptmx */
    {'c', 136, -1, "rwm"},                                         /* pts */
};

static json_t *default_mounts(void)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
        /* The group "tty" may have no number where an ordinary user has but few. */
        const char *tty = process_last_group() < 5 ? strstr(mounts[i].options, ",gid=5") : NULL;
        _cleanup_free_ char *text = mem_strndup(mounts[i].options, tty ? (size_t)(tty - mounts[i].options)
                                                                       : strlen(mounts[i].options));
        _cleanup_strv_ char **options = strv_split(text, ',');
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:o}", "destination", mounts[i].destination,
                                              "type", mounts[i].type, "source", mounts[i].source, "options",
                                              json_of_strv(options)));
    }
    return list;
}

static json_t *default_device_rules(void)
{
    json_t *list = json_array();
    json_array_append_new(list, json_pack("{s:b,s:s}", "allow", 0, "access", "rwm"));
    for (size_t i = 0; i < ARRAY_SIZE(device_rules); i++) {
        char type[2] = {device_rules[i].type, '\0'};
        json_t *rule = json_pack("{s:b,s:s,s:s}", "allow", 1, "type", type, "access", device_rules[i].access);
        if (device_rules[i].major >= 0)
            json_object_set_new(rule, "major", json_integer(device_rules[i].major));
        if (device_rules[i].minor >= 0)
            json_object_set_new(rule, "minor", json_integer(device_rules[i].minor));
        json_array_append_new(list, rule);
    }
    return list;
}

static json_t *default_process(void)
{
    json_t *capabilities = json_object();
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
        json_object_set_new(capabilities, sets[i], json_of_strv((char *const *)default_capabilities));
    return json_pack("{s:b,s:{s:i,s:i},s:[],s:[s],s:s,s:o,s:i}", "terminal", 0, "user", "uid", 0, "gid", 0,
                     "args", "env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                     "cwd", "/", "capabilities", capabilities, "oomScoreAdj", 0);
}

static json_t *default_namespaces(void)
{
    static const char *const types[] = {"mount", "uts", "pid", "ipc", "cgroup"};
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        json_array_append_new(list, json_pack("{s:s}", "type", types[i]));
    return list;
}

/* Takes the policy, which may be NULL. */
static json_t *spec_with(json_t *seccomp)
{
    json_t *linux_ = json_pack("{s:o,s:o,s:o,s:{s:o},s:o*,s:[]}", "namespaces", default_namespaces(),
                               "maskedPaths", json_of_strv((char *const *)masked), "readonlyPaths",
                               json_of_strv((char *const *)read_only), "resources", "devices",
                               default_device_rules(), "seccomp", seccomp, "devices");
    json_t *spec = json_pack("{s:s,s:{s:s,s:b},s:o,s:o,s:o}", "ociVersion", RUNTIME_SPEC_VERSION, "root",
                             "path", "rootfs", "readonly", 0, "process", default_process(), "mounts",
                             default_mounts(), "linux", linux_);
    must(spec);
    return spec;
}

json_t *runtime_default_spec(void)
{
    return spec_with(runtime_default_seccomp((char *const *)default_capabilities));
}

static json_t *shared;

static void make_shared(void)
{
    shared = spec_with(NULL);
}

const json_t *runtime_shared_defaults(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_shared);
    return shared;
}
