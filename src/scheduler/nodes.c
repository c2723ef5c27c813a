#include "scheduler/scheduler_priv.h"

struct node *sched__node(const struct sched *s, uint32_t index)
{
    return index < s->node_top ? s->nodes[index] : NULL;
}

uint32_t sched__node_index(const struct sched *s, const char *id)
{
    return id ? (uint32_t)(uintptr_t)map_get(&s->by_id, id) - 1 : INDEX_NONE;
}

static const char *label_of(const struct label *labels, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(labels[i].key, key) == 0)
            return labels[i].value;
    return NULL;
}

const char *sched__attribute(const struct node *n, enum attribute attribute, const char *key)
{
    const char *value = NULL;
    switch (attribute) {
    case ATTRIBUTE_ID:
        return n->id;
    case ATTRIBUTE_NAME:
        return n->name;
    case ATTRIBUTE_ADDRESS:
        return n->address;
    case ATTRIBUTE_ROLE:
        return n->manager ? "manager" : "worker";
    case ATTRIBUTE_OS:
        return n->os;
    case ATTRIBUTE_ARCHITECTURE:
        return n->architecture;
    case ATTRIBUTE_ENGINE_LABEL:
    case ATTRIBUTE_LABEL:
        value = label_of(n->engine_labels, n->engine_label_count, key);
        if (value || attribute == ATTRIBUTE_ENGINE_LABEL)
            break;
        /* fall through */
    case ATTRIBUTE_NODE_LABEL:
        value = label_of(n->labels, n->label_count, key);
        break;
    default:
        break;
    }
    return value ? value : "";
}

static struct index_free node_free(const struct node *n)
{
    struct index_free most = {n->free_cpu, n->free_memory, 0};
    for (size_t i = 0; i < n->generic_count; i++)
        most.generic = MAX(most.generic, n->generic[i].free);
    return most;
}

static int64_t used_share(int64_t total, int64_t left)
{
    if (total <= 0)
        return 0;
    int64_t used = total - left;
    return used <= 0 ? 0 : used >= total ? FULL / 2 : (int64_t)((__int128)used * (FULL / 2) / total);
}

uint64_t sched__key(const struct node *n, enum order order)
{
    uint64_t load = order == ORDER_SPREAD ? (uint64_t)n->tasks + SCHED_IMAGE_TASKS
                                          : (uint64_t)(FULL + IMAGE_FULL - used_share(n->cpu, n->free_cpu) -
                                                       used_share(n->memory, n->free_memory));
    return load << KEY_SHIFT | n->tie;
}

void sched__node_unlink(struct sched *s, uint32_t index)
{
    struct class *c = &s->classes[s->nodes[index]->class];
    c->stamp++;
    for (int order = 0; order < ORDER_COUNT; order++)
        if (s->order_on[order])
            index_remove(&s->index[order], &c->roots[order], index);
    s->glances[index] = (struct glance){0};
}

void sched__node_link(struct sched *s, uint32_t index)
{
    const struct node *n = s->nodes[index];
    struct class *c = &s->classes[n->class];
    c->stamp++;
    for (int order = 0; order < ORDER_COUNT; order++)
        if (s->order_on[order])
            index_insert(&s->index[order], &c->roots[order], index, sched__key(n, (enum order)order),
                         (uint32_t)mix64(n->tie), node_free(n));
    s->glances[index] = (struct glance){n->tasks, n->band_count ? n->bands[0].priority : 0};
}

bool sched__holds(const struct node *n, const struct symbol *symbol)
{
    for (size_t i = 0; i < n->holding_count; i++)
        if (n->holdings[i].symbol == symbol)
            return true;
    return false;
}

void sched__hold(struct sched *s, uint32_t node, struct symbol *symbol)
{
    struct node *n = s->nodes[node];
    for (size_t i = 0; i < n->holding_count; i++)
        if (n->holdings[i].symbol == symbol) {
            n->holdings[i].refs++;
            return;
        }
    GROW(n->holdings, n->holding_count, n->holding_cap);
    n->holdings[n->holding_count++] = (struct holding){.symbol = symbol, .refs = 1};
    symbol->refs++;
    if (symbol->holders < SCHED_IMAGE_HOLDERS && !symbol->overflow)
        symbol->nodes[symbol->holders] = node;
    else
        symbol->overflow = true;
    symbol->holders++;
}

