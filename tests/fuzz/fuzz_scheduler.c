/* The scheduler's texts from outside; the first byte chooses: a constraint, an affinity, a preference, a
 * pattern, or a trace, which is then played to four nodes. */
#include "scheduler/constraint.h"
#include "scheduler/simulate.h"

#include "base/mem.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t nothing(void)
{
    return 0;
}

static void play(const char *text, size_t n)
{
    struct trace trace = {0};
    struct err err;
    if (trace_add(&trace, mem_dup(text, n + 1), n, "trace", &err) == 0) {
        trace_sort(&trace);
        uint64_t tasks = 0;
        for (size_t i = 0; i < trace.count; i++)
            tasks += trace.events[i].kind == TRACE_TASK ? trace.events[i].count : 0;
        static const char *const strategies[] = {"spread", "binpack", "random"};
        for (size_t i = 0; tasks < 10000 && i < ARRAY_SIZE(strategies); i++) {
            const struct simulate_options options = {.nodes = 4,
                                                     .node_cpu_nano = INT64_C(4000000000),
                                                     .node_memory_bytes = INT64_C(1) << 33,
                                                     .strategy = strategies[i],
                                                     .preempt = true,
                                                     .clock_ns = nothing,
                                                     .memory_bytes = nothing};
            struct simulate_result result;
            if (simulate_run(&trace, &options, &result, &err) == 0)
                must(result.tasks == tasks && result.placed + result.waiting >= tasks);
        }
    }
    trace_done(&trace);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    _cleanup_free_ char *text = mem_strndup((const char *)data + 1, size - 1);
    size_t n = strlen(text);
    struct constraint c = {0};
    struct value_pattern *p = NULL;
    switch (data[0]) {
    case 'c':
    case 'a':
    case 'p':
        if ((data[0] == 'c'   ? constraint_parse(text, &c, NULL)
             : data[0] == 'a' ? affinity_parse(text, &c, NULL)
                              : preference_parse(text, &c, NULL)) == 0) {
            if (data[0] != 'p') {
                constraint_value_fits(&c, text);
                constraint_value_fits(&c, "10.1.2.3");
            }
            constraint_done(&c);
        }
        break;
    case 'm': /* a pattern, and behind the first space what it is held against */
        if (strchr(text, ' ')) {
            char *space = strchr(text, ' ');
            *space = '\0';
            if (n < 4096 && value_pattern_new(text, &p, NULL) == 0)
                value_pattern_match(p, space + 1);
            value_pattern_free(p);
        }
        break;
    case 't':
        play(text, n);
        break;
    }
    return 0;
}
