#include "compose/model.h"

#include "base/file.h"
#include "base/json.h"
#include "compose/canonical.h"
#include "compose/envfile.h"
#include "compose/files.h"
#include "compose/interpolate.h"
#include "compose/merge.h"
#include "compose/schema.h"
#include "compose/yaml.h"

#include <unistd.h>

enum { MAX_PATH_SHOWN = 256, MAX_VARIABLE_BYTES = 16 << 20 };

/* What all files of one project share. */
struct model {
    struct yaml_arena *arena;
    const struct model_options *options;
    struct problems *problems, *notes;
    const char *root_dir; /* messages name files as they are seen from here */
    struct map unset;     /* variables that were noted as unset */
    size_t nodes_left;    /* values in all files, each time that they are brought in */
    size_t bytes_left;    /* of values with variables filled in */
    int files_left;
};

/* The files of one model: the project's own, or those of one `include`. */
struct layer {
    struct model *m;
    const struct layer *outer; /* whose include this is */
    const char *const *files;  /* NULL-terminated */
    const char *dir;
    const struct map *environ;
    struct map parsed;      /* path -> struct parsed of files that `extends` names */
    struct yaml_node *root; /* what was merged so far */
};

/* --- Variables --- */

struct resolver {
    struct model *m;
    const struct interpolate *with;
};

static void note_unset(void *context, const char *name)
{
    struct model *m = context;
    if (map_has(&m->unset, name))
        return;
    map_put(&m->unset, name, m);
    if (m->notes->count++ < PROBLEM_MAX)
        str_addf(&m->notes->text, "variable %s is not set; nothing is put in its place\n", name);
}

static void tell_use(void *context, const struct variable_use *use)
{
    const struct model *m = context;
    if (m->options->variable)
        m->options->variable(m->options->context, use);
}

/* A path is for people; below a very long one its parent's serves, so that memory stays bounded. */
static const char *item_path(const struct resolver *r, const char *path, size_t i)
{
    return strlen(path) > MAX_PATH_SHOWN ? path : yaml_printf(r->m->arena, "%s[%zu]", path, i);
}

static const char *key_path(const struct resolver *r, const char *path, const char *key)
{
    if (strlen(path) > MAX_PATH_SHOWN)
        return path;
    return yaml_printf(r->m->arena, "%s%s%.*s", path, *path ? "." : "", MAX_PATH_SHOWN, key);
}

static void fill_in(const struct resolver *r, struct yaml_node *node)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct err err;
    if (interpolate_text(r->with, node->text, &text, &err) < 0)
        problem_add(r->m->problems, node, "%s", err.msg);
    if (r->m->options->no_interpolate)
        return;
    if (text.len > r->m->bytes_left) {
        if (r->m->bytes_left)
            problem_add(r->m->problems, node,
                        "all values together are longer than %d bytes with their variables",
                        MAX_VARIABLE_BYTES);
        r->m->bytes_left = 0;
        return;
    }
    r->m->bytes_left -= text.len;
    node->text = yaml_strdup(r->m->arena, str_get(&text));
    _cleanup_json_ json_t *utf8 = json_string(node->text);
    if (!utf8)
        problem_add(r->m->problems, node, "the value is not valid UTF-8 once its variables are filled in");
    node->plain = false;
}

/* A copy of the tree in which each node has its own path and values have their variables replaced. */
static struct yaml_node *resolve(const struct resolver *r, const struct yaml_node *from, const char *path)
{
    struct yaml_arena *arena = r->m->arena;
    struct yaml_node *node = yaml_new(arena, from->type, from);
    node->path = path;
    node->merge = from->merge;
    node->plain = from->plain;
    node->text = from->text;
    if (from->type == YAML_SCALAR && interpolate_wanted(from->text))
        fill_in(r, node);
    for (size_t i = 0; i < from->count; i++) {
        if (from->type == YAML_LIST) {
            yaml_append(arena, node, resolve(r, from->items[i], item_path(r, path, i)));
            continue;
        }
        const struct yaml_pair *pair = &from->pairs[i];
        yaml_put(arena, node, pair, pair->key, resolve(r, pair->value, key_path(r, path, pair->key)));
    }
    return node;
}

