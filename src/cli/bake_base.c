#include "base/file.h"
#include "base/json.h"
#include "cli/archive.h"
#include "cli/bake.h"
#include "cli/call.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "image/image_ref.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- Loading --- */

static ssize_t read_fd(void *context, void *buffer, size_t n, struct err *err)
{
    for (;;) {
        ssize_t got = read(*(int *)context, buffer, n);
        if (got >= 0 || errno != EINTR)
            return got >= 0 ? got : err_sys(err, errno, "read the layout");
    }
}

static int send_load(void *context, int fd, struct err *err)
{
    static const char *const headers[] = {"Content-Type: application/x-tar", NULL};
    struct http_call call = {.method = "POST",
                             .headers = (char *const *)headers,
                             .source = read_fd,
                             .source_context = &fd,
                             .source_bytes = -1};
    (void)context;
    return cli_lines(&call, "/images/load?quiet=1", NULL, NULL, err);
}

static int load(const char *dir, struct err *err)
{
    _cleanup_free_ char *layout = str_printf("%s/layout", dir);
    _cleanup_close_ int fd = open(layout, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", layout);
    const struct tar_create what = {.root_fd = fd, .path = "/", .epoch = 0};
    int r = archive_packed(&what, send_load, NULL, err);
    return r < 0 ? err_wrap(err, "load the base") : 0;
}

/* --- Making --- */

int bake_base(const struct base_request *request, struct base_image *ret, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    _cleanup_free_ char *dir = str_printf("%s/drover-base-XXXXXX", str_empty(tmp) ? "/tmp" : tmp);
    struct base_image made = {0};
    struct err ignored;
    int r = base_request_check(request, err);
    if (r < 0)
        return r;
    if (!mkdtemp(dir))
        return err_sys(err, errno, "make a directory for the base in %s", str_empty(tmp) ? "/tmp" : tmp);
    chmod(dir, 0711); /* apt's own user goes through */
    r = base_make(request, dir, &made, err);
    if (interrupt_pending())
        r = err_set(err, ERR_CANCELLED, "interrupted; nothing is left of the base");
    if (r == 0)
        r = load(dir, err);
    file_remove_tree(dir, &ignored);
    if (r < 0)
        base_image_done(&made);
    else
        *ret = made;
    return r;
}

int bake_epoch(const char *snapshot, int64_t *ret, struct err *err)
{
    const char *given = getenv("SOURCE_DATE_EPOCH");
    *ret = BASE_DEFAULT_EPOCH;
    if (!str_empty(given)) {
        int r = parse_i64(given, 0, INT64_C(253402300799), ret, err);
        return r < 0 ? err_wrap(err, "SOURCE_DATE_EPOCH") : 0;
    }
    return snapshot ? base_snapshot_epoch(snapshot, ret, err) : 0;
}

/* --- drover bake base --- */

struct base_options {
    struct base_request request;
    char **include, **mirrors;
    const char *tag, *sbom;
    bool json;
};

/* "curl,jq" and again: one list. */
static char **packages_of(char *const *given)
{
    char **all = NULL;
    for (; given && *given; given++) {
        _cleanup_strv_ char **parts = strv_split(*given, ',');
        STRV_FOREACH (part, parts)
            strv_add(&all, *part);
    }
    return all;
}

static void tell(const struct base_options *o, const struct base_image *base)
{
    _cleanup_free_ char *shown = image_ref_familiar_text(o->request.reference);
    if (!o->json) {
        printf("%s %s (%zu packages)\n", shown, base->manifest_digest, base->package_count);
        return;
    }
    _cleanup_json_ json_t *report =
        json_pack("{s:s, s:s, s:s, s:I, s:s}", "image", shown, "id", base->id, "digest",
                  base->manifest_digest, "packages", (json_int_t)base->package_count, "list", base->packages);
    output_json(report);
}

static int make(struct base_options *o, const char *spec, struct err *err)
{
    _cleanup_strv_ char **include = packages_of(o->include);
    _cleanup_free_ char *own = str_printf("base/%s", spec), *reference = NULL;
    struct base_image base = {0};
    o->request.spec = spec;
    o->request.include = include;
    o->request.mirrors = o->mirrors;
    int r = base_request_check(&o->request, err);
    if (r < 0)
        return r;
    o->request.reference = reference = image_ref_normal(o->tag ? o->tag : own);
    if (!reference)
        return err_set(err, ERR_INVALID, "\"%.200s\" is no name of an image; give one with --tag",
                       o->tag ? o->tag : own);
    r = bake_epoch(o->request.snapshot, &o->request.epoch, err);
    if (r == 0)
        r = bake_base(&o->request, &base, err);
    if (r < 0)
        return r;
    if (o->sbom)
        r = file_replace(o->sbom, base.sbom, strlen(base.sbom), 0644, false, err);
    if (r == 0)
        tell(o, &base);
    base_image_done(&base);
    return r;
}

int cli_bake_base(int argc, char **argv)
{
    struct base_options o = {0};
    const struct cli_option options[] = {
        {'t', "tag", CLI_TEXT, &o.tag, "NAME", "Name of the image (default base/SPEC)"},
        {0, "variant", CLI_TEXT, &o.request.variant, "NAME",
         "Which packages beside those included: essential, apt (default), required, minbase, buildd, "
         "important, "
         "standard"},
        {0, "include", CLI_LIST, &o.include, "PACKAGE[,PACKAGE]", "More packages (again for more)"},
        {0, "mirror", CLI_LIST, &o.mirrors, "URL|LINE",
         "Where packages come from: a URL or a line of sources.list (again for more)"},
        {0, "snapshot", CLI_TEXT, &o.request.snapshot, "TIME",
         "Packages as they were then (20260101T000000Z), from snapshot.debian.org"},
        {0, "keyring", CLI_TEXT, &o.request.keyring, "FILE", "Keys that the packages must be signed with"},
        {0, "sbom", CLI_TEXT, &o.sbom, "FILE", "Also write the SPDX bill of materials here"},
        {0, "json", CLI_FLAG, &o.json, NULL, "Print what was made as JSON"},
        {0},
    };
    const struct cli_command command = {
        "bake base [OPTIONS] debian:SUITE | busybox[:SUITE]",
        "Makes a base image from a distribution's signed packages; the same packages give the same digest.\n"
        "SOURCE_DATE_EPOCH sets the time of files that are made on the way.",
        options,
        false,
        1,
        1};
    char **rest;
    struct err err;
    int status = cli_parse(&command, argc, argv, &rest);
    interrupt_catch(); /* mmdebstrap hears of it too, and ends; then what is left is removed */
    if (status < 0)
        status = make(&o, rest[0], &err) < 0 ? cli_fail(&err) : 0;
    strv_free(o.include);
    strv_free(o.mirrors);
    return status;
}
