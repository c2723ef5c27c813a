/* Reading the archive. The outer one is the server's; the layers in it are whoever's. */
#include "imagetest/scan.h"
#include "base/digest.h"
#include "base/json.h"
#include "imagetest/hostrefs.h"

#include <ctype.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CHUNK = 64 * 1024,
    DOCUMENT_MAX = 4 << 20,
    DOCUMENTS_MAX = 64,
    LAYERS_MAX = 1024,
    TEXT_MAX = 1 << 20, /* of a file that is looked into for hosts, and of /etc/passwd */
    HITS_MAX = 2000,
    FIRST = 512, /* bytes by which a file of the outer archive shows what it is */
};

char *image_scan__printable(const char *text)
{
    char *copy = mem_strdup(text);
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return copy;
}

static void layer_free(void *layer)
{
    struct scan_layer *l = layer;
    for (size_t i = 0; i < l->hit_count; i++) {
        free(l->hits[i].path);
        free(l->hits[i].text);
        free(l->hits[i].fingerprint);
    }
    free(l->hits);
    free(l->files);
    free(l->name);
    free(l->passwd);
    free(l->group);
    map_done(&l->digests);
    str_free(&l->names);
    free(l);
}

void image_scan_free(struct image_scan *s)
{
    if (!s)
        return;
    map_done(&s->layers);
    map_done(&s->documents);
    json_decref(s->config);
    free(s->order);
    strv_free(s->instructions);
    if (s->merged)
        tree_done(&s->tree);
    free(s);
}

const json_t *image_scan_config(const struct image_scan *s)
{
    return s->config;
}

/* --- One layer --- */

struct layer_reading {
    struct image_scan *scan;
    struct scan_layer *layer;
    struct secret_scanner *secrets;
    const char *path; /* of the file at hand */
    char *buffer;     /* CHUNK */
    struct str text;
};

static struct content_hit *add_hit(struct layer_reading *r, enum image_check check, const char *rule)
{
    struct scan_layer *l = r->layer;
    if (l->hit_count >= HITS_MAX) {
        l->hits_left_out++;
        return NULL;
    }
    GROW(l->hits, l->hit_count, l->hit_capacity);
    struct content_hit *h = &l->hits[l->hit_count++];
    *h = (struct content_hit){.check = check, .rule = rule, .path = mem_strdup(r->path)};
    return h;
}

static void secret_found(void *context, const struct secret_hit *hit)
{
    struct content_hit *h = add_hit(context, CHECK_SECRETS, hit->rule);
    if (!h)
        return;
    h->text = mem_strdup(hit->preview);
    h->fingerprint = mem_strdup(hit->fingerprint);
}

static void host_found(void *context, const struct hostref *ref)
{
    struct content_hit *h = add_hit(context, CHECK_HOST, ref->rule);
    if (!h)
        return;
    h->text = mem_strdup(ref->text);
    h->line = ref->line;
}

