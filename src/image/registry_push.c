/* Pushing: OCI distribution-spec 1.1, "Push". Blobs that the registry lacks, in parallel, then the manifest.
 */
#include "image/registry.h"

#include "base/digest.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "image/image_priv.h"
#include "image/image_ref.h"

enum { PUSH_TRIES = 3 };

struct push {
    struct images *images;
    struct registry *registry;
    const struct image_progress *progress;
    const _Atomic bool *cancel; /* or NULL */
    int idle_timeout_ms;
    json_t *blobs; /* {"digest", "shown"}: layers by what Docker calls them, then the config, not shown */
};

struct upload {
    struct push *push;
    struct digest_hasher *hasher; /* a rotten blob must not travel */
    const char *digest, *shown;
    int fd;
    int64_t done, size;
};

static int tell(struct push *p, const char *shown, const char *phase, int64_t done, int64_t total,
                struct err *err)
{
    return *shown ? registry_report(p->progress, shown, phase, done, total, err) : 0;
}

static ssize_t upload_source(void *context, void *buffer, size_t n, struct err *err)
{
    struct upload *u = context;
    ssize_t got = file_read_full(u->fd, buffer, n, err);
    if (got < 0)
        return got;
    digest_hasher_add(u->hasher, buffer, (size_t)got);
    u->done += got;
    if (u->done == u->size) {
        char have[DIGEST_BYTES];
        digest_hasher_format(u->hasher, have);
        if (strcmp(have, u->digest) != 0)
            return err_set(err, ERR_CORRUPT, "blob %s is corrupt on this disk; pull or build the image again",
                           u->digest);
    }
    int r = tell(u->push, u->shown, "Pushing", u->done, u->size, err);
    return r < 0 ? r : got;
}

/* The URL of a Location with the digest as a query parameter. */
static char *upload_url(const char *location, const char *digest)
{
    return str_printf("%s%cdigest=%s", location, strchr(location, '?') ? '&' : '?', digest);
}

static int begin_upload(struct push *p, struct http_client *client, char **ret_location, struct err *err)
{
    struct http_call call = {.method = "POST", .body = "", .body_bytes = 0};
    struct http_response answer = {0};
    int r = registry_call(p->registry, client, &call, "blobs/uploads/", &answer, err);
    const char *location = r == 0 ? http_response_header(&answer, "location") : NULL;
    if (r == 0 && answer.status != 202)
        r = registry_answer_err(&answer, "begin upload", err);
    else if (r == 0 && !location)
        r = err_set(err, ERR_PROTOCOL, "the registry gave no place for an upload");
    else if (r == 0)
        *ret_location = mem_strdup(location);
    http_response_done(&answer);
    return r;
}

static int upload_once(struct push *p, struct http_client *client, const char *digest, const char *shown,
                       struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    struct upload u = {.push = p, .digest = digest, .shown = shown};
    int r = image__blob_open(p->images, digest, &fd, &u.size, err);
    _cleanup_free_ char *location = NULL;
    if (r == 0)
        r = begin_upload(p, client, &location, err);
    if (r < 0)
        return r;
    u.fd = fd;
    _cleanup_hasher_ struct digest_hasher *hasher = digest_hasher_new(digest);
    u.hasher = hasher;
    _cleanup_free_ char *url = upload_url(location, digest);
    char type[] = "Content-Type: application/octet-stream";
    struct http_call call = {.method = "PUT",
                             .headers = (char *[]){type, NULL},
                             .source = upload_source,
                             .source_context = &u,
                             .source_bytes = u.size,
                             .cancel = p->cancel,
                             .idle_timeout_ms = p->idle_timeout_ms};
    struct http_response answer = {0};
    r = registry_call(p->registry, client, &call, url, &answer, err);
    if (r == 0 && answer.status != 201 && answer.status != 204)
        r = registry_answer_err(&answer, "upload", err);
    http_response_done(&answer);
    return r;
}

static int push_blob(struct push *p, struct http_client *client, const char *digest, const char *shown,
                     struct err *err)
{
    _cleanup_free_ char *path = str_printf("blobs/%s", digest);
    struct http_call call = {.method = "HEAD"};
    struct http_response answer = {0};
    int r = registry_call(p->registry, client, &call, path, &answer, err);
    int status = answer.status;
    http_response_done(&answer);
    if (r < 0)
        return r;
    if (status == 200)
        return tell(p, shown, "Layer already exists", 0, 0, err);
    for (int tries = 1;; tries++) {
        r = upload_once(p, client, digest, shown, err);
        if (r == 0)
            return tell(p, shown, "Pushed", 0, 0, err);
        if ((r != -ERR_UNAUTHORIZED && !err_retryable(r)) || tries >= PUSH_TRIES)
            return r;
    }
}

int registry_push_blob(struct registry *registry, struct http_client *client, struct images *im,
                       const char *digest, const _Atomic bool *cancel, int idle_timeout_ms, struct err *err)
{
    struct push p = {
        .images = im, .registry = registry, .cancel = cancel, .idle_timeout_ms = idle_timeout_ms};
    return push_blob(&p, client, digest, "", err);
}

static int push_one(void *context, struct http_client *client, const json_t *blob, struct err *err)
{
    return push_blob(context, client, json_str(blob, "digest"), json_str(blob, "shown"), err);
}

