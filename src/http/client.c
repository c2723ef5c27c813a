#include "http/client.h"

#include "base/deferred.h"
#include "base/file.h"
#include "base/json.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CLIENT_MAX_BODY_BYTES = 8 << 20,
    CLIENT_MAX_HEAD_BYTES = 256 << 10,
    CLIENT_MAX_REDIRECTS = 10,
    CLIENT_CONNECT_TIMEOUT_MS = 10000,
};

struct http_client {
    CURL *curl;
    char *unix_socket; /* or NULL */
};

/* One call in progress: what curl's callbacks need. */
struct transfer {
    CURL *curl;
    const struct http_call *call;
    struct http_response response;
    size_t head_bytes;
    struct err err; /* of a callback; decides over curl's own code */
};

static void global_init(void)
{
    deferred_need(DEFERRED_CURL);
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == 0);
}

int http_client_new(const char *unix_socket, struct http_client **ret, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    CURL *curl = curl_easy_init();
    if (!curl)
        return err_set(err, ERR_NO_MEMORY, "cannot set up an HTTP client");
    struct http_client *c = NEW(struct http_client);
    c->curl = curl;
    c->unix_socket = mem_strdup(unix_socket);
    *ret = c;
    return 0;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    free(c->unix_socket);
    free(c);
}

void http_response_done(struct http_response *r)
{
    r->headers = strv_free(r->headers);
    str_free(&r->body);
    r->status = 0;
}

static const char *header_in(char *const *headers, const char *name)
{
    size_t n = strlen(name);
    for (char *const *h = headers; h && *h; h++)
        if (strncmp(*h, name, n) == 0 && (*h)[n] == ':')
            return *h + n + 1 + strspn(*h + n + 1, " \t");
    return NULL;
}

const char *http_response_header(const struct http_response *r, const char *name)
{
    return header_in(r->headers, name);
}

int http_response_err(const struct http_response *r, struct err *err)
{
    if (r->status >= 200 && r->status < 300)
        return 0;
    enum err_code code = r->status >= 500 ? ERR_SYSTEM : ERR_INVALID;
    for (int i = ERR_NONE + 1; i < ERR_MAX_ && r->status != 500; i++)
        if (err_http_status(i) == r->status) {
            code = (enum err_code)i;
            break;
        }
    _cleanup_json_ json_t *body = json_loadb(str_get(&r->body), r->body.len, 0, NULL);
    const char *message = json_str(body, "message");
    _cleanup_free_ char *text = str_strip(*message ? message : str_get(&r->body));
    if (*text)
        return err_set(err, code, "%s", text);
    return err_set(err, code, "the server answered with status %d and no message", r->status);
}

/* --- curl's callbacks --- */

/* Adds one line of a head, its name in lower case. */
static void add_header(char ***headers, const char *line, size_t n)
{
    while (n && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' '))
        n--;
    const char *colon = memchr(line, ':', n);
    if (!colon)
        return;
    char *copy = mem_strndup(line, n);
    for (size_t i = 0; i < (size_t)(colon - line); i++)
        if (copy[i] >= 'A' && copy[i] <= 'Z')
            copy[i] = (char)(copy[i] - 'A' + 'a');
    strv_take(headers, copy);
}

/* At the empty line: not for "100 Continue", nor for a redirect that is followed. */
static void report_head(struct transfer *t)
{
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    bool followed = status >= 300 && status < 400 && header_in(t->response.headers, "location");
    const char *type = header_in(t->response.headers, "content-type");
    if (status >= 200 && !followed)
        t->call->head(t->call->head_context, (int)status, type ? type : "");
}

