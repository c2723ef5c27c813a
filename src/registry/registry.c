/* Opening, errors, small queries, and the thread that collects garbage. */
#include "base/failpoint.h"
#include "base/log.h"
#include "base/timeutil.h"
#include "registry/notify.h"
#include "registry/replicate.h"
#include "registry/warm.h"

#include <time.h>

static const struct {
    const char *name;
    int status;
} codes[REGISTRY_CODE_MAX_] = {
    [REGISTRY_INTERNAL] = {"UNKNOWN", 500},
    [REGISTRY_BLOB_UNKNOWN] = {"BLOB_UNKNOWN", 404},
    [REGISTRY_BLOB_UPLOAD_INVALID] = {"BLOB_UPLOAD_INVALID", 400},
    [REGISTRY_BLOB_UPLOAD_UNKNOWN] = {"BLOB_UPLOAD_UNKNOWN", 404},
    [REGISTRY_DIGEST_INVALID] = {"DIGEST_INVALID", 400},
    [REGISTRY_MANIFEST_BLOB_UNKNOWN] = {"MANIFEST_BLOB_UNKNOWN", 404},
    [REGISTRY_MANIFEST_INVALID] = {"MANIFEST_INVALID", 400},
    [REGISTRY_MANIFEST_UNKNOWN] = {"MANIFEST_UNKNOWN", 404},
    [REGISTRY_NAME_INVALID] = {"NAME_INVALID", 400},
    [REGISTRY_NAME_UNKNOWN] = {"NAME_UNKNOWN", 404},
    [REGISTRY_SIZE_INVALID] = {"SIZE_INVALID", 400},
    [REGISTRY_UNAUTHORIZED] = {"UNAUTHORIZED", 401},
    [REGISTRY_DENIED] = {"DENIED", 403},
    [REGISTRY_UNSUPPORTED] = {"UNSUPPORTED", 415},
    [REGISTRY_TOO_MANY_REQUESTS] = {"TOOMANYREQUESTS", 429},
    [REGISTRY_RANGE_INVALID] = {"BLOB_UPLOAD_INVALID", 416},
    [REGISTRY_TAG_INVALID] = {"TAG_INVALID", 400},
    [REGISTRY_IN_USE] = {"DENIED", 409},
    [REGISTRY_IMMUTABLE] = {"DENIED", 409},
    [REGISTRY_QUERY_INVALID] = {"UNSUPPORTED", 400},
    [REGISTRY_TOO_LARGE] = {"SIZE_INVALID", 413},
};

const char *registry_code_name(enum registry_code code)
{
    return codes[code].name;
}

int registry_code_status(enum registry_code code)
{
    return codes[code].status;
}

int registry__fail(struct registry_err *err, enum registry_code code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    err->code = code;
    int r = err_vset(&err->cause, codes[code].status == 404 ? ERR_NOT_FOUND : ERR_INVALID, format, ap);
    va_end(ap);
    return r;
}

int registry__internal(struct registry_err *err)
{
    err->code = REGISTRY_INTERNAL;
    return -err->cause.code;
}

/* One part of a name: [a-z0-9]+ with separators between, which are ".", "_", "__" or any number of "-". */
static bool part_valid(const char *part, size_t n)
{
    size_t i = 0;
    for (;;) {
        size_t start = i;
        while (i < n && ((part[i] >= 'a' && part[i] <= 'z') || (part[i] >= '0' && part[i] <= '9')))
            i++;
        if (i == start)
            return false;
        if (i == n)
            return true;
        char separator = part[i];
        size_t length = 0;
        while (i < n && part[i] == separator) {
            i++;
            length++;
        }
        size_t longest = separator == '-' ? n : separator == '_' ? 2 : separator == '.' ? 1 : 0;
        if (length > longest)
            return false;
    }
}

bool registry_name_valid(const char *name)
{
    if (strlen(name) > 255)
        return false;
    for (;;) {
        size_t n = strcspn(name, "/");
        if (!part_valid(name, n))
            return false;
        if (!name[n])
            return true;
        name += n + 1;
    }
}

bool registry_tag_valid(const char *tag)
{
#define WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
    size_t n = strlen(tag);
    return n >= 1 && n <= 128 && strspn(tag, WORD) > 0 && strspn(tag, WORD ".-") == n;
#undef WORD
}

int registry__check_name(const char *name, struct registry_err *err)
{
    if (registry_name_valid(name))
        return 0;
    return registry__fail(
        err, REGISTRY_NAME_INVALID,
        "\"%.300s\" is not a repository's name: lower case letters and digits, joined by . _ __ -, "
        "in parts separated by /, 255 bytes at most",
        name);
}

int registry__check_digest(const char *digest, struct registry_err *err)
{
    if (digest_valid(digest))
        return 0;
    return registry__fail(err, REGISTRY_DIGEST_INVALID, "\"%.200s\" is not a digest of sha256 or sha512",
                          digest);
}

struct texts {
    char **items;
};

static int add_text(void *context, const struct store_value *columns, size_t count, struct err *err)
{
    struct texts *t = context;
    strv_add(&t->items, columns[0].bytes);
    return 0;
}

