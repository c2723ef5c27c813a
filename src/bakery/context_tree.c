#include "bakery/context_tree.h"

#include "base/file.h"
#include "base/str.h"

#include <sys/random.h>

/* Nodes and texts come from blocks and never move. A node is found by a table over (directory, name): open
 * addressing, of numbers of nodes, its hash begun with a secret so that no archive can make names collide. */

enum {
    NODES_MAX = 1200000, /* entries, and the directories that no entry of an archive describes */
    TEXT_BYTES_MAX = 64 << 20,
    NODES_OF_BLOCK = 4096,
    BYTES_OF_BLOCK = 1 << 20,
    RAW_DIGEST = 32,
    SYMLINKS_MAX = 40
};

struct context_node {
    struct context_node *parent; /* of the root: itself */
    const char *name;
    int64_t size;
    mode_t mode;
    uint32_t count; /* of a directory's children */
    union {
        struct context_node **children; /* sorted; of a directory, once the tree is sorted */
        const char *target;             /* of a link */
        unsigned char digest[RAW_DIGEST];
    };
};

struct context_tree {
    struct context_node **blocks;
    size_t block_count, block_capacity, count; /* count of nodes; the first is the root */
    char **texts;
    size_t text_count, text_capacity, text_used; /* used of the last block */
    size_t text_bytes;
    uint32_t *slots; /* a node's number + 1 */
    size_t slot_count;
    uint64_t secret;
    struct context_node **children;
};

static struct context_node *node_at(const struct context_tree *t, size_t i)
{
    return &t->blocks[i / NODES_OF_BLOCK][i % NODES_OF_BLOCK];
}

static struct context_node *new_node(struct context_tree *t)
{
    if (t->count == t->block_count * NODES_OF_BLOCK) {
        GROW(t->blocks, t->block_count, t->block_capacity);
        t->blocks[t->block_count++] = NEW_N(struct context_node, NODES_OF_BLOCK);
    }
    return node_at(t, t->count++);
}

/* A copy that stays; NULL: there is too much. */
static const char *keep_text(struct context_tree *t, const char *text, size_t n)
{
    if (n >= BYTES_OF_BLOCK || t->text_bytes + n >= TEXT_BYTES_MAX)
        return NULL;
    if (!t->text_count || t->text_used + n + 1 > BYTES_OF_BLOCK) {
        GROW(t->texts, t->text_count, t->text_capacity);
        t->texts[t->text_count++] = mem_new(BYTES_OF_BLOCK);
        t->text_used = 0;
    }
    char *at = t->texts[t->text_count - 1] + t->text_used;
    memcpy(at, text, n);
    at[n] = '\0';
    t->text_used += n + 1;
    t->text_bytes += n + 1;
    return at;
}

struct context_tree *context_tree_new(void)
{
    struct context_tree *t = NEW(struct context_tree);
    if (getrandom(&t->secret, sizeof(t->secret), GRND_NONBLOCK) != sizeof(t->secret))
        t->secret = (uint64_t)(uintptr_t)t;
    struct context_node *root = new_node(t);
    *root = (struct context_node){.parent = root, .name = "", .mode = S_IFDIR | 0755};
    return t;
}

void context_tree_free(struct context_tree *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->block_count; i++)
        free(t->blocks[i]);
    for (size_t i = 0; i < t->text_count; i++)
        free(t->texts[i]);
    free(t->blocks);
    free(t->texts);
    free(t->slots);
    free(t->children);
    free(t);
}

/* --- Children --- */

/* FNV-1a over a secret start and the directory, finished with the mixing step of MurmurHash3. */
static uint64_t hash_of(const struct context_tree *t, const struct context_node *dir, const char *name,
                        size_t n)
{
    uint64_t h = (t->secret ^ (uint64_t)(uintptr_t)dir) * 0xff51afd7ed558ccdu;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)name[i]) * 0x100000001b3u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    return h;
}

