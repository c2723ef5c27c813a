#include "api/api_priv.h"

#include "base/map.h"
#include "base/timeutil.h"

#include <pthread.h>

enum { INTERVAL_MS = 100, MAX_LAYERS = 4096 };

/* What was last told of a layer. */
struct layer_progress {
    char *phase;
    int64_t told_at;
    bool complete;
};

struct api_progress {
    struct http_request *request;
    pthread_mutex_t lock;
    struct map layers;
    bool quiet;
    json_t *opening;
};

static void layer_free(void *layer)
{
    struct layer_progress *l = layer;
    free(l->phase);
    free(l);
}

struct api_progress *api__progress_new(struct http_request *q, bool quiet)
{
    struct api_progress *p = NEW(struct api_progress);
    p->request = q;
    p->quiet = quiet;
    p->layers = MAP_INIT(layer_free);
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void api__progress_free(struct api_progress *p)
{
    if (!p)
        return;
    map_done(&p->layers);
    json_decref(p->opening);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void api__progress_open_with(struct api_progress *p, json_t *message)
{
    must(message);
    json_decref(p->opening);
    p->opening = message;
}

/* With the lock held. */
static int send_message(struct api_progress *p, json_t *message)
{
    if (!http_answered(p->request))
        http_stream_begin(p->request, 200, "application/json");
    if (p->opening)
        http_stream_json(p->request, take_ptr(p->opening), NULL);
    return http_stream_json(p->request, message, NULL);
}

int api__progress_send(struct api_progress *p, json_t *message)
{
    must(message);
    pthread_mutex_lock(&p->lock);
    int r = send_message(p, message);
    pthread_mutex_unlock(&p->lock);
    return r;
}

int api__progress_status(struct api_progress *p, const char *id, const char *status)
{
    json_t *m = json_object();
    json_set_str(m, "status", status);
    if (!str_empty(id))
        json_set_str(m, "id", id);
    return api__progress_send(p, m);
}

/* The first and the last of a phase, and between them one in a while. */
static bool worth_telling(struct api_progress *p, const char *layer, const char *phase, int64_t current,
                          int64_t total)
{
    int64_t now = time_monotonic_ns();
    bool complete = total > 0 && current >= total;
    struct layer_progress *l = map_get(&p->layers, layer);
    if (!l) {
        if (p->layers.count >= MAX_LAYERS)
            return false;
        l = NEW(struct layer_progress);
        map_put(&p->layers, layer, l);
    } else if (str_eq(l->phase, phase) &&
               (complete ? l->complete : now - l->told_at < INTERVAL_MS * NS_PER_MS)) {
        return false;
    }
    if (!str_eq(l->phase, phase)) {
        free(l->phase);
        l->phase = mem_strdup(phase);
    }
    l->told_at = now;
    l->complete = complete;
    return true;
}

static char *human_size(int64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double size = (double)bytes;
    size_t unit = 0;
    while (size >= 1000 && unit + 1 < ARRAY_SIZE(units)) {
        size /= 1000;
        unit++;
    }
    return str_printf("%.4g%s", size, units[unit]);
}

/* The bar that Docker draws for clients which do not draw one themselves. */
static char *bar(int64_t current, int64_t total)
{
    enum { WIDTH = 50 };
    _cleanup_free_ char *so_far = human_size(current), *all = human_size(total);
    if (total <= 0)
        return str_printf("%8s", so_far);
    int filled = current >= total ? WIDTH : (int)((double)current / (double)total * 100) / 2;
    struct str s = STR_INIT;
    str_addc(&s, '[');
    for (int i = 0; i < WIDTH; i++)
        str_addc(&s, i < filled ? '=' : i == filled ? '>' : ' ');
    str_addf(&s, filled == WIDTH ? ">] %8s/%s" : " ] %8s/%s", so_far, all);
    return str_take(&s);
}

static int report(void *context, const char *layer, const char *phase, int64_t current, int64_t total)
{
    struct api_progress *p = context;
    int r = 0;
    pthread_mutex_lock(&p->lock);
    if (p->quiet) {
        r = http_peer_gone(p->request) ? -ERR_CANCELLED : 0;
    } else if (phase && worth_telling(p, layer, phase, current, total)) {
        json_t *detail = json_object();
        if (current > 0 || total > 0)
            json_object_set_new(detail, "current", json_integer(current));
        if (total > 0)
            json_object_set_new(detail, "total", json_integer(total));
        json_t *m = json_object();
        json_set_str(m, "status", phase);
        bool moving = json_object_size(detail) > 0;
        if (!str_empty(layer) || moving)
            json_object_set(m, "progressDetail", detail);
        json_decref(detail);
        if (moving) {
            _cleanup_free_ char *drawn = bar(current, total);
            json_set_str(m, "progress", drawn);
        }
        if (!str_empty(layer))
            json_set_str(m, "id", layer);
        r = send_message(p, m);
    } else if (http_peer_gone(p->request)) {
        r = -ERR_CANCELLED;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

struct image_progress api__progress_image(struct api_progress *p)
{
    return (struct image_progress){.context = p, .report = report};
}

int api__progress_fail(struct api_progress *p, struct err *err)
{
    return api__progress_fail_with(p, err, 0);
}

int api__progress_fail_with(struct api_progress *p, struct err *err, int exit_code)
{
    api__advise(err);
    if (!http_answered(p->request))
        return -err->code;
    json_t *m = json_object(), *detail = json_object();
    if (exit_code)
        json_object_set_new(detail, "code", json_integer(exit_code));
    json_set_str(detail, "message", err->msg);
    json_object_set_new(m, "errorDetail", detail);
    json_set_str(m, "error", err->msg);
    api__progress_send(p, m);
    return 0;
}

void api__progress_end(struct api_progress *p)
{
    pthread_mutex_lock(&p->lock);
    if (!http_answered(p->request))
        http_stream_begin(p->request, 200, "application/json");
    pthread_mutex_unlock(&p->lock);
}
