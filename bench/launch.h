/* The launch benchmark: what one container costs, through whoever makes it.
 *
 * A contestant is a way to launch: the floor (bare system calls), an engine through its HTTP API, a command
 * line. Each is driven by the same loop: `depth` worker processes, forked from this small one, launch one
 * container after the other until the time or the number of launches is over; every launch goes from nothing
 * to removed again. bench/launch (the script) prepares roots, bundles and daemons; this program only
 * measures. */
#ifndef BENCH_LAUNCH_H
#define BENCH_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { DEPTHS_MAX = 4, WORKERS_MAX = 64, LOWERS_MAX = 64 };

struct contestant {
    const char *name;
    /* In the worker: once before the first launch, for each launch, and once after the last. `worker` tells
     * names apart. Non-zero is a failure, which has been told on stderr. */
    int (*begin)(const struct contestant *c, int worker);
    int (*launch)(const struct contestant *c, int worker, unsigned turn);
    void (*end)(const struct contestant *c, int worker);
    bool own_network;
    bool serial;         /* only one at a time: it is slow, and its rate does not grow */
    const char *socket;  /* of an engine */
    const char *root;    /* of an engine whose processes' time counts: Drover's */
    const char *program; /* of a command line */
    const char *folder;  /* bundles, or scratch space */
    const char *rootfs;  /* prepared base root with /bin/true */
};

/* Who spends processor time on a launch. Of the floor and of command lines all of it is the workers'. */
enum spender {
    SPENDER_WORKERS, /* with their children */
    SPENDER_SERVE,
    SPENDER_KEEPER,
    SPENDER_CONTAINERS, /* children that an engine's processes have waited for */
    SPENDER_OTHERS,
    SPENDERS
};

struct spent {
    double cpu_s[SPENDERS];
    unsigned long switches; /* of threads from one to the next, in an engine's processes */
};

struct rate {
    int depth;
    unsigned launches;
    double per_s, p50_ms, p99_ms;
    double cpu_ms, spender_ms[SPENDERS], switches; /* a launch */
};

enum { OWN_MAX = 64 };

struct limits {
    unsigned launches; /* at most, a depth */
    double seconds;    /* at most, a depth */
};

/* --- launch_loop.c --- */
double bench_now(void);
/* 0, or -1 when a worker failed. */
int bench_rate(const struct contestant *c, int depth, const struct limits *limits, struct rate *ret);

/* --- launch_cpu.c --- */
/* `root` as in struct contestant, or NULL. Of workers those that have been waited for. */
void spent_now(const char *root, struct spent *ret);
void spent_of_launches(const struct spent *before, const struct spent *after, struct rate *rate);

/* --- launch_floor.c --- */
int floor_begin(const struct contestant *c, int worker);
int floor_launch(const struct contestant *c, int worker, unsigned turn);
void floor_end(const struct contestant *c, int worker);

/* --- launch_api.c: Docker's API, of Drover or of dockerd --- */
int api_begin(const struct contestant *c, int worker);
int api_launch(const struct contestant *c, int worker, unsigned turn);
void api_end(const struct contestant *c, int worker);
/* One request on a connection of this process's own; the answer's body (NUL-terminated, shortened to `size`)
 * when `answer` is not NULL. Returns the status, or -1. */
int api_call(const char *socket_path, const char *method, const char *path, const char *body, char *answer,
             size_t size);

/* --- launch_cli.c: an OCI command line with a bundle a worker, and podman --- */
int bundle_begin(const struct contestant *c, int worker);
int bundle_launch(const struct contestant *c, int worker, unsigned turn);
/* crun refuses hybrid cgroups unless the unified mount is hidden from it. */
int crun_begin(const struct contestant *c, int worker);
int podman_launch(const struct contestant *c, int worker, unsigned turn);

/* --- launch_idle.c --- */
struct idle {
    unsigned containers;
    double kb_each, cpu_percent, stop_all_s;
    long before_kb, after_kb;
};
/* `root`: the engine's root directory, by which its own processes are found. */
int idle_measure(const struct contestant *engine, const char *root, unsigned containers, double watch_s,
                 struct idle *ret);
/* The engine's processes are those whose command line names its root. */
size_t own_processes(const char *root, pid_t found[OWN_MAX]);
double cpu_seconds(const pid_t *pids, size_t count);
/* Brings the number of sleeping containers from `have` to `want`. */
int idle_fill(const struct contestant *engine, unsigned have, unsigned want);
int idle_remove(const struct contestant *engine, unsigned have, double *ret_stop_s);

#endif
