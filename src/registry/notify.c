#include "registry/notify.h"

#include "base/json.h"
#include "base/log.h"
#include "registry/replicate.h"

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

static void add_webhooks(struct notices *n, const struct notice *what)
{
    for (size_t i = 0; n->policy && i < n->policy->webhook_count; i++) {
        const struct registry_webhook *hook = &n->policy->webhooks[i];
        if ((hook->match && !name_patterns_match(hook->match, what->repository)) ||
            (hook->events && !strv_has(hook->events, what->action)))
            continue;
        if (!n->body)
            n->body = body_of(what);
        const struct store_value v[] = {STORE_STR(hook->name), STORE_STR(n->body), STORE_I64(time_now_ns())};
        add(n,
            "INSERT INTO registry_notice (webhook, body, created, attempts, due) VALUES (?1, ?2, ?3, 0, ?3)",
            v, 3);
    }
    const struct store_value bound = STORE_I64(NOTIFY_QUEUE_MAX);
    if (n->count > 0)
        add(n,
            "DELETE FROM registry_notice WHERE kind = 'webhook' AND id <= (SELECT id FROM registry_notice"
            " WHERE kind = 'webhook' ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            &bound, 1);
}

/* A name that waits already gets a new row, so that a delivery that is under way takes off only its own. */
static void add_replications(struct notices *n, const struct notice *what)
{
    size_t before = n->count;
    for (size_t i = 0; n->policy && i < n->policy->replication_count; i++) {
        const struct registry_replication *rule = &n->policy->replications[i];
        char *names = registry__replicate_names(rule, what);
        if (!names)
            continue;
        strv_take(&n->names, names);
        const struct store_value v[] = {STORE_STR(rule->name), STORE_STR(names), STORE_I64(time_now_ns())};
        add(n,
            "INSERT OR REPLACE INTO registry_notice (kind, webhook, body, created, attempts, due)"
            " SELECT 'replication', ?1, j.value, coalesce((SELECT created FROM registry_notice AS o WHERE"
            " o.kind = 'replication' AND o.webhook = ?1 AND o.body = j.value), ?3), 0, ?3"
            " FROM json_each(?2) AS j",
            v, 3);
    }
    const struct store_value bound = STORE_I64(REPLICATE_QUEUE_MAX);
    if (n->count > before)
        add(n,
            "DELETE FROM registry_notice WHERE kind = 'replication' AND id <= (SELECT id FROM registry_notice"
            " WHERE kind = 'replication' ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            &bound, 1);
}

void registry__notices_make(struct registry *r, const struct notice *what, struct notices *ret)
{
    *ret = (struct notices){.policy = registry_policy_get(r)};
    if (!str_eq(what->action, "sync"))
        add_webhooks(ret, what);
    if (!what->mirrored)
        add_replications(ret, what);
}

void registry__notices_done(struct notices *n)
{
    free(n->body);
    strv_free(n->names);
    registry_policy_unref(n->policy);
}

void registry__notify_wake(struct registry *r)
{
    registry__queue_wake(r->notifier);
    registry__queue_wake(r->replicator);
}

/* --- sending them --- */

static const struct registry_webhook *hook_of(const struct registry_policy *p, const char *name)
{
    for (size_t i = 0; p && i < p->webhook_count; i++)
        if (str_eq(p->webhooks[i].name, name))
            return &p->webhooks[i];
    return NULL;
}

static int post(struct http_client *client, const struct registry_webhook *hook, const struct queue_entry *w,
                const _Atomic bool *closing, int *ret_status, struct err *err)
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
                                   .idle_timeout_ms = 15000,
                                   .cancel = closing};
    struct http_response answer = {0};
    int r = http_client_call(client, &call, &answer, err);
    *ret_status = answer.status;
    http_response_done(&answer);
    return r;
}

static void deliver(struct registry *r, struct http_client *client, const struct queue_entry *w,
                    const _Atomic bool *closing, struct queue_outcome *ret)
{
    _cleanup_policy_ struct registry_policy *p = registry_policy_get(r);
    const struct registry_webhook *hook = hook_of(p, w->receiver);
    struct err err = {0};
    int status = 0;
    bool last = w->attempts + 1 >= NOTIFY_TRIES;
    if (!hook) {
        ret->off = true;
        snprintf(ret->text, sizeof(ret->text), "dropped: there is no such webhook any more");
        return;
    }
    int code = post(client, hook, w, closing, &status, &err);
    bool taken = code == 0 && status >= 200 && status < 300;
    const char *given_up = last && !taken ? "given up: " : "";
    ret->off = taken || (last && !*closing);
    if (code < 0)
        snprintf(ret->text, sizeof(ret->text), "%s%.200s", given_up, err.msg);
    else
        snprintf(ret->text, sizeof(ret->text), "%s%d", given_up, status);
    if (last && ret->off && !taken)
        log_warning("registry: webhook %s: %s", w->receiver, ret->text);
}

/* The first of the rows that are the first of their webhook, and due. */
const struct queue_kind registry__webhooks = {
    .name = "webhook",
    .next = "SELECT id, webhook, body, attempts, due FROM registry_notice WHERE id IN"
            " (SELECT min(id) FROM registry_notice WHERE kind = 'webhook' GROUP BY webhook)"
            " ORDER BY due LIMIT 1",
    .longest_s = NOTIFY_LONGEST_S,
    .deliver = deliver,
};

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
                           " (SELECT * FROM registry_delivery WHERE kind = 'webhook' ORDER BY id DESC"
                           " LIMIT 1000) AS d UNION ALL"
                           " SELECT id, webhook, created, attempts, 'waiting' FROM registry_notice"
                           " WHERE attempts = 0 AND kind = 'webhook'",
                           NULL, 0, add_line, list, err);
    if (code < 0)
        json_decref(list);
    else
        *ret = list;
    return code;
}
