#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/logs.h"
#include "cli/project.h"
#include "cli/verbs.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

struct up_options {
    struct project_options project;
    struct plan_options plan;
    bool detach, wait, no_deps, json, no_colour;
    char **scale;
    const char *pull;
    int timeout_s, wait_timeout_s;
};

static int apply_scale(struct compose_project *p, char *const *scale, struct err *err)
{
    for (char *const *item = scale; item && *item; item++) {
        size_t n = strcspn(*item, "=");
        _cleanup_free_ char *name = mem_strndup(*item, n);
        struct compose_service *s = compose_find_service(p, name);
        int64_t replicas;
        if (!s)
            return err_set(err, ERR_NOT_FOUND, "--scale %s: no such service", *item);
        if (!(*item)[n] || parse_i64(*item + n + 1, 0, 1000, &replicas, NULL) < 0)
            return err_set(err, ERR_INVALID, "--scale %s: write SERVICE=NUMBER, up to 1000", *item);
        if (replicas > 1 && s->container_name)
            return err_set(err, ERR_INVALID,
                           "--scale %s: the service has a container_name, so only one can be", *item);
        s->replicas = (int)replicas;
    }
    return 0;
}

static int carry_out(const struct up_options *o, struct compose_project *p, struct project_world *world,
                     struct progress *progress, struct err *err)
{
    const struct project_run run = {p, world, progress, o->timeout_s, false};
    struct plan plan = {0};
    int r = project_observe(p, world, err);
    struct plan_observed observed = project_observed(world);
    if (r == 0)
        r = compose_plan_images(p, &observed, &o->plan, &plan, err);
    if (r == 0)
        r = project_carry_out(&run, &plan, err);
    compose_plan_done(&plan);
    if (r == 0)
        r = project_observe(p, world, err);
    observed = project_observed(world);
    if (r == 0)
        r = compose_plan_up(p, &observed, &o->plan, &plan, err);
    if (r == 0 && !plan.count)
        progress_set(progress, "Project   ", COLOUR_GREEN, "is up to date");
    if (r == 0)
        r = project_carry_out(&run, &plan, err);
    compose_plan_done(&plan);
    return r;
}

/* --- --wait --- */

/* A service others wait to complete, or without restart, may have ended well. */
static enum compose_condition goal_of(const struct compose_project *p, const struct compose_service *s)
{
    for (size_t i = 0; i < p->service_count; i++)
        for (size_t j = 0; j < p->services[i].depend_count; j++)
            if (strcmp(p->services[i].depends[j].service, s->name) == 0 &&
                p->services[i].depends[j].condition == COMPOSE_COMPLETED)
                return COMPOSE_COMPLETED;
    return COMPOSE_STARTED;
}

static bool has_health(const struct compose_project *p, const struct compose_service *s)
{
    _cleanup_free_ char *name = compose_plan_container_name(p, s, 1);
    _cleanup_free_ char *escaped = cli_escape(name);
    _cleanup_json_ json_t *container = NULL;
    struct err err;
    if (cli_get(&container, &err, "/containers/%s/json", escaped) < 0)
        return false;
    return json_object_get(json_object_get(container, "State"), "Health") != NULL;
}

static int wait_all(const struct up_options *o, struct compose_project *p, const struct project_world *world,
                    struct progress *progress, struct err *err)
{
    const struct project_run run = {p, world, progress, o->timeout_s, false};
    struct plan plan = {0};
    for (size_t i = 0; i < p->service_count; i++) {
        struct compose_service *s = &p->services[i];
        if (!s->active || !s->replicas)
            continue;
        enum compose_condition goal = goal_of(p, s);
        if (goal == COMPOSE_STARTED && has_health(p, s))
            goal = COMPOSE_HEALTHY;
        GROW(plan.actions, plan.count, plan.capacity);
        plan.actions[plan.count++] = (struct plan_action){.kind = PLAN_WAIT,
                                                          .service = s,
                                                          .name = mem_strdup(s->name),
                                                          .condition = goal,
                                                          .required = true};
    }
    int r = project_carry_out(&run, &plan, err);
    compose_plan_done(&plan);
    return r;
}

/* --- Attached: output until all have ended; ctrl-c stops them, a second one kills --- */

struct attached {
    const json_t *containers;
    struct logs_options logs;
    pthread_t main_thread;
    int result;
    struct err err;
};

static void *show_logs(void *context)
{
    struct attached *a = context;
    a->result = logs_show(a->containers, &a->logs, &a->err);
    pthread_kill(a->main_thread, SIGUSR1); /* which it waits for */
    return NULL;
}

struct stopping {
    const struct up_options *o;
    struct compose_project *p;
};

static void *stop_project(void *context)
{
    struct stopping *s = context;
    struct err err;
    cli_stop_project(s->p, s->o->timeout_s, &err);
    return NULL;
}

static void kill_project(const struct compose_project *p)
{
    _cleanup_json_ json_t *list = NULL;
    struct err err;
    size_t i;
    json_t *c;
    if (project_containers(p->name, NULL, false, &list, &err) < 0)
        return;
    json_array_foreach (list, i, c)
        cli_call("POST", NULL, NULL, &err, "/containers/%s/kill", json_str(c, "Id"));
}

