#include "unit.h"

#include "base/json.h"
#include "http/client.h"

#include <pthread.h>
#include <sys/socket.h>

/* A server that answers its connections with prepared texts, one each, and keeps what it was asked. */
struct script {
    int listen_fd;
    const char *const *answers;
    struct str asked;
};

static bool request_complete(const struct str *s)
{
    const char *end = strstr(str_get(s), "\r\n\r\n");
    if (!end)
        return false;
    const char *length = strstr(s->data, "Content-Length: ");
    if (strstr(s->data, "Transfer-Encoding: chunked"))
        return strstr(end, "\r\n0\r\n\r\n") != NULL;
    return !length || strlen(end + 4) >= strtoul(length + 16, NULL, 10);
}

static void *serve(void *context)
{
    struct script *script = context;
    struct err err;
    for (const char *const *answer = script->answers; *answer; answer++) {
        int fd = accept4(script->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        _cleanup_str_ struct str got = STR_INIT;
        while (!request_complete(&got)) {
            char buffer[1024];
            ssize_t n = read(fd, buffer, sizeof(buffer));
            if (n <= 0)
                break;
            str_addn(&got, buffer, (size_t)n);
        }
        str_add(&script->asked, str_get(&got));
        file_write_all(fd, *answer, strlen(*answer), &err);
        close(fd);
    }
    return NULL;
}

struct fixture {
    char *dir, *socket;
    struct script script;
    pthread_t thread;
    struct http_client *client;
};

static void begin(struct fixture *f, const char *const *answers)
{
    struct err err;
    *f = (struct fixture){.dir = scratch_new(), .script.answers = answers};
    f->socket = str_printf("%s/s", f->dir);
    assert_ok(file_listen_unix(f->socket, SOCK_STREAM, 0600, &f->script.listen_fd, &err), &err);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, &f->script), 0);
    assert_ok(http_client_new(f->socket, &f->client, &err), &err);
}

static void end(struct fixture *f)
{
    http_client_free(f->client);
    pthread_join(f->thread, NULL);
    close(f->script.listen_fd);
    str_free(&f->script.asked);
    free(f->socket);
    scratch_remove(f->dir);
}

static int collect(void *context, const void *bytes, size_t n, struct err *err)
{
    str_addn(context, bytes, n);
    return 0;
}

static int refuse(void *context, const void *bytes, size_t n, struct err *err)
{
    return err_set(err, ERR_CANCELLED, "enough");
}

static ssize_t give_once(void *context, void *buffer, size_t n, struct err *err)
{
    const char **text = context;
    size_t length = *text ? strlen(*text) : 0;
    if (length)
        memcpy(buffer, *text, length);
    *text = NULL;
    return (ssize_t)length;
}

#define CLOSE "Connection: close\r\n"

static void a_streamed_answer_goes_to_the_sink_and_an_error_to_the_body(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nX-Some: Thing\r\nTransfer-Encoding: chunked\r\n" CLOSE
        "\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\n" CLOSE "Content-Length: 26\r\n\r\n{\"message\": \"no such one\"}", NULL};
    struct fixture f;
    struct err err;
    _cleanup_str_ struct str got = STR_INIT;
    struct http_response response = {0};
    begin(&f, answers);
    struct http_call call = {
        .method = "GET", .url = "http://drover/v1.43/x", .sink = collect, .sink_context = &got};
    assert_ok(http_client_call(f.client, &call, &response, &err), &err);
    assert_int_equal(response.status, 200);
    assert_string_equal(str_get(&got), "abcde");
    assert_string_equal(http_response_header(&response, "x-some"), "Thing");
    http_response_done(&response);
    assert_ok(http_client_call(f.client, &call, &response, &err), &err);
    assert_int_equal(response.status, 404);
    assert_string_equal(str_get(&got), "abcde");
    assert_int_equal(http_response_err(&response, &err), -ERR_NOT_FOUND);
    assert_string_equal(err.msg, "no such one");
    http_response_done(&response);
    end(&f);
}

