/* Who is told only what has changed knows at any time what who is told all knows: random changes, nodes that
 * ask now and then, and whose needs change. */
#include "unit.h"

#include "base/json.h"
#include "base/mem.h"
#include "cluster/traffic_rows.h"

enum { SEEDS = 40, STEPS = 1500, NETWORKS = 4, SERVICES = 5, TASKS = 40, NODES = 6 };

static uint64_t state;

static uint32_t chance(uint32_t n)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % n;
}

struct asker {
    json_t *needs, *document; /* what it needs; what it was told so far */
    int64_t known, needs_stamp;
    bool needs_changed;
};

static json_t *some_networks(void)
{
    json_t *needs = json_object();
    for (int i = 0; i < NETWORKS; i++)
        if (chance(2)) {
            _cleanup_free_ char *id = str_printf("net%d", i);
            json_object_set_new(needs, id, json_true());
        }
    return needs;
}

static void change_service(struct facts *f, int i)
{
    _cleanup_free_ char *id = str_printf("service%d", i), *network = str_printf("net%u", chance(NETWORKS));
    json_t *row = chance(6)
                      ? json_pack("{s:s, s:[{s:s, s:[]}], s:{s:s}, s:[]}", "Name", id, "Networks", "Target",
                                  network, "Aliases", "Addresses", network, "10.0.0.2/24", "Ports")
                      : NULL;
    if (row && chance(4) == 0)
        json_array_append_new(
            json_object_get(row, "Ports"),
            json_pack("{s:s, s:i, s:i}", "Protocol", "tcp", "PublishedPort", 80, "TargetPort", 80));
    facts__put(f, FACT_SERVICE, id, row);
}

static void change_task(struct facts *f, int i)
{
    _cleanup_free_ char *id = str_printf("task%d", i), *service = str_printf("service%d", i % SERVICES),
                        *node = str_printf("node%d", i % NODES), *network = str_printf("net%d", i % NETWORKS),
                        *address = str_printf("10.0.%d.%d/16", i % NETWORKS, i + 3);
    json_t *row = chance(4) ? json_pack("{s:s, s:s, s:{s:s}}", "Service", service, "Node", node, "Addresses",
                                        network, address)
                            : NULL;
    if (row && chance(2))
        json_object_set_new(row, "Serves", json_true());
    if (row && i % 7 == 0)
        json_object_set_new(row, "Published", json_true());
    facts__put(f, FACT_TASK, id, row);
}

static void change(struct facts *f)
{
    uint32_t what = chance(20);
    int i = (int)chance(what < 14 ? TASKS : what < 17 ? SERVICES : what < 18 ? NETWORKS : NODES);
    if (what < 14)
        change_task(f, i);
    else if (what < 17)
        change_service(f, i);
    else if (what < 18) {
        _cleanup_free_ char *id = str_printf("net%d", i);
        facts__put(f, FACT_NETWORK, id,
                   chance(5) ? json_pack("{s:s, s:s}", "Id", id, "Name", i ? id : "ingress") : NULL);
    } else {
        _cleanup_free_ char *id = str_printf("node%d", i), *via = str_printf("192.0.2.%d", i + 1);
        json_t *row = json_pack("{s:s, s:s, s:s}", "Machine", via, "Via", via, "Mac", "02:00:00:00:00:01");
        if (chance(3) == 0)
            json_object_set_new(row, "Lost", json_true());
        facts__put(f, FACT_NODE, id, row);
    }
}

static bool concerns(void *context, const struct fact *fact)
{
    return traffic_rows__concerns(fact, context);
}

