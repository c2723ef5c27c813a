/* drover simulate: plays a trace to the scheduler, and prints what it costs and how well tasks were placed.
 */
#include "scheduler/simulate.h"
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "scheduler/strategy.h"

#include <malloc.h>

struct simulate_cli {
    int nodes, seed;
    const char *node_cpu, *node_memory;
    char **strategies;
    bool json, no_preempt;
};

/* Of this thread's own work: what else the machine does costs the scheduler nothing. */
static int64_t work_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t memory_now(void)
{
    struct mallinfo2 m = mallinfo2();
    return (int64_t)(m.uordblks + m.hblkhd);
}

static int64_t memory_before;

static int64_t memory_of_model(void)
{
    return memory_now() - memory_before;
}

/* A name of a built-in one, or the file of a script or a shared object. */
static int strategy_open(const char *word, char **ret_name, struct sched_strategy **ret, struct err *err)
{
    *ret = NULL;
    *ret_name = NULL;
    bool script = str_ends_with(word, ".lua"), object = str_ends_with(word, ".so");
    if (!script && !object) {
        if (sched_strategy_builtin(word) < 0)
            return err_set(
                err, ERR_INVALID,
                "the strategy \"%.80s\" is not known: spread, binpack, random, or a file that ends with "
                ".lua or .so",
                word);
        *ret_name = mem_strdup(word);
        return 0;
    }
    const char *slash = strrchr(word, '/'), *base = slash ? slash + 1 : word;
    _cleanup_free_ char *name = mem_strndup(base, strlen(base) - (script ? 4 : 3));
    int r;
    if (script) {
        const struct sched_lua_limits limits = {.clock_ns = work_ns};
        _cleanup_str_ struct str text = STR_INIT;
        if ((r = file_read(word, SCHED_SCRIPT_MAX, &text, err)) == 0)
            r = sched_strategy_lua(name, str_get(&text), text.len, &limits, ret, err);
    } else {
        /* A bare name would be looked for among the system's libraries. */
        _cleanup_free_ char *path = str_printf("%s%s", slash ? "" : "./", word);
        r = sched_strategy_object(path, ret, err);
    }
    if (r == 0)
        *ret_name = take_ptr(name);
    return r;
}

static json_t *result_json(const struct simulate_result *r)
{
    json_t *j = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:I}", "tasks", (json_int_t)r->tasks,
        "placed", (json_int_t)r->placed, "waited", (json_int_t)r->waited, "waiting", (json_int_t)r->waiting,
        "preempted", (json_int_t)r->preempted, "lost", (json_int_t)r->lost, "peak", (json_int_t)r->peak,
        "waited_most_s", (double)r->waited_most_ns / 1e9, "virtual_s", (double)r->virtual_ns / 1e9,
        "scheduler_s", (double)r->scheduler_ns / 1e9, "place_worst_ms", (double)r->place_worst_ns / 1e6,
        "placements_per_s", r->placements_per_s, "memory_bytes", (json_int_t)r->memory_bytes);
    json_t *quality = json_pack("{s:i, s:i, s:i, s:f, s:f, s:f, s:f}", "nodes", (int)r->nodes, "nodes_used",
                                (int)r->nodes_used, "nodes_bound", (int)r->nodes_bound, "tasks_mean",
                                r->tasks_mean, "tasks_deviation", r->tasks_deviation, "cpu_share",
                                r->cpu_share, "memory_share", r->memory_share);
    json_object_set_new(j, "quality", quality);
    json_object_set_new(j, "problems", json_integer((json_int_t)r->problems));
    json_set_str(j, "problem", r->problem);
    return j;
}

static void result_row(struct table *t, const char *name, const struct simulate_result *r)
{
    char memory[32];
    output_size(r->memory_bytes, memory);
    _cleanup_free_ char *rate = str_printf("%.0f", r->placements_per_s),
                        *placed = str_printf("%llu", (unsigned long long)r->placed),
                        *waits = str_printf("%llu/%llu", (unsigned long long)r->waited,
                                            (unsigned long long)r->waiting),
                        *moved = str_printf("%llu/%llu", (unsigned long long)r->preempted,
                                            (unsigned long long)r->lost),
                        *used = str_printf("%u/%u/%u", r->nodes_used, r->nodes_bound, r->nodes),
                        *spread = str_printf("%.1f +- %.2f", r->tasks_mean, r->tasks_deviation),
                        *share = str_printf("%.0f%%/%.0f%%", 100 * r->cpu_share, 100 * r->memory_share);
    table_row(t, name, rate, placed, waits, moved, used, spread, share, memory, NULL);
}

