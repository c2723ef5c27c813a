/* GELF 1.1: JSON, compressed and cut into chunks over UDP, ended by a zero byte over TCP. */
#include "logdriver/driver.h"

#include "base/json.h"
#include "base/timeutil.h"

#include <sys/random.h>
#include <unistd.h>
#include <zlib.h>

/* As GELF's authors set them: a datagram that fits an Ethernet frame, and no more than 128 of them a message.
 */
enum { CHUNK_BYTES = 1420, CHUNK_HEAD_BYTES = 12, CHUNKS_MAX = 128 };

enum compression { COMPRESS_GZIP, COMPRESS_ZLIB, COMPRESS_NONE };

struct gelf {
    struct driver d;
    enum compression compression;
    int level;
    char *extra; /* fields, each with a comma before it */
    char host[256];
    struct str json, packed;
};

static void add_text_field(struct str *to, const char *name, const char *value)
{
    str_add(to, ",\"");
    if (*name != '_')
        str_addc(to, '_');
    driver_add_json(to, name, strlen(name));
    str_add(to, "\":\"");
    driver_add_json(to, value, strlen(value));
    str_addc(to, '"');
}

static int make_extra(struct gelf *g, const struct logdriver_info *info, struct err *err)
{
    _cleanup_free_ char *tag = NULL;
    _cleanup_str_ struct str out = STR_INIT;
    _cleanup_json_ json_t *attributes = logdriver_attributes(info);
    char created[TIME_RFC3339_BYTES];
    const char *key;
    json_t *value;
    int r = logdriver_tag(info, "{{.ID}}", &tag, err);
    if (r < 0)
        return r;
    add_text_field(&out, "_command", info->command);
    add_text_field(&out, "_container_id", info->id);
    add_text_field(&out, "_container_name", *info->name == '/' ? info->name + 1 : info->name);
    add_text_field(&out, "_created", time_format_rfc3339(info->created_ns, created));
    add_text_field(&out, "_image_id", info->image_id);
    add_text_field(&out, "_image_name", info->image_name);
    add_text_field(&out, "_tag", tag);
    json_object_foreach (attributes, key, value)
        add_text_field(&out, key, json_string_value(value));
    g->extra = str_take(&out);
    return 0;
}

static void make_json(struct gelf *g, const struct log_entry *e)
{
    str_clear(&g->json);
    str_add(&g->json, "{\"version\":\"1.1\",\"host\":\"");
    driver_add_json(&g->json, g->host, strlen(g->host));
    str_add(&g->json, "\",\"short_message\":\"");
    driver_add_json(&g->json, e->bytes, e->size);
    str_addf(&g->json, "\",\"timestamp\":%lld.%03d,\"level\":%d%s}", (long long)(e->time_ns / NS_PER_S),
             (int)(e->time_ns % NS_PER_S / NS_PER_MS), e->stream == 2 ? 3 : 6, g->extra);
}

