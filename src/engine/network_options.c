/* Network drivers and their options. */
#include "engine/network_priv.h"

enum option_form {
    OPTION_REFUSED,
    OPTION_NUMBERS,
    OPTION_BOOL,
    OPTION_MTU,
    OPTION_NAME,
    OPTION_PREFIX,
    OPTION_ADDRESS,
    OPTION_WORD
};

struct option {
    const char *driver, *name;
    enum option_form form;
    const char *words; /* of OPTION_WORD, separated by "|"; why OPTION_REFUSED is */
};

#define LABEL_MTU    "com.docker.network.driver.mtu"
#define LABEL_PREFIX "com.docker.network.container_iface_prefix"
#define LABEL_BRIDGE "com.docker.network.bridge."

static const struct option options[] = {
    {"bridge", LABEL_BRIDGE "name", OPTION_NAME, NULL},
    {"bridge", LABEL_BRIDGE "enable_icc", OPTION_BOOL, NULL},
    {"bridge", LABEL_BRIDGE "enable_ip_masquerade", OPTION_BOOL, NULL},
    {"bridge", LABEL_BRIDGE "default_bridge", OPTION_BOOL, NULL},
    {"bridge", LABEL_BRIDGE "host_binding_ipv4", OPTION_ADDRESS, NULL},
    {"bridge", LABEL_BRIDGE "gateway_mode_ipv4", OPTION_WORD, "nat"},
    {"bridge", LABEL_BRIDGE "gateway_mode_ipv6", OPTION_WORD, "nat"},
    {"bridge", LABEL_MTU, OPTION_MTU, NULL},
    {"bridge", LABEL_PREFIX, OPTION_PREFIX, NULL},
    /* Who asks for encryption must not believe to have it. */
    {"overlay", "encrypted", OPTION_REFUSED,
     "nothing is encapsulated between machines, and so nothing encrypted"},
    {"overlay", "com.docker.network.driver.overlay.vxlanid_list", OPTION_NUMBERS, NULL},
    {"overlay", LABEL_MTU, OPTION_MTU, NULL},
    {"overlay", LABEL_PREFIX, OPTION_PREFIX, NULL},
    {"macvlan", "parent", OPTION_NAME, NULL},
    {"macvlan", "macvlan_mode", OPTION_WORD, "bridge|private|vepa|passthru"},
    {"macvlan", LABEL_MTU, OPTION_MTU, NULL},
    {"macvlan", LABEL_PREFIX, OPTION_PREFIX, NULL},
    {"ipvlan", "parent", OPTION_NAME, NULL},
    {"ipvlan", "ipvlan_mode", OPTION_WORD, "l2|l3|l3s"},
    {"ipvlan", "ipvlan_flag", OPTION_WORD, "bridge|private|vepa"},
    {"ipvlan", LABEL_MTU, OPTION_MTU, NULL},
    {"ipvlan", LABEL_PREFIX, OPTION_PREFIX, NULL},
};

int network__check_driver(const char *driver, bool swarm, struct err *err)
{
    static const char *const done[] = {"", "bridge", "macvlan", "ipvlan", NULL};
    if (swarm)
        return str_empty(driver) || str_eq(driver, "overlay")
                   ? 0
                   : err_set(
                         err, ERR_UNSUPPORTED,
                         "a network of scope \"swarm\" can only be of the driver \"overlay\", not \"%.100s\"",
                         driver);
    if (strv_has((char *const *)done, driver))
        return 0;
    if (str_eq(driver, "host") || str_eq(driver, "null"))
        return err_set(err, ERR_DENIED, "only one instance of \"%s\" network is allowed", driver);
    if (str_eq(driver, "overlay"))
        return err_set(err, ERR_UNAVAILABLE,
                       "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" "
                       "to connect this node to swarm and try again.");
    return err_set(err, ERR_NOT_FOUND, "plugin \"%.100s\" not found", driver);
}

static bool is_interface_name(const char *text)
{
    return *text && strlen(text) <= 15 && !strpbrk(text, "/: \t\n\"\\*") && !str_eq(text, ".") &&
           !str_eq(text, "..");
}

static int check_word(const struct option *o, const char *text, struct err *err)
{
    _cleanup_strv_ char **words = strv_split(o->words, '|');
    if (strv_has(words, text))
        return 0;
    if (str_ends_with(o->name, "vlan_mode"))
        return err_set(err, ERR_INVALID,
                       "requested %s mode '%.50s' is not valid, '%s' mode is the %s driver default",
                       o->driver, text, words[0], o->driver);
    return err_set(err, ERR_UNSUPPORTED, "\"Options.%s\": \"%.50s\" is not supported; it can be %s", o->name,
                   text, o->words);
}

