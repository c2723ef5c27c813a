#include "api/api_priv.h"

#include "image/image_ref.h"

static struct image_auth auth_of(const json_t *document)
{
    return (struct image_auth){json_str(document, "username"), json_str(document, "password"),
                               json_str(document, "identitytoken"), json_str(document, "registrytoken")};
}

void api__auth_done(struct api_auth *a)
{
    json_decref(a->document);
    a->document = NULL;
}

static int decode_header(struct http_request *q, const char *name, json_t **ret, struct err *err)
{
    const char *header = http_header(q, name);
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *document = NULL;
    *ret = NULL;
    if (str_empty(header))
        return 0;
    int r = api__base64_decode(header, &text, err);
    if (r == 0 && text.len > 0 && !str_eq(text.data, "null"))
        r = json_parse(text.data, text.len, name, &document, err);
    if (r == 0 && document && !json_is_object(document) && !json_is_null(document))
        r = err_set(err, ERR_INVALID, "must be a JSON object");
    if (r < 0)
        return err_wrap(err, "header %s", name);
    if (json_is_object(document))
        *ret = take_ptr(document);
    return 0;
}

int api__auth_of_request(struct http_request *q, struct api_auth *ret, struct err *err)
{
    json_t *document;
    int r = decode_header(q, "X-Registry-Auth", &document, err);
    if (r < 0)
        return r;
    *ret = (struct api_auth){document, auth_of(document)};
    return 0;
}

int api__auth_of_push(struct http_request *q, struct api_auth *ret, struct err *err)
{
    if (http_header(q, "X-Registry-Auth") || !http_has_body(q))
        return api__auth_of_request(q, ret, err);
    json_t *document;
    int r = api__body(q, true, &document, err);
    if (r == 0)
        *ret = (struct api_auth){document, auth_of(document)};
    return r;
}

int api__registry_config(struct http_request *q, json_t **ret, struct err *err)
{
    return decode_header(q, "X-Registry-Config", ret, err);
}

struct image_auth api__auth_of_config(const json_t *config, const char *reference)
{
    _cleanup_ref_ struct image_ref ref = {0};
    if (!config || image_ref_parse(reference, &ref, NULL) < 0)
        return auth_of(NULL);
    const json_t *entry = json_object_get(config, ref.domain);
    /* The name under which Docker's clients keep what they know of its hub. */
    if (!entry && str_eq(ref.domain, "docker.io"))
        entry = json_object_get(config, "https://index.docker.io/v1/");
    return auth_of(entry);
}
