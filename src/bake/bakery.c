#include "bake/bakery.h"

#include "bake/base.h"
#include "base/file.h"
#include "base/json.h"
#include "compose/fields.h"

#define TOP(member) offsetof(struct bakery, member)
#define AT(member)  offsetof(struct bakery_image, member)

static const struct field bakery_fields[] = {
    {"registry", FIELD_TEXT, TOP(registry)},
    {"locals", FIELD_LIST, TOP(locals)},
    {"images", FIELD_NAMED, TOP(images_node)},
    {0},
};
static const struct field image_fields[] = {
    {"base", FIELD_TEXT, AT(base)},
    {"variant", FIELD_TEXT, AT(variant)},
    {"include", FIELD_LIST, AT(include)},
    {"mirrors", FIELD_LIST, AT(mirrors)},
    {"snapshot", FIELD_TEXT, AT(snapshot)},
    {"keyring", FIELD_TEXT, AT(keyring)},
    {"build", FIELD_TEXT, AT(build)},
    {"dockerfile", FIELD_TEXT, AT(dockerfile)},
    {"target", FIELD_TEXT, AT(target)},
    {"args", FIELD_TABLE, AT(args)},
    {"on", FIELD_LIST, AT(on)},
    {"kind", FIELD_TEXT, AT(kind)},
    {"parameters", FIELD_LIST, AT(parameters)},
    {"test", FIELD_TEXT, AT(test)},
    {"tags", FIELD_LIST, AT(tags)},
    {"locals", FIELD_LIST, AT(locals)},
    {0},
};

void bakery_free(struct bakery *b)
{
    if (!b)
        return;
    yaml_arena_free(b->arena);
    free(b);
}

struct bakery_image *bakery_find(const struct bakery *b, const char *name)
{
    for (size_t i = 0; i < b->count; i++)
        if (str_eq(b->images[i].name, name))
            return &b->images[i];
    return NULL;
}

bool bakery_stands_on(const struct bakery_image *image, size_t other)
{
    for (size_t i = 0; i < image->stands_on_count; i++)
        if (image->stands_on[i] == other)
            return true;
    return false;
}

/* --- What a table of fields does not say --- */

/* Names are put behind a registry's address, and tags behind a colon: the parts of a reference's grammar. */
static bool name_valid(const char *name)
{
    static const char *const verbs[] = {"base", "plan", "status", "refresh", "watch", NULL};
    size_t n = strlen(name);
    return n && n < 200 && !name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-/")] &&
           name[0] != '/' && name[n - 1] != '/' && !strstr(name, "//") && !strstr(name, "..") &&
           !strchr("._-", name[0]) && !strv_has((char *const *)verbs, name);
}

static bool tag_valid(const char *tag)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    return *tag && strlen(tag) <= 128 && !tag[strspn(tag, good)] && !strchr(".-", *tag);
}

static bool registry_valid(const char *host)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:-[]";
    return *host && !host[strspn(host, good)] && (strpbrk(host, ".:") || str_eq(host, "localhost"));
}

static void check_registries(const struct yaml_node *map, char *const *list, struct problems *problems)
{
    const struct yaml_node *node = yaml_get(map, "locals");
    for (size_t i = 0; list && list[i]; i++)
        if (!registry_valid(list[i]))
            problem_add(problems, node, "\"%.100s\" is no address of a registry, as host:5000", list[i]);
}

static void check_base(const struct yaml_node *at, const struct bakery_image *image,
                       struct problems *problems)
{
    const struct base_request q = {.spec = image->base,
                                   .variant = image->variant,
                                   .include = image->include,
                                   .mirrors = image->mirrors,
                                   .snapshot = image->snapshot};
    struct err err;
    if (base_request_check(&q, &err) < 0)
        problem_add(problems, yaml_get(at, "base"), "%s", err.msg);
    if (image->on || image->dockerfile || image->target || image->args)
        problem_add(
            problems, at,
            "a base stands on packages: \"on\", \"dockerfile\", \"target\" and \"args\" are for \"build\"");
}