int registry__texts(struct registry *r, const char *sql, const struct store_value *params, size_t n,
                    char ***ret, struct err *err)
{
    struct texts t = {0};
    int code = store_query(r->store, sql, params, n, add_text, &t, err);
    if (code < 0)
        strv_free(t.items);
    else
        *ret = t.items;
    return code;
}

int registry__text(struct registry *r, const char *sql, const char *const *params, size_t n, char **ret,
                   struct registry_err *err)
{
    struct store_value values[4];
    must(n <= ARRAY_SIZE(values));
    for (size_t i = 0; i < n; i++)
        values[i] = store_text(params[i]);
    _cleanup_strv_ char **list = NULL;
    if (registry__texts(r, sql, values, n, &list, &err->cause) < 0)
        return registry__internal(err);
    *ret = list ? mem_strdup(list[0]) : NULL;
    return 0;
}

int registry__execute(struct registry *r, const char *sql, const struct store_value *params, size_t n,
                      struct registry_err *err)
{
    const struct store_statement s = {.sql = sql, .params = params, .param_count = n, .expect_changes = -1};
    return store_batch(r->store, &s, 1, STORE_DURABLE, &err->cause) < 0 ? registry__internal(err) : 0;
}

/* --- garbage --- */

static int drop_unused(struct registry *r, int64_t before_ns, struct err *err)
{
    static const char unused[] =
        " seen < ? AND NOT EXISTS (SELECT 1 FROM repository_use u"
        " WHERE u.repository = repository_blob.repository AND u.digest = repository_blob.digest)";
    const struct store_value before = STORE_I64(before_ns);
    _cleanup_strv_ char **digests = NULL;
    _cleanup_free_ char *query = str_printf("SELECT DISTINCT digest FROM repository_blob WHERE%s", unused);
    _cleanup_free_ char *drop = str_printf("DELETE FROM repository_blob WHERE%s", unused);
    int code = registry__texts(r, query, &before, 1, &digests, err);
    if (code < 0 || !digests)
        return code;
    const struct store_statement s = {.sql = drop, .params = &before, .param_count = 1, .expect_changes = -1};
    code = store_batch(r->store, &s, 1, STORE_DURABLE, err);
    FAILPOINT("registry-garbage-forgotten");
    if (code == 0)
        content_release(r->images, digests);
    return code;
}

int registry_collect(struct registry *r, int64_t now_ns, struct err *err)
{
    int code = registry__uploads_collect(r, now_ns - r->grace_ns, err);
    return code < 0 ? code : drop_unused(r, now_ns - r->grace_ns, err);
}

static void *collect(void *argument)
{
    struct registry *r = argument;
    pthread_mutex_lock(&r->lock);
    while (!r->closing) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += r->grace_ns / NS_PER_S / 6 + 1;
        pthread_cond_timedwait(&r->wake, &r->lock, &until);
        if (r->closing)
            break;
        pthread_mutex_unlock(&r->lock);
        struct err err = {0};
        if (registry_retention(r, time_now_ns(), false, NULL, &err) < 0)
            log_warning("registry: retention: %s", err.msg);
        if (registry_collect(r, time_now_ns(), &err) < 0)
            log_warning("registry: collect garbage: %s", err.msg);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int registry_start(struct images *im, int64_t grace_ns, struct registry **ret, struct err *err)
{
    struct registry *r = NEW(struct registry);
    r->images = im;
    r->store = content_store(im);
    r->grace_ns = grace_ns ? grace_ns : 3600 * NS_PER_S;
    r->hashes = MAP_INIT(registry__upload_hash_free);
    r->known = MAP_INIT(free);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->quota_lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    pthread_cond_init(&r->fetched, NULL);
    r->fetching = MAP_INIT(NULL);
    int code = registry__sizes_fill(r, err);
    if (code == 0)
        code = registry__warmer_start(&r->warmer, err);
    if (code < 0) {
        registry_stop(r);
        return code;
    }
    int sys = pthread_create(&r->collector, NULL, collect, r);
    if (sys != 0) {
        registry_stop(r);
        return err_sys(err, sys, "start the registry's thread");
    }
    r->collecting = true;
    *ret = r;
    return 0;
}

int registry_deliver(struct registry *r, struct err *err)
{
    int code = registry__queue_start(r, &registry__webhooks, &r->notifier, err);
    return code < 0 ? code : registry__queue_start(r, &registry__replication, &r->replicator, err);
}

void registry_stop(struct registry *r)
{
    if (!r)
        return;
    if (r->collecting) {
        pthread_mutex_lock(&r->lock);
        r->closing = true;
        pthread_cond_signal(&r->wake);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->collector, NULL);
    }
    registry__warmer_stop(r->warmer);
    registry__queue_stop(r->notifier);
    registry__queue_stop(r->replicator);
    registry_policy_unref(r->policy);
    map_done(&r->hashes);
    map_done(&r->known);
    free(r->asked_of);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->quota_lock);
    pthread_cond_destroy(&r->wake);
    pthread_cond_destroy(&r->fetched);
    map_done(&r->fetching);
    free(r);
}
