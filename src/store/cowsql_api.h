/* libcowsql, loaded by the two verbs that need it. It is neither linked nor one of base/deferred.h's
 * libraries: it and libraft export 45 names without a prefix, which here stay out of everybody else's sight,
 * and a machine that is no manager needs neither. */
#ifndef STORE_COWSQL_API_H
#define STORE_COWSQL_API_H

#include "base/err.h"

#ifdef HAVE_COWSQL
#include <cowsql.h>

#define COWSQL_FUNCTIONS(_)                                                                                  \
    _(cowsql_version_number)                                                                                 \
    _(cowsql_node_create)                                                                                    \
    _(cowsql_node_set_bind_address)                                                                          \
    _(cowsql_node_get_bind_address)                                                                          \
    _(cowsql_node_set_connect_func)                                                                          \
    _(cowsql_node_set_network_latency_ms)                                                                    \
    _(cowsql_node_set_snapshot_params)                                                                       \
    _(cowsql_node_start)                                                                                     \
    _(cowsql_node_stop)                                                                                      \
    _(cowsql_node_recover_ext)                                                                               \
    _(cowsql_node_errmsg)

struct cowsql_api {
#define COWSQL_MEMBER(name) __typeof__(name) *name;
    COWSQL_FUNCTIONS(COWSQL_MEMBER)
#undef COWSQL_MEMBER
};
#else
struct cowsql_api {
    int none;
};
#endif

/* ERR_UNSUPPORTED when we were built without it, it is not installed, or older than 1.15: dqlite's 1.11 loses
 * rows on a full disk. */
int cowsql_api_load(struct cowsql_api *ret, struct err *err);

#endif
