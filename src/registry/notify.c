#include "registry/notify.h"

#include "base/json.h"
#include "base/log.h"
#include "http/client.h"

#include <time.h>

/* --- writing them --- */

static json_t *event(const struct notice *what, const char *tag)
{
    char id[65], at[TIME_RFC3339_BYTES];
    digest_random_id(id);
    json_t *target = json_object(), *one = json_object();
    json_set_str(target, "repository", what->repository);
    if (what->digest)
        json_set_str(target, "digest", what->digest);
    if (what->media_type)
        json_set_str(target, "mediaType", what->media_type);
    if (what->size)
        json_object_set_new(target, "size", json_integer(what->size));
    if (tag)
        json_set_str(target, "tag", tag);
    id[36] = '\0';
    json_set_str(one, "id", id);
    json_set_str(one, "timestamp", time_format_rfc3339(time_now_ns(), at));
    json_set_str(one, "action", what->action);
    json_object_set_new(one, "target", target);
    return one;
}

static char *body_of(const struct notice *what)
{
    json_t *events = json_array();
    if (what->tag)
        json_array_append_new(events, event(what, what->tag));
    for (char *const *t = what->tags; t && *t; t++)
        json_array_append_new(events, event(what, *t));
    if (json_array_size(events) == 0)
        json_array_append_new(events, event(what, NULL));
    _cleanup_json_ json_t *body = json_pack("{s:o}", "events", events);
    return json_format(body);
}

static void add(struct notices *n, const char *sql, const struct store_value *v, size_t count)
{
    memcpy(n->values[n->count], v, count * sizeof(*v));
    n->statements[n->count] = (struct store_statement){
        .sql = sql, .params = n->values[n->count], .param_count = count, .expect_changes = -1};
    n->count++;
}

void registry__notices_make(struct registry *r, const struct notice *what, struct notices *ret)
{
    *ret = (struct notices){.policy = registry_policy_get(r)};
    for (size_t i = 0; ret->policy && i < ret->policy->webhook_count; i++) {
        const struct registry_webhook *hook = &ret->policy->webhooks[i];
        if ((hook->match && !name_patterns_match(hook->match, what->repository)) ||
            (hook->events && !strv_has(hook->events, what->action)))
            continue;
        if (!ret->body)
            ret->body = body_of(what);
        const struct store_value v[] = {STORE_STR(hook->name), STORE_STR(ret->body),
                                        STORE_I64(time_now_ns())};
        add(ret,
            "INSERT INTO registry_notice (webhook, body, created, attempts, due) VALUES (?1, ?2, ?3, 0, ?3)",
            v, 3);
    }
    const struct store_value bound = STORE_I64(NOTIFY_QUEUE_MAX);
    if (ret->count > 0)
        add(ret,
            "DELETE FROM registry_notice WHERE id <= (SELECT id FROM registry_notice ORDER BY id DESC LIMIT 1"
            " OFFSET ?1)",
            &bound, 1);
}

void registry__notices_done(struct notices *n)
{
    free(n->body);
    registry_policy_unref(n->policy);
}

/* --- sending them --- */

struct notifier {
    struct registry *registry;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool started, closing, woken;
};

struct waiting {
    int64_t id, attempts, due;
    char *webhook, *body;
};

static int take_waiting(void *context, const struct store_value *c, size_t count, struct err *err)
{
    *(struct waiting *)context = (struct waiting){c[0].integer, c[3].integer, c[4].integer,
                                                  mem_strdup(c[1].bytes), mem_strdup(c[2].bytes)};
    return 0;
}

static const struct registry_webhook *hook_of(const struct registry_policy *p, const char *name)
{
    for (size_t i = 0; p && i < p->webhook_count; i++)
        if (str_eq(p->webhooks[i].name, name))
            return &p->webhooks[i];
    return NULL;
}

