/* The OCI distribution API over src/registry: the routes below /v2/, which docker, podman, skopeo, buildah
 * and every other registry client speak (OCI Distribution Specification 1.1, with Docker's media types and
 * its _catalog). Errors are the specification's: {"errors": [{"code", "message", "detail"}]}.
 *
 * These routes alone are served on a registry's own address; on the API's socket they stand beside Docker's.
 */
#ifndef API_OCI_REGISTRY_H
#define API_OCI_REGISTRY_H

#include "http/server.h"

struct registry;

extern const struct http_route
    oci_registry_routes[]; /* ends with a NULL method; context: struct oci_registry */

struct oci_registry {
    struct registry *registry;
    struct registry_access *access; /* NULL: everybody may do everything */
    struct registry_config *config; /* NULL: nothing to read again */
    struct http_tls *tls;           /* NULL: none */
};

/* Serves them on a listening socket, which is taken. The context must outlive the server. */
int oci_registry_serve(struct oci_registry *context, int listen_fd, struct http_server **ret,
                       struct err *err);

#endif
