/* bench-launch: runs the contestants, prints the table or JSON, and judges the ratios. Started by
 * bench/launch.
 */
#include "launch.h"

#include "base/json.h"
#include "base/str.h"
#include "runtime/runtime.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONTESTANTS_MAX = 16, EXISTING = 4, ROUNDS_MAX = 15 };

static const int depths[DEPTHS_MAX] = {1, 2, 8, 64};
static const unsigned existing[EXISTING] = {0, 500, 1000, 2000};

struct result {
    struct contestant c;
    bool ran;
    struct rate rounds[DEPTHS_MAX][ROUNDS_MAX];
    struct rate rates[DEPTHS_MAX];
    struct rate best;
    double one_ms;
};

static struct options {
    const char *only, *folder, *rootfs, *drover_socket, *drover_root, *dockerd_socket, *oci, *crun, *runc;
    const char *podman;
    struct limits limits;
    unsigned idle, scale, rounds, depth;
    bool json, cpu;
} o = {.limits = {2000, 3}, .idle = 1000, .scale = 2000, .rounds = 3};

static struct result results[CONTESTANTS_MAX];
static size_t result_count;
static struct idle idle;
static double existing_rate[EXISTING], existing_cpu_ms[EXISTING];
static double floor_rate[EXISTING], floor_cpu_ms[EXISTING]; /* beside the same containers */
static bool idle_ran, scale_ran, failures;

static bool wanted(const char *name)
{
    if (!o.only)
        return true;
    _cleanup_strv_ char **names = strv_split(o.only, ',');
    return strv_has(names, name);
}

static void add(struct contestant c)
{
    if (wanted(c.name) && result_count < CONTESTANTS_MAX)
        results[result_count++].c = c;
}

static struct result *result_of(const char *name)
{
    for (size_t i = 0; i < result_count; i++)
        if (strcmp(results[i].c.name, name) == 0 && results[i].ran)
            return &results[i];
    return NULL;
}

/* The folder of a command line's bundles, one a worker: the same config for all, each with its own cgroup. */
static char *write_bundles(const char *name)
{
    char *folder = str_printf("%s/%s", o.folder, name);
    for (int worker = 0; worker < WORKERS_MAX; worker++) {
        json_t *spec = runtime_default_spec();
        _cleanup_free_ char *group = str_printf("/drover-bench-%s/%d", name, worker);
        _cleanup_free_ char *dir = str_printf("%s/bundle-%d", folder, worker);
        _cleanup_free_ char *path = str_printf("%s/config.json", dir);
        _cleanup_free_ char *make = str_printf("mkdir -p %s", dir);
        json_object_set_new(json_object_get(spec, "process"), "args", json_pack("[s]", "/bin/true"));
        json_object_set_new(json_object_get(spec, "root"), "path", json_string(o.rootfs));
        json_object_set_new(json_object_get(spec, "linux"), "cgroupsPath", json_string(group));
        json_object_set_new(spec, "ociVersion", json_string("1.0.2"));
        json_object_set_new(spec, "hostname", json_string("bench"));
        if (system(make) != 0 || json_dump_file(spec, path, JSON_INDENT(1)) < 0) {
            fprintf(stderr, "%s: cannot be written\n", path);
            exit(1);
        }
        json_decref(spec);
    }
    return folder;
}

static void add_command_line(const char *name, const char *program, bool hide_unified)
{
    if (program && wanted(name))
        add((struct contestant){.name = name,
                                .program = program,
                                .folder = write_bundles(name),
                                .begin = hide_unified ? crun_begin : NULL,
                                .launch = bundle_launch});
}

static void add_engine(const char *name, const char *socket, bool own_network, bool serial)
{
    if (socket)
        add((struct contestant){.name = name,
                                .socket = socket,
                                .root = socket == o.drover_socket ? o.drover_root : NULL,
                                .own_network = own_network,
                                .serial = serial,
                                .begin = api_begin,
                                .launch = api_launch,
                                .end = api_end});
}