static void a_source_is_sent_chunked_and_a_post_without_body_has_length_zero(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 204 No Content\r\n" CLOSE "\r\n",
                                          "HTTP/1.1 201 Created\r\n" CLOSE "Content-Length: 0\r\n\r\n", NULL};
    struct fixture f;
    struct err err;
    const char *text = "some bytes";
    struct http_response response = {0};
    begin(&f, answers);
    struct http_call call = {.method = "POST",
                             .url = "http://drover/build",
                             .source = give_once,
                             .source_context = &text,
                             .source_bytes = -1};
    assert_ok(http_client_call(f.client, &call, &response, &err), &err);
    assert_int_equal(response.status, 204);
    assert_int_equal(http_response_err(&response, &err), 0);
    http_response_done(&response);
    call = (struct http_call){.method = "POST", .url = "http://drover/start"};
    assert_ok(http_client_call(f.client, &call, &response, &err), &err);
    http_response_done(&response);
    assert_non_null(strstr(str_get(&f.script.asked), "\r\na\r\nsome bytes\r\n0\r\n\r\n"));
    assert_non_null(strstr(str_get(&f.script.asked), "POST /start HTTP/1.1\r\n"));
    assert_non_null(strstr(str_get(&f.script.asked), "Content-Length: 0\r\n"));
    end(&f);
}

static void a_sink_that_refuses_and_a_body_too_large_end_the_call(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\n" CLOSE "Content-Length: 5\r\n\r\nabcde",
        "HTTP/1.1 200 OK\r\n" CLOSE "Content-Length: 5\r\n\r\nabcde",
        "HTTP/1.1 200 OK\r\n" CLOSE "Content-Length: 9\r\n\r\nabcde",
        NULL,
    };
    struct fixture f;
    struct err err;
    struct http_response response = {0};
    begin(&f, answers);
    struct http_call call = {.method = "GET", .url = "http://drover/x", .sink = refuse};
    assert_int_equal(http_client_call(f.client, &call, &response, &err), -ERR_CANCELLED);
    assert_string_equal(err.msg, "enough");
    call = (struct http_call){.method = "GET", .url = "http://drover/x", .max_body_bytes = 4};
    assert_int_equal(http_client_call(f.client, &call, &response, &err), -ERR_LIMIT);
    call = (struct http_call){.method = "GET", .url = "http://drover/x"};
    assert_int_equal(http_client_call(f.client, &call, &response, &err), -ERR_UNAVAILABLE);
    end(&f);
}

static void hijack_gives_the_socket_and_what_came_early_or_the_servers_words(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\n"
        "Upgrade: tcp\r\n\r\nearly",
        "HTTP/1.1 409 Conflict\r\nContent-Length: 25\r\n\r\n{\"message\":\"not running\"}\n", NULL};
    struct fixture f;
    struct err err = {0};
    _cleanup_str_ struct str early = STR_INIT;
    int fd = -EBADF;
    char rest[8];
    begin(&f, answers);
    _cleanup_json_ json_t *body = json_pack("{s:b}", "Tty", 0);
    assert_ok(http_client_hijack(f.socket, "POST", "/exec/1/start", body, &fd, &early, &err), &err);
    str_addn(&early, rest, (size_t)file_read_full(fd, rest, sizeof(rest), &err));
    assert_string_equal(str_get(&early), "early");
    close(fd);
    assert_int_equal(http_client_hijack(f.socket, "POST", "/exec/2/start", NULL, &fd, &early, &err),
                     -ERR_CONFLICT);
    assert_string_equal(err.msg, "not running");
    assert_non_null(strstr(str_get(&f.script.asked), "Upgrade: tcp\r\n"));
    assert_non_null(strstr(str_get(&f.script.asked), "\r\n\r\n{\"Tty\":false}"));
    end(&f);
}

static void a_socket_that_is_not_there_is_unavailable(void **state)
{
    struct err err;
    struct http_client *client;
    struct http_response response;
    char *dir = scratch_new();
    _cleanup_free_ char *path = str_printf("%s/none", dir);
    assert_ok(http_client_new(path, &client, &err), &err);
    struct http_call call = {.method = "GET", .url = "http://drover/_ping"};
    assert_int_equal(http_client_call(client, &call, &response, &err), -ERR_UNAVAILABLE);
    http_client_free(client);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_streamed_answer_goes_to_the_sink_and_an_error_to_the_body),
        cmocka_unit_test(a_source_is_sent_chunked_and_a_post_without_body_has_length_zero),
        cmocka_unit_test(a_sink_that_refuses_and_a_body_too_large_end_the_call),
        cmocka_unit_test(hijack_gives_the_socket_and_what_came_early_or_the_servers_words),
        cmocka_unit_test(a_socket_that_is_not_there_is_unavailable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
