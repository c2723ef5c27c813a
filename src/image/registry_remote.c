/* Questions to a registry that bring nothing here: a manifest's facts, and whether credentials hold. */
#include "image/registry.h"

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "image/image_priv.h"
#include "image/image_ref.h"

enum { MANIFEST_MAX_BYTES = 4 << 20, INDEX_MAX_PLATFORMS = 256, TAGS_MAX = 10000 };

static int not_found(const struct http_response *answer, const char *name, struct err *err)
{
    _cleanup_free_ char *what = str_printf("manifest for %s not found", name);
    return registry_answer_err(answer, what, err);
}

int registry_get_manifest(struct registry *registry, struct http_client *client, const char *name,
                          const char *reference, struct str *ret_text, json_t **ret, struct err *err)
{
    _cleanup_free_ char *path = str_printf("manifests/%s", reference);
    char accept[] = "Accept: " MEDIA_OCI_INDEX ", " MEDIA_OCI_MANIFEST ", " MEDIA_DOCKER_INDEX
                    ", application/vnd.docker.distribution.manifest.v2+json";
    struct http_call call = {
        .method = "GET", .headers = (char *[]){accept, NULL}, .max_body_bytes = MANIFEST_MAX_BYTES};
    struct http_response answer = {0};
    int r = registry_call(registry, client, &call, path, &answer, err);
    if (r == 0 && answer.status == 404)
        r = not_found(&answer, name, err);
    else if (r == 0 && answer.status != 200)
        r = registry_answer_err(&answer, name, err);
    if (r == 0)
        r = json_parse(str_get(&answer.body), answer.body.len, name, ret, err);
    if (r == 0) {
        str_free(ret_text);
        *ret_text = answer.body;
        answer.body = (struct str)STR_INIT;
    }
    http_response_done(&answer);
    return r;
}

static json_t *platform_of(const json_t *document)
{
    json_t *platform = json_object();
    json_set_str(platform, "architecture", json_str(document, "architecture"));
    json_set_str(platform, "os", json_str(document, "os"));
    if (*json_str(document, "variant"))
        json_set_str(platform, "variant", json_str(document, "variant"));
    return platform;
}

static json_t *index_platforms(const json_t *index)
{
    json_t *platforms = json_array();
    size_t i;
    const json_t *entry;
    json_array_foreach (json_object_get(index, "manifests"), i, entry)
        if (i < INDEX_MAX_PLATFORMS && json_object_get(entry, "platform"))
            json_array_append_new(platforms, platform_of(json_object_get(entry, "platform")));
    return platforms;
}

/* The platform of a single image stands in its config. */
static int config_platforms(struct registry *registry, struct http_client *client, const json_t *manifest,
                            json_t **ret, struct err *err)
{
    const char *digest = json_str(json_object_get(manifest, "config"), "digest");
    if (!digest_valid(digest))
        return err_set(err, ERR_INVALID, "the manifest names no config");
    _cleanup_free_ char *path = str_printf("blobs/%s", digest);
    struct http_call call = {.method = "GET", .max_body_bytes = MANIFEST_MAX_BYTES};
    struct http_response answer = {0};
    _cleanup_json_ json_t *config = NULL;
    int r = registry_call(registry, client, &call, path, &answer, err);
    if (r == 0 && answer.status != 200)
        r = registry_answer_err(&answer, path, err);
    if (r == 0)
        r = json_parse(str_get(&answer.body), answer.body.len, "config", &config, err);
    http_response_done(&answer);
    if (r == 0) {
        *ret = json_array();
        json_array_append_new(*ret, platform_of(config));
    }
    return r;
}

/* Takes `platforms`. */
static json_t *descriptor_json(const json_t *manifest, const char *digest, size_t bytes, json_t *platforms)
{
    json_t *descriptor = json_object(), *all = json_object();
    json_set_str(descriptor, "mediaType", json_str(manifest, "mediaType"));
    json_set_str(descriptor, "digest", digest);
    json_object_set_new(descriptor, "size", json_integer((json_int_t)bytes));
    json_object_set_new(all, "Descriptor", descriptor);
    json_object_set_new(all, "Platforms", platforms);
    return all;
}

static int describe(struct registry *registry, struct http_client *client, const struct image_ref *ref,
                    json_t **ret, struct err *err)
{
    _cleanup_free_ char *name = image_ref_familiar(ref);
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *manifest = NULL;
    int r = registry_get_manifest(registry, client, name, ref->digest ? ref->digest : ref->tag, &text,
                                  &manifest, err);
    if (r < 0)
        return r;
    json_t *platforms = NULL;
    if (json_is_array(json_object_get(manifest, "manifests")))
        platforms = index_platforms(manifest);
    else if ((r = config_platforms(registry, client, manifest, &platforms, err)) < 0)
        return r;
    char digest[DIGEST_BYTES];
    digest_of(str_get(&text), text.len, digest);
    *ret = descriptor_json(manifest, digest, text.len, platforms);
    return 0;
}

struct asked {
    struct images *images;
    struct image_ref *ref;
    const struct image_auth *auth;
    json_t **ret; /* of a descriptor */
    char ***ret_tags;
};

static int descriptor_remote(void *context, struct err *err)
{
    struct asked *a = context;
    struct registry *registry = NULL;
    struct http_client *client = NULL;
    int r = registry_open(a->ref->domain, a->ref->path, "pull", a->auth, a->images, &registry, err);
    if (r == 0)
        r = http_client_new(NULL, &client, err);
    if (r == 0)
        r = describe(registry, client, a->ref, a->ret, err);
    http_client_free(client);
    registry_free(registry);
    return r;
}

