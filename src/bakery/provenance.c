#include "bakery/attest.h"

#include "base/base64.h"
#include "base/str.h"

/* How an image was built, in the fields that BuildKit's docs/attestations/slsa-definitions.md describes: SLSA
 * provenance v1, or v0.2. What comes of the same input at the same SOURCE_DATE_EPOCH is the same. */

#define BUILD_TYPE_V1  "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
#define BUILD_TYPE_V02 "https://mobyproject.org/buildkit@v1"

void bakery_attest_done(struct bakery_attest *a)
{
    free(a->builder_id);
    *a = (struct bakery_attest){0};
}

static int take(struct bakery_attest *a, const char *name, const char *value, struct err *err)
{
    if (str_eq(name, "mode") && (str_eq(value, "min") || str_eq(value, "max"))) {
        a->max = str_eq(value, "max");
        return 0;
    }
    if (str_eq(name, "version") && (str_eq(value, "v1") || str_eq(value, "v0.2"))) {
        a->old_version = str_eq(value, "v0.2");
        return 0;
    }
    if (str_eq(name, "reproducible"))
        return parse_bool(value, &a->reproducible, err);
    if (str_eq(name, "builder-id")) {
        free(a->builder_id);
        a->builder_id = mem_strdup(value);
        return 0;
    }
    return err_set(err, ERR_INVALID,
                   "\"%.80s=%.80s\": there are mode=min|max, version=v1|v0.2, reproducible=true|false and "
                   "builder-id=URL",
                   name, value);
}

int bakery_attest_parse(const char *text, struct bakery_attest *ret, struct err *err)
{
    bool on = true;
    if (parse_bool(text, &on, NULL) == 0) {
        ret->provenance = on;
        return 0;
    }
    ret->provenance = true;
    _cleanup_strv_ char **parts = strv_split(text, ',');
    STRV_FOREACH (part, parts) {
        char *equals = strchr(*part, '=');
        if (equals)
            *equals = '\0';
        int r = take(ret, *part, equals ? equals + 1 : "", err);
        if (r < 0)
            return err_wrap(err, "provenance");
    }
    return 0;
}

/* --- what the build stood on --- */

void build__material(struct builder *b, const char *uri, const char *algorithm, const char *hex)
{
    if (!b->materials)
        return;
    SCOPED_LOCK(locked, &b->fetch_lock);
    json_object_set_new(b->materials, uri, json_pack("{s:s}", algorithm, hex));
}

