/* Looks for an image's signatures where cosign puts them, in the image's own repository: the tag
 * sha256-HEX.sig, and manifests that refer to the image (distribution-spec 1.1, "Listing Referrers") of
 * cosign's artifact type. Either is a manifest whose layers are payloads, the signature an annotation of
 * each.
 *
 * Whoever can write into the repository is the attacker: what is found is bounded in size and count, compared
 * with its digest, and counts only when a key of the rule signed it and it claims this very manifest. Of an
 * index, the index is what must be signed: the manifests in it are bound by their digests. */
#include "image/image_priv.h"
#include "image/registry.h"
#include "image/signature_policy.h"

enum { SIGNATURES_MAX = 64, REFERRERS_MAX = 32, TAG_MAX_BYTES = 128 };

#define MEDIA_SIMPLE_SIGNING "application/vnd.dev.cosign.simplesigning.v1+json"
#define ARTIFACT_SIGNATURE   "application/vnd.dev.cosign.artifact.sig.v1+json"
#define SIGNATURE_KEY        "dev.cosignproject.cosign/signature"

/* Where the image comes from: a registry elsewhere, or the one of this process. */
struct image_origin {
    struct images *images;
    const struct image_ref *ref;
    struct registry *registry; /* NULL: this process's */
    struct http_client *client;
};

/* --- asking --- */

static bool has_digest(const char *digest, const struct str *bytes)
{
    char is[DIGEST_BYTES];
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new(digest);
    digest_hasher_add(h, bytes->data ? bytes->data : "", bytes->len);
    digest_hasher_format(h, is);
    return str_eq(digest, is);
}

static int own_manifest(const struct image_origin *o, const char *reference, json_t **ret, struct err *err)
{
    struct images *im = o->images;
    char digest[DIGEST_BYTES];
    _cleanup_free_ char *name = image__own_name(im, o->ref);
    int r = im->own->find(im->own->context, name, reference, digest, err);
    return r < 0 ? r : image__blob_json(im, digest, ret, err);
}

/* `reference` is a tag or a digest; ERR_NOT_FOUND. */
static int ask_manifest(const struct image_origin *o, const char *reference, json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *manifest = NULL;
    if (!o->registry)
        return own_manifest(o, reference, ret, err);
    int r = registry_get_manifest(o->registry, o->client, reference, reference, &text, &manifest, err);
    if (r == 0 && digest_valid(reference) && !has_digest(reference, &text))
        return err_set(err, ERR_CORRUPT, "%s is not what the registry sent for it", reference);
    if (r == 0)
        *ret = take_ptr(manifest);
    return r;
}

static int ask_payload(const struct image_origin *o, const char *digest, struct str *ret, struct err *err)
{
    if (!o->registry)
        return image__blob_read(o->images, digest, ret, err);
    _cleanup_free_ char *path = str_printf("blobs/%s", digest);
    struct http_call call = {.method = "GET", .max_body_bytes = SIGNATURE_PAYLOAD_MAX_BYTES};
    struct http_response answer = {0};
    int r = registry_call(o->registry, o->client, &call, path, &answer, err);
    if (r == 0 && answer.status != 200)
        r = registry_answer_err(&answer, path, err);
    if (r == 0 && !has_digest(digest, &answer.body))
        r = err_set(err, ERR_CORRUPT, "%s is not what the registry sent for it", digest);
    if (r == 0) {
        *ret = answer.body;
        answer.body = (struct str)STR_INIT;
    }
    http_response_done(&answer);
    return r;
}

/* An index of what refers to the image. A registry that has no such endpoint says 404; then the index is the
 * tag sha256-HEX ("Referrers Tag Schema"). */
