/* Finds secrets in a stream of bytes: private keys, tokens of well-known shapes, credentials in URLs, and
 * values of high entropy behind names such as "api_key".
 *
 *     secret_scanner_begin(s, flags);  secret_scanner_feed(s, bytes, n)...  secret_scanner_end(s);
 *
 * Memory does not grow with the stream; a secret is found wherever the pieces are cut. A hit never carries
 * the secret: a few of its characters for a person, a fingerprint for a list of what is allowed. */
#ifndef IMAGETEST_SECRETS_H
#define IMAGETEST_SECRETS_H

#include "base/str.h"

enum { SECRET_FINGERPRINT_BYTES = 17 };

struct secret_hit {
    const char *rule;
    char preview[32];                           /* "ghp_... (40 characters)" */
    char fingerprint[SECRET_FINGERPRINT_BYTES]; /* 16 hex digits of the secret's sha256 */
};

enum secret_flags {
    SECRET_GUESS = 1,  /* also by name and entropy: for text that people write */
    SECRET_HASHES = 2, /* also password hashes: for /etc/shadow */
};

struct secret_scanner;
struct secret_scanner *secret_scanner_new(void (*hit)(void *context, const struct secret_hit *hit),
                                          void *context);
void secret_scanner_free(struct secret_scanner *s);
void secret_scanner_begin(struct secret_scanner *s, unsigned flags);
void secret_scanner_feed(struct secret_scanner *s, const void *bytes, size_t n);
void secret_scanner_end(struct secret_scanner *s);

/* Whether a variable of this name holds a secret ("DB_PASSWORD", not "DB_PASSWORD_FILE"). */
bool secret_name(const char *name, size_t n);
/* A value that stands for one to come: empty, "${X}", "changeme". */
bool secret_placeholder(const char *value, size_t n);
void secret_describe(const char *rule, const char *value, size_t n, struct secret_hit *ret);
/* Files that hold credentials whatever is in them (".netrc"); the base name. */
bool secret_file_name(const char *path);
/* Names of all rules, ending with NULL. */
const char *const *secret_rules(void);

#endif
