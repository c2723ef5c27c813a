#include "scheduler/scheduler_priv.h"
#include "scheduler/strategy_priv.h"

static const char *const builtins[BUILTIN_COUNT] = {"spread", "binpack", "random"};

int sched_strategy_builtin(const char *name)
{
    for (int i = 0; i < BUILTIN_COUNT; i++)
        if (str_eq(name, builtins[i]))
            return i;
    return -1;
}

void sched_strategy_free(struct sched_strategy *strategy)
{
    if (strategy)
        strategy->free(strategy);
}

static int check_name(const char *name, struct err *err)
{
    size_t n = name ? strlen(name) : 0;
    if (n == 0 || n > 64 ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != n)
        return err_set(
            err, ERR_INVALID,
            "\"%.80s\" is no name for a strategy: 1 to 64 letters, digits, dots, dashes and underscores",
            name ? name : "");
    return 0;
}

int sched_strategy_put(struct sched *s, const char *name, struct sched_strategy *strategy, struct err *err)
{
    int r = check_name(name, err);
    if (r == 0 && sched_strategy_builtin(name) >= 0)
        r = err_set(err, ERR_CONFLICT, "\"%s\" is built in: give yours another name", name);
    struct named_strategy *named = r == 0 ? map_get(&s->strategies, name) : NULL;
    if (r == 0 && !named && s->strategies.count >= SCHED_LIST_MAX)
        r = err_set(err, ERR_LIMIT, "there are %d strategies already", SCHED_LIST_MAX);
    if (r < 0) {
        sched_strategy_free(strategy);
        return r;
    }
    if (!named) {
        named = NEW(struct named_strategy);
        map_put(&s->strategies, name, named);
    }
    sched_strategy_free(named->strategy);
    *named = (struct named_strategy){.strategy = strategy};
    s->generation++;
    return 0;
}

static int check_known(const struct sched *s, const char *name, struct err *err)
{
    if (sched_strategy_builtin(name) >= 0 || map_has(&s->strategies, name))
        return 0;
    return err_set(
        err, ERR_NOT_FOUND,
        "no strategy is called \"%.80s\": spread, binpack and random are built in, others are added first",
        name);
}

int sched_pool_strategy(struct sched *s, const char *pool, const char *strategy, struct err *err)
{
    int r = strategy ? check_known(s, strategy, err) : 0;
    if (r < 0)
        return r;
    s->generation++;
    if (strategy)
        map_put(&s->pool_strategies, pool ? pool : "", mem_strdup(strategy));
    else
        map_remove(&s->pool_strategies, pool ? pool : "");
    return 0;
}

int sched_default_strategy(struct sched *s, const char *strategy, struct err *err)
{
    int r = check_known(s, strategy, err);
    if (r < 0)
        return r;
    s->generation++;
    free(s->default_strategy);
    s->default_strategy = mem_strdup(strategy);
    return 0;
}

uint64_t sched_strategy_problems(const struct sched *s, const char *name, const char **ret_last)
{
    const struct named_strategy *named = map_get(&s->strategies, name);
    *ret_last = named ? named->last : "";
    return named ? named->problems : 0;
}
