/* Every key of the Compose Specification: what its value may be, or why it is refused. docs/compose.md is
 * made from this table too. */
#include "compose/schema_priv.h"

#include <stddef.h>

#define NOT_HERE(w)   .shape = F_NOT, .words = w
#define IDLE(s, f, n) .shape = (s) | F_IDLE, .fields = f, .note = n
#define NOTE(n)       .note = n

#define WINDOWS    "it is for Windows"
#define SWARM_ONLY "it is for services of several machines"
#define HARDWARE   "passed to the engine, which refuses it by name where the hardware is not there"

/* clang-format off */
static const struct field external_fields[] = {
    {"name", F_STR, NOTE("of old files; write name: beside external: true")}, {NULL}};
static const struct field ipam_pool_fields[] = {
    {"subnet", F_STR}, {"gateway", F_STR}, {"ip_range", F_STR}, {"aux_addresses", F_DICT}, {NULL}};
static const struct field ipam_fields[] = {
    {"driver", F_STR}, {"config", F_LIST | F_MAP | F_DEEP, ipam_pool_fields}, {"options", F_DICT}, {NULL}};
static const struct field network_fields[] = {
    {"name", F_STR}, {"driver", F_STR, NOTE("any that the engine has")}, {"driver_opts", F_DICT},
    {"ipam", F_STRUCT | F_MAP, ipam_fields}, {"external", F_BOOL | F_MAP, external_fields}, {"internal", F_BOOL},
    {"attachable", F_BOOL}, {"labels", F_KEYS}, {"enable_ipv4", F_KEEP | F_BOOL}, {"enable_ipv6", F_KEEP | F_BOOL},
    {NULL}};
static const struct field volume_fields[] = {
    {"name", F_STR}, {"driver", F_STR, NOTE("any that the engine has")}, {"driver_opts", F_DICT},
    {"external", F_BOOL | F_MAP, external_fields}, {"labels", F_KEYS}, {NULL}};
#define NO_STORE "there is no store of secrets and configs on one machine; use file:, environment: or content:"
static const struct field secret_fields[] = {
    {"name", F_STR}, {"file", F_STR}, {"environment", F_STR}, {"content", F_STR},
    {"external", F_BOOL | F_MAP, external_fields, NOTE("for services of a swarm; one machine alone has no store of them")},
    {"labels", IDLE(F_KEYS, NULL, "labels are for a store of secrets; there is none on one machine")},
    {"driver", NOT_HERE(NO_STORE)}, {"driver_opts", NOT_HERE(NO_STORE)}, {"template_driver", NOT_HERE(NO_STORE)},
    {NULL}};
static const struct field ulimit_fields[] = {
    {"soft", F_YAML | F_INT}, {"hard", F_YAML | F_INT}, {NULL}};
#define OF_RUN "RUN --mount=type=secret says who owns the file"
static const struct field build_grant_fields[] = {
    {"source", F_STR}, {"target", F_STR, NOTE("the id in RUN --mount=type=secret,id=ID")},
    {"uid", IDLE(F_STR | F_INT, NULL, OF_RUN)}, {"gid", IDLE(F_STR | F_INT, NULL, OF_RUN)},
    {"mode", IDLE(F_KEEP | F_OCTAL | F_STR | F_INT, NULL, OF_RUN)}, {NULL}};
static const struct field build_fields[] = {
    {"context", F_STR, NOTE("a directory, or the URL of a git repository or of an archive, which the engine fetches")}, {"dockerfile", F_STR}, {"dockerfile_inline", F_STR},
    {"entitlements", F_LIST, NOTE("security.insecure, which RUN --security=insecure needs, and network.host")}, {"args", F_KEYS},
    {"ssh", F_KEYS, NOTE("`default`, or ID=SOCKET of an agent; a file with a key is refused")}, {"labels", F_KEYS},
    {"cache_from", F_LIST, NOTE("as `drover build --cache-from` takes them")},
    {"cache_to", F_LIST, NOTE("as `drover build --cache-to` takes them; a directory of type=local is relative to where drover runs")},
    {"no_cache", F_BOOL},
    {"additional_contexts", F_KEYS, NOTE("a directory, a URL as for `context`, docker-image://REFERENCE, oci-layout://DIRECTORY, service:NAME")}, {"pull", F_BOOL},
    {"extra_hosts", F_MANY | F_KEYS}, {"isolation", F_ENUM, .words = "default"}, {"network", F_STR}, {"target", F_STR},
    {"secrets", F_LIST, build_grant_fields}, {"shm_size", F_SIZE}, {"tags", F_LIST},
    {"ulimits", F_NAMED | F_INT, ulimit_fields}, {"platforms", F_LIST, NOTE("`drover build` makes an image for each of several, and pushes an index of them with --push; else it is `platform`, or the engine's own")},
    {"privileged", F_BOOL, NOTE("as the entitlement security.insecure")},
    {"provenance", F_STR | F_BOOL, NOTE("off unless given; as `drover build --provenance`")},
    {"sbom", F_STR | F_BOOL, NOTE("off unless given; as `drover build --sbom`")}, {NULL}};