static void check_image(const struct yaml_node *at, struct bakery_image *image, struct problems *problems)
{
    static const char *const of_base[] = {"variant", "include", "mirrors", "snapshot", "keyring"};
    if (!name_valid(image->name))
        problem_add(problems, at,
                    "\"%.100s\" is no name for an image here: lower-case letters, digits, \"._-/\", and no "
                    "verb of \"drover bake\"",
                    image->name);
    if (!image->base == !image->build)
        problem_add(problems, at, "needs either \"base\" or \"build\"");
    else if (image->base)
        check_base(at, image, problems);
    for (size_t i = 0; image->build && i < ARRAY_SIZE(of_base); i++)
        if (yaml_get(at, of_base[i]))
            problem_add(problems, yaml_get(at, of_base[i]), "is for \"base\"");
    for (char **tag = image->tags; tag && *tag; tag++)
        if (!tag_valid(*tag))
            problem_add(problems, yaml_get(at, "tags"), "\"%.100s\" is no tag", *tag);
    if (image->kind && !str_eq(image->kind, "sealed") && !str_eq(image->kind, "parameterised"))
        problem_add(problems, yaml_get(at, "kind"), "must be sealed or parameterised");
    image->parameterised = str_eq(image->kind, "parameterised");
    if (image->parameterised != (image->parameters && *image->parameters))
        problem_add(problems, at, "\"kind: parameterised\" and \"parameters\" belong together");
    check_registries(at, image->locals, problems);
}

/* --- Order: depth first, so that each comes behind what it stands on --- */

struct ordering {
    struct bakery *b;
    struct bakery_image *from; /* as the file has them */
    size_t count, done;
    size_t *place; /* in b->images, plus one; 0: not yet */
    bool *open;
    struct problems *problems;
};

static size_t index_of(const struct ordering *o, const char *name)
{
    for (size_t i = 0; i < o->count; i++)
        if (str_eq(o->from[i].name, name))
            return i;
    return SIZE_MAX;
}

/* A name that could be of this file and is not is a mistake of writing, unless it has an address or a tag. */
static void check_outside(const struct ordering *o, const struct bakery_image *image, size_t which)
{
    const struct yaml_node *list = yaml_get(yaml_get(o->b->images_node, image->name), "on");
    if (!strpbrk(image->on[which], ":@"))
        problem_add(o->problems, list->items[which],
                    "\"%.100s\" is no image of this file; one from elsewhere has a tag or a digest",
                    image->on[which]);
}

static void visit(struct ordering *o, size_t i)
{
    struct bakery_image *image = &o->from[i];
    if (o->place[i])
        return;
    if (o->open[i]) {
        problem_add(o->problems, yaml_get(o->b->images_node, image->name),
                    "stands on itself, by way of others");
        return;
    }
    o->open[i] = true;
    size_t n = strv_len(image->on);
    image->stands_on = yaml_alloc(o->b->arena, (n + 1) * sizeof(size_t));
    for (size_t k = 0; k < n; k++) {
        size_t other = index_of(o, image->on[k]);
        if (other == SIZE_MAX) {
            check_outside(o, image, k);
            continue;
        }
        visit(o, other);
        if (o->place[other])
            image->stands_on[image->stands_on_count++] = o->place[other] - 1;
    }
    o->b->images[o->done] = *image;
    o->place[i] = ++o->done;
}

static void put_in_order(struct bakery *b, struct bakery_image *from, size_t count, struct problems *problems)
{
    struct ordering o = {.b = b,
                         .from = from,
                         .count = count,
                         .place = yaml_alloc(b->arena, (count + 1) * sizeof(size_t)),
                         .open = yaml_alloc(b->arena, count + 1),
                         .problems = problems};
    b->images = yaml_alloc(b->arena, (count + 1) * sizeof(*b->images));
    for (size_t i = 0; i < count; i++)
        visit(&o, i);
    b->count = o.done;
}