static int check_option(const struct option *o, const char *text, struct err *err)
{
    bool flag;
    int64_t mtu;
    _cleanup_free_ char *address = NULL;
    switch (o->form) {
    case OPTION_REFUSED:
        return err_set(err, ERR_UNSUPPORTED, "\"Options.%s\" is not supported by the network driver %s: %s",
                       o->name, o->driver, o->words);
    case OPTION_NUMBERS:
        return text[strspn(text, "0123456789,")] == '\0'
                   ? 0
                   : err_set(err, ERR_INVALID, "failed to parse %s value: %.50s (it must be numbers)",
                             o->name, text);
    case OPTION_BOOL:
        return parse_bool(text, &flag, NULL) == 0
                   ? 0
                   : err_set(err, ERR_INVALID, "failed to parse %s value: %.50s (it must be true or false)",
                             o->name, text);
    case OPTION_MTU:
        return parse_i64(text, 0, 65535, &mtu, NULL) == 0 && (mtu == 0 || mtu >= 68)
                   ? 0
                   : err_set(err, ERR_INVALID, "failed to parse %s value: %.50s (it must be 68 to 65535)",
                             o->name, text);
    case OPTION_NAME:
    case OPTION_PREFIX:
        if (!is_interface_name(text) || (o->form == OPTION_PREFIX && strlen(text) > 11))
            return err_set(err, ERR_INVALID, "\"Options.%s\": \"%.50s\" is not an interface name", o->name,
                           text);
        return 0;
    case OPTION_ADDRESS:
        address = net_address_canonical(text);
        return address && !net_address_is_ipv6(address)
                   ? 0
                   : err_set(err, ERR_INVALID, "failed to parse %s value: %.50s (it must be an IPv4 address)",
                             o->name, text);
    case OPTION_WORD:
        return check_word(o, text, err);
    }
    return 0;
}

int network__check_options(const json_t *doc, struct err *err)
{
    const char *driver = json_str(doc, "Driver"), *key;
    json_t *value;
    json_object_foreach (json_object_get(doc, "Options"), key, value) {
        const struct option *found = NULL;
        for (size_t i = 0; i < ARRAY_SIZE(options); i++)
            if (str_eq(options[i].driver, driver) && str_eq(options[i].name, key))
                found = &options[i];
        if (!found)
            return err_set(err, ERR_UNSUPPORTED,
                           "\"Options.%.150s\" is not supported by the network driver %s", key, driver);
        int r = check_option(found, json_string_value(value), err);
        if (r < 0)
            return r;
    }
    return 0;
}

static bool option_bool(const json_t *given, const char *key, bool fallback)
{
    bool value = fallback;
    if (*json_str(given, key))
        parse_bool(json_str(given, key), &value, NULL);
    return value;
}

void network__load_options(struct network *n, const json_t *doc)
{
    const json_t *given = json_object_get(doc, "Options");
    int64_t mtu = 0;
    n->icc = option_bool(given, LABEL_BRIDGE "enable_icc", true);
    n->routed = !option_bool(given, LABEL_BRIDGE "enable_ip_masquerade", true);
    if (*json_str(given, LABEL_MTU))
        parse_i64(json_str(given, LABEL_MTU), 0, 65535, &mtu, NULL);
    n->mtu = (int)mtu;
    n->host_binding = mem_strdup(json_str(given, LABEL_BRIDGE "host_binding_ipv4"));
    n->ifprefix = mem_strdup(*json_str(given, LABEL_PREFIX) ? json_str(given, LABEL_PREFIX) : "eth");
    n->parent = mem_strdup(json_str(given, "parent"));
    n->mode = mem_strdup(json_str(given, str_eq(n->driver, "macvlan") ? "macvlan_mode" : "ipvlan_mode"));
    n->flag = mem_strdup(json_str(given, "ipvlan_flag"));
}

int network__check_parent(struct engine *e, const json_t *doc, struct err *err)
{
    const char *parent = json_str(json_object_get(doc, "Options"), "parent");
    struct map_entry *entry;
    for (size_t i = 0; *parent && (entry = map_next(&e->networks, &i));) {
        const struct network *n = entry->value;
        if (str_eq(n->parent, parent))
            return err_set(err, ERR_DENIED, "network %.12s is already using parent interface %s", n->id,
                           parent);
    }
    return 0;
}

/* --- configuration networks --- */

int network__apply_config(struct engine *e, json_t *doc, struct err *err)
{
    static const char *const taken_over[] = {"IPAM", "Options", "EnableIPv6"};
    const json_t *from = json_object_get(doc, "ConfigFrom");
    const char *ref = json_str(from, "Network");
    if (!*ref)
        return 0;
    const struct network *n = network__find(e, ref, NULL);
    if (!n || !n->config_only)
        return err_set(err, ERR_NOT_FOUND, "configuration network \"%.150s\" does not exist", ref);
    if (json_bool(doc, "EnableIPv6") || json_object_size(json_object_get(doc, "Options")) ||
        json_array_size(json_object_get(json_object_get(doc, "IPAM"), "Config")))
        return err_set(err, ERR_DENIED,
                       "user specified configurations are not supported if the network depends on a "
                       "configuration network");
    _cleanup_json_ json_t *config = json_loads(n->doc, 0, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(taken_over); i++)
        if (json_object_get(config, taken_over[i]))
            json_object_set(doc, taken_over[i], json_object_get(config, taken_over[i]));
    json_t *labels = json_object_get(doc, "Labels");
    if (!json_object_size(labels) && json_object_get(config, "Labels"))
        json_object_set(doc, "Labels", json_object_get(config, "Labels"));
    return 0;
}
