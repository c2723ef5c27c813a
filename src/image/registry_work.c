#include "image/registry.h"

#include "base/digest.h"
#include "base/err.h"

#include <pthread.h>

enum { WORK_THREADS = 3 };

struct work {
    json_t *descriptors;
    registry_each_fn one;
    void *context;
    pthread_mutex_t lock; /* below */
    size_t next;
    bool failed;
    struct err err; /* of the first that failed */
};

static const json_t *next_descriptor(struct work *w, int result, const struct err *err)
{
    pthread_mutex_lock(&w->lock);
    if (result < 0 && !w->failed) {
        w->failed = true;
        w->err = *err;
    }
    const json_t *next = w->failed ? NULL : json_array_get(w->descriptors, w->next++);
    pthread_mutex_unlock(&w->lock);
    return next;
}

static void *work_thread(void *context)
{
    struct work *w = context;
    struct err err = {0};
    struct http_client *client = NULL;
    int r = http_client_new(NULL, &client, &err);
    for (const json_t *d; (d = next_descriptor(w, r, &err));)
        r = w->one(w->context, client, d, &err);
    http_client_free(client);
    return NULL;
}

int registry_for_each(json_t *descriptors, registry_each_fn one, void *context, struct err *err)
{
    struct work w = {
        .descriptors = descriptors, .one = one, .context = context, .lock = PTHREAD_MUTEX_INITIALIZER};
    size_t wanted = MIN(json_array_size(descriptors), (size_t)WORK_THREADS), started = 0;
    pthread_t threads[WORK_THREADS];
    while (started < wanted && pthread_create(&threads[started], NULL, work_thread, &w) == 0)
        started++;
    if (!started)
        work_thread(&w);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return w.failed ? err_copy(err, &w.err) : 0;
}

int registry_report(const struct image_progress *p, const char *layer, const char *phase, int64_t current,
                    int64_t total, struct err *err)
{
    if (p && p->report && p->report(p->context, layer, phase, current, total) != 0)
        return err_set(err, ERR_CANCELLED, "cancelled");
    return 0;
}

void registry_short_id(const char *digest, char out[13])
{
    snprintf(out, 13, "%.12s", digest_hex(digest));
}
