/* `drover image push` and `drover image pull`: to and from registries as `drover push` and `drover pull` do,
 * and straight to and from the server of another machine.
 *
 * The end that takes an image is asked what it lacks, gets that blob by blob from where each stands, and puts
 * it together under the image's name (image/receive.h). When the connection breaks off it is made again, as
 * long as that moves something; what has come stays for a day, for another push or pull to go on with. */
#include "cli/image_ship.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pull.h"
#include "cli/ssh.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

enum { TRIES = 4 };

struct shipping {
    struct ssh_remote *from, *to; /* NULL: the server here; one of them is */
    struct progress *progress;
    json_t *content; /* GET /drover/images/{name}/content */
    int64_t moved;   /* bytes, by all attempts */
    size_t sent, had;
};

static bool pulls(const struct shipping *s)
{
    return s->from != NULL;
}

static int end_exchange(struct ssh_remote *end, struct http_call *call, const char *path, struct err *err)
{
    struct http_response response = {0};
    int r = end ? ssh_exchange(end, call, path, &response, err) : cli_exchange(call, path, &response, err);
    http_response_done(&response);
    return r;
}

static int end_call(struct ssh_remote *end, const char *method, const char *path, const json_t *body,
                    json_t **ret, struct err *err)
{
    return end ? ssh_call(end, method, path, body, ret, err) : cli_call(method, body, ret, err, "%s", path);
}

/* --- one blob: a thread takes it from where it is and writes into a pipe --- */

struct reading {
    struct ssh_remote *from;
    const char *digest;
    int64_t offset;
    int fd, result;
    struct err err;
};

static int write_pipe(void *context, const void *bytes, size_t n, struct err *err)
{
    return file_write_all(((const struct reading *)context)->fd, bytes, n, err);
}

static void *read_blob(void *context)
{
    struct reading *r = context;
    _cleanup_free_ char *path = str_printf("/drover/content/%s?offset=%lld", r->digest, (long long)r->offset);
    struct http_call call = {.method = "GET", .sink = write_pipe, .sink_context = r};
    r->result = end_exchange(r->from, &call, path, &r->err);
    r->fd = close_fd(r->fd);
    return NULL;
}

struct sending {
    struct shipping *shipping;
    const char *key;
    int fd;
    int64_t done, size;
};

