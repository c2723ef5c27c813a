/* Signatures of images in cosign's format: a payload, a JSON document ("simple signing") that says which
 * manifest is signed, and a signature over the payload's bytes. Pure: where they lie in a registry is
 * signature_check.c's concern.
 *
 * Keys are PEM "PUBLIC KEY" files, as cosign and `openssl pkey -pubout` write them: ECDSA on P-256, RSA of
 * 2048 bits or more (PKCS #1 v1.5), both with SHA-256; Ed25519 over the payload itself. Keys are not changed
 * after they were parsed, and may be used by any thread. */
#ifndef IMAGE_SIGNATURE_H
#define IMAGE_SIGNATURE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct signature_key;

enum {
    SIGNATURE_KEY_MAX_BYTES = 64 << 10,
    SIGNATURE_PAYLOAD_MAX_BYTES = 64 << 10,
    SIGNATURE_TEXT_MAX_BYTES = 8 << 10, /* in base64 */
};

/* ERR_INVALID: no PEM public key; ERR_UNSUPPORTED: of another kind. */
int signature_key_parse(const char *pem, size_t n, struct signature_key **ret, struct err *err);
void signature_key_free(struct signature_key *key);
bool signature_key_same(const struct signature_key *a, const struct signature_key *b);

/* Whether the key made the signature (base64, as in the annotation dev.cosignproject.cosign/signature) of
 * these bytes. */
bool signature_key_verifies(const struct signature_key *key, const void *payload, size_t n,
                            const char *signature);

/* What a payload claims, to be asked once its signature holds: critical.type is cosign's,
 * critical.image.docker-manifest-digest is `manifest_digest`, and critical.identity.docker-reference is a
 * text. As cosign does, that name is not compared with the one that was pulled, since an image may be copied
 * with its signatures; with `identities` (patterns of base/name_pattern.h, or NULL) its repository, without
 * tag and digest, must fit one of them. ERR_DENIED says what is wrong. */
int signature_claim_check(const char *payload, size_t n, const char *manifest_digest, char *const *identities,
                          struct err *err);

#endif
