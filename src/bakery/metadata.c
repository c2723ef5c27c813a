#include "bakery/build_priv.h"

#include "bakery/path.h"
#include "base/file.h"
#include "base/str.h"
#include "base/timeutil.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <strings.h>
#include <sys/stat.h>

/* Instructions that change the image's config only, and WORKDIR, which may also make a directory. */

static char *nop(const char *op, const char *rest)
{
    return str_printf("/bin/sh -c #(nop)  %s %s", op, rest);
}

/* A change outside a build (bakery_config_change) makes no image. */
static int commit(struct build *s, const struct df_step *step, const char *rest, struct err *err)
{
    if (!s->b)
        return 0;
    _cleanup_free_ char *created_by = nop(df_name(step->op), rest);
    return build__commit_config(s, created_by, err);
}

/* As Docker's history shows a list: ["a" "b"]. */
static char *list_text(json_t *list)
{
    struct str s = STR_INIT;
    size_t i;
    json_t *item;
    str_addc(&s, '[');
    json_array_foreach (list, i, item) {
        char *quoted = json_dumps(item, JSON_ENCODE_ANY);
        str_addf(&s, "%s%s", i ? " " : "", quoted ? quoted : "");
        free(quoted);
    }
    str_addc(&s, ']');
    return str_take(&s);
}

/* The words of a JSON form, or the shell with the text; [] when there is nothing. */
static json_t *command_of(struct build *s, const struct df_step *step, size_t first)
{
    if (step->json)
        return json_of_strv(step->args ? step->args + first : NULL);
    if (!step->args || !*step->args[first])
        return json_array();
    _cleanup_strv_ char **shell = build__shell(s);
    strv_add(&shell, step->args[first]);
    return json_of_strv(shell);
}

static int step_command(struct build *s, const struct df_step *step, struct err *err)
{
    json_t *config = build__config(s), *command = command_of(s, step, 0);
    _cleanup_free_ char *text = list_text(command);
    if (step->op == DF_CMD) {
        json_object_set_new(config, "Cmd", command);
        s->command_set = true;
    } else {
        json_object_set_new(config, "Entrypoint", command);
        /* A base image's CMD was for its own entry point. */
        if (!s->command_set && s->b)
            json_object_del(config, "Cmd");
    }
    return commit(s, step, text, err);
}

static int expand_pair(struct build *s, const struct df_pair *pair, char **ret_name, char **ret_value,
                       struct err *err)
{
    _cleanup_free_ char *name = NULL;
    int r = build__expand(s, pair->name, &name, err);
    if (r == 0 && !*name)
        r = err_set(err, ERR_INVALID, "names can not be blank");
    if (r == 0)
        r = build__expand(s, pair->value, ret_value, err);
    if (r == 0)
        *ret_name = take_ptr(name);
    return r;
}

/* All values of one ENV see the variables as they were before it. */
int build__take_env(struct build *s, const struct df_step *step, struct str *text, struct err *err)
{
    _cleanup_strv_ char **flat = NULL;
    for (size_t i = 0; i < step->pair_count; i++) {
        char *name, *value;
        int r = expand_pair(s, &step->pairs[i], &name, &value, err);
        if (r < 0)
            return r;
        str_addf(text, "%s%s=%s", i ? " " : "", name, value);
        strv_take(&flat, name);
        strv_take(&flat, value);
    }
    for (size_t i = 0; flat && flat[i]; i += 2)
        build__env_set(s, flat[i], flat[i + 1]);
    return 0;
}

static int step_env(struct build *s, const struct df_step *step, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = build__take_env(s, step, &text, err);
    return r < 0 ? r : commit(s, step, str_get(&text), err);
}

static json_t *config_object(struct build *s, const char *key)
{
    json_t *object = json_object_get(build__config(s), key);
    if (!json_is_object(object)) {
        object = json_object();
        json_object_set_new(build__config(s), key, object);
    }
    return object;
}

static int step_label(struct build *s, const struct df_step *step, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    for (size_t i = 0; i < step->pair_count; i++) {
        _cleanup_free_ char *name = NULL, *value = NULL;
        int r = expand_pair(s, &step->pairs[i], &name, &value, err);
        if (r < 0)
            return r;
        str_addf(&text, "%s%s=%s", i ? " " : "", name, value);
        json_set_str(config_object(s, "Labels"), name, value);
    }
    return commit(s, step, str_get(&text), err);
}

