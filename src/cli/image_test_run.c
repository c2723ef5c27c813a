/* The part of an image's test that needs it to run: it starts, becomes healthy, answers, listens on nothing
 * it did not declare, and ends in time when it is asked to.
 *
 * The container has a limit of memory and of processes, no more capabilities than any, and ports of this
 * machine's loopback only. It is removed whatever happens, also when the test is interrupted. */
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/image_test.h"
#include "cli/interrupt.h"
#include "cli/pack.h"
#include "compose/yaml.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STEP_MS = 20, PIDS = 512, LOG_BYTES = 64 * 1024, PAGE_BYTES = 1 << 20, STATE_TCP_LISTEN = 10 };

struct running {
    const struct image_checks *checks;
    const json_t *config; /* the image's document */
    struct findings *findings;
    char *id; /* of the container */
    int64_t started_ns, deadline_ns;
};

static void found(struct running *r, const char *rule, const char *text)
{
    findings_add(r->findings, CHECK_RUN, rule, -1, NULL, NULL, "%s", text);
}

/* --- Starting --- */

static json_t *environment_of(const struct image_checks *c)
{
    json_t *list = json_array();
    for (size_t i = 0; c->run_environment && i < c->run_environment->count; i++) {
        const struct yaml_pair *pair = &c->run_environment->pairs[i];
        _cleanup_free_ char *text = str_printf("%s=%s", pair->key, pair->value->text);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static void publish(json_t *exposed, json_t *bindings, int64_t port)
{
    _cleanup_free_ char *name = str_printf("%lld/tcp", (long long)port);
    json_object_set_new(exposed, name, json_object());
    json_object_set_new(bindings, name, json_pack("[{s:s, s:s}]", "HostIp", "127.0.0.1", "HostPort", ""));
}

static int64_t port_of(const struct answer_check *a)
{
    int64_t port = a->tcp;
    if (a->http) {
        _cleanup_free_ char *text = mem_strndup(a->http, strcspn(a->http, "/"));
        parse_i64(text, 1, 65535, &port, NULL);
    }
    return port;
}

static json_t *body_of(const char *image_id, const struct image_checks *c)
{
    json_t *exposed = json_object(), *bindings = json_object();
    for (size_t i = 0; i < c->answer_count; i++)
        publish(exposed, bindings, port_of(&c->answers[i]));
    json_t *host = json_pack("{s:s, s:I, s:i, s:b, s:o, s:[s]}", "NetworkMode", c->run_network, "Memory",
                             (json_int_t)c->run_memory, "PidsLimit", PIDS, "ReadonlyRootfs", c->run_read_only,
                             "PortBindings", bindings, "SecurityOpt", "no-new-privileges");
    json_t *body =
        json_pack("{s:s, s:o, s:o, s:o, s:{s:s}}", "Image", image_id, "Env", environment_of(c),
                  "ExposedPorts", exposed, "HostConfig", host, "Labels", "drover.image-test", image_id);
    if (c->run_command)
        json_object_set_new(body, "Cmd", json_of_strv(c->run_command));
    if (c->run_user)
        json_set_str(body, "User", c->run_user);
    return body;
}

static int create(struct running *r, const char *image_id, struct err *err)
{
    char random[65];
    digest_random_id(random);
    _cleanup_json_ json_t *body = body_of(image_id, r->checks), *answer = NULL;
    int result = cli_call("POST", body, &answer, err, "/containers/create?name=image-test-%.12s", random);
    if (result == 0)
        r->id = mem_strdup(json_str(answer, "Id"));
    return result;
}

/* The last that the container wrote: why it ended is mostly there. */
static char *last_words(const struct running *r)
{
    struct http_call call = {.method = "GET", .max_body_bytes = LOG_BYTES};
    struct http_response response = {0};
    struct err err;
    _cleanup_free_ char *path = str_printf("/containers/%s/logs?stdout=1&stderr=1&tail=3", r->id);
    if (cli_exchange(&call, path, &response, &err) < 0)
        return mem_strdup("");
    struct str text = STR_INIT;
    /* Frames of 8 bytes and content: stream.h has the form. */
    for (size_t at = 0; at + 8 <= response.body.len;) {
        const unsigned char *head = (const unsigned char *)response.body.data + at;
        size_t n = (size_t)head[4] << 24 | (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
        n = MIN(n, response.body.len - at - 8);
        str_addn(&text, response.body.data + at + 8, n);
        at += 8 + n;
    }
    http_response_done(&response);
    for (size_t i = 0; i < text.len; i++)
        text.data[i] = text.data[i] == '\n' ? ' ' : text.data[i];
    _cleanup_free_ char *plain = str_take(&text), *trimmed = str_strip(plain);
    return *trimmed ? str_printf("; it wrote: %.400s", trimmed) : mem_strdup("");
}

/* --- Becoming ready --- */

static int look(struct running *r, json_t **ret, struct err *err)
{
    if (interrupt_pending())
        return err_set(err, ERR_CANCELLED, "interrupted");
    return cli_get(ret, err, "/containers/%s/json", r->id);
}

/* A program that ends at once runs for a moment too. Health or an answer shows that it works; without both,
 * that it goes on running has to do. */
static bool steady(const struct running *r, bool has_health)
{
    return has_health || r->checks->answer_count ||
           time_monotonic_ns() - r->started_ns >= r->checks->steady_for_ns;
}

/* 1: the state is final and found wrong; 0: not yet; 2: ready. */
static int readiness(struct running *r, const json_t *container)
{
    const json_t *state = json_object_get(container, "State"), *health = json_object_get(state, "Health");
    const char *status = json_str(state, "Status"), *healthy = json_str(health, "Status");
    if (str_eq(status, "exited") || str_eq(status, "dead")) {
        _cleanup_free_ char *words = last_words(r);
        _cleanup_free_ char *text = str_printf("it ended with status %d before it was ready%s",
                                               (int)json_int(state, "ExitCode"), words);
        found(r, "ended", text);
        return 1;
    }
    if (str_eq(healthy, "unhealthy")) {
        const json_t *log = json_object_get(health, "Log");
        const json_t *last = json_array_get(log, json_array_size(log) - 1);
        _cleanup_free_ char *output = str_strip(json_str(last, "Output"));
        _cleanup_free_ char *text = str_printf("it became unhealthy: %.400s", output);
        found(r, "unhealthy", text);
        return 1;
    }
    bool has_health = *healthy && !str_eq(healthy, "none");
    bool waits = has_health && !str_eq(healthy, "healthy");
    return str_eq(status, "running") && !waits && steady(r, has_health) ? 2 : 0;
}

static int become_ready(struct running *r, bool *ret_ready, struct err *err)
{
    *ret_ready = false;
    for (;;) {
        _cleanup_json_ json_t *container = NULL;
        int result = look(r, &container, err);
        if (result < 0)
            return result;
        int state = readiness(r, container);
        *ret_ready = state == 2;
        if (state)
            return 0;
        if (time_monotonic_ns() > r->deadline_ns) {
            char within[TIME_RFC3339_BYTES];
            _cleanup_free_ char *text = str_printf("it was not ready within %s",
                                                   time_format_duration(r->checks->ready_within_ns, within));
            found(r, "not-ready", text);
            return 0;
        }
        time_sleep_ns(STEP_MS * NS_PER_MS);
    }
}

/* --- Answers --- */

static int host_port(const json_t *container, int64_t port)
{
    _cleanup_free_ char *name = str_printf("%lld/tcp", (long long)port);
    const json_t *ports = json_object_get(json_object_get(container, "NetworkSettings"), "Ports");
    int64_t chosen = 0;
    parse_i64(json_str(json_array_get(json_object_get(ports, name), 0), "HostPort"), 1, 65535, &chosen, NULL);
    return (int)chosen;
}

/* A connection to a port that is only mapped is taken and cut off: who listens keeps it, or speaks. */
static bool accepts(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const struct timeval patience = {.tv_usec = 100000};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char byte;
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ssize_t n = recv(fd, &byte, 1, 0);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

/* NULL: it answers as asked; else what is wrong, to be freed. */
static char *ask_http(const struct answer_check *a, int port)
{
    struct http_client *client = NULL;
    struct http_response response = {0};
    struct err err;
    const char *path = strchr(a->http, '/');
    _cleanup_free_ char *url = str_printf("http://127.0.0.1:%d%s", port, path ? path : "/");
    const struct http_call call = {.method = "GET",
                                   .url = url,
                                   .max_body_bytes = PAGE_BYTES,
                                   .connect_timeout_ms = 2000,
                                   .idle_timeout_ms = 5000};
    if (http_client_new(NULL, &client, &err) < 0)
        return mem_strdup(err.msg);
    int r = http_client_call(client, &call, &response, &err);
    http_client_free(client);
    if (r < 0)
        return mem_strdup(err.msg);
    char *wrong = NULL;
    if (response.status != a->status)
        wrong = str_printf("status %d, not %lld", response.status, (long long)a->status);
    else if (a->contains &&
             !memmem(str_get(&response.body), response.body.len, a->contains, strlen(a->contains)))
        wrong = str_printf("the page does not contain \"%.100s\"", a->contains);
    http_response_done(&response);
    return wrong;
}

static int expect_answer(struct running *r, const struct answer_check *a, struct err *err)
{
    _cleanup_free_ char *wrong = NULL;
    for (;;) {
        _cleanup_json_ json_t *container = NULL;
        int result = look(r, &container, err);
        if (result < 0)
            return result;
        if (readiness(r, container) == 1)
            return 0;
        int port = host_port(container, port_of(a));
        free(take_ptr(wrong));
        if (!port)
            wrong = mem_strdup("the port is not published: the network of the test has no ports");
        else
            wrong = a->http ? ask_http(a, port) : accepts(port) ? NULL : mem_strdup("nobody listens");
        if (!wrong)
            return 0;
        if (!port || time_monotonic_ns() > r->deadline_ns)
            break;
        time_sleep_ns(STEP_MS * NS_PER_MS);
    }
    _cleanup_free_ char *tcp = str_printf("port %lld", (long long)a->tcp);
    _cleanup_free_ char *text = str_printf("no answer from %s: %s", a->http ? a->http : tcp, wrong);
    found(r, "answer", text);
    return 0;
}

/* --- What it listens on --- */

static bool declared(const struct running *r, const char *port)
{
    if (r->checks->ports)
        return image_checks_port(r->checks, port);
    return json_object_get(json_object_get(json_object_get(r->config, "config"), "ExposedPorts"), port) !=
           NULL;
}

/* /proc/net/tcp: "sl local_address rem_address st ...", addresses in hex, words of the host's order. */
static void listeners(struct running *r, const char *text, bool udp, char ***told)
{
    _cleanup_strv_ char **lines = strv_split(text, '\n');
    STRV_FOREACH (line, lines) {
        char address[33];
        unsigned port, state;
        if (sscanf(*line, " %*u: %32[0-9A-F]:%X %*[0-9A-F]:%*X %X", address, &port, &state) != 3 ||
            (!udp && state != STATE_TCP_LISTEN))
            continue;
        bool loopback = str_ends_with(address, "7F") || str_eq(address, "00000000000000000000000001000000");
        _cleanup_free_ char *name = str_printf("%u/%s", port, udp ? "udp" : "tcp");
        /* An unconnected UDP socket of a client looks like a server's: only low ports are nobody's by chance.
         */
        bool chance = udp && port >= 32768;
        if (loopback || chance || declared(r, name) || strv_has(*told, name))
            continue;
        strv_add(told, name);
        findings_add(r->findings, CHECK_PORTS, "listens", -1, NULL, NULL,
                     "the running container listens on %s, which is not declared", name);
    }
}

static void look_at_ports(struct running *r, const json_t *container)
{
    static const char *const tables[] = {"tcp", "tcp6", "udp", "udp6"};
    int64_t pid = json_int(json_object_get(container, "State"), "Pid");
    _cleanup_strv_ char **told = NULL;
    if (image_checks_skip(r->checks, CHECK_PORTS) || str_eq(r->checks->run_network, "host") || pid <= 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        _cleanup_str_ struct str text = STR_INIT;
        _cleanup_free_ char *path = str_printf("/proc/%lld/net/%s", (long long)pid, tables[i]);
        if (file_read(path, PAGE_BYTES, &text, NULL) == 0)
            listeners(r, str_get(&text), tables[i][0] == 'u', &told);
    }
}

/* --- Stopping --- */

/* The grace is longer than what is allowed, so that "too late" can be told from "never". */
static int expect_stop(struct running *r, struct err *err)
{
    char took[TIME_RFC3339_BYTES], within[TIME_RFC3339_BYTES];
    int64_t began = time_monotonic_ns();
    int64_t grace_s = (r->checks->stop_within_ns + NS_PER_S - 1) / NS_PER_S;
    _cleanup_json_ json_t *container = NULL;
    int result =
        cli_call("POST", NULL, NULL, err, "/containers/%s/stop?t=%lld", r->id, (long long)MAX(grace_s, 1));
    int64_t lasted = time_monotonic_ns() - began;
    if (result == -ERR_NOT_MODIFIED)
        result = 0;
    if (result == 0)
        result = look(r, &container, err);
    if (result < 0)
        return result;
    time_format_duration(r->checks->stop_within_ns, within);
    time_format_duration(lasted / NS_PER_MS * NS_PER_MS, took);
    bool killed = json_int(json_object_get(container, "State"), "ExitCode") == 128 + SIGKILL;
    if (!killed && lasted <= r->checks->stop_within_ns)
        return 0;
    _cleanup_free_ char *text =
        str_printf("it did not end within %s of being asked to (%s); does its first process "
                   "handle the signal?",
                   within, killed ? "it had to be killed" : took);
    found(r, "stop", text);
    return 0;
}

/* --- All of it --- */

static int go_through(struct running *r, struct err *err)
{
    _cleanup_json_ json_t *container = NULL;
    bool ready = false;
    struct err cause;
    if (cli_call("POST", NULL, NULL, &cause, "/containers/%s/start", r->id) < 0) {
        found(r, "start", cause.msg);
        return 0;
    }
    r->started_ns = time_monotonic_ns();
    r->deadline_ns = r->started_ns + r->checks->ready_within_ns;
    int result = become_ready(r, &ready, err);
    size_t before = r->findings->count;
    for (size_t i = 0; result == 0 && ready && i < r->checks->answer_count && r->findings->count == before;
         i++)
        result = expect_answer(r, &r->checks->answers[i], err);
    if (result == 0 && ready)
        result = look(r, &container, err);
    if (result < 0 || !ready)
        return result;
    look_at_ports(r, container);
    return json_bool(json_object_get(container, "State"), "Running") ? expect_stop(r, err) : 0;
}

int image_test_run(const char *image_id, const struct image_checks *checks, const json_t *config,
                   struct findings *findings, struct err *err)
{
    struct running r = {.checks = checks, .config = config, .findings = findings};
    findings->ran[CHECK_RUN] = true;
    int result = create(&r, image_id, err);
    if (result == 0)
        result = go_through(&r, err);
    struct err ignored;
    if (r.id)
        cli_call("DELETE", NULL, NULL, &ignored, "/containers/%s?force=1&v=1", r.id);
    free(r.id);
    return result;
}
