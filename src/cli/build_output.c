#include "cli/build_output.h"

#include "base/file.h"
#include "base/str.h"
#include "cli/archive.h"
#include "cli/call.h"
#include "cli/output.h"
#include "cli/pull.h"
#include "image/image.h"
#include "image/image_ref.h"

#include <fcntl.h>
#include <unistd.h>

static const char *const types[] = {"image", "registry", "local", "tar", "oci", "docker"};

void build_output_done(struct build_output *o)
{
    free(o->destination);
    strv_free(o->names);
    *o = (struct build_output){0};
}

static int find_type(const char *name, enum build_output_type *ret, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (str_eq(types[i], name)) {
            *ret = (enum build_output_type)i;
            return 0;
        }
    return err_set(err, ERR_INVALID, "type=%.50s: it must be image, registry, local, tar, oci or docker",
                   name);
}

static int take(struct build_output *o, const char *part, struct err *err)
{
    const char *value = strchr(part, '=') ? strchr(part, '=') + 1 : "";
    if (str_after(part, "type="))
        return find_type(value, &o->type, err);
    if (str_after(part, "dest=") && *value) {
        free(o->destination);
        o->destination = mem_strdup(value);
        return 0;
    }
    if (str_after(part, "name=") && *value) {
        strv_add(&o->names, value);
        return 0;
    }
    if (str_after(part, "push="))
        return parse_bool(value, &o->push, err);
    return err_set(err, ERR_UNSUPPORTED,
                   "\"%.100s\" is not supported: there are type=, dest=, name= and push=", part);
}

static int check(struct build_output *o, struct err *err)
{
    bool is_file = o->type == OUTPUT_TAR || o->type == OUTPUT_OCI || o->type == OUTPUT_DOCKER;
    if (o->type == OUTPUT_LOCAL && (!o->destination || str_eq(o->destination, "-")))
        return err_set(err, ERR_INVALID, "type=local needs a directory: dest=DIRECTORY");
    if ((o->type == OUTPUT_TAR || o->type == OUTPUT_OCI) && !o->destination)
        o->destination = mem_strdup("-");
    if (o->destination && o->type <= OUTPUT_REGISTRY)
        return err_set(err, ERR_INVALID, "type=%s has no dest", types[o->type]);
    if (is_file && str_eq(o->destination, "-") && isatty(STDOUT_FILENO))
        return err_set(err, ERR_INVALID, "an archive is not written to a terminal: say dest=FILE");
    o->push = o->push || o->type == OUTPUT_REGISTRY;
    return 0;
}

int build_output_parse(const char *text, struct build_output *ret, struct err *err)
{
    struct build_output o = {0};
    int r = 0;
    if (!strchr(text, '=')) {
        o.type = str_eq(text, "-") ? OUTPUT_TAR : OUTPUT_LOCAL;
        o.destination = mem_strdup(text);
    } else {
        _cleanup_strv_ char **parts = strv_split(text, ',');
        for (char **p = parts; r == 0 && *p; p++)
            r = take(&o, *p, err);
    }
    if (r == 0)
        r = check(&o, err);
    if (r < 0) {
        build_output_done(&o);
        return err_wrap(err, "--output %.200s", text);
    }
    *ret = o;
    return 0;
}

/* --- carrying it out --- */

static int write_bytes(void *context, const void *bytes, size_t n, struct err *err)
{
    return file_write_all(*(int *)context, bytes, n, err);
}

