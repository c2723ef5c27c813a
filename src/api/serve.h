/* `drover serve`: the engine of this machine behind a unix socket, until SIGTERM or SIGINT. Containers live
 * on when it ends. */
#ifndef API_SERVE_H
#define API_SERVE_H

#include "api/keep_free.h"
#include "api/serve_registry.h"

#include <jansson.h>

struct err;

struct serve_options {
    const char *root; /* everything it keeps; made when missing, for root alone */
    const char *socket;
    const char *docker_socket; /* a second one, where Docker's clients look; NULL: none */
    const char *group; /* of the sockets, mode 0660; NULL: "docker" when there is one, else mode 0600 */
    char *const *insecure_registries;
    const char *certs_dir;                  /* see images_trust() */
    char *const *peers;                     /* see images_set_peers(); NULL: none */
    const char *signature_policy;           /* see api/signature_file.h; NULL: images need no signature */
    const json_t *runtimes, *address_pools; /* see struct engine_config */
    const char *default_runtime, *userns_remap, *log_driver;
    const json_t *log_options;
    struct keep_free_config keep_free;
    int64_t build_cache_bytes, build_cache_age_ns; /* see api_limit_build_cache() */
    struct serve_registry_options registry;        /* address NULL: there is none */
};

/* Returns after a clean end, or with the reason why it could not serve (ERR_CONFLICT: another one has the
 * root or the socket). Changes signal handling and limits of the whole process. */
int serve_run(const struct serve_options *options, struct err *err);

/* Ends serve_run() as a signal would, but to become the binary at `path` (absolute) with the same arguments
 * and the same listening socket: whoever connects meanwhile waits in its queue. */
int serve_request_upgrade(const char *path, struct err *err);

#endif