static const struct field port_fields[] = {
    {"name", F_STR, NOTE("for people")},
    {"mode", F_ENUM, .words = "host|ingress", NOTE("both publish on this machine")}, {"host_ip", F_STR},
    {"target", F_INT}, {"published", F_STR | F_INT, NOTE("a range takes its first free port")},
    {"protocol", F_ENUM, .words = "tcp|udp|sctp"}, {"app_protocol", F_STR, NOTE("for people")}, {NULL}};
static const struct field mount_bind_fields[] = {
    {"selinux", F_ENUM, .words = "z|Z", NOTE("passed to the engine as the volume's mode")}, {"propagation", F_STR},
    {"create_host_path", F_BOOL}, {"recursive", F_ENUM, .words = "enabled|disabled|writable|readonly"}, {NULL}};
static const struct field mount_volume_fields[] = {
    {"nocopy", F_BOOL}, {"subpath", F_STR}, {"labels", F_KEYS}, {NULL}};
static const struct field mount_tmpfs_fields[] = {
    {"size", F_SIZE}, {"mode", F_OCTAL | F_INT | F_STR}, {NULL}};
static const struct field mount_image_fields[] = {
    {"subpath", F_STR}, {NULL}};
static const struct field mount_fields[] = {
   
    {"type", F_ENUM, .words = "bind|volume|tmpfs|image|npipe|cluster", NOTE("npipe (Windows) and cluster are refused by the engine")},
    {"source", F_STR}, {"target", F_STR}, {"read_only", F_BOOL},
    {"consistency", F_STR, NOTE("has no meaning on Linux")}, {"bind", F_MAP, mount_bind_fields},
    {"volume", F_MAP, mount_volume_fields}, {"tmpfs", F_MAP, mount_tmpfs_fields},
    {"image", F_MAP, mount_image_fields}, {NULL}};
static const struct field service_network_fields[] = {
    {"priority", F_NUM, NOTE("the order of joining")}, {"gw_priority", F_NUM}, {"aliases", F_LIST},
    {"ipv4_address", F_STR}, {"ipv6_address", F_STR}, {"link_local_ips", F_LIST}, {"mac_address", F_STR},
    {"driver_opts", F_DICT}, {"interface_name", F_STR, NOTE("driver option com.docker.network.endpoint.ifname")},
    {NULL}};
static const struct field depends_fields[] = {
    {"condition", F_ENUM, .words = "service_started|service_healthy|service_completed_successfully"},
    {"restart", F_BOOL}, {"required", F_KEEP | F_BOOL}, {NULL}};
static const struct field health_fields[] = {
    {"test", F_STR | F_LIST}, {"timeout", F_KEEP | F_TIME}, {"interval", F_KEEP | F_TIME},
    {"retries", F_KEEP | F_INT}, {"start_period", F_KEEP | F_TIME}, {"start_interval", F_KEEP | F_TIME},
    {"disable", F_BOOL}, {NULL}};
static const struct field device_request_fields[] = {
    {"capabilities", F_LIST}, {"driver", F_STR}, {"count", F_INT | F_STR}, {"device_ids", F_LIST},
    {"options", F_KEYS}, {NULL}};
static const struct field discrete_fields[] = {
    {"kind", F_KEEP | F_STR}, {"value", F_KEEP | F_NUM}, {NULL}};
static const struct field generic_fields[] = {
    {"discrete_resource_spec", F_MAP, discrete_fields}, {NULL}};
static const struct field limit_fields[] = {
    {"cpus", F_NUM}, {"memory", F_SIZE}, {"pids", F_INT}, {NULL}};
static const struct field reservation_fields[] = {
    {"cpus", F_NUM, NOTE("as shares of the CPUs when they are busy")}, {"memory", F_SIZE},
    {"devices", F_LIST | F_DEEP, device_request_fields, NOTE(HARDWARE)},
    {"generic_resources", IDLE(F_LIST | F_DEEP, generic_fields, SWARM_ONLY)}, {NULL}};
static const struct field resources_fields[] = {
    {"limits", F_MAP, limit_fields}, {"reservations", F_MAP, reservation_fields}, {NULL}};
static const struct field restart_policy_fields[] = {
    {"condition", F_ENUM, .words = "none|on-failure|any|always|unless-stopped|no"},
    {"delay", IDLE(F_KEEP | F_TIME, NULL, "the engine's own back-off is used")}, {"max_attempts", F_KEEP | F_INT},
    {"window", IDLE(F_KEEP | F_TIME, NULL, "the engine counts a start as good after ten seconds")}, {NULL}};
