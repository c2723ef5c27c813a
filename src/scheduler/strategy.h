/* Strategies: the built-in ones by name, and a user's own, which is a Lua script or a shared object.
 *
 * A script is hostile text. It runs in a Lua 5.4 state of its own without files, processes, modules,
 * metatables, coroutines, patterns (a short one can take for ever) or `load`; with a limit to its memory, its
 * instructions and its time, counted for each batch of candidates. What it may use is listed in
 * docs/scheduling.md. Whatever it does, its error is a text, the built-in strategy places the task, and after
 * SCHED_STRATEGY_STRIKES errors in a row it is not asked again until it is replaced.
 *
 * A shared object is code of the cluster's owner: it is trusted as the binary itself is. */
#ifndef SCHEDULER_STRATEGY_H
#define SCHEDULER_STRATEGY_H

#include "scheduler/scheduler.h"

enum { SCHED_STRATEGY_STRIKES = 3, SCHED_CANDIDATES = 64, SCHED_SCRIPT_MAX = 256 * 1024 };

struct sched_lua_limits {      /* 0: the default */
    size_t memory_bytes;       /* 1 MiB above what the empty state takes */
    int64_t instructions;      /* 1,000,000 for a batch */
    int64_t time_ns;           /* 50 ms for a batch; needs the clock */
    int64_t (*clock_ns)(void); /* best the thread's own time, which a busy machine does not use up */
};

/* 0, 1, 2 for "spread", "binpack", "random", else -1. */
int sched_strategy_builtin(const char *name);
/* `name` is what errors call the script. Runs its top level, which must define a function `score`. */
int sched_strategy_lua(const char *name, const char *text, size_t n, const struct sched_lua_limits *limits,
                       struct sched_strategy **ret, struct err *err);
/* Loads a shared object (include/drover/strategy.h). The object stays loaded when the strategy is freed, as
 * its code may have left threads or handlers behind. */
int sched_strategy_object(const char *path, struct sched_strategy **ret, struct err *err);
void sched_strategy_free(struct sched_strategy *strategy);

#endif