static int ask_referrers(const struct image_origin *o, const char *digest, json_t **ret, struct err *err)
{
    if (!o->registry) {
        _cleanup_free_ char *name = image__own_name(o->images, o->ref);
        return o->images->own->referrers(o->images->own->context, name, digest, ARTIFACT_SIGNATURE, ret, err);
    }
    _cleanup_free_ char *type = registry_encode(ARTIFACT_SIGNATURE),
                        *path = str_printf("referrers/%s?artifactType=%s", digest, type);
    struct http_call call = {.method = "GET", .max_body_bytes = DOCUMENT_MAX_BYTES};
    struct http_response answer = {0};
    int r = registry_call(o->registry, o->client, &call, path, &answer, err);
    if (r == 0 && answer.status == 200)
        r = json_parse(str_get(&answer.body), answer.body.len, "referrers", ret, err);
    else if (r == 0 && answer.status == 404) {
        _cleanup_free_ char *tag = mem_strdup(digest);
        tag[strcspn(tag, ":")] = '-';
        tag[MIN(strlen(tag), (size_t)TAG_MAX_BYTES)] = '\0';
        r = ask_manifest(o, tag, ret, err);
    } else if (r == 0)
        r = registry_answer_err(&answer, path, err);
    http_response_done(&answer);
    return r;
}

/* --- judging --- */

struct tally {
    const struct image_origin *origin;
    const struct signature_rule *rule;
    const char *digest;
    bool signed_by[SIGNATURE_KEYS_MAX];
    int64_t keys; /* how many that are */
    size_t found;
    struct str reasons; /* why others do not count */
};

static bool enough(const struct tally *t)
{
    return t->keys >= t->rule->threshold;
}

static void add_reason(struct tally *t, const char *text)
{
    enum { REASONS_BYTES = 400 };
    if (t->reasons.len < REASONS_BYTES)
        str_addf(&t->reasons, "%ssignature %zu %s", t->reasons.len ? "; " : "", t->found, text);
}

static void judge(struct tally *t, const struct str *payload, const char *signature)
{
    struct err err = {0};
    bool by_any = false;
    int r = 0;
    for (size_t i = 0; i < t->rule->key_count; i++) {
        if (!signature_key_verifies(t->rule->keys[i], str_get(payload), payload->len, signature))
            continue;
        by_any = true;
        r = signature_claim_check(str_get(payload), payload->len, t->digest, t->rule->identities, &err);
        if (r == 0 && !t->signed_by[i]) {
            t->signed_by[i] = true;
            t->keys++;
        }
    }
    if (!by_any)
        add_reason(t, "was not made with any of these keys, or was damaged");
    else if (r < 0)
        add_reason(t, err.msg);
}

/* One layer of a signature's manifest. What cannot be read counts for nothing, unless the registry fails. */
static int examine_layer(struct tally *t, const json_t *layer, struct err *err)
{
    const char *digest = json_str(layer, "digest"),
               *signature = json_str(json_object_get(layer, "annotations"), SIGNATURE_KEY);
    int64_t size = json_int(layer, "size");
    _cleanup_str_ struct str payload = STR_INIT;
    struct err cause = {0};
    if (!str_eq(json_str(layer, "mediaType"), MEDIA_SIMPLE_SIGNING))
        return 0;
    t->found++;
    if (!*signature || strlen(signature) > SIGNATURE_TEXT_MAX_BYTES || !digest_valid(digest) || size <= 0 ||
        size > SIGNATURE_PAYLOAD_MAX_BYTES) {
        add_reason(t, "is malformed");
        return 0;
    }
    int r = ask_payload(t->origin, digest, &payload, &cause);
    if (r == -ERR_NOT_FOUND || r == -ERR_CORRUPT || r == -ERR_LIMIT ||
        (r == 0 && (int64_t)payload.len != size)) {
        add_reason(t, "has a payload that is not what its manifest says");
        return 0;
    }
    if (r < 0)
        return err_copy(err, &cause);
    judge(t, &payload, signature);
    return 0;
}

static int examine(struct tally *t, const char *reference, struct err *err)
{
    _cleanup_json_ json_t *manifest = NULL;
    size_t i;
    const json_t *layer;
    int r = ask_manifest(t->origin, reference, &manifest, err);
    if (r < 0)
        return r;
    json_array_foreach (json_object_get(manifest, "layers"), i, layer)
        if (r == 0 && !enough(t) && t->found < SIGNATURES_MAX)
            r = examine_layer(t, layer, err);
    return r;
}