static const struct field rollout_fields[] = {
    {"parallelism", F_KEEP | F_INT}, {"delay", F_TIME}, {"failure_action", F_STR}, {"monitor", F_TIME},
    {"max_failure_ratio", F_NUM}, {"order", F_ENUM, .words = "start-first|stop-first"}, {NULL}};
static const struct field preference_fields[] = {
    {"spread", F_STR}, {NULL}};
static const struct field placement_fields[] = {
    {"constraints", F_LIST}, {"preferences", F_LIST | F_DEEP, preference_fields}, {"max_replicas_per_node", F_INT},
    {NULL}};
static const struct field deploy_fields[] = {
    {"mode", F_ENUM, .words = "replicated|global", NOTE("global is one replica on one machine; jobs are refused")},
    {"replicas", F_KEEP | F_INT}, {"labels", IDLE(F_KEYS, NULL, SWARM_ONLY)},
    {"update_config", IDLE(F_MAP, rollout_fields, SWARM_ONLY)},
    {"rollback_config", IDLE(F_MAP, rollout_fields, SWARM_ONLY)}, {"resources", F_STRUCT | F_MAP, resources_fields},
    {"restart_policy", F_MAP, restart_policy_fields},
    {"placement", IDLE(F_STRUCT | F_MAP, placement_fields, SWARM_ONLY)},
    {"endpoint_mode", IDLE(F_STR, NULL, SWARM_ONLY)}, {NULL}};
static const struct field env_file_fields[] = {
    {"path", F_STR}, {"required", F_KEEP | F_BOOL}, {"format", F_ENUM, .words = "raw"}, {NULL}};
static const struct field grant_fields[] = {
    {"source", F_STR}, {"target", F_STR},
    {"uid", F_STR | F_INT, NOTE("the file is then copied into the container, not bound")},
    {"gid", F_STR | F_INT, NOTE("likewise")}, {"mode", F_KEEP | F_OCTAL | F_STR | F_INT, NOTE("likewise; octal")}, {NULL}};
static const struct field logging_fields[] = {
    {"driver", F_STR}, {"options", F_DICT}, {NULL}};
static const struct field extends_fields[] = {
    {"service", F_STR}, {"file", F_STR}, {NULL}};
static const struct field blkio_rate_fields[] = {
    {"path", F_CASE | F_STR}, {"rate", F_CASE | F_SIZE}, {NULL}};
static const struct field blkio_weight_fields[] = {
    {"path", F_CASE | F_STR}, {"weight", F_CASE | F_INT}, {NULL}};
static const struct field blkio_fields[] = {
    {"weight", F_INT}, {"weight_device", F_LIST | F_DEEP, blkio_weight_fields},
    {"device_read_bps", F_LIST | F_DEEP, blkio_rate_fields}, {"device_read_iops", F_LIST | F_DEEP, blkio_rate_fields},
    {"device_write_bps", F_LIST | F_DEEP, blkio_rate_fields},
    {"device_write_iops", F_LIST | F_DEEP, blkio_rate_fields}, {NULL}};
static const struct field hook_fields[] = {
    {"command", F_WORDS | F_STR | F_LIST}, {"user", F_STR}, {"privileged", F_BOOL}, {"working_dir", F_STR},
    {"environment", F_KEYS}, {NULL}};
static const struct field watch_fields[] = {
    {"path", F_STR}, {"action", F_ENUM, .words = "sync|rebuild|restart|sync+restart|sync+exec"}, {"target", F_STR},
    {"exec", F_STRUCT | F_MAP, hook_fields}, {"ignore", F_STR | F_LIST}, {"include", F_STR | F_LIST},
    {"initial_sync", F_BOOL}, {NULL}};
static const struct field develop_fields[] = {
    {"watch", F_LIST | F_DEEP, watch_fields}, {NULL}};
static const struct field device_fields[] = {
    {"source", F_STR}, {"target", F_STR}, {"permissions", F_STR}, {NULL}};

