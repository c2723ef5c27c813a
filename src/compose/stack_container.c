/* A stack's service: its container, and the files in it. */
#include "compose/stack_priv.h"

#include "base/json.h"

/* {"b": 2, "a": null} to ["a", "b=2"] */
static json_t *pairs_of(const json_t *map)
{
    char **keys = NULL;
    json_t *out = json_array(), *value;
    const char *key;
    json_object_foreach ((json_t *)map, key, value)
        strv_take(&keys, json_is_string(value) ? str_printf("%s=%s", key, json_string_value(value))
                                               : mem_strdup(key));
    for (size_t i = 1; keys && keys[i]; i++) /* few, and most often sorted already */
        for (size_t j = i; j > 0 && strcmp(keys[j - 1], keys[j]) > 0; j--) {
            char *swap = keys[j];
            keys[j] = keys[j - 1];
            keys[j - 1] = swap;
        }
    STRV_FOREACH (one, keys)
        json_array_append_new(out, json_string(*one));
    strv_free(keys);
    return out;
}

/* --- The container --- */

static void put_command(struct making *m)
{
    stack__set(m->container, "Command", json_object_get(m->in, "entrypoint"));
    stack__set(m->container, "Args", json_object_get(m->in, "command"));
    if (!stack__nothing(json_object_get(m->in, "environment")))
        json_object_set_new(m->container, "Env", pairs_of(json_object_get(m->in, "environment")));
    json_object_set_new(m->container, "Labels", stack__labels_of(m, json_object_get(m->in, "labels")));
}

static void put_hosts(struct making *m)
{
    json_t *hosts = json_array(), *one, *dns = json_object();
    size_t i;
    json_array_foreach (json_object_get(m->in, "extra_hosts"), i, one) {
        const char *text = json_string_value(one);
        size_t n = text ? strcspn(text, "=:") : 0;
        if (!text || !text[n])
            continue;
        _cleanup_free_ char *line = str_printf("%s %.*s", text + n + 1, (int)n, text);
        json_array_append_new(hosts, json_string(line));
    }
    if (json_array_size(hosts))
        json_object_set(m->container, "Hosts", hosts);
    json_decref(hosts);
    stack__set(dns, "Nameservers", json_object_get(m->in, "dns"));
    stack__set(dns, "Search", json_object_get(m->in, "dns_search"));
    stack__set(dns, "Options", json_object_get(m->in, "dns_opt"));
    if (json_object_size(dns))
        json_object_set(m->container, "DNSConfig", dns);
    json_decref(dns);
}

static void put_health(struct making *m)
{
    const json_t *given = json_object_get(m->in, "healthcheck");
    if (stack__nothing(given))
        return;
    json_t *check = json_object();
    if (json_bool(given, "disable"))
        json_object_set_new(check, "Test", json_pack("[s]", "NONE"));
    else {
        stack__set(check, "Test", json_object_get(given, "test"));
        stack__set_duration(m, check, "Interval", given, "interval");
        stack__set_duration(m, check, "Timeout", given, "timeout");
        stack__set_duration(m, check, "StartPeriod", given, "start_period");
        stack__set_duration(m, check, "StartInterval", given, "start_interval");
        stack__set(check, "Retries", json_object_get(given, "retries"));
    }
    json_object_set_new(m->container, "Healthcheck", check);
}

static void put_limits(struct making *m)
{
    json_t *ulimits = json_array(), *value;
    const char *key;
    json_object_foreach (json_object_get(m->in, "ulimits"), key, value) {
        bool one = json_is_integer(value);
        json_array_append_new(
            ulimits,
            json_pack("{s:s, s:I, s:I}", "Name", key, "Soft",
                      (json_int_t)(one ? json_integer_value(value) : json_int(value, "soft")), "Hard",
                      (json_int_t)(one ? json_integer_value(value) : json_int(value, "hard"))));
    }
    if (json_array_size(ulimits))
        json_object_set(m->container, "Ulimits", ulimits);
    json_decref(ulimits);
}

static const struct {
    const char *from, *to;
} same[] = {
    {"hostname", "Hostname"},    {"working_dir", "Dir"},        {"user", "User"},
    {"group_add", "Groups"},     {"stop_signal", "StopSignal"}, {"tty", "TTY"},
    {"stdin_open", "OpenStdin"}, {"read_only", "ReadOnly"},     {"init", "Init"},
    {"sysctls", "Sysctls"},      {"cap_add", "CapabilityAdd"},  {"cap_drop", "CapabilityDrop"},
};

/* With the tag that a name without one means. */
void stack__put_image(struct making *m, const char *image)
{
    const char *slash = strrchr(image, '/');
    bool tagged = strchr(image, '@') || strchr(slash ? slash : image, ':');
    _cleanup_free_ char *whole = str_printf("%s%s", image, tagged ? "" : ":latest");
    json_set_str(m->container, "Image", whole);
}

