#include "compose/schema.h"

#include "compose/problem.h"
#include "compose/yaml.h"

/* What a value may be; bits may be combined. */
enum shape {
    F_STR = 1 << 0,
    F_BOOL = 1 << 1,
    F_INT = 1 << 2, /* a whole number */
    F_NUM = 1 << 3, /* any number */
    F_SIZE = 1 << 4,
    F_TIME = 1 << 5,
    F_NULL = 1 << 6,
    F_LIST = 1 << 7,   /* a list of scalars; with `fields`, its items may be mappings of these */
    F_DICT = 1 << 8,   /* a mapping of scalars */
    F_MAP = 1 << 9,    /* a mapping of `fields` */
    F_NAMED = 1 << 10, /* a mapping of names to mappings of `fields`; with F_NULL, or to nothing */
    F_ENUM = 1 << 11,  /* one of `words`, separated by '|' */
    F_NOT = 1 << 12,   /* not supported; `words` says why */
    F_ANY = F_STR | F_INT | F_BOOL,
    F_KEYS = F_DICT | F_LIST, /* NAME=value items, or a mapping */
};

struct field {
    const char *key;
    unsigned shape;
    const struct field *fields;
    const char *words;
};

#define NOT_YET     .shape = F_NOT, .words = "not supported by this version"
#define NOT_HERE(w) .shape = F_NOT, .words = w

/* clang-format off */
static const struct field ipam_pool_fields[] = {
    {"subnet", F_STR}, {"gateway", F_STR}, {"ip_range", F_STR}, {"aux_addresses", F_DICT}, {NULL}};
static const struct field ipam_fields[] = {
    {"driver", F_ENUM, .words = "default"}, {"config", F_LIST | F_MAP, ipam_pool_fields},
    {"options", NOT_YET}, {NULL}};
static const struct field network_fields[] = {
    {"name", F_STR}, {"driver", F_ENUM, .words = "bridge"}, {"driver_opts", F_DICT},
    {"external", F_BOOL}, {"internal", F_BOOL}, {"attachable", F_BOOL}, {"labels", F_KEYS},
    {"ipam", F_MAP, ipam_fields}, {"enable_ipv6", NOT_YET}, {"enable_ipv4", NOT_YET}, {NULL}};
static const struct field volume_fields[] = {
    {"name", F_STR}, {"driver", F_ENUM, .words = "local"}, {"driver_opts", F_DICT},
    {"external", F_BOOL}, {"labels", F_KEYS}, {NULL}};
static const struct field secret_fields[] = {
    {"file", F_STR}, {"name", F_STR}, {"labels", NOT_YET},
    {"external", NOT_HERE("secrets of the cluster come later; use file:")},
    {"environment", NOT_HERE("use file:")}, {"content", NOT_HERE("use file:")},
    {"driver", NOT_HERE("use file:")}, {"template_driver", NOT_HERE("use file:")}, {NULL}};
static const struct field build_fields[] = {
    {"context", F_STR}, {"dockerfile", F_STR}, {"args", F_KEYS}, {"target", F_STR}, {"labels", F_KEYS},
    {"network", F_STR}, {"no_cache", F_BOOL}, {"pull", F_BOOL}, {"shm_size", F_SIZE},
    {"extra_hosts", F_KEYS}, {"tags", F_LIST},
    {"dockerfile_inline", NOT_YET}, {"additional_contexts", NOT_YET},
    {"cache_from", NOT_HERE("layers are cached by their content; leave it out")}, {"cache_to", NOT_YET}, {"entitlements", NOT_YET},
    {"isolation", NOT_YET}, {"platforms", NOT_YET}, {"privileged", NOT_YET}, {"provenance", NOT_YET},
    {"sbom", NOT_YET}, {"secrets", NOT_YET}, {"ssh", NOT_YET}, {"ulimits", NOT_YET}, {NULL}};
static const struct field port_fields[] = {
    {"target", F_INT}, {"published", F_STR | F_INT}, {"host_ip", F_STR},
    {"protocol", F_ENUM, .words = "tcp|udp"}, {"mode", F_ENUM, .words = "host|ingress"},
    {"name", F_STR}, {"app_protocol", F_STR}, {NULL}};
static const struct field mount_bind_fields[] = {
    {"create_host_path", F_BOOL}, {"propagation", F_STR},
    {"selinux", NOT_YET}, {"recursive", NOT_YET}, {NULL}};
static const struct field mount_volume_fields[] = {
    {"nocopy", F_BOOL}, {"subpath", NOT_YET}, {"labels", NOT_YET}, {NULL}};
