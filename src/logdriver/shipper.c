/* One shipper: batches out of its log, over its wire or into its file. */
#include "logdriver/shipper_priv.h"

#include "base/json.h"
#include "base/log.h"
#include "base/timeutil.h"

#include <unistd.h>

enum {
    BATCHES_A_STEP = 2,
    ACKNOWLEDGED_ASK_MS = 2, /* how often the kernel is asked; its answer takes a network's round trip */
    BLOCKED_ASK_MS = 50,     /* beside the event, which datagrams' full queues do not always give */
    ACKNOWLEDGE_MAX_S = 60,
};

static void wake_in(struct shipper *s, int64_t ms)
{
    int64_t at = time_monotonic_ns() + ms * NS_PER_MS;
    if (!s->wake_at_ns || at < s->wake_at_ns)
        s->wake_at_ns = at;
}

/* --- reading --- */

static bool has_ended(void *context)
{
    return ((struct shipper *)context)->ended;
}

static int open_reader(struct shipper *s, struct err *err)
{
    struct log_reader_options o = {.path = s->log,
                                   .tail = -1,
                                   .patient = true,
                                   .place = cursor_place(&s->cursor),
                                   .ended = has_ended,
                                   .context = s};
    log_reader_close(s->reader);
    s->reader = NULL;
    s->at_end = false;
    s->missed = 0;
    return log_reader_open(&o, &s->reader, err);
}

static void count_missed(struct shipper *s)
{
    uint64_t missed = log_reader_missed(s->reader);
    s->cursor.page->missed_files += missed - s->missed;
    s->missed = missed;
}

/* The next line that has not been sent. */
static bool next_line(struct shipper *s, struct log_entry *ret)
{
    struct err err;
    while (log_reader_next(s->reader, ret, &err) > 0) {
        int64_t *skip = &s->skip[ret->stream - 1];
        if (!*skip)
            return true;
        --*skip;
    }
    count_missed(s);
    s->at_end = s->ended;
    return false;
}

static bool has_room(const struct shipper *s)
{
    const struct batch *b = &s->batch;
    bool file_full = s->driver->file && s->file_size + (int64_t)b->bytes.len >= s->driver->file_max_bytes;
    /* A small bound on what waits is no bound on half of it being sent. */
    int64_t most =
        s->driver->backlog_bytes ? MIN(s->driver->backlog_bytes / 2, (int64_t)BATCH_BYTES) : BATCH_BYTES;
    return b->count + s->driver->ops->pieces_max <= BATCH_PIECES && (int64_t)b->bytes.len < most &&
           (!file_full || !b->count);
}

static void set_pointers(struct batch *b)
{
    const char *at = b->bytes.data;
    for (size_t i = 0; i < b->count; at += b->data[i++].size)
        b->data[i].bytes = at;
}

/* All has been read: what rotation kept for it goes. */
static void tidy(struct shipper *s)
{
    uint64_t needed = s->cursor.page->needed;
    if (needed != s->pruned || s->ended)
        log_file_prune(s->log, s->local_files, needed);
    s->pruned = needed;
}

/* False: there is nothing to send. */
static bool fill(struct shipper *s)
{
    struct log_entry entry;
    s->batch.piece = s->cursor.page->piece;
    while (has_room(s) && next_line(s, &entry))
        s->driver->ops->add(s->driver, &entry, &s->batch);
    if (!s->batch.count) {
        str_free(&s->batch.bytes);
        tidy(s);
        return false;
    }
    set_pointers(&s->batch);
    log_reader_place(s->reader, s->after);
    if (s->driver->file)
        s->cursor.page->file_size = s->file_size;
    s->next = s->acknowledged = 0;
    cursor_begin(&s->cursor, s->batch.count);
    return true;
}

static int64_t lines_from(const struct shipper *s, size_t piece)
{
    int64_t lines = 0;
    for (size_t i = piece; i < s->batch.count; i++)
        lines += s->batch.piece[i].last;
    return lines;
}

static void finish_batch(struct shipper *s, size_t sent)
{
    int64_t dropped = lines_from(s, sent);
    s->cursor.page->sent_lines += (uint64_t)(lines_from(s, 0) - dropped);
    s->cursor.page->dropped_lines += (uint64_t)dropped;
    cursor_finish(&s->cursor, s->after, s->skip);
    s->batch.count = 0;
    str_clear(&s->batch.bytes);
}

/* --- giving up --- */

/* Drops the oldest of what waits until no more than `bytes` of the log are left. */
static void shed(struct shipper *s, int64_t bytes)
{
    struct log_entry entry;
    if (log_reader_backlog(s->reader) + (int64_t)s->batch.bytes.len <= bytes)
        return;
    if (s->batch.count)
        finish_batch(s, s->next);
    while (log_reader_backlog(s->reader) > bytes && next_line(s, &entry))
        s->cursor.page->dropped_lines++;
    log_reader_place(s->reader, s->after);
    cursor_finish(&s->cursor, s->after, s->skip);
}

