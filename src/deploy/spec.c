/* ServiceSpec's fields that decide about tasks. */
#include "deploy/deploy.h"

#include "base/json.h"
#include "base/timeutil.h"

#define RPC "rpc error: code = InvalidArgument desc = "

static const char *const state_names[TASK_STATES] = {
    "new",     "pending",  "assigned", "accepted", "preparing", "ready",    "starting",
    "running", "complete", "shutdown", "failed",   "rejected",  "orphaned", "remove"};
static const char *const rollout_names[ROLLOUT_STATES] = {
    "", "updating", "paused", "completed", "rollback_started", "rollback_paused", "rollback_completed"};

const char *task_state_name(enum task_state state)
{
    return state_names[state];
}

static int find_name(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(names[i], name))
            return (int)i;
    return -ERR_NOT_FOUND;
}

int task_state_parse(const char *name, enum task_state *ret)
{
    int found = find_name(state_names, TASK_STATES, name);
    if (found >= 0)
        *ret = (enum task_state)found;
    return MIN(found, 0);
}

const char *rollout_state_name(enum rollout_state state)
{
    return rollout_names[state];
}

int rollout_state_parse(const char *name, enum rollout_state *ret)
{
    int found = find_name(rollout_names, ROLLOUT_STATES, name);
    if (found >= 0)
        *ret = (enum rollout_state)found;
    return MIN(found, 0);
}

/* One word of a list; "" and an absent one leave *ret as it is. */
static int get_word(const json_t *object, const char *where, const char *key, const char *const *words,
                    size_t count, int *ret, struct err *err)
{
    const char *text = "";
    int r = json_get_string(object, where, key, &text, err);
    if (r < 0 || str_empty(text))
        return r;
    int found = find_name(words, count, text);
    if (found < 0)
        return str_eq(key, "Condition") ? err_set(err, ERR_INVALID, "invalid RestartCondition: \"%s\"", text)
                                        : err_set(err, ERR_INVALID, "unrecognized update %s %s",
                                                  str_eq(key, "Order") ? "order" : "failure action", text);
    *ret = found;
    return 0;
}

static int get_natural(const json_t *object, const char *where, const char *key, const char *said,
                       int64_t *ret, struct err *err)
{
    int r = json_get_i64(object, where, key, ret, err);
    return r == 0 && *ret < 0 ? err_set(err, ERR_INVALID, RPC "%s cannot be negative", said) : r;
}

static int get_count(const json_t *object, const char *where, const char *key, const char *said, int64_t *ret,
                     struct err *err)
{
    int r = get_natural(object, where, key, said, ret, err);
    return r == 0 && *ret > DEPLOY_REPLICAS_MAX
               ? err_set(err, ERR_INVALID, RPC "%s cannot be more than %d", said, DEPLOY_REPLICAS_MAX)
               : r;
}

static int parse_rollout(const json_t *spec, const char *key, struct deploy_rollout *ret, struct err *err)
{
    static const char *const actions[] = {"pause", "continue", "rollback"};
    static const char *const orders[] = {"stop-first", "start-first"};
    json_t *config = NULL;
    int r = json_get_object(spec, "", key, &config, err);
    *ret = (struct deploy_rollout){.parallelism = 1, .monitor_ns = 5 * NS_PER_S};
    if (r < 0 || !config)
        return r;
    int action = FAILURE_PAUSE, order = 0;
    ret->parallelism = 0;
    r = get_natural(config, key, "Parallelism", "UpdateConfig: update-parallelism", &ret->parallelism, err);
    if (r == 0)
        r = get_natural(config, key, "Delay", "TaskSpec: update-delay", &ret->delay_ns, err);
    int64_t monitor = 0;
    if (r == 0)
        r = get_natural(config, key, "Monitor", "TaskSpec: update-monitor", &monitor, err);
    if (monitor)
        ret->monitor_ns = monitor;
    if (r == 0)
        r = json_get_double(config, key, "MaxFailureRatio", &ret->max_failure_ratio, err);
    if (r == 0 && (ret->max_failure_ratio < 0 || ret->max_failure_ratio > 1))
        r = err_set(err, ERR_INVALID,
                    RPC "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1");
    if (r == 0)
        r = get_word(config, key, "FailureAction", actions, ARRAY_SIZE(actions), &action, err);
    if (r == 0)
        r = get_word(config, key, "Order", orders, ARRAY_SIZE(orders), &order, err);
    if (r == 0 && action == FAILURE_ROLLBACK && str_eq(key, "RollbackConfig"))
        r = err_set(err, ERR_INVALID,
                    "rollback action is not allowed in RollbackConfig: use pause or continue");
    ret->on_failure = (enum deploy_failure)action;
    ret->start_first = order == 1;
    return r;
}