int build__labels(struct build *s, char *const *labels, struct err *err)
{
    STRV_FOREACH (label, (char **)labels) {
        size_t n = strcspn(*label, "=");
        _cleanup_free_ char *name = mem_strndup(*label, n);
        if (!*name)
            return err_set(err, ERR_INVALID, "label \"%s\": names can not be blank", *label);
        json_set_str(config_object(s, "Labels"), name, (*label)[n] ? *label + n + 1 : "");
    }
    _cleanup_free_ char *joined = strv_join(labels, " ");
    _cleanup_free_ char *created_by = nop("LABEL", joined);
    return build__commit_config(s, created_by, err);
}

/* "80", "80/udp", "8000-8010": all ports of it into ExposedPorts. An address and a port of the host, as
 * `docker run -p` has them, may stand before it and say nothing of the image. */
static int expose(struct build *s, const char *word, struct err *err)
{
    const char *colon = strrchr(word, ':'), *inner = colon ? colon + 1 : word;
    if (colon && strspn(word, "0123456789abcdefABCDEF.:[]-") < (size_t)(inner - word))
        return err_set(err, ERR_INVALID, "invalid IP address: %s", word);
    _cleanup_free_ char *ports = mem_strndup(inner, strcspn(inner, "/"));
    const char *protocol = inner[strlen(ports)] ? inner + strlen(ports) + 1 : "tcp";
    _cleanup_free_ char *lower = str_lower(protocol);
    if (strcmp(lower, "tcp") != 0 && strcmp(lower, "udp") != 0 && strcmp(lower, "sctp") != 0)
        return err_set(err, ERR_INVALID, "invalid proto: %s", protocol);
    int64_t from, to;
    char *dash = strchr(ports, '-');
    if (dash)
        *dash = '\0';
    if (parse_i64(ports, 1, 65535, &from, NULL) < 0 ||
        parse_i64(dash ? dash + 1 : ports, 1, 65535, &to, NULL) < 0 || to < from)
        return err_set(err, ERR_INVALID, "invalid containerPort: %s", word);
    for (int64_t port = from; port <= to; port++) {
        char key[32];
        snprintf(key, sizeof(key), "%d/%s", (int)port, lower);
        json_object_set_new(config_object(s, "ExposedPorts"), key, json_object());
    }
    return 0;
}

static int step_expose(struct build *s, const struct df_step *step, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    STRV_FOREACH (arg, step->args) {
        _cleanup_strv_ char **words = NULL;
        int r = build__expand_words(s, *arg, &words, err);
        for (char **word = words; r == 0 && word && *word; word++) {
            r = expose(s, *word, err);
            str_addf(&text, "%s%s", text.len ? " " : "", *word);
        }
        if (r < 0)
            return r;
    }
    return commit(s, step, str_get(&text), err);
}

/* A container could mount nothing there. */
static int check_volumes(struct build *s, json_t *paths, struct err *err)
{
    _cleanup_layer_ struct layer layer = LAYER_INIT;
    int r = build__layer_begin(s, &layer, err);
    if (r == 0)
        r = build__layer_mount(s, &layer, true, err);
    size_t i;
    json_t *path;
    json_array_foreach (paths, i, path) {
        const char *text = json_string_value(path);
        struct stat st;
        _cleanup_close_ int fd = r < 0 ? -EBADF : file_open_in_root(layer.root_fd, text, O_PATH, 0, NULL);
        if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
            return err_set(err, ERR_INVALID, "cannot mount volume over existing file, file exists %s", text);
    }
    return r;
}

