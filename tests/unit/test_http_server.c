#include "unit.h"

#include "base/json.h"
#include "http/server.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* A server with handlers that show one behaviour each, and raw clients against it. */
struct world {
    char *dir, *path;
    struct http_server *server;
    sem_t proceed, seen;
    bool saw_gone;
};

static struct world world;

static void echo_json(struct http_request *q, void *context)
{
    struct err err = {0};
    json_t *body = NULL;
    if (http_body_json(q, 1 << 20, &body, &err) < 0)
        return http_reply_err(q, &err);
    http_reply_json(q, 200, body ? body : json_null());
}

static void describe(struct http_request *q, void *context)
{
    http_set_header(q, "X-Extra", "yes");
    json_t *out = json_object();
    json_set_str(out, "method", http_method(q));
    json_set_str(out, "path", http_path(q));
    json_set_str(out, "name", http_param(q, "name"));
    json_set_str(out, "q", http_query(q, "q"));
    json_object_set_new(out, "flag", json_boolean(http_query_bool(q, "flag", false)));
    json_object_set_new(out, "version", json_integer(http_api_version(q)));
    char **all = http_query_all(q, "t");
    json_object_set_new(out, "t", json_of_strv(all));
    strv_free(all);
    http_reply_json(q, 200, out);
}

static void sum_body(struct http_request *q, void *context)
{
    struct err err = {0};
    static __thread char buffer[10000];
    int64_t bytes = 0, sum = 0;
    for (ssize_t n; (n = http_body_read(q, buffer, sizeof(buffer), &err)) != 0;) {
        if (n < 0)
            return http_reply_err(q, &err);
        if (bytes == 0 && http_query(q, "hold"))
            sem_wait(&world.proceed);
        bytes += n;
        for (ssize_t i = 0; i < n; i++)
            sum += (unsigned char)buffer[i];
    }
    http_reply_json(q, 200, json_pack("{s:I,s:I}", "bytes", (json_int_t)bytes, "sum", (json_int_t)sum));
}

static void lines(struct http_request *q, void *context)
{
    struct err err = {0};
    http_stream_begin(q, 200, "application/json");
    for (int i = 0; i < 3; i++) {
        sem_wait(&world.proceed);
        http_stream_json(q, json_pack("{s:i}", "line", i), &err);
    }
}

static void flood(struct http_request *q, void *context)
{
    struct err err = {0};
    char block[4096];
    memset(block, 'x', sizeof(block));
    http_stream_begin(q, 200, "application/octet-stream");
    while (http_stream_write(q, block, sizeof(block), &err) == 0)
        ;
    assert_int_equal(err.code, ERR_CANCELLED);
    sem_post(&world.seen);
}

static void wait_for_peer(struct http_request *q, void *context)
{
    sem_post(&world.seen);
    sem_wait(&world.proceed);
    world.saw_gone = http_peer_gone(q);
    http_reply_empty(q, 204);
    sem_post(&world.seen);
}

/* A prompt route's: breaks its promise, and with ?lasts says so before. */
static void soon(struct http_request *q, void *context)
{
    if (http_query(q, "lasts"))
        assert_true(http_lasts(q));
    wait_for_peer(q, context);
}

/* More than a socket takes without a reader. */
static void much(struct http_request *q, void *context)
{
    enum { BYTES = 32 << 20 };
    _cleanup_free_ char *bytes = mem_new(BYTES);
    memset(bytes, 'x', BYTES);
    sem_post(&world.seen);
    http_reply_bytes(q, 200, "application/octet-stream", bytes, BYTES);
}

/* Echoes until the end of its input, then says goodbye: needs the other direction to be still open. */
static void echo(struct http_request *q, void *context)
{
    struct err err = {0};
    int fd;
    struct str early;
    if (http_hijack(q, "application/vnd.docker.raw-stream", &fd, &early, &err) < 0) {
        if (http_query(q, "must"))
            fail_msg("%s", err.msg);
        return;
    }
    file_write_all(fd, str_get(&early), early.len, &err);
    str_free(&early);
    char buffer[4096];
    for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;)
        file_write_all(fd, buffer, (size_t)n, &err);
    file_write_all(fd, "bye", 3, &err);
    close(fd);
}