/* --- One file --- */

static const char *shown_name(const struct model *m, const char *path)
{
    const char *inside = str_after(path, m->root_dir);
    return strcmp(path, "-") == 0 ? "stdin" : inside && *inside == '/' ? inside + 1 : path;
}

static int read_text(struct model *m, const char *path, struct str *text, struct err *err)
{
    if (m->options->text) {
        str_add(text, m->options->text);
        return 0;
    }
    if (strcmp(path, "-") == 0)
        return file_read_fd(STDIN_FILENO, YAML_MAX_BYTES, text, err);
    return file_read(path, YAML_MAX_BYTES, text, err);
}

static int parse_file(struct model *m, const char *path, struct yaml_node ***ret, size_t *ret_count,
                      struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    const char *shown = shown_name(m, path);
    if (m->files_left-- <= 0)
        return err_set(err, ERR_LIMIT, "%s: more than %d files in one project", shown, MODEL_MAX_FILES);
    int r = read_text(m, path, &text, err);
    if (r == 0)
        r = yaml_parse(m->arena, shown, str_get(&text), text.len, ret, ret_count, err);
    if (r < 0)
        return r;
    return *ret_count ? 0 : err_set(err, ERR_INVALID, "%s: the file is empty", shown);
}

/* Takes `weight` from what may still come; false, with a problem, when that is too much. */
static bool afford(struct model *m, const struct yaml_node *node)
{
    if (node->weight > m->nodes_left) {
        if (m->nodes_left)
            problem_add(m->problems, node, "more than %d values in all files together", YAML_MAX_NODES);
        m->nodes_left = 0;
        return false;
    }
    m->nodes_left -= node->weight;
    return true;
}

/* A document with its variables replaced, checked and in form; NULL after problems. */
static struct yaml_node *prepare(struct layer *l, const char *dir, const struct yaml_node *document)
{
    struct model *m = l->m;
    const struct interpolate with = {
        .variables = l->environ, .unset = note_unset, .used = tell_use, .context = m};
    const struct resolver resolver = {m, &with};
    size_t before = m->problems->count;
    if (!afford(m, document))
        return NULL;
    struct yaml_node *node = resolve(&resolver, document, "");
    if (m->problems->count == before)
        schema_check(node, m->problems, m->notes, m->options->no_interpolate);
    if (m->problems->count != before)
        return NULL;
    const struct yaml_pair *version = yaml_find(node, "version");
    if (version)
        problem_add_key(m->notes, node, version, "has no meaning any more and is ignored");
    const struct canonical canonical = {.arena = m->arena,
                                        .dir = dir,
                                        .environ = l->environ,
                                        .problems = m->problems,
                                        .keep_variables = m->options->no_interpolate};
    canonical_file(&canonical, node);
    return node;
}

/* --- extends --- */

/* A file that `extends` names, in form and without its own `extends` done. */
struct parsed {
    const char *path, *dir;
    struct yaml_node *root; /* NULL: it has problems, which were said */
};

/* The services on the way from the one that extends, innermost first. */
struct chain {
    const struct chain *outer;
    const char *path, *service;
    int depth;
};

static struct parsed *load_extended(struct layer *l, const char *path, const struct yaml_node *at)
{
    struct model *m = l->m;
    struct parsed *known = map_get(&l->parsed, path);
    if (known)
        return known;
    struct parsed *p = yaml_alloc(m->arena, sizeof(*p));
    _cleanup_free_ char *dir = files_directory(path);
    struct yaml_node **documents = NULL;
    size_t count = 0;
    struct err err;
    p->path = yaml_strdup(m->arena, path);
    p->dir = yaml_strdup(m->arena, dir);
    map_put(&l->parsed, path, p);
    if (m->options->text || parse_file(m, path, &documents, &count, &err) < 0) {
        problem_add(m->problems, at, "%s",
                    m->options->text ? "a file given as text cannot extend others" : err.msg);
        return p;
    }
    for (size_t i = 0; i < count; i++) {
        struct yaml_node *node = prepare(l, p->dir, documents[i]);
        if (!node)
            return p;
        p->root = merge_files(m->arena, p->root, node);
    }
    return p;
}

