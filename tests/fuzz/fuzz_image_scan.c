/* An image's archive from anybody: findings that can be printed, or an error. */
#include "imagetest/imagetest.h"

struct input {
    const uint8_t *bytes;
    size_t left;
};

static ssize_t take(void *context, void *buffer, size_t n, struct err *err)
{
    struct input *in = context;
    n = MIN(n, in->left);
    if (n)
        memcpy(buffer, in->bytes, n);
    in->bytes += n;
    in->left -= n;
    return (ssize_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "ports: [80]\nfiles: [{path: /etc/x, sha256: "
                               "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}]\n";
    struct input in = {data, size};
    _cleanup_checks_ struct image_checks *checks = NULL;
    _cleanup_scan_ struct image_scan *scan = NULL;
    struct findings findings = {0};
    struct err err = {0};
    must(image_checks_parse("c", text, sizeof(text) - 1, &checks, &err) == 0);
    if (image_scan_stream(checks, take, &in, &scan, &err) < 0 ||
        image_judge(scan, checks, &findings, &err) < 0) {
        must(err.code && *err.msg);
        findings_done(&findings);
        return 0;
    }
    _cleanup_str_ struct str out = STR_INIT;
    findings_text(&findings, scan, "x", &out);
    for (const char *c = str_get(&out); *c; c++)
        must((unsigned char)*c >= 0x20 || *c == '\n');
    findings_junit(&findings, scan, "x", &out);
    json_decref(findings_json(&findings, scan, "x"));
    findings_done(&findings);
    return 0;
}