static const struct field service_fields[] = {
    {"profiles", F_LIST}, {"annotations", F_KEYS}, {"attach", F_KEEP | F_BOOL},
    {"build", F_STR | F_MAP, build_fields}, {"develop", F_MAP | F_NULL, develop_fields},
    {"blkio_config", F_MAP, blkio_fields}, {"cap_add", F_LIST}, {"cap_drop", F_LIST}, {"cgroup_parent", F_STR},
    {"cgroup", F_ENUM, .words = "host|private"}, {"cpu_count", NOT_HERE(WINDOWS)}, {"cpu_percent", NOT_HERE(WINDOWS)},
    {"cpu_period", F_INT | F_TIME}, {"cpu_quota", F_INT | F_TIME}, {"cpu_rt_period", F_INT | F_TIME, NOTE(HARDWARE)},
    {"cpu_rt_runtime", F_INT | F_TIME, NOTE(HARDWARE)}, {"cpus", F_NUM}, {"cpuset", F_STR}, {"cpu_shares", F_NUM},
    {"command", F_WORDS | F_STR | F_LIST | F_NULL}, {"configs", F_LIST, grant_fields}, {"container_name", F_STR},
    {"credential_spec", NOT_HERE(WINDOWS)}, {"depends_on", F_LIST | F_NAMED, depends_fields},
    {"deploy", F_MAP | F_NULL, deploy_fields}, {"device_cgroup_rules", F_LIST},
    {"devices", F_LIST, device_fields, NOTE("CDI names (vendor.com/class=name) are refused")},
    {"dns", F_STR | F_LIST}, {"dns_opt", F_LIST}, {"dns_search", F_STR | F_LIST}, {"domainname", F_STR},
    {"entrypoint", F_WORDS | F_STR | F_LIST | F_NULL},
    {"provider", NOT_HERE("providers are plug-ins of another program; run the service as a container")},
    {"environment", F_KEYS}, {"env_file", F_STR | F_LIST, env_file_fields}, {"expose", F_LIST},
    {"extends", F_STR | F_MAP, extends_fields}, {"external_links", F_LIST}, {"extra_hosts", F_MANY | F_KEYS},
    {"group_add", F_LIST}, {"gpus", F_STR | F_LIST, device_request_fields, NOTE(HARDWARE)}, {"hostname", F_STR},
    {"healthcheck", F_MAP, health_fields}, {"image", F_STR}, {"init", F_KEEP | F_BOOL}, {"ipc", F_STR},
    {"isolation", F_ENUM, .words = "default", NOTE("others are for Windows")}, {"labels", F_KEYS},
    {"label_file", F_STR | F_LIST}, {"links", F_LIST, NOTE("the alias is known on the whole network")},
    {"logging", F_MAP, logging_fields}, {"mem_limit", F_SIZE}, {"mem_reservation", F_SIZE}, {"memswap_limit", F_SIZE},
    {"mem_swappiness", F_SIZE}, {"mac_address", F_STR},
    {"models", NOT_HERE("there is no runner of models; run one as a service")}, {"network_mode", F_STR},
    {"networks", F_LIST | F_NAMED | F_NULL, service_network_fields}, {"oom_kill_disable", F_BOOL},
    {"oom_score_adj", F_INT}, {"pid", F_STR}, {"pids_limit", F_INT}, {"platform", F_STR},
    {"ports", F_LIST, port_fields}, {"privileged", F_BOOL},
    {"pull_policy", F_STR, NOTE("always, missing, if_not_present, never, build, daily, weekly, every_DURATION")},
    {"pull_refresh_after", F_TIME}, {"read_only", F_BOOL}, {"restart", F_STR}, {"runtime", F_STR},
    {"scale", F_KEEP | F_INT}, {"secrets", F_LIST, grant_fields}, {"security_opt", F_LIST}, {"shm_size", F_SIZE},
    {"stdin_open", F_BOOL}, {"stop_grace_period", F_KEEP | F_TIME}, {"stop_signal", F_STR},
    {"storage_opt", F_DICT, NOTE("passed to the engine, which refuses what it has not")}, {"sysctls", F_KEYS},
    {"tmpfs", F_STR | F_LIST}, {"tty", F_BOOL}, {"ulimits", F_NAMED | F_INT, ulimit_fields},
    {"use_api_socket", F_BOOL, NOTE("the server's socket at /var/run/docker.sock; no credentials go along")},
    {"user", F_STR}, {"userns_mode", F_STR}, {"uts", F_STR}, {"volumes", F_LIST, mount_fields},
    {"volumes_from", F_LIST}, {"working_dir", F_STR}, {"post_start", F_LIST | F_DEEP, hook_fields},
    {"pre_stop", F_LIST | F_DEEP, hook_fields}, {NULL}};
static const struct field include_fields[] = {
    {"path", F_STR | F_LIST}, {"project_directory", F_STR}, {"env_file", F_STR | F_LIST}, {NULL}};
const struct field schema__top[] = {
    {"name", F_STR}, {"version", F_ANY | F_NUM, NOTE("has no meaning any more, and says so")},
    {"include", F_LIST, include_fields}, {"services", F_NAMED | F_NULL, service_fields},
    {"networks", F_NAMED | F_NULL, network_fields}, {"volumes", F_NAMED | F_NULL, volume_fields},
    {"secrets", F_NAMED | F_NULL, secret_fields}, {"configs", F_NAMED | F_NULL, secret_fields},
    {"models", NOT_HERE("there is no runner of models; run one as a service")}, {NULL}};
/* clang-format on */