static void add_floor(const char *name, bool own_network)
{
    if (o.folder && o.rootfs)
        add((struct contestant){.name = name,
                                .folder = o.folder,
                                .rootfs = o.rootfs,
                                .own_network = own_network,
                                .begin = floor_begin,
                                .launch = floor_launch,
                                .end = floor_end});
}

static void add_contestants(void)
{
    add_floor("floor", false);
    add_engine("engine", o.drover_socket, false, false);
    add_command_line("oci", o.oci, false);
    add_command_line("crun", o.crun, true);
    add_command_line("runc", o.runc, false);
    add_engine("dockerd", o.dockerd_socket, false, false);
    if (o.podman)
        add((struct contestant){.name = "podman",
                                .program = o.podman,
                                .folder = str_printf("%s/podman", o.folder),
                                .rootfs = o.rootfs,
                                .serial = true,
                                .begin = crun_begin,
                                .launch = podman_launch});
    add_floor("floor_own_network", true);
    add_engine("engine_own_network", o.drover_socket, true, false);
    add_engine("dockerd_own_network", o.dockerd_socket, true, true);
}

/* Once before the first round: caches, and whether it works at all. */
static void warm_up(struct result *r)
{
    struct limits warm = {3, 10};
    struct rate ignored;
    r->ran = bench_rate(&r->c, 1, &warm, &ignored) == 0;
    failures |= !r->ran;
}

static void run_depth(struct result *r, size_t depth, unsigned round)
{
    struct limits limits = {(o.limits.launches + o.rounds - 1) / o.rounds, o.limits.seconds / o.rounds};
    if (!r->ran || (r->c.serial && depth) || (o.depth && (int)o.depth != depths[depth]))
        return;
    if (bench_rate(&r->c, depths[depth], &limits, &r->rounds[depth][round]) < 0) {
        fprintf(stderr, "%s: failed with %d in flight\n", r->c.name, depths[depth]);
        failures = true;
        r->ran = false;
    }
}

static int by_rate(const void *a, const void *b)
{
    double x = ((const struct rate *)a)->per_s, y = ((const struct rate *)b)->per_s;
    return (x > y) - (x < y);
}

/* The middle one of a depth's rounds stands for it. */
static void sum_up(struct result *r)
{
    for (size_t i = 0; i < DEPTHS_MAX; i++) {
        qsort(r->rounds[i], o.rounds, sizeof(r->rounds[i][0]), by_rate);
        r->rates[i] = r->rounds[i][o.rounds / 2];
        if (r->rates[i].per_s > r->best.per_s)
            r->best = r->rates[i];
    }
    r->one_ms = r->rates[0].p50_ms;
}

/* One after the other at each depth, and that several times: what the machine does besides touches all alike.
 */
static void run_all(void)
{
    for (size_t i = 0; i < result_count; i++)
        warm_up(&results[i]);
    for (unsigned round = 0; round < o.rounds; round++)
        for (size_t depth = 0; depth < DEPTHS_MAX; depth++)
            for (size_t i = 0; i < result_count; i++)
                run_depth(&results[i], depth, round);
    for (size_t i = 0; i < result_count; i++)
        if (results[i].ran)
            sum_up(&results[i]);
}

static struct contestant idle_engine(void)
{
    return (struct contestant){.name = "engine",
                               .socket = o.drover_socket,
                               .root = o.drover_root,
                               .begin = api_begin,
                               .launch = api_launch,
                               .end = api_end};
}

/* Before everything else: memory that launches have left free would hide what containers take. */
static void run_idle(void)
{
    struct contestant engine = idle_engine();
    if (!o.drover_socket || !wanted("idle") || !o.idle)
        return;
    idle_ran = idle_measure(&engine, o.drover_root, o.idle, 10, &idle) == 0 &&
               idle_remove(&engine, o.idle, &idle.stop_all_s) == 0;
    failures |= !idle_ran;
}

