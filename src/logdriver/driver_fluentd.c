/* fluentd: messages of the forward protocol, version 1, in MessagePack. */
#include "logdriver/driver.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/timeutil.h"

#include <endian.h>
#include <sys/random.h>

struct fluentd {
    struct driver d;
    bool sub_second;
    char *tag;
    struct str fields; /* pairs of MessagePack that are the same in every record */
    uint32_t field_count;
    /* Messages that are to be acknowledged, in order; those sent again after a loss keep their numbers. */
    uint64_t salt, sent, expected;
    struct {
        uint64_t id;
        uint32_t ordinal;
    } line[2]; /* of a line in pieces, by stream */
};

/* --- MessagePack --- */

static void pack_head(struct str *to, size_t n, uint8_t fix, size_t fix_max, uint8_t code16)
{
    if (n <= fix_max) {
        str_addc(to, (char)(fix | n));
        return;
    }
    bool wide = n > 0xffff;
    uint32_t size32 = htobe32((uint32_t)n);
    uint16_t size16 = htobe16((uint16_t)n);
    str_addc(to, (char)(code16 + wide));
    str_addn(to, wide ? (void *)&size32 : (void *)&size16, wide ? 4 : 2);
}

static void pack_text(struct str *to, const char *text, size_t n)
{
    if (n > 31 && n <= 255) {
        str_addc(to, (char)0xd9);
        str_addc(to, (char)n);
    } else
        pack_head(to, n, 0xa0, 31, 0xda);
    str_addn(to, text, n);
}

static void pack_pair(struct str *to, const char *key, const char *value, size_t n)
{
    pack_text(to, key, strlen(key));
    pack_text(to, value, n);
}

static void pack_time(struct str *to, int64_t ns, bool sub_second)
{
    uint32_t seconds = htobe32((uint32_t)(ns / NS_PER_S)), nanos = htobe32((uint32_t)(ns % NS_PER_S));
    if (!sub_second) {
        str_addc(to, (char)0xce);
        str_addn(to, &seconds, 4);
        return;
    }
    str_addn(to, "\xd7\x00", 2); /* an extension of 8 bytes, type 0: EventTime */
    str_addn(to, &seconds, 4);
    str_addn(to, &nanos, 4);
}

/* --- ids --- */

static char *chunk_id(const struct fluentd *f, uint64_t number)
{
    uint64_t id[2] = {f->salt, htobe64(number)};
    return base64_encode(id, sizeof(id));
}

/* {"ack": ID} for each message, in the order in which they were sent. */
static ssize_t fluentd_acknowledged(struct driver *d, struct str *said)
{
    struct fluentd *f = (struct fluentd *)d;
    ssize_t count = 0;
    for (;;) {
        _cleanup_str_ struct str wanted = STR_INIT;
        _cleanup_free_ char *id = chunk_id(f, f->expected);
        str_addc(&wanted, (char)0x81);
        pack_pair(&wanted, "ack", id, strlen(id));
        if (said->len < wanted.len)
            return count;
        if (memcmp(said->data, wanted.data, wanted.len) != 0)
            return -1;
        memmove(said->data, said->data + wanted.len, said->len - wanted.len);
        str_truncate(said, said->len - wanted.len);
        f->expected++;
        count++;
    }
}

/* --- records --- */

static void add_partial(struct fluentd *f, const struct log_entry *e, bool last, struct str *to)
{
    uint64_t id = f->line[e->stream - 1].id;
    char text[33], ordinal[16];
    snprintf(text, sizeof(text), "%016llx%016llx", (unsigned long long)f->salt, (unsigned long long)id);
    snprintf(ordinal, sizeof(ordinal), "%u", f->line[e->stream - 1].ordinal);
    pack_pair(to, "partial_message", "true", 4);
    pack_pair(to, "partial_id", text, 32);
    pack_pair(to, "partial_ordinal", ordinal, strlen(ordinal));
    pack_pair(to, "partial_last", last ? "true" : "false", last ? 4 : 5);
}

