#include "bakery/fetch.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/str.h"
#include "http/client.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const int64_t FETCH_MAX_BYTES = INT64_C(16) << 30;
enum { FETCH_IDLE_MS = 60000 };

struct sink {
    const struct fetch *fetch;
    int fd;
    int64_t bytes;
    struct digest_hasher *hasher;
};

bool fetch_is_url(const char *text)
{
    return str_after(text, "http://") || str_after(text, "https://");
}

char *fetch_name(const char *url)
{
    const char *host = strstr(url, "://") + 3, *encoded = host + strcspn(host, "/?#");
    size_t n = strcspn(encoded, "?#");
    _cleanup_free_ char *path = str_percent_decode(encoded, n, false);
    if (!path)
        path = mem_strndup(encoded, n);
    size_t end = strlen(path);
    while (end && path[end - 1] == '/')
        path[--end] = '\0';
    const char *slash = strrchr(path, '/');
    return mem_strdup(slash ? slash + 1 : "__unnamed__");
}

static int write_some(void *context, const void *bytes, size_t n, struct err *err)
{
    struct sink *s = context;
    if (s->fetch->stopped && s->fetch->stopped(s->fetch->context))
        return err_set(err, ERR_CANCELLED, "build cancelled");
    s->bytes += (int64_t)n;
    if (s->bytes > FETCH_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "more than %lld bytes", (long long)FETCH_MAX_BYTES);
    digest_hasher_add(s->hasher, bytes, n);
    return file_write_all(s->fd, bytes, n, err);
}

/* --- RFC 9110: 8.8, validators --- */

/* An HTTP date (5.6.7), in the one form that is not obsolete. */
static bool parse_date(const char *text, int64_t *ret)
{
    struct tm tm = {0};
    const char *end = text ? strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) : NULL;
    if (!end || *end)
        return false;
    *ret = timegm(&tm);
    return true;
}

/* A time says that nothing has changed only where it is a minute older than the answer (8.8.2.2): a file may
 * change twice within its second. */
static char *next_condition(const struct http_response *response)
{
    enum { SURE_AFTER_S = 60, CONDITION_MAX_BYTES = 1024 };
    const char *etag = http_response_header(response, "etag");
    const char *modified = http_response_header(response, "last-modified");
    int64_t at, now;
    if (etag && *etag && strlen(etag) < CONDITION_MAX_BYTES)
        return str_printf("If-None-Match: %s", etag);
    bool sure = parse_date(modified, &at) && parse_date(http_response_header(response, "date"), &now) &&
                at <= now - SURE_AFTER_S;
    return sure ? str_printf("If-Modified-Since: %s", modified) : mem_strdup("");
}

static int set_time(int fd, const struct http_response *response, struct err *err)
{
    int64_t at = 0;
    parse_date(http_response_header(response, "last-modified"), &at);
    const struct timespec times[] = {{.tv_sec = at}, {.tv_sec = at}};
    return futimens(fd, times) < 0 ? err_sys(err, errno, "set the time of a download") : 0;
}

static int call(struct fetch *f, struct sink *s, struct err *err)
{
    struct http_client *client;
    int r = http_client_new(NULL, &client, err);
    if (r < 0)
        return r;
    struct http_response response = {0};
    char *const headers[] = {(char *)f->condition, NULL};
    struct http_call get = {.method = "GET",
                            .url = f->url,
                            .headers = headers,
                            .sink = write_some,
                            .sink_context = s,
                            .idle_timeout_ms = FETCH_IDLE_MS};
    r = http_client_call(client, &get, &response, err);
    f->unchanged = r == 0 && response.status == 304 && f->condition;
    if (r == 0 && !f->unchanged && (response.status < 200 || response.status > 299))
        r = err_set(err, response.status == 404 ? ERR_NOT_FOUND : ERR_UNAVAILABLE, "the server answered %d",
                    response.status);
    if (r == 0 && !f->unchanged)
        r = set_time(s->fd, &response, err);
    if (r == 0)
        f->next_condition = next_condition(&response);
    http_response_done(&response);
    http_client_free(client);
    return r;
}

int fetch_check_sum(const char *checksum, struct err *err)
{
    if (digest_valid(checksum))
        return 0;
    return err_set(err, ERR_INVALID, "--checksum=%.200s: it must be sha256:<64 hex digits>", checksum);
}

int fetch_into(struct fetch *f, struct err *err)
{
    int r = f->checksum ? fetch_check_sum(f->checksum, err) : 0;
    if (r < 0)
        return err_wrap(err, "%s", f->url);
    _cleanup_close_ int fd = open(f->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "make %s", f->path);
    _cleanup_hasher_ struct digest_hasher *hasher = digest_hasher_new(f->checksum ? f->checksum : "sha256");
    struct sink s = {.fetch = f, .fd = fd, .hasher = hasher};
    r = call(f, &s, err);
    digest_hasher_format(hasher, f->digest);
    if (r == 0 && f->unchanged)
        unlink(f->path);
    else if (r == 0 && f->checksum && strcmp(f->digest, f->checksum) != 0)
        r = err_set(err, ERR_CORRUPT, "digest mismatch: %s, and --checksum says %s", f->digest, f->checksum);
    return r < 0 ? err_wrap(err, "%s", f->url) : 0;
}

int fetch_url(const char *url, const char *path, struct err *err)
{
    struct fetch f = {.url = url, .path = path};
    int r = fetch_into(&f, err);
    free(f.next_condition);
    return r;
}
