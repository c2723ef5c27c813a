#include "bakery/fetch.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/str.h"
#include "http/client.h"

#include <fcntl.h>
#include <unistd.h>

static const int64_t FETCH_MAX_BYTES = INT64_C(16) << 30;
enum { FETCH_IDLE_MS = 60000 };

struct sink {
    int fd;
    int64_t bytes;
    struct digest_hasher *hasher;
    bool (*stopped)(void *context);
    void *context;
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
    if (s->stopped && s->stopped(s->context))
        return err_set(err, ERR_CANCELLED, "build cancelled");
    s->bytes += (int64_t)n;
    if (s->bytes > FETCH_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "more than %lld bytes", (long long)FETCH_MAX_BYTES);
    digest_hasher_add(s->hasher, bytes, n);
    return file_write_all(s->fd, bytes, n, err);
}

static int call(const char *url, struct sink *s, struct err *err)
{
    struct http_client *client;
    int r = http_client_new(NULL, &client, err);
    if (r < 0)
        return r;
    struct http_response response = {0};
    struct http_call get = {
        .method = "GET", .url = url, .sink = write_some, .sink_context = s, .idle_timeout_ms = FETCH_IDLE_MS};
    r = http_client_call(client, &get, &response, err);
    if (r == 0 && (response.status < 200 || response.status > 299))
        r = err_set(err, response.status == 404 ? ERR_NOT_FOUND : ERR_UNAVAILABLE, "the server answered %d",
                    response.status);
    http_response_done(&response);
    http_client_free(client);
    return r;
}

int fetch_url(const char *url, const char *path, const char *checksum, struct err *err)
{
    return fetch_url_until(url, path, checksum, NULL, NULL, err);
}

int fetch_url_until(const char *url, const char *path, const char *checksum, bool (*stopped)(void *context),
                    void *context, struct err *err)
{
    if (checksum && !digest_valid(checksum))
        return err_set(err, ERR_INVALID, "--checksum=%s: it must be sha256:<64 hex digits>", checksum);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "make %s", path);
    _cleanup_hasher_ struct digest_hasher *hasher = digest_hasher_new(checksum ? checksum : "sha256");
    struct sink s = {.fd = fd, .hasher = hasher, .stopped = stopped, .context = context};
    int r = call(url, &s, err);
    char digest[DIGEST_BYTES];
    digest_hasher_format(hasher, digest);
    if (r == 0 && checksum && strcmp(digest, checksum) != 0)
        r = err_set(err, ERR_CORRUPT, "digest mismatch: %s, and --checksum says %s", digest, checksum);
    return r < 0 ? err_wrap(err, "%s", url) : 0;
}
