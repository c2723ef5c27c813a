/* Tokens of the registry (distribution "Token Authentication Specification"): JSON Web Tokens (RFC 7519)
 * signed with HMAC SHA-256 (RFC 7515, "HS256") by a key that this registry alone has, since it alone reads
 * them. One names who it is for and what it may do, and holds for a few minutes.
 *
 * What a token grants is a bound, not the last word: whoever checks it asks the policy too, so that a right
 * or a robot that was taken away is gone at once, and not when its token ends. Any thread. */
#ifndef API_REGISTRY_TOKEN_H
#define API_REGISTRY_TOKEN_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { TOKEN_KEY_BYTES = 32, TOKEN_MAX_BYTES = 16 << 10, TOKEN_MAX_SCOPES = 64 };

struct registry_token_key {
    unsigned char bytes[TOKEN_KEY_BYTES];
};

/* The key in the file, which is made when it is not there (mode 0600, on disk before it is used), so that
 * tokens outlive a restart. */
int registry_token_key_load(const char *path, struct registry_token_key *ret, struct err *err);

struct registry_token {
    char *subject;  /* "" for who has not said who he is */
    json_t *access; /* [{"type", "name", "actions": [...]}] */
};
void registry_token_done(struct registry_token *t);

/* "HEADER.PAYLOAD.SIGNATURE" for `service`, from `now_s` for `seconds`; the caller frees. */
char *registry_token_make(const struct registry_token_key *key, const char *service,
                          const struct registry_token *t, int64_t now_s, int64_t seconds);
/* False: not one of ours, not for this service, not yet or no longer valid. */
bool registry_token_read(const struct registry_token_key *key, const char *service, const char *text,
                         int64_t now_s, struct registry_token *ret);
/* The rights (enum registry_right) that its access says for a repository. */
unsigned registry_token_rights(const struct registry_token *t, const char *repository);

#endif
