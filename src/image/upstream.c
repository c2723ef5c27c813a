#include "image/upstream.h"

#include "image/image_priv.h"
#include "image/registry.h"

#include <string.h>

enum { MANIFEST_BYTES_MAX = 8 << 20, IDLE_TIMEOUT_MS = 60000 };

struct upstream {
    struct images *images;
    struct registry *registry;
    struct http_client *client;
};

static char accept_header[] = "Accept: " MEDIA_OCI_INDEX ", " MEDIA_OCI_MANIFEST ", " MEDIA_DOCKER_INDEX
                              ", application/vnd.docker.distribution.manifest.v2+json";

int upstream_open(struct images *im, const char *host, const char *repository, const char *actions,
                  const char *username, const char *password, struct upstream **ret, struct err *err)
{
    struct upstream *u = NEW(struct upstream);
    u->images = im;
    const struct image_auth auth = {.username = username, .password = password};
    int r = registry_open(host, repository, actions, username ? &auth : NULL, im, &u->registry, err);
    if (r == 0)
        r = http_client_new(NULL, &u->client, err);
    if (r < 0) {
        upstream_close(u);
        return r;
    }
    *ret = u;
    return 0;
}

void upstream_close(struct upstream *u)
{
    if (!u)
        return;
    http_client_free(u->client);
    registry_free(u->registry);
    free(u);
}

static int ask(struct upstream *u, struct http_call *call, const char *path, struct http_response *ret,
               struct err *err)
{
    int r = registry_call(u->registry, u->client, call, path, ret, err);
    return r == 0 && ret->status != 200 ? registry_answer_err(ret, path, err) : r;
}

int upstream_head(struct upstream *u, const char *tag, char ret_digest[DIGEST_BYTES], struct err *err)
{
    _cleanup_free_ char *path = str_printf("manifests/%s", tag);
    struct http_call call = {.method = "HEAD", .headers = (char *[]){accept_header, NULL}};
    struct http_response answer = {0};
    int r = ask(u, &call, path, &answer, err);
    const char *digest = r == 0 ? http_response_header(&answer, "docker-content-digest") : NULL;
    snprintf(ret_digest, DIGEST_BYTES, "%s", digest && digest_valid(digest) ? digest : "");
    http_response_done(&answer);
    return r;
}

int upstream_manifest(struct upstream *u, const char *reference, struct str *ret_bytes, char **ret_media_type,
                      struct err *err)
{
    _cleanup_free_ char *path = str_printf("manifests/%s", reference);
    struct http_call call = {
        .method = "GET", .headers = (char *[]){accept_header, NULL}, .max_body_bytes = MANIFEST_BYTES_MAX};
    struct http_response answer = {0};
    int r = ask(u, &call, path, &answer, err);
    if (r == 0) {
        const char *type = http_response_header(&answer, "content-type");
        *ret_media_type = type ? mem_strndup(type, strcspn(type, "; ")) : NULL;
        str_free(ret_bytes);
        *ret_bytes = answer.body;
        answer.body = (struct str)STR_INIT;
    }
    http_response_done(&answer);
    return r;
}

int upstream_blob(struct upstream *u, const char *digest, http_sink_fn sink, void *context, struct err *err)
{
    _cleanup_free_ char *path = str_printf("blobs/%s", digest);
    struct http_call call = {.method = "GET", .sink = sink, .sink_context = context};
    struct http_response answer = {0};
    int r = ask(u, &call, path, &answer, err);
    http_response_done(&answer);
    return r;
}

int upstream_push_blob(struct upstream *u, const char *digest, const _Atomic bool *cancel, struct err *err)
{
    return registry_push_blob(u->registry, u->client, u->images, digest, cancel, IDLE_TIMEOUT_MS, err);
}

int upstream_push_manifest(struct upstream *u, const char *reference, const char *media_type,
                           const struct str *bytes, struct err *err)
{
    return registry_put_manifest(u->registry, u->client, reference, media_type, bytes, err);
}

int upstream_delete(struct upstream *u, const char *reference, struct err *err)
{
    _cleanup_free_ char *path = str_printf("manifests/%s", reference);
    struct http_call call = {.method = "DELETE"};
    struct http_response answer = {0};
    int r = registry_call(u->registry, u->client, &call, path, &answer, err);
    if (r == 0 && (answer.status == 400 || answer.status == 405))
        r = err_set(err, ERR_UNSUPPORTED, "the registry there does not delete %s: %d", reference,
                    answer.status);
    else if (r == 0 && answer.status != 202 && answer.status != 200)
        r = registry_answer_err(&answer, "delete manifest", err);
    http_response_done(&answer);
    return r;
}