void sched__unhold(struct sched *s, uint32_t node, struct symbol *symbol)
{
    struct node *n = s->nodes[node];
    size_t at = 0;
    while (n->holdings[at].symbol != symbol)
        at++;
    if (--n->holdings[at].refs > 0)
        return;
    n->holdings[at] = n->holdings[--n->holding_count];
    if (!symbol->overflow) {
        uint32_t i = 0;
        while (symbol->nodes[i] != node)
            i++;
        symbol->nodes[i] = symbol->nodes[symbol->holders - 1];
    }
    symbol->holders--;
    sched__symbol_unref(s, symbol);
}

const uint32_t *sched__holders(struct sched *s, struct symbol *symbol)
{
    if (symbol->holders > SCHED_IMAGE_HOLDERS)
        return NULL;
    if (symbol->overflow) { /* there were many, and now there are few again */
        symbol->overflow = false;
        uint32_t n = 0;
        for (uint32_t i = 0; i < s->node_top; i++)
            if (s->nodes[i] && sched__holds(s->nodes[i], symbol))
                symbol->nodes[n++] = i;
    }
    return symbol->nodes;
}

/* ---- from what membership says ---- */

static int check_text(const char *what, const char *text, struct err *err)
{
    if (text && strlen(text) > SCHED_TEXT_MAX)
        return err_set(err, ERR_LIMIT, "%s is longer than %d bytes", what, SCHED_TEXT_MAX);
    return text && strchr(text, '\n') ? err_set(err, ERR_INVALID, "%s has a line break in it", what) : 0;
}

static int check_count(const char *what, size_t count, struct err *err)
{
    return count > SCHED_LIST_MAX * 16
               ? err_set(err, ERR_LIMIT, "a node with %zu %s: at most %d", count, what, SCHED_LIST_MAX * 16)
               : 0;
}

static int check_labels(const struct sched_label *labels, size_t count, struct err *err)
{
    int r = check_count("labels", count, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        if ((r = check_text("a label's key", labels[i].key, err)) == 0)
            r = check_text("a label's value", labels[i].value, err);
    return r;
}

static int check_node(const struct sched_node *n, struct err *err)
{
    if (str_empty(n->id))
        return err_set(err, ERR_INVALID, "a node without an id");
    const char *texts[][2] = {{"the node's id", n->id},
                              {"the node's name", n->name},
                              {"the node's address", n->address},
                              {"the node's operating system", n->platform.os},
                              {"the node's architecture", n->platform.architecture},
                              {"the node's pool", n->pool},
                              {"the node's tenant", n->tenant},
                              {"the text of the node's health", n->health_text}};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(texts); i++)
        r = check_text(texts[i][0], texts[i][1], err);
    if (r < 0 || (r = check_labels(n->labels, n->label_count, err)) < 0 ||
        (r = check_labels(n->engine_labels, n->engine_label_count, err)) < 0 ||
        (r = check_count("ports", n->port_count, err)) < 0 ||
        (r = check_count("volumes", strv_len(n->volumes), err)) < 0 ||
        (r = check_count("images", strv_len(n->images), err)) < 0)
        return r;
    const int64_t amounts[] = {n->cpu_nano, n->memory_bytes, n->used_cpu_nano, n->used_memory_bytes};
    for (size_t i = 0; i < ARRAY_SIZE(amounts); i++)
        if (amounts[i] < 0 || amounts[i] > INT64_MAX / 4)
            return err_set(err, ERR_INVALID, "node %s: %lld is no amount of processors or memory", n->id,
                           (long long)amounts[i]);
    if (n->generic_count > SCHED_LIST_MAX)
        return err_set(err, ERR_LIMIT, "node %s has more than %d generic resources", n->id, SCHED_LIST_MAX);
    for (size_t i = 0; i < n->generic_count; i++)
        if (str_empty(n->generic[i].kind) || n->generic[i].count < 0 ||
            (r = check_text("a resource's kind", n->generic[i].kind, err)) < 0)
            return r < 0 ? r
                         : err_set(err, ERR_INVALID, "node %s: a generic resource has no kind or no amount",
                                   n->id);
    return 0;
}

static struct label *labels_copy(const struct sched_label *from, size_t count)
{
    struct label *to = NEW_N(struct label, count ? count : 1);
    for (size_t i = 0; i < count; i++)
        to[i] = (struct label){mem_strdup(from[i].key), mem_strdup(from[i].value ? from[i].value : "")};
    return to;
}

static void labels_free(struct label *labels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(labels[i].key);
        free(labels[i].value);
    }
    free(labels);
}

