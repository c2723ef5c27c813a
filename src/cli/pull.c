#include "cli/pull.h"

#include "base/base64.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/options.h"

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

char *pull_auth_header(const char *image)
{
    const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
    _cleanup_free_ char *path =
        dir ? str_printf("%s/config.json", dir) : str_printf("%s/.docker/config.json", home ? home : "/root");
    _cleanup_free_ char *registry = registry_of(image);
    _cleanup_json_ json_t *config = NULL;
    if (json_parse_file(path, &config, NULL) < 0)
        return NULL;
    const json_t *entry = json_object_get(json_object_get(config, "auths"), registry);
    _cleanup_free_ char *pair = unbase64(json_str(entry, "auth"));
    char *colon = strchr(pair, ':');
    if (!colon && !*json_str(entry, "identitytoken"))
        return NULL;
    _cleanup_json_ json_t *auth = json_object();
    if (colon) {
        *colon = '\0';
        json_set_str(auth, "username", pair);
        json_set_str(auth, "password", colon + 1);
    }
    if (*json_str(entry, "identitytoken"))
        json_set_str(auth, "identitytoken", json_str(entry, "identitytoken"));
    json_set_str(auth, "serveraddress", registry);
    _cleanup_free_ char *text = json_format(auth);
    _cleanup_free_ char *encoded = base64(text, true);
    return str_printf("X-Registry-Auth: %s", encoded);
}

/* --- Progress lines of pull and push --- */

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
    if (!*id || !*status)
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

static int pull_any(const char *image, struct progress *progress, struct err *err)
{
    return pull_image(image, NULL, progress, err);
}

static int each_image(char **images, const char *doing, const char *done,
                      int (*fn)(const char *, struct progress *, struct err *))
{
    _cleanup_progress_ struct progress *progress = progress_new();
    STRV_FOREACH (image, images) {
        struct err err;
        progress_set(progress, *image, COLOUR_YELLOW, doing);
        if (fn(*image, progress, &err) < 0) {
            progress_set(progress, *image, COLOUR_RED, "Failed");
            return cli_fail(&err);
        }
        progress_set(progress, *image, COLOUR_GREEN, done);
        printf("%s\n", *image);
    }
    return 0;
}

int cli_pull(int argc, char **argv)
{
    static const struct cli_command command = {
        "pull [OPTIONS] IMAGE...", "Fetches images from their registries.", NULL, false, 1, -1};
    char **images;
    int status = cli_parse(&command, argc, argv, &images);
    return status >= 0 ? status : each_image(images, "Pulling", "Pulled", pull_any);
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

int cli_push(int argc, char **argv)
{
    static const struct cli_command command = {
        "push [OPTIONS] IMAGE...", "Sends images to their registries.", NULL, false, 1, -1};
    char **images;
    int status = cli_parse(&command, argc, argv, &images);
    return status >= 0 ? status : each_image(images, "Pushing", "Pushed", push_image);
}
