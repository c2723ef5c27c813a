/* Who may use the registry: the users of a file of Apache's htpasswd (crypt(3) hashes: bcrypt as `htpasswd
 * -B` makes it, and the others that the system's crypt knows), by HTTP's Basic authentication (RFC 7617).
 *
 * The file is read again when it has changed. A hash is slow to compare on purpose: what was right is
 * remembered, as its SHA-256 with a secret of this process, so that the many requests of a push compare once.
 * Any thread. */
#ifndef API_REGISTRY_AUTH_H
#define API_REGISTRY_AUTH_H

#include "base/err.h"

#include <stdbool.h>

struct registry_auth;

int registry_auth_new(const char *htpasswd_file, struct registry_auth **ret, struct err *err);
void registry_auth_free(struct registry_auth *a);
/* Whether an Authorization header (NULL: there is none) is that of a user. */
bool registry_auth_accepts(struct registry_auth *a, const char *authorization);

#endif
