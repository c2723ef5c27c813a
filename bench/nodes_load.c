/* Nodes that do nothing but keep in touch: bench/nodes runs it.
 *
 *     bench-nodes ADDRESS TOKEN COUNT FOLDER SECONDS [fresh]
 *
 * COUNT nodes join the swarm whose leader is at ADDRESS ("HOST:PORT"), each with a key, a certificate and a
 * connection of its own. Each has its session (src/cluster/session.h), with its vitals, and every second
 * reports its tasks as running. "ready" is printed when all have joined and have their first assignment;
 * then, after SECONDS (0: at a line), how many sessions and reports were answered meanwhile, and how many
 * bytes the sessions' answers had. With `fresh` each call is made over a new connection. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "cluster/health.h"
#include "cluster/pki.h"
#include "http/client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { STACK = 512 << 10, JOINERS = 16, CALL_MS = 30000 };

struct node {
    int number;
    char *certificate, *key; /* files */
    pthread_mutex_t lock;
    char lead[32];
    json_t *report; /* the tasks; NULL before the first assignment */
};

static const char *address, *token, *folder;
static char *authority;
static bool fresh;
static int count;
static struct node *nodes;
static atomic_int next_to_join, joined, assigned;
static atomic_long sessions, session_bytes, reports, failures;
static _Atomic bool end;

/* Over the connection of *client, which it makes. NULL: no good answer. */
static json_t *call(struct http_client **client, const struct node *n, const char *path, json_t *body)
{
    struct http_response answer;
    struct err err = {0};
    json_t *doc = NULL;
    char type[] = "Content-Type: application/json", *headers[] = {type, NULL};
    _cleanup_free_ char *text = json_format(body), *url = str_printf("https://" PKI_MANAGER "%s", path);
    const struct http_call c = {.method = "POST",
                                .url = url,
                                .headers = headers,
                                .body = text,
                                .body_bytes = strlen(text),
                                .ca_file = n->certificate ? authority : NULL,
                                .certificate_file = n->certificate,
                                .key_file = n->key,
                                .connect_to = address,
                                .anybody = !n->certificate,
                                .max_body_bytes = 64 << 20,
                                .connect_timeout_ms = CALL_MS,
                                .idle_timeout_ms = CALL_MS,
                                .cancel = &end};
    json_decref(body);
    int r = *client ? 0 : http_client_new(NULL, client, &err);
    if (r == 0)
        r = http_client_call(*client, &c, &answer, &err);
    if (r == 0) {
        session_bytes += strcmp(path, "/cluster/session") == 0 ? (long)answer.body.len : 0;
        r = http_response_err(&answer, &err);
        if (r == 0)
            r = json_parse(str_get(&answer.body), answer.body.len, "the answer", &doc, &err);
        http_response_done(&answer);
    }
    if (fresh || r < 0) {
        http_client_free(*client);
        *client = NULL;
    }
    if (r < 0 && !end && atomic_fetch_add(&failures, 1) < 3)
        fprintf(stderr, "bench-nodes: %s: %s\n", path, err.msg);
    return doc;
}

static char *keep(struct node *n, const char *ending, const char *text)
{
    struct err err;
    char *path = str_printf("%s/%d.%s", folder, n->number, ending);
    if (file_replace(path, text, strlen(text), 0600, false, &err) < 0) {
        fprintf(stderr, "bench-nodes: %s\n", err.msg);
        exit(1);
    }
    return path;
}

static void join_one(struct node *n)
{
    struct http_client *client = NULL;
    char *csr = NULL, *key = NULL;
    struct err err;
    must(pki_request(&csr, &key, &err) == 0);
    _cleanup_free_ char *name = str_printf("node%d", n->number),
                        *link = str_printf("02:00:00:00:%02x:%02x", n->number >> 8, n->number & 255);
    json_t *body =
        json_pack("{s:i, s:s, s:s, s:s, s:{s:s, s:s, s:{s:s, s:s}, s:{s:I, s:I}}}", "protocol", 1, "token",
                  token, "csr", csr, "availability", "active", "description", "Hostname", name, "LinkAddress",
                  link, "Platform", "Architecture", "x86_64", "OS", "linux", "Resources", "NanoCPUs",
                  (json_int_t)4000000000, "MemoryBytes", (json_int_t)8 << 30);
    _cleanup_json_ json_t *answer = call(&client, n, "/cluster/join", body);
    http_client_free(client);
    if (!answer)
        exit(1);
    n->key = keep(n, "key", key);
    n->certificate = keep(n, "pem", json_str(answer, "certificate"));
    free(csr);
    free(key);
    joined++;
}

static void *join_some(void *context)
{
    for (int i; (i = next_to_join++) < count;)
        join_one(&nodes[i]);
    return NULL;
}

