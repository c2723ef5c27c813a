/* drover stats: what containers use, once or again and again. */
#include "base/json.h"
#include "cli/call.h"
#include "cli/targets.h"
#include "cli/verbs.h"

#include <pthread.h>
#include <unistd.h>

struct stats_options {
    struct project_options project;
    bool all, no_stream, no_trunc;
    const char *format;
};

/* One container's figures, asked for in a thread of its own: an answer takes the time between two samples. */
struct sample {
    const json_t *container;
    json_t *stats; /* NULL: it does not run any more */
    pthread_t thread;
};

static void *take_sample(void *context)
{
    struct sample *s = context;
    struct err ignored;
    cli_get(&s->stats, &ignored, "/containers/%s/stats?stream=0", json_str(s->container, "Id"));
    return NULL;
}

static double cpu_percent(const json_t *stats)
{
    const json_t *now = json_object_get(stats, "cpu_stats"), *before = json_object_get(stats, "precpu_stats");
    int64_t used = json_int(json_object_get(now, "cpu_usage"), "total_usage") -
                   json_int(json_object_get(before, "cpu_usage"), "total_usage");
    int64_t passed = json_int(now, "system_cpu_usage") - json_int(before, "system_cpu_usage");
    if (used <= 0 || passed <= 0)
        return 0;
    return 100.0 * (double)used / (double)passed * (double)json_int(now, "online_cpus");
}

/* Without the page cache that would go first, as docker counts. */
static int64_t memory_used(const json_t *memory)
{
    const json_t *details = json_object_get(memory, "stats");
    int64_t usage = json_int(memory, "usage");
    int64_t cache = json_int(details, json_object_get(details, "total_inactive_file") ? "total_inactive_file"
                                                                                      : "inactive_file");
    return cache < usage ? usage - cache : usage;
}

static char *pair_of(int64_t first, int64_t second)
{
    char a[32], b[32];
    output_size(first, a);
    output_size(second, b);
    return str_printf("%s / %s", a, b);
}

static char *network_text(const json_t *stats)
{
    int64_t received = 0, sent = 0;
    const char *name;
    json_t *link;
    json_object_foreach (json_object_get(stats, "networks"), name, link) {
        received += json_int(link, "rx_bytes");
        sent += json_int(link, "tx_bytes");
    }
    return pair_of(received, sent);
}

static char *disk_text(const json_t *stats)
{
    int64_t in = 0, out = 0;
    size_t i;
    json_t *entry;
    const json_t *list = json_object_get(json_object_get(stats, "blkio_stats"), "io_service_bytes_recursive");
    json_array_foreach ((json_t *)list, i, entry) {
        const char *op = json_str(entry, "op");
        in += strcasecmp(op, "read") == 0 ? json_int(entry, "value") : 0;
        out += strcasecmp(op, "write") == 0 ? json_int(entry, "value") : 0;
    }
    return pair_of(in, out);
}

/* A line's cells by their names in docker's JSON. */
static json_t *figures(const struct stats_options *o, const struct sample *s)
{
    const json_t *memory = json_object_get(s->stats, "memory_stats");
    int64_t used = memory_used(memory), limit = json_int(memory, "limit");
    _cleanup_free_ char *network = network_text(s->stats), *disk = disk_text(s->stats),
                        *usage = pair_of(used, limit), *cpu = str_printf("%.2f%%", cpu_percent(s->stats)),
                        *share = str_printf("%.2f%%", limit ? 100.0 * (double)used / (double)limit : 0.0),
                        *pids = str_printf(
                            "%lld", (long long)json_int(json_object_get(s->stats, "pids_stats"), "current")),
                        *id = mem_strndup(json_str(s->container, "Id"), o->no_trunc ? 64 : 12);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "ID", id, "Name", targets_name(s->container),
                     "CPUPerc", cpu, "MemUsage", usage, "MemPerc", share, "NetIO", network, "BlockIO", disk,
                     "PIDs", pids);
}

static void print_samples(const struct stats_options *o, const struct sample *samples, size_t n)
{
    struct table t = {.columns = 8};
    bool as_json = str_eq(o->format, "json");
    table_row(&t, "CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O",
              "PIDS", NULL);
    for (size_t i = 0; i < n; i++) {
        _cleanup_json_ json_t *f = figures(o, &samples[i]);
        table_row(&t, json_str(f, "ID"), json_str(f, "Name"), json_str(f, "CPUPerc"), json_str(f, "MemUsage"),
                  json_str(f, "MemPerc"), json_str(f, "NetIO"), json_str(f, "BlockIO"), json_str(f, "PIDs"),
                  NULL);
        if (!as_json)
            continue;
        json_dumpf(f, stdout, JSON_COMPACT);
        printf("\n");
    }
    if (as_json)
        t.cells = strv_free(t.cells);
    else
        table_print(&t);
    fflush(stdout);
}

/* Returns how many of them still run. */
static size_t print_once(const struct stats_options *o, const json_t *containers)
{
    size_t n = json_array_size(containers), running = 0, i;
    struct sample *samples = NEW_N(struct sample, n + 1);
    for (i = 0; i < n; i++) {
        samples[i].container = json_array_get(containers, i);
        must(pthread_create(&samples[i].thread, NULL, take_sample, &samples[i]) == 0);
    }
    for (i = 0; i < n; i++) {
        pthread_join(samples[i].thread, NULL);
        running +=
            *json_str(samples[i].stats, "read") && strncmp(json_str(samples[i].stats, "read"), "0001", 4);
    }
    if (!o->no_stream && isatty(STDOUT_FILENO))
        printf("\033[2J\033[H");
    print_samples(o, samples, n);
    for (i = 0; i < n; i++)
        json_decref(samples[i].stats);
    free(samples);
    return running;
}

int cli_stats(int argc, char **argv)
{
    struct stats_options o = {0};
    const struct cli_option options[] = {
        {'a', "all", CLI_FLAG, &o.all, NULL, "Stopped containers too"},
        {0, "no-stream", CLI_FLAG, &o.no_stream, NULL, "Once, not again and again"},
        {0, "no-trunc", CLI_FLAG, &o.no_trunc, NULL, "Whole ids"},
        {0, "format", CLI_TEXT, &o.format, "FORMAT", "table (the default) or json, a line each"},
        PROJECT_OPTIONS(o.project),
        {0},
    };
    const struct cli_command command = {"stats [OPTIONS] [SERVICE | CONTAINER...]",
                                        "Prints what containers use of CPU, memory, network and disks, until "
                                        "they have ended.",
                                        options,
                                        false,
                                        0,
                                        -1};
    char **names;
    _cleanup_targets_ struct targets t = {0};
    int status = cli_parse(&command, argc, argv, &names);
    if (status < 0 && o.format && strcmp(o.format, "table") != 0 && strcmp(o.format, "json") != 0) {
        fprintf(stderr, "drover stats: --format must be table or json, not \"%s\"\n", o.format);
        status = 2;
    }
    const struct targets_want want = {.all = o.all};
    if (status < 0)
        status = targets_find(&o.project, names, &want, &t);
    project_options_done(&o.project);
    while (status == 0 && print_once(&o, t.containers) && !o.no_stream)
        ;
    return status;
}
