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

/* One that runs: an engine has more to ask after then. It is gone before the next section. */
static int inspect_running(struct engine *e, int clients, double seconds, struct figure *ret)
{
    static const char create[] = "{\"Image\":\"bench\",\"Cmd\":[\"sleep\",\"1000\"],"
                                 "\"HostConfig\":{\"NetworkMode\":\"none\"}}";
    struct client c;
    if (client_open(&c, e->socket) < 0)
        return -1;
    int r = client_call(&c, "POST", "/v1.41/containers/create?name=bench-up", create) == 201 ? 0 : -1;
    if (r == 0 && client_call(&c, "POST", "/v1.41/containers/bench-up/start", NULL) != 204)
        r = -1;
    if (r < 0)
        fprintf(stderr, "%s: run a container: %s\n", e->name, c.buffer + c.body);
    else
        r = measure_get(e, "/v1.41/containers/bench-up/json", clients, seconds, ret);
    client_call(&c, "DELETE", "/v1.41/containers/bench-up?force=1", NULL);
    client_close(&c);
    return r;
}

#define BULK(u) .unit = (u), .need_folder = true
const struct section sections[] = {
    {"ping", "GET /_ping", "/_ping"},
    {"version", "GET /version", "/v1.41/version"},
    {"inspect", "GET /containers/bench-0/json", "/v1.41/containers/bench-0/json", .containers = 10},
    {"inspect_up", "GET /containers/bench-up/json, of one that runs", .measure = inspect_running},
    {"list_10", "GET /containers/json, 10 containers", "/v1.41/containers/json?all=1", .containers = 10},
    {"list_1000", "GET /containers/json, 1000 containers", "/v1.41/containers/json?all=1",
     .containers = 1000},
    {"launch", "create, start, wait, remove a container", .measure = measure_launch},
    {"cat", "cat of the lines into a file, through a pipe", BULK("MB/s"), .measure = measure_cat},
    {"ingest", "a container writes the lines; log driver local", BULK("MB/s"),
     .measure = measure_ingest_local},
    {"ingest_json", "the same; json-file", BULK("MB/s"), .measure = measure_ingest_json_file},
    {"logs", "GET /containers/ID/logs; local", BULK("MB/s"), .measure = measure_logs_local},
    {"logs_json", "the same; json-file", BULK("MB/s"), .measure = measure_logs_json_file},
    {"lag", "until a follower has a line; local", BULK("lines/s"), .measure = measure_lag_local},
    {"lag_json", "the same; json-file", BULK("lines/s"), .measure = measure_lag_json_file},
    {"copy_in", "PUT /containers/ID/archive", BULK("MB/s"), .measure = measure_copy_in},
    {"copy_out", "GET /containers/ID/archive", BULK("MB/s"), .measure = measure_copy_out},
    {"load", "POST /images/load", BULK("MB/s"), .measure = measure_load},
    {"save", "GET /images/NAME/get", BULK("MB/s"), .measure = measure_save},
    {"compose", "docker-compose up of 20 services until healthy", BULK("services/s"),
     .measure = measure_compose},
    {NULL},
};
