/* Events: a ring of the last ones, and listeners that follow it. Events are numbered; a listener knows the
 * next number it wants, so that a slow one loses only what the ring has forgotten, and holds nobody up. */
#include "engine/engine_priv.h"

#include "base/err.h"

enum { RING_EVENTS = 1024, WAIT_MS = 500 };

struct event_ring {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *events[RING_EVENTS]; /* as text; number n stands at n % RING_EVENTS */
    int64_t times[RING_EVENTS];
    uint64_t next; /* number of the next event */
    int listeners;
    bool closed;
};

struct event_ring *events__new(void)
{
    struct event_ring *ring = NEW(struct event_ring);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&ring->lock, NULL);
    pthread_cond_init(&ring->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return ring;
}

/* Sends the listeners home and waits until they have left. */
void events__close(struct event_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    ring->closed = true;
    pthread_cond_broadcast(&ring->changed);
    while (ring->listeners)
        pthread_cond_wait(&ring->changed, &ring->lock);
    pthread_mutex_unlock(&ring->lock);
}

int events__listeners(struct event_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    int n = ring->listeners;
    pthread_mutex_unlock(&ring->lock);
    return n;
}

void events__free(struct event_ring *ring)
{
    if (!ring)
        return;
    for (size_t i = 0; i < RING_EVENTS; i++)
        free(ring->events[i]);
    pthread_mutex_destroy(&ring->lock);
    pthread_cond_destroy(&ring->changed);
    free(ring);
}

static void add_member(struct str *to, const char *key, const char *value)
{
    str_addf(to, "\"%s\":", key);
    json_add_text(to, value);
    str_addc(to, ',');
}

static bool is_of_swarm(const char *type)
{
    static const char *const types[] = {"config", "node", "secret", "service", NULL};
    return strv_has((char *const *)types, type);
}

static char *event_text(const char *type, const char *action, const char *actor_id, const json_t *attributes,
                        int64_t now)
{
    struct str s = STR_INIT;
    _cleanup_free_ char *shown = attributes ? json_format(attributes) : mem_strdup("{}");
    str_reserve(&s, 512 + strlen(shown));
    str_addc(&s, '{');
    if (strcmp(type, "container") == 0 ||
        strcmp(type, "image") == 0) { /* fields of before API 1.22 that clients still read */
        add_member(&s, "status", action);
        add_member(&s, "id", actor_id);
        const char *from = json_str(attributes, "image");
        if (*from)
            add_member(&s, "from", from);
    }
    add_member(&s, "Type", type);
    add_member(&s, "Action", action);
    str_add(&s, "\"Actor\":{\"ID\":");
    json_add_text(&s, actor_id);
    str_addf(&s, ",\"Attributes\":%s},\"scope\":\"%s\",\"time\":%lld,\"timeNano\":%lld}", shown,
             is_of_swarm(type) ? "swarm" : "local", (long long)(now / NS_PER_S), (long long)now);
    return str_take(&s);
}

void engine_event(struct engine *e, const char *type, const char *action, const char *actor_id,
                  const json_t *attributes)
{
    int64_t now = time_now_ns();
    char *text = event_text(type, action, actor_id, attributes, now);
    struct event_ring *ring = e->events;
    pthread_mutex_lock(&ring->lock);
    size_t at = ring->next % RING_EVENTS;
    free(ring->events[at]);
    ring->events[at] = text;
    ring->times[at] = now;
    ring->next++;
    pthread_cond_broadcast(&ring->changed);
    pthread_mutex_unlock(&ring->lock);
}

/* --- listening --- */

static const char *const known_filters[] = {"config", "container", "daemon", "event",  "image",
                                            "label",  "network",   "node",   "plugin", "scope",
                                            "secret", "service",   "type",   "volume", NULL};

/* A filter by kind of object ("container"): its id, its id's beginning, or its name. Events of other kinds
 * that belong to a container match by their "container" attribute. */
static bool matches_actor(const json_t *filters, const json_t *event, const char *kind)
{
    _cleanup_strv_ char **values = filter__values(filters, kind);
    if (!strv_len(values))
        return true;
    const json_t *actor = json_object_get(event, "Actor"), *attributes = json_object_get(actor, "Attributes");
    bool same = strcmp(json_str(event, "Type"), kind) == 0;
    const char *id = same ? json_str(actor, "ID") : json_str(attributes, kind);
    const char *name = same ? json_str(attributes, "name") : "";
    STRV_FOREACH (value, values) {
        const char *bare = **value == '/' ? *value + 1 : *value;
        if (strcmp(id, bare) == 0 || (*name && strcmp(name, bare) == 0) ||
            (strlen(bare) >= 4 && str_after(id, bare)))
            return true;
    }
    return false;
}

