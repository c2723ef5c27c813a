/* The start of a container of `drover run`, and what it says until its end. */
#include "cli/attach.h"
#include "cli/call.h"
#include "cli/run_priv.h"
#include "cli/stream.h"

#include <pthread.h>

/* Waits for the end in a thread of its own: it has to be asked for before the start, or a quick container
 * that is removed at its end would be gone. */
struct waiting {
    const char *id;
    bool remove;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool registered;
    int result, status;
    struct err err;
};

static void registered(struct waiting *w)
{
    pthread_mutex_lock(&w->mutex);
    w->registered = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

static void on_head(void *context, int status, const char *type)
{
    registered(context);
}

static void *wait_for_end(void *context)
{
    struct waiting *w = context;
    _cleanup_free_ char *path =
        str_printf("/containers/%s/wait?condition=%s", w->id, w->remove ? "removed" : "next-exit");
    struct http_call call = {.method = "POST", .head = on_head, .head_context = w};
    struct http_response response = {0};
    w->result = cli_exchange(&call, path, &response, &w->err);
    if (w->result == 0) {
        _cleanup_json_ json_t *answer = json_loadb(str_get(&response.body), response.body.len, 0, NULL);
        w->status = (int)json_int(answer, "StatusCode");
    }
    http_response_done(&response);
    registered(w);
    return NULL;
}

static void begin_waiting(struct waiting *w)
{
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    must(pthread_create(&w->thread, NULL, wait_for_end, w) == 0);
    pthread_mutex_lock(&w->mutex);
    while (!w->registered)
        pthread_cond_wait(&w->changed, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
}

static int status_of_start(const struct err *err)
{
    bool missing =
        strstr(err->msg, "not found") || strstr(err->msg, "no such file") || strstr(err->msg, "No such file");
    bool refused = strstr(err->msg, "ermission denied") || strstr(err->msg, "exec format") ||
                   strstr(err->msg, "Exec format");
    return missing ? STATUS_NOT_FOUND : refused ? STATUS_CANNOT_RUN : STATUS_FAILED;
}

static int start_attached(const struct run_options *o, const char *id)
{
    struct err err;
    bool detached = false;
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str early = STR_INIT;
    int r = cli_hijack(NULL, &fd, &early, &err, "/containers/%s/attach?stream=1&stdout=1&stderr=1&stdin=%d",
                       id, o->interactive);
    if (r < 0) {
        cli_fail(&err);
        return STATUS_FAILED;
    }
    static struct waiting w; /* its thread may outlive this call, until the process ends */
    w.id = id;
    w.remove = o->remove;
    begin_waiting(&w);
    r = cli_call("POST", NULL, NULL, &err, "/containers/%s/start", id);
    if (r < 0) {
        struct err ignored;
        cli_fail(&err);
        if (o->remove)
            cli_call("DELETE", NULL, NULL, &ignored, "/containers/%s?force=1&v=1", id);
        return status_of_start(&err); /* the waiting thread ends with the process */
    }
    const struct stream stream = {.fd = fd,
                                  .early = &early,
                                  .tty = o->tty,
                                  .input = o->interactive,
                                  .keep_signals = !o->tty,
                                  .context = (void *)(uintptr_t)id,
                                  .resize = attach_resize,
                                  .signal = attach_signal};
    r = stream_run(&stream, &detached, &err);
    if (r < 0)
        return cli_fail(&err);
    if (detached)
        return 0;
    pthread_join(w.thread, NULL);
    return w.result < 0 ? cli_fail(&w.err) : w.status;
}

int run__start(const struct run_options *o, const char *id)
{
    struct err err;
    if (!o->detach)
        return start_attached(o, id);
    if (cli_call("POST", NULL, NULL, &err, "/containers/%s/start", id) < 0) {
        cli_fail(&err);
        return status_of_start(&err);
    }
    printf("%s\n", id);
    return 0;
}