static int parse_restart(const json_t *template, struct deploy_spec *ret, struct err *err)
{
    static const char *const conditions[] = {"any", "on-failure", "none"};
    static const char where[] = "RestartPolicy";
    json_t *policy = NULL;
    int condition = RESTART_ANY;
    ret->restart_delay_ns = 5 * NS_PER_S;
    int r = json_get_object(template, "TaskTemplate", where, &policy, err);
    if (r == 0)
        r = get_word(policy, where, "Condition", conditions, ARRAY_SIZE(conditions), &condition, err);
    if (r == 0)
        r = get_natural(policy, where, "Delay", "TaskSpec: restart-delay", &ret->restart_delay_ns, err);
    if (r == 0)
        r = get_natural(policy, where, "MaxAttempts", "TaskSpec: restart-max-attempts", &ret->max_attempts,
                        err);
    if (r == 0)
        r = get_natural(policy, where, "Window", "TaskSpec: restart-window", &ret->restart_window_ns, err);
    ret->condition = (enum deploy_condition)condition;
    return r;
}

static int parse_mode(const json_t *spec, struct deploy_spec *ret, struct err *err)
{
    static const char *const modes[] = {"Replicated", "Global", "ReplicatedJob", "GlobalJob"};
    json_t *mode = NULL, *given = NULL, *one;
    int count = 0, r = json_get_object(spec, "", "Mode", &mode, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(modes); i++) {
        one = NULL;
        r = json_get_object(mode, "Mode", modes[i], &one, err);
        if (one) {
            count++;
            given = one;
            ret->mode = (enum deploy_mode)i;
        }
    }
    if (r == 0 && count > 1)
        r = err_set(err, ERR_INVALID, "must specify only one service mode");
    ret->replicas = ret->max_concurrent = 1;
    if (r == 0 && ret->mode == DEPLOY_REPLICATED)
        r = get_count(given, "Mode.Replicated", "Replicas", "Number of replicas", &ret->replicas, err);
    if (r < 0 || ret->mode != DEPLOY_REPLICATED_JOB)
        return r;
    r = get_count(given, "Mode.ReplicatedJob", "MaxConcurrent", "Maximum concurrent jobs",
                  &ret->max_concurrent, err);
    ret->completions = ret->max_concurrent;
    if (r == 0)
        r = get_count(given, "Mode.ReplicatedJob", "TotalCompletions", "Total completions", &ret->completions,
                      err);
    return r;
}

static int parse_progress(const json_t *labels, int64_t *ret_ns, struct err *err)
{
    enum { MOST_S = 24 * 3600 };
    const char *text = json_str(labels, DEPLOY_PROGRESS_LABEL);
    int64_t ns = 0;
    if (*text && (parse_duration(text, &ns, NULL) < 0 || ns < NS_PER_S || ns > MOST_S * NS_PER_S))
        return err_set(err, ERR_INVALID,
                       "label " DEPLOY_PROGRESS_LABEL " must be a time from 1s to 24h, not \"%.50s\"", text);
    *ret_ns = ns;
    return 0;
}

int deploy_spec_parse(const json_t *spec, struct deploy_spec *ret, struct err *err)
{
    json_t *template = NULL;
    *ret = (struct deploy_spec){0};
    int r = parse_mode(spec, ret, err);
    if (r == 0)
        r = json_get_object(spec, "", "TaskTemplate", &template, err);
    if (r == 0)
        r = parse_restart(template, ret, err);
    if (r == 0)
        r = parse_rollout(spec, "UpdateConfig", &ret->update, err);
    if (r == 0)
        r = parse_rollout(spec, "RollbackConfig", &ret->rollback, err);
    if (r == 0)
        r = parse_progress(json_object_get(spec, "Labels"), &ret->progress_ns, err);
    if (r == 0 && deploy_is_job(ret->mode) && json_object_get(spec, "UpdateConfig") &&
        !json_is_null(json_object_get(spec, "UpdateConfig")))
        r = err_set(err, ERR_INVALID, RPC "job-mode services cannot have update parameters");
    if (r == 0 && deploy_is_job(ret->mode) && ret->condition == RESTART_ANY)
        ret->condition = RESTART_ON_FAILURE; /* a job that has completed is done */
    return r;
}
