/* json-file: a line of JSON for each line, in the file that other tools read. */
#include "logdriver/driver.h"

#include "base/json.h"

struct json_file {
    struct driver d;
    char *attributes; /* "attrs" with its comma, or "" */
    struct clock_text clock;
};

static void json_file_add(struct driver *d, const struct log_entry *entry, struct batch *b)
{
    struct json_file *j = (struct json_file *)d;
    struct log_entry e = driver_bare(entry);
    struct str *to = &b->bytes;
    size_t from = to->len;
    str_add(to, "{\"log\":\"");
    driver_add_json(to, e.bytes, e.size);
    str_add(to, e.partial ? "\",\"stream\":\"" : "\\n\",\"stream\":\"");
    str_add(to, e.stream == 2 ? "stderr\"" : "stdout\"");
    str_add(to, j->attributes);
    str_add(to, ",\"time\":\"");
    driver_add_time(&j->clock, to, e.time_ns);
    str_add(to, "\"}\n");
    batch_piece(b, from, e.stream, true);
}

static void json_file_free(struct driver *d)
{
    struct json_file *j = (struct json_file *)d;
    free(j->attributes);
    free(j);
}

static const struct driver_ops ops = {.add = json_file_add, .free = json_file_free, .pieces_max = 1};

static int make_attributes(struct json_file *j, const struct logdriver_info *info, struct err *err)
{
    _cleanup_json_ json_t *attributes = logdriver_attributes(info);
    _cleanup_free_ char *tag = NULL;
    int r = logdriver_tag(info, "", &tag, err);
    if (r < 0)
        return r;
    if (*tag)
        json_set_str(attributes, "tag", tag);
    _cleanup_free_ char *text = json_dumps(attributes, JSON_COMPACT | JSON_SORT_KEYS);
    j->attributes = json_object_size(attributes) ? str_printf(",\"attrs\":%s", text) : mem_strdup("");
    return 0;
}

int driver_json_file(const struct logdriver_info *info, const char *file, struct driver **ret,
                     struct err *err)
{
    struct json_file *j = NEW(struct json_file);
    /* Docker's: one file where only its size was given. */
    int files = *json_str(info->options, "max-size") ? 1 : LOG_DEFAULT_FILES;
    struct logdriver_local bounds = logdriver_local(LOGDRIVER_JSON_FILE, info->options);
    j->d = (struct driver){.ops = &ops,
                           .tries_max = -1,
                           .file = mem_strdup(file),
                           .file_max_bytes = bounds.max_bytes ? bounds.max_bytes : LOG_DEFAULT_BYTES,
                           .file_max_files = bounds.max_files ? bounds.max_files : files,
                           .file_compress = bounds.compress};
    int r = make_attributes(j, info, err);
    if (r < 0) {
        free(j->d.file);
        json_file_free(&j->d);
        return r;
    }
    *ret = &j->d;
    return 0;
}
