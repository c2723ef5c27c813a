/* Pulling: OCI distribution-spec 1.1, "Pull". The manifest first, then its blobs by several threads, each
 * verified as it is written; the image appears only when all of it is there. */
#include "image/registry.h"

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "image/image_priv.h"
#include "image/image_ref.h"

enum { PULL_MAX_LAYERS = 512, PULL_TRIES = 3 };

struct pull {
    struct images *images;
    struct registry *registry;
    const struct image_progress *progress;
    json_t *layers; /* descriptors */
    bool refused;   /* by the policy of signatures, which is nothing the registry said */
    bool by_tag;    /* of another node: no registry gave it a digest */
    char **brought; /* digests of what came; at the end those that no image owns go again */
};

/* Fetches a manifest and stores it as a blob, checked against `reference` when that is a digest. */
static int fetch_manifest(struct pull *p, struct http_client *client, const char *name, const char *reference,
                          char ret_digest[DIGEST_BYTES], json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *manifest = NULL;
    int r = registry_get_manifest(p->registry, client, name, reference, &text, &manifest, err);
    struct blob_writer *w = NULL;
    if (r == 0)
        r = image__blob_begin(p->images, digest_valid(reference) ? reference : NULL, (int64_t)text.len, &w,
                              err);
    if (r < 0)
        return r;
    r = image__blob_write(w, str_get(&text), text.len, err);
    if (r < 0) {
        image__blob_abort(w);
        return r;
    }
    r = image__blob_commit(w, ret_digest, err);
    if (r < 0)
        return r;
    strv_add(&p->brought, ret_digest);
    *ret = take_ptr(manifest);
    return 0;
}

/* The checked facts of one descriptor. */
static int descriptor(const json_t *d, const char **ret_digest, int64_t *ret_size, struct err *err)
{
    const char *digest = NULL;
    int64_t size = -1;
    int r = json_get_string(d, "descriptor", "digest", &digest, err);
    if (r == 0)
        r = json_get_i64(d, "descriptor", "size", &size, err);
    if (r < 0)
        return r;
    if (!digest || !digest_valid(digest) || size < 0)
        return err_set(err, ERR_INVALID, "the manifest has a descriptor without a valid digest and size");
    *ret_digest = digest;
    *ret_size = size;
    return 0;
}

struct download {
    struct pull *pull;
    struct blob_writer *writer;
    char layer[13];
    bool shown; /* a layer; the config is not told of */
    int64_t done, size;
};

static int download_sink(void *context, const void *bytes, size_t n, struct err *err)
{
    struct download *d = context;
    d->done += (int64_t)n;
    if (d->done > d->size)
        return err_set(err, ERR_CORRUPT, "blob %s is longer than the %lld bytes its manifest says", d->layer,
                       (long long)d->size);
    int r = image__blob_write(d->writer, bytes, n, err);
    if (r < 0 || !d->shown)
        return r;
    return registry_report(d->pull->progress, d->layer, "Downloading", d->done, d->size, err);
}