static void aborted(struct http_request *q, void *context)
{
    struct err err;
    http_stream_begin(q, 200, "application/x-tar");
    http_stream_write(q, "part", 4, &err);
    http_stream_abort(q);
}

static void fails(struct http_request *q, void *context)
{
    struct err err = {0};
    err_set(&err, ERR_CONFLICT, "the \"name\" is taken");
    http_reply_err(q, &err);
}

static bool refuse_head(struct http_request *q, void *context)
{
    assert_string_equal(context, "inner");
    if (!str_eq(http_param(q, "name"), "refused"))
        return true;
    http_reply_text(q, 403, "text/plain", "no");
    return false;
}

static const struct http_route inner_routes[] = {{"GET", "/describe/{name}", describe}, {NULL, NULL, NULL}};

static void pass(struct http_request *q, void *context)
{
    static char inner[] = "inner";
    const struct http_server_config as = {.routes = inner_routes, .context = inner, .admit = refuse_head};
    if (!http_pass(q, "/pass", &as))
        http_reply_text(q, 404, "text/plain", "nobody's");
}

static const struct http_route routes[] = {
    {"GET", "/pass/{rest...}", pass},
    {"POST", "/echo", echo_json},
    {"GET", "/describe/{name}", describe},
    {"HEAD", "/describe/{name}", describe},
    {"GET", "/deep/{name...}/json", describe},
    {"POST", "/sum", sum_body},
    {"GET", "/lines", lines},
    {"GET", "/flood", flood},
    {"GET", "/wait", wait_for_peer, .kind = HTTP_WAIT},
    {"GET", "/soon", soon, .kind = HTTP_FOLLOW, .prompt = true},
    {"GET", "/much", much, .kind = HTTP_FOLLOW, .prompt = true},
    {"POST", "/hijack", echo},
    {"POST", "/fails", fails},
    {"GET", "/aborted", aborted},
    {NULL, NULL, NULL},
};

static const char *const headers[] = {"Server", "Test", NULL};

static int start_with(int idle_timeout_s)
{
    struct err err = {0};
    signal(SIGPIPE, SIG_IGN);
    world.dir = scratch_new();
    world.path = str_printf("%s/s", world.dir);
    sem_init(&world.proceed, 0, 0);
    sem_init(&world.seen, 0, 0);
    int fd;
    assert_ok(file_listen_unix(world.path, SOCK_STREAM, 0600, &fd, &err), &err);
    struct http_server_config config = {.routes = routes,
                                        .headers = headers,
                                        .max_body_bytes = 64 << 20,
                                        .idle_timeout_s = idle_timeout_s,
                                        .max_requests = {[HTTP_WAIT] = 2}};
    assert_ok(http_server_start(&config, fd, &world.server, &err), &err);
    return 0;
}

static int start(void **state)
{
    return start_with(0);
}

static int start_impatient(void **state)
{
    return start_with(1);
}

static int stop(void **state)
{
    http_server_stop(world.server, 1000);
    sem_destroy(&world.proceed);
    sem_destroy(&world.seen);
    free(world.path);
    scratch_remove(world.dir);
    return 0;
}

static int dial(void)
{
    struct err err = {0};
    int fd;
    assert_ok(file_connect_unix(world.path, SOCK_STREAM, &fd, &err), &err);
    return fd;
}

static void say(int fd, const char *text)
{
    struct err err = {0};
    assert_ok(file_write_all(fd, text, strlen(text), &err), &err);
}

/* Reads until `end` is there; the caller frees. */
static char *hear(int fd, const char *end)
{
    struct str s = STR_INIT;
    while (!strstr(str_get(&s), end)) {
        char c;
        if (read(fd, &c, 1) != 1)
            fail_msg("the connection ended before \"%s\": %s", end, str_get(&s));
        str_addc(&s, c);
    }
    return str_take(&s);
}

static void hears(int fd, const char *end)
{
    free(hear(fd, end));
}

static char *all(int fd)
{
    struct err err;
    struct str s = STR_INIT;
    assert_ok(file_read_fd(fd, 1 << 20, &s, &err), &err);
    return str_take(&s);
}

