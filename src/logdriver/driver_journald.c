/* journald: systemd's native protocol, one datagram a line. */
#include "logdriver/driver.h"

#include "base/json.h"

#include <ctype.h>

struct journald {
    struct driver d;
    struct str fields; /* the same for every line */
};

/* A field whose value may hold anything: name, newline, length, value. */
static void add_field(struct str *to, const char *name, const void *value, size_t n)
{
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n >> (8 * i));
    str_add(to, name);
    str_addc(to, '\n');
    str_addn(to, length, sizeof(length));
    str_addn(to, value, n);
    str_addc(to, '\n');
}

static void add_text(struct str *to, const char *name, const char *value)
{
    if (strchr(value, '\n'))
        add_field(to, name, value, strlen(value));
    else
        str_addf(to, "%s=%s\n", name, value);
}

/* journald's names: A-Z, 0-9 and _, not begun with _. NULL: nothing is left. */
static char *field_name(const char *name)
{
    _cleanup_str_ struct str out = STR_INIT;
    for (; *name && out.len < 64; name++) {
        char c = isalnum((unsigned char)*name) && (unsigned char)*name < 0x80
                     ? (char)toupper((unsigned char)*name)
                     : '_';
        if (out.len || (c != '_' && !isdigit((unsigned char)c)))
            str_addc(&out, c);
    }
    return out.len ? str_take(&out) : NULL;
}

static int make_fields(struct journald *j, const struct logdriver_info *info, struct err *err)
{
    _cleanup_free_ char *tag = NULL, *brief = mem_strndup(info->id, MIN(strlen(info->id), (size_t)12));
    _cleanup_json_ json_t *attributes = logdriver_attributes(info);
    const char *key;
    json_t *value;
    int r = logdriver_tag(info, "{{.ID}}", &tag, err);
    if (r < 0)
        return r;
    add_text(&j->fields, "CONTAINER_ID", brief);
    add_text(&j->fields, "CONTAINER_ID_FULL", info->id);
    add_text(&j->fields, "CONTAINER_NAME", *info->name == '/' ? info->name + 1 : info->name);
    add_text(&j->fields, "CONTAINER_TAG", tag);
    add_text(&j->fields, "IMAGE_NAME", info->image_name);
    add_text(&j->fields, "SYSLOG_IDENTIFIER", tag);
    json_object_foreach (attributes, key, value) {
        _cleanup_free_ char *name = field_name(key);
        if (name)
            add_text(&j->fields, name, json_string_value(value));
    }
    return 0;
}

static void journald_add(struct driver *d, const struct log_entry *entry, struct batch *b)
{
    struct journald *j = (struct journald *)d;
    struct log_entry e = driver_bare(entry);
    size_t from = b->bytes.len;
    str_addn(&b->bytes, j->fields.data, j->fields.len);
    str_addf(&b->bytes, "PRIORITY=%d\n", e.stream == 2 ? 3 : 6);
    /* journald's own time is that of arrival, which is later when it was away. */
    str_addf(&b->bytes, "SYSLOG_TIMESTAMP=%lld\n", (long long)(e.time_ns / 1000));
    if (e.partial)
        str_add(&b->bytes, "CONTAINER_PARTIAL_MESSAGE=true\n");
    add_field(&b->bytes, "MESSAGE", e.bytes, e.size);
    batch_piece(b, from, e.stream, true);
}

static void journald_free(struct driver *d)
{
    struct journald *j = (struct journald *)d;
    str_free(&j->fields);
    free(j);
}

static const struct driver_ops ops = {.add = journald_add, .free = journald_free, .pieces_max = 1};

int driver_journald(const struct logdriver_info *info, struct driver **ret, struct err *err)
{
    struct journald *j = NEW(struct journald);
    const char *path = getenv("DROVER_JOURNAL_SOCKET");
    j->d = (struct driver){.ops = &ops,
                           .tries_max = -1,
                           .wire = {.address.transport = TRANSPORT_UNIXGRAM,
                                    .ca = "",
                                    .certificate = "",
                                    .key = "",
                                    .retry_ms = 500}};
    snprintf(j->d.wire.address.path, sizeof(j->d.wire.address.path), "%s",
             str_empty(path) ? "/run/systemd/journal/socket" : path);
    int r = make_fields(j, info, err);
    if (r < 0) {
        journald_free(&j->d);
        return r;
    }
    *ret = &j->d;
    return 0;
}