static void shed_if_wanted(struct shipper *s)
{
    const struct driver *d = s->driver;
    if (d->backlog_bytes)
        shed(s, d->backlog_bytes);
    if (d->tries_max >= 0 && s->wire.failures > d->tries_max)
        shed(s, 0);
}

/* --- over a wire --- */

static void say_why(struct shipper *s)
{
    if (!str_eq(s->why, s->wire.why) && *s->wire.why)
        log_warning("container %.12s: its log driver's destination is away: %s", s->id, s->wire.why);
    else if (*s->why && !*s->wire.why)
        log_info("container %.12s: its log driver's destination is there again", s->id);
    snprintf(s->why, sizeof(s->why), "%s", s->wire.why);
}

/* The first piece that the collector does not have. */
static size_t first_missing(const struct shipper *s)
{
    size_t i = 0;
    if (s->driver->acknowledges)
        return s->acknowledged;
    if (s->wire.o.address.transport == TRANSPORT_UDP)
        return s->next - (s->wire.refused && s->next ? 1 : 0);
    while (i < s->next && s->batch.data[i].end <= s->wire.acknowledged)
        i++;
    return i;
}

/* The connection is down: what did not arrive is sent again on the next one, from a line's beginning. */
static void lost(struct shipper *s)
{
    say_why(s);
    str_clear(&s->said);
    if (!s->batch.count)
        return;
    size_t i = first_missing(s);
    while (i > 0 && !s->batch.piece[i - 1].last)
        i--;
    cursor_restart(&s->cursor, i);
    for (size_t k = 0; k < i; k++)
        s->batch.data[k].end = 0; /* of a connection that is no more */
    s->next = i;
}

static bool bring_up(struct shipper *s)
{
    if (s->wire.state == WIRE_UP)
        return true;
    enum wire_state before = s->wire.state;
    wire_step(&s->wire);
    if (s->wire.state == WIRE_UP) {
        if (before != WIRE_UP)
            say_why(s);
        return true;
    }
    say_why(s);
    shed_if_wanted(s);
    if (s->wire.state == WIRE_DOWN)
        wake_in(s, MAX((s->wire.retry_at_ns - time_monotonic_ns()) / NS_PER_MS + 1, INT64_C(1)));
    return false;
}

/* Pieces come back acknowledged: by the collector, or by its kernel. */
static bool is_acknowledged(struct shipper *s)
{
    if (!s->driver->acknowledges) {
        if (wire_acknowledged(&s->wire) >= s->batch.data[s->batch.count - 1].end || s->next == 0)
            return true;
        wake_in(s, ACKNOWLEDGED_ASK_MS);
    } else {
        ssize_t n = s->driver->ops->acknowledged(s->driver, &s->said);
        s->acknowledged += n > 0 ? (size_t)n : 0;
        if (s->acknowledged >= s->batch.count)
            return true;
        if (n < 0)
            wire_drop(&s->wire, "it acknowledged what was not sent");
        wake_in(s, 1000);
    }
    if (s->wire.state == WIRE_UP && time_monotonic_ns() - s->sent_at_ns > ACKNOWLEDGE_MAX_S * NS_PER_S)
        wire_drop(&s->wire, "it does not acknowledge what it is sent");
    if (s->wire.state != WIRE_UP)
        lost(s);
    return false;
}

static bool is_refused(struct shipper *s)
{
    if (!wire_hung_up(&s->wire, s->driver->acknowledges ? &s->said : NULL))
        return false;
    /* What it acknowledged before it went counts. */
    if (s->driver->acknowledges && s->batch.count) {
        ssize_t n = s->driver->ops->acknowledged(s->driver, &s->said);
        s->acknowledged += n > 0 ? (size_t)n : 0;
    }
    wire_drop(&s->wire, s->wire.refused ? "nobody listens there" : "it ended the connection");
    lost(s);
    wake_in(s, s->wire.delay_ms);
    return true;
}

/* True when the collector has the batch. */
static bool over_wire(struct shipper *s)
{
    if (!bring_up(s) || is_refused(s))
        return false;
    if (s->next < s->batch.count) {
        size_t before = s->next;
        s->next = wire_send(&s->wire, &s->cursor, s->batch.data, s->next, s->batch.count);
        s->sent_at_ns = time_monotonic_ns();
        if (s->wire.state != WIRE_UP) {
            lost(s);
            wake_in(s, s->wire.delay_ms);
            return false;
        }
        if (s->next < s->batch.count) {
            if (s->next > before)
                s->due = true;
            wake_in(s, BLOCKED_ASK_MS);
            shed_if_wanted(s);
            return false;
        }
        if (is_refused(s))
            return false;
    }
    return is_acknowledged(s);
}