/* As the leader answers a node (traffic__news()). */
static void ask(struct facts *f, struct asker *a)
{
    if (a->needs_changed)
        a->needs_stamp = ++f->stamp;
    a->needs_changed = false;
    bool whole = a->known < a->needs_stamp || a->known < f->floor;
    _cleanup_json_ json_t *told = facts__since(f, whole ? 0 : a->known, concerns, a->needs);
    if (whole) {
        json_decref(a->document);
        a->document = json_object();
    }
    facts__merge(a->document, told);
    a->known = f->stamp;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The same, in whatever order. */
static char *sorted(const json_t *description)
{
    _cleanup_strv_ char **lines = NULL;
    struct str out = STR_INIT;
    const char *parts[] = {"networks", "traffic"}, *lists[] = {"Far", "Nodes", "Containers"};
    for (int p = 0; p < 2; p++) {
        json_t *one, *target;
        size_t i, k;
        json_array_foreach (json_object_get(description, parts[p]), i, one) {
            const char *key = p ? json_str(one, "Service") : json_str(json_object_get(one, "Body"), "Id");
            for (size_t l = 0; l < ARRAY_SIZE(lists); l++)
                json_array_foreach (json_object_get(one, lists[l]), k, target) {
                    char *text = json_dumps(target, JSON_ENCODE_ANY | JSON_SORT_KEYS);
                    _cleanup_free_ char *line =
                        str_printf("%s %s %s %s %s", parts[p], key, json_str(one, "Network"), lists[l], text);
                    strv_add(&lines, line);
                    free(text);
                }
            _cleanup_free_ char *line = str_printf("%s %s %s", parts[p], key, json_str(one, "Network"));
            strv_add(&lines, line);
        }
    }
    if (lines)
        qsort(lines, strv_len(lines), sizeof(*lines), by_text);
    STRV_FOREACH (line, lines)
        str_addf(&out, "%s\n", *line);
    return str_take(&out);
}

static void compare(const struct facts *f, const struct asker *a, const char *self, uint64_t seed)
{
    _cleanup_json_ json_t *all = facts__since(f, 0, concerns, a->needs), *containers = json_object();
    for (int i = 0; i < TASKS; i++) {
        _cleanup_free_ char *id = str_printf("task%d", i);
        json_set_str(containers, id, id);
    }
    _cleanup_json_ json_t *wanted = traffic_rows__describe(all, containers, self),
                          *got = traffic_rows__describe(a->document, containers, self);
    _cleanup_free_ char *x = sorted(wanted), *y = sorted(got);
    if (strcmp(x, y) != 0)
        fail_msg("seed %llu: %s is told\n%sand has\n%s", (unsigned long long)seed, self, x, y);
}

static void run_seed(uint64_t seed)
{
    struct facts f = {0};
    struct asker askers[NODES] = {0};
    state = seed;
    size_t lines = 0;
    for (int n = 0; n < NODES; n++)
        askers[n] = (struct asker){.needs = some_networks(), .needs_changed = true};
    for (int step = 0; step < STEPS; step++) {
        change(&f);
        int n = (int)chance(NODES * 4);
        if (n >= NODES)
            continue;
        struct asker *a = &askers[n];
        if (chance(10) == 0) {
            json_decref(a->needs);
            a->needs = some_networks();
            a->needs_changed = true;
        }
        ask(&f, a);
        _cleanup_free_ char *self = str_printf("node%d", n);
        compare(&f, a, self, seed);
        lines += json_object_size(json_object_get(a->document, "tasks"));
    }
    assert_true(lines > 0);
    for (int n = 0; n < NODES; n++) {
        json_decref(askers[n].needs);
        json_decref(askers[n].document);
    }
    facts__done(&f);
}

static void who_is_told_changes_knows_what_who_is_told_all_knows(void **unused)
{
    const char *one = getenv("DROVER_SIM_SEED");
    int64_t seed = 0;
    if (one && parse_i64(one, 1, INT64_MAX, &seed, NULL) == 0)
        run_seed((uint64_t)seed);
    else
        for (uint64_t i = 1; i <= SEEDS; i++)
            run_seed(i);
}

/* What is gone is remembered for so many only; who is behind that is told all. */
static void what_is_gone_is_not_remembered_for_ever(void **unused)
{
    struct facts f = {0};
    int64_t known = 0;
    for (int i = 0; i < 20000; i++) {
        _cleanup_free_ char *id = str_printf("task%d", i);
        facts__put(&f, FACT_TASK, id, json_pack("{s:s}", "Node", "a"));
        facts__put(&f, FACT_TASK, id, NULL);
        if (i == 100)
            known = f.stamp;
    }
    assert_true(f.by_id[FACT_TASK].count < 5000);
    assert_true(known < f.floor);
    facts__done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_told_changes_knows_what_who_is_told_all_knows),
        cmocka_unit_test(what_is_gone_is_not_remembered_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