static int play(const struct simulate_cli *o, struct simulate_options *options, const struct trace *trace,
                const char *word, struct table *t, json_t *all, struct err *err)
{
    struct simulate_result result;
    _cleanup_free_ char *name = NULL;
    memory_before = memory_now();
    int r = strategy_open(word, &name, &options->own, err);
    if (r < 0)
        return r;
    options->strategy = name;
    if ((r = simulate_run(trace, options, &result, err)) < 0)
        return r;
    if (o->json)
        json_object_set_new(all, name, result_json(&result));
    else
        result_row(t, name, &result);
    if (result.problems)
        fprintf(stderr, "drover: strategy %s failed %llu times, and spread placed those tasks: %s\n", name,
                (unsigned long long)result.problems, result.problem);
    return 0;
}

static int play_all(struct simulate_cli *o, char **files, struct err *err)
{
    struct trace trace = {0};
    struct simulate_options options = {.nodes = (uint32_t)o->nodes,
                                       .preempt = !o->no_preempt,
                                       .seed = (uint64_t)o->seed,
                                       .clock_ns = work_ns,
                                       .memory_bytes = memory_of_model};
    int64_t cpus;
    int r = parse_i64(o->node_cpu, 1, 1 << 20, &cpus, err);
    options.node_cpu_nano = r < 0 ? 0 : cpus * INT64_C(1000000000);
    if (r == 0)
        r = parse_bytes(o->node_memory, &options.node_memory_bytes, err);
    if (r == 0 && (o->nodes < 0 || o->nodes > SCHED_NODES_MAX))
        r = err_set(err, ERR_INVALID, "--nodes=%d: from 0 to %d", o->nodes, SCHED_NODES_MAX);
    for (; r == 0 && *files; files++) {
        struct str text = STR_INIT;
        if ((r = file_read(*files, TRACE_BYTES_MAX, &text, err)) == 0) {
            size_t n = text.len;
            r = trace_add(&trace, str_take(&text), n, *files, err);
        }
        str_free(&text);
    }
    trace_sort(&trace);
    static const char *const builtins[] = {"spread", "binpack", "random"};
    for (size_t i = 0, given = strv_len(o->strategies); !given && i < ARRAY_SIZE(builtins); i++)
        strv_add(&o->strategies, builtins[i]);
    struct table t = {.columns = 9};
    table_row(&t, "STRATEGY", "PLACED/S", "PLACED", "WAITED/LEFT", "PUSHED/LOST", "NODES USED/BOUND/ALL",
              "TASKS A NODE", "CPU/MEMORY", "MODEL", NULL);
    _cleanup_json_ json_t *all = json_object();
    STRV_FOREACH (word, o->strategies)
        if (r == 0)
            r = play(o, &options, &trace, *word, &t, all, err);
    trace_done(&trace);
    if (r < 0 || o->json)
        t.cells = strv_free(t.cells);
    if (r == 0 && o->json)
        output_json(all);
    else if (r == 0)
        table_print(&t);
    return r;
}

int cli_simulate(int argc, char **argv)
{
    struct simulate_cli o = {.nodes = 0, .node_cpu = "32", .node_memory = "128g"};
    const struct cli_option options[] = {
        {'n', "nodes", CLI_INT, &o.nodes, "N", "Equal nodes from the start, beside those of the trace"},
        {0, "node-cpu", CLI_TEXT, &o.node_cpu, "N", "Processors of each (32)"},
        {0, "node-memory", CLI_TEXT, &o.node_memory, "SIZE", "Memory of each (128g)"},
        {0, "strategy", CLI_LIST, &o.strategies, "NAME",
         "spread, binpack, random, or the file of a script (.lua) or a shared object (.so); again for more; "
         "all three "
         "when not given"},
        {0, "seed", CLI_INT, &o.seed, "N", "What chance starts from (0)"},
        {0, "no-preempt", CLI_FLAG, &o.no_preempt, NULL, "Let tasks of a high priority wait too"},
        {0, "json", CLI_FLAG, &o.json, NULL, "One object, by strategy"},
        {0},
    };
    const struct cli_command command = {
        "simulate [OPTIONS] TRACE...",
        "Plays traces (docs/scheduling.md) to the scheduler in virtual time. For each strategy prints "
        "placements per "
        "second of scheduler time; tasks that had to wait, and still do; tasks pushed aside, and lost with "
        "their node; "
        "nodes with tasks, the fewest that could do, and all; and tasks a node with their deviation, what is "
        "reserved "
        "of processors and memory, when most was; and the memory of the scheduler's model.",
        options, .least = 1, .most = -1};
    char **files;
    int status = cli_parse(&command, argc, argv, &files);
    if (status >= 0)
        return status;
    struct err err = {0};
    int r = play_all(&o, files, &err);
    strv_free(o.strategies);
    return r < 0 ? cli_fail(&err) : 0;
}
