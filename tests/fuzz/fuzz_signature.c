/* Signatures from whoever may write into a repository: a first line with the signature, then the payload; and
 * the whole as a key's file. */
#include "base/mem.h"
#include "image/signature.h"

#include <stdint.h>
#include <string.h>

static const char key_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
                              "-----END PUBLIC KEY-----\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char digest[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    char *const identities[] = {(char[]){"registry.example/**"}, NULL};
    struct signature_key *key = NULL;
    struct err err = {0};
    if (signature_key_parse((const char *)data, size, &key, &err) < 0)
        must(err.code && *err.msg);
    signature_key_free(key);
    const uint8_t *end = memchr(data, '\n', size);
    if (!end)
        return 0;
    _cleanup_free_ char *signature = mem_strndup((const char *)data, (size_t)(end - data));
    const char *payload = (const char *)end + 1;
    size_t n = size - (size_t)(end - data) - 1;
    must(signature_key_parse(key_pem, sizeof(key_pem) - 1, &key, &err) == 0);
    must(!signature_key_verifies(key, payload, n, signature));
    signature_key_free(key);
    for (int with = 0; with < 2; with++) {
        err = (struct err){0};
        if (signature_claim_check(payload, n, digest, with ? identities : NULL, &err) < 0)
            must(err.code == ERR_DENIED && *err.msg);
    }
    return 0;
}
