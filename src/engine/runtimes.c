/* Other OCI runtimes by name: which there are, and which one a container is run by. "native" is our own. */
#include "engine/engine_priv.h"

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

void runtimes__show(struct engine *e, json_t *info)
{
    json_t *all = json_pack("{s:{s:s}}", native, "path", "drover");
    json_object_update(all, e->runtimes);
    json_object_set_new(info, "Runtimes", all);
    json_set_str(info, "DefaultRuntime", e->default_runtime);
}
