#include "api.h"

#include <stdio.h>

int need_containers(struct engine *e, int count)
{
    struct client c;
    if (e->containers >= count)
        return 0;
    if (client_open(&c, e->socket) < 0)
        return -1;
    int status = 201;
    while (status == 201 && e->containers < count) {
        char path[64];
        snprintf(path, sizeof(path), "/v1.41/containers/create?name=bench-%d", e->containers);
        status = client_call(&c, "POST", path,
                             "{\"Image\":\"bench\",\"Cmd\":[\"true\"],\"Labels\":{\"a\":\"b\"},"
                             "\"HostConfig\":{\"NetworkMode\":\"none\"}}");
        if (status == 201)
            e->containers++;
        else
            fprintf(stderr, "%s: create a container: status %d: %s\n", e->name, status,
                    c.buffer ? c.buffer : "");
    }
    client_close(&c);
    return status == 201 ? 0 : -1;
}

const struct section sections[] = {
    {"ping", "GET /_ping", "/_ping"},
    {"version", "GET /version", "/v1.41/version"},
    {"inspect", "GET /containers/bench-0/json", "/v1.41/containers/bench-0/json", .containers = 10},
    {"list_10", "GET /containers/json, 10 containers", "/v1.41/containers/json?all=1", .containers = 10},
    {"list_1000", "GET /containers/json, 1000 containers", "/v1.41/containers/json?all=1",
     .containers = 1000},
    {NULL},
};
