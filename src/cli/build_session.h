/* The client's side of api/build_session.h: secrets, agents and contexts of a build, open while it is. */
#ifndef CLI_BUILD_SESSION_H
#define CLI_BUILD_SESSION_H

#include "base/err.h"
#include "compose/compose.h"

#include <jansson.h>

struct build_session;

/* As the command line has them; any may be NULL. */
struct build_session_request {
    char **secrets;                           /* "id=NAME[,src=FILE|env=VARIABLE]" */
    const struct compose_build_secret *given; /* of a Compose file, besides */
    size_t given_count;
    char **agents;   /* "default", "id=SOCKET" */
    char **contexts; /* "name=DIRECTORY", "name=docker-image://REF", "name=oci-layout://DIRECTORY" */
    char **cache_from, **cache_to; /* see bakery/cache_spec.h */
    json_t *options;               /* what else the build is told; taken */
};

/* Attestations as the command line or a Compose file asks for them; NULL: not. */
void build_session_attest(json_t *options, const char *provenance, const char *sbom);

int build_session_open(struct build_session_request *request, struct build_session **ret, struct err *err);
/* After the build: what it has exported for --cache-to type=local goes to its directories. */
int build_session_take_caches(struct build_session *s, char **targets, struct err *err);
const char *build_session_id(const struct build_session *s);
void build_session_close(struct build_session *s);

#endif
