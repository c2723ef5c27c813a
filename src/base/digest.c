#include "base/digest.h"

#include "base/deferred.h"
#include "base/err.h"
#include "base/str.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <sys/random.h>

struct digest_hasher {
    gnutls_hash_hd_t hash;
    const char *name;
    size_t bytes;
};

static const struct {
    const char *name;
    gnutls_digest_algorithm_t id;
    size_t bytes;
} algorithms[] = {{"sha256", GNUTLS_DIG_SHA256, 32}, {"sha512", GNUTLS_DIG_SHA512, 64}};

bool digest_valid(const char *digest)
{
    for (size_t i = 0; digest && i < ARRAY_SIZE(algorithms); i++) {
        const char *rest = str_after(digest, algorithms[i].name);
        if (rest && *rest == ':')
            return strlen(rest + 1) == algorithms[i].bytes * 2 && str_is_hex(rest + 1);
    }
    return false;
}

const char *digest_hex(const char *digest)
{
    return strchr(digest, ':') + 1;
}

struct digest_hasher *digest_hasher_new(const char *algorithm)
{
    size_t i = str_after(algorithm, "sha512") ? 1 : 0;
    struct digest_hasher *h = NEW(struct digest_hasher);
    h->name = algorithms[i].name;
    h->bytes = algorithms[i].bytes;
    deferred_need(DEFERRED_GNUTLS);
    must(gnutls_hash_init(&h->hash, algorithms[i].id) == 0);
    return h;
}

void digest_hasher_add(struct digest_hasher *h, const void *bytes, size_t n)
{
    must(gnutls_hash(h->hash, bytes, n) == 0);
}

void digest_hasher_format(struct digest_hasher *h, char out[DIGEST_BYTES])
{
    unsigned char raw[64];
    gnutls_hash_hd_t copy = gnutls_hash_copy(h->hash);
    must(copy);
    gnutls_hash_deinit(copy, raw);
    int n = snprintf(out, DIGEST_BYTES, "%s:", h->name);
    str_hex(raw, h->bytes, out + n);
}

void digest_hasher_free(struct digest_hasher *h)
{
    if (!h)
        return;
    gnutls_hash_deinit(h->hash, NULL);
    free(h);
}

void digest_of(const void *bytes, size_t n, char out[DIGEST_BYTES])
{
    unsigned char raw[32];
    deferred_need(DEFERRED_GNUTLS);
    must(gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes, n, raw) == 0);
    memcpy(out, "sha256:", 7);
    str_hex(raw, sizeof(raw), out + 7);
}

void digest_hmac_sha256(const void *key, size_t key_bytes, const void *bytes, size_t n, unsigned char ret[32])
{
    deferred_need(DEFERRED_GNUTLS);
    must(gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, key_bytes, bytes, n, ret) == 0);
}

void digest_random_id(char out[65])
{
    unsigned char raw[32];
    must(getrandom(raw, sizeof(raw), 0) == sizeof(raw));
    str_hex(raw, sizeof(raw), out);
}
