#include "scheduler/index.h"

void index_done(struct index *x)
{
    free(x->links);
    *x = (struct index){0};
}

static void index_sum(struct index *x, uint32_t at)
{
    struct index_link *l = &x->links[at];
    l->most = l->own;
    l->size = 1;
    const uint32_t below[2] = {l->left, l->right};
    for (int i = 0; i < 2; i++) {
        if (below[i] == INDEX_NONE)
            continue;
        const struct index_link *b = &x->links[below[i]];
        l->size += b->size;
        l->most.cpu = MAX(l->most.cpu, b->most.cpu);
        l->most.memory = MAX(l->most.memory, b->most.memory);
        l->most.generic = MAX(l->most.generic, b->most.generic);
    }
}

/* Nodes with keys below `key` go to *left, the others to *right. */
static void index_split(struct index *x, uint32_t at, uint64_t key, uint32_t *left, uint32_t *right)
{
    if (at == INDEX_NONE) {
        *left = *right = INDEX_NONE;
        return;
    }
    struct index_link *l = &x->links[at];
    if (l->key < key) {
        index_split(x, l->right, key, &l->right, right);
        *left = at;
    } else {
        index_split(x, l->left, key, left, &l->left);
        *right = at;
    }
    index_sum(x, at);
}

static uint32_t index_merge(struct index *x, uint32_t left, uint32_t right)
{
    if (left == INDEX_NONE || right == INDEX_NONE)
        return left == INDEX_NONE ? right : left;
    struct index_link *l = &x->links[left], *r = &x->links[right];
    if (l->priority > r->priority) {
        l->right = index_merge(x, l->right, right);
        index_sum(x, left);
        return left;
    }
    r->left = index_merge(x, left, r->left);
    index_sum(x, right);
    return right;
}

static uint32_t index_put(struct index *x, uint32_t at, uint32_t node)
{
    struct index_link *n = &x->links[node];
    if (at == INDEX_NONE || x->links[at].priority < n->priority) {
        index_split(x, at, n->key, &n->left, &n->right);
        index_sum(x, node);
        return node;
    }
    struct index_link *l = &x->links[at];
    if (n->key < l->key)
        l->left = index_put(x, l->left, node);
    else
        l->right = index_put(x, l->right, node);
    index_sum(x, at);
    return at;
}

void index_insert(struct index *x, uint32_t *root, uint32_t node, uint64_t key, uint32_t priority,
                  struct index_free own)
{
    if (node >= x->cap) {
        x->cap = MAX(node + 1, x->cap * 2);
        x->links = mem_grow(x->links, x->cap, sizeof(*x->links));
    }
    x->links[node] = (struct index_link){
        .key = key, .own = own, .left = INDEX_NONE, .right = INDEX_NONE, .priority = priority, .size = 1};
    *root = index_put(x, *root, node);
}

static uint32_t index_drop(struct index *x, uint32_t at, uint32_t node)
{
    must(at != INDEX_NONE);
    struct index_link *l = &x->links[at];
    if (at == node)
        return index_merge(x, l->left, l->right);
    if (x->links[node].key < l->key)
        l->left = index_drop(x, l->left, node);
    else
        l->right = index_drop(x, l->right, node);
    index_sum(x, at);
    return at;
}

void index_remove(struct index *x, uint32_t *root, uint32_t node)
{
    *root = index_drop(x, *root, node);
}

static bool free_covers(const struct index_free *have, const struct index_free *asked)
{
    return have->cpu >= asked->cpu && have->memory >= asked->memory && have->generic >= asked->generic;
}

uint32_t index_find(const struct index *x, uint32_t root, uint64_t from, const struct index_free *asked)
{
    if (root == INDEX_NONE || !free_covers(&x->links[root].most, asked))
        return INDEX_NONE;
    const struct index_link *l = &x->links[root];
    if (l->key >= from) {
        uint32_t found = index_find(x, l->left, from, asked);
        if (found != INDEX_NONE)
            return found;
        if (free_covers(&l->own, asked))
            return root;
    }
    return index_find(x, l->right, from, asked);
}

uint32_t index_at(const struct index *x, uint32_t root, uint32_t rank)
{
    while (root != INDEX_NONE) {
        const struct index_link *l = &x->links[root];
        uint32_t before = index_size(x, l->left);
        if (rank == before)
            break;
        if (rank < before) {
            root = l->left;
        } else {
            rank -= before + 1;
            root = l->right;
        }
    }
    return root;
}
