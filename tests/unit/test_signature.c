/* Keys, payload and signatures were made with openssl: genpkey; pkey -pubout; pkeyutl -sign -rawin -digest
 * sha256 (Ed25519 without a digest). */
#include "api/signature_file.h"
#include "image/signature_policy.h"
#include "unit.h"

#define DIGEST "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define CLAIM(type, digest)                                                                                  \
    "{\"critical\":{\"identity\":{\"docker-reference\":\"registry.example/team/web\"},\"image\":"            \
    "{\"docker-manifest-digest\":\"" digest "\"},\"type\":\"" type "\"},\"optional\":null}"

static const char payload[] = CLAIM("cosign container image signature", DIGEST);

static const char ec_key[] = "-----BEGIN PUBLIC KEY-----\n"
                             "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3bBw3iLD/2SdZDT/7nEI0C120Rf0\n"
                             "ICfME9iWbwbrZJWZeElqu8YY8iEdP/I3LpjVuwCg/YTIpctieGCLxtyA2Q==\n"
                             "-----END PUBLIC KEY-----\n";

static const char rsa_key[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAxRMU3sdZ5p5UdP7Luiag\n"
                              "LtRRKavVX7wIpRfl9Ww5Y2n/2miLommTC/xhSsCX6lrncAjyws17LhuF4ffyG+99\n"
                              "g5ShHuM9rvUeFztTdN3YFPF3cpNzk0oVIxaj82Kw6UIizg9IVC8fqmZNFIoUiu3c\n"
                              "hKms8trsE+juAEZ4/94NFygUq35Z+rCGH+DRXAZl8MCufbRG6u3hjPzSwKcsE1tw\n"
                              "X8+y9fDjl55oGD32EFDxLTcpOCDu5Q9uIhZRvqmjO8qorSLMrKH9JO+5Hp4Er6yx\n"
                              "/hnFnUdSYo5gDevRhT7qNoc3n0sBRIau47yLkVf3Iby6FAuI02BO5MSksQh7xLQy\n"
                              "kQIDAQAB\n"
                              "-----END PUBLIC KEY-----\n";

static const char ed_key[] = "-----BEGIN PUBLIC KEY-----\n"
                             "MCowBQYDK2VwAyEAsWAG637RKgK++D5xLMchSvxmC4xeRzvqmr8lIMbVcxk=\n"
                             "-----END PUBLIC KEY-----\n";

static const char p384_key[] = "-----BEGIN PUBLIC KEY-----\n"
                               "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEyAWNzauDM4oQxr2ccsf5jOnR499+p1B5\n"
                               "ldfyH/Yy+STAVpGJtjVtWP9Wr3dx90gUkppavP+S5TzgZ/OXAkxcGcMOUKUeCyTD\n"
                               "7vN6UbsPW+bPGDZE8IB7klpjnqZeBHRM\n"
                               "-----END PUBLIC KEY-----\n";

static const char short_key[] = "-----BEGIN PUBLIC KEY-----\n"
                                "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDHokfTSlDy2aBjj/OChiZMS1lP\n"
                                "VzkYkVvAMon20fdwd9pUSmi54swJ62AWzqQzageAGk1kynQCqjjdmnNiToqwwd5t\n"
                                "WgBeSU3MNJDo66NJQFwKvQz8ESQQRpnxQO2Ya1Q2TO7Nv98m3n43gTWqQ8/oYyyN\n"
                                "Iq0wRPh3T3uJnC6Y/QIDAQAB\n"
                                "-----END PUBLIC KEY-----\n";

static const char ec_signature[] =
    "MEUCIDv8jl41E+J7B/5iRLPQq+hjedHYWYElYAnglHSaIapqAiEA0zMI5BBGG5bFDuT+R6zTc52ACj8VUgfb0FaqSw"
    "B0IwU=";

static const char rsa_signature[] =
    "pSp3BV43fEe3TJYHTow0lQdwXtzhiikxwjdNpOB/nC/elVxEy43/wxcH16ynta67oY/GXfIL7j2O3u00w02cdPvxwx"
    "oYRIp25KU6b0REykY0hmi9GKOC7LFwEWbOCh0CuwIdsl+Ce5AgxFucgnoXdO7c23iza7B7cIYeLal034fdUTGwtEJN"
    "98NmrUkOoV2kKXTwTkHYAtnJCUv+5qrwjllDqY2GhYGvjRz0sE+JupqqDhDzBxAhJbKGywPcrNlPW/LsxKrLthQTr1"
    "NyPy3DI2KTvSq3SQzmQRStDrLHtSgfAcgSQm2J8KK9mk7dkHS9tUboKa21Fyn5EfeZFmYsDA==";

static const char ed_signature[] =
    "HQ0yik28yPoTkhz1PVl8uAaxYlfJZI250qWRIRGDhLlyAoDU0AZRNrsdhk2g1QULtGYkWSu0+M1KcctbNlEsBA==";

static struct signature_key *key(const char *pem)
{
    struct signature_key *k = NULL;
    struct err err = {0};
    assert_ok(signature_key_parse(pem, strlen(pem), &k, &err), &err);
    return k;
}

static void a_key_knows_its_own_signature_of_these_bytes_alone(void **state)
{
    const char *const pems[] = {ec_key, rsa_key, ed_key}, *const made[] = {ec_signature, rsa_signature,
                                                                           ed_signature};
    for (size_t i = 0; i < 3; i++) {
        struct signature_key *k = key(pems[i]);
        for (size_t j = 0; j < 3; j++)
            assert_int_equal(signature_key_verifies(k, payload, strlen(payload), made[j]), i == j);
        assert_false(signature_key_verifies(k, payload, strlen(payload) - 1, made[i]));
        /* Each character of the text carries bits of the signature, but for the last, which may be padding.
         */
        for (size_t at = 0; at + 4 < strlen(made[i]); at++) {
            _cleanup_free_ char *damaged = mem_strdup(made[i]);
            damaged[at] = damaged[at] == 'A' ? 'B' : 'A';
            if (signature_key_verifies(k, payload, strlen(payload), damaged))
                fail_msg("key %zu takes a signature with character %zu changed", i, at);
        }
        static const char *const nonsense[] = {"", "A", "====", "AAAA", "no base64", "MAYCAQECAQE="};
        for (size_t n = 0; n < ARRAY_SIZE(nonsense); n++)
            assert_false(signature_key_verifies(k, payload, strlen(payload), nonsense[n]));
        assert_true(signature_key_same(k, k));
        signature_key_free(k);
    }
}

static void other_keys_are_refused(void **state)
{
    struct signature_key *k = NULL;
    struct err err = {0};
    assert_int_equal(signature_key_parse(p384_key, strlen(p384_key), &k, &err), -ERR_UNSUPPORTED);
    assert_int_equal(signature_key_parse(short_key, strlen(short_key), &k, &err), -ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "1024 bits"));
    size_t body = (size_t)(strstr(ec_key, "-----END") - ec_key);
    for (size_t n = 0; n <= body; n++) /* cut off anywhere */
        assert_int_equal(signature_key_parse(ec_key, n, &k, &err), -ERR_INVALID);
    assert_null(k);
}

