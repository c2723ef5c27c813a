/* Callers that write rows into a store, for bench/store and tests/hosts.
 *
 *     bench-store --file PATH | --members ADDRESS,... --ca F --cert F --key F
 *                 [--callers N] [--seconds S] [--prefix P] [--print] [--timeout MS]
 *     bench-store ... --read      what is there: "rows N", "sum N", and "key K" a row
 *
 * Each batch inserts a row and counts it in another table, under a request id that is the row's key; what was
 * not acknowledged is tried again with the same one. So the count is the number of rows exactly when every
 * row was written once. --print says "ok KEY MS" for each, with the milliseconds since 1970 at which it was
 * acknowledged, and "failed MS ERROR". The last line is
 * {"commits":..,"per_s":..,"p50_ms":..,"p99_ms":..,"max_ms":..}. */
#include "base/str.h"
#include "base/timeutil.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static const char *const MIGRATIONS[] = {
    "CREATE TABLE line(key TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;"
    "CREATE TABLE sum(id INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT;"
    "INSERT INTO sum(id, n) VALUES (1, 0);",
    NULL,
};

enum { ROW_BYTES = 500, CALLERS_MAX = 1024, RETRY_MS = 20 };

struct caller {
    pthread_t thread;
    int index;
    float *times_ms;
    size_t count, capacity;
};

static struct {
    const char *file, *prefix;
    struct store_members members;
    int callers;
    double seconds;
    bool print, read;
    struct store *store;
    atomic_bool stop;
} load = {.callers = 1, .seconds = 3, .prefix = "k"};

static void say(const char *key, const struct err *err)
{
    if (!load.print)
        return;
    char line[400];
    long long ms = (long long)(time_now_ns() / NS_PER_MS);
    int n = err ? snprintf(line, sizeof(line), "failed %lld %s: %.250s\n", ms, err_name(err->code), err->msg)
                : snprintf(line, sizeof(line), "ok %s %lld\n", key, ms);
    if (write(STDOUT_FILENO, line, (size_t)n) != n) /* whole lines, from all callers, at once */
        atomic_store(&load.stop, true);
}

static bool put(const char *key, const char *text)
{
    struct store_value v[] = {STORE_STR(key), STORE_STR(text)};
    struct store_statement st[] = {{"INSERT INTO line(key, text) VALUES (?, ?)", v, 2, 1},
                                   {"UPDATE sum SET n = n + 1 WHERE id = 1", NULL, 0, 1}};
    struct err err;
    for (;;) {
        if (store_batch_once(load.store, key, st, 2, &err) == 0)
            return true;
        say(key, &err);
        if (!err_retryable(err.code) || atomic_load(&load.stop))
            return false;
        time_sleep_ns(RETRY_MS * NS_PER_MS);
    }
}

static void *call(void *context)
{
    struct caller *c = context;
    char text[ROW_BYTES + 1], key[64];
    memset(text, 'x', ROW_BYTES);
    text[ROW_BYTES] = '\0';
    for (int i = 0; !atomic_load(&load.stop); i++) {
        snprintf(key, sizeof(key), "%s-%d-%d", load.prefix, c->index, i);
        int64_t began = time_monotonic_ns();
        if (!put(key, text))
            continue;
        say(key, NULL);
        GROW(c->times_ms, c->count, c->capacity);
        c->times_ms[c->count++] = (float)(time_monotonic_ns() - began) / NS_PER_MS;
    }
    return NULL;
}

static int by_time(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void report(struct caller *callers, double seconds)
{
    float *all = NULL;
    size_t n = 0, capacity = 0;
    for (int i = 0; i < load.callers; i++)
        for (size_t k = 0; k < callers[i].count; k++) {
            GROW(all, n, capacity);
            all[n++] = callers[i].times_ms[k];
        }
    qsort(all, n, sizeof(*all), by_time);
    printf("{\"commits\":%zu,\"per_s\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n", n,
           (double)n / seconds, n ? all[n / 2] : 0, n ? all[n * 99 / 100] : 0, n ? all[n - 1] : 0);
    free(all);
}

static void run(void)
{
    static struct caller callers[CALLERS_MAX];
    int64_t began = time_monotonic_ns();
    for (int i = 0; i < load.callers; i++) {
        callers[i].index = i;
        must(pthread_create(&callers[i].thread, NULL, call, &callers[i]) == 0);
    }
    time_sleep_ns((int64_t)(load.seconds * NS_PER_S));
    atomic_store(&load.stop, true);
    for (int i = 0; i < load.callers; i++)
        pthread_join(callers[i].thread, NULL);
    report(callers, (double)(time_monotonic_ns() - began) / NS_PER_S);
    for (int i = 0; i < load.callers; i++)
        free(callers[i].times_ms);
}

static int print_number(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    printf("%s %lld\n", (const char *)context, (long long)columns[0].integer);
    return 0;
}

static int print_key(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    printf("key %s\n", (const char *)columns[0].bytes);
    return 0;
}

static int show(struct err *err)
{
    int r = store_query(load.store, "SELECT count(*) FROM line", NULL, 0, print_number, (char *)"rows", err);
    if (r == 0)
        r = store_query(load.store, "SELECT n FROM sum", NULL, 0, print_number, (char *)"sum", err);
    if (r == 0)
        r = store_query(load.store, "SELECT key FROM line", NULL, 0, print_key, NULL, err);
    return r;
}

static int usage(void)
{
    fprintf(stderr, "usage: bench-store --file PATH | --members A,... --ca F --cert F --key F [--callers N] "
                    "[--seconds S] [--prefix P] [--timeout MS] [--print] [--read]\n");
    return 2;
}

int main(int argc, char **argv)
{
    _cleanup_strv_ char **addresses = NULL;
    struct err err = {0};
    for (int i = 1; i < argc; i++) {
        const char *o = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (str_eq(o, "--print")) {
            load.print = true;
            continue;
        } else if (str_eq(o, "--read")) {
            load.read = true;
            continue;
        } else if (!v) {
            return usage();
        }
        i++;
        if (str_eq(o, "--file"))
            load.file = v;
        else if (str_eq(o, "--members"))
            addresses = strv_split(v, ',');
        else if (str_eq(o, "--ca"))
            load.members.tls.authority = v;
        else if (str_eq(o, "--cert"))
            load.members.tls.certificate = v;
        else if (str_eq(o, "--key"))
            load.members.tls.key = v;
        else if (str_eq(o, "--callers"))
            load.callers = (int)strtol(v, NULL, 10);
        else if (str_eq(o, "--seconds"))
            load.seconds = strtod(v, NULL);
        else if (str_eq(o, "--prefix"))
            load.prefix = v;
        else if (str_eq(o, "--timeout"))
            load.members.timeout_ms = (int)strtol(v, NULL, 10);
        else
            return usage();
    }
    load.members.addresses = addresses;
    if (load.callers < 1 || load.callers > CALLERS_MAX || (!load.file && !addresses))
        return usage();
    int r = load.file ? store_open(load.file, MIGRATIONS, &load.store, &err)
                      : store_open_members(&load.members, MIGRATIONS, &load.store, &err);
    if (r == 0 && load.read)
        r = show(&err);
    else if (r == 0)
        run();
    store_close(r == 0 || load.read ? load.store : NULL);
    if (r < 0)
        fprintf(stderr, "bench-store: %s: %s\n", err_name(err.code), err.msg);
    return r < 0 ? 1 : 0;
}
