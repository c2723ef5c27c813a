#include "reference.h"

#include "base/str.h"

int ref_on_node(const struct ref_world *w, int service, int node)
{
    int n = 0;
    for (int i = 0; i < w->task_top; i++)
        n += w->tasks[i].service >= 0 && w->tasks[i].node == node &&
             (service < 0 || w->tasks[i].service == service);
    return n;
}

static int in_cluster(const struct ref_world *w, int service)
{
    int n = 0;
    for (int i = 0; i < w->task_top; i++)
        n += w->tasks[i].service == service;
    return n;
}

void ref_free(const struct ref_world *w, int node, int64_t *cpu, int64_t *memory, int64_t *gpu)
{
    const struct ref_node *n = &w->nodes[node];
    *cpu = n->cpu;
    *memory = n->memory;
    *gpu = n->gpu;
    for (int i = 0; i < w->task_top; i++)
        if (w->tasks[i].service >= 0 && w->tasks[i].node == node) {
            const struct ref_service *s = &w->services[w->tasks[i].service];
            *cpu -= s->cpu;
            *memory -= s->memory;
            *gpu -= s->gpu;
        }
}

static const char *label(const struct ref_node *n, const char *key)
{
    const char *value = strcmp(key, "zone") == 0 ? n->zone : n->disk;
    return value ? value : "";
}

static bool near_met(const struct ref_world *w, int service, int node)
{
    const struct ref_service *s = &w->services[service];
    return s->near < 0 || ref_on_node(w, s->near, node) > 0 ||
           (s->near == service && in_cluster(w, service) == 0);
}

static bool away_met(const struct ref_world *w, int service, int node)
{
    const struct ref_service *s = &w->services[service];
    return s->away < 0 || ref_on_node(w, s->away, node) == 0;
}

static bool volume_here(const struct ref_world *w, int volume, int node)
{
    if (w->nodes[node].volumes[volume])
        return true;
    for (int i = 0; i < w->task_top; i++)
        if (w->tasks[i].service >= 0 && w->tasks[i].node == node &&
            w->services[w->tasks[i].service].volume == volume)
            return true;
    return false;
}

static bool volume_fits(const struct ref_world *w, int service, int node)
{
    const struct ref_service *s = &w->services[service];
    if (s->volume < 0)
        return true;
    bool anywhere = false;
    for (int i = 0; i < REF_NODES; i++)
        anywhere |= w->nodes[i].used && volume_here(w, s->volume, i);
    for (int i = 0; s->exclusive && i < w->task_top; i++)
        if (w->tasks[i].service >= 0 && w->services[w->tasks[i].service].volume == s->volume &&
            w->services[w->tasks[i].service].exclusive)
            return false;
    return !anywhere || volume_here(w, s->volume, node);
}

static bool constraint_met(const struct ref_service *s, const struct ref_node *n)
{
    return !s->constraint_key ||
           (strcasecmp(label(n, s->constraint_key), s->constraint_value) == 0) != s->negate;
}

bool ref_lasting(const struct ref_world *w, int service, int node)
{
    const struct ref_service *s = &w->services[service];
    const struct ref_node *n = &w->nodes[node];
    if (!n->used || n->state != SCHED_READY || n->availability != SCHED_ACTIVE ||
        n->health == SCHED_UNHEALTHY)
        return false;
    if (strcmp(s->pool ? s->pool : "", n->pool ? n->pool : "") != 0)
        return false;
    if (n->tenant && strcmp(s->tenant ? s->tenant : "", n->tenant) != 0)
        return false;
    if (s->os && strcmp(s->os, n->os) != 0)
        return false;
    if (!s->soft && !constraint_met(s, n))
        return false;
    if (s->host && strcmp(s->host, n->id) != 0)
        return false;
    if ((!s->near_soft && !near_met(w, service, node)) || (!s->away_soft && !away_met(w, service, node)))
        return false;
    return volume_fits(w, service, node) &&
           (!s->max_per_node || ref_on_node(w, service, node) < (int)s->max_per_node);
}