static const struct field mount_tmpfs_fields[] = {{"size", F_SIZE}, {"mode", F_INT}, {NULL}};
static const struct field mount_fields[] = {
    {"type", F_ENUM, .words = "bind|volume|tmpfs"}, {"source", F_STR}, {"target", F_STR},
    {"read_only", F_BOOL}, {"bind", F_MAP, mount_bind_fields}, {"volume", F_MAP, mount_volume_fields},
    {"tmpfs", F_MAP, mount_tmpfs_fields}, {"consistency", NOT_HERE("it has no meaning on Linux; leave it out")},
    {"image", NOT_YET}, {NULL}};
static const struct field service_network_fields[] = {
    {"aliases", F_LIST}, {"ipv4_address", F_STR}, {"priority", F_INT},
    {"ipv6_address", NOT_YET}, {"link_local_ips", NOT_YET}, {"mac_address", NOT_YET},
    {"driver_opts", NOT_YET}, {"gw_priority", NOT_YET}, {"interface_name", NOT_YET}, {NULL}};
static const struct field depends_fields[] = {
    {"condition", F_ENUM, .words = "service_started|service_healthy|service_completed_successfully"},
    {"required", F_BOOL}, {"restart", F_BOOL}, {NULL}};
static const struct field health_fields[] = {
    {"test", F_STR | F_LIST}, {"interval", F_TIME}, {"timeout", F_TIME}, {"retries", F_INT},
    {"start_period", F_TIME}, {"start_interval", F_TIME}, {"disable", F_BOOL}, {NULL}};
static const struct field limit_fields[] = {
    {"cpus", F_NUM}, {"memory", F_SIZE}, {"pids", F_INT}, {"devices", NOT_YET},
    {"generic_resources", NOT_YET}, {NULL}};
static const struct field resources_fields[] = {
    {"limits", F_MAP, limit_fields}, {"reservations", F_MAP, limit_fields}, {NULL}};
static const struct field restart_policy_fields[] = {
    {"condition", F_ENUM, .words = "none|on-failure|any"}, {"max_attempts", F_INT}, {"delay", NOT_YET},
    {"window", NOT_YET}, {NULL}};
static const struct field deploy_fields[] = {
    {"replicas", F_INT}, {"resources", F_MAP, resources_fields}, {"mode", F_ENUM, .words = "replicated"},
    {"restart_policy", F_MAP, restart_policy_fields}, {"labels", NOT_YET}, {"update_config", NOT_YET},
    {"rollback_config", NOT_YET}, {"placement", NOT_YET}, {"endpoint_mode", NOT_YET}, {NULL}};
static const struct field env_file_fields[] = {
    {"path", F_STR}, {"required", F_BOOL}, {"format", NOT_YET}, {NULL}};
static const struct field grant_fields[] = { /* secrets and configs of a service */
    {"source", F_STR}, {"target", F_STR},
    {"uid", NOT_HERE("the file keeps its owner")}, {"gid", NOT_HERE("the file keeps its group")},
    {"mode", NOT_HERE("the file keeps its mode")}, {NULL}};
static const struct field logging_fields[] = {{"driver", F_STR}, {"options", F_DICT}, {NULL}};
static const struct field ulimit_fields[] = {{"soft", F_INT}, {"hard", F_INT}, {NULL}};