static int examine_tag(struct tally *t, struct err *err)
{
    _cleanup_free_ char *tag = str_printf("%s.sig", t->digest);
    struct err cause = {0};
    tag[strcspn(tag, ":")] = '-';
    if (strlen(tag) > TAG_MAX_BYTES) /* of sha512; no tag can be so long */
        return 0;
    int r = examine(t, tag, &cause);
    return r == -ERR_NOT_FOUND ? 0 : r < 0 ? err_copy(err, &cause) : 0;
}

static int examine_referrers(struct tally *t, struct err *err)
{
    _cleanup_json_ json_t *index = NULL;
    struct err cause = {0};
    size_t i, asked = 0;
    const json_t *one;
    int r = ask_referrers(t->origin, t->digest, &index, &cause);
    json_array_foreach (json_object_get(index, "manifests"), i, one) {
        const char *digest = json_str(one, "digest");
        if (r == 0 && !enough(t) && asked < REFERRERS_MAX && digest_valid(digest) &&
            str_eq(json_str(one, "artifactType"), ARTIFACT_SIGNATURE)) {
            asked++;
            r = examine(t, digest, &cause);
            r = r == -ERR_NOT_FOUND || r == -ERR_CORRUPT ? 0 : r;
        }
    }
    return r == -ERR_NOT_FOUND ? 0 : r < 0 ? err_copy(err, &cause) : 0;
}

static int refuse(const struct tally *t, const char *name, struct err *err)
{
    _cleanup_free_ char *keys = strv_join(t->rule->key_names, ", "), *so_far = NULL;
    if (t->found == 0)
        so_far = mem_strdup("and has no signature in its repository (cosign sign --key)");
    else
        so_far = str_printf("and has %lld: %s", (long long)t->keys, str_get((struct str *)&t->reasons));
    return err_set(err, ERR_DENIED,
                   "%s: refused by the signature policy, rule %s: %s needs the signature of %lld of the keys "
                   "%.200s, %s",
                   name, t->rule->where, t->digest, (long long)t->rule->threshold, keys, so_far);
}

static json_t *report_of(const struct tally *t)
{
    json_t *keys = json_array();
    for (size_t i = 0; i < t->rule->key_count; i++)
        if (t->signed_by[i])
            json_array_append_new(keys, json_string(t->rule->key_names[i]));
    return json_pack("{s:s, s:s, s:o, s:I}", "Digest", t->digest, "Rule", t->rule->where, "SignedBy", keys,
                     "Needed", (json_int_t)t->rule->threshold);
}

static int need_signatures(const struct image_origin *o, const struct signature_rule *rule, const char *name,
                           const char *digest, json_t **ret_report, struct err *err)
{
    struct tally t = {.origin = o, .rule = rule, .digest = digest};
    int r = examine_tag(&t, err);
    if (r == 0 && !enough(&t))
        r = examine_referrers(&t, err);
    if (r < 0)
        err_wrap(err, "%s: look for the signatures that rule %s wants", name, rule->where);
    else if (!enough(&t))
        r = refuse(&t, name, err);
    else if (ret_report)
        *ret_report = report_of(&t);
    str_free(&t.reasons);
    return r;
}

/* What the policy in force says; the rule that is to be asked, or NULL where it accepts the image. */
static int find_rule(const struct image_origin *o, const struct signature_policy *policy, const char *name,
                     const struct signature_rule **ret, struct err *err)
{
    _cleanup_free_ char *repository = image_ref_repository(o->ref);
    const struct signature_rule *rule = signature_policy_rule(policy, repository);
    if (!rule)
        return err_set(
            err, ERR_DENIED,
            "%s: refused by the signature policy: no rule of %s has %s; add one that names its keys, or "
            "accepts it",
            name, policy->path, repository);
    if (rule->action == SIGNATURE_REJECT)
        return err_set(err, ERR_DENIED, "%s: refused by the signature policy: rule %s rejects %s", name,
                       rule->where, repository);
    *ret = rule->action == SIGNATURE_ACCEPT ? NULL : rule;
    return 0;
}