/* --- both --- */

bool shipper__finished(const struct shipper *s)
{
    return s->at_end && s->ended && !s->batch.count;
}

void shipper__step(struct shipper *s)
{
    struct err err;
    s->due = false;
    s->wake_at_ns = 0;
    if (s->at_end && !s->ended && !s->batch.count && open_reader(s, &err) < 0)
        log_error("container %.12s: its log cannot be read: %s", s->id, err.msg);
    for (int i = 0; i < BATCHES_A_STEP && s->reader; i++) {
        if (!s->batch.count && !fill(s)) {
            if (!s->driver->file && s->wire.state == WIRE_UP && is_refused(s))
                s->wake_at_ns = 0; /* there is nothing to send: it is made again when there is */
            return;
        }
        if (!(s->driver->file ? shipper__to_file(s) : over_wire(s)))
            return;
        finish_batch(s, s->batch.count);
        if (shipper__finished(s)) { /* nobody will step it again */
            tidy(s);
            return;
        }
    }
    s->due = true;
}

struct shipper *shipper__new(const char *id, const char *log, bool running)
{
    struct shipper *s = NEW(struct shipper);
    s->id = mem_strdup(id);
    s->log = mem_strdup(log);
    s->file_fd = s->watch = s->wire.fd = -EBADF;
    s->since_ns = time_monotonic_ns();
    s->ended = !running;
    s->due = true;
    return s;
}

/* What is left of another process's batch is a batch anew, from its beginning less what was sent of it. That
 * is noted before the batch begins: this process may be killed in it as well. */
static void resume(struct shipper *s)
{
    const int64_t *before = cursor_skip(&s->cursor);
    int64_t known = before[0] + before[1];
    memcpy(s->skip, before, sizeof(s->skip));
    if (s->driver->file)
        shipper__resume_file(s);
    else
        cursor_add_sent_lines(&s->cursor, s->skip);
    s->cursor.page->sent_lines += (uint64_t)(s->skip[0] + s->skip[1] - known);
    cursor_finish(&s->cursor, cursor_place(&s->cursor), s->skip);
}

static int awaken(struct shipper *s, const struct shipment *what, struct err *err)
{
    struct shipment with = *what;
    /* 45 KB, which a container that says nothing is spared. */
    s->after = s->after ? s->after : NEW(struct log_place);
    s->batch.data = s->batch.data ? s->batch.data : NEW_N(struct wire_data, PIECES_MAX);
    s->options = json_deep_copy(what->info.options);
    with.info.options = s->options;
    s->local_files = logdriver_local(what->type, s->options).max_files;
    _cleanup_free_ char *cursor = str_printf("%s.cursor", s->log);
    int r = driver_open(what->type, &with.info, what->file, &s->driver, err);
    if (r == 0)
        r = cursor_open(cursor, &s->cursor, err);
    if (r < 0)
        return r;
    resume(s);
    return open_reader(s, err);
}

int shipper__awaken(struct shipper *s, const struct shipment *what, int wake_fd, struct err *err)
{
    int r = awaken(s, what, err);
    if (r < 0) {
        driver_free(s->driver);
        s->driver = NULL;
        cursor_close(&s->cursor);
        json_decref(s->options);
        s->options = NULL;
        s->skip[0] = s->skip[1] = 0;
        s->file_fd = close_fd(s->file_fd);
    } else if (!s->driver->file)
        wire_init(&s->wire, &s->driver->wire, wake_fd);
    return r;
}

void shipper__free(struct shipper *s)
{
    if (!s)
        return;
    wire_done(&s->wire);
    log_reader_close(s->reader);
    cursor_close(&s->cursor);
    driver_free(s->driver);
    close_fd(s->file_fd);
    json_decref(s->options);
    str_free(&s->batch.bytes);
    free(s->batch.data);
    free(s->after);
    str_free(&s->said);
    free(s->id);
    free(s->log);
    free(s);
}

int shippers_probe(enum logdriver_type type, const struct logdriver_info *info, struct err *err)
{
    enum { PROBE_MS = 10000 };
    struct driver *d;
    bool async = options_bool(info->options, "fluentd-async", false) ||
                 options_bool(info->options, "fluentd-async-connect", false);
    if (!logdriver_ships(type) || type == LOGDRIVER_JSON_FILE || async)
        return 0;
    int r = driver_open(type, info, "", &d, err);
    if (r < 0)
        return err_wrap(err, "failed to initialize logging driver");
    r = wire_probe(&d->wire.address, PROBE_MS, err);
    driver_free(d);
    if (r < 0 && type == LOGDRIVER_JOURNALD)
        err_set(err, ERR_UNAVAILABLE, "journald is not enabled on this host");
    return r < 0 ? err_wrap(err, "failed to initialize logging driver") : 0;
}