/* A file appears at its name only whole. */
static int fetch_file(const char *path, const char *destination, struct err *err)
{
    int fd = STDOUT_FILENO;
    _cleanup_close_ int own = -EBADF;
    bool is_file = destination && !str_eq(destination, "-");
    _cleanup_free_ char *half = is_file ? str_printf("%s.part", destination) : NULL;
    if (is_file) {
        fd = own = open(half, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (own < 0)
            return err_sys(err, errno, "write %s", half);
    }
    struct http_call call = {.method = "GET", .sink = write_bytes, .sink_context = &fd};
    struct http_response answer = {0};
    int r = cli_exchange(&call, path, &answer, err);
    http_response_done(&answer);
    if (r == 0 && is_file && rename(half, destination) < 0)
        r = err_sys(err, errno, "write %s", destination);
    if (r < 0 && is_file)
        unlink(half);
    return r;
}

static int fetch_tree(const char *path, const char *destination, struct err *err)
{
    int r = file_mkdirs(destination, 0755, err);
    if (r < 0)
        return r;
    _cleanup_close_ int into = open(destination, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (into < 0)
        return err_sys(err, errno, "open %s", destination);
    return archive_fetch(path, into, err);
}

static int push_all(char *const *names, struct err *err)
{
    _cleanup_progress_ struct progress *progress = progress_new();
    int r = 0;
    for (char *const *name = names; r == 0 && name && *name; name++) {
        progress_set(progress, *name, COLOUR_YELLOW, "Pushing");
        r = push_image(*name, progress, err);
        progress_set(progress, *name, r < 0 ? COLOUR_RED : COLOUR_GREEN, r < 0 ? "Failed" : "Pushed");
    }
    return r;
}

int build_output_carry_out(const struct build_output *o, const char *image_id, char *const *tags,
                           struct err *err)
{
    _cleanup_free_ char *id = cli_escape(image_id);
    _cleanup_free_ char *tree = str_printf("/drover/images/%s/tree", id);
    _cleanup_str_ struct str archive = STR_INIT;
    /* With its names, when it has some. */
    str_add(&archive, "/images/get?");
    for (char *const *tag = tags; tag && *tag; tag++) {
        _cleanup_free_ char *escaped = cli_escape(*tag);
        str_addf(&archive, "&names=%s", escaped);
    }
    if (!tags || !*tags)
        str_addf(&archive, "names=%s", id);
    switch (o->type) {
    case OUTPUT_LOCAL:
        return fetch_tree(tree, o->destination, err);
    case OUTPUT_TAR:
        return fetch_file(tree, o->destination, err);
    case OUTPUT_OCI:
    case OUTPUT_DOCKER:
        return o->destination ? fetch_file(str_get(&archive), o->destination, err) : 0;
    case OUTPUT_IMAGE:
    case OUTPUT_REGISTRY:
        if (o->push && (!tags || !*tags))
            return err_set(err, ERR_INVALID, "a push needs a name: name=NAME, or --tag NAME");
        return o->push ? push_all(o->names ? o->names : tags, err) : 0;
    }
    return 0;
}

/* --- of several platforms --- */

/* Here a name leads to one image: this machine's kind, else the first. A push of it pushes all. */
int build_index_tag(const struct build_index *index, char *const *tags, struct err *err)
{
    _cleanup_free_ char *own = str_printf("linux/%s", image_architecture());
    _cleanup_free_ char *ids = strv_join(index->ids, ",");
    size_t at = 0;
    for (size_t i = 0; index->platforms[i]; i++)
        if (str_eq(index->platforms[i], own))
            at = i;
    int r = 0;
    for (char *const *tag = tags; tag && *tag; tag++) {
        _cleanup_free_ char *name = image_ref_normal(*tag);
        if (!name)
            return err_set(err, ERR_INVALID, "tag %.200s: it is no image's name", *tag);
        char *colon = strrchr(name, ':');
        *colon = '\0';
        _cleanup_free_ char *repository = cli_escape(name), *word = cli_escape(colon + 1);
        if (r == 0)
            r = cli_call("POST", NULL, NULL, err, "/images/%s/tag?repo=%s&tag=%s", index->ids[at], repository,
                         word);
        _cleanup_free_ char *escaped = cli_escape(*tag);
        if (r == 0)
            r = cli_call("POST", NULL, NULL, err, "/drover/index?names=%s&tag=%s", ids, escaped);
    }
    return r;
}

int build_index_push(const struct build_index *index, char *const *names, struct err *err)
{
    _cleanup_free_ char *ids = strv_join(index->ids, ",");
    int r = 0;
    for (char *const *name = names; r == 0 && name && *name; name++) {
        _cleanup_free_ char *escaped = cli_escape(*name), *auth = pull_auth_header(*name),
                            *path = str_printf("/drover/index?names=%s&name=%s", ids, escaped);
        char *headers[] = {auth, NULL};
        struct http_call call = {.method = "POST", .headers = headers, .body = "", .body_bytes = 0};
        struct http_response answer = {0};
        r = cli_exchange(&call, path, &answer, err);
        http_response_done(&answer);
        if (r < 0)
            return err_wrap(err, "push %s", *name);
    }
    return r;
}

static int fetch_trees(const struct build_output *o, const struct build_index *index, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && index->ids[i]; i++) {
        _cleanup_free_ char *id = cli_escape(index->ids[i]), *tree = str_printf("/drover/images/%s/tree", id),
                            *into = str_printf("%s/%s", o->destination, index->platforms[i]);
        for (char *c = into + strlen(o->destination) + 1; *c; c++)
            *c = *c == '/' ? '_' : *c;
        r = fetch_tree(tree, into, err);
    }
    return r;
}

int build_output_index(const struct build_output *o, const struct build_index *index, char *const *tags,
                       struct err *err)
{
    _cleanup_free_ char *ids = strv_join(index->ids, ","), *name = cli_escape(tags && tags[0] ? tags[0] : ""),
                        *archive = str_printf("/drover/index?names=%s%s%s", ids, *name ? "&name=" : "", name);
    switch (o->type) {
    case OUTPUT_LOCAL:
        return fetch_trees(o, index, err);
    case OUTPUT_OCI:
        return fetch_file(archive, o->destination, err);
    case OUTPUT_TAR:
    case OUTPUT_DOCKER:
        return err_set(err, ERR_UNSUPPORTED,
                       "type=%s holds one platform: use type=oci or type=local, or build for one",
                       types[o->type]);
    case OUTPUT_IMAGE:
    case OUTPUT_REGISTRY:
        if (o->push && (!tags || !*tags))
            return err_set(err, ERR_INVALID, "a push needs a name: name=NAME, or --tag NAME");
        return o->push ? build_index_push(index, o->names ? o->names : tags, err) : 0;
    }
    return 0;
}
