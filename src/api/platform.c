/* Parameters that name a platform of an image, {"os": ..., "architecture": ..., "variant": ...}: an image
 * here is of one platform, and what is asked of another one is not there. */
#include "api/api_priv.h"

static int parse(const char *text, json_t **ret, struct err *err)
{
    static const char *const parts[] = {"os", "architecture", "variant", "os.version"};
    _cleanup_json_ json_t *platform = json_loads(text, 0, NULL);
    if (!json_is_object(platform))
        return err_set(err, ERR_INVALID, "failed to parse platform: it must be a JSON object");
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        const json_t *part = json_object_get(platform, parts[i]);
        if (part && !json_is_string(part))
            return err_set(err, ERR_INVALID, "failed to parse platform: \"%s\" must be a string", parts[i]);
    }
    if (!*json_str(platform, "os") || !*json_str(platform, "architecture"))
        return err_set(err, ERR_INVALID, "both OS and Architecture must be provided");
    *ret = take_ptr(platform);
    return 0;
}

int api__platform_asked(struct http_request *q, int since_version, json_t **ret, struct err *err)
{
    _cleanup_strv_ char **given = http_query_all(q, "platform");
    *ret = NULL;
    if (api__version(q) < since_version || !strv_len(given) || str_empty(given[0]))
        return 0;
    if (given[1])
        return err_set(err, ERR_INVALID, "only one platform can be given: an image here is of one");
    return parse(given[0], ret, err);
}

int api__platforms_asked(struct http_request *q, int since_version, json_t **ret, struct err *err)
{
    _cleanup_strv_ char **given = http_query_all(q, "platforms");
    _cleanup_json_ json_t *list = json_array();
    int r = 0;
    STRV_FOREACH (text, given) {
        json_t *one = NULL;
        if (r == 0 && (r = parse(*text, &one, err)) == 0)
            json_array_append_new(list, one);
    }
    *ret = NULL;
    if (r == 0 && api__version(q) >= since_version && json_array_size(list))
        *ret = take_ptr(list);
    return api__version(q) >= since_version ? r : 0;
}

char *api__platform_text(const json_t *platform)
{
    const char *variant = json_str(platform, "variant");
    return str_printf("%.50s/%.50s%s%.50s", json_str(platform, "os"), json_str(platform, "architecture"),
                      *variant ? "/" : "", variant);
}

int api__platform_check(const struct image_info *info, const char *reference, const json_t *platform,
                        struct err *err)
{
    static const char *const parts[] = {"os", "architecture", "variant"};
    for (size_t i = 0; platform && i < ARRAY_SIZE(parts); i++) {
        const char *wanted = json_str(platform, parts[i]);
        if (!*wanted || str_eq(wanted, json_str(info->config, parts[i])))
            continue;
        _cleanup_free_ char *text = api__platform_text(platform);
        return err_set(err, ERR_NOT_FOUND,
                       "image with reference %.300s was found but does not provide the specified platform "
                       "(%s)",
                       reference, text);
    }
    return 0;
}

int api__image_of(struct http_request *q, struct api *a, int since_version, struct image_info *ret,
                  struct err *err)
{
    const char *name = http_param(q, "name");
    _cleanup_json_ json_t *platform = NULL;
    int r = api__platform_asked(q, since_version, &platform, err);
    if (r == 0)
        r = image_get(a->images, name, ret, err);
    if (r < 0)
        return r;
    r = api__platform_check(ret, name, platform, err);
    if (r < 0)
        image_info_done(ret);
    return r;
}
