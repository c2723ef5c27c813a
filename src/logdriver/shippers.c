/* All shippers, and the thread that serves them. */
#include "logdriver/shipper_priv.h"

#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/timeutil.h"
#include "logdriver/compress.h"

#include <libgen.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { YOUNG_ASK_MS = 100, ASK_MS = 200, RETRY_MS = 1000, GATHER_MS = 5, EVENTS = 64 };

enum order_kind { ORDER_BEGIN, ORDER_ENDED, ORDER_REMOVE };

/* What the thread is told. Whoever tells it waits for no shipper. */
struct order {
    struct order *next;
    enum order_kind kind;
    bool running;
    char *id, *log;
};

struct shippers {
    shipper_describe_fn describe;
    void *context;
    pthread_mutex_t orders_lock; /* innermost */
    struct order *orders, **orders_end;
    bool sleeping;        /* the thread, without an end */
    pthread_mutex_t lock; /* `all`, and every shipper in it: held over each step */
    pthread_cond_t dropped;
    struct map all; /* container id -> struct shipper */
    /* Those that are due, have a time, or wait for a name's address. Most are of containers that say nothing:
     * to look at all of them at each round would have a launch pay for every other container. */
    struct shipper *awake;
    pthread_t thread;
    bool started, closing;
    int epoll_fd, wake_fd, notify_fd;
};

/* What an event belongs to, beside shippers' addresses. */
static const char of_wake, of_notify;

static void wake(struct shippers *s)
{
    uint64_t one = 1;
    if (write(s->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        log_error("wake the log shippers: %s", strerror(errno));
}

/* --- the thread --- */

static void rouse(struct shippers *s, struct shipper *one)
{
    if (one->in_awake)
        return;
    one->in_awake = true;
    one->next_awake = s->awake;
    s->awake = one;
}

static void let_sleep(struct shippers *s, struct shipper *one)
{
    struct shipper **at = &s->awake;
    if (!one->in_awake)
        return;
    while (*at != one)
        at = &(*at)->next_awake;
    *at = one->next_awake;
    one->in_awake = false;
}

static bool resolving(const struct shipper *one)
{
    return one->wire.state == WIRE_RESOLVING;
}

static void drain_wake(struct shippers *s)
{
    uint64_t count;
    if (read(s->wake_fd, &count, sizeof(count)) < 0)
        return;
    for (struct shipper *one = s->awake; one; one = one->next_awake)
        one->due |= resolving(one);
}

/* What goes to a file may wait for what comes with it: whoever follows the log itself comes first. */
static void mark_watched(struct shippers *s, int watch)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->all, &i));) {
        struct shipper *one = e->value;
        if (one->watch != watch)
            continue;
        if (!one->driver || !one->driver->file)
            one->due = true;
        else if (!one->wake_at_ns)
            one->wake_at_ns = time_monotonic_ns() + GATHER_MS * NS_PER_MS;
        rouse(s, one);
    }
}

static void drain_notify(struct shippers *s)
{
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n;
    int last = -1;
    while ((n = read(s->notify_fd, buffer, sizeof(buffer))) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const struct inotify_event *)(buffer + at);
            at += (ssize_t)(sizeof(*event) + event->len);
            /* A lot of events in a row are of one log. */
            if (event->len && str_eq(event->name, "log") && event->wd != last)
                mark_watched(s, last = event->wd);
        }
}

static void register_wire(struct shippers *s, struct shipper *one)
{
    if (one->driver->file || one->wire.fd < 0 || one->registered == one->wire.generation)
        return;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = one};
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, one->wire.fd, &event) < 0)
        log_error("watch a log driver's connection: %s", strerror(errno));
    one->registered = one->wire.generation;
}

static void drop(struct shippers *s, struct shipper *one)
{
    if (one->watch >= 0)
        inotify_rm_watch(s->notify_fd, one->watch);
    let_sleep(s, one);
    map_remove(&s->all, one->id);
    pthread_cond_broadcast(&s->dropped);
}

static void watch_log(struct shippers *s, struct shipper *one)
{
    _cleanup_free_ char *copy = mem_strdup(one->log);
    if (one->watch < 0 && s->notify_fd >= 0)
        one->watch = inotify_add_watch(s->notify_fd, dirname(copy), IN_MODIFY | IN_CREATE | IN_MOVED_TO);
}

/* False: its container is no more. */
static bool awaken(struct shippers *s, struct shipper *one)
{
    struct shipment what;
    struct err err;
    _cleanup_json_ json_t *keeps = NULL;
    if (!s->describe(s->context, one->id, &what, &keeps))
        return false;
    if (shipper__awaken(one, &what, s->wake_fd, &err) == 0) {
        watch_log(s, one);
        one->due = true;
        *one->why = '\0';
        return true;
    }
    if (!str_eq(one->why, err.msg))
        log_error("container %.12s: its log driver: %s", one->id, err.msg);
    snprintf(one->why, sizeof(one->why), "%s", err.msg);
    one->wake_at_ns = time_monotonic_ns() + RETRY_MS * NS_PER_MS;
    return true;
}