static void compress_json(struct gelf *g)
{
    z_stream z = {0};
    enum { GZIP_WINDOW = 15 + 16, ZLIB_WINDOW = 15, MEMORY_LEVEL = 8 };
    must(deflateInit2(&z, g->level, Z_DEFLATED, g->compression == COMPRESS_GZIP ? GZIP_WINDOW : ZLIB_WINDOW,
                      MEMORY_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK);
    size_t bound = deflateBound(&z, g->json.len) + 32;
    str_clear(&g->packed);
    z.next_out = (Bytef *)str_reserve(&g->packed, bound);
    z.avail_out = (uInt)bound;
    z.next_in = (Bytef *)g->json.data;
    z.avail_in = (uInt)g->json.len;
    must(deflate(&z, Z_FINISH) == Z_STREAM_END);
    g->packed.len = bound - z.avail_out;
    deflateEnd(&z);
}

static void add_chunks(const struct str *message, int stream, struct batch *b)
{
    const size_t part = CHUNK_BYTES - CHUNK_HEAD_BYTES;
    size_t count = (message->len + part - 1) / part;
    uint64_t id = (uint64_t)time_monotonic_ns();
    if (getrandom(&id, sizeof(id), GRND_NONBLOCK) < 0)
        id ^= (uint64_t)getpid() << 48;
    for (size_t i = 0; i < count; i++) {
        size_t from = b->bytes.len, at = i * part;
        const uint8_t numbers[2] = {(uint8_t)i, (uint8_t)count};
        str_addn(&b->bytes, "\x1e\x0f", 2);
        str_addn(&b->bytes, &id, sizeof(id));
        str_addn(&b->bytes, numbers, 2);
        str_addn(&b->bytes, message->data + at, MIN(part, message->len - at));
        batch_piece(b, from, stream, i + 1 == count);
    }
}

static void gelf_add(struct driver *d, const struct log_entry *entry, struct batch *b)
{
    struct gelf *g = (struct gelf *)d;
    struct log_entry e = driver_bare(entry);
    size_t from = b->bytes.len;
    make_json(g, &e);
    if (g->d.wire.address.transport == TRANSPORT_TCP) {
        str_addn(&b->bytes, g->json.data, g->json.len);
        str_addc(&b->bytes, '\0');
        batch_piece(b, from, e.stream, true);
        return;
    }
    if (g->compression != COMPRESS_NONE)
        compress_json(g);
    const struct str *message = g->compression == COMPRESS_NONE ? &g->json : &g->packed;
    if (message->len > (size_t)CHUNKS_MAX * (CHUNK_BYTES - CHUNK_HEAD_BYTES)) {
        /* More than the protocol carries: of labels that long, and a line. It is said instead. */
        str_clear(&g->json);
        struct log_entry said = {
            .time_ns = e.time_ns, .stream = e.stream, .bytes = "(a line too long for GELF)", .size = 26};
        free(g->extra);
        g->extra = mem_strdup("");
        make_json(g, &said);
        message = &g->json;
    }
    if (message->len > CHUNK_BYTES) {
        add_chunks(message, e.stream, b);
        return;
    }
    str_addn(&b->bytes, message->data, message->len);
    batch_piece(b, from, e.stream, true);
}

static void gelf_free(struct driver *d)
{
    struct gelf *g = (struct gelf *)d;
    free(g->extra);
    str_free(&g->json);
    str_free(&g->packed);
    free(g);
}

static const struct driver_ops ops = {.add = gelf_add, .free = gelf_free, .pieces_max = CHUNKS_MAX};

int driver_gelf(const struct logdriver_info *info, struct driver **ret, struct err *err)
{
    struct gelf *g = NEW(struct gelf);
    const json_t *o = info->options;
    const char *type = json_str(o, "gelf-compression-type");
    int64_t level = 1, tries = -1, delay_s = 1;
    if (*json_str(o, "gelf-compression-level"))
        parse_i64(json_str(o, "gelf-compression-level"), -1, 9, &level, NULL);
    if (*json_str(o, "gelf-tcp-max-reconnect"))
        parse_i64(json_str(o, "gelf-tcp-max-reconnect"), 0, INT32_MAX, &tries, NULL);
    if (*json_str(o, "gelf-tcp-reconnect-delay"))
        parse_i64(json_str(o, "gelf-tcp-reconnect-delay"), 0, INT32_MAX, &delay_s, NULL);
    g->d = (struct driver){.ops = &ops,
                           .tries_max = tries,
                           .wire = {.ca = "",
                                    .certificate = "",
                                    .key = "",
                                    .retry_ms = MAX(delay_s * 1000, (int64_t)100),
                                    .steady = true}};
    g->compression = str_eq(type, "zlib")   ? COMPRESS_ZLIB
                     : str_eq(type, "none") ? COMPRESS_NONE
                                            : COMPRESS_GZIP;
    g->level = (int)level;
    int r = options_gelf_address(o, &g->d.wire.address, err);
    if (r == 0)
        r = make_extra(g, info, err);
    if (r < 0) {
        gelf_free(&g->d);
        return r;
    }
    if (gethostname(g->host, sizeof(g->host) - 1) < 0)
        snprintf(g->host, sizeof(g->host), "localhost");
    *ret = &g->d;
    return 0;
}