static char *text_or_empty(const char *text)
{
    return mem_strdup(text ? text : "");
}

/* What the node says of itself; what its tasks take stays out. */
static void facts_set(struct node *n, const struct sched_node *from)
{
    n->id = mem_strdup(from->id);
    n->name = mem_strdup(str_empty(from->name) ? from->id : from->name);
    n->address = text_or_empty(from->address);
    n->os = text_or_empty(from->platform.os);
    n->architecture =
        mem_strdup(platform_architecture(from->platform.architecture ? from->platform.architecture : ""));
    n->pool = text_or_empty(from->pool);
    n->tenant = text_or_empty(from->tenant);
    n->manager = from->manager;
    n->state = from->state;
    n->availability = from->availability;
    n->health = from->health;
    n->health_cause = from->health_cause;
    n->health_text = text_or_empty(from->health_text);
    n->labels = labels_copy(from->labels, n->label_count = from->label_count);
    n->engine_labels = labels_copy(from->engine_labels, n->engine_label_count = from->engine_label_count);
    n->cpu = from->cpu_nano;
    n->memory = from->memory_bytes;
    n->free_cpu = n->cpu - from->used_cpu_nano;
    n->free_memory = n->memory - from->used_memory_bytes;
    n->generic = NEW_N(struct amount, from->generic_count ? from->generic_count : 1);
    for (size_t i = 0; i < from->generic_count; i++)
        n->generic[n->generic_count++] = (struct amount){mem_strdup(from->generic[i].kind),
                                                         from->generic[i].count, from->generic[i].count};
    n->own_ports = mem_dup(from->ports, from->port_count * sizeof(*from->ports));
    n->own_port_count = from->port_count;
}

static void facts_clear(struct node *n)
{
    char *texts[] = {n->id, n->name, n->address, n->os, n->architecture, n->pool, n->tenant, n->health_text};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
    labels_free(n->labels, n->label_count);
    labels_free(n->engine_labels, n->engine_label_count);
    for (size_t i = 0; i < n->generic_count; i++)
        free(n->generic[i].kind);
    free(n->generic);
    n->generic_count = 0;
    free(n->own_ports);
}

static uint32_t port_key(struct sched_port p)
{
    return (uint32_t)p.protocol << 16 | p.port;
}

static void own_ports_count(struct node *n, int difference)
{
    for (size_t i = 0; i < n->own_port_count; i++)
        table_add(&n->ports, port_key(n->own_ports[i]), difference);
}

static void own_list(struct sched *s, uint32_t index, char *const *names)
{
    struct node *n = s->nodes[index];
    for (; names && *names; names++) {
        struct symbol *symbol = sched__symbol(s, *names);
        sched__hold(s, index, symbol);
        n->own = mem_grow(n->own, n->own_count + 1, sizeof(*n->own));
        n->own[n->own_count++] = symbol;
    }
}

static void own_unlist(struct sched *s, uint32_t index)
{
    struct node *n = s->nodes[index];
    for (size_t i = 0; i < n->own_count; i++) {
        sched__unhold(s, index, n->own[i]);
        sched__symbol_unref(s, n->own[i]);
    }
    free(take_ptr(n->own));
    n->own_count = 0;
}

/* Takes what the tasks on the node have from what it says of itself. */
static void tasks_subtract(struct sched *s, struct node *n)
{
    for (uint32_t t = n->first_task; t != INDEX_NONE; t = s->tasks[t].next) {
        const struct sched_shape *shape = s->tasks[t].shape;
        n->free_cpu -= shape->cpu;
        n->free_memory -= shape->memory;
        for (size_t i = 0; i < shape->generic_count; i++)
            for (size_t k = 0; k < n->generic_count; k++)
                if (strcmp(n->generic[k].kind, shape->generic[i].kind) == 0)
                    n->generic[k].free -= shape->generic[i].total;
    }
}

static uint64_t text_hash(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return mix64(h);
}

static uint64_t tie_new(struct sched *s, const char *id)
{
    uint64_t tie = text_hash(id) >> (64 - KEY_SHIFT);
    while (table_get(&s->ties, tie))
        tie = mix64(tie + 1) >> (64 - KEY_SHIFT);
    table_add(&s->ties, tie, 1);
    return tie;
}

