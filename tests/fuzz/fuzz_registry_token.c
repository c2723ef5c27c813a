/* Tokens as clients send them, and what a token of ours may say. */
#include "api/registry_token.h"
#include "base/json.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct registry_token_key key = {{1, 2, 3}};
    struct registry_token token = {0};
    _cleanup_free_ char *text = mem_strndup((const char *)data, size);
    /* Nobody else has the key. */
    must(!registry_token_read(&key, "service", text, 1000, &token));
    _cleanup_json_ json_t *access = json_loadb(text, strlen(text), 0, NULL);
    if (!json_is_array(access))
        return 0;
    const struct registry_token said = {.subject = (char[]){"somebody"}, .access = access};
    registry_token_rights(&said, "team/web");
    _cleanup_free_ char *made = registry_token_make(&key, "service", &said, 1000, 60);
    if (registry_token_read(&key, "service", made, 1001, &token)) {
        must(strcmp(token.subject, "somebody") == 0);
        must(registry_token_rights(&token, "team/web") == registry_token_rights(&said, "team/web"));
        registry_token_done(&token);
    }
    must(!registry_token_read(&key, "another", made, 1001, &token));
    must(!registry_token_read(&key, "service", made, 1061, &token));
    return 0;
}