void stack__put_container(struct making *m)
{
    for (size_t i = 0; i < ARRAY_SIZE(same); i++)
        stack__set(m->container, same[i].to, json_object_get(m->in, same[i].from));
    json_set_str(m->container, "Isolation", "default");
    stack__set_duration(m, m->container, "StopGracePeriod", m->in, "stop_grace_period");
    put_command(m);
    put_hosts(m);
    put_health(m);
    put_limits(m);
}

/* --- Files --- */

static void put_volume(struct making *m, const json_t *given, json_t *mount)
{
    const char *key = json_str(given, "source");
    const json_t *options = json_object_get(given, "volume"),
                 *volume = json_object_get(json_object_get(m->document, "volumes"), key);
    json_t *out = json_object();
    if (*key)
        json_set_str(mount, "Source", *json_str(volume, "name") ? json_str(volume, "name") : key);
    if (!json_bool(volume, "external"))
        json_object_set_new(out, "Labels", stack__labels_of(m, json_object_get(volume, "labels")));
    if (json_bool(options, "nocopy"))
        json_object_set_new(out, "NoCopy", json_true());
    if (!stack__nothing(json_object_get(options, "subpath")))
        stack__problem(m, "volumes", "%.100s: a subpath is not for services of a swarm", key);
    if (!stack__nothing(json_object_get(volume, "driver")) ||
        !stack__nothing(json_object_get(volume, "driver_opts"))) {
        json_t *driver = json_object();
        json_set_str(driver, "Name", *json_str(volume, "driver") ? json_str(volume, "driver") : "local");
        stack__set(driver, "Options", json_object_get(volume, "driver_opts"));
        json_object_set_new(out, "DriverConfig", driver);
    }
    json_object_set_new(mount, "VolumeOptions", out);
}

static void put_mount(struct making *m, const json_t *given, json_t *mounts)
{
    const char *type = json_str(given, "type"), *propagation;
    json_t *mount = json_pack("{s:s, s:s}", "Type", type, "Target", json_str(given, "target"));
    if (json_bool(given, "read_only"))
        json_object_set_new(mount, "ReadOnly", json_true());
    if (str_eq(type, "volume"))
        put_volume(m, given, mount);
    else if (str_eq(type, "bind")) {
        json_set_str(mount, "Source", json_str(given, "source"));
        propagation = json_str(json_object_get(given, "bind"), "propagation");
        if (*propagation)
            json_object_set_new(mount, "BindOptions", json_pack("{s:s}", "Propagation", propagation));
    } else if (str_eq(type, "tmpfs")) {
        const json_t *options = json_object_get(given, "tmpfs");
        json_t *out = json_object();
        if (stack__size_of(options, "size"))
            json_object_set_new(out, "SizeBytes", json_integer(stack__size_of(options, "size")));
        stack__set(out, "Mode", json_object_get(options, "mode"));
        json_object_set_new(mount, "TmpfsOptions", out);
    } else
        stack__problem(m, "volumes", "type \"%.50s\" is not for services of a swarm", type);
    json_array_append_new(mounts, mount);
}

void stack__put_mounts(struct making *m)
{
    json_t *mounts = json_array(), *one;
    size_t i;
    json_array_foreach (json_object_get(m->in, "volumes"), i, one)
        put_mount(m, one, mounts);
    json_array_foreach (json_object_get(m->in, "tmpfs"), i, one) {
        const char *text = json_string_value(one) ? json_string_value(one) : "";
        if (strchr(text, ':'))
            stack__problem(
                m, "tmpfs",
                "%.100s: options are not for services of a swarm; write it under volumes:, with type: tmpfs",
                text);
        json_array_append_new(mounts, json_pack("{s:s, s:s}", "Type", "tmpfs", "Target", text));
    }
    if (json_array_size(mounts))
        json_object_set(m->container, "Mounts", mounts);
    json_decref(mounts);
}

/* As docker stack deploy has it: a secret's place below /run/secrets. */
static const char *file_name(const char *target, const char *source)
{
    const char *below = str_after(target, "/run/secrets/");
    return below && !strchr(below, '/') ? below : *target ? target : source;
}

/* Secrets and configs of the service. */
void stack__put_grants(struct making *m, const char *section, const char *field, const char *id,
                       const char *name)
{
    json_t *out = json_array(), *one;
    size_t i;
    json_array_foreach (json_object_get(m->in, section), i, one) {
        const char *source = json_str(one, "source"), *target = json_str(one, "target"),
                   *uid = json_str(one, "uid"), *gid = json_str(one, "gid");
        const json_t *thing = json_object_get(json_object_get(m->document, section), source),
                     *mode = json_object_get(one, "mode");
        json_array_append_new(
            out,
            json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:I}}", id, "", name, json_str(thing, "name"), "File",
                      "Name", file_name(target, source), "UID", *uid ? uid : "0", "GID", *gid ? gid : "0",
                      "Mode", (json_int_t)(json_is_integer(mode) ? json_integer_value(mode) : 0444)));
    }
    if (json_array_size(out))
        json_object_set(m->container, field, out);
    json_decref(out);
}
