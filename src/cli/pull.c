#include "cli/pull.h"

#include "base/base64.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/image_test.h"
#include "cli/interrupt.h"
#include "cli/project.h"

/* --- Credentials that `docker login` has left --- */

static char *base64(const char *text, bool url)
{
    char *copy = base64_encode(text, strlen(text));
    for (char *c = copy; url && *c; c++)
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
    return copy;
}

static char *unbase64(const char *text)
{
    _cleanup_str_ struct str plain = STR_INIT;
    return mem_strdup(base64_decode(text, &plain, NULL) < 0 ? "" : str_get(&plain));
}

/* "host[:port]" in front of the first slash when it looks like one; else Docker Hub's key. */
static char *registry_of(const char *image)
{
    size_t n = strcspn(image, "/");
    _cleanup_free_ char *first = mem_strndup(image, n);
    if (image[n] && (strpbrk(first, ".:") || strcmp(first, "localhost") == 0))
        return take_ptr(first);
    return mem_strdup("https://index.docker.io/v1/");
}

/* The "auths" of ~/.docker/config.json; NULL when there are none. */
static json_t *read_auths(void)
{
    const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
    _cleanup_free_ char *path =
        dir ? str_printf("%s/config.json", dir) : str_printf("%s/.docker/config.json", home ? home : "/root");
    _cleanup_json_ json_t *config = NULL;
    return json_parse_file(path, &config, NULL) < 0 ? NULL : json_incref(json_object_get(config, "auths"));
}

/* An entry as the API takes it, or NULL. */
static json_t *auth_of(const char *registry, const json_t *entry)
{
    _cleanup_free_ char *pair = unbase64(json_str(entry, "auth"));
    char *colon = strchr(pair, ':');
    if (!colon && !*json_str(entry, "identitytoken"))
        return NULL;
    json_t *auth = json_object();
    if (colon) {
        *colon = '\0';
        json_set_str(auth, "username", pair);
        json_set_str(auth, "password", colon + 1);
    }
    if (*json_str(entry, "identitytoken"))
        json_set_str(auth, "identitytoken", json_str(entry, "identitytoken"));
    json_set_str(auth, "serveraddress", registry);
    return auth;
}

static char *header_of(const char *name, const json_t *value)
{
    _cleanup_free_ char *text = json_format(value);
    _cleanup_free_ char *encoded = base64(text, true);
    return str_printf("%s: %s", name, encoded);
}

char *pull_auth_header(const char *image)
{
    _cleanup_free_ char *registry = registry_of(image);
    _cleanup_json_ json_t *auths = read_auths();
    _cleanup_json_ json_t *auth = auth_of(registry, json_object_get(auths, registry));
    return auth ? header_of("X-Registry-Auth", auth) : NULL;
}

char *pull_config_header(void)
{
    _cleanup_json_ json_t *auths = read_auths(), *all = json_object();
    const char *registry;
    json_t *entry;
    json_object_foreach (auths, registry, entry) {
        json_t *auth = auth_of(registry, entry);
        if (auth)
            json_object_set_new(all, registry, auth);
    }
    return json_object_size(all) ? header_of("X-Registry-Config", all) : NULL;
}

/* --- Progress lines of pull and push --- */

static bool quiet_layers;

void pull_set_quiet(void)
{
    quiet_layers = true;
}

struct transfer {
    struct progress *progress;
    const char *image;
};

static int show(void *context, const json_t *line, struct err *err)
{
    const struct transfer *t = context;
    const json_t *detail = json_object_get(line, "progressDetail");
    const char *id = json_str(line, "id"), *status = json_str(line, "status");
    int64_t total = json_int(detail, "total"), current = json_int(detail, "current");
    _cleanup_free_ char *key = str_printf("  %s", id);
    (void)err;
    if (!*id || !*status || quiet_layers)
        return 0;
    if (total > 0) {
        char a[32], b[32];
        output_size(current, a);
        output_size(total, b);
        _cleanup_free_ char *text = str_printf("%s %s/%s", status, a, b);
        progress_detail(t->progress, key, text);
    } else {
        progress_detail(t->progress, key, status);
    }
    return 0;
}