static int claim(const char *text, char *const *identities, struct err *err)
{
    return signature_claim_check(text, strlen(text), DIGEST, identities, err);
}

static void a_claim_must_be_of_this_image(void **state)
{
    struct err err = {0};
    static const char *const bad[] = {
        CLAIM("cosign container image signature",
              "sha256:2222222222222222222222222222222222222222222222222222222222222222"),
        CLAIM("cosign container image signature", ""),
        CLAIM("cosign container image signature", "sha256:1"),
        CLAIM("atomic container signature", DIGEST),
        "{\"critical\":{\"image\":{\"docker-manifest-digest\":\"" DIGEST
        "\"},\"type\":\"cosign container image signature\"}}",
        "{}",
        "[]",
        "null",
        "",
        "{\"critical\":7}",
    };
    assert_ok(claim(payload, NULL, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(claim(bad[i], NULL, &err), -ERR_DENIED);
    _cleanup_strv_ char **fits = strv_split("other/**,registry.example/team/*", ','),
                        **misses = strv_split("registry.example/*", ',');
    assert_ok(claim(payload, fits, &err), &err);
    assert_int_equal(claim(payload, misses, &err), -ERR_DENIED);
}

/* --- the file --- */

static int parse(const char *dir, const char *text, struct signature_policy **ret, struct err *err)
{
    struct file_watch watch = {0};
    _cleanup_free_ char *path = str_printf("%s/policy.yaml", dir);
    int r = signature_file_parse(path, text, strlen(text), &watch, ret, err);
    file_watch_done(&watch);
    return r;
}

static void put(const char *dir, const char *name, const char *text)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    assert_true(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void the_first_rule_that_fits_decides(void **state)
{
    struct signature_policy *p = NULL;
    struct err err = {0};
    char *dir = scratch_new();
    put(dir, "ec.pub", ec_key);
    put(dir, "rsa.pub", rsa_key);
    assert_ok(parse(dir,
                    "rules:\n"
                    "  - images: [docker.io/library/*]\n"
                    "    action: accept\n"
                    "  - images: ['*/team/**']\n"
                    "    keys: [ec.pub, rsa.pub]\n"
                    "    threshold: 2\n"
                    "  - images: ['*/team/never']\n"
                    "    action: reject\n",
                    &p, &err),
              &err);
    assert_int_equal(signature_policy_rule(p, "docker.io/library/busybox")->action, SIGNATURE_ACCEPT);
    const struct signature_rule *rule = signature_policy_rule(p, "registry.example:5000/team/never");
    assert_int_equal(rule->action, SIGNATURE_NEEDED);
    assert_int_equal(rule->threshold, 2);
    assert_int_equal(rule->key_count, 2);
    assert_null(signature_policy_rule(p, "docker.io/other/web"));
    signature_policy_unref(p);
    scratch_remove(dir);
}

static void a_wrong_file_is_refused_with_its_place(void **state)
{
    static const char *const wrong[][2] = {
        {"rules: [{images: [a], action: maybe}]", "policy.yaml:1:31"},
        {"rules: [{images: [a]}]", "keys"},
        {"rules: [{action: accept}]", "images"},
        {"rules: [{images: [], action: accept}]", "patterns"},
        {"rules: [{images: [a], action: accept, keys: [ec.pub]}]", "either"},
        {"rules: [{images: [a], action: accept, threshold: 1}]", "threshold"},
        {"rules: [{images: [a], keys: [ec.pub], threshold: 0}]", "threshold"},
        {"rules: [{images: [a], keys: [ec.pub, ./ec.pub]}]", "same key"},
        {"rules: [{images: [a], keys: []}]", "public key"},
        {"rules: [{images: [a], keys: [absent.pub]}]", "absent.pub"},
        {"rules: [{images: [a], key: [ec.pub]}]", "did you mean"},
        {"rules: []", "rules"},
        {"rule: []", "rules"},
        {"default: accept", "unknown key"},
    };
    char *dir = scratch_new();
    put(dir, "ec.pub", ec_key);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct signature_policy *p = NULL;
        struct err err = {0};
        assert_int_equal(parse(dir, wrong[i][0], &p, &err), -ERR_INVALID);
        if (!strstr(err.msg, wrong[i][1]) || !strstr(err.msg, "policy.yaml:1:"))
            fail_msg("%s: %s", wrong[i][0], err.msg);
    }
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_knows_its_own_signature_of_these_bytes_alone),
        cmocka_unit_test(other_keys_are_refused),
        cmocka_unit_test(a_claim_must_be_of_this_image),
        cmocka_unit_test(the_first_rule_that_fits_decides),
        cmocka_unit_test(a_wrong_file_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
