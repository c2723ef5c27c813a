#include "unit.h"

#include "api/api_priv.h"
#include "api/image_filter.h"
#include "engine/engine.h"

#include <pthread.h>
#include <sys/socket.h>

/* --- relay --- */

struct session {
    int client, process; /* the far ends */
    int near_client, near_process;
    struct api_relay relay;
    pthread_t thread;
    int result;
    struct err err;
};

static void *run_relay(void *argument)
{
    struct session *s = argument;
    s->result = api__relay(&s->relay, NULL, &s->err);
    close(s->near_client);
    close(s->near_process);
    return NULL;
}

static void begin(struct session *s, bool tty, bool want_stdin)
{
    int a[2], b[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
    s->client = a[0];
    s->near_client = a[1];
    s->process = b[0];
    s->near_process = b[1];
    s->relay.client_fd = a[1];
    s->relay.process_fd = b[1];
    s->relay.tty = s->relay.raw = tty;
    s->relay.want_stdin = want_stdin;
    assert_int_equal(pthread_create(&s->thread, NULL, run_relay, s), 0);
}

static void end(struct session *s)
{
    pthread_join(s->thread, NULL);
    assert_ok(s->result, &s->err);
    close(s->client);
    close(s->process);
}

static void emit(struct session *s, int stream, const char *text)
{
    _cleanup_str_ struct str frame = STR_INIT;
    api__frame(&frame, stream, text, strlen(text));
    assert_int_equal(write(s->process, frame.data, frame.len), (ssize_t)frame.len);
}

/* As the keeper ends a stream; without it, it has died. */
static void finish(struct session *s)
{
    emit(s, 0, "");
    shutdown(s->process, SHUT_RDWR);
}

static void type(struct session *s, const char *text)
{
    assert_int_equal(write(s->client, text, strlen(text)), (ssize_t)strlen(text));
}

static void reads(int fd, const char *want, size_t n)
{
    char *got = mem_new(n + 1);
    struct err err;
    assert_int_equal(file_read_full(fd, got, n, &err), (ssize_t)n);
    assert_memory_equal(got, want, n);
    free(got);
}

static void reads_end(int fd)
{
    char c;
    assert_int_equal(read(fd, &c, 1), 0);
}

static void output_goes_on_after_the_client_has_ended_its_input(void **state)
{
    struct session s = {0};
    begin(&s, false, true);
    type(&s, "in");
    shutdown(s.client, SHUT_WR);
    reads(s.process, "in", 2);
    reads_end(s.process);
    emit(&s, 1, "out");
    reads(s.client, "\1\0\0\0\0\0\0\3out", 11);
    finish(&s);
    reads_end(s.client);
    end(&s);
}

static void a_client_is_told_when_its_stream_was_cut(void **state)
{
    struct session s = {0};
    begin(&s, false, false);
    emit(&s, 1, "half");
    reads(s.client, "\1\0\0\0\0\0\0\4half", 12);
    shutdown(s.process, SHUT_RDWR);
    reads(s.client, "\3\0\0\0", 4);
    end(&s);
}

static void a_terminal_gets_plain_bytes_however_the_frames_are_cut(void **state)
{
    struct session s = {0};
    begin(&s, true, false);
    _cleanup_str_ struct str frames = STR_INIT;
    api__frame(&frames, 1, "hello ", 6);
    api__frame(&frames, 1, "", 0);
    api__frame(&frames, 1, "world", 5);
    for (size_t i = 0; i < frames.len; i++)
        assert_int_equal(write(s.process, frames.data + i, 1), 1);
    reads(s.client, "hello world", 11);
    finish(&s);
    reads_end(s.client);
    end(&s);
}

static void detach_keys_end_a_terminals_stream_and_do_not_reach_the_process(void **state)
{
    struct session s = {0};
    begin(&s, true, true);
    type(&s, "a\x10");
    type(&s, "b\x10\x10\x11");
    reads(s.process,
          "a\x10"
          "b\x10",
          4);
    reads_end(s.client);
    end(&s);

    struct session other = {.relay.detach_keys = "ctrl-a,x"};
    begin(&other, true, true);
    type(&other, "\x10\x11\x01x");
    reads(other.process, "\x10\x11", 2);
    reads_end(other.client);
    end(&other);
    struct err err;
    _cleanup_str_ struct str keys = STR_INIT;
    assert_int_equal(api__detach_keys_parse("ctrl-P", &keys, &err), -ERR_INVALID);
    assert_int_equal(api__detach_keys_parse("abc", &keys, &err), -ERR_INVALID);
    assert_int_equal(api__detach_keys_parse("", &keys, &err), -ERR_INVALID);
}

static void input_that_came_before_the_client_left_still_arrives(void **state)
{
    struct session s = {0};
    begin(&s, false, true);
    type(&s, "last words");
    close(s.client);
    reads(s.process, "last words", 10);
    reads_end(s.process);
    s.client = -EBADF;
    end(&s);
}

static void a_client_that_leaves_ends_the_relay_without_a_byte_of_output(void **state)
{
    struct session s = {0};
    begin(&s, false, false);
    close(s.client);
    s.client = -EBADF;
    end(&s);
}

static void a_process_that_closes_its_input_may_still_write(void **state)
{
    struct session s = {0};
    begin(&s, false, true);
    shutdown(s.process, SHUT_RD);
    type(&s, "nobody reads this");
    emit(&s, 2, "still");
    reads(s.client, "\2\0\0\0\0\0\0\5still", 13);
    finish(&s);
    reads_end(s.client);
    end(&s);
}

/* --- images --- */

static struct image_info info_of(const char *id, const char *parent, const char *reference, const char *label)
{
    struct image_info i = {.id = mem_strdup(id), .parent_id = mem_strdup(parent), .created_ns = 1000000000};
    if (reference)
        strv_add(&i.references, reference);
    i.config = json_pack("{s:{s:{s:s}}, s:s, s:s}", "config", "Labels", label, "v", "architecture", "amd64",
                         "os", "linux");
    return i;
}

static size_t count_taken(const struct image_info *list, size_t n, const char *filters, bool all)
{
    struct err err = {0};
    json_t *f = filters ? json_loads(filters, 0, NULL) : NULL;
    struct image_filter *filter;
    assert_ok(image_filter_new(NULL, f, list, n, &filter, &err), &err);
    size_t taken = 0;
    for (size_t i = 0; i < n; i++)
        taken += image_filter_takes(filter, &list[i], all);
    image_filter_free(filter);
    json_decref(f);
    return taken;
}

static void images_are_filtered_as_docker_does(void **state)
{
    struct image_info list[] = {info_of("sha256:a", NULL, NULL, "x"),
                                info_of("sha256:b", "sha256:a", "docker.io/library/busybox:1.37", "y"),
                                info_of("sha256:c", NULL, NULL, "x"),
                                info_of("sha256:d", NULL, "localhost:5000/team/web:latest", "y")};
    size_t n = ARRAY_SIZE(list);
    assert_int_equal(count_taken(list, n, NULL, false), 3); /* a is under b */
    assert_int_equal(count_taken(list, n, NULL, true), 4);
    assert_int_equal(count_taken(list, n, "{\"dangling\":[\"true\"]}", false), 1);
    assert_int_equal(count_taken(list, n, "{\"dangling\":{\"false\":true}}", false), 2);
    assert_int_equal(count_taken(list, n, "{\"label\":[\"y\"]}", false), 2);
    assert_int_equal(count_taken(list, n, "{\"label\":[\"y=w\"]}", false), 0);
    assert_int_equal(count_taken(list, n, "{\"label!\":[\"y\"]}", false), 1);
    assert_int_equal(count_taken(list, n, "{\"reference\":[\"busybox\"]}", false), 1);
    assert_int_equal(count_taken(list, n, "{\"reference\":[\"busy*:1.*\"]}", false), 1);
    assert_int_equal(count_taken(list, n, "{\"reference\":[\"localhost:5000/team/web\"]}", false), 1);
    assert_int_equal(count_taken(list, n, "{\"reference\":[\"web\"]}", false), 0);
    assert_int_equal(count_taken(list, n, "{\"until\":[\"2\"]}", false), 3);
    assert_int_equal(count_taken(list, n, "{\"until\":[\"1\"]}", false), 0);
    struct err err;
    json_t *f = json_pack("{s:[s]}", "color", "blue");
    struct image_filter *filter;
    assert_int_equal(image_filter_new(NULL, f, list, n, &filter, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "invalid filter 'color'");
    json_decref(f);
    for (size_t i = 0; i < n; i++)
        image_info_done(&list[i]);
}

static void an_image_without_a_name_is_listed_as_each_version_expects(void **state)
{
    struct image_info info = info_of("sha256:a", NULL, NULL, "x");
    json_t *old = api__image_summary(&info, NULL, NULL, 1041),
           *new = api__image_summary(&info, NULL, NULL, 1043);
    assert_string_equal(json_string_value(json_array_get(json_object_get(old, "RepoTags"), 0)),
                        "<none>:<none>");
    assert_int_equal(json_array_size(json_object_get(new, "RepoTags")), 0);
    json_t *inspect = api__image_inspect(NULL, &info, 1043), *newest = api__image_inspect(NULL, &info, 1045);
    assert_true(json_is_object(json_object_get(inspect, "ContainerConfig")));
    assert_true(json_is_integer(json_object_get(inspect, "VirtualSize")));
    assert_true(json_is_object(json_object_get(newest, "ContainerConfig")));
    assert_null(json_object_get(newest, "Container"));
    assert_null(json_object_get(newest, "VirtualSize"));
    assert_true(json_is_integer(json_object_get(newest, "Size")));
    assert_true(json_is_null(json_object_get(json_object_get(inspect, "Config"), "Entrypoint")));
    assert_string_equal(json_str(inspect, "Created"), "1970-01-01T00:00:01Z");
    json_decref(old);
    json_decref(new);
    json_decref(inspect);
    json_decref(newest);
    image_info_done(&info);
}

/* A body of create as a client of `version` means it: what is left of it, or the refusal. */
static void fits(int version, const char *body, const char *expected, const char *warning)
{
    struct err err = {0};
    unsigned flags;
    _cleanup_json_ json_t *fitted = json_loads(body, 0, NULL), *wanted = json_loads(expected, 0, NULL),
                          *told = json_array();
    int r = api__fit_create(fitted, version, &flags, told, &err);
    if (!wanted) {
        assert_int_equal(r, -ERR_INVALID);
        assert_string_equal(err.msg, expected);
        return;
    }
    assert_ok(r, &err);
    _cleanup_free_ char *got = json_dumps(fitted, JSON_SORT_KEYS), *want = json_dumps(wanted, JSON_SORT_KEYS);
    assert_string_equal(got, want);
    assert_int_equal(flags & ENGINE_CREATE_SHALLOW_READ_ONLY, version < 1044);
    assert_int_equal(json_array_size(told), warning ? 1 : 0);
    if (warning)
        assert_non_null(strstr(json_string_value(json_array_get(told, 0)), warning));
}

static void fields_are_nothing_before_their_version(void **state)
{
    fits(1043, "{\"Healthcheck\":{\"StartInterval\":5}}", "{\"Healthcheck\":{}}", NULL);
    fits(1044, "{\"Healthcheck\":{\"StartInterval\":5}}", "{\"Healthcheck\":{\"StartInterval\":5}}", NULL);
    fits(1042, "{\"HostConfig\":{\"Annotations\":{},\"KernelMemory\":1}}", "{\"HostConfig\":{}}", NULL);
    fits(1041, "{\"HostConfig\":{\"ConsoleSize\":[1,2]}}", "{\"HostConfig\":{}}", NULL);
    static const char prior[] = "{\"NetworkingConfig\":{\"EndpointsConfig\":{\"n\":{\"GwPriority\":5}}}}",
                      image[] = "{\"HostConfig\":{\"Mounts\":[{\"Type\":\"image\",\"Source\":\"x\"}]}}",
                      driver[] = "{\"HostConfig\":{\"VolumeDriver\":\"d\",\"Mounts\":[{\"Type\":\"bind\"},"
                                 "{\"Type\":\"volume\",\"Source\":\"x\"}]}}",
                      named[] = "{\"HostConfig\":{\"VolumeDriver\":\"d\",\"Mounts\":[{\"Type\":\"volume\","
                                "\"VolumeOptions\":{\"DriverConfig\":{\"Name\":\"e\"}}}]}}";
    fits(1047, prior, "{\"NetworkingConfig\":{\"EndpointsConfig\":{\"n\":{}}}}", NULL);
    fits(1048, prior, prior, NULL);
    fits(1047, image, "a mount of type \"image\" needs API v1.48 or newer", NULL);
    fits(1048, image, image, NULL);
    fits(1047, driver, driver, NULL);
    fits(1048, driver, driver, "volume-driver configuration is ignored");
    fits(1048, named, named, NULL);
    fits(1039, "{\"HostConfig\":{\"KernelMemoryTCP\":1}}", "{\"HostConfig\":{\"IpcMode\":\"shareable\"}}",
         NULL);
    fits(1024, "{\"HostConfig\":{\"AutoRemove\":true,\"IpcMode\":\"private\"}}",
         "{\"HostConfig\":{\"IpcMode\":\"private\"}}", NULL);
    fits(1041, "{\"HostConfig\":{\"Mounts\":[{\"BindOptions\":{\"CreateMountpoint\":true}}]}}",
         "{\"HostConfig\":{\"Mounts\":[{\"BindOptions\":{}}]}}", NULL);
    fits(1043, "{\"HostConfig\":{\"Mounts\":[{\"BindOptions\":{\"ReadOnlyForceRecursive\":true}}]}}",
         "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer", NULL);
    fits(1044, "{\"HostConfig\":{\"Mounts\":[{\"VolumeOptions\":{\"Subpath\":\"a\"}}]}}",
         "VolumeOptions.Subpath needs API v1.45 or newer", NULL);
    fits(1043, "{\"NetworkingConfig\":{\"EndpointsConfig\":{\"a\":{},\"b\":{}}}}",
         "Container cannot be created with multiple network endpoints: a, b", NULL);
}

#define MAC "02:42:ac:11:00:02"
#define ENDPOINT(name, mac)                                                                                  \
    "\"NetworkingConfig\":{\"EndpointsConfig\":{\"" name "\":{\"MacAddress\":\"" mac "\"}}}"

static void a_mac_address_moves_to_its_endpoint(void **state)
{
    static const char deprecated[] = "deprecated";
    fits(1043, "{" ENDPOINT("n", MAC) "}", "{\"NetworkingConfig\":{\"EndpointsConfig\":{\"n\":{}}}}", NULL);
    fits(1043, "{\"MacAddress\":\"" MAC "\"}", "{\"MacAddress\":\"" MAC "\"}", NULL);
    fits(1044, "{" ENDPOINT("n", MAC) "}", "{" ENDPOINT("n", MAC) "}", NULL);
    fits(1044, "{\"MacAddress\":\"" MAC "\"}", "{" ENDPOINT("bridge", MAC) "}", deprecated);
    fits(1044, "{\"MacAddress\":\"" MAC "\",\"HostConfig\":{\"NetworkMode\":\"n\"}," ENDPOINT("n", "") "}",
         "{\"HostConfig\":{\"NetworkMode\":\"n\"}," ENDPOINT("n", MAC) "}", deprecated);
    fits(1044, "{\"MacAddress\":\"" MAC "\",\"HostConfig\":{\"NetworkMode\":\"host\"}}",
         "{\"HostConfig\":{\"NetworkMode\":\"host\"}}", deprecated);
    fits(1044, "{\"MacAddress\":\"" MAC "\",\"HostConfig\":{\"NetworkMode\":\"n\"}," ENDPOINT("m", "") "}",
         "if a container-wide MAC address is supplied, HostConfig.NetworkMode must match the identity of a "
         "network in NetworkSettings.Networks",
         NULL);
    fits(1044, "{\"MacAddress\":\"" MAC "\"," ENDPOINT("default", "02:42:ac:11:00:03") "}",
         "the container-wide MAC address must match the endpoint-specific MAC address for the main network, "
         "or "
         "be left empty",
         NULL);
    /* What is no body the engine refuses by name. */
    fits(1044, "{\"MacAddress\":5,\"HostConfig\":[],\"NetworkingConfig\":\"x\"}",
         "{\"MacAddress\":5,\"HostConfig\":[],\"NetworkingConfig\":\"x\"}", NULL);
}

/* What a client that is gone by then was answered. */
static void hear_buildkit_refuse(const char *sent, size_t n, size_t early, char *ret, size_t room,
                                 size_t *ret_n)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(write(fds[0], sent + early, n - early), (ssize_t)(n - early));
    shutdown(fds[0], SHUT_WR);
    api__buildkit_refuse(fds[1], sent, early);
    close(fds[1]);
    *ret_n = 0;
    for (ssize_t got; (got = read(fds[0], ret + *ret_n, room - *ret_n)) > 0;)
        *ret_n += (size_t)got;
    close(fds[0]);
}

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static void each_call_of_buildkits_protocol_is_refused_in_it(void **state)
{
    static const char sent[] = PREFACE "\0\0\0\4\0\0\0\0\0"   /* SETTINGS */
                                       "\0\0\2\1\0\0\0\0\1ab" /* HEADERS of stream 1 without their end */
                                       "\0\0\1\11\4\0\0\0\1c" /* CONTINUATION with it */
                                       "\0\0\5\0\1\0\0\0\1hello"
                                       "\0\0\10\6\0\0\0\0\00012345678" /* PING */
                                       "\0\0\1\1\5\0\0\0\3d";          /* HEADERS of stream 3 */
    char heard[1024];
    size_t n;
    for (size_t early = 0; early <= sizeof(sent) - 1; early += sizeof(PREFACE)) {
        hear_buildkit_refuse(sent, sizeof(sent) - 1, early, heard, sizeof(heard), &n);
        const char *at = heard;
        assert_memory_equal(at, "\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0", 18); /* own settings, and the ACK */
        at += 18;
        size_t length = (size_t)(unsigned char)at[1] << 8 | (unsigned char)at[2];
        assert_memory_equal(at + 3, "\1\5\0\0\0\1", 6);
        assert_non_null(memmem(at, length + 9, "grpc-status\00212", 14));
        assert_non_null(memmem(at, length + 9, "DOCKER_BUILDKIT=0", 17));
        at += length + 9;
        assert_memory_equal(at, "\0\0\10\6\1\0\0\0\00012345678", 17);
        assert_memory_equal(at + 17 + 3, "\1\5\0\0\0\3", 6);
        assert_int_equal(at + 17 + 9 + length - heard, n);
    }
}

static void what_is_not_buildkits_protocol_ends_the_connection(void **state)
{
    char heard[256];
    size_t n;
    hear_buildkit_refuse("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, 0, heard, sizeof(heard), &n);
    assert_int_equal(n, 0);
    /* A frame that is longer than was agreed on. */
    static const char large[] = PREFACE "\0\x40\1\0\0\0\0\0\1";
    hear_buildkit_refuse(large, sizeof(large) - 1, 0, heard, sizeof(heard), &n);
    assert_int_equal(n, 9);
}

static void credentials_are_read_in_both_alphabets(void **state)
{
    struct err err = {0};
    _cleanup_str_ struct str out = STR_INIT;
    assert_ok(api__base64_decode("eyJhIjoiPz8_In0=", &out, &err), &err);
    assert_string_equal(str_get(&out), "{\"a\":\"???\"}");
    assert_ok(api__base64_decode("eyJhIjoiPz8/In0", &out, &err), &err);
    assert_string_equal(str_get(&out), "{\"a\":\"???\"}");
    assert_int_equal(api__base64_decode("!!", &out, &err), -ERR_INVALID);
    json_t *config = json_pack("{s:{s:s}, s:{s:s}}", "https://index.docker.io/v1/", "username", "hub",
                               "localhost:5000", "username", "local");
    assert_string_equal(api__auth_of_config(config, "busybox").username, "hub");
    assert_string_equal(api__auth_of_config(config, "localhost:5000/x:1").username, "local");
    assert_string_equal(api__auth_of_config(config, "other.example/x").username, "");
    json_decref(config);
}

static void times_are_read_as_clients_send_them(void **state)
{
    struct err err = {0};
    int64_t t;
    assert_ok(api__time("1136073845", &t, &err), &err);
    assert_int_equal(t, 1136073845LL * 1000000000);
    assert_ok(api__time("1136073845.000000001", &t, &err), &err);
    assert_int_equal(t, 1136073845LL * 1000000000 + 1);
    assert_ok(api__time("1.5", &t, &err), &err);
    assert_int_equal(t, 1500000000);
    assert_ok(api__time("2006-01-02T03:04:05Z", &t, &err), &err);
    assert_ok(api__time("10m", &t, &err), &err);
    assert_int_equal(api__time("yesterday", &t, &err), -ERR_INVALID);
    assert_int_equal(api__time("99999999999999999999", &t, &err), -ERR_INVALID);
}

/* --- WebSocket --- */

static void ws_masked(struct str *out, unsigned first, const char *text)
{
    static const char mask[4] = {1, 2, 3, 4};
    str_addc(out, (char)first);
    str_addc(out, (char)(0x80 | strlen(text)));
    str_addn(out, mask, 4);
    for (size_t i = 0; text[i]; i++)
        str_addc(out, (char)(text[i] ^ mask[i % 4]));
}

static void websocket_frames_may_come_in_any_pieces(void **state)
{
    _cleanup_str_ struct str sent = STR_INIT;
    ws_masked(&sent, 0x01, "hel");
    ws_masked(&sent, 0x89, "ping");
    ws_masked(&sent, 0x80, "lo ");
    ws_masked(&sent, 0x82, "");
    ws_masked(&sent, 0x82, "there");
    ws_masked(&sent, 0x88, "");
    for (size_t piece = 1; piece <= sent.len; piece++) {
        struct api_ws ws = {.binary = true};
        _cleanup_str_ struct str in = STR_INIT, out = STR_INIT;
        bool open = true;
        for (size_t at = 0; at < sent.len && open; at += piece)
            open = api__ws_decode(&ws, sent.data + at, MIN(piece, sent.len - at), &in, &out);
        assert_false(open);
        assert_string_equal(str_get(&in), "hello there");
        assert_int_equal(out.len, 8);
        assert_memory_equal(out.data, "\x8a\x04ping\x88\x00", 8);
        api__ws_encode(&ws, "late", 4, &out);
        assert_int_equal(out.len, 8); /* nothing follows a close */
        api__ws_done(&ws);
    }
}

static void websocket_lengths_have_three_forms(void **state)
{
    static const size_t sizes[] = {1, 125, 126, 65535, 65536};
    static const size_t heads[] = {2, 2, 4, 4, 10};
    static char bytes[65536];
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct api_ws ws = {0};
        _cleanup_str_ struct str out = STR_INIT;
        api__ws_encode(&ws, bytes, sizes[i], &out);
        assert_int_equal(out.len, heads[i] + sizes[i]);
        assert_int_equal((unsigned char)out.data[0], 0x81);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_goes_on_after_the_client_has_ended_its_input),
        cmocka_unit_test(a_client_is_told_when_its_stream_was_cut),
        cmocka_unit_test(a_terminal_gets_plain_bytes_however_the_frames_are_cut),
        cmocka_unit_test(websocket_frames_may_come_in_any_pieces),
        cmocka_unit_test(websocket_lengths_have_three_forms),
        cmocka_unit_test(detach_keys_end_a_terminals_stream_and_do_not_reach_the_process),
        cmocka_unit_test(input_that_came_before_the_client_left_still_arrives),
        cmocka_unit_test(a_client_that_leaves_ends_the_relay_without_a_byte_of_output),
        cmocka_unit_test(a_process_that_closes_its_input_may_still_write),
        cmocka_unit_test(images_are_filtered_as_docker_does),
        cmocka_unit_test(an_image_without_a_name_is_listed_as_each_version_expects),
        cmocka_unit_test(fields_are_nothing_before_their_version),
        cmocka_unit_test(each_call_of_buildkits_protocol_is_refused_in_it),
        cmocka_unit_test(what_is_not_buildkits_protocol_ends_the_connection),
        cmocka_unit_test(a_mac_address_moves_to_its_endpoint),
        cmocka_unit_test(credentials_are_read_in_both_alphabets),
        cmocka_unit_test(times_are_read_as_clients_send_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
