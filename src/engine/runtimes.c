/* Other OCI runtimes by name: which there are, and which one a container is run by. "native" is our own. */
#include "engine/engine_priv.h"

#include "base/process.h"
#include "runtime/runtime.h"

#include <unistd.h>

enum { RUNTIMES_MAX = 64, ARGS_MAX = 64, NAME_MAX_BYTES = 64 };

static const char native[] = "native";

static bool name_is_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    return n > 0 && n <= NAME_MAX_BYTES && !name[n];
}

static int check_one(const char *name, const json_t *one, struct err *err)
{
    _cleanup_strv_ char **args = NULL;
    _cleanup_free_ char *where = str_printf("runtimes.%.64s", name);
    const char *path = "", *key;
    json_t *value;
    if (!name_is_valid(name))
        return err_set(err, ERR_INVALID, "\"%.100s\" is no name of a runtime: letters, digits, \"_.-\"",
                       name);
    if (str_eq(name, native))
        return err_set(err, ERR_INVALID, "the runtime \"%s\" is built in and cannot be another", native);
    if (!json_is_object(one))
        return err_set(err, ERR_INVALID, "\"%s\" must be an object", where);
    json_object_foreach ((json_t *)one, key, value)
        if (!str_eq(key, "path") && !str_eq(key, "runtimeArgs"))
            return err_set(err, ERR_UNSUPPORTED, "\"%s.%.100s\" is not supported", where, key);
    int r = json_get_string(one, where, "path", &path, err);
    if (r == 0)
        r = json_get_strv(one, where, "runtimeArgs", &args, err);
    if (r < 0)
        return r;
    if (!*path || (strchr(path, '/') && *path != '/'))
        return err_set(err, ERR_INVALID,
                       "\"%s.path\": \"%.200s\" must be an absolute path, or a name to be found in PATH",
                       where, path);
    return strv_len(args) > ARGS_MAX
               ? err_set(err, ERR_LIMIT, "\"%s.runtimeArgs\" has more than %d words", where, ARGS_MAX)
               : 0;
}

static char *find_program(const char *path)
{
    const char *search = getenv("PATH");
    if (strchr(path, '/'))
        return mem_strdup(path);
    _cleanup_strv_ char **dirs =
        strv_split(search ? search : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ':');
    STRV_FOREACH (dir, dirs) {
        _cleanup_free_ char *full = str_printf("%s/%s", *dir, path);
        if (*full == '/' && access(full, X_OK) == 0)
            return take_ptr(full);
    }
    return mem_strdup(path);
}

/* Those that users of other engines ask for by name, where they are installed. */
static void offer_installed(json_t *runtimes)
{
    static const char *const names[] = {"runc", "crun"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_free_ char *path = find_program(names[i]);
        if (*path == '/' && !json_object_get(runtimes, names[i]))
            json_object_set_new(runtimes, names[i], json_pack("{s:s}", "path", names[i]));
    }
}

int runtimes__configure(struct engine *e, const json_t *runtimes, const char *chosen, struct err *err)
{
    const char *name;
    json_t *one;
    if (json_object_size(runtimes) > RUNTIMES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d runtimes", RUNTIMES_MAX);
    json_object_foreach ((json_t *)runtimes, name, one) {
        int r = check_one(name, one, err);
        if (r < 0)
            return r;
    }
    e->runtimes = runtimes ? json_deep_copy(runtimes) : json_object();
    offer_installed(e->runtimes);
    e->default_runtime = mem_strdup(str_empty(chosen) ? native : chosen);
    int r = runtimes__check(e, e->default_runtime, err);
    return r < 0 ? err_wrap(err, "the default runtime") : 0;
}

int runtimes__check(struct engine *e, const char *name, struct err *err)
{
    if (!*name || str_eq(name, native) || json_object_get(e->runtimes, name))
        return 0;
    return err_set(err, ERR_INVALID, "unknown or invalid runtime name: %.100s", name);
}

int runtimes__find(struct engine *e, const char *name, struct runtime_choice *ret, struct err *err)
{
    int r = runtimes__check(e, name, err);
    if (r < 0 || !*name || str_eq(name, native))
        return r;
    const json_t *one = json_object_get(e->runtimes, name);
    _cleanup_free_ char *path = find_program(json_str(one, "path"));
    if (*path != '/' || access(path, X_OK) < 0)
        return err_set(err, ERR_UNAVAILABLE,
                       "the OCI runtime \"%s\" cannot be used: %s is not installed or no program", name,
                       path);
    r = json_get_strv(one, "", "runtimeArgs", &ret->args, err);
    if (r == 0)
        ret->path = take_ptr(path);
    return r;
}

void runtimes__choice_done(struct runtime_choice *c)
{
    free(c->path);
    strv_free(c->args);
}

/* --- what they can do --- */

/* Runs `PATH features`, which older runtimes do not know: NULL then. */
static json_t *ask_features(struct engine *e, const char *name)
{
    struct runtime_choice choice = {0};
    _cleanup_str_ struct str said = STR_INIT;
    json_t *features = NULL;
    if (runtimes__find(e, name, &choice, NULL) == 0) {
        const char *argv[ARGS_MAX + 3] = {choice.path};
        size_t n = 1;
        STRV_FOREACH (arg, choice.args)
            argv[n++] = *arg;
        argv[n] = "features";
        if (process_run(argv, NULL, &said, NULL) == 0)
            json_parse(str_get(&said), said.len, "features", &features, NULL);
    }
    runtimes__choice_done(&choice);
    if (features && json_is_object(features))
        return features;
    json_decref(features);
    return NULL;
}

/* Asked once of each. The caller owns what it gets; NULL: it does not say. */
static json_t *features_of(struct engine *e, const char *name)
{
    if (!*name || str_eq(name, native))
        return runtime_features();
    SCOPED_LOCK(locked, &e->features_lock);
    if (!e->features)
        e->features = json_object();
    if (!json_object_get(e->features, name)) {
        json_t *features = ask_features(e, name);
        json_object_set_new(e->features, name, features ? features : json_null());
    }
    json_t *known = json_object_get(e->features, name);
    return json_is_object(known) ? json_incref(known) : NULL;
}

bool runtimes__mounts_deep(struct engine *e, const char *name)
{
    _cleanup_json_ json_t *features = features_of(e, name);
    size_t i;
    const json_t *option;
    json_array_foreach (json_object_get(features, "mountOptions"), i, option)
        if (json_is_string(option) && str_eq(json_string_value(option), "rro"))
            return true;
    return false;
}

static void add_features(struct engine *e, const char *name, json_t *runtime)
{
    _cleanup_json_ json_t *features = features_of(e, name), *status = json_object();
    _cleanup_free_ char *text = features ? json_format(features) : NULL;
    if (text)
        json_set_str(status, "org.opencontainers.runtime-spec.features", text);
    json_object_set(runtime, "status", status);
}

void runtimes__show(struct engine *e, bool features, json_t *info)
{
    json_t *all = json_pack("{s:{s:s}}", native, "path", "drover"), *one;
    _cleanup_json_ json_t *others = json_deep_copy(e->runtimes);
    const char *name;
    json_object_update(all, others);
    json_object_foreach (all, name, one)
        if (features)
            add_features(e, name, one);
    json_object_set_new(info, "Runtimes", all);
    json_set_str(info, "DefaultRuntime", e->default_runtime);
}
