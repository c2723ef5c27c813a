#include "bakery/cache_spec.h"

#include "base/digest.h"
#include "base/str.h"

static const char *const types[] = {
    [CACHE_REGISTRY] = "registry", [CACHE_LOCAL] = "local", [CACHE_INLINE] = "inline"};

void cache_spec_done(struct cache_spec *spec)
{
    free(spec->place);
    free(spec->name);
    *spec = (struct cache_spec){0};
}

static int take_type(const char *value, struct cache_spec *s, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (str_eq(types[i], value)) {
            s->type = (enum cache_type)i;
            return 0;
        }
    return err_set(err, ERR_UNSUPPORTED, "type=%.50s: it must be registry, local or inline", value);
}

static int take_mode(const char *value, struct cache_spec *s, struct err *err)
{
    s->max = str_eq(value, "max");
    return s->max || str_eq(value, "min")
               ? 0
               : err_set(err, ERR_INVALID, "mode=%.50s: it must be min or max", value);
}

static int set(char **field, const char *value, const char *key, struct err *err)
{
    if (!*value)
        return err_set(err, ERR_INVALID, "%s= is empty", key);
    free(*field);
    *field = mem_strdup(value);
    return 0;
}

/* Layers are stored as gzip, descriptors in OCI's words and in one manifest: asking for that is fine. */
static int take_form(const char *key, const char *value, struct err *err)
{
    bool same = str_eq(key, "compression") ? str_eq(value, "gzip") : str_eq(value, "true");
    return same ? 0
                : err_set(err, ERR_UNSUPPORTED,
                          "%s=%.50s: a cache is one OCI manifest whose layers are compressed by gzip", key,
                          value);
}

static int take(struct cache_spec *s, const char *part, bool is_target, struct err *err)
{
    const char *value = strchr(part, '=');
    if (!value)
        return err_set(err, ERR_INVALID, "\"%.100s\": it must be KEY=VALUE", part);
    _cleanup_free_ char *key = mem_strndup(part, (size_t)(value++ - part));
    if (str_eq(key, "type"))
        return take_type(value, s, err);
    if (s->type == CACHE_REGISTRY && str_eq(key, "ref"))
        return set(&s->place, value, key, err);
    if (s->type == CACHE_LOCAL && str_eq(key, is_target ? "dest" : "src"))
        return set(&s->place, value, key, err);
    if (s->type == CACHE_LOCAL && (str_eq(key, "tag") || (!is_target && str_eq(key, "digest"))))
        return set(&s->name, value, key, err);
    if (is_target && s->type != CACHE_INLINE && str_eq(key, "mode"))
        return take_mode(value, s, err);
    if (is_target && s->type != CACHE_INLINE && str_eq(key, "ignore-error"))
        return parse_bool(value, &s->ignore_error, err);
    if (is_target && s->type != CACHE_INLINE &&
        (str_eq(key, "compression") || str_eq(key, "oci-mediatypes") || str_eq(key, "image-manifest")))
        return take_form(key, value, err);
    return err_set(err, ERR_UNSUPPORTED, "%.100s= is not known with type=%s", key, types[s->type]);
}

static int check(struct cache_spec *s, bool is_target, struct err *err)
{
    if (s->type == CACHE_INLINE && !is_target)
        return err_set(err, ERR_INVALID, "an inline cache comes with its image: say type=registry,ref=IMAGE");
    if (s->type == CACHE_REGISTRY && !s->place)
        return err_set(err, ERR_INVALID, "type=registry needs a name: ref=NAME");
    if (s->type == CACHE_LOCAL && !s->place)
        return err_set(err, ERR_INVALID, "type=local needs a directory: %s=DIRECTORY",
                       is_target ? "dest" : "src");
    if (s->type == CACHE_LOCAL && !s->name)
        s->name = mem_strdup("latest");
    return 0;
}

/* The type decides what the other keys are, wherever it stands. */
static int read_type(char **parts, struct cache_spec *s, struct err *err)
{
    STRV_FOREACH (part, parts)
        if (str_after(*part, "type="))
            return take_type(str_after(*part, "type="), s, err);
    return err_set(err, ERR_INVALID, "it needs a type: type=registry, type=local or type=inline");
}

int cache_spec_parse(const char *text, bool is_target, struct cache_spec *ret, struct err *err)
{
    struct cache_spec s = {0};
    int r = 0;
    if (*text && !strchr(text, '=')) {
        s.place = mem_strdup(text);
    } else {
        _cleanup_strv_ char **parts = strv_split(text, ',');
        r = read_type(parts, &s, err);
        for (char **p = parts; r == 0 && p && *p; p++)
            r = take(&s, *p, is_target, err);
    }
    if (r == 0)
        r = check(&s, is_target, err);
    if (r < 0) {
        cache_spec_done(&s);
        return err_wrap(err, "%s %.200s", is_target ? "--cache-to" : "--cache-from", text);
    }
    *ret = s;
    return 0;
}