void build__material_image(struct builder *b, const char *name, const char *id)
{
    struct image_info info;
    if (!b->materials || image_get(b->im, id, &info, NULL) < 0)
        return;
    size_t n = strcspn(name, "@");
    const char *slash = strrchr(name, '/'), *colon = strrchr(slash ? slash : name, ':');
    if (colon && colon < name + n)
        n = (size_t)(colon - name);
    const char *tag = colon && name[n] == ':' ? colon + 1 : name[n] == '@' ? "" : "latest";
    _cleanup_free_ char *uri = str_printf("pkg:docker/%.*s%s%.*s?platform=%s%%2F%s", (int)n, name,
                                          *tag ? "@" : "", (int)strcspn(tag, "@"), tag,
                                          json_str(info.config, "os"), json_str(info.config, "architecture"));
    build__material(b, uri, "sha256", digest_hex(info.manifest_digest));
    image_info_done(&info);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, since they came from several threads. */
static json_t *materials_of(const struct builder *b)
{
    json_t *list = json_array(), *digest;
    _cleanup_strv_ char **names = NULL;
    const char *name;
    json_object_foreach (b->materials, name, digest)
        strv_add(&names, name);
    if (names)
        qsort(names, strv_len(names), sizeof(*names), by_text);
    STRV_FOREACH (uri, names)
        json_array_append_new(
            list, json_pack("{s:s, s:O}", "uri", *uri, "digest", json_object_get(b->materials, *uri)));
    return list;
}

/* --- what it was asked --- */

static void add_pairs(json_t *args, const char *prefix, char *const *pairs)
{
    STRV_FOREACH (pair, (char **)pairs) {
        size_t n = strcspn(*pair, "=");
        _cleanup_free_ char *key = str_printf("%s:%.*s", prefix, (int)n, *pair);
        json_set_str(args, key, (*pair)[n] ? *pair + n + 1 : "");
    }
}

/* The ids of mounts of a type, as the file has them: no value of a secret is known here. */
static json_t *mounts_of(const struct builder *b, const char *type)
{
    json_t *list = json_array();
    _cleanup_free_ char *wanted = str_printf("type=%s", type);
    _cleanup_strv_ char **seen = NULL;
    for (size_t i = 0; i < b->file.step_count; i++) {
        const struct df_step *step = &b->file.steps[i];
        for (size_t j = 0; j < step->flag_count; j++) {
            const char *id = "default";
            _cleanup_strv_ char **parts = str_eq(step->flags[j].name, "mount") && step->flags[j].value
                                              ? strv_split(step->flags[j].value, ',')
                                              : NULL;
            if (!strv_has(parts, wanted))
                continue;
            STRV_FOREACH (part, parts)
                id = str_after(*part, "id=") ? str_after(*part, "id=") : id;
            if (strv_has(seen, id))
                continue;
            strv_add(&seen, id);
            bool required = strv_has(parts, "required") || strv_has(parts, "required=true");
            json_array_append_new(list,
                                  json_pack(required ? "{s:s}" : "{s:s, s:b}", "id", id, "optional", 1));
        }
    }
    return list;
}

static json_t *request_of(const struct builder *b)
{
    const struct bakery_options *o = b->o;
    json_t *args = json_object(), *request;
    if (o->target)
        json_set_str(args, "target", o->target);
    if (o->attest->max) {
        add_pairs(args, "build-arg", o->build_args);
        add_pairs(args, "label", o->labels);
    }
    request = json_pack("{s:s, s:o, s:[{s:s}, {s:s}]}", "frontend", "dockerfile.v0", "args", args, "locals",
                        "name", "context", "name", "dockerfile");
    if (o->attest->max) {
        json_object_set_new(request, "secrets", mounts_of(b, "secret"));
        json_object_set_new(request, "ssh", mounts_of(b, "ssh"));
    }
    return request;
}

/* Whether no step could reach the network. */
static bool hermetic(const struct builder *b)
{
    for (size_t i = 0; i < b->stage_count; i++)
        for (size_t j = b->stages[i].first; b->stages[i].needed && j < b->stages[i].end; j++) {
            const struct df_step *step = &b->file.steps[j];
            const char *network = step->op == DF_RUN ? df_flag(step, "network") : "none";
            if (!str_eq(network ? network : b->o->network, "none"))
                return false;
        }
    return true;
}

/* The file itself, with mode=max: there is no LLB here to stand for it. */
static json_t *metadata_of(const struct builder *b)
{
    json_t *metadata = json_object();
    if (b->source_text)
        json_object_set_new(metadata, "source",
                            json_pack("{s:[{s:s, s:s, s:s}]}", "infos", "filename", b->file.name, "language",
                                      "Dockerfile", "data", b->source_text));
    return metadata;
}

struct run {
    char id[DIGEST_BYTES], began[TIME_RFC3339_BYTES], ended[TIME_RFC3339_BYTES], *platform;
};

static void describe_run(const struct builder *b, const char *image_id, struct run *ret)
{
    _cleanup_free_ char *text =
        str_printf("%s %lld", image_id, (long long)(b->epoch < 0 ? b->began_ns : b->epoch));
    int64_t epoch = b->epoch * NS_PER_S;
    digest_of(text, strlen(text), ret->id);
    time_format_rfc3339(b->epoch < 0 ? b->began_ns : epoch, ret->began);
    time_format_rfc3339(b->epoch < 0 ? time_now_ns() : epoch, ret->ended);
    ret->platform = str_printf("%s/%s", b->build_platform.os, b->build_platform.architecture);
}

static json_t *predicate_v02(const struct builder *b, const struct run *run)
{
    const struct bakery_attest *a = b->o->attest;
    json_t *metadata = json_pack("{s:s, s:s, s:s, s:{s:b, s:b, s:b}, s:b, s:b, s:o}", "buildInvocationID",
                                 digest_hex(run->id), "buildStartedOn", run->began, "buildFinishedOn",
                                 run->ended, "completeness", "parameters", a->max, "environment", 1,
                                 "materials", 0, "reproducible", a->reproducible, BUILD_TYPE_V02 "#hermetic",
                                 hermetic(b), BUILD_TYPE_V02 "#metadata", metadata_of(b));
    return json_pack("{s:{s:s}, s:s, s:o, s:{s:{s:s}, s:o, s:{s:s}}, s:o}", "builder", "id",
                     a->builder_id ? a->builder_id : "", "buildType", BUILD_TYPE_V02, "materials",
                     materials_of(b), "invocation", "configSource", "entryPoint", b->file.name, "parameters",
                     request_of(b), "environment", "platform", run->platform, "metadata", metadata);
}

static json_t *predicate_v1(const struct builder *b, const struct run *run)
{
    const struct bakery_attest *a = b->o->attest;
    json_t *definition =
        json_pack("{s:s, s:{s:{s:s}, s:o}, s:{s:s}, s:o}", "buildType", BUILD_TYPE_V1, "externalParameters",
                  "configSource", "path", b->file.name, "request", request_of(b), "internalParameters",
                  "builderPlatform", run->platform, "resolvedDependencies", materials_of(b));
    json_t *metadata =
        json_pack("{s:s, s:s, s:s, s:b, s:{s:b, s:b}, s:b, s:o}", "invocationID", digest_hex(run->id),
                  "startedOn", run->began, "finishedOn", run->ended, "buildkit_hermetic", hermetic(b),
                  "buildkit_completeness", "request", a->max, "resolvedDependencies", 0,
                  "buildkit_reproducible", a->reproducible, "buildkit_metadata", metadata_of(b));
    return json_pack("{s:o, s:{s:{s:s, s:{s:s}}, s:o}}", "buildDefinition", definition, "runDetails",
                     "builder", "id", a->builder_id ? a->builder_id : "", "version", "drover", DROVER_VERSION,
                     "metadata", metadata);
}

static json_t *provenance_of(const struct builder *b, const char *image_id)
{
    struct run run;
    describe_run(b, image_id, &run);
    bool old = b->o->attest->old_version;
    json_t *statement = json_pack("{s:s, s:o}", "PredicateType",
                                  old ? "https://slsa.dev/provenance/v0.2" : "https://slsa.dev/provenance/v1",
                                  "Predicate", old ? predicate_v02(b, &run) : predicate_v1(b, &run));
    free(run.platform);
    return statement;
}

int build__attest(struct builder *b, const char *image_id, struct err *err)
{
    const struct bakery_attest *a = b->o->attest;
    _cleanup_json_ json_t *made = json_array();
    if (!a || (!a->provenance && !a->sbom))
        return image_attest_nothing(b->im, image_id, err);
    json_t *bill = NULL;
    int r = a->sbom ? build__sbom(b, image_id, &bill, err) : 0;
    if (r < 0)
        return err_wrap(err, "bill of materials");
    if (bill)
        json_array_append_new(
            made, json_pack("{s:s, s:o}", "PredicateType", "https://spdx.dev/Document", "Predicate", bill));
    if (a->provenance)
        json_array_append_new(made, provenance_of(b, image_id));
    return image_attest(b->im, image_id, made, err);
}
