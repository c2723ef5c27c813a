#include "cli/up.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/logs.h"
#include "cli/menu.h"
#include "cli/project.h"
#include "cli/pull.h"
#include "cli/stack.h"
#include "cli/verbs.h"
#include "cli/watch.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

struct up_options {
    struct project_options project;
    struct plan_options plan;
    struct logs_options logs;
    bool detach, wait, quiet, no_deps, json, no_colour, quiet_pull, renew_volumes, watch, menu, yes;
    bool abort_on_exit, abort_on_failure, attach_dependencies;
    bool local; /* containers of this machine, also where there is a swarm */
    char **scale, **attach, **no_attach;
    const char *pull, *exit_code_from;
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

/* Those that would have been pulled or built by now. */
static void suppose_images(const struct compose_project *p, struct project_world *world)
{
    for (size_t i = 0; i < p->service_count; i++)
        if (p->services[i].active && !json_object_get(world->images, p->services[i].image))
            json_set_str(world->images, p->services[i].image, p->services[i].image);
}

static int carry_out(const struct up_options *o, struct compose_project *p, struct project_world *world,
                     struct progress *progress, struct err *err)
{
    const struct project_run run = {.project = p,
                                    .world = world,
                                    .progress = progress,
                                    .stop_timeout_s = o->timeout_s,
                                    .renew_volumes = o->renew_volumes};
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
    if (r == 0 && cli_dry_run)
        suppose_images(p, world);
    observed = project_observed(world);
    if (r == 0)
        r = compose_plan_up(p, &observed, &o->plan, &plan, err);
    if (r == 0 && !plan.count && !o->quiet)
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
    const struct project_run run = {
        .project = p,
        .world = world,
        .progress = progress,
        .stop_timeout_s = o->timeout_s,
        .wait_until_ns = o->wait_timeout_s > 0 ? time_monotonic_ns() + o->wait_timeout_s * NS_PER_S : 0};
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

/* Waits for one container's end, where an end is to end it all. */
struct guard {
    const struct up_options *o;
    struct attached *attached;
    char *id, *service;
    pthread_t thread;
};

struct attached {
    const struct up_options *o;
    struct compose_project *p;
    json_t *containers; /* whose output is shown */
    struct logs_options logs;
    pthread_t main_thread;
    int result;
    struct err err;
    pthread_mutex_t mutex;
    bool aborting, stopping;
    int exit_code; /* of the container that ended it all, or of --exit-code-from */
};

/* A watch goes on when what it has restarted or replaced has ended. */
static bool stay(void *context)
{
    struct attached *a = context;
    pthread_mutex_lock(&a->mutex);
    bool stays = !a->stopping;
    pthread_mutex_unlock(&a->mutex);
    return stays;
}

static void *show_logs(void *context)
{
    struct attached *a = context;
    if (a->o->watch) {
        a->logs.stay = stay;
        a->logs.context = a;
    }
    a->result = logs_show(a->containers, &a->logs, &a->err);
    if (json_array_size(a->containers))
        pthread_kill(a->main_thread, SIGUSR1); /* which it waits for */
    return NULL;
}

static void *stop_project(void *context)
{
    struct attached *a = context;
    struct err err;
    cli_stop_project(a->p, a->o->timeout_s, &err);
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

static void *guard(void *context)
{
    struct guard *g = context;
    struct attached *a = g->attached;
    struct err err;
    _cleanup_json_ json_t *answer = NULL;
    if (cli_call("POST", NULL, &answer, &err, "/containers/%s/wait", g->id) < 0)
        return NULL;
    int code = (int)json_int(answer, "StatusCode");
    bool named = str_eq(a->o->exit_code_from, g->service);
    pthread_mutex_lock(&a->mutex);
    bool ends = a->o->abort_on_exit || named || (a->o->abort_on_failure && code != 0);
    if (named || (ends && !a->aborting && !a->o->exit_code_from))
        a->exit_code = code;
    bool first = ends && !a->aborting;
    a->aborting |= ends;
    pthread_mutex_unlock(&a->mutex);
    if (first)
        pthread_kill(a->main_thread, SIGUSR2);
    return NULL;
}

/* A job that others wait for may end; of the others, an end ends it all. */
static struct guard *start_guards(struct attached *a, const json_t *all, size_t *ret_count)
{
    struct guard *guards = NEW_N(struct guard, json_array_size(all) + 1);
    size_t i;
    json_t *c;
    json_array_foreach ((json_t *)all, i, c) {
        const char *name = json_str(json_object_get(c, "Labels"), COMPOSE_LABEL_SERVICE);
        const struct compose_service *s = compose_find_service(a->p, name);
        if (!s || (goal_of(a->p, s) == COMPOSE_COMPLETED && !str_eq(a->o->exit_code_from, name)))
            continue;
        struct guard *g = &guards[(*ret_count)++];
        *g = (struct guard){
            .o = a->o, .attached = a, .id = mem_strdup(json_str(c, "Id")), .service = mem_strdup(name)};
        must(pthread_create(&g->thread, NULL, guard, g) == 0);
    }
    return guards;
}

static bool shown(const struct up_options *o, const struct compose_project *p, const char *service)
{
    const struct compose_service *s = compose_find_service(p, service);
    if (!s || !s->active || strv_has(o->no_attach, service))
        return false;
    if (o->attach)
        return strv_has(o->attach, service);
    bool asked = !*o->plan.services || strv_has(o->plan.services, service) || o->attach_dependencies;
    return asked && s->attach;
}

/* Signals are blocked in every thread and taken here one by one. */
static int wait_for_end(struct attached *a, const sigset_t *set)
{
    pthread_t stopper;
    int number, interrupts = 0;
    bool stopping = false;
    while (sigwait(set, &number) == 0 && number != SIGUSR1) {
        interrupts += number != SIGUSR2;
        if (stopping && number != SIGUSR2)
            kill_project(a->p);
        if (stopping)
            continue;
        fprintf(stderr, number == SIGUSR2 ? "Aborting on container exit...\n"
                                          : "\nStopping; press ctrl-c again to kill\n");
        stopping = true;
        pthread_mutex_lock(&a->mutex);
        a->stopping = true;
        pthread_mutex_unlock(&a->mutex);
        must(pthread_create(&stopper, NULL, stop_project, a) == 0);
        if (!json_array_size(a->containers))
            break; /* no output whose end would tell */
    }
    if (stopping)
        pthread_join(stopper, NULL);
    return interrupts;
}

static int attach(const struct up_options *o, struct compose_project *p, int64_t since_ns,
                  const sigset_t *set)
{
    char since[40];
    struct err err;
    _cleanup_json_ json_t *all = NULL, *chosen = json_array();
    pthread_t logs;
    size_t i, guards = 0;
    json_t *c;
    if (project_containers(p->name, NULL, true, &all, &err) < 0)
        return cli_fail(&err);
    json_array_foreach (all, i, c)
        if (shown(o, p, json_str(json_object_get(c, "Labels"), COMPOSE_LABEL_SERVICE)))
            json_array_append(chosen, c);
    snprintf(since, sizeof(since), "%lld.%09lld", (long long)(since_ns / NS_PER_S),
             (long long)(since_ns % NS_PER_S));
    struct attached a = {
        .o = o, .p = p, .containers = chosen, .logs = o->logs, .main_thread = pthread_self()};
    a.logs.follow = a.logs.again = true;
    a.logs.since = since;
    pthread_mutex_init(&a.mutex, NULL);
    must(pthread_create(&logs, NULL, show_logs, &a) == 0);
    bool guarded = o->abort_on_exit || o->abort_on_failure || o->exit_code_from;
    struct guard *list = guarded ? start_guards(&a, all, &guards) : NULL;
    int interrupts = wait_for_end(&a, set);
    pthread_join(logs, NULL);
    for (i = 0; i < guards; i++) {
        pthread_join(list[i].thread, NULL);
        free(list[i].id);
        free(list[i].service);
    }
    free(list);
    if (a.result < 0 && !interrupts && !a.aborting)
        return cli_fail(&a.err);
    return interrupts ? 130 : a.exit_code;
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

/* Where there is a swarm: its images here, then services of it. */
static int deploy(const struct up_options *o, struct compose_project *p)
{
    struct err err;
    struct project_world world = {0};
    struct plan plan = {0};
    const struct stack_options options = {.project = &o->project,
                                          .detach = o->detach && !o->wait,
                                          .prune = o->plan.remove_orphans,
                                          .wait_timeout_s = o->wait_timeout_s};
    int r = apply_scale(p, o->scale, &err);
    if (r == 0 && !cli_dry_run)
        r = project_observe(p, &world, &err);
    const struct plan_observed observed = project_observed(&world);
    if (r == 0 && !cli_dry_run)
        r = compose_plan_images(p, &observed, &o->plan, &plan, &err);
    struct progress *progress = progress_new();
    const struct project_run run = {
        .project = p, .world = &world, .progress = progress, .stop_timeout_s = -1};
    if (r == 0)
        r = project_carry_out(&run, &plan, &err);
    progress_free(progress);
    compose_plan_done(&plan);
    project_world_done(&world);
    return r < 0 ? cli_fail(&err) : stack_deploy(p, &options);
}

/* Makes it so, and waits where that is asked for. */
static int make(const struct up_options *o, struct compose_project *p)
{
    struct err err;
    struct project_world world = {0};
    struct progress *progress = progress_new();
    int r = apply_scale(p, o->scale, &err);
    if (r == 0)
        r = carry_out(o, p, &world, progress, &err);
    if (r == 0 && o->wait)
        r = wait_all(o, p, &world, progress, &err);
    progress_free(progress);
    project_world_done(&world);
    return r < 0 ? cli_fail(&err) : 0;
}

static int up(const struct up_options *o, struct compose_project *p)
{
    int64_t since_ns = time_now_ns();
    sigset_t set;
    int status = make(o, p);
    if (status)
        return status;
    if (cli_dry_run)
        return 0;
    if (o->json)
        return print_json(p);
    if (o->detach || o->wait || o->plan.no_start)
        return 0;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    const struct files_watch watch = {
        .project = p, .project_options = &o->project, .services = o->plan.services};
    if (o->watch)
        files_watch_start(&watch);
    if (o->menu)
        menu_start(&watch, o->watch);
    status = attach(o, p, since_ns, &set);
    menu_stop();
    return status;
}

static int build_and_make(const struct project_options *project, char *const *services, bool no_deps)
{
    struct up_options o = {.timeout_s = -1};
    const struct project_load_options how = {.services = services, .no_deps = no_deps, .to_run = true};
    _cleanup_compose_ struct compose_project *p = NULL;
    o.plan.build = true;
    o.plan.services = services;
    int status = project_load_with(project, &how, &p);
    return status ? status : make(&o, p);
}

int up_service(const struct project_options *project, const char *service)
{
    const char *const services[] = {service, NULL};
    return build_and_make(project, (char *const *)services, true);
}

int up_watched(const struct project_options *project, char *const *services)
{
    return build_and_make(project, services, false);
}

int up_around(struct compose_project *p, struct compose_service *s, bool build, bool remove_orphans)
{
    struct up_options o = {
        .timeout_s = -1, .quiet = true, .plan.build = build, .plan.remove_orphans = remove_orphans};
    static char *const none[] = {NULL};
    struct project_world world = {0};
    struct plan plan = {0};
    struct err err;
    _cleanup_progress_ struct progress *progress = progress_new();
    o.plan.services = none;
    s->replicas = MAX(s->replicas, 1);
    int r = project_observe(p, &world, &err);
    const struct plan_observed observed = project_observed(&world);
    const struct project_run run = {
        .project = p, .world = &world, .progress = progress, .stop_timeout_s = -1};
    if (r == 0)
        r = compose_plan_images(p, &observed, &o.plan, &plan, &err);
    if (r == 0)
        r = project_carry_out(&run, &plan, &err);
    compose_plan_done(&plan);
    o.plan.build = false;
    s->active = false; /* its own containers stay as they are */
    if (r == 0)
        r = carry_out(&o, p, &world, progress, &err);
    project_world_done(&world);
    return r < 0 ? cli_fail(&err) : 0;
}

/* --- The verbs --- */

static int contradiction(const char *verb, const struct up_options *o)
{
    static const struct {
        size_t first, second;
        const char *words;
    } pairs[] = {
        {offsetof(struct up_options, plan.build), offsetof(struct up_options, plan.no_build),
         "--build and --no-build"},
        {offsetof(struct up_options, plan.force_recreate), offsetof(struct up_options, plan.no_recreate),
         "--force-recreate and --no-recreate"},
        {offsetof(struct up_options, plan.always_recreate_deps),
         offsetof(struct up_options, plan.no_recreate), "--always-recreate-deps and --no-recreate"},
        {offsetof(struct up_options, detach), offsetof(struct up_options, abort_on_exit),
         "--detach and --abort-on-container-exit"},
        {offsetof(struct up_options, detach), offsetof(struct up_options, abort_on_failure),
         "--detach and --abort-on-container-failure"},
        {offsetof(struct up_options, abort_on_exit), offsetof(struct up_options, abort_on_failure),
         "--abort-on-container-exit and --abort-on-container-failure"},
        {offsetof(struct up_options, detach), offsetof(struct up_options, watch), "--detach and --watch"},
        {offsetof(struct up_options, wait), offsetof(struct up_options, watch), "--wait and --watch"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        const char *base = (const char *)o;
        if (!*(const bool *)(base + pairs[i].first) || !*(const bool *)(base + pairs[i].second))
            continue;
        fprintf(stderr, "drover %s: %s contradict each other\n", verb, pairs[i].words);
        return 2;
    }
    return 0;
}

static int check(const char *verb, struct up_options *o)
{
    static const char *const policies[] = {"always", "missing", "never", "policy", "build", NULL};
    if (o->plan.pull && !strv_has((char *const *)policies, o->plan.pull)) {
        fprintf(stderr, "drover %s: --pull must be always, missing or never, not \"%s\"\n", verb,
                o->plan.pull);
        return 2;
    }
    if (str_eq(o->plan.pull, "policy")) /* each service's own */
        o->plan.pull = NULL;
    if (str_eq(o->plan.pull, "build")) {
        o->plan.build = true;
        o->plan.pull = NULL;
    }
    return contradiction(verb, o);
}

/* What is said of containers, and has no meaning for services of a swarm. */
static int check_swarm(const struct up_options *o)
{
    const struct {
        bool given;
        const char *name;
    } options[] = {
        {o->watch, "watch"},
        {o->menu, "menu"},
        {o->json, "json"},
        {o->renew_volumes, "renew-anon-volumes"},
        {o->abort_on_exit, "abort-on-container-exit"},
        {o->abort_on_failure, "abort-on-container-failure"},
        {o->exit_code_from, "exit-code-from"},
        {o->plan.no_start, "no-start"},
        {o->plan.force_recreate, "force-recreate"},
        {o->plan.no_recreate, "no-recreate"},
        {o->plan.always_recreate_deps, "always-recreate-deps"},
        {o->attach || o->no_attach || o->attach_dependencies, "attach"},
        {o->timeout_s >= 0, "timeout"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (options[i].given) {
            fprintf(stderr,
                    "drover: --%s is not for services: this machine is of a swarm; give --local to have the "
                    "project as "
                    "containers of this machine alone\n",
                    options[i].name);
            return 2;
        }
    return 0;
}

static int run_verb(const char *verb, struct up_options *o, char **services)
{
    _cleanup_compose_ struct compose_project *p = NULL;
    bool swarm = false;
    if (str_eq(verb, "up") && !o->local && stack_wanted(&swarm, &(struct err){0}) == 0 && swarm) {
        const struct project_load_options how = {
            .services = services, .no_deps = o->no_deps, .to_run = true, .as_stack = true};
        o->plan.services = services;
        int status = check(verb, o);
        if (status == 0)
            status = check_swarm(o);
        if (status == 0)
            status = project_load_with(&o->project, &how, &p);
        return status ? status : deploy(o, p);
    }
    const struct project_load_options how = {.services = services, .no_deps = o->no_deps, .to_run = true};
    o->plan.services = services;
    o->detach |= o->json;
    int status = check(verb, o);
    if (status == 0)
        status = project_load_with(&o->project, &how, &p);
    if (status == 0 && o->exit_code_from && !compose_find_service(p, o->exit_code_from)) {
        fprintf(stderr, "drover: --exit-code-from %s: no such service\n", o->exit_code_from);
        status = 2;
    }
    if (o->no_colour)
        setenv("NO_COLOR", "1", 1);
    if (o->quiet_pull)
        pull_set_quiet();
    return status ? status : up(o, p);
}

static void up_options_done(struct up_options *o)
{
    strv_free(o->scale);
    strv_free(o->attach);
    strv_free(o->no_attach);
    project_options_done(&o->project);
}

/* What `up` and `create` have in common. */
/* clang-format off */
#define CREATE_OPTIONS(o)                                                                                        \
    PROJECT_OPTIONS((o).project),                                                                                 \
    {0, "build", CLI_FLAG, &(o).plan.build, NULL, "Build images even when they are there"},                       \
    {0, "no-build", CLI_FLAG, &(o).plan.no_build, NULL, "Never build"},                                           \
    {0, "pull", CLI_TEXT, &(o).plan.pull, "WHEN", "always, missing or never"},                                    \
    {0, "quiet-pull", CLI_FLAG, &(o).quiet_pull, NULL, "Without the progress of layers"},                        \
    {0, "force-recreate", CLI_FLAG, &(o).plan.force_recreate, NULL, "Make containers anew that did not change"},  \
    {0, "no-recreate", CLI_FLAG, &(o).plan.no_recreate, NULL, "Keep containers that did change"},                 \
    {0, "remove-orphans", CLI_FLAG, &(o).plan.remove_orphans, NULL, "Remove services the file no longer has"},    \
    {0, "scale", CLI_LIST, &(o).scale, "SERVICE=N", "Run N containers of a service"},                             \
    {'y', "yes", CLI_FLAG, &(o).yes, NULL, "Taken for docker compose's sake: nothing is asked"}
/* clang-format on */

int cli_up(int argc, char **argv)
{
    struct up_options o = {.timeout_s = -1};
    const struct cli_option options[] = {
        {'d', "detach", CLI_FLAG, &o.detach, NULL, "Do not show the output of the containers"},
        {0, "wait", CLI_FLAG, &o.wait, NULL, "Wait until all run and are healthy, then end (implies -d)"},
        {0, "wait-timeout", CLI_INT, &o.wait_timeout_s, "SECONDS", "How long --wait waits; 0: for ever"},
        CREATE_OPTIONS(o),
        {0, "no-start", CLI_FLAG, &o.plan.no_start, NULL, "Create only"},
        {0, "no-deps", CLI_FLAG, &o.no_deps, NULL, "Without what the named services depend on"},
        {0, "always-recreate-deps", CLI_FLAG, &o.plan.always_recreate_deps, NULL,
         "Make anew what the named services depend on"},
        {0, "local", CLI_FLAG, &o.local, NULL,
         "On a machine of a swarm: containers of this machine, not services of the swarm"},
        {'V', "renew-anon-volumes", CLI_FLAG, &o.renew_volumes, NULL,
         "New containers get new anonymous volumes, not the data of the old"},
        {0, "abort-on-container-exit", CLI_FLAG, &o.abort_on_exit, NULL, "Stop all when a container ends"},
        {0, "abort-on-container-failure", CLI_FLAG, &o.abort_on_failure, NULL,
         "Stop all when a container ends with another status than 0"},
        {0, "exit-code-from", CLI_TEXT, &o.exit_code_from, "SERVICE",
         "Stop all when this one ends, and end with its status"},
        {0, "attach", CLI_LIST, &o.attach, "SERVICE",
         "Show the output of this service only (again for more)"},
        {0, "no-attach", CLI_LIST, &o.no_attach, "SERVICE",
         "Not the output of this service (again for more)"},
        {0, "attach-dependencies", CLI_FLAG, &o.attach_dependencies, NULL,
         "Also the output of what the named services depend on"},
        {0, "no-log-prefix", CLI_FLAG, &o.logs.no_prefix, NULL, "Do not print names before the lines"},
        {0, "no-color", CLI_FLAG, &o.no_colour, NULL, "No colours"},
        {0, "timestamps", CLI_FLAG, &o.logs.timestamps, NULL, "Print the time of each line"},
        {'t', "timeout", CLI_INT, &o.timeout_s, "SECONDS", "Before a container that does not stop is killed"},
        {'w', "watch", CLI_FLAG, &o.watch, NULL, "Bring changes of files into the services (develop.watch)"},
        {0, "menu", CLI_FLAG, &o.menu, NULL, "On a terminal, take keys: w turns --watch on"},
        {0, "json", CLI_FLAG, &o.json, NULL, "Print the containers as JSON when done (implies -d)"},
        {0},
    };
    const struct cli_command command = {"up [OPTIONS] [SERVICE...]",
                                        "Builds, creates and starts the services of the Compose file; what "
                                        "runs and did not change is left alone.\n"
                                        "Shows their output; ctrl-c stops them. Where there is a swarm, "
                                        "deploys them as its services (drover deploy).",
                                        options,
                                        false,
                                        0,
                                        -1};
    char **services;
    int status = cli_parse(&command, argc, argv, &services);
    if (status < 0)
        status = run_verb("up", &o, services);
    up_options_done(&o);
    return status;
}

int cli_create(int argc, char **argv)
{
    struct up_options o = {.timeout_s = -1, .plan.no_start = true};
    const struct cli_option options[] = {CREATE_OPTIONS(o), {0}};
    const struct cli_command command = {"create [OPTIONS] [SERVICE...]",
                                        "Makes the containers of services without starting them.",
                                        options,
                                        false,
                                        0,
                                        -1};
    char **services;
    int status = cli_parse(&command, argc, argv, &services);
    if (status < 0)
        status = run_verb("create", &o, services);
    up_options_done(&o);
    return status;
}

int cli_scale(int argc, char **argv)
{
    struct up_options o = {.timeout_s = -1, .detach = true, .plan.no_recreate = true};
    const struct cli_option options[] = {
        {0, "no-deps", CLI_FLAG, &o.no_deps, NULL, "Do not start what the services depend on"},
        PROJECT_OPTIONS(o.project),
        {0},
    };
    const struct cli_command command = {
        "scale [OPTIONS] SERVICE=N...", "Changes how many containers services have.", options, false, 1, -1};
    char **words;
    _cleanup_strv_ char **services = NULL;
    int status = cli_parse(&command, argc, argv, &words);
    if (status < 0) {
        o.scale = strv_dup(words);
        STRV_FOREACH (word, words)
            strv_take(&services, mem_strndup(*word, strcspn(*word, "=")));
        status = run_verb("scale", &o, services);
    }
    up_options_done(&o);
    return status;
}