static struct context_node *find_child(const struct context_tree *t, const struct context_node *dir,
                                       const char *name, size_t n)
{
    if (!t->slot_count)
        return NULL;
    for (size_t i = hash_of(t, dir, name, n) & (t->slot_count - 1); t->slots[i];
         i = (i + 1) & (t->slot_count - 1)) {
        struct context_node *found = node_at(t, t->slots[i] - 1);
        if (found->parent == dir && strncmp(found->name, name, n) == 0 && !found->name[n])
            return found;
    }
    return NULL;
}

static void place(struct context_tree *t, size_t number)
{
    const struct context_node *n = node_at(t, number);
    size_t i = hash_of(t, n->parent, n->name, strlen(n->name)) & (t->slot_count - 1);
    while (t->slots[i])
        i = (i + 1) & (t->slot_count - 1);
    t->slots[i] = (uint32_t)number + 1;
}

static void grow_table(struct context_tree *t)
{
    if (t->count * 2 < t->slot_count)
        return;
    free(t->slots);
    t->slot_count = t->slot_count ? t->slot_count * 2 : 1024;
    t->slots = NEW_N(uint32_t, t->slot_count);
    for (size_t i = 1; i < t->count; i++) /* the root is nobody's child */
        place(t, i);
}

static struct context_node *add_child(struct context_tree *t, struct context_node *dir, const char *name,
                                      size_t n, mode_t mode)
{
    const char *kept = t->count < NODES_MAX ? keep_text(t, name, n) : NULL;
    if (!kept)
        return NULL;
    struct context_node *child = new_node(t);
    *child = (struct context_node){.parent = dir, .name = kept, .mode = mode};
    dir->count++;
    grow_table(t);
    if (!find_child(t, dir, name, n)) /* the table that has grown has it already */
        place(t, t->count - 1);
    return child;
}

/* The next part of a path, which then begins behind it; 0: there is none. */
static size_t take_part(const char **path, const char **ret_part)
{
    *path += strspn(*path, "/");
    *ret_part = *path;
    size_t n = strcspn(*path, "/");
    *path += n;
    *path += strspn(*path, "/");
    return n;
}

struct context_node *context_tree_at(const struct context_tree *t, const char *path)
{
    struct context_node *at = node_at(t, 0);
    const char *part;
    for (size_t n; at && (n = take_part(&path, &part));)
        at = find_child(t, at, part, n);
    return at;
}

struct context_node *context_tree_add(struct context_tree *t, const char *path, mode_t mode)
{
    struct context_node *at = node_at(t, 0);
    const char *part;
    for (size_t n; (n = take_part(&path, &part)) && *path;) {
        struct context_node *next = find_child(t, at, part, n);
        at = next ? next : add_child(t, at, part, n, S_IFDIR | 0755);
        if (!at || !S_ISDIR(at->mode))
            return NULL;
    }
    return *part ? add_child(t, at, part, strcspn(part, "/"), mode) : NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct context_node *const *)a)->name, (*(struct context_node *const *)b)->name);
}

void context_tree_sort(struct context_tree *t)
{
    t->children = NEW_N(struct context_node *, t->count);
    struct context_node **next = t->children;
    for (size_t i = 0; i < t->count; i++) {
        struct context_node *n = node_at(t, i);
        if (S_ISDIR(n->mode)) {
            n->children = next;
            next += n->count;
            n->count = 0;
        }
    }
    for (size_t i = 1; i < t->count; i++) {
        struct context_node *n = node_at(t, i);
        n->parent->children[n->parent->count++] = n;
    }
    for (size_t i = 0; i < t->count; i++) {
        struct context_node *n = node_at(t, i);
        if (S_ISDIR(n->mode) && n->count)
            qsort(n->children, n->count, sizeof(struct context_node *), by_name);
    }
}

/* --- Nodes --- */

mode_t context_node_mode(const struct context_node *n)
{
    return n->mode;
}

