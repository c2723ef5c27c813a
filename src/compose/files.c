#include "compose/files.h"

#include "base/file.h"
#include "base/json.h"
#include "compose/canonical.h"
#include "compose/envfile.h"
#include "compose/interpolate.h"
#include "compose/merge.h"
#include "compose/schema.h"
#include "compose/yaml.h"

#include <unistd.h>

enum { MAX_PATH_SHOWN = 256 };

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

static char *absolute(const char *cwd, const char *path)
{
    const char *rest = path;
    while (rest[0] == '.' && rest[1] == '/')
        rest += 2;
    return *path == '/' ? mem_strdup(path) : str_printf("%s/%s", cwd, rest);
}

static char *directory_of(const char *path)
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
        *dir = absolute(cwd, options->dir ? options->dir : cwd);
        return 0;
    }
    const char *listed = environment_value(options, "COMPOSE_FILE");
    _cleanup_strv_ char **from_environment = *listed ? strv_split(listed, ':') : NULL;
    char *const *wanted = options->files && *options->files ? options->files : from_environment;
    for (char *const *file = wanted; file && *file; file++)
        strv_take(files, strcmp(*file, "-") == 0 ? mem_strdup("-") : absolute(cwd, *file));
    int r = *files ? 0 : search(cwd, files, err);
    if (r < 0)
        return r;
    *dir = options->dir                    ? absolute(cwd, options->dir)
           : strcmp((*files)[0], "-") == 0 ? mem_strdup(cwd)
                                           : directory_of((*files)[0]);
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

/* --- Variables --- */

struct resolver {
    struct yaml_arena *arena;
    const struct interpolate *with;
    struct problems *problems;
};

struct unset_note {
    struct problems *notes;
    struct map seen;
};

static void note_unset(void *context, const char *name)
{
    struct unset_note *note = context;
    if (map_has(&note->seen, name))
        return;
    map_put(&note->seen, name, note);
    if (note->notes->count++ < PROBLEM_MAX)
        str_addf(&note->notes->text, "variable %s is not set; nothing is put in its place\n", name);
}

/* A path is for people; below a very long one its parent's serves, so that memory stays bounded. */
static const char *item_path(const struct resolver *r, const char *path, size_t i)
{
    return strlen(path) > MAX_PATH_SHOWN ? path : yaml_printf(r->arena, "%s[%zu]", path, i);
}

static const char *key_path(const struct resolver *r, const char *path, const char *key)
{
    if (strlen(path) > MAX_PATH_SHOWN)
        return path;
    return yaml_printf(r->arena, "%s%s%.*s", path, *path ? "." : "", MAX_PATH_SHOWN, key);
}

/* A copy of the tree in which each node has its own path and values have their variables replaced. */
static struct yaml_node *resolve(const struct resolver *r, const struct yaml_node *from, const char *path)
{
    struct yaml_node *node = yaml_new(r->arena, from->type, from);
    node->path = path;
    node->merge = from->merge;
    node->plain = from->plain;
    node->text = from->text;
    if (from->type == YAML_SCALAR && interpolate_wanted(from->text)) {
        _cleanup_str_ struct str text = STR_INIT;
        struct err err;
        if (interpolate_text(r->with, from->text, &text, &err) < 0)
            problem_add(r->problems, node, "%s", err.msg);
        node->text = yaml_strdup(r->arena, str_get(&text));
        _cleanup_json_ json_t *utf8 = json_string(node->text);
        if (!utf8)
            problem_add(r->problems, node, "the value is not valid UTF-8 once its variables are filled in");
        node->plain = false;
    }
    for (size_t i = 0; i < from->count; i++) {
        if (from->type == YAML_LIST) {
            yaml_append(r->arena, node, resolve(r, from->items[i], item_path(r, path, i)));
            continue;
        }
        const struct yaml_pair *pair = &from->pairs[i];
        yaml_put(r->arena, node, pair, pair->key, resolve(r, pair->value, key_path(r, path, pair->key)));
    }
    return node;
}

/* --- Loading --- */

struct loading {
    struct yaml_arena *arena;
    const char *dir;
    const struct map *environ;
    const struct interpolate *with;
    struct problems *problems, *notes;
    struct yaml_node *root;
};

static int add_document(struct loading *l, const struct yaml_node *document)
{
    const struct resolver resolver = {l->arena, l->with, l->problems};
    size_t before = l->problems->count;
    struct yaml_node *node = resolve(&resolver, document, "");
    if (l->problems->count == before)
        schema_check(node, l->problems);
    if (l->problems->count != before)
        return 0;
    const struct yaml_pair *version = yaml_find(node, "version");
    if (version && l->notes->count++ < PROBLEM_MAX)
        str_addf(&l->notes->text, "%s:%d:%d: \"version\" has no meaning any more and is ignored\n",
                 version->file, version->line, version->column);
    const struct canonical canonical = {l->arena, l->dir, l->environ, l->problems};
    canonical_file(&canonical, node);
    l->root = merge_files(l->arena, l->root, node);
    return 0;
}

static int load_file(struct loading *l, const char *path, const char *given, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    bool standard_input = strcmp(path, "-") == 0;
    int r = 0;
    if (given)
        str_add(&text, given);
    else
        r = standard_input ? file_read_fd(STDIN_FILENO, YAML_MAX_BYTES, &text, err)
                           : file_read(path, YAML_MAX_BYTES, &text, err);
    if (r < 0)
        return r;
    /* Messages name the file as it is seen from the project's directory. */
    const char *inside = str_after(path, l->dir);
    const char *shown = standard_input ? "stdin" : inside && *inside == '/' ? inside + 1 : path;
    struct yaml_node **documents = NULL;
    size_t count = 0;
    r = yaml_parse(l->arena, shown, str_get(&text), text.len, &documents, &count, err);
    if (r < 0)
        return r;
    if (!count)
        return err_set(err, ERR_INVALID, "%s: the file is empty", shown);
    for (size_t i = 0; i < count; i++)
        add_document(l, documents[i]);
    return 0;
}

int files_load(struct yaml_arena *arena, char *const *files, const char *text, const char *dir,
               const struct map *env, struct problems *problems, struct problems *notes,
               struct yaml_node **ret, struct err *err)
{
    struct unset_note note = {.notes = notes, .seen = MAP_INIT(NULL)};
    const struct interpolate with = {.variables = env, .unset = note_unset, .context = &note};
    struct loading l = {arena, dir, env, &with, problems, notes, NULL};
    int r = 0;
    for (char *const *file = files; r == 0 && *file; file++)
        r = load_file(&l, *file, text, err);
    map_done(&note.seen);
    if (r < 0)
        return r;
    *ret = l.root;
    return 0;
}