/* One that has said nothing yet: asked for often while it is young, then its directory is watched. False: it
 * is over. */
static bool step_asleep(struct shippers *s, struct shipper *one)
{
    int64_t now = time_monotonic_ns();
    one->due = false;
    one->wake_at_ns = 0;
    if (now - one->since_ns > NS_PER_S)
        watch_log(s, one);
    if (access(one->log, F_OK) == 0)
        return awaken(s, one);
    if (one->ended)
        return false;
    if (one->watch < 0)
        one->wake_at_ns = now + YOUNG_ASK_MS * NS_PER_MS;
    return true;
}

/* False: it is done with. */
static bool step_one(struct shippers *s, struct shipper *one)
{
    if (!one->driver)
        return step_asleep(s, one);
    shipper__step(one);
    register_wire(s, one);
    if (shipper__finished(one))
        return false;
    /* Whose container is being removed waits for a slow destination, not for one that is away. */
    if (one->going && one->wire.state == WIRE_DOWN && *one->why)
        return false;
    if (one->watch < 0 && !one->wake_at_ns)
        one->wake_at_ns = time_monotonic_ns() + ASK_MS * NS_PER_MS;
    return true;
}

/* Steps all that are due; returns how long to wait for the next, in ms, or -1. */
static int step_all(struct shippers *s)
{
    int64_t now = time_monotonic_ns(), first = INT64_MAX;
    for (struct shipper *one = s->awake, *next; one; one = next) {
        next = one->next_awake;
        if ((one->due || (one->wake_at_ns && one->wake_at_ns <= now)) && !step_one(s, one)) {
            drop(s, one);
            continue;
        }
        if (one->due)
            first = 0;
        if (one->wake_at_ns)
            first = MIN(first, one->wake_at_ns);
        if (!one->due && !one->wake_at_ns && !resolving(one))
            let_sleep(s, one);
    }
    if (first == INT64_MAX)
        return -1;
    now = time_monotonic_ns();
    return first <= now ? 0 : (int)((first - now) / NS_PER_MS + 1);
}

/* --- orders --- */

static void obey(struct shippers *s, const struct order *o)
{
    struct shipper *one = map_get(&s->all, o->id);
    if (o->kind == ORDER_BEGIN && !one) {
        one = shipper__new(o->id, o->log, o->running);
        map_put(&s->all, o->id, one);
    } else if (o->kind == ORDER_BEGIN)
        one->ended = !o->running;
    else if (one && o->kind == ORDER_ENDED)
        one->ended = true;
    else if (one && o->kind == ORDER_REMOVE)
        one->ended = one->going = true;
    if (one) {
        one->due = true;
        rouse(s, one);
    }
}

static struct order *free_order(struct order *o)
{
    struct order *next = o->next;
    free(o->id);
    free(o->log);
    free(o);
    return next;
}

static void obey_all(struct shippers *s)
{
    pthread_mutex_lock(&s->orders_lock);
    struct order *o = s->orders;
    s->orders = NULL;
    s->orders_end = &s->orders;
    pthread_mutex_unlock(&s->orders_lock);
    while (o) {
        obey(s, o);
        o = free_order(o);
    }
}

static void stay_awake(struct shippers *s)
{
    pthread_mutex_lock(&s->orders_lock);
    s->sleeping = false;
    pthread_mutex_unlock(&s->orders_lock);
}

/* Says that the thread needs to be woken for an order from here on; false when there is one already. */
static bool may_sleep(struct shippers *s)
{
    pthread_mutex_lock(&s->orders_lock);
    bool may = s->sleeping = !s->orders;
    pthread_mutex_unlock(&s->orders_lock);
    return may;
}

static void give_order(struct shippers *s, enum order_kind kind, const char *id, const char *log,
                       bool running, bool at_once)
{
    struct order *o = NEW(struct order);
    *o = (struct order){.kind = kind, .running = running, .id = mem_strdup(id), .log = mem_strdup(log)};
    pthread_mutex_lock(&s->orders_lock);
    *s->orders_end = o;
    s->orders_end = &o->next;
    bool sleeping = s->sleeping;
    pthread_mutex_unlock(&s->orders_lock);
    if (sleeping || at_once)
        wake(s);
}

/* --- the loop --- */

