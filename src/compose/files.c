#include "compose/files.h"

#include "base/file.h"
#include "compose/envfile.h"

#include <unistd.h>

extern char **environ;

static void put_environment(char *const *list, struct map *into)
{
    for (char *const *item = list; item && *item; item++) {
        const char *equals = strchr(*item, '=');
        if (!equals || equals == *item)
            continue;
        _cleanup_free_ char *name = mem_strndup(*item, (size_t)(equals - *item));
        map_put(into, name, mem_strdup(equals + 1));
    }
}

int compose_environment(const struct compose_options *options, const char *dir, struct map *into,
                        struct err *err)
{
    struct map outer = MAP_INIT(free);
    put_environment(options->environ ? options->environ : environ, &outer);
    int r = 0;
    if (options->env_files && *options->env_files) {
        for (char *const *file = options->env_files; r == 0 && *file; file++)
            r = envfile_read(*file, &outer, into, err);
    } else {
        _cleanup_free_ char *path = str_printf("%s/.env", dir);
        if (file_exists(path))
            r = envfile_read(path, &outer, into, err);
    }
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&outer, &i));)
        map_put(into, e->key, mem_strdup(e->value));
    map_done(&outer);
    return r;
}

/* --- Finding --- */

static int working_directory(const struct compose_options *options, char **ret, struct err *err)
{
    if (options->cwd) {
        *ret = mem_strdup(options->cwd);
        return 0;
    }
    char *cwd = getcwd(NULL, 0);
    if (!cwd)
        return err_sys(err, errno, "find the working directory");
    *ret = cwd;
    return 0;
}

char *files_absolute(const char *cwd, const char *path)
{
    const char *rest = path;
    while (rest[0] == '.' && rest[1] == '/')
        rest += 2;
    return *path == '/' ? mem_strdup(path) : str_printf("%s/%s", cwd, rest);
}

char *files_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash != path ? mem_strndup(path, (size_t)(slash - path)) : mem_strdup("/");
}

/* The first of the default names in `dir`, and the override beside it. */
static bool find_in(const char *dir, char ***ret)
{
    static const char *const stems[] = {"compose", "docker-compose"};
    static const char *const endings[2][2] = {{"yaml", "yml"}, {"yml", "yaml"}};
    for (size_t i = 0; i < 4; i++) {
        _cleanup_free_ char *path = str_printf("%s/%s.%s", dir, stems[i / 2], endings[i / 2][i % 2]);
        if (!file_exists(path))
            continue;
        strv_add(ret, path);
        for (size_t j = 0; j < 4; j++) {
            _cleanup_free_ char *over =
                str_printf("%s/%s.override.%s", dir, stems[j / 2], endings[j / 2][j % 2]);
            if (file_exists(over)) {
                strv_add(ret, over);
                break;
            }
        }
        return true;
    }
    return false;
}

static int search(const char *cwd, char ***ret, struct err *err)
{
    _cleanup_free_ char *dir = mem_strdup(cwd);
    for (;;) {
        if (find_in(dir, ret))
            return 0;
        char *slash = strrchr(dir, '/');
        if (!slash || !dir[1])
            break;
        slash[slash == dir] = '\0';
    }
    return err_set(err, ERR_NOT_FOUND,
                   "no compose.yaml (or compose.yml, docker-compose.yml) in %s or above it; name one with -f",
                   cwd);
}

static const char *environment_value(const struct compose_options *options, const char *name)
{
    size_t n = strlen(name);
    for (char *const *e = options->environ ? options->environ : environ; e && *e; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return *e + n + 1;
    return "";
}

static int find_with(const struct compose_options *options, const char *cwd, char ***files, char **dir,
                     struct err *err)
{
    if (options->text) {
        strv_add(files, "compose.yaml");
        *dir = files_absolute(cwd, options->dir ? options->dir : cwd);
        return 0;
    }
    const char *listed = environment_value(options, "COMPOSE_FILE");
    _cleanup_strv_ char **from_environment = *listed ? strv_split(listed, ':') : NULL;
    char *const *wanted = options->files && *options->files ? options->files : from_environment;
    for (char *const *file = wanted; file && *file; file++)
        strv_take(files, strcmp(*file, "-") == 0 ? mem_strdup("-") : files_absolute(cwd, *file));
    int r = *files ? 0 : search(cwd, files, err);
    if (r < 0)
        return r;
    *dir = options->dir                    ? files_absolute(cwd, options->dir)
           : strcmp((*files)[0], "-") == 0 ? mem_strdup(cwd)
                                           : files_directory((*files)[0]);
    size_t n = strlen(*dir);
    while (n > 1 && ((*dir)[n - 1] == '/' || str_ends_with(*dir, "/.")))
        (*dir)[--n] = '\0';
    return 0;
}

int files_find(const struct compose_options *options, char ***ret, char **ret_dir, struct err *err)
{
    _cleanup_free_ char *cwd = NULL;
    _cleanup_strv_ char **files = NULL;
    char *dir = NULL;
    int r = working_directory(options, &cwd, err);
    if (r == 0)
        r = find_with(options, cwd, &files, &dir, err);
    if (r < 0)
        return r;
    *ret = take_ptr(files);
    *ret_dir = dir;
    return 0;
}

bool compose_present(const struct compose_options *options)
{
    _cleanup_strv_ char **files = NULL;
    _cleanup_free_ char *dir = NULL;
    return files_find(options, &files, &dir, NULL) == 0;
}