/* What became of one: off the queue, or again later; and a line of the log. */
static void settle(struct notifier *n, const struct waiting *w, bool off, const char *outcome)
{
    int64_t now = time_now_ns(), wait_s = w->attempts < 12 ? INT64_C(1) << w->attempts : NOTIFY_LONGEST_S;
    const struct store_value id = STORE_I64(w->id);
    const struct store_value later[] = {STORE_I64(now + MIN(wait_s, NOTIFY_LONGEST_S) * NS_PER_S), id};
    const struct store_value line[] = {id, STORE_STR(w->webhook), STORE_I64(now), STORE_I64(w->attempts + 1),
                                       STORE_STR(outcome)};
    const struct store_value bound = STORE_I64(NOTIFY_LOG_MAX);
    const struct store_statement s[] = {
        off ? (struct store_statement){"DELETE FROM registry_notice WHERE id = ?", &id, 1, -1}
            : (struct store_statement){"UPDATE registry_notice SET attempts = attempts + 1, due = ? WHERE id "
                                       "= ?",
                                       later, 2, -1},
        {"INSERT INTO registry_delivery (notice, webhook, at, attempt, outcome) VALUES (?, ?, ?, ?, ?)", line,
         5, -1},
        {"DELETE FROM registry_delivery WHERE id <= (SELECT id FROM registry_delivery ORDER BY id DESC LIMIT "
         "1"
         " OFFSET ?)",
         &bound, 1, -1}};
    struct err err = {0};
    if (store_batch(n->registry->store, s, ARRAY_SIZE(s), STORE_DURABLE, &err) < 0)
        log_warning("registry: webhook %s: %s", w->webhook, err.msg);
}

static int post(struct http_client *client, const struct registry_webhook *hook, const struct waiting *w,
                int *ret_status, struct err *err)
{
    unsigned char mac[32];
    char hex[65];
    _cleanup_strv_ char **headers = NULL;
    size_t n = strlen(w->body);
    strv_add(&headers, "Content-Type: application/vnd.docker.distribution.events.v2+json");
    strv_take(&headers, str_printf("X-Drover-Delivery: %lld", (long long)w->id));
    if (hook->secret) {
        digest_hmac_sha256(hook->secret, strlen(hook->secret), w->body, n, mac);
        str_hex(mac, sizeof(mac), hex);
        strv_take(&headers, str_printf("X-Hub-Signature-256: sha256=%s", hex));
    }
    const struct http_call call = {.method = "POST",
                                   .url = hook->url,
                                   .headers = headers,
                                   .body = w->body,
                                   .body_bytes = n,
                                   .max_body_bytes = 64 << 10,
                                   .connect_timeout_ms = 5000,
                                   .idle_timeout_ms = 15000};
    struct http_response answer = {0};
    int r = http_client_call(client, &call, &answer, err);
    *ret_status = answer.status;
    http_response_done(&answer);
    return r;
}

static void deliver(struct notifier *n, struct http_client *client, const struct registry_webhook *hook,
                    const struct waiting *w)
{
    struct err err = {0};
    int status = 0;
    bool last = w->attempts + 1 >= NOTIFY_TRIES;
    if (!hook)
        return settle(n, w, true, "dropped: there is no such webhook any more");
    int r = post(client, hook, w, &status, &err);
    bool taken = r == 0 && status >= 200 && status < 300;
    _cleanup_free_ char *outcome = r < 0 ? str_printf("%s%.200s", last ? "given up: " : "", err.msg)
                                         : str_printf("%s%d", taken || !last ? "" : "given up: ", status);
    if (last && !taken)
        log_warning("registry: webhook %s: %s", w->webhook, outcome);
    settle(n, w, taken || last, outcome);
}

/* The first of the rows that are the first of their webhook, and due. The time until one is in *ret_due. */
static bool next_due(struct notifier *n, struct waiting *ret, int64_t *ret_due)
{
    struct waiting first = {.due = INT64_MAX};
    if (store_query(n->registry->store,
                    "SELECT id, webhook, body, attempts, due FROM registry_notice WHERE id IN"
                    " (SELECT min(id) FROM registry_notice GROUP BY webhook) ORDER BY due LIMIT 1",
                    NULL, 0, take_waiting, &first, NULL) < 0)
        first.due = time_now_ns() + 10 * NS_PER_S;
    *ret_due = first.due;
    *ret = first;
    return first.body && first.due <= time_now_ns();
}