static size_t keep_text(struct str *names, const char *text)
{
    if (!text)
        return 0;
    size_t at = names->len;
    str_addn(names, text, strlen(text) + 1);
    return at;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* By its last part only: which directories are links is known when all layers are read. */
static bool wants_digest(const struct image_checks *c, const char *path)
{
    for (size_t i = 0; i < c->file_count; i++)
        if (c->files[i].sha256 && str_eq(base_name(c->files[i].path), base_name(path)))
            return true;
    return false;
}

static int read_file(struct layer_reading *r, const struct tar_entry *e, tar_read_fn read, void *context,
                     struct err *err)
{
    bool accounts = str_eq(e->path, "etc/passwd") || str_eq(e->path, "etc/group");
    bool shadow = str_eq(e->path, "etc/shadow") || str_eq(e->path, "etc/gshadow");
    bool in_scope = hostrefs_in_scope(e->path), first = true, text = false;
    _cleanup_hasher_ struct digest_hasher *hasher =
        wants_digest(r->scan->checks, e->path) ? digest_hasher_new("sha256") : NULL;
    ssize_t n;
    str_clear(&r->text);
    while ((n = read(context, r->buffer, CHUNK, err)) > 0) {
        if (first) {
            text = !memchr(r->buffer, '\0', (size_t)n);
            secret_scanner_begin(r->secrets,
                                 (text && in_scope ? SECRET_GUESS : 0) | (shadow ? SECRET_HASHES : 0));
        }
        first = false;
        secret_scanner_feed(r->secrets, r->buffer, (size_t)n);
        if (hasher)
            digest_hasher_add(hasher, r->buffer, (size_t)n);
        if (text && (in_scope || accounts) && r->text.len + (size_t)n <= TEXT_MAX)
            str_addn(&r->text, r->buffer, (size_t)n);
    }
    if (n < 0)
        return (int)n;
    if (!first)
        secret_scanner_end(r->secrets);
    if (r->text.len && in_scope && !accounts)
        hostrefs_find(str_get(&r->text), r->text.len, false, r->scan->own_name, host_found, r);
    if (accounts) {
        char **place = str_eq(e->path, "etc/passwd") ? &r->layer->passwd : &r->layer->group;
        free(*place);
        *place = mem_strdup(str_get(&r->text));
    }
    if (hasher) {
        char digest[DIGEST_BYTES];
        digest_hasher_format(hasher, digest);
        map_put(&r->layer->digests, e->path, mem_strdup(digest_hex(digest)));
    }
    return 0;
}

static int take_entry(void *context, const struct tar_entry *e, tar_read_fn read, void *read_context,
                      struct err *err)
{
    struct layer_reading *r = context;
    struct scan_layer *l = r->layer;
    if (++r->scan->entries > IMAGE_MAX_ENTRIES)
        return err_set(err, ERR_LIMIT, "the image's layers have more than %d files: refused",
                       IMAGE_MAX_ENTRIES);
    if (!*e->path)
        return 0;
    if (!l->names.len)
        str_addc(&l->names, '\0'); /* offset 0 is no name */
    GROW(l->files, l->count, l->capacity);
    size_t path = keep_text(&l->names, e->path);
    l->files[l->count++] = (struct scan_file){.path = path,
                                              .link = keep_text(&l->names, e->link),
                                              .mode = e->mode,
                                              .uid = e->uid,
                                              .gid = e->gid,
                                              .size = e->size,
                                              .hard = e->hard,
                                              .capabilities = e->capabilities};
    l->bytes = e->size > INT64_MAX - l->bytes ? INT64_MAX : l->bytes + e->size;
    if (!S_ISREG(e->mode) || e->hard)
        return 0;
    r->path = e->path;
    if (e->size > 0 && secret_file_name(e->path)) {
        struct content_hit *h = add_hit(r, CHECK_SECRETS, "credential-file");
        if (h)
            h->text = mem_strdup("a file of credentials");
    }
    return read_file(r, e, read, read_context, err);
}

/* --- The outer archive --- */

/* What was read to see what it is, and then the rest. */
struct resumed {
    const char *first;
    size_t first_bytes;
    tar_read_fn read;
    void *context;
};

static ssize_t resume(void *context, void *buffer, size_t n, struct err *err)
{
    struct resumed *r = context;
    if (!r->first_bytes)
        return r->read(r->context, buffer, n, err);
    n = MIN(n, r->first_bytes);
    memcpy(buffer, r->first, n);
    r->first += n;
    r->first_bytes -= n;
    return (ssize_t)n;
}

static int read_layer(struct image_scan *s, const char *name, struct resumed *stream, struct err *err)
{
    if (s->layers.count >= LAYERS_MAX)
        return err_set(err, ERR_LIMIT, "the archive has more than %d layers: refused", LAYERS_MAX);
    struct scan_layer *l = NEW(struct scan_layer);
    l->name = mem_strdup(name);
    l->digests = MAP_INIT(free);
    map_put(&s->layers, name, l);
    struct layer_reading r = {.scan = s, .layer = l, .buffer = mem_new(CHUNK)};
    r.secrets = secret_scanner_new(secret_found, &r);
    const struct tar_walk walk = {
        .limits = {.max_entries = IMAGE_MAX_ENTRIES}, .context = &r, .entry = take_entry};
    int result = tar_walk_stream(&walk, resume, stream, err);
    secret_scanner_free(r.secrets);
    str_free(&r.text);
    free(r.buffer);
    return result < 0 ? err_wrap(err, "layer %s", name) : 0;
}

static int read_document(struct image_scan *s, const char *name, struct resumed *stream, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    char piece[4096];
    ssize_t n;
    while ((n = resume(stream, piece, sizeof(piece), err)) > 0) {
        str_addn(&text, piece, (size_t)n);
        if (text.len > DOCUMENT_MAX)
            return err_set(err, ERR_LIMIT, "%s is a document of more than %d bytes", name, DOCUMENT_MAX);
    }
    if (n == 0 && s->documents.count < DOCUMENTS_MAX)
        map_put(&s->documents, name, str_take(&text));
    return (int)n;
}

static bool is_layer(const unsigned char *first, size_t n)
{
    static const unsigned char gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd},
                               bzip2[] = {'B', 'Z', 'h'}, xz[] = {0xfd, '7', 'z', 'X', 'Z'};
    bool zero = n == FIRST;
    for (size_t i = 0; zero && i < n; i++)
        zero = first[i] == 0; /* an empty tar */
    return zero || (n > 262 && memcmp(first + 257, "ustar", 5) == 0) ||
           (n >= 2 && memcmp(first, gzip, 2) == 0) || (n >= 4 && memcmp(first, zstd, 4) == 0) ||
           (n >= 3 && memcmp(first, bzip2, 3) == 0) || (n >= 5 && memcmp(first, xz, 5) == 0);
}