static bool scale_rates(const struct contestant *engine, size_t i)
{
    struct rate rate, floor_ = {0};
    const struct result *under = result_of("floor");
    if (bench_rate(engine, 8, &o.limits, &rate) < 0 ||
        (under && bench_rate(&under->c, 8, &o.limits, &floor_) < 0))
        return false;
    /* Without any once more at the end: a machine that slows down meanwhile is not to be taken for their
     * doing. */
    double weight = existing_rate[i] > 0 ? 0.5 : 1;
    existing_rate[i] += (rate.per_s - existing_rate[i]) * weight;
    existing_cpu_ms[i] += (rate.cpu_ms - existing_cpu_ms[i]) * weight;
    floor_rate[i] += (floor_.per_s - floor_rate[i]) * weight;
    floor_cpu_ms[i] += (floor_.cpu_ms - floor_cpu_ms[i]) * weight;
    return true;
}

/* The rate on top of ever more sleeping containers, and the floor's beside them. */
static void run_scale(void)
{
    struct contestant engine = idle_engine();
    unsigned there = 0;
    for (size_t i = 0; o.drover_socket && wanted("scale") && i < EXISTING && existing[i] <= o.scale; i++) {
        if (idle_fill(&engine, there, existing[i]) < 0) {
            failures = true;
            break;
        }
        there = existing[i];
        failures |= !scale_rates(&engine, i);
        scale_ran = true;
    }
    if (!there)
        return;
    idle_remove(&engine, there, NULL);
    failures |= !scale_rates(&engine, 0);
}

/* --- what comes out --- */

static void print_table(void)
{
    printf("Launches of /bin/true from nothing to removed; %.0f s or %u launches a cell\n\n",
           o.limits.seconds, o.limits.launches);
    printf("| | one, ms | /s at 1 | 2 | 8 | 64 | best /s | its p50, ms | its p99, ms | CPU, ms |\n");
    printf("|---|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < result_count; i++) {
        const struct result *r = &results[i];
        if (!r->ran)
            continue;
        printf("| %s | %.2f |", r->c.name, r->one_ms);
        for (size_t k = 0; k < DEPTHS_MAX; k++)
            if (r->rates[k].launches)
                printf(" %.0f |", r->rates[k].per_s);
            else
                printf(" |");
        printf(" %.1f | %.2f | %.2f | %.2f |\n", r->best.per_s, r->best.p50_ms, r->best.p99_ms,
               r->best.cpu_ms);
    }
    if (idle_ran)
        printf("\n%u sleeping containers: %.1f KB each above their own processes (%ld KB before, %ld KB with "
               "them), %.2f%% of a core; all stopped in %.2f s\n",
               idle.containers, idle.kb_each, idle.before_kb, idle.after_kb, idle.cpu_percent,
               idle.stop_all_s);
    if (scale_ran) {
        printf("\n| containers there | engine /s at 8 | CPU, ms | floor /s | CPU, ms "
               "|\n|---|---|---|---|---|\n");
        for (size_t i = 0; i < EXISTING; i++)
            if (existing_rate[i] > 0)
                printf("| %u | %.0f | %.2f | %.0f | %.2f |\n", existing[i], existing_rate[i],
                       existing_cpu_ms[i], floor_rate[i], floor_cpu_ms[i]);
    }
}

/* The means of the rounds, which unlike rates differ little. */
static struct rate mean_cpu(const struct result *r, size_t depth)
{
    struct rate mean = {.depth = depths[depth]};
    for (unsigned i = 0; i < o.rounds; i++) {
        const struct rate *one = &r->rounds[depth][i];
        mean.launches += one->launches;
        mean.cpu_ms += one->cpu_ms / o.rounds;
        mean.switches += one->switches / o.rounds;
        for (int k = 0; k < SPENDERS; k++)
            mean.spender_ms[k] += one->spender_ms[k] / o.rounds;
    }
    return mean;
}

