#include "engine/engine_priv.h"

void engine_reservations(const json_t *host, int64_t *ret_cpu_nano, int64_t *ret_memory_bytes)
{
    int64_t cpu = json_int(host, "NanoCpus"), quota = json_int(host, "CpuQuota"),
            period = json_int(host, "CpuPeriod"), memory = json_int(host, "MemoryReservation");
    if (cpu <= 0 && quota > 0)
        cpu = (int64_t)((double)quota / (double)(period > 0 ? period : 100000) * 1e9);
    if (memory <= 0)
        memory = json_int(host, "Memory");
    *ret_cpu_nano = MAX(cpu, 0);
    *ret_memory_bytes = MAX(memory, 0);
}

static void add_reservations(json_t *line, const json_t *host)
{
    int64_t cpu, memory;
    engine_reservations(host, &cpu, &memory);
    json_object_set_new(line, "NanoCPUs", json_integer(cpu));
    json_object_set_new(line, "MemoryBytes", json_integer(memory));
}

static void add_port(json_t *to, const char *port, const char *protocol)
{
    int64_t number;
    if (parse_i64(port, 1, 65535, &number, NULL) == 0)
        json_array_append_new(to, json_sprintf("%d/%s", (int)number, protocol));
}

/* Ports of the machine: those that it has, or while it does not run those that it asks for. */
static void add_ports(json_t *line, const json_t *host, const json_t *shown)
{
    json_t *ports = json_array(), *one;
    const char *inner;
    size_t i;
    json_array_foreach ((json_t *)shown, i, one)
        if (json_int(one, "PublicPort"))
            json_array_append_new(
                ports, json_sprintf("%d/%s", (int)json_int(one, "PublicPort"), json_str(one, "Type")));
    if (!json_array_size(ports))
        json_object_foreach (json_object_get(host, "PortBindings"), inner, one) {
            const char *slash = strchr(inner, '/');
            json_t *binding;
            json_array_foreach (one, i, binding)
                add_port(ports, json_str(binding, "HostPort"), slash ? slash + 1 : "tcp");
        }
    json_object_set_new(line, "Ports", ports);
}

static json_t *line_of(struct container *c)
{
    _cleanup_free_ char *name = container__name(c);
    _cleanup_json_ json_t *doc = container__doc(c), *net = container__net(c);
    const json_t *config = json_object_get(doc, "Config"), *host = json_object_get(doc, "HostConfig");
    json_t *labels = json_object_get(config, "Labels");
    const enum container_status status = container__state(c).status;
    bool runs = status == STATUS_RUNNING || status == STATUS_PAUSED;
    bool stays = runs || status == STATUS_CREATED || status == STATUS_RESTARTING;
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:b, s:O}", "Id", c->id, "Name", name, "Image", json_str(config, "Image"),
                  "Stays", stays, "Labels", json_is_object(labels) ? labels : json_null());
    must(line);
    if (!stays)
        return line;
    _cleanup_json_ json_t *shown = inspect__ports_list(net, runs ? config : NULL);
    add_reservations(line, host);
    add_ports(line, host, shown);
    return line;
}

json_t *engine_occupied(struct engine *e)
{
    struct container **all = container__all(e);
    json_t *list = json_array();
    for (struct container **c = all; *c; c++)
        json_array_append_new(list, line_of(*c));
    container__all_free(all);
    return list;
}