static size_t on_header(char *line, size_t size, size_t count, void *context)
{
    struct transfer *t = context;
    size_t n = size * count;
    /* A new head begins: after "100 Continue", or of where a redirect led. */
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) {
        t->response.headers = strv_free(t->response.headers);
        t->head_bytes = 0;
    }
    t->head_bytes += n;
    if (t->head_bytes > CLIENT_MAX_HEAD_BYTES) {
        err_set(&t->err, ERR_LIMIT, "the answer's head is larger than %d bytes", CLIENT_MAX_HEAD_BYTES);
        return 0;
    }
    if (n <= 2 && t->call->head)
        report_head(t);
    add_header(&t->response.headers, line, n);
    return n;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct transfer *t = context;
    size_t n = size * count;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (t->call->sink && status >= 200 && status < 300)
        return t->call->sink(t->call->sink_context, bytes, n, &t->err) < 0 ? 0 : n;
    size_t max = t->call->max_body_bytes && !t->call->sink ? t->call->max_body_bytes : CLIENT_MAX_BODY_BYTES;
    if (n > max - t->response.body.len) {
        err_set(&t->err, ERR_LIMIT, "the answer is larger than %zu bytes", max);
        return 0;
    }
    str_addn(&t->response.body, bytes, n);
    return n;
}

static size_t on_read(char *buffer, size_t size, size_t count, void *context)
{
    struct transfer *t = context;
    ssize_t n = t->call->source(t->call->source_context, buffer, size * count, &t->err);
    return n < 0 ? CURL_READFUNC_ABORT : (size_t)n;
}

/* --- One call --- */

static int set_method(struct transfer *t)
{
    const struct http_call *call = t->call;
    CURL *curl = t->curl;
    bool get = str_eq(call->method, "GET"), head = str_eq(call->method, "HEAD");
    if (get || head) {
        curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
        curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)CLIENT_MAX_REDIRECTS);
        /* Never from TLS down to plain text. */
        curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR,
                         str_after(call->url, "https:") ? "https" : "http,https");
    }
    if (head) {
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (call->source) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(curl, CURLOPT_READDATA, t);
        if (call->source_bytes >= 0)
            curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->source_bytes);
        /* A kept connection that turns out dead would need the source from its beginning again. */
        curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, call->source_over_kept ? 0L : 1L);
    } else if (call->body || !get) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_bytes);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body ? call->body : "");
    }
    if (!head)
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
    return 0;
}

static int on_progress(void *context, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now)
{
    struct transfer *t = context;
    const struct http_call *call = t->call;
    if (!(call->cancel && *call->cancel) && !(call->gone && call->gone(call->gone_context)))
        return 0;
    err_set(&t->err, ERR_CANCELLED, "cancelled");
    return 1;
}

static int on_socket(void *context, curl_socket_t fd, curlsocktype purpose)
{
    const struct transfer *t = context;
    unsigned ms = (unsigned)t->call->lost_after_ms;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    return CURL_SOCKOPT_OK;
}

static void set_options(struct http_client *c, struct transfer *t)
{
    const struct http_call *call = t->call;
    CURL *curl = c->curl;
    curl_easy_reset(curl); /* keeps live connections */
    curl_easy_setopt(curl, CURLOPT_URL, call->url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (call->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, call->ca_file);
    if (call->crl_file && access(call->crl_file, F_OK) == 0)
        curl_easy_setopt(curl, CURLOPT_CRLFILE, call->crl_file);
    if (call->certificate_file) {
        curl_easy_setopt(curl, CURLOPT_SSLCERT, call->certificate_file);
        curl_easy_setopt(curl, CURLOPT_SSLKEY, call->key_file);
    }
    if (call->anybody) {
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "drover/" DROVER_VERSION);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(call->connect_timeout_ms ? call->connect_timeout_ms : CLIENT_CONNECT_TIMEOUT_MS));
    if (call->idle_timeout_ms) {
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)((call->idle_timeout_ms + 999) / 1000));
    }
    if (call->lost_after_ms) {
        curl_easy_setopt(curl, CURLOPT_SOCKOPTFUNCTION, on_socket);
        curl_easy_setopt(curl, CURLOPT_SOCKOPTDATA, t);
    }
    if (call->cancel || call->gone) {
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    }
    if (c->unix_socket) {
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, c->unix_socket);
        curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    }
    /* No proxy reaches this machine's own loopback. */
    if (c->unix_socket || call->connect_to || str_after(call->url, "http://127.") ||
        str_after(call->url, "https://127."))
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
    set_method(t);
}

