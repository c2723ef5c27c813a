#include "api/build_limit.h"

#include "base/lock.h"
#include "base/log.h"
#include "base/timeutil.h"

#include <pthread.h>
#include <sys/statvfs.h>

enum { PART_OF_DISK = 10 };

struct build_limit {
    struct api *api;
    int64_t max_bytes, max_age_ns;
    pthread_mutex_t lock; /* all below */
    unsigned builds;
    int64_t since_ns; /* the oldest build's beginning, at the earliest */
    pthread_t thread;
    bool has_thread, at_work, again;
};

struct build_limit *build_limit_new(struct api *a)
{
    struct build_limit *l = NEW(struct build_limit);
    l->api = a;
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

void build_limit_free(struct build_limit *l)
{
    if (!l)
        return;
    if (l->has_thread)
        pthread_join(l->thread, NULL);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static int64_t part_of_disk(struct api *a)
{
    struct statvfs v;
    return statvfs(engine_root(a->engine), &v) < 0 ? 0 : (int64_t)(v.f_blocks * v.f_frsize) / PART_OF_DISK;
}

void build_limit_set(struct build_limit *l, int64_t max_bytes, int64_t max_age_ns)
{
    l->max_bytes = max_bytes < 0 ? part_of_disk(l->api) : max_bytes;
    l->max_age_ns = max_age_ns;
}

static void *keep(void *context)
{
    struct build_limit *l = context;
    for (bool more = true; more;) {
        struct err err;
        int64_t since = l->max_age_ns ? time_now_ns() - l->max_age_ns : 0;
        if (api__limit_build_cache(l->api, l->max_bytes, since, &err) < 0)
            log_warning("keep the build cache within its bounds: %s", err.msg);
        SCOPED_LOCK(locked, &l->lock);
        more = l->again;
        l->again = false;
        l->at_work = more;
    }
    return NULL;
}

void build_limit_begin(struct build_limit *l)
{
    SCOPED_LOCK(locked, &l->lock);
    if (!l->builds++)
        l->since_ns = time_now_ns();
}

void build_limit_end(struct build_limit *l)
{
    SCOPED_LOCK(locked, &l->lock);
    l->builds--;
    if (!l->max_bytes && !l->max_age_ns)
        return;
    if (l->at_work) {
        l->again = true;
        return;
    }
    if (l->has_thread) /* it has ended */
        pthread_join(l->thread, NULL);
    l->at_work = l->has_thread = pthread_create(&l->thread, NULL, keep, l) == 0;
}

int64_t build_limit_in_use_from(struct build_limit *l)
{
    SCOPED_LOCK(locked, &l->lock);
    return l->builds ? l->since_ns : 0;
}

bool build_limit_keep_idle(struct build_limit *l)
{
    pthread_mutex_lock(&l->lock);
    if (!l->builds)
        return true;
    pthread_mutex_unlock(&l->lock);
    return false;
}

void build_limit_let_go(struct build_limit *l)
{
    pthread_mutex_unlock(&l->lock);
}
