/* spec and features: a config to start from, and what the runtime can do. */
#include "base/file.h"
#include "base/json.h"
#include "oci/bundle.h"
#include "oci/commands.h"
#include "runtime/cgroup.h"
#include "runtime/runtime.h"

#include <unistd.h>

/* One terminal with a shell in a read-only root; the rest is what config-linux.md calls the default file
 * systems, and what a container should not see of /proc and /sys. */
static const char template[] =
    "{\"ociVersion\":\"" RUNTIME_SPEC_VERSION "\","
    "\"process\":{\"terminal\":true,\"user\":{\"uid\":0,\"gid\":0},\"args\":[\"sh\"],"
    "\"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\",\"TERM=xterm\"],"
    "\"cwd\":\"/\",\"capabilities\":{"
    "\"bounding\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"],"
    "\"effective\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"],"
    "\"permitted\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"]},"
    "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":1024,\"soft\":1024}],\"noNewPrivileges\":true},"
    "\"root\":{\"path\":\"rootfs\",\"readonly\":true},\"hostname\":\"drover\",\"mounts\":["
    "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
    "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
    "\"options\":[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
    "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
    "\"options\":[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"
    "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\","
    "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=65536k\"]},"
    "{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\","
    "\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
    "{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\","
    "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
    "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\","
    "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]}],"
    "\"linux\":{\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]},"
    "\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},"
    "{\"type\":\"mount\"}],"
    "\"maskedPaths\":[\"/proc/acpi\",\"/proc/asound\",\"/proc/kcore\",\"/proc/keys\",\"/proc/latency_stats\","
    "\"/proc/timer_list\",\"/proc/timer_stats\",\"/proc/sched_debug\",\"/sys/firmware\",\"/proc/scsi\"],"
    "\"readonlyPaths\":[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\",\"/proc/sysrq-trigger\"]}}";

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    must(json_parse(text, strlen(text), "template", &value, NULL) == 0);
    return value;
}

static void remove_option(json_t *mount, const char *prefix)
{
    json_t *options = json_object_get(mount, "options");
    for (size_t i = json_array_size(options); i-- > 0;)
        if (str_after(json_string_value(json_array_get(options, i)), prefix))
            json_array_remove(options, i);
}

/* What a user may do without root: its own id only, the host's network, no cgroups. */
static void make_rootless(json_t *config)
{
    json_t *linux_ = json_object_get(config, "linux"), *mounts = json_object_get(config, "mounts");
    json_t *namespaces = json_object_get(linux_, "namespaces");
    json_object_del(linux_, "resources");
    json_object_set_new(linux_, "uidMappings", bundle_one_id(geteuid()));
    json_object_set_new(linux_, "gidMappings", bundle_one_id(getegid()));
    for (size_t i = json_array_size(namespaces); i-- > 0;)
        if (str_eq(json_str(json_array_get(namespaces, i), "type"), "network"))
            json_array_remove(namespaces, i);
    json_array_append_new(namespaces, parse("{\"type\":\"user\"}"));
    for (size_t i = json_array_size(mounts); i-- > 0;) {
        json_t *mount = json_array_get(mounts, i);
        const char *destination = json_str(mount, "destination");
        remove_option(mount, "gid=");
        if (str_eq(destination, "/sys"))
            json_array_set_new(mounts, i,
                               parse("{\"destination\":\"/sys\",\"type\":\"none\",\"source\":\"/sys\","
                                     "\"options\":[\"rbind\",\"nosuid\",\"noexec\",\"nodev\",\"ro\"]}"));
        else if (str_eq(destination, "/sys/fs/cgroup"))
            json_array_remove(mounts, i);
    }
}

int command_spec(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/config.json", str_empty(args->bundle) ? "." : args->bundle);
    if (file_exists(path))
        return err_set(err, ERR_CONFLICT, "file %s exists; remove it first", path);
    _cleanup_json_ json_t *config = parse(template);
    if (cgroup_host_version() == 2)
        json_array_append_new(json_object_get(json_object_get(config, "linux"), "namespaces"),
                              parse("{\"type\":\"cgroup\"}"));
    if (args->spec_rootless)
        make_rootless(config);
    _cleanup_free_ char *text = json_dumps(config, JSON_INDENT(4));
    _cleanup_free_ char *whole = str_printf("%s\n", text);
    return file_replace(path, whole, strlen(whole), 0666, false, err);
}

int command_features(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_json_ json_t *features = runtime_features();
    json_dumpf(features, stdout, JSON_INDENT(2));
    putchar('\n');
    return 0;
}
