/* What `drover build` gives a build besides what Docker's POST /build has: secrets, agents, more contexts and
 * options. An extension of our own, on the same socket and under the same authentication as the rest of the
 * API:
 *
 *     POST   /drover/builds                       {"Options", "Secrets", "Agents"} -> {"Id"}
 *     PUT    /drover/builds/{id}/contexts/{name}  a tar; ?layout=1: an OCI layout or docker archive, of an
 * image PUT    /drover/builds/{id}/caches/{n}       a tar of an OCI layout: what "CacheFrom"[n], type=local,
 * is GET    /drover/builds/{id}/caches/{n}       likewise what the build has exported for "CacheTo"[n] POST
 * /drover/builds/{id}/agents/{name}    upgraded: a connection to the client's ssh agent, kept until a step
 * asks for one POST   /build                               with the header X-Drover-Build: {id} DELETE
 * /drover/builds/{id}
 *
 * The id is a secret of 256 bits, known to who opened it alone. Secrets are in memory only, and wiped. What
 * is not used for a quarter of an hour goes; so does all when serve ends. */
#ifndef API_BUILD_SESSION_H
#define API_BUILD_SESSION_H

#include "api/api_priv.h"

#include "base/map.h"

struct build_session;

struct build_sessions *build_sessions_new(void);
void build_sessions_free(struct build_sessions *s);

/* Of the request's header; NULL when it has none. ERR_NOT_FOUND. Given back by _leave(). */
int build_session_enter(struct api *a, struct http_request *q, struct build_session **ret, struct err *err);
void build_session_leave(struct build_session *s);

const json_t *build_session_options(const struct build_session *s);
/* "name=reference or id" of the named contexts. */
char *const *build_session_contexts(const struct build_session *s);
/* The directory of a cache of type=local; the caller frees. */
int build_session_cache_dir(struct build_session *s, bool is_target, size_t number, char **ret,
                            struct err *err);
/* The bakery's functions; the context is the session. */
int build_session_secret(void *session, const char *id, struct str *ret, struct err *err);
bool build_session_has_agent(void *session, const char *id);
int build_session_agent(void *session, const char *id, int *ret_fd, struct err *err);

#endif
