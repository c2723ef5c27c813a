/* Who may use the registry: who a request is from, and whether the policy (registry/policy.h) allows it.
 *
 * A request says who it is from by HTTP's Basic authentication (RFC 7617: a user of the policy, or a robot),
 * or by a token that GET or POST /token gave for those (registry_token.h); one that says nothing is
 * anonymous. A request that may not pass is answered here: 401 with a challenge that says where to get a
 * token and for what scope, when more could be had by saying who one is, or 403 DENIED.
 *
 * A password's hash is slow to compare on purpose. What was right is remembered, as its SHA-256 with a secret
 * of this process and the hash it was right for, so that the many requests of a push compare once. Guessing
 * is bounded: few comparisons go on at a time, and an address that has been wrong too often is told to wait
 * (429), but for what is remembered. Any thread. */
#ifndef API_REGISTRY_ACCESS_H
#define API_REGISTRY_ACCESS_H

#include "http/server.h"

#include <stdbool.h>

struct registry;
struct registry_policy;
struct registry_access;

/* `key_file`: see registry_token_key_load(). `tls`: how the registry is reached, for its clients' challenge.
 */
int registry_access_new(struct registry *r, const char *key_file, bool tls, struct registry_access **ret,
                        struct err *err);
void registry_access_free(struct registry_access *a);

/* Who a request is from; name NULL: it has not said. */
struct registry_who {
    char *name;
    bool robot;
    struct registry_policy *policy; /* a reference; NULL: there is none, everybody may do everything */
    struct registry_token *token;   /* bounds it; NULL: nothing does */
};
void registry_who_done(struct registry_who *who);

/* Whether the request may pass, by its route's needs: "pull", "push", "delete" of its "name"; "catalog";
 * "support" (GET /v2/); "" always may. False: it was answered. */
bool registry_access_admit(struct registry_access *a, struct http_request *q);
/* For handlers of admitted requests that touch more than their own repository. */
struct registry_who registry_access_who(struct registry_access *a, struct http_request *q);
unsigned registry_access_rights(struct registry_access *a, const struct registry_who *who,
                                const char *repository);

/* Whether a catalog shows it the repository: by what it may, since a catalog's token names none. */
bool registry_access_may_see(struct registry_access *a, const struct registry_who *who,
                             const char *repository);

/* The same for the right admin, which no client asks a token for by its name. */
bool registry_access_may_manage(struct registry_access *a, const struct registry_who *who,
                                const char *repository);

/* The token endpoint, as GET with Basic authentication and as OAuth2's POST with grant_type=password. */
void registry_access_token(struct registry_access *a, struct http_request *q);

#endif