static void print_cpu(void)
{
    const struct result *floor_ = result_of("floor");
    printf("\nProcessor time of one launch, ms\n\n");
    printf("| | in flight | all | floor / all | client | serve | keeper | containers | others | "
           "switches |\n");
    printf("|---|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < result_count; i++)
        for (size_t k = 0; k < DEPTHS_MAX && results[i].ran; k++) {
            struct rate mean = mean_cpu(&results[i], k);
            if (!mean.launches)
                continue;
            printf("| %s | %d | %.2f |", results[i].c.name, mean.depth, mean.cpu_ms);
            if (floor_)
                printf(" %.0f%% |", mean_cpu(floor_, k).cpu_ms / mean.cpu_ms * 100);
            else
                printf(" |");
            for (int s = 0; s < SPENDERS; s++)
                printf(" %.2f |", mean.spender_ms[s]);
            printf(" %.1f |\n", mean.switches);
        }
}

static void judge(const char *what, double value, const char *relation, double limit)
{
    bool pass = *relation == '<' ? value < limit : value >= limit;
    printf("%s  %s: %.2f (%s %.2f)\n", pass ? "pass" : "FAIL", what, value, relation, limit);
}

static void print_ratios(void)
{
    const struct result *floor_ = result_of("floor"), *engine = result_of("engine"), *oci = result_of("oci");
    const struct result *crun = result_of("crun"), *dockerd = result_of("dockerd");
    printf("\n");
    if (floor_ && engine)
        judge("engine per_s / floor per_s", engine->best.per_s / floor_->best.per_s, ">=", 0.6);
    if (dockerd && engine)
        judge("engine per_s / dockerd serial per_s", engine->best.per_s / dockerd->rates[0].per_s, ">=", 50);
    if (crun && engine)
        judge("engine per_s / crun per_s", engine->best.per_s / crun->best.per_s, ">=", 1);
    if (oci && crun)
        judge("drover-oci one_ms / crun one_ms", oci->one_ms / crun->one_ms, "<", 0.6);
    if (engine)
        for (size_t k = 1; k < DEPTHS_MAX; k++)
            if (engine->rates[k].p50_ms > 0) {
                _cleanup_free_ char *what = str_printf("engine p99 / p50 with %d in flight", depths[k]);
                judge(what, engine->rates[k].p99_ms / engine->rates[k].p50_ms, "<", 5);
            }
    if (idle_ran) {
        judge("KB each idle container", idle.kb_each, "<", 50);
        judge("percent of a core while idle", idle.cpu_percent, "<", 1);
    }
    if (existing_rate[0] > 0 &&
        existing_rate[EXISTING - 1] > 0) /* a tenth for the noise of a shared machine */
        judge("rate with 2000 existing / with none", existing_rate[EXISTING - 1] / existing_rate[0],
              ">=", 0.9);
}

static json_t *json_of(const struct result *r)
{
    json_t *rates = json_object();
    for (size_t k = 0; k < DEPTHS_MAX; k++)
        if (r->rates[k].launches) {
            char depth[16];
            snprintf(depth, sizeof(depth), "%d", depths[k]);
            json_object_set_new(rates, depth,
                                json_pack("{s:f,s:f,s:f,s:i,s:f}", "per_s", r->rates[k].per_s, "p50_ms",
                                          r->rates[k].p50_ms, "p99_ms", r->rates[k].p99_ms, "launches",
                                          (int)r->rates[k].launches, "cpu_ms", mean_cpu(r, k).cpu_ms));
        }
    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:i,s:o}", "one_ms", r->one_ms, "cpu_ms", r->best.cpu_ms, "per_s",
                     r->best.per_s, "p50_ms", r->best.p50_ms, "p99_ms", r->best.p99_ms, "depth",
                     r->best.depth, "in_flight", rates);
}

