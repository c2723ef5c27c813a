#include "image/image_ref.h"

#include "base/digest.h"
#include "base/err.h"
#include "base/str.h"

enum { NAME_MAX_BYTES = 255, TAG_MAX_BYTES = 128 };

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* Runs of [a-z0-9] joined by one of: ".", "_", "__", or any number of "-". */
static bool path_component_valid(const char *at, const char *end)
{
    for (;;) {
        if (at == end || !is_lower_alnum(*at))
            return false;
        while (at < end && is_lower_alnum(*at))
            at++;
        if (at == end)
            return true;
        if (*at == '.') {
            at++;
        } else if (*at == '_') {
            at += at + 1 < end && at[1] == '_' ? 2 : 1;
        } else if (*at == '-') {
            while (at < end && *at == '-')
                at++;
        } else {
            return false;
        }
    }
}

static bool path_valid(const char *path)
{
    for (const char *at = path;; at++) {
        const char *end = strchrnul(at, '/');
        if (!path_component_valid(at, end))
            return false;
        if (!*end)
            return true;
        at = end;
    }
}

static bool port_valid(const char *port)
{
    return *port && strspn(port, "0123456789") == strlen(port) && strlen(port) <= 5;
}

static bool host_valid(const char *host, const char *end)
{
    for (const char *at = host;; at++) {
        const char *stop = memchr(at, '.', (size_t)(end - at));
        if (!stop)
            stop = end;
        if (at == stop || !is_alnum(*at) || !is_alnum(stop[-1]))
            return false;
        for (; at < stop; at++)
            if (!is_alnum(*at) && *at != '-')
                return false;
        if (stop == end)
            return true;
    }
}

static bool domain_valid(const char *domain)
{
    const char *end;
    if (*domain == '[') {
        size_t n = strspn(domain + 1, "0123456789abcdefABCDEF:.");
        if (n < 2 || domain[n + 1] != ']')
            return false;
        end = domain + n + 2;
    } else {
        end = strchrnul(domain, ':');
        if (!host_valid(domain, end))
            return false;
    }
    return !*end || (*end == ':' && port_valid(end + 1));
}

bool image_ref_tag_valid(const char *tag)
{
    size_t n = strlen(tag);
    if (n == 0 || n > TAG_MAX_BYTES || !(is_alnum(*tag) || *tag == '_'))
        return false;
    for (; *tag; tag++)
        if (!is_alnum(*tag) && !strchr("_.-", *tag))
            return false;
    return true;
}

static bool first_part_is_domain(const char *name, size_t n)
{
    if (n == strlen("localhost") && strncmp(name, "localhost", n) == 0)
        return true;
    for (size_t i = 0; i < n; i++)
        if (name[i] == '.' || name[i] == ':' || (name[i] >= 'A' && name[i] <= 'Z'))
            return true;
    return false;
}

static void split_domain(const char *name, struct image_ref *ref)
{
    const char *slash = strchr(name, '/');
    if (slash && first_part_is_domain(name, (size_t)(slash - name))) {
        ref->domain = mem_strndup(name, (size_t)(slash - name));
        name = slash + 1;
    } else {
        ref->domain = mem_strdup("docker.io");
    }
    if (str_eq(ref->domain, "index.docker.io")) {
        free(ref->domain);
        ref->domain = mem_strdup("docker.io");
    }
    bool official = str_eq(ref->domain, "docker.io") && !strchr(name, '/');
    ref->path = str_printf("%s%s", official ? "library/" : "", name);
}

static int check(const struct image_ref *ref, const char *text, struct err *err)
{
    for (const char *c = ref->path; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            return err_set(err, ERR_INVALID,
                           "invalid reference format: repository name (%.300s) must be lowercase", ref->path);
    if (!domain_valid(ref->domain) || !path_valid(ref->path) || (ref->tag && !image_ref_tag_valid(ref->tag)))
        return err_set(err, ERR_INVALID, "invalid reference format: \"%.300s\"", text);
    if (ref->digest && !digest_valid(ref->digest))
        return err_set(err, ERR_INVALID, "invalid reference format: \"%.200s\" is not a digest (sha256:...)",
                       ref->digest);
    if (strlen(ref->domain) + 1 + strlen(ref->path) > NAME_MAX_BYTES)
        return err_set(err, ERR_INVALID, "repository name must not be more than %d characters",
                       NAME_MAX_BYTES);
    return 0;
}

int image_ref_parse(const char *text, struct image_ref *ret, struct err *err)
{
    if (str_empty(text))
        return err_set(err, ERR_INVALID, "invalid reference format: the name of an image is missing");
    if (strlen(text) == 64 && str_is_hex(text))
        return err_set(err, ERR_INVALID,
                       "invalid repository name (%s), cannot specify 64-byte hexadecimal strings", text);
    _cleanup_ref_ struct image_ref ref = {0};
    const char *at = strchr(text, '@');
    if (at)
        ref.digest = mem_strdup(at + 1);
    _cleanup_free_ char *name = at ? mem_strndup(text, (size_t)(at - text)) : mem_strdup(text);
    char *slash = strrchr(name, '/');
    char *colon = strchr(slash ? slash : name, ':');
    if (colon) {
        ref.tag = mem_strdup(colon + 1);
        *colon = '\0';
    } else if (!at) {
        ref.tag = mem_strdup("latest");
    }
    split_domain(name, &ref);
    int r = check(&ref, text, err);
    if (r < 0)
        return r;
    *ret = ref;
    ref = (struct image_ref){0};
    return 0;
}

bool image_ref_is_bare(const char *text)
{
    const char *slash = strrchr(text, '/');
    return !strchr(slash ? slash : text, ':') && !strchr(text, '@');
}

void image_ref_done(struct image_ref *ref)
{
    free(ref->domain);
    free(ref->path);
    free(ref->tag);
    free(ref->digest);
    *ref = (struct image_ref){0};
}

char *image_ref_repository(const struct image_ref *ref)
{
    return str_printf("%s/%s", ref->domain, ref->path);
}

static char *with_tag_and_digest(const char *name, const struct image_ref *ref)
{
    return str_printf("%s%s%s%s%s", name, ref->tag ? ":" : "", ref->tag ? ref->tag : "",
                      ref->digest ? "@" : "", ref->digest ? ref->digest : "");
}

char *image_ref_format(const struct image_ref *ref)
{
    _cleanup_free_ char *name = image_ref_repository(ref);
    return with_tag_and_digest(name, ref);
}

char *image_ref_familiar(const struct image_ref *ref)
{
    if (!str_eq(ref->domain, "docker.io"))
        return image_ref_format(ref);
    const char *official = str_after(ref->path, "library/");
    return with_tag_and_digest(official && !strchr(official, '/') ? official : ref->path, ref);
}

char *image_ref_familiar_text(const char *text)
{
    _cleanup_ref_ struct image_ref ref = {0};
    return image_ref_parse(text, &ref, NULL) < 0 ? mem_strdup(text) : image_ref_familiar(&ref);
}

char *image_ref_normal(const char *text)
{
    _cleanup_ref_ struct image_ref ref = {0};
    if (image_ref_parse(text, &ref, NULL) < 0)
        return NULL;
    if (ref.digest)
        free(take_ptr(ref.tag));
    return image_ref_format(&ref);
}
