/* Watchers: told by the writer of this process, and, where others write too, by a thread that asks for the
 * tables' numbers of changes as long as somebody watches. */
#include "store/store_priv.h"

#include "base/lock.h"
#include "base/str.h"
#include "base/timeutil.h"

struct store_watch {
    struct store *store;
    char **tables;
    void (*changed)(void *context);
    void *context;
    struct store_watch *next;
};

void store__watch_init(struct store *s)
{
    pthread_mutex_init(&s->watch_lock, NULL);
    pthread_mutex_init(&s->poll_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->poll_wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->polled = MAP_INIT(free);
}

/* Watch lock held. */
static void tell(struct store *s, char *const *tables)
{
    for (struct store_watch *w = s->watches; w; w = w->next)
        for (char *const *t = tables; *t; t++)
            if (strv_has(w->tables, *t)) {
                w->changed(w->context);
                break;
            }
}

void store__tell(struct store *s, char *const *tables)
{
    if (!tables)
        return;
    SCOPED_LOCK(locked, &s->watch_lock);
    tell(s, tables);
}

/* --- what others changed --- */

struct poll {
    struct store *store;
    char **tables; /* that have changed */
};

static int polled_row(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    struct poll *p = context;
    const char *table = columns[0].bytes;
    int64_t *known = map_get(&p->store->polled, table);
    if (!known) {
        known = NEW(int64_t);
        map_put(&p->store->polled, table, known);
        *known = columns[1].integer;
    } else if (*known != columns[1].integer) {
        *known = columns[1].integer;
        strv_add(&p->tables, table);
    }
    return 0;
}

/* A member that does not answer is no news: who asks it something hears of that. */
static void poll_once(struct store *s)
{
    struct poll p = {s, NULL};
    pthread_mutex_lock(&s->poll_lock);
    store_query(s,
                "SELECT substr(name, 7), number FROM store_state WHERE name >= 'table:' AND name < 'table;'",
                NULL, 0, polled_row, &p, NULL);
    pthread_mutex_unlock(&s->poll_lock);
    store__tell(s, p.tables);
    strv_free(p.tables);
}

static void *poll_main(void *context)
{
    struct store *s = context;
    pthread_mutex_lock(&s->watch_lock);
    while (!s->poll_stop) {
        if (!s->watch_count) {
            pthread_cond_wait(&s->poll_wake, &s->watch_lock);
            continue;
        }
        pthread_mutex_unlock(&s->watch_lock);
        poll_once(s);
        pthread_mutex_lock(&s->watch_lock);
        int64_t due = time_monotonic_ns() + STORE_WATCH_MS / 2 * NS_PER_MS;
        struct timespec at = {.tv_sec = due / NS_PER_S, .tv_nsec = due % NS_PER_S};
        if (!s->poll_stop)
            pthread_cond_timedwait(&s->poll_wake, &s->watch_lock, &at);
    }
    pthread_mutex_unlock(&s->watch_lock);
    return NULL;
}

int store__watch_begin(struct store *s, struct err *err)
{
    if (!s->backend->polled)
        return 0;
    int r = store__thread(&s->poller, poll_main, s, "the store's watchers", err);
    s->polling = r == 0;
    return r;
}

int store_watch(struct store *s, const char *const *tables, void (*changed)(void *context), void *context,
                struct store_watch **ret, struct err *err)
{
    /* What is known before is not news; what comes after is. */
    if (s->backend->polled)
        poll_once(s);
    SCOPED_LOCK(locked, &s->watch_lock);
    if (s->watch_count >= STORE_WATCHES_MAX)
        return err_set(err, ERR_LIMIT, "store: %d watch already", STORE_WATCHES_MAX);
    struct store_watch *w = NEW(struct store_watch);
    *w = (struct store_watch){.store = s,
                              .tables = strv_dup((char *const *)tables),
                              .changed = changed,
                              .context = context,
                              .next = s->watches};
    s->watches = w;
    s->watch_count++;
    pthread_cond_signal(&s->poll_wake);
    *ret = w;
    return 0;
}

void store_unwatch(struct store_watch *w)
{
    if (!w)
        return;
    struct store *s = w->store;
    pthread_mutex_lock(&s->watch_lock);
    struct store_watch **at = &s->watches;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    s->watch_count--;
    pthread_mutex_unlock(&s->watch_lock);
    strv_free(w->tables);
    free(w);
}

/* Before the backend is closed: the thread queries it. */
static void stop_polling(struct store *s)
{
    if (!s->polling)
        return;
    pthread_mutex_lock(&s->watch_lock);
    s->poll_stop = true;
    pthread_cond_signal(&s->poll_wake);
    pthread_mutex_unlock(&s->watch_lock);
    pthread_join(s->poller, NULL);
    s->polling = false;
}

void store__watch_done(struct store *s)
{
    stop_polling(s);
    map_done(&s->polled);
    pthread_cond_destroy(&s->poll_wake);
    pthread_mutex_destroy(&s->poll_lock);
    pthread_mutex_destroy(&s->watch_lock);
}