static int download_once(struct pull *p, struct http_client *client, const char *digest, int64_t size,
                         bool is_layer, struct err *err)
{
    struct download d = {.pull = p, .size = size, .shown = is_layer};
    registry_short_id(digest, d.layer);
    int r = image__blob_begin(p->images, digest, size, &d.writer, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *path = str_printf("blobs/%s", digest);
    struct http_call call = {.method = "GET", .sink = download_sink, .sink_context = &d};
    struct http_response answer = {0};
    r = registry_call(p->registry, client, &call, path, &answer, err);
    if (r == 0 && answer.status != 200)
        r = registry_answer_err(&answer, path, err);
    http_response_done(&answer);
    if (r < 0) {
        image__blob_abort(d.writer);
        return r;
    }
    if (is_layer && (r = registry_report(p->progress, d.layer, "Verifying Checksum", 0, 0, err)) < 0) {
        image__blob_abort(d.writer);
        return r;
    }
    char got[DIGEST_BYTES];
    return image__blob_commit(d.writer, got, err);
}

static int download(struct pull *p, struct http_client *client, const json_t *layer, bool is_layer,
                    struct err *err)
{
    const char *digest;
    int64_t size;
    int r = descriptor(layer, &digest, &size, err);
    if (r < 0)
        return r;
    char id[13];
    registry_short_id(digest, id);
    if (image__blob_has(p->images, digest))
        return 0;
    for (int tries = 1;; tries++) {
        r = download_once(p, client, digest, size, is_layer, err);
        if (r == 0)
            return is_layer ? registry_report(p->progress, id, "Download complete", 0, 0, err) : 0;
        if (!err_retryable(r) || r == -ERR_NO_SPACE || tries >= PULL_TRIES)
            return r;
    }
}

static int download_one(void *context, struct http_client *client, const json_t *layer, struct err *err)
{
    return download(context, client, layer, true, err);
}

static int download_layers(struct pull *p, struct err *err)
{
    size_t count = json_array_size(p->layers);
    if (count > PULL_MAX_LAYERS)
        return err_set(err, ERR_LIMIT, "the image has %zu layers, more than %d", count, PULL_MAX_LAYERS);
    for (size_t i = 0; i < count; i++) {
        const char *digest;
        int64_t size;
        char id[13];
        int r = descriptor(json_array_get(p->layers, i), &digest, &size, err);
        if (r < 0)
            return r;
        registry_short_id(digest, id);
        strv_add(&p->brought, digest);
        bool here = image__blob_has(p->images, digest);
        r = registry_report(p->progress, id, here ? "Already exists" : "Pulling fs layer", 0, 0, err);
        if (r < 0)
            return r;
    }
    return registry_for_each(p->layers, download_one, p, err);
}

/* The manifest of one image, through an index when there is one. */
static int find_manifest(struct pull *p, struct http_client *client, const char *name, const char *reference,
                         const char *platform, char ret_top[DIGEST_BYTES], char ret_digest[DIGEST_BYTES],
                         json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *top = NULL;
    int r = fetch_manifest(p, client, name, reference, ret_top, &top, err);
    if (r < 0)
        return r;
    if (!json_is_array(json_object_get(top, "manifests"))) {
        if (!json_is_array(json_object_get(top, "layers")))
            return err_set(err, ERR_UNSUPPORTED, "%s: manifest type \"%s\" is not an image", name,
                           json_str(top, "mediaType"));
        memcpy(ret_digest, ret_top, DIGEST_BYTES);
        *ret = take_ptr(top);
        return 0;
    }
    _cleanup_free_ char *chosen = NULL;
    r = image__choose_platform(top, platform, &chosen, err);
    if (r < 0)
        return err_wrap(err, "%s", name);
    _cleanup_json_ json_t *manifest = NULL;
    r = fetch_manifest(p, client, name, chosen, ret_digest, &manifest, err);
    if (r < 0)
        return r;
    if (!json_is_array(json_object_get(manifest, "layers")))
        return err_set(err, ERR_UNSUPPORTED, "%s: the index leads to \"%s\", which is not an image", name,
                       json_str(manifest, "mediaType"));
    *ret = take_ptr(manifest);
    return 0;
}

/* An image that is here already only gets its names. */
static int bring(struct pull *p, struct http_client *client, const json_t *manifest, const char *digest,
                 const char *tag, const char *repo_digest, char **ret_id, struct err *err)
{
    const char *id = json_str(json_object_get(manifest, "config"), "digest");
    if (digest_valid(id) && image__is_complete(p->images, id)) {
        int r = tag ? image__set_tag(p->images, id, tag, err) : 0;
        if (r == 0 && repo_digest)
            r = image__add_digest(p->images, id, repo_digest, err);
        if (r == 0)
            *ret_id = mem_strdup(id);
        return r;
    }
    if (digest_valid(id))
        strv_add(&p->brought, id);
    p->layers = json_object_get(manifest, "layers");
    int r = download(p, client, json_object_get(manifest, "config"), false, err);
    if (r == 0)
        r = download_layers(p, err);
    return r < 0 ? r : image__ingest(p->images, digest, tag, repo_digest, p->progress, ret_id, err);
}

static int pull_with(struct pull *p, const struct image_ref *ref, const char *platform, char **ret_id,
                     struct err *err)
{
    struct http_client *client;
    int r = http_client_new(NULL, &client, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *name = image_ref_familiar(ref);
    char top[DIGEST_BYTES], digest[DIGEST_BYTES];
    _cleanup_json_ json_t *manifest = NULL;
    r = find_manifest(p, client, name, ref->digest ? ref->digest : ref->tag, platform, top, digest, &manifest,
                      err);
    if (r == 0) {
        r = image__check_signatures(p->images, ref, p->registry, client, top, err);
        p->refused = r == -ERR_DENIED;
    }
    if (r == 0) {
        _cleanup_free_ char *repository = image_ref_repository(ref);
        _cleanup_free_ char *tag = ref->digest ? NULL : str_printf("%s:%s", repository, ref->tag);
        _cleanup_free_ char *repo_digest = p->by_tag ? NULL : str_printf("%s@%s", repository, top);
        r = bring(p, client, manifest, digest, tag, repo_digest, ret_id, err);
    }
    http_client_free(client);
    if (r < 0)
        return r;
    _cleanup_free_ char *line = str_printf("Digest: %s", top);
    return registry_report(p->progress, "", line, 0, 0, err);
}

/* A registry that hides what one may not see says the same of what is not there. */
static int denied(const struct image_ref *ref, struct err *err)
{
    struct image_ref bare = {.domain = ref->domain, .path = ref->path};
    _cleanup_free_ char *name = image_ref_familiar(&bare);
    struct err cause = {0};
    err_copy(&cause, err);
    return err_set(err, ERR_NOT_FOUND,
                   "pull access denied for %s, repository does not exist or may require 'docker login': %s",
                   name, cause.msg);
}

struct asked {
    struct images *images;
    struct image_ref *ref;
    const char *platform;
    const struct image_auth *auth;
    const struct image_progress *progress;
    char **ret_id;
};

static int pull_from(struct asked *a, const char *host, const char *repository, const struct image_auth *auth,
                     struct err *err)
{
    struct pull p = {.images = a->images, .progress = a->progress};
    image__hold(a->images);
    int r = registry_open(host, repository, "pull", auth, a->images, &p.registry, err);
    if (r == 0)
        r = pull_with(&p, a->ref, a->platform, a->ret_id, err);
    if (r == -ERR_DENIED && !p.refused)
        r = denied(a->ref, err);
    image__let_go(a->images, p.brought);
    strv_free(p.brought);
    registry_free(p.registry);
    return r;
}

static int pull_node(void *context, struct registry *registry, struct err *err)
{
    struct asked *a = context;
    struct pull p = {
        .images = a->images, .progress = a->progress, .registry = registry, .by_tag = !a->ref->digest};
    image__hold(a->images);
    int r = pull_with(&p, a->ref, a->platform, a->ret_id, err);
    image__let_go(a->images, p.brought);
    strv_free(p.brought);
    return r;
}

static int pull_nodes(struct asked *a, bool own, struct err *err)
{
    return image__nodes_try(a->images, a->ref, own, a->progress, pull_node, a, err);
}

/* Names without an address have been asked of other nodes before (pull_peers). When nobody reaches the
 * registry, what nodes have from there is as good as can be had. */
static int pull_remote(void *context, struct err *err)
{
    struct asked *a = context;
    struct err nodes = {0};
    int r = a->ref->digest && !str_eq(a->ref->domain, "docker.io") ? pull_nodes(a, false, &nodes)
                                                                   : -ERR_NOT_FOUND;
    if (r != -ERR_NOT_FOUND)
        return r < 0 ? err_copy(err, &nodes) : 0;
    r = pull_from(a, a->ref->domain, a->ref->path, a->auth, err);
    if ((r == -ERR_UNAVAILABLE || r == -ERR_TIMEOUT) && !a->ref->digest && pull_nodes(a, false, &nodes) == 0)
        return 0;
    return r;
}

/* The password that the user has for docker.io is nothing to a peer. */
static int pull_peer(void *context, const char *host, const char *repository, struct err *err)
{
    struct asked *a = context;
    _cleanup_free_ char *line = str_printf("From peer %s", host);
    int r = pull_from(a, host, repository, NULL, err);
    return r < 0 ? r : registry_report(a->progress, "", line, 0, 0, err);
}

static int pull_peers(struct asked *a, struct err *err)
{
    int r = image__peers_try(a->images, a->ref, a->progress, pull_peer, a, err);
    return r == -ERR_NOT_FOUND && str_eq(a->ref->domain, "docker.io") ? pull_nodes(a, true, err) : r;
}

/* --- from the registry of this process: nothing moves --- */

static int check_there(struct pull *p, const json_t *d, struct err *err)
{
    const char *digest;
    int64_t size;
    int r = descriptor(d, &digest, &size, err);
    if (r < 0)
        return r;
    strv_add(&p->brought, digest);
    return image__blob_has(p->images, digest)
               ? 0
               : err_set(err, ERR_CORRUPT, "this node's registry lacks blob %s: push the image again",
                         digest);
}

static int find_own_manifest(struct pull *p, const char *top, const char *platform, char **ret_digest,
                             json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *document = NULL;
    _cleanup_free_ char *digest = mem_strdup(top);
    strv_add(&p->brought, digest);
    int r = image__blob_json(p->images, digest, &document, err);
    if (r == 0 && json_is_array(json_object_get(document, "manifests"))) {
        free(take_ptr(digest));
        r = image__choose_platform(document, platform, &digest, err);
        json_decref(take_ptr(document));
        if (r == 0)
            strv_add(&p->brought, digest);
        if (r == 0 && (r = image__blob_json(p->images, digest, &document, err)) == -ERR_NOT_FOUND)
            return err_set(err, ERR_CORRUPT, "manifest %s of this platform was not pushed", digest);
    }
    if (r == 0 && !json_is_array(json_object_get(document, "layers")))
        return err_set(err, ERR_UNSUPPORTED, "manifest type \"%s\" is not an image",
                       json_str(document, "mediaType"));
    if (r == 0)
        r = check_there(p, json_object_get(document, "config"), err);
    size_t i;
    const json_t *layer;
    json_array_foreach (json_object_get(document, "layers"), i, layer)
        if (r == 0)
            r = check_there(p, layer, err);
    if (r == 0) {
        *ret_digest = take_ptr(digest);
        *ret = take_ptr(document);
    }
    return r;
}

static int bring_own(struct pull *p, struct asked *a, const char *top, struct err *err)
{
    _cleanup_free_ char *digest = NULL, *name = image_ref_familiar(a->ref);
    _cleanup_json_ json_t *manifest = NULL;
    int r = find_own_manifest(p, top, a->platform, &digest, &manifest, err);
    if (r < 0)
        return err_wrap(err, "%s", name);
    r = image__check_signatures(p->images, a->ref, NULL, NULL, top, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *repository = image_ref_repository(a->ref);
    _cleanup_free_ char *tag = a->ref->digest ? NULL : str_printf("%s:%s", repository, a->ref->tag);
    _cleanup_free_ char *repo_digest = str_printf("%s@%s", repository, top);
    r = bring(p, NULL, manifest, digest, tag, repo_digest, a->ret_id, err);
    _cleanup_free_ char *line = str_printf("Digest: %s", top);
    return r < 0 ? r : registry_report(p->progress, "", line, 0, 0, err);
}

static int pull_own(void *context, struct err *err)
{
    struct asked *a = context;
    struct pull p = {.images = a->images, .progress = a->progress};
    char top[DIGEST_BYTES];
    image__hold(a->images);
    int r = image__own_find(a->images, a->ref, top, err);
    if (r == 0)
        r = bring_own(&p, a, top, err);
    image__let_go(a->images, p.brought);
    strv_free(p.brought);
    return r;
}

/* Peers come behind our own, and before docker.io where our own does. */
static int pull_own_or_peers(void *context, struct err *err)
{
    struct err peers = {0};
    int r = pull_own(context, err), other = r == -ERR_NOT_FOUND ? pull_peers(context, &peers) : r;
    if (other == -ERR_NOT_FOUND || r != -ERR_NOT_FOUND)
        return r;
    return other < 0 ? err_copy(err, &peers) : 0;
}

static int pull_peers_or_remote(struct asked *a, struct err *err)
{
    int r = pull_peers(a, err);
    return r == -ERR_NOT_FOUND ? pull_remote(a, err) : r;
}

int image_pull(struct images *im, const char *reference, const char *platform, const struct image_auth *auth,
               const struct image_progress *progress, char **ret_id, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    struct err own = {0};
    int r = image_ref_parse(reference, &ref, err);
    if (r < 0)
        return r;
    struct asked a = {im, &ref, platform, auth, progress, ret_id};
    r = im->own ? image__own_or_remote(im, &ref, pull_own_or_peers, pull_remote, &a, &own)
                : pull_peers_or_remote(&a, &own);
    return r < 0 ? err_copy(err, &own) : 0;
}