/* One request on a connection of its own; the whole answer. */
static char *ask(const char *request)
{
    int fd = dial();
    say(fd, request);
    shutdown(fd, SHUT_WR);
    char *answer = all(fd);
    close(fd);
    return answer;
}

static void has(char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
    free(text);
}

static void one_connection_serves_many_requests_also_pipelined(void **state)
{
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        say(fd, "GET /describe/a HTTP/1.1\r\nHost: x\r\n\r\n");
        has(hear(fd, "\"name\":\"a\""), "Server: Test");
        hears(fd, "}");
    }
    say(fd, "GET /describe/b HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: "
            "7\r\n\r\n{\"p\":1}GET /describe/c HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(fd, "\"name\":\"b\"");
    hears(fd, "{\"p\":1}");
    hears(fd, "\"name\":\"c\"");
    close(fd);
}

static void names_are_decoded_and_the_version_is_taken_off(void **state)
{
    has(ask("GET /v1.43/describe/a%2Fb%20c?q=x%26+y&flag=1&t=1&t=2 HTTP/1.1\r\nHost: x\r\n\r\n"),
        "{\"method\":\"GET\",\"path\":\"/describe/a/b c\",\"name\":\"a/b c\",\"q\":\"x& "
        "y\",\"flag\":true,\"version\":1043,\"t\":[\"1\",\"2\"]}");
    has(ask("GET /deep/localhost:5000/json/x/json HTTP/1.1\r\nHost: x\r\n\r\n"),
        "\"name\":\"localhost:5000/json/x\"");
    has(ask("GET /deep/json HTTP/1.1\r\nHost: x\r\n\r\n"), "404");
    has(ask("GET /d%65scribe/a?q=%+ HTTP/1.1\r\nHost: x\r\n\r\n"),
        "{\"message\":\"invalid URL escape \\\"%+\\\"\"}");
    has(ask("GET /d%65scribe/a HTTP/1.1\r\nHost: x\r\n\r\n"), "\"name\":\"a\"");
    has(ask("GET /describe/%0 HTTP/1.1\r\nHost: x\r\n\r\n"), "400 Bad Request");
    has(ask("GET /describe/%00 HTTP/1.1\r\nHost: x\r\n\r\n"), "400 Bad Request");
    has(ask("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"), "{\"message\":\"page not found\"}");
    has(ask("POST /fails HTTP/1.1\r\nHost: x\r\n\r\n"), "{\"message\":\"the \\\"name\\\" is taken\"}");
}

