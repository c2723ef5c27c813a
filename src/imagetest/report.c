/* What was found, and how it is told. Texts of the image are an attacker's: control characters never get out,
 * XML and JSON are escaped. */
#include "base/json.h"
#include "imagetest/scan.h"

#include <stdarg.h>

void findings_done(struct findings *f)
{
    for (size_t i = 0; i < f->count; i++) {
        free(f->items[i].message);
        free(f->items[i].rule);
        free(f->items[i].path);
        free(f->items[i].fingerprint);
    }
    free(f->items);
    *f = (struct findings){0};
}

void findings_add(struct findings *f, enum image_check check, const char *rule, int layer, const char *path,
                  const char *fingerprint, const char *format, ...)
{
    if (f->count >= FINDINGS_MAX) {
        f->left_out++;
        return;
    }
    _cleanup_str_ struct str text = STR_INIT;
    va_list ap;
    va_start(ap, format);
    str_vaddf(&text, format, ap);
    va_end(ap);
    _cleanup_free_ char *absolute = path ? str_printf("%s%s", *path == '/' ? "" : "/", path) : NULL;
    GROW(f->items, f->count, f->capacity);
    f->items[f->count++] = (struct finding){.check = check,
                                            .rule = mem_strdup(rule),
                                            .message = image_scan__printable(str_get(&text)),
                                            .path = absolute ? image_scan__printable(absolute) : NULL,
                                            .fingerprint = mem_strdup(fingerprint),
                                            .layer = layer};
}

static const char *instruction(const struct image_scan *s, const struct finding *f)
{
    return f->layer >= 0 && (size_t)f->layer < s->layer_count ? s->instructions[f->layer] : "";
}

static size_t count_of(const struct findings *f, enum image_check check)
{
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++)
        n += f->items[i].check == check;
    return n;
}

/* One finding in a line: "/usr/bin/su: setuid ... [layer 1: RUN apt-get ...]". */
static char *line_of(const struct image_scan *s, const struct finding *f)
{
    struct str line = STR_INIT;
    if (f->path)
        str_addf(&line, "%s: ", f->path);
    str_add(&line, f->message);
    if (f->fingerprint)
        str_addf(&line, " [fingerprint %s]", f->fingerprint);
    if (f->layer >= 0) {
        const char *made = instruction(s, f);
        str_addf(&line, " [layer %d%s%.120s]", f->layer + 1, *made ? ": " : "", made);
    }
    return str_take(&line);
}

void findings_text(const struct findings *f, const struct image_scan *s, const char *image, struct str *ret)
{
    for (int check = 0; check < CHECK_COUNT; check++) {
        size_t n = count_of(f, check);
        if (!f->ran[check])
            continue;
        str_addf(ret, "%-7s %-11s %s\n", n ? "FAILED" : "passed", image_check_name(check),
                 image_check_promise(check));
        for (size_t i = 0; i < f->count; i++) {
            if (f->items[i].check != (enum image_check)check)
                continue;
            _cleanup_free_ char *line = line_of(s, &f->items[i]);
            str_addf(ret, "        %s%s%s\n", f->items[i].rule ? f->items[i].rule : "",
                     f->items[i].rule ? ": " : "", line);
        }
    }
    if (f->left_out)
        str_addf(ret, "        and %zu more findings\n", f->left_out);
    str_addf(ret, "%s: %zu finding%s; %zu layer%s, %lld bytes, of them %lld wasted\n", image,
             f->count + f->left_out, f->count + f->left_out == 1 ? "" : "s", s->layer_count,
             s->layer_count == 1 ? "" : "s", (long long)s->bytes, (long long)s->tree.wasted);
}

json_t *findings_json(const struct findings *f, const struct image_scan *s, const char *image)
{
    json_t *list = json_array(), *checks = json_array(), *layers = json_array(), *report = json_object();
    for (int check = 0; check < CHECK_COUNT; check++)
        if (f->ran[check])
            json_array_append_new(checks, json_pack("{s:s, s:b}", "check", image_check_name(check), "passed",
                                                    count_of(f, check) == 0));
    for (size_t i = 0; i < s->layer_count; i++) {
        json_t *layer = json_pack("{s:I, s:I}", "files", (json_int_t)s->order[i]->count, "bytes",
                                  (json_int_t)s->order[i]->bytes);
        json_set_str(layer, "blob", s->order[i]->name);
        json_set_str(layer, "created_by", s->instructions[i]);
        json_array_append_new(layers, layer);
    }
    for (size_t i = 0; i < f->count; i++) {
        const struct finding *one = &f->items[i];
        json_t *entry = json_pack("{s:s}", "check", image_check_name(one->check));
        json_set_str(entry, "rule", one->rule);
        json_set_str(entry, "message", one->message);
        json_set_str(entry, "path", one->path);
        json_set_str(entry, "fingerprint", one->fingerprint);
        json_object_set_new(entry, "layer", one->layer < 0 ? json_null() : json_integer(one->layer + 1));
        json_set_str(entry, "instruction", one->layer < 0 ? NULL : instruction(s, one));
        json_array_append_new(list, entry);
    }
    json_set_str(report, "image", image);
    json_object_set_new(report, "passed", json_boolean(f->count == 0));
    json_object_set_new(report, "checks", checks);
    json_object_set_new(report, "findings", list);
    json_object_set_new(report, "left_out", json_integer((json_int_t)f->left_out));
    json_object_set_new(report, "layers", layers);
    json_object_set_new(report, "bytes", json_integer(s->bytes));
    json_object_set_new(report, "wasted_bytes", json_integer(s->tree.wasted));
    return report;
}

/* Text and attribute values of XML 1.0; what is no character of it has been replaced before. */
static void add_xml(struct str *ret, const char *text)
{
    for (; *text; text++) {
        static const char from[] = "&<>\"'";
        static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};
        const char *at = strchr(from, *text);
        if (at)
            str_add(ret, to[at - from]);
        else if ((unsigned char)*text < 0x80)
            str_addc(ret, *text);
        else
            str_addf(ret, "&#%d;", (unsigned char)*text); /* bytes of any encoding stay well-formed */
    }
}

void findings_junit(const struct findings *f, const struct image_scan *s, const char *image, struct str *ret)
{
    size_t ran = 0, failed = 0;
    for (int check = 0; check < CHECK_COUNT; check++) {
        ran += f->ran[check];
        failed += f->ran[check] && count_of(f, check);
    }
    str_add(ret, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites><testsuite name=\"");
    add_xml(ret, image);
    str_addf(ret, "\" tests=\"%zu\" failures=\"%zu\">\n", ran, failed);
    for (int check = 0; check < CHECK_COUNT; check++) {
        if (!f->ran[check])
            continue;
        str_addf(ret, "<testcase classname=\"%s\" name=\"%s\">", image_check_name(check),
                 image_check_promise(check));
        size_t n = count_of(f, check);
        if (n)
            str_addf(ret, "<failure message=\"%zu finding%s\">", n, n == 1 ? "" : "s");
        for (size_t i = 0; n && i < f->count; i++) {
            if (f->items[i].check != (enum image_check)check)
                continue;
            _cleanup_free_ char *line = line_of(s, &f->items[i]);
            add_xml(ret, line);
            str_addc(ret, '\n');
        }
        str_add(ret, n ? "</failure></testcase>\n" : "</testcase>\n");
    }
    str_add(ret, "</testsuite></testsuites>\n");
}
