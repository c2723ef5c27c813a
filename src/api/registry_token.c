#include "api/registry_token.h"

#include "base/base64.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "registry/policy.h"

#include <sys/random.h>

enum { MAC_BYTES = 32, LEEWAY_S = 5 };

/* The head of every token made here. It is not read again: the signature alone says whose a token is. */
#define HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

int registry_token_key_load(const char *path, struct registry_token_key *ret, struct err *err)
{
    struct registry_token_key key;
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, sizeof(key.bytes), &text, err);
    if (r == -ERR_NOT_FOUND) {
        must(getrandom(key.bytes, sizeof(key.bytes), 0) == sizeof(key.bytes));
        r = file_replace(path, key.bytes, sizeof(key.bytes), 0600, true, err);
    } else if (r == 0 && text.len != sizeof(key.bytes)) {
        r = err_set(err, ERR_CORRUPT, "%s is no key: remove it, and another will be made", path);
    } else if (r == 0) {
        memcpy(key.bytes, text.data, sizeof(key.bytes));
    }
    if (r == 0)
        *ret = key;
    return r;
}

void registry_token_done(struct registry_token *t)
{
    free(t->subject);
    json_decref(t->access);
    *t = (struct registry_token){0};
}

/* RFC 7515, section 2: the URL's alphabet, without padding. */
static char *encode(const void *bytes, size_t n)
{
    char *text = base64_encode(bytes, n);
    for (char *c = text; *c; c++)
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
    text[strcspn(text, "=")] = '\0';
    return text;
}

static bool decode(const char *text, size_t n, struct str *ret)
{
    _cleanup_str_ struct str standard = STR_INIT;
    str_addn(&standard, text, n);
    for (size_t i = 0; i < standard.len; i++) {
        char *c = &standard.data[i];
        if (*c == '+' || *c == '/' || *c == '=')
            return false;
        *c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
    }
    while (standard.len % 4)
        str_addc(&standard, '=');
    return base64_decode(str_get(&standard), ret, NULL) == 0;
}

char *registry_token_make(const struct registry_token_key *key, const char *service,
                          const struct registry_token *t, int64_t now_s, int64_t seconds)
{
    char id[65];
    unsigned char mac[MAC_BYTES];
    digest_random_id(id);
    _cleanup_json_ json_t *claims =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:O}", "iss", "drover", "sub", t->subject, "aud",
                  service, "nbf", (json_int_t)now_s, "iat", (json_int_t)now_s, "exp",
                  (json_int_t)(now_s + seconds), "jti", id, "access", t->access);
    _cleanup_free_ char *payload = json_format(claims);
    _cleanup_free_ char *first = encode(HEADER, strlen(HEADER)), *second = encode(payload, strlen(payload));
    _cleanup_free_ char *text = str_printf("%s.%s", first, second);
    digest_hmac_sha256(key->bytes, sizeof(key->bytes), text, strlen(text), mac);
    _cleanup_free_ char *third = encode(mac, sizeof(mac));
    return str_printf("%s.%s", text, third);
}

static bool signature_right(const struct registry_token_key *key, const char *text, const char *last_dot)
{
    unsigned char mac[MAC_BYTES], differs = 0;
    _cleanup_str_ struct str given = STR_INIT;
    if (!decode(last_dot + 1, strlen(last_dot + 1), &given) || given.len != sizeof(mac))
        return false;
    digest_hmac_sha256(key->bytes, sizeof(key->bytes), text, (size_t)(last_dot - text), mac);
    for (size_t i = 0; i < sizeof(mac); i++)
        differs |= (unsigned char)(mac[i] ^ (unsigned char)given.data[i]);
    return differs == 0;
}

bool registry_token_read(const struct registry_token_key *key, const char *service, const char *text,
                         int64_t now_s, struct registry_token *ret)
{
    const char *dot = strchr(text, '.'), *last = strrchr(text, '.');
    if (strlen(text) > TOKEN_MAX_BYTES || !dot || dot == last || !signature_right(key, text, last))
        return false;
    _cleanup_str_ struct str payload = STR_INIT;
    _cleanup_json_ json_t *claims = NULL;
    if (!decode(dot + 1, (size_t)(last - dot - 1), &payload) ||
        json_parse(str_get(&payload), payload.len, "token", &claims, NULL) < 0 ||
        !str_eq(json_str(claims, "aud"), service) || json_int(claims, "exp") <= now_s ||
        json_int(claims, "nbf") > now_s + LEEWAY_S)
        return false;
    ret->subject = mem_strdup(json_str(claims, "sub"));
    ret->access = json_incref(json_object_get(claims, "access"));
    return true;
}

unsigned registry_token_rights(const struct registry_token *t, const char *repository)
{
    unsigned rights = 0;
    size_t i, j;
    const json_t *one, *action;
    json_array_foreach (t->access, i, one)
        if (str_eq(json_str(one, "type"), "repository") && str_eq(json_str(one, "name"), repository))
            json_array_foreach (json_object_get(one, "actions"), j, action)
                rights |= registry_right_parse(json_string_value(action));
    return rights;
}
