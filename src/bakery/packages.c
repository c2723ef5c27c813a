#include "bakery/packages_priv.h"

#include "base/digest.h"
#include "base/json.h"
#include "base/timeutil.h"

#include <ctype.h>
#include <stdlib.h>

static void package_done(struct package *p)
{
    char **const texts[] = {&p->name,   &p->version,  &p->architecture,
                            &p->source, &p->homepage, &p->maintainer};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(take_ptr(*texts[i]));
}

void packages_done(struct packages *p)
{
    for (size_t i = 0; i < p->count; i++)
        package_done(&p->items[i]);
    free(p->items);
    *p = (struct packages){0};
}

static int by_name(const void *a, const void *b)
{
    const struct package *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->architecture, y->architecture);
}

static void take_field(struct package *p, bool apk, bool *installed, const char *line)
{
    const struct {
        const char *fields[2];
        char **place;
    } fields[] = {{{"Package: ", "P:"}, &p->name},
                  {{"Version: ", "V:"}, &p->version},
                  {{"Architecture: ", "A:"}, &p->architecture},
                  {{"Source: ", "o:"}, &p->source},
                  {{"Homepage: ", "U:"}, &p->homepage},
                  {{"Maintainer: ", "m:"}, &p->maintainer}};
    const char *value = apk ? NULL : str_after(line, "Status: ");
    if (value)
        *installed = str_ends_with(value, " installed");
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        value = str_after(line, fields[i].fields[apk]);
        if (!value)
            continue;
        free(*fields[i].place);
        *fields[i].place = str_strip(value);
    }
}

int packages__take(struct packages *all, struct package *p, struct err *err)
{
    if (!p->name || !p->version) {
        package_done(p);
        return 0;
    }
    if (all->count >= PACKAGES_MAX) {
        package_done(p);
        return err_set(err, ERR_LIMIT, "more than %d packages are installed", PACKAGES_MAX);
    }
    if (!p->architecture)
        p->architecture = mem_strdup("all");
    GROW(all->items, all->count, all->capacity);
    all->items[all->count++] = *p;
    *p = (struct package){0};
    return 0;
}

static int end_stanza(struct packages *all, struct package *p, bool installed, struct err *err)
{
    if (installed)
        return packages__take(all, p, err);
    package_done(p);
    return 0;
}

void packages__sort(struct packages *p)
{
    if (p->count)
        qsort(p->items, p->count, sizeof(*p->items), by_name);
}

static int parse(const char *text, bool apk, struct packages *ret, struct err *err)
{
    struct packages all = {.kind = apk ? PACKAGES_APK : PACKAGES_DPKG};
    struct package p = {0};
    bool installed = apk;
    int r = 0;
    while (r == 0 && *text) {
        size_t n = strcspn(text, "\n");
        _cleanup_free_ char *line = mem_strndup(text, n);
        text += n + (text[n] == '\n');
        if (*line)
            take_field(&p, apk, &installed, line);
        else
            r = end_stanza(&all, &p, installed, err), installed = apk;
    }
    if (r == 0)
        r = end_stanza(&all, &p, installed, err);
    package_done(&p);
    if (r < 0) {
        packages_done(&all);
        return r;
    }
    packages__sort(&all);
    *ret = all;
    return 0;
}

int packages_parse(const char *text, struct packages *ret, struct err *err)
{
    return parse(text, false, ret, err);
}

int packages_parse_apk(const char *text, struct packages *ret, struct err *err)
{
    return parse(text, true, ret, err);
}

char *packages_line(const struct packages *p)
{
    struct str line = STR_INIT;
    for (size_t i = 0; i < p->count; i++)
        str_addf(&line, "%s%s=%s", i ? " " : "", p->items[i].name, p->items[i].version);
    return str_take(&line);
}

/* --- SPDX --- */

/* Identifiers are letters, digits, "." and "-" (clause 7.2). */
static char *spdx_id(const char *name, const char *architecture)
{
    char *id = str_printf("SPDXRef-Package-%s-%s", name, architecture);
    for (char *c = id; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '.' && *c != '-')
            *c = '-';
    return id;
}

/* purl: what is no unreserved character is encoded. */
static void add_encoded(struct str *s, const char *text)
{
    for (; *text; text++)
        if (isalnum((unsigned char)*text) || strchr("-._~", *text))
            str_addc(s, *text);
        else
            str_addf(s, "%%%02X", (unsigned char)*text);
}

