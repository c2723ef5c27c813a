#include "cli/image_test.h"

#include "base/file.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

enum { CHECKS_FILE_MAX = 1 << 20 };

/* --- The image as a stream: a thread takes it from the server and writes into a pipe --- */

struct sending {
    const char *image;
    int fd, result;
    struct err err;
};

static int write_pipe(void *context, const void *bytes, size_t n, struct err *err)
{
    return file_write_all(((const struct sending *)context)->fd, bytes, n, err);
}

static void *save(void *context)
{
    struct sending *s = context;
    _cleanup_free_ char *escaped = cli_escape(s->image), *path = str_printf("/images/%s/get", escaped);
    struct http_call call = {.method = "GET", .sink = write_pipe, .sink_context = s};
    struct http_response response = {0};
    s->result = cli_exchange(&call, path, &response, &s->err);
    http_response_done(&response);
    s->fd = close_fd(s->fd);
    return NULL;
}

static ssize_t read_pipe(void *context, void *buffer, size_t n, struct err *err)
{
    for (;;) {
        ssize_t got = read(*(int *)context, buffer, n);
        if (got >= 0 || errno != EINTR)
            return got >= 0 ? got : err_sys(err, errno, "read the image");
    }
}

static int scan(const char *id, const struct image_checks *checks, struct image_scan **ret, struct err *err)
{
    int ends[2];
    pthread_t thread;
    const char *socket;
    int r = cli_socket(&socket, err); /* settled before there are two threads */
    if (r < 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    struct sending sending = {.image = id, .fd = ends[1]};
    must(pthread_create(&thread, NULL, save, &sending) == 0);
    r = image_scan_stream(checks, read_pipe, &ends[0], ret, err);
    close_fd(ends[0]); /* ends a sender that nobody reads any more */
    pthread_join(thread, NULL);
    /* The archive seems cut off when the server had something to say. */
    bool cause = sending.result < 0 && sending.err.sys != EPIPE;
    if (cause && r == 0)
        image_scan_free(*ret);
    return cause ? err_copy(err, &sending.err) : r;
}

/* --- All of it --- */

static int read_checks(const char *file, struct image_checks **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (!file) {
        *ret = image_checks_default();
        return 0;
    }
    int r = file_read(file, CHECKS_FILE_MAX, &text, err);
    if (r == 0)
        r = image_checks_parse(file, str_get(&text), text.len, ret, err);
    return r;
}

int image_test(const char *image, const char *checks_file, struct image_test *ret, struct err *err)
{
    struct image_test t = {0};
    _cleanup_json_ json_t *inspected = NULL;
    _cleanup_free_ char *escaped = cli_escape(image);
    int r = read_checks(checks_file, &t.checks, err);
    if (r == 0)
        r = cli_get(&inspected, err, "/images/%s/json", escaped);
    /* From here on by id: a name may come to mean another image meanwhile. */
    t.id = mem_strdup(json_str(inspected, "Id"));
    if (r == 0)
        r = scan(t.id, t.checks, &t.scan, err);
    if (r == 0)
        r = image_judge(t.scan, t.checks, &t.findings, err);
    if (r == 0 && t.checks->run && !image_checks_skip(t.checks, CHECK_RUN))
        r = image_test_run(t.id, t.checks, image_scan_config(t.scan), &t.findings, err);
    if (r < 0)
        image_test_done(&t);
    else
        *ret = t;
    return r;
}

void image_test_done(struct image_test *t)
{
    image_scan_free(t->scan);
    image_checks_free(t->checks);
    findings_done(&t->findings);
    free(t->id);
    *t = (struct image_test){0};
}

/* --- drover image test --- */

struct test_options {
    const char *checks, *junit;
    bool json, quiet;
};

static int write_junit(const struct test_options *o, const struct image_test *t, const char *image,
                       struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    findings_junit(&t->findings, t->scan, image, &text);
    return file_replace(o->junit, str_get(&text), text.len, 0644, false, err);
}

static int test_one(const struct test_options *o, const char *image)
{
    struct image_test t = {0};
    struct err err;
    int r = image_test(image, o->checks, &t, &err);
    if (r == 0 && o->junit)
        r = write_junit(o, &t, image, &err);
    if (r < 0) {
        cli_fail(&err);
        image_test_done(&t);
        return r == -ERR_INVALID ? IMAGE_TEST_WRONG_CALL : IMAGE_TEST_NOT_MADE;
    }
    int status = t.findings.count ? IMAGE_TEST_FAILED : 0;
    if (o->json) {
        _cleanup_json_ json_t *report = findings_json(&t.findings, t.scan, image);
        output_json(report);
    } else if (!o->quiet) {
        _cleanup_str_ struct str text = STR_INIT;
        findings_text(&t.findings, t.scan, image, &text);
        fputs(str_get(&text), stdout);
    }
    image_test_done(&t);
    return status;
}

int cli_image_test(int argc, char **argv)
{
    struct test_options o = {0};
    const struct cli_option options[] = {
        {'f', "file", CLI_TEXT, &o.checks, "FILE",
         "The checks (docs/image-test.md); default: those that need no file"},
        {0, "json", CLI_FLAG, &o.json, NULL, "The findings as JSON"},
        {0, "junit", CLI_TEXT, &o.junit, "FILE", "Also write them as JUnit's XML"},
        {'q', "quiet", CLI_FLAG, &o.quiet, NULL, "Only the exit status"},
        {0},
    };
    const struct cli_command command = {
        "image test [OPTIONS] IMAGE",
        "Tests an image: its layers, files, configuration, and what it does when it runs.\n"
        "Ends with 0: it passed, 1: there are findings, 2: wrong call or file, 125: it could not be tested.",
        options,
        false,
        1,
        1};
    char **rest;
    int status = cli_parse(&command, argc, argv, &rest);
    interrupt_catch(); /* a container is to be removed */
    return status >= 0 ? status : test_one(&o, rest[0]);
}