static bool in_circle(struct model *m, const struct chain *chain, const struct yaml_node *at)
{
    for (const struct chain *c = chain->outer; c; c = c->outer) {
        if (strcmp(c->path, chain->path) != 0 || strcmp(c->service, chain->service) != 0)
            continue;
        _cleanup_free_ char *way = mem_strdup(chain->service);
        for (const struct chain *w = chain->outer; w; w = w == c ? NULL : w->outer) {
            char *longer = str_printf("%s (%s) -> %s", w->service, shown_name(m, w->path), way);
            free(way);
            way = longer;
        }
        problem_add(m->problems, at, "services extend each other in a circle: %s", way);
        return true;
    }
    if (chain->depth > MODEL_MAX_CHAIN)
        problem_add(m->problems, at, "more than %d services extend one another", MODEL_MAX_CHAIN);
    return chain->depth > MODEL_MAX_CHAIN;
}

/* Keys of the extending service that say !reset keep saying so to the files below. */
static struct yaml_node *put_over(struct model *m, struct yaml_node *base, struct yaml_node *service)
{
    struct yaml_node *merged = merge_files(m->arena, base, service);
    for (size_t i = 0; i < service->count; i++)
        if (service->pairs[i].value->merge == YAML_MERGE_RESET)
            yaml_put(m->arena, merged, &service->pairs[i], service->pairs[i].key, service->pairs[i].value);
    merged->path = service->path;
    merged->line = service->line;
    merged->column = service->column;
    merged->file = service->file;
    return merged;
}

static struct yaml_node *extended(struct layer *l, const struct parsed *in, const struct chain *chain,
                                  struct yaml_node *service);

/* The service that `extends` names, extended itself; NULL after a problem. */
static struct yaml_node *base_of(struct layer *l, const struct parsed *in, const struct chain *chain,
                                 const struct yaml_node *extends)
{
    struct model *m = l->m;
    const char *name = extends->type == YAML_MAP ? yaml_text(extends, "service") : extends->text;
    const char *file = yaml_text(extends, "file");
    const struct parsed *from = in;
    if (!*name) {
        problem_add(m->problems, extends, "has no \"service\"");
        return NULL;
    }
    if (*file) {
        const struct canonical c = {.arena = m->arena, .dir = in->dir, .environ = l->environ};
        from = load_extended(l, canonical__path(&c, file), extends);
        if (!from->root)
            return NULL;
    }
    struct yaml_node *base = yaml_get(yaml_get(from->root, "services"), name);
    if (!base && !*file) /* of an earlier file of the same project */
        base = yaml_get(yaml_get(l->root, "services"), name);
    const struct chain next = {chain, from->path, name, chain->depth + 1};
    if (!base || base->type != YAML_MAP) {
        problem_add(m->problems, extends, "refers to service \"%s\", which is not in %s", name,
                    shown_name(m, from->path));
        return NULL;
    }
    if (in_circle(m, &next, extends) || !afford(m, base))
        return NULL;
    return extended(l, from, &next, base);
}

static struct yaml_node *extended(struct layer *l, const struct parsed *in, const struct chain *chain,
                                  struct yaml_node *service)
{
    const struct yaml_node *extends = yaml_get(service, "extends");
    if (!extends || extends->merge == YAML_MERGE_RESET)
        return service;
    struct yaml_node *base = base_of(l, in, chain, extends);
    if (!base)
        return service;
    struct yaml_node *merged = put_over(l->m, base, service);
    yaml_remove(merged, "extends");
    return merged;
}