static struct curl_slist *make_headers(const struct http_call *call)
{
    /* No wait for "100 Continue" before a body. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    /* A body's type is the caller's to say, never curl's form encoding. */
    list = curl_slist_append(list, "Content-Type:");
    for (char *const *h = call->headers; h && *h; h++) {
        must(!strpbrk(*h, "\r\n"));
        list = curl_slist_append(list, *h);
    }
    return list;
}

static const struct {
    CURLcode curl;
    enum err_code code;
} curl_codes[] = {
    {CURLE_COULDNT_RESOLVE_HOST, ERR_UNAVAILABLE},
    {CURLE_COULDNT_RESOLVE_PROXY, ERR_UNAVAILABLE},
    {CURLE_COULDNT_CONNECT, ERR_UNAVAILABLE},
    {CURLE_GOT_NOTHING, ERR_UNAVAILABLE},
    {CURLE_SEND_ERROR, ERR_UNAVAILABLE},
    {CURLE_RECV_ERROR, ERR_UNAVAILABLE},
    {CURLE_PARTIAL_FILE, ERR_UNAVAILABLE},
    {CURLE_OPERATION_TIMEDOUT, ERR_TIMEOUT},
    {CURLE_TOO_MANY_REDIRECTS, ERR_PROTOCOL},
    {CURLE_PEER_FAILED_VERIFICATION, ERR_DENIED},
    {CURLE_URL_MALFORMAT, ERR_INVALID},
    {CURLE_UNSUPPORTED_PROTOCOL, ERR_UNSUPPORTED},
    {CURLE_OUT_OF_MEMORY, ERR_NO_MEMORY},
    {CURLE_OK, ERR_PROTOCOL}, /* the others */
};

static int transfer_error(const struct http_client *c, const struct transfer *t, CURLcode code,
                          const char *detail, struct err *err)
{
    if (t->err.code)
        return err_copy(err, &t->err);
    long sys = 0;
    curl_easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &sys);
    if (c->unix_socket && code == CURLE_COULDNT_CONNECT) {
        if (sys == EACCES || sys == EPERM)
            return err_sys(err, (int)sys, "connect to %s", c->unix_socket);
        return err_set(err, ERR_UNAVAILABLE, "connect to %s: %s", c->unix_socket,
                       sys ? strerror((int)sys) : "no answer");
    }
    size_t i = 0;
    while (curl_codes[i].curl != CURLE_OK && curl_codes[i].curl != code)
        i++;
    int r = err_set(err, curl_codes[i].code, "%s %s: %s", t->call->method, t->call->url,
                    *detail ? detail : curl_easy_strerror(code));
    if (err && code == CURLE_COULDNT_CONNECT)
        err->sys = (int)sys;
    return r;
}

int http_client_call(struct http_client *c, const struct http_call *call, struct http_response *ret,
                     struct err *err)
{
    struct transfer t = {.curl = c->curl, .call = call};
    char detail[CURL_ERROR_SIZE] = "";
    set_options(c, &t);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, detail);
    struct curl_slist *headers = make_headers(call);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    struct curl_slist *to = NULL;
    if (call->connect_to) {
        _cleanup_free_ char *text = str_printf("::%s", call->connect_to);
        to = curl_slist_append(NULL, text);
        curl_easy_setopt(c->curl, CURLOPT_CONNECT_TO, to);
    }
    CURLcode code = curl_easy_perform(c->curl);
    curl_slist_free_all(headers);
    curl_slist_free_all(to);
    if (code != CURLE_OK) {
        int r = transfer_error(c, &t, code, detail, err);
        curl_easy_reset(c->curl);
        http_response_done(&t.response);
        return r;
    }
    long status = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_reset(c->curl); /* nothing may point into this frame */
    t.response.status = (int)status;
    *ret = t.response;
    return 0;
}