static int take_outer(void *context, const struct tar_entry *e, tar_read_fn read, void *read_context,
                      struct err *err)
{
    struct image_scan *s = context;
    unsigned char first[FIRST];
    size_t n = 0;
    ssize_t got = 1;
    if (!S_ISREG(e->mode) || e->hard)
        return 0;
    while (n < sizeof(first) && (got = read(read_context, first + n, sizeof(first) - n, err)) > 0)
        n += (size_t)got;
    if (got < 0)
        return (int)got;
    struct resumed stream = {(const char *)first, n, read, read_context};
    if (is_layer(first, n))
        return read_layer(s, e->path, &stream, err);
    bool json = n && (first[0] == '{' || first[0] == '[');
    return json ? read_document(s, e->path, &stream, err) : 0;
}

int image_scan_stream(const struct image_checks *checks, tar_read_fn read_fn, void *read_context,
                      struct image_scan **ret, struct err *err)
{
    _cleanup_scan_ struct image_scan *s = NEW(struct image_scan);
    s->checks = checks;
    s->layers = MAP_INIT(layer_free);
    s->documents = MAP_INIT(free);
    if (gethostname(s->own_name, sizeof(s->own_name) - 1) < 0 || str_eq(s->own_name, "localhost"))
        s->own_name[0] = '\0';
    const struct tar_walk walk = {
        .limits = {.max_bytes = INT64_MAX / 4, .max_entries = 100000}, .context = s, .entry = take_outer};
    int r = tar_walk_stream(&walk, read_fn, read_context, err);
    if (r == 0)
        r = image_scan__arrange(s, err);
    if (r == 0)
        *ret = take_ptr(s);
    return r;
}

/* --- What belongs to the image --- */

static int document(const struct image_scan *s, const char *name, json_t **ret, struct err *err)
{
    const char *text = map_get(&s->documents, name);
    if (!text)
        return err_set(err, ERR_INVALID, "the archive has no %s", name);
    return json_parse(text, strlen(text), name, ret, err);
}

/* The config's history has a line for each instruction; those that made a layer are in the layers' order. */
static void name_instructions(struct image_scan *s)
{
    const json_t *line;
    size_t i;
    json_array_foreach (json_object_get(s->config, "history"), i, line) {
        if (json_bool(line, "empty_layer") || strv_len(s->instructions) >= s->layer_count)
            continue;
        _cleanup_free_ char *text = image_scan__printable(json_str(line, "created_by"));
        strv_add(&s->instructions, text);
    }
    while (strv_len(s->instructions) < s->layer_count)
        strv_add(&s->instructions, "");
}

int image_scan__arrange(struct image_scan *s, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    int r = document(s, "manifest.json", &list, err);
    if (r == 0 && json_array_size(list) != 1)
        r = err_set(err, ERR_INVALID, "manifest.json lists %zu images; one is tested at a time",
                    json_array_size(list));
    if (r < 0)
        return r;
    const json_t *image = json_array_get(list, 0), *layers = json_object_get(image, "Layers"), *name;
    r = document(s, json_str(image, "Config"), &s->config, err);
    if (r < 0)
        return r;
    s->layer_count = json_array_size(layers);
    s->order = NEW_N(struct scan_layer *, s->layer_count + 1);
    size_t i;
    json_array_foreach (layers, i, name) {
        const char *text = json_is_string(name) ? json_string_value(name) : "";
        s->order[i] = map_get(&s->layers, text);
        if (!s->order[i])
            return err_set(err, ERR_INVALID,
                           "manifest.json names layer \"%.200s\", which is not in the archive", text);
    }
    name_instructions(s);
    return 0;
}

static struct seen seen_of(const struct scan_layer *l, const struct scan_file *f)
{
    return (struct seen){.path = l->names.data + f->path,
                         .link = f->link ? l->names.data + f->link : NULL,
                         .mode = f->mode,
                         .uid = f->uid,
                         .gid = f->gid,
                         .size = f->size,
                         .hard = f->hard,
                         .capabilities = f->capabilities};
}

void image_scan__merge(struct image_scan *s)
{
    if (s->merged)
        return;
    tree_init(&s->tree);
    s->merged = true;
    for (size_t i = 0; i < s->layer_count; i++) {
        const struct scan_layer *l = s->order[i];
        s->bytes = l->bytes > INT64_MAX - s->bytes ? INT64_MAX : s->bytes + l->bytes;
        for (int pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < l->count; j++) {
                const struct seen one = seen_of(l, &l->files[j]);
                if (tree_is_whiteout(one.path) != (pass == 0))
                    continue;
                if (pass == 0)
                    tree_whiteout(&s->tree, &one, (int)i);
                else
                    tree_put(&s->tree, &one, (int)i);
            }
    }
}