/* Docker shows a layer by its content's id, which is the same however it travels. */
static void list_blobs(struct push *p, const struct image_info *info)
{
    const json_t *diffs = json_object_get(json_object_get(info->config, "rootfs"), "diff_ids"), *layer;
    size_t i;
    p->blobs = json_array();
    json_array_foreach (json_object_get(info->manifest, "layers"), i, layer) {
        const char *diff = json_string_value(json_array_get(diffs, i));
        char shown[13] = "";
        if (diff && digest_valid(diff))
            registry_short_id(diff, shown);
        json_array_append_new(p->blobs,
                              json_pack("{s:s, s:s}", "digest", json_str(layer, "digest"), "shown", shown));
    }
    const char *config = json_str(json_object_get(info->manifest, "config"), "digest");
    json_array_append_new(p->blobs, json_pack("{s:s, s:s}", "digest", config, "shown", ""));
}

static int push_blobs(struct push *p, struct err *err)
{
    size_t i;
    const json_t *blob;
    json_array_foreach (p->blobs, i, blob) {
        if (!digest_valid(json_str(blob, "digest")))
            return err_set(err, ERR_CORRUPT, "the image's manifest has an invalid digest");
        int r = tell(p, json_str(blob, "shown"), "Preparing", 0, 0, err);
        if (r < 0)
            return r;
    }
    return registry_for_each(p->blobs, push_one, p, err);
}

int registry_put_manifest(struct registry *registry, struct http_client *client, const char *reference,
                          const char *media_type, const struct str *text, struct err *err)
{
    _cleanup_free_ char *header = str_printf("Content-Type: %s", media_type);
    _cleanup_free_ char *path = str_printf("manifests/%s", reference);
    struct http_call call = {
        .method = "PUT", .headers = (char *[]){header, NULL}, .body = str_get(text), .body_bytes = text->len};
    struct http_response answer = {0};
    int r = registry_call(registry, client, &call, path, &answer, err);
    if (r == 0 && answer.status != 201)
        r = registry_answer_err(&answer, "push manifest", err);
    http_response_done(&answer);
    return r;
}

static int push_manifest(struct push *p, const struct image_info *info, const struct image_ref *ref,
                         int64_t *ret_size, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str text = STR_INIT;
    int r = image__blob_open(p->images, info->manifest_digest, &fd, ret_size, err);
    if (r == 0)
        r = file_read_fd(fd, 4 << 20, &text, err);
    struct http_client *client;
    if (r == 0)
        r = http_client_new(NULL, &client, err);
    if (r < 0)
        return r;
    const char *type = json_str(info->manifest, "mediaType");
    r = registry_put_manifest(p->registry, client, ref->tag,
                              *type ? type : "application/vnd.oci.image.manifest.v1+json", &text, err);
    http_client_free(client);
    return r;
}

static int push_remote(struct push *p, const struct image_info *info, const struct image_ref *ref,
                       const struct image_auth *auth, int64_t *ret_size, struct err *err)
{
    int r = registry_open(ref->domain, ref->path, "pull,push", auth, p->images, &p->registry, err);
    if (r == 0) {
        list_blobs(p, info);
        r = push_blobs(p, err);
    }
    if (r == 0)
        r = push_manifest(p, info, ref, ret_size, err);
    json_decref(p->blobs);
    registry_free(p->registry);
    return r;
}

/* Into the registry of this process, which has the blobs already. */
static int push_own(struct push *p, const struct image_info *info, const char *name,
                    const struct image_ref *ref, int64_t *ret_size, struct err *err)
{
    const struct image_own *own = p->images->own;
    size_t i;
    const json_t *blob;
    int r = 0;
    list_blobs(p, info);
    json_array_foreach (p->blobs, i, blob)
        if (r == 0)
            r = tell(p, json_str(blob, "shown"), "Layer already exists", 0, 0, err);
    json_decref(p->blobs);
    if (r == 0)
        r = own->push(own->context, name, ref->tag, info->manifest_digest, err);
    _cleanup_close_ int fd = -EBADF;
    return r == 0 ? image__blob_open(p->images, info->manifest_digest, &fd, ret_size, err) : r;
}

int image_push(struct images *im, const char *reference, const struct image_auth *auth,
               const struct image_progress *progress, char **ret_digest, int64_t *ret_size, struct err *err)
{
    struct image_ref ref = {0};
    struct image_info info = {0};
    struct push p = {.images = im, .progress = progress};
    int64_t size = 0;
    int r = image_ref_parse(reference, &ref, err);
    if (r == 0 && ref.digest)
        r = err_set(err, ERR_INVALID, "cannot push a digest reference");
    if (r == 0)
        r = image_get(im, reference, &info, err);
    _cleanup_free_ char *own = r == 0 ? image__own_name(im, &ref) : NULL, *digest = NULL;
    _cleanup_json_ json_t *attestation = NULL, *manifest = NULL;
    if (r == 0)
        r = image__attestation(im, &info, &attestation, &manifest, err);
    if (r == 0 && attestation)
        r = image_index_push(im, (char *[]){info.id, NULL}, reference, auth, &digest, &size, err);
    else if (r == 0 && own && im->own->order != IMAGE_OWN_LAST)
        r = push_own(&p, &info, own, &ref, &size, err);
    else if (r == 0)
        r = push_remote(&p, &info, &ref, auth, &size, err);
    if (r == 0 && !digest)
        digest = mem_strdup(info.manifest_digest);
    if (r == 0) {
        _cleanup_free_ char *repo_digest = str_printf("%s/%s@%s", ref.domain, ref.path, digest);
        r = image__add_digest(im, info.id, repo_digest, err);
    }
    if (r == 0) {
        *ret_digest = take_ptr(digest);
        *ret_size = size;
    }
    image_info_done(&info);
    image_ref_done(&ref);
    return r;
}