static void mark_due(struct shippers *s, const void *shipper)
{
    struct map_entry *e; /* it may have been dropped meanwhile */
    for (size_t i = 0; (e = map_next(&s->all, &i));)
        if (e->value == shipper) {
            ((struct shipper *)e->value)->due = true;
            rouse(s, e->value);
        }
}

static void take_event(struct shippers *s, const struct epoll_event *event)
{
    if (event->data.ptr == (void *)&of_wake)
        drain_wake(s);
    else if (event->data.ptr == (void *)&of_notify)
        drain_notify(s);
    else
        mark_due(s, event->data.ptr);
}

static void *run(void *context)
{
    struct shippers *s = context;
    struct epoll_event events[EVENTS];
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        stay_awake(s); /* the thread's alone: others obey orders, too, while it sleeps */
        obey_all(s);
        int wait_ms = step_all(s);
        if (wait_ms < 0 && !may_sleep(s))
            continue;
        pthread_mutex_unlock(&s->lock);
        int n = epoll_wait(s->epoll_fd, events, EVENTS, wait_ms);
        pthread_mutex_lock(&s->lock);
        for (int i = 0; i < n; i++)
            take_event(s, &events[i]);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* --- from outside --- */

static void free_value(void *shipper)
{
    shipper__free(shipper);
}

static int watch_fd(struct shippers *s, int fd, const char *what, struct err *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = (void *)what};
    if (fd < 0 || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return err_sys(err, errno, "prepare the log shippers");
    return 0;
}

static int start_thread(struct shippers *s, struct err *err)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512 << 10);
    int r = pthread_create(&s->thread, &attributes, run, s);
    pthread_attr_destroy(&attributes);
    s->started = r == 0;
    return r == 0 ? 0 : err_sys(err, r, "start the thread of the log shippers");
}

int shippers_open(shipper_describe_fn describe, void *context, struct shippers **ret, struct err *err)
{
    struct shippers *s = NEW(struct shippers);
    s->describe = describe;
    s->context = context;
    s->orders_end = &s->orders;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->orders_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->dropped, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->all = MAP_INIT(free_value);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int r = s->epoll_fd < 0 ? err_sys(err, errno, "prepare the log shippers") : 0;
    if (r == 0)
        r = watch_fd(s, s->wake_fd, &of_wake, err);
    /* There may be no inotify instance left for this user: asking ten times a second serves too. */
    if (r == 0 && s->notify_fd >= 0)
        r = watch_fd(s, s->notify_fd, &of_notify, err);
    if (r == 0)
        r = start_thread(s, err);
    if (r < 0) {
        shippers_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

void shippers_close(struct shippers *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_mutex_unlock(&s->lock);
    if (s->started) {
        wake(s);
        pthread_join(s->thread, NULL);
    }
    compress_close();
    map_done(&s->all);
    for (struct order *o = s->orders; o;)
        o = free_order(o);
    close_fd(s->epoll_fd);
    close_fd(s->wake_fd);
    close_fd(s->notify_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->orders_lock);
    pthread_cond_destroy(&s->dropped);
    free(s);
}

void shippers_begin(struct shippers *s, const char *id, const char *log, bool running)
{
    give_order(s, ORDER_BEGIN, id, log, running, false);
}

void shippers_ended(struct shippers *s, const char *id)
{
    give_order(s, ORDER_ENDED, id, NULL, false, false);
}

void shippers_remove(struct shippers *s, const char *id, int grace_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += grace_ms / 1000;
    give_order(s, ORDER_REMOVE, id, NULL, false, grace_ms > 0);
    if (grace_ms == 0)
        return;
    pthread_mutex_lock(&s->lock);
    obey_all(s); /* the thread may not have come to it */
    while (map_has(&s->all, id) && pthread_cond_timedwait(&s->dropped, &s->lock, &until) == 0)
        ;
    struct shipper *one = map_get(&s->all, id);
    if (one)
        drop(s, one);
    pthread_mutex_unlock(&s->lock);
}

bool shippers_counters(struct shippers *s, const char *id, struct shipper_counters *ret)
{
    pthread_mutex_lock(&s->lock);
    const struct shipper *one = map_get(&s->all, id);
    if (one && one->driver) {
        const struct cursor_page *p = one->cursor.page;
        *ret = (struct shipper_counters){.sent_lines = (int64_t)p->sent_lines,
                                         .dropped_lines = (int64_t)p->dropped_lines,
                                         .missed_files = (int64_t)p->missed_files,
                                         .waiting_bytes = one->reader ? log_reader_backlog(one->reader) +
                                                                            (int64_t)one->batch.bytes.len
                                                                      : 0};
        snprintf(ret->why, sizeof(ret->why), "%s", one->why);
    }
    bool found = one && one->driver;
    pthread_mutex_unlock(&s->lock);
    return found;
}