static void read_images(struct bakery *b, struct problems *problems)
{
    static char *const latest[] = {(char *)"latest", NULL};
    size_t count = b->images_node ? b->images_node->count : 0;
    if (count > BAKERY_IMAGES_MAX) {
        problem_add(problems, b->images_node, "more than %d images", BAKERY_IMAGES_MAX);
        return;
    }
    struct bakery_image *from = yaml_alloc(b->arena, (count + 1) * sizeof(*from));
    for (size_t i = 0; i < count; i++) {
        const struct yaml_pair *pair = &b->images_node->pairs[i];
        from[i] = (struct bakery_image){.name = pair->key, .file = pair->file, .line = pair->line};
        fields_read(b->arena, image_fields, pair->value, &from[i], problems);
        check_image(pair->value, &from[i], problems);
        if (!from[i].tags || !*from[i].tags)
            from[i].tags = (char **)latest;
        if (!from[i].locals)
            from[i].locals = b->locals;
    }
    if (!problems->count)
        put_in_order(b, from, count, problems);
}

int bakery_parse(const char *file, const char *text, size_t n, struct bakery **ret, struct err *err)
{
    _cleanup_bakery_ struct bakery *b = NEW(struct bakery);
    struct problems problems = {0};
    struct yaml_node *top;
    b->arena = yaml_arena_new();
    int r = fields_document(b->arena, file, text, n, &top, err);
    if (r < 0)
        return r;
    fields_read(b->arena, bakery_fields, top, b, &problems);
    if (b->registry && !registry_valid(b->registry))
        problem_add(&problems, yaml_get(top, "registry"),
                    "\"%.100s\" is no address of a registry, as host:5000", b->registry);
    check_registries(top, b->locals, &problems);
    if (b->locals && !b->registry)
        problem_add(&problems, yaml_get(top, "locals"),
                    "images come to local registries from the global one: name it by \"registry\"");
    read_images(b, &problems);
    r = fields_settle(&problems, err);
    str_free(&problems.text);
    if (r == 0)
        *ret = take_ptr(b);
    return r;
}

/* --- State --- */

int bakery_state_load(const char *path, json_t **ret, struct err *err)
{
    json_t *state = NULL;
    int r = json_parse_file(path, &state, err);
    if (r == -ERR_NOT_FOUND)
        r = 0;
    else if (r == 0 && !json_is_object(json_object_get(state, "images")))
        r = err_set(err, ERR_CORRUPT,
                    "%s is no state of a bakery; remove it, and all images are looked at anew", path);
    if (r < 0) {
        json_decref(state);
        return r;
    }
    *ret = state ? state : json_pack("{s:{}}", "images");
    return 0;
}

int bakery_state_save(const char *path, const json_t *state, struct err *err)
{
    _cleanup_free_ char *text = json_dumps(state, JSON_INDENT(1) | JSON_SORT_KEYS);
    return file_replace(path, text, strlen(text), 0644, true, err);
}

json_t *bakery_state_of(json_t *state, const char *image)
{
    json_t *images = json_object_get(state, "images"), *one = json_object_get(images, image);
    if (json_is_object(one))
        return one;
    one = json_object();
    json_object_set_new(images, image, one);
    return one;
}

char *bakery_outdated(const json_t *state, const char *label)
{
    _cleanup_strv_ char **parts = strv_split(label, ' ');
    STRV_FOREACH (part, parts) {
        char *at = strchr(*part, '@');
        if (!at)
            continue;
        *at = '\0';
        const char *id = json_str(json_object_get(json_object_get(state, "images"), *part), "id");
        if (*id && !str_eq(id, at + 1))
            return mem_strdup(*part);
    }
    return NULL;
}
