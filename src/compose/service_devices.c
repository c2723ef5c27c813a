/* Devices, GPUs, limits of block devices, and ulimits of a service. */
#include "compose/project_priv.h"

#include "base/json.h"

json_t *node_ulimits(const struct yaml_node *map)
{
    json_t *list = json_array();
    for (size_t i = 0; map && i < map->count; i++) {
        const struct yaml_node *value = map->pairs[i].value;
        int64_t soft =
            value->type == YAML_MAP ? node_int(value, "soft", 0) : node_int(map, map->pairs[i].key, 0);
        int64_t hard = value->type == YAML_MAP ? node_int(value, "hard", soft) : soft;
        json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "Name", map->pairs[i].key, "Soft",
                                              (json_int_t)soft, "Hard", (json_int_t)hard));
    }
    return list;
}

/* Takes the value. */
static void set_if_any(json_t *host, const char *name, json_t *list)
{
    if (json_array_size(list))
        json_object_set(host, name, list);
    json_decref(list);
}

static void read_devices(struct building *b, const struct compose_service *s, json_t *host)
{
    const struct yaml_node *list = yaml_get(s->node, "devices");
    json_t *devices = json_array();
    for (size_t i = 0; list && i < list->count; i++) {
        const struct yaml_node *item = list->items[i];
        const char *source = yaml_text(item, "source"), *target = yaml_text(item, "target"),
                   *permissions = yaml_text(item, "permissions");
        if (*source != '/')
            problem_add(b->problems, item, "the source of a device is an absolute path");
        json_array_append_new(devices, json_pack("{s:s, s:s, s:s}", "PathOnHost", source, "PathInContainer",
                                                 *target ? target : source, "CgroupPermissions",
                                                 *permissions ? permissions : "rwm"));
    }
    set_if_any(host, "Devices", devices);
}

/* `gpus` and deploy.resources.reservations.devices as DeviceRequests. */
static void add_requests(struct building *b, const struct yaml_node *list, bool gpu, json_t *requests)
{
    for (size_t i = 0; list && i < list->count; i++) {
        const struct yaml_node *item = list->items[i], *ids = yaml_get(item, "device_ids");
        json_t *capabilities = node_strings(yaml_get(item, "capabilities"));
        int64_t count =
            strcmp(yaml_text(item, "count"), "all") == 0 ? -1 : node_int(item, "count", ids ? 0 : -1);
        if (gpu)
            json_array_append_new(capabilities, json_string("gpu"));
        if (!json_array_size(capabilities))
            problem_add(b->problems, item, "has no \"capabilities\"");
        if (ids && yaml_get(item, "count"))
            problem_add(b->problems, ids, "\"count\" and \"device_ids\" cannot stand together");
        json_array_append_new(
            requests, json_pack("{s:s, s:I, s:o, s:[o], s:o}", "Driver", yaml_text(item, "driver"), "Count",
                                (json_int_t)count, "DeviceIDs", node_strings(ids), "Capabilities",
                                capabilities, "Options", node_dict(yaml_get(item, "options"))));
    }
}

static void read_requests(struct building *b, const struct compose_service *s, json_t *host)
{
    const struct yaml_node *resources = yaml_get(yaml_get(s->node, "deploy"), "resources");
    json_t *requests = json_array();
    add_requests(b, yaml_get(s->node, "gpus"), true, requests);
    add_requests(b, yaml_get(yaml_get(resources, "reservations"), "devices"), false, requests);
    set_if_any(host, "DeviceRequests", requests);
}

static void read_blkio(struct building *b, const struct compose_service *s, json_t *host)
{
    static const struct {
        const char *key, *name, *value, *field;
    } lists[] = {
        {"weight_device", "BlkioWeightDevice", "weight", "Weight"},
        {"device_read_bps", "BlkioDeviceReadBps", "rate", "Rate"},
        {"device_write_bps", "BlkioDeviceWriteBps", "rate", "Rate"},
        {"device_read_iops", "BlkioDeviceReadIOps", "rate", "Rate"},
        {"device_write_iops", "BlkioDeviceWriteIOps", "rate", "Rate"},
    };
    const struct yaml_node *config = yaml_get(s->node, "blkio_config");
    if (yaml_get(config, "weight"))
        json_object_set_new(host, "BlkioWeight", json_integer(node_int(config, "weight", 0)));
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        const struct yaml_node *list = yaml_get(config, lists[i].key);
        json_t *entries = json_array();
        for (size_t j = 0; list && j < list->count; j++) {
            int64_t number = 0;
            const struct yaml_node *item = list->items[j];
            if (!*yaml_text(item, "path") || parse_bytes(yaml_text(item, lists[i].value), &number, NULL) < 0)
                problem_add(b->problems, item, "has a \"path\" and a \"%s\"", lists[i].value);
            json_array_append_new(entries, json_pack("{s:s, s:I}", "Path", yaml_text(item, "path"),
                                                     lists[i].field, (json_int_t)number));
        }
        set_if_any(host, lists[i].name, entries);
    }
}

void service_read_devices(struct building *b, const struct compose_service *s, json_t *host)
{
    set_if_any(host, "Ulimits", node_ulimits(yaml_get(s->node, "ulimits")));
    read_devices(b, s, host);
    read_requests(b, s, host);
    read_blkio(b, s, host);
}
