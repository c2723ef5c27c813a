/* The Docker Engine API over the engine: one table of routes (routes.c), one file a resource (docker_*.c).
 *
 * Version 1.52, down to 1.12 as a client asks in the path. Bodies, answers, status codes and messages are
 * Docker's; what is not there answers 501 and names itself. A handler is `int api_x(q, context, err)`: it
 * answers and returns 0, or returns an error, which becomes {"message": ...} with the status of its code. */
#ifndef API_API_H
#define API_API_H

#include "cluster/cluster.h"
#include "engine/engine.h"
#include "http/server.h"

#define API_VERSION     "1.52"
#define API_MIN_VERSION "1.12"
enum { API_VERSION_NUMBER = 1052, API_MIN_VERSION_NUMBER = 1012 };

struct api; /* the handlers' context */

/* The table of routes (ends with a NULL method). A mark before the name of a query parameter says that it is
 * of Docker's API and refused here when it is given ('!'; '~' when the handler does so), or passed over
 * ('-').
 */
const struct http_route *api_routes(void);
/* docs/compatibility.md's tables: endpoints with their parameters, and the fields of bodies, in Markdown. */
void api_document(struct str *out);

struct api *api_new(struct engine *e, struct cluster *c);
/* The bounds of the build cache, which hold after each build; 0: none. Of `max_bytes` < 0: a tenth of the
 * disk. */
void api_limit_build_cache(struct api *a, int64_t max_bytes, int64_t max_age_ns);
void api_free(struct api *a);
struct registry;
/* The registry that /drover/registry/ manages, before the first api_serve(); NULL: none is served. */
void api_set_registry(struct api *a, struct registry *r);
/* Serves `a` on a listening socket, which is taken. */
int api_serve(struct api *a, int listen_fd, struct http_server **ret, struct err *err);

#endif