/* Who was not there has null for its key. */
static void print_json(void)
{
    static const char *const keys[] = {"floor", "engine", "oci", "crun", "runc", "dockerd", "podman"};
    _cleanup_json_ json_t *all = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        json_object_set_new(all, keys[i], json_null());
    for (size_t i = 0; i < result_count; i++)
        if (results[i].ran)
            json_object_set_new(all, results[i].c.name, json_of(&results[i]));
    json_object_set_new(all, "idle",
                        idle_ran ? json_pack("{s:f,s:f,s:f,s:i}", "kb_each", idle.kb_each, "cpu_percent",
                                             idle.cpu_percent, "stop_all_s", idle.stop_all_s, "containers",
                                             (int)idle.containers)
                                 : json_null());
    json_t *scale = json_object();
    for (size_t i = 0; i < EXISTING; i++)
        if (existing_rate[i] > 0) {
            char number[16];
            snprintf(number, sizeof(number), "%u", existing[i]);
            json_object_set_new(scale, number, json_real(existing_rate[i]));
        }
    json_object_set_new(all, "per_s_with_existing", scale);
    json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    printf("\n");
}

static void parse(int argc, char **argv)
{
    enum {
        ONLY = 1,
        ROUNDS,
        DEPTH,
        LAUNCHES,
        SECONDS,
        IDLE,
        SCALE,
        JSON,
        CPU,
        FOLDER,
        ROOTFS,
        SOCKET,
        ROOT,
        DOCKERD,
        OCI,
        CRUN,
        RUNC,
        PODMAN
    };
    static const struct option known[] = {{"only", 1, NULL, ONLY},
                                          {"launches", 1, NULL, LAUNCHES},
                                          {"rounds", 1, NULL, ROUNDS},
                                          {"depth", 1, NULL, DEPTH},
                                          {"seconds", 1, NULL, SECONDS},
                                          {"idle", 1, NULL, IDLE},
                                          {"existing", 1, NULL, SCALE},
                                          {"json", 0, NULL, JSON},
                                          {"cpu", 0, NULL, CPU},
                                          {"folder", 1, NULL, FOLDER},
                                          {"rootfs", 1, NULL, ROOTFS},
                                          {"drover-socket", 1, NULL, SOCKET},
                                          {"drover-root", 1, NULL, ROOT},
                                          {"dockerd-socket", 1, NULL, DOCKERD},
                                          {"oci", 1, NULL, OCI},
                                          {"crun", 1, NULL, CRUN},
                                          {"runc", 1, NULL, RUNC},
                                          {"podman", 1, NULL, PODMAN},
                                          {0}};
    const char **const texts[] = {[ONLY] = &o.only,        [FOLDER] = &o.folder,
                                  [ROOTFS] = &o.rootfs,    [SOCKET] = &o.drover_socket,
                                  [ROOT] = &o.drover_root, [DOCKERD] = &o.dockerd_socket,
                                  [OCI] = &o.oci,          [CRUN] = &o.crun,
                                  [RUNC] = &o.runc,        [PODMAN] = &o.podman};
    for (int key; (key = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (key == '?')
            exit(2);
        if (key == LAUNCHES)
            o.limits.launches = (unsigned)strtoul(optarg, NULL, 10);
        else if (key == ROUNDS)
            o.rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (key == DEPTH)
            o.depth = (unsigned)strtoul(optarg, NULL, 10);
        else if (key == SECONDS)
            o.limits.seconds = strtod(optarg, NULL);
        else if (key == IDLE)
            o.idle = (unsigned)strtoul(optarg, NULL, 10);
        else if (key == SCALE)
            o.scale = (unsigned)strtoul(optarg, NULL, 10);
        else if (key == JSON)
            o.json = true;
        else if (key == CPU)
            o.cpu = true;
        else
            *texts[key] = optarg;
    }
    if (o.rounds < 1 || o.rounds > ROUNDS_MAX) {
        fprintf(stderr, "--rounds is 1 to %d\n", ROUNDS_MAX);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    parse(argc, argv);
    add_contestants();
    run_idle();
    run_all();
    run_scale();
    if (o.json) {
        print_json();
    } else {
        print_table();
        if (o.cpu)
            print_cpu();
        print_ratios();
    }
    return failures ? 1 : 0;
}