static uint32_t node_add(struct sched *s, const char *id)
{
    uint32_t index = s->free_count ? s->free_nodes[--s->free_count] : s->node_top++;
    if (index >= s->node_cap) {
        s->node_cap = MAX(64u, s->node_cap * 2);
        s->nodes = mem_grow(s->nodes, s->node_cap, sizeof(*s->nodes));
        s->glances = mem_grow(s->glances, s->node_cap, sizeof(*s->glances));
        s->free_nodes = mem_grow(s->free_nodes, s->node_cap, sizeof(*s->free_nodes));
    }
    struct node *n = s->nodes[index] = NEW(struct node);
    n->first_task = INDEX_NONE;
    n->tie = tie_new(s, id);
    map_put(&s->by_id, id, (void *)(uintptr_t)(index + 1));
    s->node_count++;
    return index;
}

int sched_node_put(struct sched *s, const struct sched_node *node, struct err *err)
{
    int r = check_node(node, err);
    if (r < 0)
        return r;
    s->generation++;
    uint32_t index = sched__node_index(s, node->id);
    if (index == INDEX_NONE) {
        if (s->node_count >= SCHED_NODES_MAX)
            return err_set(err, ERR_LIMIT, "a cluster has at most %d nodes", SCHED_NODES_MAX);
        index = node_add(s, node->id);
    } else {
        sched__node_unlink(s, index);
        sched__class_leave(s, index);
        own_unlist(s, index);
        own_ports_count(s->nodes[index], -1);
        facts_clear(s->nodes[index]);
    }
    struct node *n = s->nodes[index];
    facts_set(n, node);
    tasks_subtract(s, n);
    own_ports_count(n, 1);
    own_list(s, index, node->images);
    own_list(s, index, node->volumes);
    sched__class_of(s, index);
    sched__node_link(s, index);
    return 0;
}

static int no_such_node(const char *id, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "no node has the id \"%.100s\"", id ? id : "");
}

int sched_node_remove(struct sched *s, const char *id, struct err *err)
{
    uint32_t index = sched__node_index(s, id);
    if (index == INDEX_NONE)
        return no_such_node(id, err);
    struct node *n = s->nodes[index];
    while (n->first_task != INDEX_NONE)
        sched_task_remove(s, (sched_task)n->first_task);
    s->generation++;
    sched__node_unlink(s, index);
    own_unlist(s, index);
    struct map_entry *e;
    for (size_t i = 0;
         s->some_failed && (e = map_next(&s->services, &i));) { /* the place will be another's */
        struct service *service = e->value;
        for (size_t k = 0; k < service->failure_count; k++)
            if (service->failures[k].node == index)
                service->failures[k--] = service->failures[--service->failure_count];
    }
    sched__class_leave(s, index);
    map_remove(&s->by_id, n->id);
    table_add(&s->ties, n->tie, -1);
    facts_clear(n);
    table_done(&n->ports);
    free(n->holdings);
    free(n->bands);
    free(n);
    s->nodes[index] = NULL;
    s->free_nodes[s->free_count++] = index;
    s->node_count--;
    return 0;
}

size_t sched_node_count(const struct sched *s)
{
    return s->node_count;
}

static struct sched_node_use use_of(const struct node *n)
{
    return (struct sched_node_use){.id = n->id,
                                   .name = n->name,
                                   .tasks = n->tasks,
                                   .cpu_nano = n->cpu,
                                   .memory_bytes = n->memory,
                                   .free_cpu_nano = n->free_cpu,
                                   .free_memory_bytes = n->free_memory};
}

int sched_node_find(const struct sched *s, const char *id, struct sched_node_use *ret, struct err *err)
{
    uint32_t index = sched__node_index(s, id);
    if (index == INDEX_NONE)
        return no_such_node(id, err);
    *ret = use_of(s->nodes[index]);
    return 0;
}

bool sched_node_next(const struct sched *s, size_t *position, struct sched_node_use *ret)
{
    while (*position < s->node_top && !s->nodes[*position])
        (*position)++;
    if (*position >= s->node_top)
        return false;
    *ret = use_of(s->nodes[(*position)++]);
    return true;
}

size_t sched_node_tasks(const struct sched *s, const char *id, sched_task *tasks, size_t capacity)
{
    const struct node *n = sched__node(s, sched__node_index(s, id));
    size_t count = 0;
    for (uint32_t t = n ? n->first_task : INDEX_NONE; t != INDEX_NONE; t = s->tasks[t].next, count++)
        if (count < capacity)
            tasks[count] = (sched_task)t;
    return count;
}
