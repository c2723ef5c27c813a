/* What POST /build is asked by its query and headers: all of the classic builder's options.
 *
 * What only BuildKit or an experimental dockerd does is refused in Docker's words. */
#ifndef API_BUILD_QUERY_H
#define API_BUILD_QUERY_H

#include "http/server.h"

#include <jansson.h>

struct build_query {
    const char *dockerfile, *target, *platform, *network,
        *remote; /* NULL when not given; the request's own */
    char **tags, **build_args, **labels;
    json_t *host_config, *registry_config;
    bool quiet, no_cache, pull;
    char **cache_from;            /* NULL when not limited */
    bool keep_steps, keep_failed; /* containers of steps: from "rm" and "forcerm" */
};

/* `ret` is all zero before, and to be freed whatever comes of it. */
int build_query_read(struct http_request *q, struct build_query *ret, struct err *err);
void build_query_done(struct build_query *query);

#endif