static int step_volume(struct build *s, const struct df_step *step, struct err *err)
{
    _cleanup_json_ json_t *list = json_array();
    STRV_FOREACH (arg, step->args) {
        _cleanup_free_ char *text = str_strip(*arg), *path = NULL;
        int r = build__expand(s, text, &path, err);
        if (r < 0)
            return r;
        if (!*path)
            return err_set(err, ERR_INVALID, "VOLUME specified can not be an empty string");
        json_object_set_new(config_object(s, "Volumes"), path, json_object());
        json_array_append_new(list, json_string(path));
    }
    _cleanup_free_ char *text = list_text(list);
    if (!s->b)
        return 0;
    _cleanup_free_ char *created_by = nop("VOLUME", text);
    char key[DIGEST_BYTES];
    bool hit;
    build__cache_key(s, created_by, NULL, key);
    int r = build__cache_try(s, key, created_by, true, &hit, err);
    if (r == 0 && !hit)
        r = check_volumes(s, list, err);
    return r < 0 || hit ? r : build__commit(s, created_by, NULL, key, err);
}

static bool signal_known(const char *text)
{
    int64_t number;
    if (parse_i64(text, 1, SIGRTMAX, &number, NULL) == 0)
        return true;
    const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
    if (strncasecmp(name, "RTMIN", 5) == 0 || strncasecmp(name, "RTMAX", 5) == 0)
        return !name[5] ||
               ((name[5] == '+' || name[5] == '-') && parse_i64(name + 6, 0, 30, &number, NULL) == 0);
    for (int i = 1; i < 32; i++) {
        const char *known = sigabbrev_np(i);
        if (known && strcasecmp(known, name) == 0)
            return true;
    }
    return false;
}

/* STOPSIGNAL, USER, MAINTAINER: one expanded text. */
static int step_text(struct build *s, const struct df_step *step, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    int r = step->op == DF_MAINTAINER ? 0 : build__expand(s, step->args[0], &text, err);
    if (r < 0)
        return r;
    if (step->op == DF_MAINTAINER) {
        json_set_str(s->config, "author", step->args[0]);
        return commit(s, step, step->args[0], err);
    }
    if (step->op == DF_STOPSIGNAL && !signal_known(text))
        return err_set(err, ERR_INVALID, "invalid signal: %s", text);
    json_set_str(build__config(s), step->op == DF_USER ? "User" : "StopSignal", text);
    return commit(s, step, text, err);
}

static int health_durations(const struct df_step *step, json_t *health, struct err *err)
{
    static const char *const table[][2] = {{"interval", "Interval"},
                                           {"timeout", "Timeout"},
                                           {"start-period", "StartPeriod"},
                                           {"start-interval", "StartInterval"}};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const char *text = df_flag(step, table[i][0]);
        int64_t ns;
        if (!text)
            continue;
        int r = parse_duration(text, &ns, err);
        if (r == 0 && ns != 0 && ns < NS_PER_MS)
            r = err_set(err, ERR_INVALID, "%s cannot be less than 1ms", text);
        if (r < 0)
            return err_wrap(err, "--%s", table[i][0]);
        if (ns) /* 0 is what it is without the flag */
            json_object_set_new(health, table[i][1], json_integer(ns));
    }
    return 0;
}

static int step_health(struct build *s, const struct df_step *step, struct err *err)
{
    json_t *health = json_object();
    json_object_set_new(build__config(s), "Healthcheck", health);
    bool none = strcmp(step->args[0], "NONE") == 0;
    json_t *test = json_array();
    json_object_set_new(health, "Test", test);
    json_array_append_new(test, json_string(none ? "NONE" : step->json ? "CMD" : "CMD-SHELL"));
    for (size_t i = 1; step->args[i]; i++)
        json_array_append_new(test, json_string(step->args[i]));
    if (none) { /* its flags mean nothing */
        _cleanup_free_ char *text = json_format(health);
        return commit(s, step, text, err);
    }
    int r = health_durations(step, health, err);
    const char *retries = df_flag(step, "retries");
    int64_t count;
    if (r == 0 && retries) {
        r = parse_i64(retries, 0, INT32_MAX, &count, err);
        if (r < 0)
            return err_wrap(err, "--retries");
        if (count)
            json_object_set_new(health, "Retries", json_integer(count));
    }
    if (r < 0)
        return r;
    _cleanup_free_ char *text = json_format(health);
    return commit(s, step, text, err);
}

static int step_shell(struct build *s, const struct df_step *step, struct err *err)
{
    json_t *shell = json_of_strv(step->args);
    json_object_set_new(build__config(s), "Shell", shell);
    _cleanup_free_ char *text = list_text(shell);
    return commit(s, step, text, err);
}

