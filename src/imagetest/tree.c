#include "imagetest/tree.h"

#include <sys/stat.h>

enum { LINK_HOPS_MAX = 40, PATH_BYTES_MAX = 4096 };

static void node_free(void *node)
{
    struct node *n = node;
    free(n->link);
    free(n->path);
    free(n);
}

void tree_init(struct tree *t)
{
    *t = (struct tree){.nodes = MAP_INIT(node_free)};
    struct node *root = NEW(struct node);
    root->mode = S_IFDIR | 0755;
    root->path = mem_strdup("");
    map_put(&t->nodes, "", root);
}

void tree_done(struct tree *t)
{
    map_done(&t->nodes);
    for (size_t i = 0; i < ARRAY_SIZE(t->worst); i++)
        free(t->worst[i].path);
}

static void waste(struct tree *t, const struct node *n, int by_layer)
{
    if (!S_ISREG(n->mode) || n->layer == by_layer || n->size <= 0)
        return;
    t->wasted = n->size > INT64_MAX - t->wasted ? INT64_MAX : t->wasted + n->size;
    struct tree_waste one = {NULL, n->size, n->layer, by_layer};
    for (size_t i = 0; i < ARRAY_SIZE(t->worst); i++) {
        if (t->worst[i].path && t->worst[i].bytes >= one.bytes)
            continue;
        if (!one.path)
            one.path = mem_strdup(n->path);
        struct tree_waste smaller = t->worst[i];
        t->worst[i] = one;
        one = smaller;
        if (!one.path)
            return;
    }
    free(one.path);
}

/* Depth is bounded by that of names in an archive (256). */
static void drop_children(struct tree *t, struct node *n, int by_layer)
{
    for (struct node *c = n->child, *next; c; c = next) {
        next = c->sibling;
        drop_children(t, c, by_layer);
        waste(t, c, by_layer);
        map_remove(&t->nodes, c->path);
    }
    n->child = NULL;
}

static void drop(struct tree *t, struct node *n, int by_layer)
{
    drop_children(t, n, by_layer);
    waste(t, n, by_layer);
    for (struct node **c = &n->parent->child; *c; c = &(*c)->sibling)
        if (*c == n) {
            *c = n->sibling;
            break;
        }
    map_remove(&t->nodes, n->path);
}

bool tree_is_whiteout(const char *path)
{
    const char *slash = strrchr(path, '/');
    return str_after(slash ? slash + 1 : path, ".wh.") != NULL;
}

void tree_whiteout(struct tree *t, const struct seen *s, int layer)
{
    const char *slash = strrchr(s->path, '/'), *base = slash ? slash + 1 : s->path;
    const char *hidden = str_after(base, ".wh.");
    size_t dir = slash ? (size_t)(slash - s->path) : 0;
    _cleanup_free_ char *parent = mem_strndup(s->path, dir);
    _cleanup_free_ char *path = str_printf("%s%s%s", parent, dir ? "/" : "", hidden);
    bool opaque = str_eq(hidden, ".wh..opq");
    struct node *n = map_get(&t->nodes, opaque ? parent : path);
    if (!n || (!opaque && (str_after(hidden, ".wh.") || !*hidden)))
        return;
    if (opaque)
        drop_children(t, n, layer);
    else if (n->parent)
        drop(t, n, layer);
}

/* The directory at `path`, made where no entry describes it. */
static struct node *directory(struct tree *t, const char *path, int layer)
{
    struct node *n = map_get(&t->nodes, path);
    if (n)
        return n;
    const struct seen implied = {.path = path, .mode = S_IFDIR | 0755};
    tree_put(t, &implied, layer);
    return map_get(&t->nodes, path);
}

void tree_put(struct tree *t, const struct seen *s, int layer)
{
    struct node *n = map_get(&t->nodes, s->path);
    if (n && !(S_ISDIR(n->mode) && S_ISDIR(s->mode)) && n->parent) {
        drop(t, n, layer);
        n = NULL;
    }
    const struct node *original = s->hard && s->link ? map_get(&t->nodes, s->link) : NULL;
    if (!n) {
        const char *slash = strrchr(s->path, '/');
        _cleanup_free_ char *dir = mem_strndup(s->path, slash ? (size_t)(slash - s->path) : 0);
        struct node *parent = directory(t, dir, layer);
        n = NEW(struct node);
        n->path = mem_strdup(s->path);
        n->parent = parent;
        n->sibling = parent->child;
        parent->child = n;
        map_put(&t->nodes, s->path, n);
    }
    n->mode = original ? original->mode : s->mode;
    n->uid = original ? original->uid : s->uid;
    n->gid = original ? original->gid : s->gid;
    n->capabilities = original ? original->capabilities : s->capabilities;
    n->size = s->size;
    n->layer = layer;
    free(n->link);
    n->link = s->link && !s->hard ? mem_strdup(s->link) : NULL;
}

/* --- Looking up --- */

static void go_up(struct str *at)
{
    const char *slash = at->len ? memrchr(at->data, '/', at->len) : NULL;
    str_truncate(at, slash ? (size_t)(slash - at->data) : 0);
}

/* As the kernel walks: each part in the directory that was reached, a link's target put before the rest. */
const struct node *tree_find(const struct tree *t, const char *path, bool follow)
{
    _cleanup_str_ struct str at = STR_INIT, rest = STR_INIT;
    str_add(&rest, path);
    int hops = 0;
    size_t from = 0;
    while (from < rest.len) {
        const char *part = rest.data + from;
        size_t n = strcspn(part, "/");
        from += n + (part[n] == '/');
        if (n == 0 || (n == 1 && *part == '.'))
            continue;
        if (n == 2 && part[0] == '.' && part[1] == '.') {
            go_up(&at);
            continue;
        }
        if (at.len)
            str_addc(&at, '/');
        str_addn(&at, part, n);
        const struct node *node = map_get(&t->nodes, str_get(&at));
        if (!node)
            return NULL;
        if (!S_ISLNK(node->mode) || !node->link || (from >= rest.len && !follow))
            continue;
        if (++hops > LINK_HOPS_MAX || strlen(node->link) + rest.len - from > 2 * PATH_BYTES_MAX)
            return NULL;
        char *next = str_printf("%s/%s", node->link, rest.data + from);
        if (*node->link == '/')
            str_truncate(&at, 0);
        else
            go_up(&at);
        str_clear(&rest);
        str_add(&rest, next);
        free(next);
        from = 0;
    }
    return map_get(&t->nodes, str_get(&at));
}
