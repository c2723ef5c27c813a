/* What an image of a bakery is made of, told by a digest, and why it is made again. */
#include "cli/bake_input.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/build.h"
#include "cli/call.h"
#include "cli/pull.h"
#include "compose/yaml.h"

enum { CHECKS_MAX = 1 << 20 };

char *bake_path(const struct bake_run *run, const char *path)
{
    return *path == '/' ? mem_strdup(path) : str_printf("%s/%s", run->dir, path);
}

char *bake_image_id(const char *name)
{
    struct err ignored;
    _cleanup_json_ json_t *image = NULL;
    _cleanup_free_ char *escaped = cli_escape(name);
    if (cli_get(&image, &ignored, "/images/%s/json", escaped) < 0)
        return mem_strdup("");
    return mem_strdup(json_str(image, "Id"));
}

/* --- Images of elsewhere --- */

int bake_remote_digest(const char *reference, char **ret, struct err *err)
{
    _cleanup_free_ char *escaped = cli_escape(reference), *auth = pull_auth_header(reference);
    _cleanup_free_ char *path = str_printf("/distribution/%s/json", escaped);
    char *headers[] = {auth, NULL};
    struct http_call call = {.method = "GET", .headers = headers};
    struct http_response response = {0};
    _cleanup_json_ json_t *answer = NULL;
    int r = cli_exchange(&call, path, &response, err);
    if (r < 0)
        return r;
    r = json_parse(str_get(&response.body), response.body.len, "the server's answer", &answer, err);
    http_response_done(&response);
    const char *digest = json_str(json_object_get(answer, "Descriptor"), "digest");
    if (r == 0 && !*digest)
        r = err_set(err, ERR_PROTOCOL, "the registry gives no digest for %s", reference);
    if (r == 0)
        *ret = mem_strdup(digest);
    return r;
}

static bool has_digest(const json_t *image, const char *digest)
{
    size_t i;
    const json_t *one;
    json_array_foreach (json_object_get(image, "RepoDigests"), i, one) {
        const char *at = strchr(json_string_value(one), '@');
        if (at && str_eq(at + 1, digest))
            return true;
    }
    return false;
}

/* The id of the image that a name of elsewhere stands for, fetched when the registry has another one than the
 * node (unless `look_only`: then *ret_changed says so). A registry that cannot be reached leaves what is
 * here. */
static int outside(const char *reference, bool look_only, char **ret_id, bool *ret_changed, struct err *err)
{
    struct err away, absent;
    _cleanup_free_ char *digest = NULL, *escaped = cli_escape(reference);
    _cleanup_json_ json_t *here = NULL;
    bool known = cli_get(&here, &absent, "/images/%s/json", escaped) == 0;
    bool reached = bake_remote_digest(reference, &digest, &away) == 0;
    bool changed = reached && !(known && has_digest(here, digest));
    if (!known && !reached)
        return err_set(err, away.code, "%s is not on this node, and its registry does not give it: %s",
                       reference, away.msg);
    if (changed && !look_only) {
        _cleanup_progress_ struct progress *progress = progress_new();
        int r = pull_image(reference, NULL, progress, err);
        if (r < 0)
            return r;
    }
    *ret_changed = changed;
    *ret_id = changed && !look_only ? bake_image_id(reference) : mem_strdup(json_str(here, "Id"));
    return 0;
}

/* --- The input: a digest of all that an image is made of --- */

static void add_text(struct digest_hasher *h, const char *key, const char *value)
{
    /* With the NULs no two lists of texts look alike. */
    digest_hasher_add(h, key, strlen(key) + 1);
    digest_hasher_add(h, value ? value : "", value ? strlen(value) + 1 : 0);
}

static void add_list(struct digest_hasher *h, const char *key, char *const *list)
{
    for (; list && *list; list++)
        add_text(h, key, *list);
}

json_t *bake_args(const struct bakery_image *image)
{
    json_t *args = json_object();
    for (size_t i = 0; image->args && i < image->args->count; i++)
        json_set_str(args, image->args->pairs[i].key, image->args->pairs[i].value->text);
    return args;
}