/* An image's name in its own events and in those of its containers, with its tag or without. */
static bool matches_image(const json_t *filters, const json_t *event)
{
    _cleanup_strv_ char **values = filter__values(filters, "image");
    if (!strv_len(values))
        return true;
    const json_t *actor = json_object_get(event, "Actor"), *attributes = json_object_get(actor, "Attributes");
    bool own = strcmp(json_str(event, "Type"), "image") == 0;
    const char *names[] = {own ? json_str(actor, "ID") : "", json_str(attributes, own ? "name" : "image")};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *slash = strrchr(names[i], '/'), *colon = strchr(slash ? slash : names[i], ':');
        _cleanup_free_ char *bare =
            mem_strndup(names[i], colon ? (size_t)(colon - names[i]) : strlen(names[i]));
        if (*names[i] && (strv_has(values, names[i]) || strv_has(values, bare)))
            return true;
    }
    return false;
}

static bool matches_text(void *context, const char *value)
{
    const char *action = context, *rest = str_after(action, value);
    /* "health_status" also stands for "health_status: healthy" */
    return rest && (!*rest || *rest == ':');
}

static bool wanted(const json_t *filters, const json_t *event)
{
    /* Of some kinds there are no events here, so that asking for one of them leaves nothing. */
    static const char *const kinds[] = {"container", "network", "volume", "config", "daemon",
                                        "node",      "plugin",  "secret", "service"};
    if (!filters)
        return true;
    if (!filter__any(filters, "event", matches_text, (void *)json_str(event, "Action")) ||
        !filter__any(filters, "type", matches_text, (void *)json_str(event, "Type")) ||
        !filter__any(filters, "scope", matches_text, (void *)json_str(event, "scope")) ||
        !matches_image(filters, event) ||
        !filter__labels(filters, json_object_get(json_object_get(event, "Actor"), "Attributes")))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (!matches_actor(filters, event, kinds[i]))
            return false;
    return true;
}

static void wait_until(struct event_ring *ring, int64_t until_ns)
{
    int64_t wait_ns = WAIT_MS * NS_PER_MS;
    if (until_ns)
        wait_ns = MIN(wait_ns, MAX(until_ns - time_now_ns(), 0));
    int64_t at = time_monotonic_ns() + wait_ns;
    struct timespec deadline = {.tv_sec = at / NS_PER_S, .tv_nsec = at % NS_PER_S};
    pthread_cond_timedwait(&ring->changed, &ring->lock, &deadline);
}

/* The next event after *position as text, or NULL when the listener is to go. Lock held. */
static char *next_event(struct event_ring *ring, uint64_t *position, int64_t since_ns, int64_t until_ns,
                        void *context, bool (*gone)(void *))
{
    for (;;) {
        if (ring->next > RING_EVENTS && *position < ring->next - RING_EVENTS)
            *position = ring->next - RING_EVENTS;
        while (*position < ring->next) {
            size_t at = (*position)++ % RING_EVENTS;
            if (until_ns && ring->times[at] > until_ns)
                return NULL;
            if (ring->times[at] >= since_ns)
                return mem_strdup(ring->events[at]);
        }
        if (ring->closed || (until_ns && time_now_ns() >= until_ns))
            return NULL;
        if (gone) {
            pthread_mutex_unlock(&ring->lock);
            bool left = gone(context);
            pthread_mutex_lock(&ring->lock);
            if (left)
                return NULL;
            if (*position < ring->next)
                continue;
        }
        wait_until(ring, until_ns);
    }
}

int engine_events_check(const json_t *filters, struct err *err)
{
    return filter__check_keys(filters, known_filters, err);
}

int engine_events(struct engine *e, int64_t since_ns, int64_t until_ns, const json_t *filters, void *context,
                  int (*event)(void *context, const json_t *event), bool (*gone)(void *context),
                  struct err *err)
{
    struct event_ring *ring = e->events;
    pthread_mutex_lock(&ring->lock);
    ring->listeners++;
    /* Without a start or an end in the past only what comes from now on is told. */
    uint64_t position = since_ns || (until_ns && until_ns <= time_now_ns()) ? 0 : ring->next;
    bool stop = false;
    for (char *text; !stop && (text = next_event(ring, &position, since_ns, until_ns, context, gone));) {
        pthread_mutex_unlock(&ring->lock);
        json_t *document = NULL;
        if (json_parse(text, strlen(text), "event", &document, NULL) == 0 && wanted(filters, document))
            stop = event(context, document) != 0;
        json_decref(document);
        free(text);
        pthread_mutex_lock(&ring->lock);
    }
    ring->listeners--;
    pthread_cond_broadcast(&ring->changed);
    pthread_mutex_unlock(&ring->lock);
    return 0;
}
