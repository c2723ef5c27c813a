#include "logdriver/driver.h"

#include "base/json.h"
#include "base/timeutil.h"

#include <string.h>
#include <time.h>

void batch_piece(struct batch *b, size_t from, int stream, bool last)
{
    must(b->count < PIECES_MAX);
    size_t size = b->bytes.len - from;
    b->piece[b->count] =
        (struct cursor_piece){.size = (uint32_t)size, .stream = (uint8_t)stream, .last = last};
    b->data[b->count++] = (struct wire_data){.size = size};
}

/* What holds for all of them. */
static void set_common(struct driver *d, const struct logdriver_info *info)
{
    int64_t bytes = 0;
    if (str_eq(json_str(info->options, "mode"), "non-blocking")) {
        const char *text = json_str(info->options, "max-buffer-size");
        if (parse_bytes(*text ? text : "1m", &bytes, NULL) == 0)
            d->backlog_bytes = bytes;
    }
}

int driver_open(enum logdriver_type type, const struct logdriver_info *info, const char *file,
                struct driver **ret, struct err *err)
{
    int r;
    switch (type) {
    case LOGDRIVER_SYSLOG:
        r = driver_syslog(info, ret, err);
        break;
    case LOGDRIVER_GELF:
        r = driver_gelf(info, ret, err);
        break;
    case LOGDRIVER_FLUENTD:
        r = driver_fluentd(info, ret, err);
        break;
    case LOGDRIVER_JOURNALD:
        r = driver_journald(info, ret, err);
        break;
    case LOGDRIVER_JSON_FILE:
        r = driver_json_file(info, file, ret, err);
        break;
    default:
        return err_set(err, ERR_UNSUPPORTED, "the log driver has no destination");
    }
    if (r == 0)
        set_common(*ret, info);
    return r;
}

void driver_free(struct driver *d)
{
    if (d) {
        free(d->file);
        d->ops->free(d);
    }
}

struct log_entry driver_bare(const struct log_entry *entry)
{
    struct log_entry e = *entry;
    /* A last line without an end is a part of one, to Docker's readers too. */
    e.partial = !e.size || e.bytes[e.size - 1] != '\n';
    e.size -= !e.partial;
    return e;
}

/* --- JSON --- */

/* The length of the UTF-8 character at `at`, or 0 when there is none (RFC 3629). */
static size_t utf8_length(const uint8_t *at, size_t n)
{
    uint8_t c = at[0];
    size_t length = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (!length || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (c == 0xe0 && at[1] < 0xa0) || (c == 0xf0 && at[1] < 0x90);
    bool outside = (c == 0xed && at[1] > 0x9f) || (c == 0xf4 && at[1] > 0x8f);
    return overlong || outside ? 0 : length;
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

static void add_escaped(struct str *to, uint8_t c)
{
    if (c == '"' || c == '\\') {
        str_addc(to, '\\');
        str_addc(to, (char)c);
    } else if (c == '\n')
        str_addn(to, "\\n", 2);
    else if (c == '\r')
        str_addn(to, "\\r", 2);
    else if (c == '\t')
        str_addn(to, "\\t", 2);
    else if (c == 0x7f)
        str_addc(to, (char)c);
    else
        str_addf(to, "\\u%04x", c);
}

void driver_add_json(struct str *to, const char *bytes, size_t n)
{
    const uint8_t *at = (const uint8_t *)bytes, *end = at + n;
    while (at < end) {
        const uint8_t *from = at;
        while (at < end && is_plain(*at))
            at++;
        str_addn(to, from, (size_t)(at - from));
        if (at == end)
            break;
        size_t length = *at < 0x80 ? 0 : utf8_length(at, (size_t)(end - at));
        if (*at < 0x80)
            add_escaped(to, *at);
        else if (length)
            str_addn(to, at, length);
        else
            str_add(to, "\\ufffd");
        at += MAX(length, (size_t)1);
    }
}

/* --- times --- */

void driver_add_time(struct clock_text *c, struct str *to, int64_t ns)
{
    int64_t second = ns / NS_PER_S;
    char fraction[12];
    if (second != c->second || !*c->text) {
        time_t t = (time_t)second;
        struct tm tm;
        gmtime_r(&t, &tm);
        strftime(c->text, sizeof(c->text), "%Y-%m-%dT%H:%M:%S", &tm);
        c->second = second;
    }
    str_add(to, c->text);
    int n = snprintf(fraction, sizeof(fraction), ".%09d", (int)(ns % NS_PER_S));
    while (n > 1 && fraction[n - 1] == '0')
        n--;
    if (n > 1)
        str_addn(to, fraction, (size_t)n);
    str_addc(to, 'Z');
}