static const struct field service_fields[] = {
    {"image", F_STR}, {"build", F_STR | F_MAP, build_fields}, {"command", F_STR | F_LIST | F_NULL},
    {"entrypoint", F_STR | F_LIST | F_NULL}, {"environment", F_KEYS},
    {"env_file", F_STR | F_LIST, env_file_fields}, {"ports", F_LIST, port_fields},
    {"volumes", F_LIST, mount_fields}, {"networks", F_LIST | F_NAMED | F_NULL, service_network_fields},
    {"network_mode", F_STR}, {"depends_on", F_LIST | F_NAMED, depends_fields},
    {"healthcheck", F_MAP, health_fields}, {"restart", F_STR}, {"container_name", F_STR},
    {"expose", F_LIST}, {"hostname", F_STR}, {"domainname", F_STR}, {"user", F_STR}, {"working_dir", F_STR},
    {"tmpfs", F_STR | F_LIST}, {"stop_signal", F_STR}, {"stop_grace_period", F_TIME}, {"mem_limit", F_SIZE},
    {"mem_reservation", F_SIZE}, {"memswap_limit", F_SIZE}, {"cpus", F_NUM}, {"cpu_shares", F_NUM},
    {"cpu_period", F_INT | F_TIME}, {"cpu_quota", F_INT | F_TIME}, {"cpuset", F_STR}, {"pids_limit", F_INT}, {"deploy", F_MAP, deploy_fields},
    {"scale", F_INT}, {"profiles", F_LIST}, {"secrets", F_LIST, grant_fields},
    {"configs", F_LIST, grant_fields}, {"labels", F_KEYS}, {"init", F_BOOL}, {"privileged", F_BOOL},
    {"cap_add", F_LIST}, {"cap_drop", F_LIST}, {"read_only", F_BOOL}, {"security_opt", F_LIST},
    {"sysctls", F_KEYS}, {"ulimits", F_NAMED | F_INT, ulimit_fields}, {"extra_hosts", F_KEYS},
    {"dns", F_STR | F_LIST}, {"dns_search", F_STR | F_LIST}, {"dns_opt", F_LIST}, {"tty", F_BOOL},
    {"stdin_open", F_BOOL}, {"logging", F_MAP, logging_fields}, {"shm_size", F_SIZE}, {"group_add", F_LIST},
    {"devices", F_LIST}, {"pid", F_STR}, {"ipc", F_STR}, {"links", F_LIST}, {"volumes_from", F_LIST},
    {"pull_policy", F_ENUM, .words = "always|missing|if_not_present|never|build"},
    {"annotations", NOT_YET}, {"attach", NOT_YET}, {"blkio_config", NOT_YET}, {"cgroup", NOT_YET},
    {"cgroup_parent", NOT_YET}, {"cpu_count", NOT_HERE("it is for Windows")},
    {"cpu_percent", NOT_HERE("it is for Windows")}, {"cpu_rt_period", NOT_YET}, {"cpu_rt_runtime", NOT_YET},
    {"credential_spec", NOT_HERE("it is for Windows")}, {"develop", NOT_YET},
    {"device_cgroup_rules", NOT_YET}, {"extends", NOT_HERE("use a YAML anchor and <<, or several -f files")},
    {"external_links", NOT_HERE("connect both to one external network")}, {"gpus", NOT_YET},
    {"isolation", NOT_HERE("it is for Windows")}, {"label_file", NOT_YET}, {"mac_address", NOT_YET},
    {"mem_swappiness", NOT_YET}, {"models", NOT_YET}, {"oom_kill_disable", NOT_YET},
    {"oom_score_adj", NOT_YET}, {"platform", NOT_YET}, {"post_start", NOT_YET}, {"pre_stop", NOT_YET},
    {"provider", NOT_YET}, {"runtime", F_STR}, {"storage_opt", NOT_YET}, {"use_api_socket", NOT_YET},
    {"userns_mode", F_STR}, {"uts", NOT_YET}, {NULL}};
static const struct field top_fields[] = {
    {"name", F_STR}, {"version", F_ANY | F_NUM}, {"services", F_NAMED, service_fields},
    {"networks", F_NAMED | F_NULL, network_fields}, {"volumes", F_NAMED | F_NULL, volume_fields},
    {"secrets", F_NAMED | F_NULL, secret_fields}, {"configs", F_NAMED | F_NULL, secret_fields},
    {"include", NOT_HERE("name the files with several -f")}, {"models", NOT_YET}, {NULL}};
/* clang-format on */

static void check(const struct field *f, const struct yaml_node *node, struct problems *p);

static const struct field *find_field(const struct field *fields, const char *key)
{
    for (; fields->key; fields++)
        if (strcmp(fields->key, key) == 0)
            return fields;
    return NULL;
}

static void unknown_key(const struct field *fields, const struct yaml_node *map, const struct yaml_pair *pair,
                        struct problems *p)
{
    const char *words[128];
    size_t n = 0;
    for (const struct field *f = fields; f->key && n < ARRAY_SIZE(words) - 1; f++)
        words[n++] = f->key;
    words[n] = NULL;
    const char *near = problem_nearest(pair->key, words);
    if (near)
        problem_add_key(p, map, pair, "unknown key; did you mean \"%s\"?", near);
    else
        problem_add_key(p, map, pair, "unknown key; begin it with \"x-\" to keep own data in the file");
}

static void check_fields(const struct field *fields, const struct yaml_node *map, struct problems *p)
{
    for (size_t i = 0; i < map->count; i++) {
        const struct yaml_pair *pair = &map->pairs[i];
        const struct field *f = find_field(fields, pair->key);
        if (str_after(pair->key, "x-") || pair->value->merge == YAML_MERGE_RESET)
            continue;
        if (!f)
            unknown_key(fields, map, pair, p);
        else if (f->shape == F_NOT)
            problem_add_key(p, map, pair, "key is not supported; %s", f->words);
        else
            check(f, pair->value, p);
    }
}