static ssize_t give(void *context, void *buffer, size_t n, struct err *err)
{
    struct sending *s = context;
    ssize_t got;
    do
        got = read(s->fd, buffer, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_sys(err, errno, "read the image");
    if (got == 0 && s->done < s->size) /* else the end that takes it waits for the rest */
        return err_set(err, ERR_UNAVAILABLE, "the image ended %lld bytes early",
                       (long long)(s->size - s->done));
    s->done += got;
    s->shipping->moved += got;
    char done[32], size[32];
    output_size(s->done, done);
    output_size(s->size, size);
    _cleanup_free_ char *text =
        str_printf("%s %s/%s", pulls(s->shipping) ? "Pulling" : "Pushing", done, size);
    progress_detail(s->shipping->progress, s->key, text);
    return got;
}

static int put_blob(struct sending *s, const char *digest, int64_t offset, struct err *err)
{
    _cleanup_free_ char *path =
        str_printf("/drover/content/%s?size=%lld&offset=%lld", digest, (long long)s->size, (long long)offset);
    struct http_call call = {.method = "PUT",
                             .source = give,
                             .source_context = s,
                             .source_bytes = s->size - offset,
                             .source_over_kept = true};
    return end_exchange(s->shipping->to, &call, path, err);
}

static int send_blob(struct shipping *s, const json_t *blob, struct err *err)
{
    const char *digest = json_str(blob, "digest");
    int64_t size = json_int(blob, "size"), offset = json_int(blob, "offset");
    if (!digest_valid(digest) || offset < 0 || offset > size)
        return err_set(err, ERR_PROTOCOL, "the answer names no blob");
    if (offset == size && size > 0)
        return 0; /* it waits there for the others */
    _cleanup_free_ char *key = str_printf("  %.12s", digest_hex(digest));
    int ends[2];
    pthread_t thread;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    struct reading reading = {.from = s->from, .digest = digest, .offset = offset, .fd = ends[1]};
    struct sending sending = {s, key, ends[0], offset, size};
    must(pthread_create(&thread, NULL, read_blob, &reading) == 0);
    int r = put_blob(&sending, digest, offset, err);
    close_fd(ends[0]); /* ends a reader that nobody listens to any more */
    pthread_join(thread, NULL);
    if (reading.result < 0 && reading.err.sys != EPIPE)
        return err_copy(err, &reading.err);
    if (r == 0) {
        _cleanup_free_ char *text =
            str_printf("%s%s", pulls(s) ? "Pulled" : "Pushed", offset ? " the rest" : "");
        progress_detail(s->progress, key, text);
        s->sent++;
    }
    return r;
}

/* --- one image --- */

static int send_missing(struct shipping *s, struct err *err)
{
    const json_t *blobs = json_object_get(s->content, "Blobs");
    _cleanup_json_ json_t *body = json_pack("{s:O}", "Blobs", blobs), *missing = NULL;
    int r = end_call(s->to, "POST", "/drover/content/missing", body, &missing, err);
    size_t i;
    const json_t *blob;
    s->had = json_array_size(blobs) - json_array_size(missing);
    json_array_foreach (missing, i, blob)
        if (r == 0)
            r = send_blob(s, blob, err);
    return r;
}

static int put_together(struct shipping *s, const char *name, struct err *err)
{
    _cleanup_json_ json_t *body = json_object(), *answer = NULL;
    json_t *digests = json_array(), *names = json_array();
    size_t i;
    const json_t *blob;
    json_array_foreach (json_object_get(s->content, "Blobs"), i, blob)
        json_array_append(digests, json_object_get(blob, "digest"));
    if (*name)
        json_array_append_new(names, json_string(name));
    json_set_str(body, "Manifest", json_str(s->content, "Manifest"));
    json_object_set_new(body, "Blobs", digests);
    json_object_set_new(body, "References", names);
    return end_call(s->to, "POST", "/drover/content/install", body, &answer, err);
}

static bool may_help(const struct shipping *s, int r)
{
    /* A conflict is the other end's thread that has not yet seen the connection go; what is not found went
     * while the rest came. */
    const struct ssh_remote *remote = pulls(s) ? s->from : s->to;
    return remote->answered && (err_retryable(r) || r == -ERR_CONFLICT || r == -ERR_NOT_FOUND) &&
           r != -ERR_NO_SPACE;
}

static int ship(struct shipping *s, const char *name, struct err *err)
{
    for (int idle = 0;;) {
        int64_t before = s->moved;
        int r = send_missing(s, err);
        if (r == 0)
            r = put_together(s, name, err);
        idle = s->moved > before ? 0 : idle + 1;
        if (r == 0 || !may_help(s, r) || idle >= TRIES)
            return r;
        _cleanup_free_ char *line = str_printf("%s; going on in %d s", err->msg, 1 << idle);
        progress_print(s->progress, line);
        time_sleep_ns((INT64_C(1) << idle) * NS_PER_S);
    }
}

/* By its id it arrives without a name. */
static const char *name_to_give(const json_t *content, const char *image)
{
    const char *id = json_str(content, "Id"), *hex = str_after(image, "sha256:");
    bool is_id = hex || (str_is_hex(image) && str_after(digest_hex(id), image));
    return is_id || strchr(image, '@') ? "" : image;
}

static int ship_one(struct ssh_remote *remote, bool pull, const char *url, const char *image, bool quiet,
                    struct err *err)
{
    _cleanup_progress_ struct progress *progress = progress_new();
    struct shipping s = {.from = pull ? remote : NULL, .to = pull ? NULL : remote, .progress = progress};
    _cleanup_free_ char *escaped = cli_escape(image);
    _cleanup_free_ char *path = str_printf("/drover/images/%s/content", escaped);
    int r = end_call(s.from, "GET", path, NULL, &s.content, err);
    if (r == 0) {
        progress_set(progress, image, COLOUR_YELLOW, pull ? "Pulling" : "Pushing");
        r = ship(&s, name_to_give(s.content, image), err);
        progress_set(progress, image, r < 0 ? COLOUR_RED : COLOUR_GREEN,
                     r < 0  ? "Failed"
                     : pull ? "Pulled"
                            : "Pushed");
    }
    if (r == 0 && !quiet) {
        char bytes[32];
        output_size(s.moved, bytes);
        printf("%s %s %s: %zu blobs %s (%s), %zu %s already\n", image, pull ? "from" : "to", url, s.sent,
               pull ? "fetched" : "sent", bytes, s.had, pull ? "here" : "there");
    }
    json_decref(s.content);
    return r < 0 ? err_wrap(err, "%s %s %s %s", pull ? "pull" : "push", image, pull ? "from" : "to", url) : 0;
}

/* --- the verbs --- */

static int ship_all(char **words, bool pull, const char *program, bool quiet)
{
    const char *url = NULL;
    char **images = NULL;
    struct err err = {0};
    int r = 0;
    STRV_FOREACH (word, words) {
        if (!ssh_is_url(*word))
            strv_add(&images, *word);
        else if (url)
            r = err_set(&err, ERR_INVALID, "two machines are named, %s and %s: one at a time", url, *word);
        else
            url = *word;
    }
    if (r == 0 && !images)
        r = err_set(&err, ERR_INVALID, "no image is named: drover image %s IMAGE... %s",
                    pull ? "pull" : "push", url);
    struct ssh_remote remote = {0};
    if (r == 0)
        r = ssh_open(url, program, &remote, &err);
    for (char **image = images; r == 0 && *image; image++)
        r = ship_one(&remote, pull, url, *image, quiet, &err);
    ssh_close(&remote);
    strv_free(images);
    return r < 0 ? cli_fail(&err) : 0;
}

#define WITHOUT_A_REGISTRY(how)                                                                              \
    "What broke off goes on where it stood, also when it is started again. DROVER_SSH_COMMAND\nis run "      \
    "instead of ssh. Without a machine this is drover " how ", with registries."

static int ship_verb(int argc, char **argv, bool pull)
{
    bool quiet = false;
    const char *program = NULL;
    const struct cli_option options[] = {
        {'q', "quiet", CLI_FLAG, &quiet, NULL, "Do not print what travelled"},
        {0, "drover-path", CLI_TEXT, &program, "COMMAND",
         "What runs drover there (default: drover, of the PATH that ssh finds)"},
        {0},
    };
    const struct cli_command command = {
        pull ? "image pull [OPTIONS] IMAGE... [ssh://[USER@]HOST[:PORT][/SOCKET]]"
             : "image push [OPTIONS] IMAGE... [ssh://[USER@]HOST[:PORT][/SOCKET]]",
        pull ? "Fetches images from the drover serve of another machine through ssh: what is missing here of "
               "their\nlayers, and their names. " WITHOUT_A_REGISTRY("pull")
             : "Sends images to the drover serve of another machine through ssh: what that lacks of their "
               "layers,\nand their names. " WITHOUT_A_REGISTRY("push"),
        options,
        false,
        1,
        -1};
    char **words;
    int status = cli_parse(&command, argc, argv, &words);
    return status >= 0 ? status : ship_all(words, pull, program, quiet);
}

static bool means_machine(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (ssh_is_url(argv[i]) || str_eq(argv[i], "--help") || str_eq(argv[i], "-h"))
            return true;
    return false;
}

int cli_image_push(int argc, char **argv)
{
    return means_machine(argc, argv) ? ship_verb(argc, argv, false) : cli_push(argc, argv);
}

int cli_image_pull(int argc, char **argv)
{
    return means_machine(argc, argv) ? ship_verb(argc, argv, true) : cli_pull(argc, argv);
}
