/* POST /drover/images/verify: is what a name leads to in its registry signed? For `drover image verify`. */
#include "api/api_priv.h"

#include "image/signature_policy.h"

enum { IDENTITIES_MAX = 1000 };

static void rule_done(struct signature_rule *rule)
{
    for (size_t i = 0; i < rule->key_count; i++)
        signature_key_free(rule->keys[i]);
    free(rule->keys);
    strv_free(rule->key_names);
    strv_free(rule->identities);
}

/* One key may be named twice, and must not count for two. */
static int add_key(struct signature_rule *rule, const json_t *given, struct err *err)
{
    const char *pem = json_str(given, "PEM"), *name = json_str(given, "Name");
    struct signature_key *key;
    int r = strlen(pem) > SIGNATURE_KEY_MAX_BYTES
                ? err_set(err, ERR_INVALID, "of more than %d bytes", SIGNATURE_KEY_MAX_BYTES)
                : signature_key_parse(pem, strlen(pem), &key, err);
    if (r < 0)
        return err_wrap(err, "key %s", name);
    for (size_t i = 0; i < rule->key_count; i++)
        if (signature_key_same(rule->keys[i], key)) {
            signature_key_free(key);
            return err_set(err, ERR_INVALID, "%s and %s are the same key", rule->key_names[i], name);
        }
    rule->keys[rule->key_count++] = key;
    strv_add(&rule->key_names, name);
    return 0;
}

static int read_rule(const json_t *body, struct signature_rule *ret, struct err *err)
{
    const json_t *keys = json_object_get(body, "Keys"), *key;
    size_t i, n = json_array_size(keys);
    if (n > SIGNATURE_KEYS_MAX)
        return err_set(err, ERR_LIMIT, "%zu keys are given; at most %d are possible", n, SIGNATURE_KEYS_MAX);
    ret->keys = NEW_N(struct signature_key *, n + 1);
    static char where[] = "of the command line";
    ret->where = where;
    ret->threshold = 1;
    int r = json_get_i64(body, "", "Threshold", &ret->threshold, err);
    if (r == 0)
        r = json_get_strv(body, "", "Identities", &ret->identities, err);
    if (strv_len(ret->identities) == 0) /* none asked for: any */
        ret->identities = strv_free(ret->identities);
    json_array_foreach (keys, i, key)
        if (r == 0)
            r = add_key(ret, key, err);
    if (r == 0 && strv_len(ret->identities) > IDENTITIES_MAX)
        r = err_set(err, ERR_LIMIT, "at most %d identities are possible", IDENTITIES_MAX);
    if (r == 0 && n && (ret->threshold < 1 || ret->threshold > (int64_t)n))
        r = err_set(err, ERR_INVALID, "a threshold of %lld of %zu keys is not possible",
                    (long long)ret->threshold, n);
    return r;
}

int api_image_verify(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    struct api_auth auth = {0};
    struct signature_rule rule = {0};
    _cleanup_json_ json_t *body = NULL;
    json_t *report = NULL;
    const char *name = "";
    int r = api__body(q, false, &body, err);
    if (r == 0)
        r = json_get_string(body, "", "Image", &name, err);
    if (r == 0)
        r = read_rule(body, &rule, err);
    if (r == 0)
        r = api__auth_of_request(q, &auth, err);
    if (r == 0)
        r = image_verify(a->images, name, &auth.auth, rule.key_count ? &rule : NULL, &report, err);
    rule_done(&rule);
    api__auth_done(&auth);
    if (r == 0)
        http_reply_json(q, 200, report);
    return r;
}