static int descriptor_own(void *context, struct err *err)
{
    struct asked *a = context;
    char digest[DIGEST_BYTES];
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *manifest = NULL, *config = NULL;
    json_t *platforms = NULL;
    int r = image__own_find(a->images, a->ref, digest, err);
    if (r == 0)
        r = image__blob_read(a->images, digest, &text, err);
    if (r == 0)
        r = json_parse(str_get(&text), text.len, "manifest", &manifest, err);
    if (r == 0 && json_is_array(json_object_get(manifest, "manifests"))) {
        platforms = index_platforms(manifest);
    } else if (r == 0) {
        const char *of = json_str(json_object_get(manifest, "config"), "digest");
        r = digest_valid(of) ? image__blob_json(a->images, of, &config, err)
                             : err_set(err, ERR_INVALID, "the manifest names no config");
        platforms = json_array();
        json_array_append_new(platforms, platform_of(config));
    }
    if (r < 0)
        json_decref(platforms);
    else
        *a->ret = descriptor_json(manifest, digest, text.len, platforms);
    return r;
}

int image_remote_descriptor(struct images *im, const char *reference, const struct image_auth *auth,
                            json_t **ret, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(reference, &ref, err);
    struct asked a = {.images = im, .ref = &ref, .auth = auth, .ret = ret};
    return r < 0 ? r : image__own_or_remote(im, &ref, descriptor_own, descriptor_remote, &a, err);
}

char *registry_next_page(const struct http_response *answer)
{
    const char *link = http_response_header(answer, "link");
    const char *open = link ? strchr(link, '<') : NULL, *close = open ? strchr(open, '>') : NULL;
    return close && strstr(close, "next") ? mem_strndup(open + 1, (size_t)(close - open - 1)) : NULL;
}

static int take_tags(const struct http_response *answer, const char *name, char ***tags, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    int r = json_parse(str_get(&answer->body), answer->body.len, "tags", &body, err);
    if (r < 0)
        return r;
    const json_t *tag;
    size_t i;
    json_array_foreach (json_object_get(body, "tags"), i, tag) {
        if (!json_is_string(tag) || !image_ref_tag_valid(json_string_value(tag)))
            return err_set(err, ERR_PROTOCOL, "the registry names a tag of %s that is none", name);
        strv_add(tags, json_string_value(tag));
    }
    return strv_len(*tags) > TAGS_MAX
               ? err_set(err, ERR_LIMIT, "repository %s has more than %d tags: name those you want", name,
                         TAGS_MAX)
               : 0;
}

static int list_tags(struct registry *registry, struct http_client *client, const char *name, char ***tags,
                     struct err *err)
{
    _cleanup_free_ char *path = mem_strdup("tags/list");
    int r = 0;
    for (int pages = 0; r == 0 && path && pages < TAGS_MAX; pages++) {
        struct http_call call = {.method = "GET", .max_body_bytes = MANIFEST_MAX_BYTES};
        struct http_response answer = {0};
        r = registry_call(registry, client, &call, path, &answer, err);
        if (r == 0 && answer.status != 200) {
            _cleanup_free_ char *what = str_printf("repository %s not found", name);
            r = registry_answer_err(&answer, what, err);
        }
        if (r == 0)
            r = take_tags(&answer, name, tags, err);
        free(path);
        path = r == 0 ? registry_next_page(&answer) : NULL;
        http_response_done(&answer);
    }
    return r;
}

static int tags_remote(void *context, struct err *err)
{
    struct asked *a = context;
    _cleanup_strv_ char **tags = NULL;
    struct registry *registry = NULL;
    struct http_client *client = NULL;
    _cleanup_free_ char *name = image_ref_repository(a->ref);
    int r = registry_open(a->ref->domain, a->ref->path, "pull", a->auth, a->images, &registry, err);
    if (r == 0)
        r = http_client_new(NULL, &client, err);
    if (r == 0)
        r = list_tags(registry, client, name, &tags, err);
    http_client_free(client);
    registry_free(registry);
    if (r == 0)
        *a->ret_tags = take_ptr(tags);
    return r;
}

static int tags_own(void *context, struct err *err)
{
    struct asked *a = context;
    const struct image_own *own = a->images->own;
    _cleanup_free_ char *name = image__own_name(a->images, a->ref);
    return own->tags(own->context, name, a->ret_tags, err);
}

int image_remote_tags(struct images *im, const char *repository, const struct image_auth *auth, char ***ret,
                      struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(repository, &ref, err);
    struct asked a = {.images = im, .ref = &ref, .auth = auth, .ret_tags = ret};
    return r < 0 ? r : image__own_or_remote(im, &ref, tags_own, tags_remote, &a, err);
}

int image_login(struct images *im, const char *registry, const struct image_auth *auth, char **ret_status,
                struct err *err)
{
    struct registry *r;
    struct http_client *client;
    const char *host = strstr(registry, "://") ? strstr(registry, "://") + 3 : registry;
    _cleanup_free_ char *name = mem_strndup(host, strcspn(host, "/"));
    int code = registry_open(*name ? name : "docker.io", NULL, "", auth, im, &r, err);
    if (code < 0)
        return code;
    code = http_client_new(NULL, &client, err);
    if (code == 0) {
        struct http_call call = {.method = "GET"};
        struct http_response answer = {0};
        code = registry_call(r, client, &call, "", &answer, err);
        if (code == 0 && answer.status != 200)
            code = registry_answer_err(&answer, name, err);
        http_response_done(&answer);
        http_client_free(client);
    }
    registry_free(r);
    if (code == 0)
        *ret_status = mem_strdup("Login Succeeded");
    return code;
}
