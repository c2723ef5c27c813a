#include "scheduler/scheduler_priv.h"

/* A label with more values than this, and more than a value for 16 nodes, would make too many classes. */
enum { VALUES_MAX = 64, NODES_A_VALUE = 16, KEYS_MAX = 256 };

void sched__class_key(struct sched *s, enum attribute attribute, const char *key, bool needed)
{
    if (attribute == ATTRIBUTE_LABEL) {
        sched__class_key(s, ATTRIBUTE_ENGINE_LABEL, key, needed);
        sched__class_key(s, ATTRIBUTE_NODE_LABEL, key, needed);
        return;
    }
    /* Anything else is in the class already, or is the node's own. */
    if (attribute != ATTRIBUTE_NODE_LABEL && attribute != ATTRIBUTE_ENGINE_LABEL)
        return;
    for (size_t i = 0; i < s->key_count; i++) {
        struct class_key *k = &s->keys[i];
        if (k->attribute == attribute && str_eq(k->key, key)) {
            s->classes_stale |= needed && k->left_out;
            k->needed |= needed;
            return;
        }
    }
    bool room = s->key_count < KEYS_MAX || needed;
    GROW(s->keys, s->key_count, s->key_cap);
    s->keys[s->key_count++] = (struct class_key){
        .attribute = attribute, .key = mem_strdup(key), .needed = needed, .left_out = !room};
    s->classes_stale = true;
}

bool sched__left_out(const struct sched *s, const struct constraint *c)
{
    if (sched__own_fact(c->attribute))
        return true;
    if (!c->key)
        return false;
    for (size_t i = 0; i < s->key_count; i++) {
        const struct class_key *k = &s->keys[i];
        if (k->left_out && str_eq(k->key, c->key) &&
            (c->attribute == ATTRIBUTE_LABEL || c->attribute == k->attribute))
            return true;
    }
    return false;
}

/* Texts in a signature are told apart by a byte that ends each. */
static void add_text(struct str *to, const char *text)
{
    str_add(to, text);
    str_addc(to, '\n');
}

static void signature_of(const struct sched *s, const struct node *n, struct str *to)
{
    str_addf(to, "%d%d%d%d\n", n->state, n->availability, n->health, n->manager);
    add_text(to, n->os);
    add_text(to, n->architecture);
    add_text(to, n->pool);
    add_text(to, n->tenant);
    for (size_t i = 0; i < n->generic_count; i++)
        add_text(to, n->generic[i].kind);
    str_addc(to, '\n');
    for (size_t i = 0; i < s->key_count; i++)
        if (!s->keys[i].left_out)
            add_text(to, sched__attribute(n, s->keys[i].attribute, s->keys[i].key));
}

void sched__class_of(struct sched *s, uint32_t node)
{
    _cleanup_str_ struct str signature = STR_INIT;
    struct node *n = s->nodes[node];
    signature_of(s, n, &signature);
    uintptr_t at = (uintptr_t)map_get(&s->by_signature, str_get(&signature));
    if (!at) {
        GROW(s->classes, s->class_count, s->class_cap);
        struct class *made = &s->classes[s->class_count++];
        *made = (struct class){
            .signature = mem_strdup(str_get(&signature)), .roots = {INDEX_NONE, INDEX_NONE}, .example = node};
        at = s->class_count;
        map_put(&s->by_signature, made->signature, (void *)at);
    }
    n->class = (uint32_t)at - 1;
    struct class *c = &s->classes[n->class];
    if (c->example == INDEX_NONE) {
        c->example = node;
        s->classes_version++; /* what was answered for it, was answered without a node */
    }
}

void sched__class_leave(struct sched *s, uint32_t node)
{
    struct class *c = &s->classes[s->nodes[node]->class];
    if (c->example == node)
        c->example = c->roots[ORDER_SPREAD];
}

static void classes_clear(struct sched *s)
{
    for (size_t i = 0; i < s->class_count; i++)
        free(s->classes[i].signature);
    s->class_count = 0;
    map_done(&s->by_signature);
    s->by_signature = MAP_INIT(NULL);
}

static void leave_out_many_valued(struct sched *s, struct class_key *k)
{
    struct map values = MAP_INIT(NULL);
    size_t most = MAX((size_t)VALUES_MAX, (size_t)s->node_count / NODES_A_VALUE);
    for (uint32_t i = 0; i < s->node_top && values.count <= most; i++)
        if (s->nodes[i])
            map_put(&values, sched__attribute(s->nodes[i], k->attribute, k->key), s);
    k->left_out = !k->needed && values.count > most;
    map_done(&values);
}

/* Empty classes stay until the next time everything is classed anew; this happens when they are many. */
void sched__classes_refresh(struct sched *s)
{
    if (!s->classes_stale && s->class_count <= 2 * (size_t)s->node_count + 64)
        return;
    s->classes_stale = false;
    s->classes_version++;
    s->generation++;
    for (size_t i = 0; i < s->key_count; i++)
        leave_out_many_valued(s, &s->keys[i]);
    classes_clear(s);
    for (uint32_t i = 0; i < s->node_top; i++)
        if (s->nodes[i]) {
            sched__class_of(s, i);
            sched__node_link(s, i);
        }
}

void sched__classes_done(struct sched *s)
{
    classes_clear(s);
    free(s->classes);
    for (size_t i = 0; i < s->key_count; i++)
        free(s->keys[i].key);
    free(s->keys);
}

void sched__order_on(struct sched *s, enum order order)
{
    if (s->order_on[order])
        return;
    s->order_on[order] = true;
    s->classes_stale = true;
    sched__classes_refresh(s);
}