/* Signals are blocked in every thread and taken here one by one. */
static int attach(const struct up_options *o, struct compose_project *p, int64_t since_ns,
                  const sigset_t *set)
{
    char since[40];
    struct err err;
    _cleanup_json_ json_t *containers = NULL;
    pthread_t logs, stopper;
    struct stopping stopping = {o, p};
    int number, interrupts = 0;
    if (project_containers(p->name, NULL, true, &containers, &err) < 0)
        return cli_fail(&err);
    snprintf(since, sizeof(since), "%lld.%09lld", (long long)(since_ns / NS_PER_S),
             (long long)(since_ns % NS_PER_S));
    struct attached a = {.containers = containers,
                         .logs = {.follow = true, .since = since, .again = true},
                         .main_thread = pthread_self()};
    must(pthread_create(&logs, NULL, show_logs, &a) == 0);
    while (sigwait(set, &number) == 0 && number != SIGUSR1) {
        if (++interrupts == 1) {
            fprintf(stderr, "\nStopping; press ctrl-c again to kill\n");
            must(pthread_create(&stopper, NULL, stop_project, &stopping) == 0);
        } else {
            kill_project(p);
        }
    }
    pthread_join(logs, NULL);
    if (interrupts)
        pthread_join(stopper, NULL);
    if (a.result < 0 && !interrupts)
        return cli_fail(&a.err);
    return interrupts ? 130 : 0;
}

static int print_json(const struct compose_project *p)
{
    struct err err;
    _cleanup_json_ json_t *list = NULL;
    if (project_containers(p->name, NULL, true, &list, &err) < 0)
        return cli_fail(&err);
    output_json(list);
    return 0;
}

static int up(const struct up_options *o, struct compose_project *p)
{
    struct err err;
    struct project_world world = {0};
    int64_t since_ns = time_now_ns();
    sigset_t set;
    bool attached = !o->detach && !o->wait && !o->plan.no_start;
    struct progress *progress = progress_new();
    int r = apply_scale(p, o->scale, &err);
    if (r == 0)
        r = carry_out(o, p, &world, progress, &err);
    if (r == 0 && o->wait)
        r = wait_all(o, p, &world, progress, &err);
    progress_free(progress);
    project_world_done(&world);
    if (r < 0)
        return cli_fail(&err);
    if (o->json)
        return print_json(p);
    if (!attached)
        return 0;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return attach(o, p, since_ns, &set);
}

int cli_up(int argc, char **argv)
{
    struct up_options o = {.timeout_s = -1};
    struct plan_options *plan = &o.plan;
    const struct cli_option options[] = {
        PROJECT_OPTIONS(o.project),
        {'d', "detach", CLI_FLAG, &o.detach, NULL, "Do not show the output of the containers"},
        {0, "wait", CLI_FLAG, &o.wait, NULL, "Wait until all run and are healthy, then end (implies -d)"},
        {0, "build", CLI_FLAG, &plan->build, NULL, "Build images even when they are there"},
        {0, "no-build", CLI_FLAG, &plan->no_build, NULL, "Never build"},
        {0, "pull", CLI_TEXT, &o.plan.pull, "WHEN", "always, missing or never"},
        {0, "force-recreate", CLI_FLAG, &plan->force_recreate, NULL,
         "Make containers anew that did not change"},
        {0, "no-recreate", CLI_FLAG, &plan->no_recreate, NULL, "Keep containers that did change"},
        {0, "no-start", CLI_FLAG, &plan->no_start, NULL, "Create only"},
        {0, "no-deps", CLI_FLAG, &o.no_deps, NULL, "Without what the named services depend on"},
        {0, "remove-orphans", CLI_FLAG, &plan->remove_orphans, NULL,
         "Remove services the file no longer has"},
        {0, "scale", CLI_LIST, &o.scale, "SERVICE=N", "Run N containers of a service"},
        {'t', "timeout", CLI_INT, &o.timeout_s, "SECONDS", "Before a container that does not stop is killed"},
        {0, "json", CLI_FLAG, &o.json, NULL, "Print the containers as JSON when done (implies -d)"},
        {0, "no-color", CLI_FLAG, &o.no_colour, NULL, "No colours"},
        {0},
    };
    const struct cli_command command = {"up [OPTIONS] [SERVICE...]",
                                        "Builds, creates and starts the services of the Compose file; what "
                                        "runs and did not change is left alone.\n"
                                        "Shows their output; ctrl-c stops them.",
                                        options,
                                        false,
                                        0,
                                        -1};
    char **services;
    int status = cli_parse(&command, argc, argv, &services);
    _cleanup_compose_ struct compose_project *p = NULL;
    if (status < 0 && plan->pull && strcmp(plan->pull, "always") != 0 && strcmp(plan->pull, "missing") != 0 &&
        strcmp(plan->pull, "never") != 0) {
        fprintf(stderr, "drover up: --pull must be always, missing or never, not \"%s\"\n", plan->pull);
        status = 2;
    }
    if (status < 0 && ((plan->build && plan->no_build) || (plan->force_recreate && plan->no_recreate))) {
        fprintf(stderr, "drover up: %s contradict each other\n",
                plan->build && plan->no_build ? "--build and --no-build"
                                              : "--force-recreate and --no-recreate");
        status = 2;
    }
    if (status < 0) {
        const struct project_load_options how = {.services = services, .no_deps = o.no_deps, .to_run = true};
        status = project_load_with(&o.project, &how, &p);
        plan->services = services;
        o.detach |= o.json;
        if (o.no_colour)
            setenv("NO_COLOR", "1", 1);
        if (status == 0)
            status = up(&o, p);
    }
    strv_free(o.scale);
    project_options_done(&o.project);
    return status;
}
