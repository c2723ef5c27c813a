#include "keeper/daemon.h"

#include "base/log.h"

#include <unistd.h>

/* After so many launches another takes its place: a child leaves what it has allocated. */
enum { LAUNCHES_EACH = 500, LAUNCHES_BEFORE = 2 };

void starters_init(struct daemon *d)
{
    for (size_t i = 0; i < STARTERS_MAX; i++)
        d->starters[i] = (struct starter){.d = d, .w = WATCH_NONE};
}

static void end(struct starter *s)
{
    if (s->w.fd < 0)
        return;
    if (s->busy_with)
        s->busy_with->starter = NULL;
    s->busy_with = NULL;
    watch_set(&s->d->loop, &s->w, 0);
    runtime_starter_end(&s->starter);
    s->w.fd = -EBADF;
}

static void hung_up(struct watch *w, uint32_t events)
{
    end(OWNER(w, struct starter, w));
}

static void begin(struct starter *s)
{
    struct err err;
    s->launches = 0;
    if (runtime_starter_begin(launch_read_spec, s->d, &s->starter, &err) == 0) {
        watch_start(&s->d->loop, &s->w, s->starter.fd, EPOLLRDHUP, hung_up);
        s->starter.fd = s->w.fd; /* where it has been parked */
    } else if (err.code != ERR_UNSUPPORTED) {
        log_warning("no process to make containers: %s", err.msg);
    }
}

struct starter *starters_idle(struct daemon *d)
{
    for (size_t i = 0; i < STARTERS_MAX; i++)
        if (d->starters[i].w.fd >= 0 && !d->starters[i].busy_with)
            return &d->starters[i];
    return NULL;
}

void starter_begins(struct starter *s, struct process *p)
{
    s->busy_with = p;
    s->launches++;
    p->starter = s;
}

void starter_done(struct process *p, bool executed)
{
    struct starter *s = p->starter;
    p->starter = NULL;
    if (!s)
        return;
    s->busy_with = NULL;
    if (!executed || s->launches >= LAUNCHES_EACH)
        end(s);
}

void starters_refill(struct daemon *d, bool was_missed)
{
    if (!was_missed || d->launches++ < LAUNCHES_BEFORE)
        return;
    for (size_t i = 0; i < STARTERS_MAX; i++)
        if (d->starters[i].w.fd < 0) {
            begin(&d->starters[i]);
            return;
        }
}

bool starters_know(const struct daemon *d, pid_t pid)
{
    for (size_t i = 0; i < STARTERS_MAX; i++) {
        const struct starter *s = &d->starters[i];
        if (s->w.fd >= 0 && (s->starter.pid == pid || (s->busy_with && !s->busy_with->pid)))
            return true;
    }
    return false;
}

void starters_end(struct daemon *d)
{
    for (size_t i = 0; i < STARTERS_MAX; i++)
        end(&d->starters[i]);
}