static int step_onbuild(struct build *s, const struct df_step *step, struct err *err)
{
    json_t *list = json_object_get(build__config(s), "OnBuild");
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(build__config(s), "OnBuild", list);
    }
    json_array_append_new(list, json_string(step->args[0]));
    return commit(s, step, step->args[0], err);
}

int build__metadata(struct build *s, const struct df_step *step, struct err *err)
{
    switch (step->op) {
    case DF_CMD:
    case DF_ENTRYPOINT:
        return step_command(s, step, err);
    case DF_ENV:
        return step_env(s, step, err);
    case DF_LABEL:
        return step_label(s, step, err);
    case DF_EXPOSE:
        return step_expose(s, step, err);
    case DF_VOLUME:
        return step_volume(s, step, err);
    case DF_STOPSIGNAL:
    case DF_USER:
    case DF_MAINTAINER:
        return step_text(s, step, err);
    case DF_HEALTHCHECK:
        return step_health(s, step, err);
    case DF_SHELL:
        return step_shell(s, step, err);
    case DF_ONBUILD:
        return step_onbuild(s, step, err);
    default:
        return err_set(err, ERR_UNSUPPORTED, "%s is not supported here", df_name(step->op));
    }
}

int build__take_workdir(struct build *s, const struct df_step *step, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    int r = build__expand(s, step->args[0], &text, err);
    if (r < 0)
        return r;
    const char *before = json_str(build__config(s), "WorkingDir");
    _cleanup_free_ char *path = path_resolve(*before ? before : "/", text);
    json_set_str(build__config(s), "WorkingDir", path);
    return 0;
}

int build__workdir(struct build *s, const struct df_step *step, struct err *err)
{
    int r = build__take_workdir(s, step, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *path = mem_strdup(json_str(build__config(s), "WorkingDir"));
    _cleanup_free_ char *created_by = nop("WORKDIR", path);
    if (!s->b)
        return 0;

    char key[DIGEST_BYTES];
    bool hit;
    build__cache_key(s, created_by, NULL, key);
    r = build__cache_try(s, key, created_by, true, &hit, err);
    if (r < 0 || hit)
        return r;
    _cleanup_layer_ struct layer layer = LAYER_INIT;
    r = build__layer_begin(s, &layer, err);
    if (r == 0)
        r = build__layer_mount(s, &layer, false, err);
    if (r < 0)
        return r;
    /* As BuildKit has it, what is made is USER's, and root's where the image knows no such user. */
    const char *user = json_str(build__config(s), "User");
    uid_t uid = 0;
    gid_t gid = 0;
    if (*user)
        (void)build__owner(layer.root_fd, user, &uid, &gid, NULL);
    /* Where it is there already nothing is written, and no layer comes of it. */
    r = build__make_dirs(layer.root_fd, path, 0755, uid, gid, err);
    if (r < 0)
        return r;
    return build__layer_commit(s, &layer, created_by, key, err);
}

int bakery_config_change(json_t *config, const char *instruction, struct err *err)
{
    struct dockerfile file;
    int r = dockerfile_parse_trigger(instruction, "change", &file, err);
    if (r < 0)
        return r;
    const struct df_step *step = &file.steps[0];
    struct build s = {.file = &file, .args = MAP_INIT(free), .config = json_object()};
    json_object_set_new(s.config, "config", json_deep_copy(config));
    bool of_config = step->op != DF_FROM && step->op != DF_RUN && step->op != DF_COPY && step->op != DF_ADD &&
                     step->op != DF_ARG && step->op != DF_SHELL && step->op != DF_MAINTAINER;
    if (file.step_count != 1 || !of_config)
        r = err_set(err, ERR_INVALID, "%s is not a valid change command", df_name(step->op));
    else
        r = step->op == DF_WORKDIR ? build__workdir(&s, step, err) : build__metadata(&s, step, err);
    if (r == 0) {
        json_object_clear(config);
        json_object_update(config, build__config(&s));
    } else {
        err_wrap(err, "%.120s", step->text);
    }
    json_decref(s.config);
    map_done(&s.args);
    dockerfile_done(&file);
    return r;
}