static int transfer(const char *image, const char *path, struct progress *progress, struct err *err)
{
    struct transfer t = {progress, image};
    _cleanup_free_ char *auth = pull_auth_header(image);
    char *headers[] = {auth, NULL};
    struct http_call call = {.method = "POST", .headers = headers};
    return cli_lines(&call, path, show, &t, err);
}

/* "name:tag" at the last colon behind the last slash; a digest stays with "@". */
static void split_tag(const char *image, char **ret_name, char **ret_tag)
{
    const char *slash = strrchr(image, '/'), *at = strchr(image, '@');
    const char *colon = at ? NULL : strchr(slash ? slash : image, ':');
    const char *cut = at ? at : colon;
    *ret_name = cut ? mem_strndup(image, (size_t)(cut - image)) : mem_strdup(image);
    *ret_tag = mem_strdup(cut ? cut + 1 : "latest");
}

int pull_image(const char *image, const char *platform, struct progress *progress, struct err *err)
{
    _cleanup_free_ char *name = NULL, *tag = NULL;
    split_tag(image, &name, &tag);
    _cleanup_free_ char *escaped_name = cli_escape(name), *escaped_tag = cli_escape(tag);
    _cleanup_free_ char *escaped_platform = cli_escape(platform ? platform : "");
    _cleanup_free_ char *path = str_printf("/images/create?fromImage=%s&tag=%s&platform=%s", escaped_name,
                                           escaped_tag, escaped_platform);
    int r = transfer(image, path, progress, err);
    return r < 0 ? err_wrap(err, "pull %s", image) : 0;
}

int push_image(const char *image, struct progress *progress, struct err *err)
{
    _cleanup_free_ char *name = NULL, *tag = NULL;
    split_tag(image, &name, &tag);
    _cleanup_free_ char *path_name = cli_escape(name), *escaped_tag = cli_escape(tag);
    _cleanup_free_ char *path = str_printf("/images/%s/push?tag=%s", path_name, escaped_tag);
    _cleanup_free_ char *auth = pull_auth_header(image);
    /* The API wants the header even when there is nothing to say. */
    char *headers[] = {auth ? auth : (char[]){"X-Registry-Auth: e30="}, NULL};
    struct transfer t = {progress, image};
    struct http_call call = {.method = "POST", .headers = headers};
    int r = cli_lines(&call, path, show, &t, err);
    return r < 0 ? err_wrap(err, "push %s", image) : 0;
}

/* --- The verbs: images by name, or those of the project's services --- */

struct transfer_options {
    struct project_options project;
    bool quiet, ignore_failures, include_deps, ignore_buildable;
    const char *policy, *test;
};

/* The gate: an image whose tests do not pass is not sent. */
static int pass_gate(const char *image, const char *checks, struct err *err)
{
    struct image_test t = {0};
    interrupt_catch(); /* a container is to be removed */
    int r = image_test(image, checks, &t, err);
    if (r < 0)
        return err_wrap(err, "test %s", image);
    if (t.findings.count) {
        _cleanup_str_ struct str text = STR_INIT;
        findings_text(&t.findings, t.scan, image, &text);
        fputs(str_get(&text), stderr);
        r = err_set(err, ERR_CONFLICT, "%s is not pushed: it does not pass the checks of %s", image, checks);
    }
    _cleanup_json_ json_t *now = NULL;
    _cleanup_free_ char *escaped = cli_escape(image);
    if (r == 0)
        r = cli_get(&now, err, "/images/%s/json", escaped);
    if (r == 0 && !str_eq(json_str(now, "Id"), t.id))
        r = err_set(err, ERR_CONFLICT,
                    "%s is not pushed: the name came to mean another image while it was tested", image);
    image_test_done(&t);
    return r;
}

static int one(const struct transfer_options *o, bool push, const char *image, const char *platform,
               struct progress *progress, struct err *err)
{
    if (push && o->test && !cli_dry_run && pass_gate(image, o->test, err) < 0)
        return -err->code;
    progress_set(progress, image, COLOUR_YELLOW, push ? "Pushing" : "Pulling");
    int r = cli_dry_run ? 0
            : push      ? push_image(image, progress, err)
                        : pull_image(image, platform, progress, err);
    progress_set(progress, image, r < 0 ? COLOUR_RED : COLOUR_GREEN,
                 r < 0  ? "Failed"
                 : push ? "Pushed"
                        : "Pulled");
    return r;
}