static void apply_extends(struct layer *l, const char *path, struct yaml_node *root)
{
    struct yaml_node *services = yaml_get(root, "services");
    const struct parsed self = {path, l->dir, root};
    for (size_t i = 0; services && services->type == YAML_MAP && i < services->count; i++) {
        struct yaml_pair *pair = &services->pairs[i];
        const struct chain chain = {NULL, path, pair->key, 1};
        if (pair->value->type == YAML_MAP && !str_after(pair->key, "x-"))
            pair->value = extended(l, &self, &chain, pair->value);
    }
}

/* --- include --- */

static int load_layer(struct layer *l, struct err *err);

static char **texts_of(const struct yaml_node *node)
{
    char **list = NULL;
    if (node && node->type == YAML_SCALAR)
        strv_add(&list, node->text);
    for (size_t i = 0; node && node->type == YAML_LIST && i < node->count; i++)
        if (node->items[i]->type == YAML_SCALAR)
            strv_add(&list, node->items[i]->text);
    return list;
}

/* The variables of an include: the outer ones over its env_file, or over .env in its directory. */
static int include_environment(const struct layer *outer, const struct yaml_node *item, const char *dir,
                               struct map *into, struct err *err)
{
    _cleanup_strv_ char **files = texts_of(yaml_get(item, "env_file"));
    _cleanup_free_ char *usual = str_printf("%s/.env", dir);
    int r = 0;
    if (!files && file_exists(usual) && !outer->m->options->text)
        strv_add(&files, usual);
    STRV_FOREACH (file, files) {
        _cleanup_free_ char *path = files_absolute(outer->dir, *file);
        r = r == 0 ? envfile_read(path, outer->environ, into, err) : r;
    }
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(outer->environ, &i));)
        map_put(into, e->key, mem_strdup(e->value));
    return r;
}

static bool include_in_circle(const struct layer *outer, const char *path, const struct yaml_node *at)
{
    int depth = 0;
    for (const struct layer *l = outer; l; l = l->outer, depth++)
        for (const char *const *file = l->files; *file; file++)
            if (strcmp(*file, path) == 0) {
                problem_add(outer->m->problems, at,
                            "files include each other in a circle: %s includes %s again",
                            shown_name(outer->m, outer->files[0]), shown_name(outer->m, path));
                return true;
            }
    if (depth > MODEL_MAX_CHAIN)
        problem_add(outer->m->problems, at, "more than %d files include one another", MODEL_MAX_CHAIN);
    return depth > MODEL_MAX_CHAIN;
}

/* Paths of an include in the arena; NULL after a problem. */
static const char **include_paths(const struct layer *outer, const struct yaml_node *item)
{
    struct model *m = outer->m;
    _cleanup_strv_ char **given = texts_of(item->type == YAML_MAP ? yaml_get(item, "path") : item);
    const char **paths = yaml_alloc(m->arena, (strv_len(given) + 1) * sizeof(*paths));
    size_t n = 0;
    if (!given)
        problem_add(m->problems, item, "has no \"path\"");
    STRV_FOREACH (path, given) {
        const struct canonical c = {.arena = m->arena, .dir = outer->dir, .environ = outer->environ};
        paths[n++] = canonical__path(&c, *path);
        if (strstr(*path, "://") || str_after(*path, "git@")) {
            problem_add(m->problems, item, "only local files can be included, not \"%s\"", *path);
            return NULL;
        }
        if (include_in_circle(outer, paths[n - 1], item))
            return NULL;
    }
    return given ? paths : NULL;
}

static struct yaml_node *load_include(const struct layer *outer, const struct yaml_node *item)
{
    struct model *m = outer->m;
    const char **paths = include_paths(outer, item);
    if (!paths)
        return NULL;
    const struct canonical c = {.arena = m->arena, .dir = outer->dir, .environ = outer->environ};
    _cleanup_free_ char *beside = files_directory(paths[0]);
    const char *given = yaml_text(item, "project_directory");
    const char *dir = *given ? canonical__path(&c, given) : yaml_strdup(m->arena, beside);
    struct map env = MAP_INIT(free);
    struct layer l = {
        .m = m, .outer = outer, .files = paths, .dir = dir, .environ = &env, .parsed = MAP_INIT(NULL)};
    struct err err;
    int r = m->options->text ? err_set(&err, ERR_INVALID, "a file given as text cannot include others")
                             : include_environment(outer, item, dir, &env, &err);
    if (r == 0)
        r = load_layer(&l, &err);
    if (r < 0)
        problem_add(m->problems, item, "%s", err.msg);
    map_done(&env);
    return r < 0 ? NULL : l.root;
}

