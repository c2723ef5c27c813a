/* syslog: RFC 3164 and 5424 (RFC 5425 for its framing over TLS), in the forms that Docker writes. */
#include "logdriver/driver.h"

#include "base/json.h"
#include "base/timeutil.h"

#include <time.h>
#include <unistd.h>

enum { SEVERITY_ERROR = 3, SEVERITY_INFO = 6 };

struct syslog {
    struct driver d;
    enum syslog_format format;
    int facility;
    bool counted; /* each message has its length before it */
    char *tag, host[256];
};

/* The local time, as RFC 3164 wants it and as people read it in 5424's. */
static void add_syslog_time(struct str *to, enum syslog_format format, int64_t ns)
{
    time_t seconds = (time_t)(ns / NS_PER_S);
    struct tm tm;
    char text[64], zone[8];
    localtime_r(&seconds, &tm);
    if (format == SYSLOG_UNIX || format == SYSLOG_RFC3164) {
        strftime(text, sizeof(text), "%b %e %H:%M:%S", &tm);
        str_add(to, text);
        return;
    }
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    strftime(zone, sizeof(zone), "%z", &tm);
    str_add(to, text);
    if (format == SYSLOG_RFC5424_MICRO)
        str_addf(to, ".%06d", (int)(ns % NS_PER_S / 1000));
    if (strcmp(zone, "+0000") == 0)
        str_addc(to, 'Z');
    else
        str_addf(to, "%.3s:%s", zone, zone + 3);
}

static void add_head(struct syslog *s, const struct log_entry *e, struct str *to)
{
    int priority = s->facility << 3 | (e->stream == 2 ? SEVERITY_ERROR : SEVERITY_INFO);
    bool modern = s->format == SYSLOG_RFC5424 || s->format == SYSLOG_RFC5424_MICRO;
    str_addf(to, modern ? "<%d>1 " : "<%d>", priority);
    add_syslog_time(to, s->format, e->time_ns);
    if (modern)
        str_addf(to, " %s %s %d %s - ", s->host, s->tag, (int)getpid(), s->tag);
    else if (s->format == SYSLOG_RFC3164)
        str_addf(to, " %s %s[%d]: ", s->host, s->tag, (int)getpid());
    else
        str_addf(to, " %s[%d]: ", s->tag, (int)getpid());
}

static void syslog_add(struct driver *d, const struct log_entry *entry, struct batch *b)
{
    struct syslog *s = (struct syslog *)d;
    struct log_entry e = driver_bare(entry);
    _cleanup_str_ struct str head = STR_INIT;
    size_t from = b->bytes.len;
    add_head(s, &e, &head);
    if (s->counted)
        str_addf(&b->bytes, "%zu ", head.len + e.size + 1);
    str_addn(&b->bytes, head.data, head.len);
    str_addn(&b->bytes, e.bytes, e.size);
    str_addc(&b->bytes, '\n');
    batch_piece(b, from, e.stream, true);
}

static void syslog_free(struct driver *d)
{
    struct syslog *s = (struct syslog *)d;
    free(s->tag);
    free(s);
}

static const struct driver_ops ops = {.add = syslog_add, .free = syslog_free, .pieces_max = 1};

int driver_syslog(const struct logdriver_info *info, struct driver **ret, struct err *err)
{
    struct syslog *s = NEW(struct syslog);
    const json_t *o = info->options;
    s->d = (struct driver){.ops = &ops,
                           .tries_max = -1,
                           .wire = {.ca = json_str(o, "syslog-tls-ca-cert"),
                                    .certificate = json_str(o, "syslog-tls-cert"),
                                    .key = json_str(o, "syslog-tls-key"),
                                    .skip_verify = json_object_get(o, "syslog-tls-skip-verify"),
                                    .retry_ms = 500}};
    int r = options_syslog_address(o, &s->d.wire.address, err);
    if (r == 0)
        r = options_syslog_facility(o, &s->facility, err);
    if (r == 0)
        r = options_syslog_format(o, &s->format, err);
    if (r == 0)
        r = logdriver_tag(info, "{{.ID}}", &s->tag, err);
    if (r < 0) {
        syslog_free(&s->d);
        return r;
    }
    s->counted = s->d.wire.address.transport == TRANSPORT_TLS &&
                 (s->format == SYSLOG_RFC5424 || s->format == SYSLOG_RFC5424_MICRO);
    if (gethostname(s->host, sizeof(s->host) - 1) < 0)
        snprintf(s->host, sizeof(s->host), "localhost");
    *ret = &s->d;
    return 0;
}