static int add_build(const struct bake_run *run, const struct bakery_image *image, struct digest_hasher *h,
                     struct err *err)
{
    _cleanup_free_ char *context = bake_path(run, image->build);
    const struct build_request q = {.context = context, .dockerfile = image->dockerfile};
    _cleanup_json_ json_t *args = bake_args(image);
    _cleanup_free_ char *text = json_format(args);
    char digest[DIGEST_BYTES];
    add_text(h, "dockerfile", image->dockerfile);
    add_text(h, "target", image->target);
    add_text(h, "args", text);
    int r = build_context_digest(&q, digest, err);
    add_text(h, "context", r < 0 ? "" : digest);
    return r;
}

static int add_base(const struct bakery_image *image, struct digest_hasher *h, struct err *err)
{
    int64_t epoch = 0;
    int r = bake_epoch(image->snapshot, &epoch, err);
    _cleanup_free_ char *text = str_printf("%lld", (long long)epoch);
    add_text(h, "base", image->base);
    add_text(h, "variant", image->variant);
    add_list(h, "include", image->include);
    add_list(h, "mirror", image->mirrors);
    add_text(h, "snapshot", image->snapshot);
    add_text(h, "keyring", image->keyring);
    add_text(h, "epoch", text);
    return r;
}

static int add_test(const struct bake_run *run, const struct bakery_image *image, struct digest_hasher *h,
                    struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *path = image->test ? bake_path(run, image->test) : NULL;
    int r = path ? file_read(path, CHECKS_MAX, &text, err) : 0;
    add_text(h, "test", str_get(&text));
    return r;
}

int bake_input(struct bake_run *run, pthread_mutex_t *lock, const struct bakery_image *image, bool look_only,
               char ret[DIGEST_BYTES], const char **ret_outside, struct err *err)
{
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new("sha256");
    int r = image->base ? add_base(image, h, err) : add_build(run, image, h, err);
    add_list(h, "parameter", image->parameters);
    if (r == 0)
        r = add_test(run, image, h, err);
    for (char **name = image->on; r == 0 && name && *name; name++) {
        _cleanup_free_ char *id = NULL;
        bool changed = false;
        if (bakery_find(run->bakery, *name)) {
            if (lock)
                pthread_mutex_lock(lock);
            id = mem_strdup(json_str(bakery_state_of(run->state, *name), "id"));
            if (lock)
                pthread_mutex_unlock(lock);
        } else {
            r = outside(*name, look_only, &id, &changed, err);
        }
        if (changed)
            *ret_outside = *name;
        add_text(h, *name, id);
    }
    digest_hasher_format(h, ret);
    return r < 0 ? err_wrap(err, "%s", image->name) : 0;
}

int bake_reason(const struct bake_run *run, size_t which, const bool *changing, char **ret, struct err *err)
{
    const struct bakery_image *image = &run->bakery->images[which];
    const json_t *known = bakery_state_of(run->state, image->name);
    const char *elsewhere = NULL;
    char input[DIGEST_BYTES];
    *ret = NULL;
    for (size_t i = 0; i < image->stands_on_count && !*ret; i++)
        if (changing[image->stands_on[i]])
            *ret = str_printf("stands on %s", run->bakery->images[image->stands_on[i]].name);
    if (*ret)
        return 0;
    if (!*json_str(known, "id") && !json_object_get(known, "failed")) {
        *ret = mem_strdup("is new");
        return 0;
    }
    int r = bake_input((struct bake_run *)run, NULL, image, true, input, &elsewhere, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *here = bake_image_id(*json_str(known, "id") ? json_str(known, "id") : "none");
    if (elsewhere)
        *ret = str_printf("%s has changed", elsewhere);
    else if (!str_eq(input, json_str(known, "input")))
        *ret = mem_strdup(json_object_get(known, "failed") ? "failed, and may not again"
                                                           : "what it is made of has changed");
    else if (!*here)
        *ret = mem_strdup("is not on this node any more");
    return 0;
}