static void waiting_done(struct waiting *w)
{
    free(w->webhook);
    free(w->body);
}

static void sleep_until(struct notifier *n, int64_t due)
{
    struct timespec until = {.tv_sec = (time_t)(due / NS_PER_S) + 1};
    pthread_mutex_lock(&n->lock);
    if (!n->woken && !n->closing) {
        if (due == INT64_MAX)
            pthread_cond_wait(&n->wake, &n->lock);
        else
            pthread_cond_timedwait(&n->wake, &n->lock, &until);
    }
    n->woken = false;
    pthread_mutex_unlock(&n->lock);
}

static void *run(void *argument)
{
    struct notifier *n = argument;
    struct http_client *client = NULL;
    struct err err = {0};
    if (http_client_new(NULL, &client, &err) < 0) {
        log_warning("registry: webhooks: %s", err.msg);
        return NULL;
    }
    for (;;) {
        pthread_mutex_lock(&n->lock);
        bool closing = n->closing;
        pthread_mutex_unlock(&n->lock);
        if (closing)
            break;
        struct waiting w;
        int64_t due;
        if (next_due(n, &w, &due)) {
            _cleanup_policy_ struct registry_policy *p = registry_policy_get(n->registry);
            deliver(n, client, hook_of(p, w.webhook), &w);
        } else {
            sleep_until(n, due);
        }
        waiting_done(&w);
    }
    http_client_free(client);
    return NULL;
}

void registry__notify_wake(struct registry *r)
{
    struct notifier *n = r->notifier;
    pthread_mutex_lock(&n->lock);
    n->woken = true;
    pthread_cond_signal(&n->wake);
    pthread_mutex_unlock(&n->lock);
}

int registry__notifier_start(struct registry *r, struct notifier **ret, struct err *err)
{
    struct notifier *n = NEW(struct notifier);
    n->registry = r;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->wake, NULL);
    int sys = pthread_create(&n->thread, NULL, run, n);
    if (sys != 0) {
        registry__notifier_stop(n);
        return err_sys(err, sys, "start the thread of webhooks");
    }
    n->started = true;
    *ret = n;
    return 0;
}

void registry__notifier_stop(struct notifier *n)
{
    if (!n)
        return;
    if (n->started) {
        pthread_mutex_lock(&n->lock);
        n->closing = true;
        pthread_cond_signal(&n->wake);
        pthread_mutex_unlock(&n->lock);
        pthread_join(n->thread, NULL);
    }
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->wake);
    free(n);
}

/* --- telling of them --- */

static int add_line(void *context, const struct store_value *c, size_t count, struct err *err)
{
    char at[TIME_RFC3339_BYTES];
    json_t *one = json_object();
    json_object_set_new(one, "delivery", json_integer(c[0].integer));
    json_set_str(one, "webhook", c[1].bytes);
    json_set_str(one, "at", time_format_rfc3339(c[2].integer, at));
    json_object_set_new(one, "attempt", json_integer(c[3].integer));
    json_set_str(one, "outcome", c[4].bytes);
    json_array_append_new(context, one);
    return 0;
}

int registry_deliveries(struct registry *r, json_t **ret, struct err *err)
{
    json_t *list = json_array();
    int code = store_query(r->store,
                           "SELECT notice, webhook, at, attempt, outcome FROM"
                           " (SELECT * FROM registry_delivery ORDER BY id DESC LIMIT 1000) AS d UNION ALL"
                           " SELECT id, webhook, created, attempts, 'waiting' FROM registry_notice"
                           " WHERE attempts = 0",
                           NULL, 0, add_line, list, err);
    if (code < 0)
        json_decref(list);
    else
        *ret = list;
    return code;
}