/* --- Taking a connection over --- */

/* Reads until the empty line that ends the head; what follows it stays behind *ret_head_bytes. */
static int read_head(int fd, struct str *text, size_t *ret_head_bytes, struct err *err)
{
    for (;;) {
        const char *end = text->len ? strstr(str_get(text), "\r\n\r\n") : NULL;
        if (end) {
            *ret_head_bytes = (size_t)(end - text->data) + 4;
            return 0;
        }
        if (text->len > CLIENT_MAX_HEAD_BYTES)
            return err_set(err, ERR_LIMIT, "the answer's head is larger than %d bytes",
                           CLIENT_MAX_HEAD_BYTES);
        char *at = str_reserve(text, 4096);
        ssize_t n = read(fd, at, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read the answer");
        if (n == 0)
            return err_set(err, ERR_UNAVAILABLE, "the server closed the connection without an answer");
        at[n] = '\0';
        text->len += (size_t)n;
    }
}

/* The rest of a refusal: as long as the head says, or until the server closes. */
static void read_refusal(int fd, struct http_response *r)
{
    int64_t length = CLIENT_MAX_HEAD_BYTES;
    const char *given = http_response_header(r, "content-length");
    if (given && parse_i64(given, 0, CLIENT_MAX_HEAD_BYTES, &length, NULL) < 0)
        return;
    while (r->body.len < (size_t)length) {
        char buffer[4096];
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        str_addn(&r->body, buffer, (size_t)n);
    }
}

static int parse_head(const char *head, size_t n, struct http_response *r, struct err *err)
{
    int status = 0;
    if (sscanf(head, "HTTP/1.%*1d %3d", &status) != 1 || status < 100)
        return err_set(err, ERR_PROTOCOL, "the server does not speak HTTP/1.1");
    r->status = status;
    const char *end = head + n;
    for (const char *at = head; at < end;) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        size_t length = eol ? (size_t)(eol - at) : (size_t)(end - at);
        if (at != head)
            add_header(&r->headers, at, length);
        at += length + 1;
    }
    return 0;
}

static int send_request(int fd, const char *method, const char *path, const json_t *body, struct err *err)
{
    _cleanup_free_ char *text = body ? json_format(body) : mem_strdup("");
    _cleanup_str_ struct str request = STR_INIT;
    must(!strpbrk(path, " \r\n"));
    str_addf(&request,
             "%s %s HTTP/1.1\r\nHost: drover\r\nUser-Agent: drover/%s\r\nConnection: Upgrade\r\n"
             "Upgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             method, path, DROVER_VERSION, strlen(text), text);
    return file_write_all(fd, str_get(&request), request.len, err);
}

int http_client_hijack(const char *unix_socket, const char *method, const char *path, const json_t *body,
                       int *ret_fd, struct str *ret_early, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str text = STR_INIT;
    size_t head_bytes = 0;
    int r = file_connect_unix(unix_socket, SOCK_STREAM, &fd, err);
    if (r == 0)
        r = send_request(fd, method, path, body, err);
    if (r == 0)
        r = read_head(fd, &text, &head_bytes, err);
    if (r < 0)
        return r;
    struct http_response response = {0};
    r = parse_head(str_get(&text), head_bytes, &response, err);
    if (r == 0 && response.status != 101 && response.status != 200) {
        str_addn(&response.body, text.data + head_bytes, text.len - head_bytes);
        read_refusal(fd, &response);
        r = http_response_err(&response, err);
        if (r == 0)
            r = err_set(err, ERR_PROTOCOL, "the server answered %d instead of a raw stream", response.status);
    }
    http_response_done(&response);
    if (r < 0)
        return r;
    *ret_early = (struct str)STR_INIT;
    str_addn(ret_early, text.data + head_bytes, text.len - head_bytes);
    *ret_fd = take_fd(&fd);
    return 0;
}