static void add_record(struct fluentd *f, const struct log_entry *e, struct str *to)
{
    bool goes_on = f->line[e->stream - 1].ordinal, partial = e->partial || goes_on;
    if (partial && !goes_on)
        f->line[e->stream - 1].id = (uint64_t)e->time_ns;
    if (partial)
        f->line[e->stream - 1].ordinal++;
    pack_head(to, f->field_count + 2 + (partial ? 4 : 0), 0x80, 15, 0xde);
    str_addn(to, f->fields.data, f->fields.len);
    const char *source = e->stream == 2 ? "stderr" : "stdout";
    pack_pair(to, "source", source, 6);
    pack_pair(to, "log", e->bytes, e->size);
    if (partial)
        add_partial(f, e, !e->partial, to);
    if (!e->partial)
        f->line[e->stream - 1].ordinal = 0;
}

static void fluentd_add(struct driver *d, const struct log_entry *entry, struct batch *b)
{
    struct fluentd *f = (struct fluentd *)d;
    struct log_entry e = driver_bare(entry);
    size_t from = b->bytes.len;
    str_addc(&b->bytes, (char)(0x90 | (f->d.acknowledges ? 4 : 3)));
    pack_text(&b->bytes, f->tag, strlen(f->tag));
    pack_time(&b->bytes, e.time_ns, f->sub_second);
    add_record(f, &e, &b->bytes);
    if (f->d.acknowledges) {
        _cleanup_free_ char *id = chunk_id(f, f->sent++);
        str_addc(&b->bytes, (char)0x81);
        pack_pair(&b->bytes, "chunk", id, strlen(id));
    }
    batch_piece(b, from, e.stream, true);
}

static int make_fields(struct fluentd *f, const struct logdriver_info *info, struct err *err)
{
    _cleanup_json_ json_t *attributes = logdriver_attributes(info);
    const char *key;
    json_t *value;
    int r = logdriver_tag(info, "{{.ID}}", &f->tag, err);
    if (r < 0)
        return r;
    pack_pair(&f->fields, "container_id", info->id, strlen(info->id));
    pack_pair(&f->fields, "container_name", info->name, strlen(info->name));
    f->field_count = 2;
    json_object_foreach (attributes, key, value) {
        pack_pair(&f->fields, key, json_string_value(value), json_string_length(value));
        f->field_count++;
    }
    return 0;
}

static void fluentd_free(struct driver *d)
{
    struct fluentd *f = (struct fluentd *)d;
    free(f->tag);
    str_free(&f->fields);
    free(f);
}

static const struct driver_ops ops = {
    .add = fluentd_add, .free = fluentd_free, .acknowledged = fluentd_acknowledged, .pieces_max = 1};

int driver_fluentd(const struct logdriver_info *info, struct driver **ret, struct err *err)
{
    struct fluentd *f = NEW(struct fluentd);
    const json_t *o = info->options;
    int64_t wait_ns = NS_PER_S, tries = -1, bytes = 0;
    if (*json_str(o, "fluentd-retry-wait"))
        parse_duration(json_str(o, "fluentd-retry-wait"), &wait_ns, NULL);
    if (*json_str(o, "fluentd-max-retries"))
        parse_i64(json_str(o, "fluentd-max-retries"), 0, UINT32_MAX, &tries, NULL);
    if (*json_str(o, "fluentd-buffer-limit"))
        parse_bytes(json_str(o, "fluentd-buffer-limit"), &bytes, NULL);
    f->d = (struct driver){
        .ops = &ops,
        .tries_max = tries,
        .backlog_bytes = bytes,
        .acknowledges = options_bool(o, "fluentd-request-ack", false),
        .wire = {.ca = "", .certificate = "", .key = "", .retry_ms = MAX(wait_ns / NS_PER_MS, INT64_C(10))}};
    f->sub_second = options_bool(o, "fluentd-sub-second-precision", false);
    if (getrandom(&f->salt, sizeof(f->salt), GRND_NONBLOCK) < 0)
        f->salt = (uint64_t)time_now_ns();
    int r = options_fluentd_address(o, &f->d.wire.address, err);
    if (r == 0)
        r = make_fields(f, info, err);
    if (r < 0) {
        fluentd_free(&f->d);
        return r;
    }
    *ret = &f->d;
    return 0;
}