int image__check_signatures(struct images *im, const struct image_ref *ref, struct registry *registry,
                            struct http_client *client, const char *digest, struct err *err)
{
    if (!im->signatures)
        return 0;
    _cleanup_(signature_policy_unref_p) struct signature_policy *policy =
        im->signatures->policy(im->signatures->context);
    _cleanup_free_ char *name = image_ref_familiar(ref);
    const struct image_origin origin = {im, ref, registry, client};
    const struct signature_rule *rule;
    int r = find_rule(&origin, policy, name, &rule, err);
    return r < 0 || !rule ? r : need_signatures(&origin, rule, name, digest, NULL, err);
}

/* --- asked for by itself --- */

struct asked {
    struct images *images;
    const struct image_ref *ref;
    const struct image_auth *auth;
    const struct signature_rule *rule; /* NULL: the policy's */
    json_t **ret;
};

static int verify(const struct asked *a, const struct image_origin *o, const char *digest, struct err *err)
{
    _cleanup_(signature_policy_unref_p) struct signature_policy *policy = NULL;
    _cleanup_free_ char *name = image_ref_familiar(a->ref);
    const struct signature_rule *rule = a->rule;
    int r = 0;
    if (!rule) {
        policy = a->images->signatures->policy(a->images->signatures->context);
        r = find_rule(o, policy, name, &rule, err);
    }
    if (r == 0 && rule)
        return need_signatures(o, rule, name, digest, a->ret, err);
    if (r == 0)
        *a->ret = json_pack("{s:s, s:s, s:[], s:i}", "Digest", digest, "Rule", policy->path, "SignedBy",
                            "Needed", 0);
    return r;
}

static int verify_own(void *context, struct err *err)
{
    const struct asked *a = context;
    const struct image_origin origin = {a->images, a->ref, NULL, NULL};
    char digest[DIGEST_BYTES];
    int r = image__own_find(a->images, a->ref, digest, err);
    return r < 0 ? r : verify(a, &origin, digest, err);
}

static int verify_remote(void *context, struct err *err)
{
    const struct asked *a = context;
    struct image_origin origin = {.images = a->images, .ref = a->ref};
    _cleanup_free_ char *name = image_ref_familiar(a->ref);
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *manifest = NULL;
    const char *reference = a->ref->digest ? a->ref->digest : a->ref->tag;
    int r = registry_open(a->ref->domain, a->ref->path, "pull", a->auth, a->images, &origin.registry, err);
    if (r == 0)
        r = http_client_new(NULL, &origin.client, err);
    if (r == 0)
        r = registry_get_manifest(origin.registry, origin.client, name, reference, &text, &manifest, err);
    if (r == 0 && a->ref->digest && !has_digest(reference, &text))
        r = err_set(err, ERR_CORRUPT, "%s is not what the registry sent for it", reference);
    if (r == 0) {
        char digest[DIGEST_BYTES];
        digest_of(str_get(&text), text.len, digest);
        r = verify(a, &origin, a->ref->digest ? a->ref->digest : digest, err);
    }
    http_client_free(origin.client);
    registry_free(origin.registry);
    return r;
}

int image_verify(struct images *im, const char *reference, const struct image_auth *auth,
                 const struct signature_rule *rule, json_t **ret, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    struct err own = {0};
    if (!rule && !im->signatures)
        return err_set(
            err, ERR_INVALID,
            "no key is named, and drover serve has no --signature-policy: whose signature is it to be?");
    int r = image_ref_parse(reference, &ref, err);
    if (r < 0)
        return r;
    struct asked a = {im, &ref, auth, rule, ret};
    r = image__own_or_remote(im, &ref, verify_own, verify_remote, &a, &own);
    return r < 0 ? err_copy(err, &own) : 0;
}