/* What a field takes, in words. */
static void describe(const struct field *f, struct str *s)
{
    static const struct {
        unsigned shape;
        const char *words;
    } names[] = {{F_STR, "a string"},
                 {F_BOOL, "true or false"},
                 {F_INT, "a whole number"},
                 {F_NUM, "a number"},
                 {F_SIZE, "a size such as 512m"},
                 {F_TIME, "a duration such as 1m30s"},
                 {F_LIST, "a list"},
                 {F_DICT | F_MAP | F_NAMED, "a mapping"}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (f->shape & names[i].shape)
            str_addf(s, "%s%s", s->len ? " or " : "", names[i].words);
    if (f->shape & F_ENUM) {
        _cleanup_strv_ char **words = strv_split(f->words, '|');
        _cleanup_free_ char *list = strv_join(words, ", ");
        str_addf(s, "%s%s", words[1] ? "one of " : "", list);
    }
}

static void wrong_type(const struct field *f, const struct yaml_node *node, struct problems *p)
{
    _cleanup_str_ struct str wanted = STR_INIT;
    describe(f, &wanted);
    if (node->type == YAML_NULL)
        problem_add(p, node, "has no value; it must be %s", str_get(&wanted));
    else if (node->type != YAML_SCALAR)
        problem_add(p, node, "must be %s, not %s", str_get(&wanted), yaml_type_name(node));
    else if (node->plain && (f->shape & F_STR) &&
             (yaml_is_number_text(node->text) || yaml_is_bool_text(node->text)))
        problem_add(p, node, "must be %s, not %s; put quotes around %s", str_get(&wanted),
                    yaml_type_name(node), node->text);
    else
        problem_add(p, node, "must be %s, not \"%s\"", str_get(&wanted), node->text);
}

static bool scalar_fits(const struct field *f, const struct yaml_node *node)
{
    int64_t number;
    bool plain_other = node->plain && (yaml_is_number_text(node->text) || yaml_is_bool_text(node->text));
    if (f->shape & F_NAMED)
        return false;
    if ((f->shape & F_STR) && !plain_other)
        return true;
    if ((f->shape & F_BOOL) && yaml_is_bool_text(node->text))
        return true;
    if ((f->shape & F_INT) && parse_i64(node->text, INT64_MIN, INT64_MAX, &number, NULL) == 0)
        return true;
    if ((f->shape & F_NUM) && yaml_is_number_text(node->text))
        return true;
    if ((f->shape & F_SIZE) && (strcmp(node->text, "-1") == 0 || parse_bytes(node->text, &number, NULL) == 0))
        return true;
    if ((f->shape & F_TIME) && parse_duration(node->text, &number, NULL) == 0 && number >= 0)
        return true;
    if (f->shape & F_ENUM) {
        _cleanup_strv_ char **words = strv_split(f->words, '|');
        return strv_has(words, node->text);
    }
    return false;
}

static void check_list(const struct field *f, const struct yaml_node *list, struct problems *p)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct yaml_node *item = list->items[i];
        if (item->type == YAML_MAP && f->fields && !(f->shape & F_NAMED))
            check_fields(f->fields, item, p);
        else if (item->type == YAML_NULL)
            problem_add(p, item, "the list has an empty item");
        else if (item->type != YAML_SCALAR)
            problem_add(p, item, "must be a string, not %s", yaml_type_name(item));
    }
}

static void check_dict(const struct yaml_node *map, struct problems *p)
{
    for (size_t i = 0; i < map->count; i++)
        if (map->pairs[i].value->type == YAML_LIST || map->pairs[i].value->type == YAML_MAP)
            problem_add(p, map->pairs[i].value, "must be a string, not %s",
                        yaml_type_name(map->pairs[i].value));
}

static void check_named(const struct field *f, const struct yaml_node *map, struct problems *p)
{
    const struct field of = {f->key, F_MAP | (f->shape & F_INT), f->fields};
    for (size_t i = 0; i < map->count; i++) {
        const struct yaml_node *value = map->pairs[i].value;
        if (str_after(map->pairs[i].key, "x-") || value->merge == YAML_MERGE_RESET)
            continue;
        if (value->type != YAML_NULL || !(f->shape & F_NULL))
            check(&of, value, p);
    }
}

static void check(const struct field *f, const struct yaml_node *node, struct problems *p)
{
    if (node->type == YAML_NULL && (f->shape & F_NULL))
        return;
    if (node->type == YAML_LIST && (f->shape & F_LIST))
        check_list(f, node, p);
    else if (node->type == YAML_MAP && (f->shape & F_DICT))
        check_dict(node, p);
    else if (node->type == YAML_MAP && (f->shape & F_NAMED))
        check_named(f, node, p);
    else if (node->type == YAML_MAP && (f->shape & F_MAP) && !(f->shape & F_LIST))
        check_fields(f->fields, node, p);
    else if (node->type != YAML_SCALAR || !scalar_fits(f, node))
        wrong_type(f, node, p);
}

void schema_check(const struct yaml_node *root, struct problems *problems)
{
    static const struct field file = {"", F_MAP, top_fields};
    if (root->type != YAML_MAP)
        problem_add(problems, root, "a Compose file is a mapping with \"services:\", not %s",
                    yaml_type_name(root));
    else
        check(&file, root, problems);
}