void context_node_set_mode(struct context_node *n, mode_t mode)
{
    n->mode = mode;
}

static unsigned char digit_of(char c)
{
    return (unsigned char)(c <= '9' ? c - '0' : c - 'a' + 10);
}

void context_node_set_file(struct context_node *n, int64_t size, const char *digest)
{
    const char *hex = digest_hex(digest);
    n->size = size;
    for (size_t i = 0; i < RAW_DIGEST; i++)
        n->digest[i] = (unsigned char)(digit_of(hex[2 * i]) << 4 | digit_of(hex[2 * i + 1]));
}

void context_node_set_same(struct context_node *n, const struct context_node *of)
{
    n->size = of->size;
    memcpy(n->digest, of->digest, RAW_DIGEST);
}

bool context_node_set_target(struct context_tree *t, struct context_node *n, const char *target)
{
    n->target = keep_text(t, target, strlen(target));
    return n->target != NULL;
}

/* --- Asking --- */

int context_tree_find(const struct context_tree *t, const char *path, bool follow, struct context_node **ret,
                      struct err *err)
{
    _cleanup_free_ char *pending = mem_strdup(path);
    const char *rest = pending, *part;
    struct context_node *at = node_at(t, 0);
    int links = 0;
    for (size_t n; (n = take_part(&rest, &part));) {
        if (!S_ISDIR(at->mode))
            return err_sys(err, ENOTDIR, "open %s", path);
        if (n == 1 && *part == '.')
            continue;
        if (n == 2 && strncmp(part, "..", 2) == 0) {
            at = at->parent;
            continue;
        }
        struct context_node *found = find_child(t, at, part, n);
        if (!found)
            return err_sys(err, ENOENT, "open %s", path);
        if (!S_ISLNK(found->mode) || (!*rest && !follow)) {
            at = found;
            continue;
        }
        if (++links > SYMLINKS_MAX)
            return err_sys(err, ELOOP, "open %s", path);
        char *more = str_printf("%s/%s", found->target, rest);
        at = *found->target == '/' ? node_at(t, 0) : at;
        free(pending);
        rest = pending = more;
    }
    *ret = at;
    return 0;
}

int context_stat(const struct context_tree *t, const char *path, struct stat *ret, struct err *err)
{
    struct context_node *n;
    int r = context_tree_find(t, path, false, &n, err);
    if (r == 0)
        *ret = (struct stat){.st_mode = n->mode, .st_size = n->size, .st_nlink = 1};
    return r;
}

bool context_digest(const struct context_tree *t, const char *path, char ret[DIGEST_BYTES])
{
    struct context_node *n;
    if (context_tree_find(t, path, false, &n, NULL) < 0 || !S_ISREG(n->mode))
        return false;
    static const char digits[] = "0123456789abcdef";
    char *at = ret + snprintf(ret, DIGEST_BYTES, "sha256:");
    for (size_t i = 0; i < RAW_DIGEST; i++) {
        *at++ = digits[n->digest[i] >> 4];
        *at++ = digits[n->digest[i] & 15];
    }
    *at = '\0';
    return true;
}

const char *context_link(const struct context_tree *t, const char *path)
{
    struct context_node *n;
    return context_tree_find(t, path, false, &n, NULL) == 0 && S_ISLNK(n->mode) ? n->target : NULL;
}

int context_names(const struct context_tree *t, const char *path, char ***ret, struct err *err)
{
    struct context_node *n;
    int r = context_tree_find(t, path, true, &n, err);
    if (r == 0 && !S_ISDIR(n->mode))
        r = err_sys(err, ENOTDIR, "open %s", path);
    if (r < 0)
        return r;
    char **names = NEW_N(char *, n->count + 1);
    for (size_t i = 0; i < n->count; i++)
        names[i] = mem_strdup(n->children[i]->name);
    *ret = names;
    return 0;
}