/* rpm's have the epoch apart. */
static char *package_url(const struct package *p, enum packages_kind kind, const char *distro)
{
    static const char *const types[] = {"deb", "apk", "rpm"};
    struct str url = STR_INIT;
    const char *colon = kind == PACKAGES_RPM ? strchr(p->version, ':') : NULL;
    str_addf(&url, "pkg:%s/%.*s/", types[kind], (int)strcspn(distro, "-"), distro);
    add_encoded(&url, p->name);
    str_addc(&url, '@');
    add_encoded(&url, colon ? colon + 1 : p->version);
    str_add(&url, "?arch=");
    add_encoded(&url, p->architecture);
    if (colon)
        str_addf(&url, "&epoch=%.*s", (int)(colon - p->version), p->version);
    str_addf(&url, "&distro=%s", distro);
    return str_take(&url);
}

static json_t *entry(const char *id, const char *name, const char *version)
{
    json_t *e = json_object();
    json_set_str(e, "SPDXID", id);
    json_set_str(e, "name", name);
    if (version)
        json_set_str(e, "versionInfo", version);
    json_set_str(e, "downloadLocation", "NOASSERTION");
    json_object_set_new(e, "filesAnalyzed", json_false());
    json_set_str(e, "licenseConcluded", "NOASSERTION");
    json_set_str(e, "licenseDeclared", "NOASSERTION");
    json_set_str(e, "copyrightText", "NOASSERTION");
    return e;
}

static json_t *package_entry(const struct package *p, enum packages_kind kind, const char *id,
                             const char *distro)
{
    json_t *e = entry(id, p->name, p->version);
    _cleanup_free_ char *url = package_url(p, kind, distro);
    if (p->maintainer) {
        _cleanup_free_ char *supplier = str_printf("Organization: %s", p->maintainer);
        json_set_str(e, "supplier", supplier);
    }
    if (p->homepage)
        json_set_str(e, "homepage", p->homepage);
    if (p->source) {
        _cleanup_free_ char *built = str_printf("built from source package %s", p->source);
        json_set_str(e, "sourceInfo", built);
    }
    json_object_set_new(e, "externalRefs",
                        json_pack("[{s:s, s:s, s:s}]", "referenceCategory", "PACKAGE-MANAGER",
                                  "referenceType", "purl", "referenceLocator", url));
    return e;
}

static json_t *relation(const char *from, const char *kind, const char *to)
{
    return json_pack("{s:s, s:s, s:s}", "spdxElementId", from, "relationshipType", kind, "relatedSpdxElement",
                     to);
}

json_t *packages_spdx(const struct packages *p, const char *subject, const char *distro, int64_t epoch)
{
    static const char root[] = "SPDXRef-Base";
    char digest[DIGEST_BYTES], created[TIME_RFC3339_BYTES];
    _cleanup_free_ char *line = packages_line(p);
    digest_of(line, strlen(line), digest);
    /* Unique for what it describes (clause 6.5), and the same for the same. */
    _cleanup_free_ char *space =
        str_printf("https://spdx.org/spdxdocs/%s-%.32s", subject, digest_hex(digest));
    for (char *c = space + strlen("https://"); *c; c++)
        *c = *c == ':' ? '-' : *c;
    time_format_rfc3339(epoch * NS_PER_S, created);
    json_t *packages = json_array(), *relations = json_array();
    json_array_append_new(packages, entry(root, subject, NULL));
    json_array_append_new(relations, relation("SPDXRef-DOCUMENT", "DESCRIBES", root));
    for (size_t i = 0; i < p->count; i++) {
        _cleanup_free_ char *id = spdx_id(p->items[i].name, p->items[i].architecture);
        json_array_append_new(packages, package_entry(&p->items[i], p->kind, id, distro));
        json_array_append_new(relations, relation(root, "CONTAINS", id));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:[s]}, s:o, s:o}", "spdxVersion", "SPDX-2.3",
                     "dataLicense", "CC0-1.0", "SPDXID", "SPDXRef-DOCUMENT", "name", subject,
                     "documentNamespace", space, "creationInfo", "created", created, "creators",
                     "Tool: drover-" DROVER_VERSION, "packages", packages, "relationships", relations);
}
