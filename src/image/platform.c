/* Platforms as images and their users name them: "linux/arm64/v8". */
#include "base/json.h"
#include "image/image_priv.h"

#include <sys/utsname.h>

/* Go's names of architectures, from the kernel's. */
const char *image__this_architecture(void)
{
    static const struct {
        const char *machine, *name;
    } table[] = {{"x86_64", "amd64"},    {"aarch64", "arm64"}, {"armv7l", "arm"},
                 {"armv6l", "arm"},      {"i686", "386"},      {"i386", "386"},
                 {"ppc64le", "ppc64le"}, {"s390x", "s390x"},   {"riscv64", "riscv64"}};
    struct utsname u;
    if (uname(&u) == 0)
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
            if (str_eq(u.machine, table[i].machine))
                return table[i].name;
    return "amd64";
}

const char *image_architecture(void)
{
    return image__this_architecture();
}

struct platform {
    char *os, *architecture, *variant; /* variant "" when not asked for */
};

static void platform_done(struct platform *p)
{
    free(p->os);
    free(p->architecture);
    free(p->variant);
}

static bool is_word(const char *text)
{
    return *text && !text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")];
}

static bool known(const char *const *names, const char *name)
{
    while (*names && !str_eq(*names, name))
        names++;
    return *names;
}

static const char *const systems[] = {"linux", "windows", "darwin", "freebsd", NULL};
static const char *const architectures[] = {"amd64", "arm64",   "arm",     "386",      "ppc64le",
                                            "s390x", "riscv64", "loong64", "mips64le", NULL};

int image_platform_check(const char *text, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, '/');
    size_t n = strv_len(parts);
    STRV_FOREACH (part, parts)
        if (n > 3 || !is_word(*part))
            return err_set(err, ERR_INVALID, "\"%.100s\": cannot parse platform specifier: invalid argument",
                           text);
    if (n == 1 && !known(systems, text) && !known(architectures, text))
        return err_set(err, ERR_INVALID,
                       "\"%.100s\": unknown operating system or architecture: invalid argument", text);
    return 0;
}

/* One word is a system or an architecture. */
static void platform_parse(const char *text, struct platform *ret)
{
    _cleanup_strv_ char **parts = str_empty(text) ? NULL : strv_split(text, '/');
    size_t n = strv_len(parts);
    bool system = n > 1 || (n == 1 && known(systems, parts[0]));
    ret->os = mem_strdup(system ? parts[0] : "linux");
    ret->architecture = mem_strdup(n > 1               ? parts[1]
                                   : n == 1 && !system ? parts[0]
                                                       : image__this_architecture());
    ret->variant = mem_strdup(n > 2 ? parts[2] : "");
}

void image__platform_into(json_t *config, const char *platform)
{
    _cleanup_(platform_done) struct platform p = {0};
    platform_parse(platform, &p);
    json_set_str(config, "architecture", p.architecture);
    json_set_str(config, "os", p.os);
    if (*p.variant)
        json_set_str(config, "variant", p.variant);
}

/* How well a manifest fits: 0 not at all. An asked variant must match; a variant that nobody asked for is
 * second to none, and the highest is taken (arm v7 before v6). */
static int fit(const json_t *descriptor, const struct platform *want)
{
    const json_t *p = json_object_get(descriptor, "platform");
    if (!str_eq(json_str(p, "os"), want->os) || !str_eq(json_str(p, "architecture"), want->architecture))
        return 0;
    const char *variant = json_str(p, "variant");
    if (*want->variant && *variant)
        return str_eq(variant, want->variant) ? 100 : 0;
    return *variant == 'v' && variant[1] >= '0' && variant[1] <= '9' ? 1 + (variant[1] - '0') : 50;
}

int image__choose_platform(const json_t *index, const char *platform, char **ret_manifest_digest,
                           struct err *err)
{
    _cleanup_(platform_done) struct platform want = {0};
    platform_parse(platform, &want);
    _cleanup_str_ struct str offered = STR_INIT;
    const json_t *best = NULL, *d;
    int best_fit = 0;
    size_t i;
    json_array_foreach (json_object_get(index, "manifests"), i, d) {
        const json_t *p = json_object_get(d, "platform");
        /* Attestations are listed as platform unknown/unknown. */
        if (str_eq(json_str(p, "os"), "unknown"))
            continue;
        if (offered.len < 300)
            str_addf(&offered, "%s%.20s/%.20s%s%.20s", offered.len ? ", " : "", json_str(p, "os"),
                     json_str(p, "architecture"), *json_str(p, "variant") ? "/" : "", json_str(p, "variant"));
        int f = fit(d, &want);
        if (f > best_fit) {
            best_fit = f;
            best = d;
        }
    }
    if (!best)
        return err_set(err, ERR_NOT_FOUND,
                       "no matching manifest for %s/%s%s%s in the manifest list entries; there is: %s",
                       want.os, want.architecture, *want.variant ? "/" : "", want.variant,
                       offered.len ? str_get(&offered) : "none");
    const char *digest = json_str(best, "digest");
    if (!digest_valid(digest))
        return err_set(err, ERR_INVALID, "the index names a manifest by \"%.100s\", which is not a digest",
                       digest);
    *ret_manifest_digest = mem_strdup(digest);
    return 0;
}
