#include "api/api_priv.h"

#include "base/file.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

enum { BUFFER_BYTES = 64 << 10, STACK_BYTES = 512 << 10 };

static int start_thread(pthread_t *ret, void *(*run)(void *), void *argument, struct err *err)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    int r = pthread_create(ret, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return r ? err_sys(err, r, "start a thread") : 0;
}

struct production {
    int (*produce)(void *context, int fd, struct err *err);
    void *context;
    int fd;
    int result;
    struct err err;
};

static void *run_production(void *argument)
{
    struct production *p = argument;
    p->result = p->produce(p->context, p->fd, &p->err);
    p->fd = close_fd(p->fd);
    return NULL;
}

/* The head goes out with the first byte, so that an error before it is still an HTTP status. */
static int copy_out(struct http_request *q, const char *content_type, int fd, struct err *err)
{
    _cleanup_free_ char *buffer = mem_new(BUFFER_BYTES);
    for (;;) {
        ssize_t n = read(fd, buffer, BUFFER_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read from a pipe");
        if (n == 0)
            return 0;
        if (!http_answered(q))
            http_stream_begin(q, 200, content_type);
        int r = http_stream_write(q, buffer, (size_t)n, err);
        if (r < 0)
            return r;
    }
}

int api__stream_out(struct http_request *q, const char *content_type,
                    int (*produce)(void *context, int fd, struct err *err), void *context, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    struct production p = {.produce = produce, .context = context, .fd = ends[1]};
    pthread_t thread;
    int r = start_thread(&thread, run_production, &p, err);
    if (r < 0) {
        close(ends[0]);
        close(ends[1]);
        return r;
    }
    r = copy_out(q, content_type, ends[0], err);
    close(ends[0]); /* a producer that nobody reads gets EPIPE */
    pthread_join(thread, NULL);
    if (r == 0 && p.result < 0)
        r = err_copy(err, &p.err);
    return r;
}

struct supply {
    struct http_request *request;
    int fd;
    bool failed; /* set before the consumer can see the end */
    struct err err;
};

static void *run_supply(void *argument)
{
    struct supply *s = argument;
    _cleanup_free_ char *buffer = mem_new(BUFFER_BYTES);
    ssize_t n;
    while ((n = http_body_read(s->request, buffer, BUFFER_BYTES, &s->err)) > 0)
        if (file_write_all(s->fd, buffer, (size_t)n, NULL) < 0)
            break; /* the consumer has what it wanted */
    __atomic_store_n(&s->failed, n < 0, __ATOMIC_RELEASE);
    s->fd = close_fd(s->fd);
    return NULL;
}

int api__stream_in(struct http_request *q, int (*consume)(void *context, int fd, struct err *err),
                   void *context, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    struct supply s = {.request = q, .fd = ends[1]};
    pthread_t thread;
    int r = start_thread(&thread, run_supply, &s, err);
    if (r < 0) {
        close(ends[0]);
        close(ends[1]);
        return r;
    }
    r = consume(context, ends[0], err);
    bool torn = __atomic_load_n(&s.failed, __ATOMIC_ACQUIRE);
    close(ends[0]);
    http_body_discard(q);
    pthread_join(thread, NULL);
    return r == 0 && torn ? err_copy(err, &s.err) : r;
}
