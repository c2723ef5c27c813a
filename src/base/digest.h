/* Content digests of the OCI image specification (descriptor.md, "Digests"): "sha256:" and 64 hex digits, or
 * "sha512:" and 128. Hashes by GnuTLS. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/mem.h"

#include <stdbool.h>

struct err;
struct digest_hasher;

enum { DIGEST_BYTES = 7 + 128 + 1, DIGEST_SHA256_BYTES = 7 + 64 + 1 };

/* A well-formed digest of an algorithm we know. Anything from outside is checked before it becomes a path. */
bool digest_valid(const char *digest);
const char *digest_hex(const char *digest); /* the part after the colon */

/* Hashes a stream. `algorithm` is "sha256" or "sha512" (or a digest, whose algorithm is taken). */
struct digest_hasher *digest_hasher_new(const char *algorithm);
void digest_hasher_add(struct digest_hasher *h, const void *bytes, size_t n);
/* Writes "algorithm:hex" of all so far into `out`; more may be added after. */
void digest_hasher_format(struct digest_hasher *h, char out[DIGEST_BYTES]);
void digest_hasher_free(struct digest_hasher *h);
static inline void digest_hasher_free_p(struct digest_hasher **h)
{
    digest_hasher_free(*h);
}
#define _cleanup_hasher_ _cleanup_(digest_hasher_free_p)

/* sha256 of bytes in memory, as a digest. */
void digest_of(const void *bytes, size_t n, char out[DIGEST_BYTES]);
/* HMAC (RFC 2104) with SHA-256. */
void digest_hmac_sha256(const void *key, size_t key_bytes, const void *bytes, size_t n,
                        unsigned char ret[32]);
/* 64 random hex digits and a NUL: a container's or a network's id. */
void digest_random_id(char out[65]);

#endif