bool ref_possible(const struct ref_world *w, int service, int node)
{
    return ref_lasting(w, service, node) && ref_fits(w, service, node);
}

bool ref_fits(const struct ref_world *w, int service, int node)
{
    const struct ref_service *s = &w->services[service];
    if (s->port && s->port == w->nodes[node].own_port)
        return false;
    for (int i = 0; s->port && i < w->task_top; i++)
        if (w->tasks[i].service >= 0 && w->tasks[i].node == node &&
            w->services[w->tasks[i].service].port == s->port)
            return false;
    int64_t cpu, memory, gpu;
    ref_free(w, node, &cpu, &memory, &gpu);
    return (s->cpu <= 0 || s->cpu <= cpu) && (s->memory <= 0 || s->memory <= memory) &&
           (s->gpu <= 0 || s->gpu <= gpu);
}

/* Tasks of the service on nodes whose labels are the same down to `level`. */
static int64_t branch(const struct ref_world *w, int service, int node, int level)
{
    const struct ref_service *s = &w->services[service];
    int64_t count = 0;
    for (int i = 0; i < REF_NODES; i++) {
        bool same = w->nodes[i].used;
        for (int l = 0; same && l <= level; l++)
            same = strcmp(label(&w->nodes[i], s->preferences[l]),
                          label(&w->nodes[node], s->preferences[l])) == 0;
        count += same ? ref_on_node(w, service, i) : 0;
    }
    return count;
}

enum { PARTS = 6, FULL = 1 << 20 };

/* Of half a million. A node that promised more than it has is full. */
static int64_t share(int64_t total, int64_t left)
{
    int64_t used = total - left;
    return used >= total ? FULL / 2 : used * (FULL / 2) / total;
}

static void rank(const struct ref_world *w, int service, int node, int64_t r[PARTS])
{
    const struct ref_service *s = &w->services[service];
    const struct ref_node *n = &w->nodes[node];
    r[0] = (n->health == SCHED_DEGRADED) + (s->soft && !constraint_met(s, n));
    r[1] = s->preferences[0] ? branch(w, service, node, 0) : 0;
    r[2] = s->preferences[1] ? branch(w, service, node, 1) : 0;
    r[3] = (s->near_soft && !near_met(w, service, node)) + (s->away_soft && !away_met(w, service, node));
    bool random = s->strategy && strcmp(s->strategy, "random") == 0;
    bool binpack = s->strategy && strcmp(s->strategy, "binpack") == 0;
    r[4] = binpack ? 0 : ref_on_node(w, service, node);
    int64_t cpu, memory, gpu;
    ref_free(w, node, &cpu, &memory, &gpu);
    int holders = 0;
    for (int i = 0; s->image >= 0 && i < REF_NODES; i++)
        holders += w->nodes[i].used && w->nodes[i].images[s->image];
    bool bonus = s->image >= 0 && holders <= SCHED_IMAGE_HOLDERS && n->images[s->image];
    if (binpack)
        r[5] =
            -(share(n->cpu, cpu) + share(n->memory, memory)) - (bonus ? FULL / 100 * SCHED_IMAGE_PERCENT : 0);
    else
        r[5] = ref_on_node(w, -1, node) - (bonus ? SCHED_IMAGE_TASKS : 0);
    if (random)
        r[3] = r[4] = r[5] = 0;
}

int ref_best(const struct ref_world *w, int service, bool best[REF_NODES])
{
    int64_t least[PARTS];
    int count = 0;
    for (int i = 0; i < REF_NODES; i++) {
        best[i] = false;
        if (!ref_possible(w, service, i))
            continue;
        int64_t r[PARTS];
        rank(w, service, i, r);
        int order = 0;
        for (int p = 0; p < PARTS && count && !order; p++)
            order = r[p] < least[p] ? -1 : r[p] > least[p];
        if (count && order > 0)
            continue;
        if (count == 0 || order < 0) {
            memset(best, 0, sizeof(bool) * (size_t)i);
            memcpy(least, r, sizeof(least));
            count = 0;
        }
        best[i] = true;
        count++;
    }
    return count;
}