static bool same_value(const struct yaml_node *a, const struct yaml_node *b)
{
    if (a->type != b->type || a->count != b->count)
        return false;
    if (a->type == YAML_SCALAR)
        return strcmp(a->text, b->text) == 0;
    for (size_t i = 0; i < a->count; i++) {
        const struct yaml_pair *other = a->type == YAML_MAP ? yaml_find(b, a->pairs[i].key) : NULL;
        if (a->type == YAML_MAP ? !other || !same_value(a->pairs[i].value, other->value)
                                : !same_value(a->items[i], b->items[i]))
            return false;
    }
    return true;
}

/* Puts an included model below the document that includes it: what both have must be the same. */
static void import(struct layer *l, struct yaml_node *root, const struct yaml_node *included)
{
    static const char *const sections[] = {"services", "networks", "volumes", "secrets", "configs"};
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        const struct yaml_node *from = yaml_get(included, sections[i]);
        struct yaml_node *to = yaml_get(root, sections[i]);
        if (from && !to)
            yaml_put(l->m->arena, root, NULL, sections[i], to = yaml_new(l->m->arena, YAML_MAP, from));
        for (size_t j = 0; from && j < from->count; j++) {
            const struct yaml_pair *pair = &from->pairs[j], *own = yaml_find(to, pair->key);
            if (own && !same_value(own->value, pair->value))
                problem_add_key(l->m->problems, to, own,
                                "is defined in the included %s:%d too, and not the same; change it in a file "
                                "of its own with another -f",
                                pair->file, pair->line);
            else if (!own)
                yaml_put(l->m->arena, to, pair, pair->key, pair->value);
        }
    }
}

static void apply_includes(struct layer *l, struct yaml_node *root)
{
    const struct yaml_node *list = yaml_get(root, "include");
    for (size_t i = 0; list && i < list->count; i++) {
        const struct yaml_node *included = load_include(l, list->items[i]);
        if (included)
            import(l, root, included);
    }
    yaml_remove(root, "include");
}

/* --- A model --- */

static int add_file(struct layer *l, const char *path, struct err *err)
{
    struct yaml_node **documents = NULL;
    size_t count = 0;
    int r = parse_file(l->m, path, &documents, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct yaml_node *node = prepare(l, l->dir, documents[i]);
        if (!node)
            continue;
        apply_extends(l, path, node);
        apply_includes(l, node);
        l->root = merge_files(l->m->arena, l->root, node);
    }
    return r;
}

static int load_layer(struct layer *l, struct err *err)
{
    int r = 0;
    for (const char *const *file = l->files; r == 0 && *file; file++)
        r = add_file(l, *file, err);
    map_done(&l->parsed);
    return r;
}

int model_load(struct yaml_arena *arena, const struct model_options *options, struct problems *problems,
               struct problems *notes, struct yaml_node **ret, struct err *err)
{
    struct model m = {.arena = arena,
                      .options = options,
                      .problems = problems,
                      .notes = notes,
                      .root_dir = options->dir,
                      .unset = MAP_INIT(NULL),
                      .nodes_left = YAML_MAX_NODES,
                      .bytes_left = MAX_VARIABLE_BYTES,
                      .files_left = MODEL_MAX_FILES};
    struct layer l = {.m = &m,
                      .files = (const char *const *)options->files,
                      .dir = options->dir,
                      .environ = options->environ,
                      .parsed = MAP_INIT(NULL)};
    int r = load_layer(&l, err);
    map_done(&m.unset);
    if (r == 0)
        *ret = l.root;
    return r;
}