/* As if it ran: an id of a container, made of the task's. */
static json_t *runs(const json_t *task)
{
    char container[65] = "";
    const char *id = json_str(task, "id");
    for (size_t i = 0; i < 32; i++)
        snprintf(container + 2 * i, 3, "%02x", *id ? (unsigned char)*id++ : 0);
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:s}", "id", json_str(task, "id"), "state", "running",
                     "message", "started", "pid", 1, "exit_code", 0, "container", container);
}

static void take(struct node *n, const json_t *answer)
{
    json_t *tasks = json_array(), *one;
    size_t i;
    pthread_mutex_lock(&n->lock);
    snprintf(n->lead, sizeof(n->lead), "%s", json_str(answer, "lead"));
    if (json_is_array(json_object_get(answer, "tasks"))) {
        json_array_foreach (json_object_get(answer, "tasks"), i, one)
            json_array_append_new(tasks, runs(one));
        assigned += !n->report;
        json_decref(n->report);
        n->report = json_incref(tasks);
    }
    pthread_mutex_unlock(&n->lock);
    json_decref(tasks);
}

static void *session(void *context)
{
    struct node *n = context;
    struct http_client *client = NULL;
    _cleanup_free_ char *version = mem_strdup("");
    struct vitals vitals;
    vitals_clear(&vitals);
    while (!end) {
        vitals_read(folder, &vitals);
        json_t *body = json_pack("{s:s, s:i, s:b, s:o}", "version", version, "protocol", 1, "facts", 1,
                                 "vitals", vitals_format(&vitals));
        _cleanup_json_ json_t *answer = call(&client, n, "/cluster/session", body);
        if (!answer) {
            time_sleep_ns(NS_PER_S);
            continue;
        }
        sessions++;
        free(version);
        version = mem_strdup(json_str(answer, "version"));
        take(n, answer);
    }
    http_client_free(client);
    return NULL;
}

static void *report(void *context)
{
    struct node *n = context;
    struct http_client *client = NULL;
    int64_t at = time_monotonic_ns() + n->number * NS_PER_S / count; /* not all at once */
    for (; !end; at += NS_PER_S) {
        int64_t wait = at - time_monotonic_ns();
        if (wait > 0)
            time_sleep_ns(wait);
        else
            at -= wait; /* what was missed is not made up for */
        pthread_mutex_lock(&n->lock);
        json_t *body = n->report ? json_pack("{s:s, s:O}", "lead", n->lead, "tasks", n->report) : NULL;
        pthread_mutex_unlock(&n->lock);
        _cleanup_json_ json_t *answer = body ? call(&client, n, "/cluster/report", body) : NULL;
        reports += answer != NULL;
    }
    http_client_free(client);
    return NULL;
}

static void start(pthread_t *thread, void *(*run)(void *), void *context)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    must(pthread_create(thread, &attr, run, context) == 0);
    pthread_attr_destroy(&attr);
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "bench-nodes ADDRESS TOKEN COUNT FOLDER SECONDS [fresh]\n");
        return 2;
    }
    int64_t number = 0, seconds = 0;
    address = argv[1], token = argv[2], folder = argv[4];
    must(parse_i64(argv[3], 1, 999, &number, NULL) == 0 && parse_i64(argv[5], 0, 3600, &seconds, NULL) == 0);
    count = (int)number;
    fresh = argc > 6;
    authority = str_printf("%s/ca.pem", folder);
    nodes = NEW_N(struct node, number);
    pthread_t *threads = NEW_N(pthread_t, 2 * number + JOINERS);
    for (int i = 0; i < count; i++) {
        nodes[i].number = i;
        pthread_mutex_init(&nodes[i].lock, NULL);
    }
    for (int i = 0; i < JOINERS; i++)
        start(&threads[i], join_some, NULL);
    for (int i = 0; i < JOINERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < count; i++) {
        start(&threads[2 * i], session, &nodes[i]);
        start(&threads[2 * i + 1], report, &nodes[i]);
        time_sleep_ns(NS_PER_S / 50); /* handshakes one after the other */
    }
    while (assigned < count)
        time_sleep_ns(NS_PER_S / 10);
    printf("ready\n");
    fflush(stdout);
    getchar(); /* begin to count */
    sessions = session_bytes = reports = failures = 0;
    if (seconds)
        time_sleep_ns(seconds * NS_PER_S);
    else
        getchar();
    printf("{\"sessions\": %ld, \"bytes\": %ld, \"reports\": %ld, \"failures\": %ld}\n", (long)sessions,
           (long)session_bytes, (long)reports, (long)failures);
    fflush(stdout);
    end = true;
    _exit(0); /* two thousand threads wait for answers */
}