static void the_answer_to_head_has_no_body(void **state)
{
    char *answer = ask("HEAD /describe/a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(answer, "X-Extra: yes"));
    assert_true(str_ends_with(answer, "\r\n\r\n"));
    has(answer, "200 OK");
    has(ask("HEAD /lines HTTP/1.1\r\nHost: x\r\n\r\n"), "404 Not Found");
}

static void bodies_come_chunked_or_counted_and_wrong_json_is_refused(void **state)
{
    has(ask("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
            "chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"),
        "[1,2]");
    has(ask("POST /echo HTTP/1.1\r\nHost: x\r\n\r\n"), "null");
    has(ask("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nnull\n"), "200 OK");
    has(ask("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{x}"), "400 Bad Request");
    int fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    hears(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "[]");
    hears(fd, "200 OK");
    close(fd);
}

/* The sender runs into the handler that does not read, and goes on when it does. */
static void a_large_body_waits_for_its_reader(void **state)
{
    enum { BYTES = 20 << 20 };
    int fd = dial();
    _cleanup_free_ char *head =
        str_printf("POST /sum?hold=1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", BYTES);
    say(fd, head);
    static char block[65536];
    memset(block, 3, sizeof(block));
    size_t sent = 0;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    /* Until the socket takes no more: what is on its way is bounded. */
    while (poll(&p, 1, 200) > 0) {
        ssize_t n = send(fd, block, MIN(sizeof(block), BYTES - sent), MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        if (sent > 2 << 20)
            fail_msg("%zu bytes were taken though nobody reads them", sent);
    }
    sem_post(&world.proceed);
    while (sent < BYTES) {
        ssize_t n = write(fd, block, MIN(sizeof(block), BYTES - sent));
        assert_true(n > 0);
        sent += (size_t)n;
    }
    _cleanup_free_ char *want = str_printf("{\"bytes\":%d,\"sum\":%d}", BYTES, BYTES * 3);
    hears(fd, want);
    close(fd);
    has(ask("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"), "400 Bad Request");
}

static void a_body_that_nobody_reads_is_thrown_away(void **state)
{
    enum { BYTES = 3 << 20 };
    int fd = dial();
    _cleanup_free_ char *head =
        str_printf("POST /fails HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", BYTES);
    say(fd, head);
    _cleanup_free_ char *body = mem_new(BYTES);
    struct err err;
    assert_ok(file_write_all(fd, body, BYTES, &err), &err);
    hears(fd, "is taken\"}"); /* and no reset */
    close(fd);
    fd = dial();
    say(fd, "POST /fails HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nsmall"
            "POST /fails HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    hears(fd, "is taken\"}");
    hears(fd, "is taken\"}");
    say(fd, "GET /describe/a HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(fd, "\"name\":\"a\"");
    close(fd);
}

static void each_line_of_a_stream_is_seen_while_the_handler_still_runs(void **state)
{
    int fd = dial();
    say(fd, "GET /lines HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(fd, "\r\n\r\n"); /* the head comes before the first line */
    for (int i = 0; i < 3; i++) {
        _cleanup_free_ char *line = str_printf("{\"line\":%d}\n", i);
        sem_post(&world.proceed);
        hears(fd, line);
    }
    hears(fd, "0\r\n\r\n");
    say(fd, "GET /describe/a HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(fd, "\"name\":\"a\"");
    close(fd);
}

static void a_stream_that_failed_has_no_last_chunk(void **state)
{
    char *answer = ask("GET /aborted HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_null(strstr(answer, "0\r\n\r\n"));
    has(answer, "part");
}

static void a_writer_learns_that_its_reader_has_gone(void **state)
{
    int fd = dial();
    say(fd, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(fd, "xxx");
    close(fd);
    sem_wait(&world.seen);
}

static void a_waiting_handler_can_ask_whether_its_client_is_there(void **state)
{
    int fd = dial();
    say(fd, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(fd, SHUT_WR); /* still listening */
    sem_wait(&world.seen);
    sem_post(&world.proceed);
    hears(fd, "204");
    close(fd);
    sem_wait(&world.seen);
    assert_false(world.saw_gone);

    fd = dial();
    say(fd, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    sem_wait(&world.seen);
    close(fd);
    sem_post(&world.proceed);
    sem_wait(&world.seen);
    assert_true(world.saw_gone);
}

static void a_taken_connection_gives_early_bytes_and_survives_half_close(void **state)
{
    int fd = dial();
    say(fd, "POST /hijack?must=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly ");
    char *head = hear(fd, "\r\n\r\n");
    assert_non_null(strstr(head, "HTTP/1.1 101 "));
    assert_non_null(strstr(head, "Upgrade: tcp"));
    assert_non_null(strstr(head, "Connection: Upgrade"));
    has(head, "Content-Type: application/vnd.docker.raw-stream");
    hears(fd, "early ");
    say(fd, "more ");
    hears(fd, "more ");
    shutdown(fd, SHUT_WR);
    char *rest = all(fd);
    assert_string_equal(rest, "bye");
    free(rest);
    close(fd);
}

static void a_taken_connection_may_have_a_body_before_it(void **state)
{
    int fd = dial();
    say(fd, "POST /hijack?must=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            "Content-Length: 2\r\n\r\n{}");
    hears(fd, "\r\n\r\n");
    say(fd, "more ");
    hears(fd, "more ");
    close(fd);
}

static void without_an_upgrade_the_connection_is_taken_over_after_200(void **state)
{
    int fd = dial();
    say(fd, "POST /hijack?must=1 HTTP/1.1\r\nHost: x\r\n\r\nhello");
    char *head = hear(fd, "\r\n\r\n");
    assert_null(strstr(head, "Transfer-Encoding"));
    assert_null(strstr(head, "Connection"));
    has(head, "HTTP/1.1 200 OK\r\n");
    hears(fd, "hello");
    say(fd, " again");
    hears(fd, " again");
    shutdown(fd, SHUT_WR);
    _cleanup_free_ char *rest = all(fd);
    assert_string_equal(rest, "bye");
    close(fd);
}

static void garbage_and_torn_requests_harm_nobody(void **state)
{
    static const char *const bad[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET /describe/a HTTP/1.1\r\nHo",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /describe/a HTTP/9.9\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int torn = dial();
        say(torn, bad[i]);
        close(torn);
    }
    _cleanup_str_ struct str huge = STR_INIT;
    str_add(&huge, "GET /describe/a HTTP/1.1\r\nX: ");
    while (huge.len < 200000)
        str_add(&huge, "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
    int fd = dial();
    send(fd, huge.data, huge.len, MSG_NOSIGNAL);
    close(fd);
    has(ask("GET /describe/a HTTP/1.1\r\nHost: x\r\n\r\n"), "200 OK");
}

static void a_head_that_does_not_come_is_cut_off(void **state)
{
    int fds[3];
    static const char *const parts[] = {"", "\r\n", "GET /describe/a HTTP/1.1\r\nHo"};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = dial();
        say(fds[i], parts[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        free(all(fds[i]));
        close(fds[i]);
    }
}

static void ten_thousand_idle_connections_do_not_hinder_a_live_one(void **state)
{
    /* As many as the limit allows: each takes two descriptors here. */
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    int idle = (int)MIN(files.rlim_cur / 20 * 9, (rlim_t)10000);
    if (idle < 1000) {
        print_message("needs RLIMIT_NOFILE of 3000\n");
        skip();
    }
    int *fds = NEW_N(int, idle);
    for (int i = 0; i < idle; i++) {
        fds[i] = dial();
        if (i % 3 == 0)
            say(fds[i], "GET /desc");
    }
    has(ask("GET /describe/a HTTP/1.1\r\nHost: x\r\n\r\n"), "200 OK");
    for (int i = 0; i < idle; i++)
        close(fds[i]);
    free(fds);
    has(ask("GET /describe/a HTTP/1.1\r\nHost: x\r\n\r\n"), "200 OK");
}

static void those_who_wait_leave_room_for_the_others(void **state)
{
    int waiting[2];
    for (size_t i = 0; i < ARRAY_SIZE(waiting); i++) {
        waiting[i] = dial();
        say(waiting[i], "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
        sem_wait(&world.seen);
    }
    has(ask("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"), "503 Service Unavailable");
    has(ask("GET /describe/a HTTP/1.1\r\nHost: x\r\n\r\n"), "200 OK");
    for (size_t i = 0; i < ARRAY_SIZE(waiting); i++) {
        sem_post(&world.proceed);
        sem_wait(&world.seen);
    }
    for (size_t i = 0; i < ARRAY_SIZE(waiting); i++) {
        hears(waiting[i], "204");
        close(waiting[i]);
    }
}

static size_t threads(void)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void what_is_prompt_wakes_no_other_thread_before_it_says_that_it_lasts(void **state)
{
    size_t before = threads();
    int fd = dial();
    say(fd, "GET /soon HTTP/1.1\r\nHost: x\r\n\r\n");
    sem_wait(&world.seen);
    int second = dial();
    say(second, "GET /soon HTTP/1.1\r\nHost: x\r\n\r\n");
    sem_wait(&world.seen);
    assert_in_range(threads(), 1, before); /* those of the tests before may end meanwhile */
    for (int i = 0; i < 2; i++) {
        sem_post(&world.proceed);
        sem_wait(&world.seen);
    }
    hears(fd, "204");
    hears(second, "204");
    close(second);
    /* More than there are threads: each has seen to it that the next is served. */
    int lasting[20];
    for (size_t i = 0; i < ARRAY_SIZE(lasting); i++) {
        lasting[i] = dial();
        say(lasting[i], "GET /soon?lasts=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        sem_wait(&world.seen);
    }
    assert_true(threads() > before);
    has(ask("GET /describe/a HTTP/1.1\r\nHost: x\r\n\r\n"), "200 OK");
    for (size_t i = 0; i < ARRAY_SIZE(lasting); i++) {
        sem_post(&world.proceed);
        sem_wait(&world.seen);
    }
    for (size_t i = 0; i < ARRAY_SIZE(lasting); i++) {
        hears(lasting[i], "204");
        close(lasting[i]);
    }
    /* Those that rest now are called again. */
    for (size_t i = 0; i < ARRAY_SIZE(lasting); i++) {
        lasting[i] = dial();
        say(lasting[i], "GET /soon?lasts=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        sem_wait(&world.seen);
    }
    for (size_t i = 0; i < ARRAY_SIZE(lasting); i++)
        sem_post(&world.proceed);
    for (size_t i = 0; i < ARRAY_SIZE(lasting); i++) {
        sem_wait(&world.seen);
        close(lasting[i]);
    }
    close(fd);
}

static void a_prompt_answer_that_nobody_reads_holds_up_nobody(void **state)
{
    int deaf[20];
    for (size_t i = 0; i < ARRAY_SIZE(deaf); i++) {
        deaf[i] = dial();
        say(deaf[i], "GET /much HTTP/1.1\r\nHost: x\r\n\r\n");
        sem_wait(&world.seen);
    }
    has(ask("GET /describe/a HTTP/1.1\r\nHost: x\r\n\r\n"), "200 OK");
    for (size_t i = 0; i < ARRAY_SIZE(deaf); i++)
        close(deaf[i]);
}

static void stopping_cuts_what_does_not_end_by_itself(void **state)
{
    int fd = dial(), hijacked = dial();
    say(fd, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(fd, "xxx");
    say(hijacked, "POST /hijack HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    hears(hijacked, "\r\n\r\n");
    http_server_stop(world.server, 0);
    world.server = NULL;
    sem_wait(&world.seen);
    close(fd);
    close(hijacked);
}

static void a_request_may_be_passed_to_another_table_of_routes(void **state)
{
    char *a =
        ask("GET /pass/v1.43/describe/a%2Fb?q=1&flag=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(a, "\"name\":\"a/b\""));
    assert_non_null(strstr(a, "\"path\":\"/describe/a/b\""));
    assert_non_null(strstr(a, "\"version\":1043"));
    assert_non_null(strstr(a, "\"flag\":true"));
    free(a);
    a = ask("GET /pass/describe/refused HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(a, " 403 "));
    free(a);
    a = ask("GET /pass/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(a, "nobody's"));
    free(a);
}

int main(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(one_connection_serves_many_requests_also_pipelined),
        TEST(names_are_decoded_and_the_version_is_taken_off),
        TEST(the_answer_to_head_has_no_body),
        TEST(bodies_come_chunked_or_counted_and_wrong_json_is_refused),
        TEST(a_large_body_waits_for_its_reader),
        TEST(a_body_that_nobody_reads_is_thrown_away),
        TEST(each_line_of_a_stream_is_seen_while_the_handler_still_runs),
        TEST(a_stream_that_failed_has_no_last_chunk),
        TEST(a_writer_learns_that_its_reader_has_gone),
        TEST(a_waiting_handler_can_ask_whether_its_client_is_there),
        TEST(a_taken_connection_gives_early_bytes_and_survives_half_close),
        TEST(a_taken_connection_may_have_a_body_before_it),
        TEST(without_an_upgrade_the_connection_is_taken_over_after_200),
        TEST(garbage_and_torn_requests_harm_nobody),
        TEST(a_request_may_be_passed_to_another_table_of_routes),
        cmocka_unit_test_setup_teardown(a_head_that_does_not_come_is_cut_off, start_impatient, stop),
        TEST(ten_thousand_idle_connections_do_not_hinder_a_live_one),
        TEST(those_who_wait_leave_room_for_the_others),
        TEST(what_is_prompt_wakes_no_other_thread_before_it_says_that_it_lasts),
        TEST(a_prompt_answer_that_nobody_reads_holds_up_nobody),
        TEST(stopping_cuts_what_does_not_end_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