static int by_name(const struct transfer_options *o, bool push, char **images)
{
    _cleanup_progress_ struct progress *progress = progress_new();
    struct err err;
    STRV_FOREACH (image, images) {
        if (one(o, push, *image, NULL, progress, &err) < 0)
            return cli_fail(&err);
        if (!o->quiet)
            printf("%s\n", *image);
    }
    return 0;
}

static bool takes_part(const struct transfer_options *o, bool push, const struct compose_service *s)
{
    if (!s->active || (push && !(s->has_build && s->image_given)))
        return false;
    /* What is built here is in no registry, unless it has a name of its own. */
    return push || !s->has_build ||
           (s->image_given && !o->ignore_buildable && strcmp(s->pull_policy, "build") != 0);
}

static int of_services(const struct transfer_options *o, bool push, char **services)
{
    _cleanup_compose_ struct compose_project *p = NULL;
    _cleanup_strv_ char **done = NULL;
    int status = project_load(&o->project, services, !o->include_deps, &p);
    if (status)
        return status;
    _cleanup_progress_ struct progress *progress = progress_new();
    for (size_t i = 0; i < p->service_count; i++) {
        const struct compose_service *s = &p->services[i];
        struct err err;
        if (!takes_part(o, push, s) || strv_has(done, s->image))
            continue;
        strv_add(&done, s->image);
        _cleanup_free_ char *escaped = cli_escape(s->image);
        if (str_eq(o->policy, "missing") && cli_get(NULL, &err, "/images/%s/json", escaped) == 0)
            continue;
        if (one(o, push, s->image, s->platform, progress, &err) == 0)
            continue;
        /* One that can be built need not be in a registry. */
        if (!o->ignore_failures && (push || !s->has_build))
            return cli_fail(&err);
        fprintf(stderr, "drover: %s\n", err.msg);
    }
    return 0;
}

/* Words are services where all of them are; else images. */
static bool means_services(const struct transfer_options *o, char **words)
{
    if (!*words)
        return true;
    if (!project_present(&o->project))
        return false;
    _cleanup_compose_ struct compose_project *p = NULL;
    STRV_FOREACH (word, words)
        if (strpbrk(*word, ":/") || (!p && project_load(&o->project, NULL, false, &p)) ||
            !compose_find_service(p, *word))
            return false;
    return true;
}

static int transfer_verb(bool push, int argc, char **argv)
{
    struct transfer_options o = {0};
    const struct cli_option options[] = {
        {'q', "quiet", CLI_FLAG, &o.quiet, NULL, "Do not print the names"},
        {0, "include-deps", CLI_FLAG, &o.include_deps, NULL,
         "Also those of services that the named ones depend on"},
        {0, push ? "ignore-push-failures" : "ignore-pull-failures", CLI_FLAG, &o.ignore_failures, NULL,
         "Go on with the others"},
        PROJECT_OPTIONS(o.project),
        /* of one of the two only, so at the end */
        {0, push ? "test" : "ignore-buildable", push ? CLI_TEXT : CLI_FLAG,
         push ? (void *)&o.test : (void *)&o.ignore_buildable, push ? "FILE" : NULL,
         push ? "Test each image first (docs/image-test.md), and send none that has findings"
              : "Not those that can be built"},
        {0, push ? NULL : "policy", CLI_TEXT, &o.policy, "WHEN", "missing or always"},
        {0},
    };
    const struct cli_command command = {
        push ? "push [OPTIONS] [SERVICE... | IMAGE...]" : "pull [OPTIONS] [SERVICE... | IMAGE...]",
        push ? "Sends images, or those that the project's services build, to their registries."
             : "Fetches images, or those of the project's services, from their registries.",
        options,
        false,
        0,
        -1};
    char **words;
    int status = cli_parse(&command, argc, argv, &words);
    if (status < 0)
        status = means_services(&o, words) ? of_services(&o, push, words) : by_name(&o, push, words);
    project_options_done(&o.project);
    return status;
}

int cli_pull(int argc, char **argv)
{
    return transfer_verb(false, argc, argv);
}

int cli_push(int argc, char **argv)
{
    return transfer_verb(true, argc, argv);
}
