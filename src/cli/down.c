#include "base/json.h"
#include "cli/call.h"
#include "cli/project.h"
#include "cli/stack.h"
#include "cli/verbs.h"

#include <signal.h>

struct down_options {
    struct project_options project;
    struct plan_options plan;
    const char *rmi;
    int timeout_s;
    bool local;
};

/* Only the actions of one kind. */
static void keep_kind(struct plan *plan, enum plan_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->actions[i].kind == kind) {
            plan->actions[n++] = plan->actions[i];
            continue;
        }
        free(plan->actions[i].name);
        free(plan->actions[i].id);
    }
    plan->count = n;
}

static int take_down(struct compose_project *p, const struct plan_options *options, int timeout_s,
                     bool only_stop, bool was_there, struct err *err)
{
    struct project_world world = {0};
    struct plan plan = {0};
    _cleanup_progress_ struct progress *progress = progress_new();
    for (size_t i = 0; i < p->service_count; i++)
        p->services[i].active = true; /* whatever the profile, it may be there */
    int r = project_observe(p, &world, err);
    const struct plan_observed observed = project_observed(&world);
    const struct project_run run = {.project = p,
                                    .world = &world,
                                    .progress = progress,
                                    .stop_timeout_s = timeout_s,
                                    .remove_volumes = options->volumes};
    if (r == 0)
        r = compose_plan_down(p, p->name, &observed, options, &plan, err);
    if (r == 0 && only_stop)
        keep_kind(&plan, PLAN_STOP);
    if (r == 0 && !plan.count && !only_stop && !was_there)
        progress_set(progress, "Project   ", COLOUR_GREEN, "is not there; nothing to do");
    if (r == 0)
        r = project_carry_out(&run, &plan, err);
    compose_plan_done(&plan);
    project_world_done(&world);
    return r;
}

int cli_stop_project(struct compose_project *p, int timeout_s, struct err *err)
{
    const struct plan_options options = {0};
    return take_down(p, &options, timeout_s, true, false, err);
}

int cli_take_down(struct compose_project *p, struct err *err)
{
    const struct plan_options options = {0};
    return take_down(p, &options, -1, false, false, err);
}

/* The services of the stack of that name first, when all of it goes; then the containers. */
static int take_down_all(struct compose_project *p, const struct down_options *o, struct err *err)
{
    bool any = false;
    int r = 0;
    if (!*o->plan.services && !o->local) {
        struct progress *progress = progress_new();
        r = cli_dry_run ? 0 : stack_remove(p->name, progress, &any, err);
        progress_free(progress);
    }
    return r < 0 ? r : take_down(p, &o->plan, o->timeout_s, false, any, err);
}

/* A project without its file here is known by its name: what carries the name goes. */
static int load(struct down_options *o, char **services, struct compose_project **ret)
{
    const char *name = project_given_name(&o->project);
    if (project_present(&o->project) || !name || *services) {
        int status = project_load(&o->project, NULL, false, ret);
        STRV_FOREACH (service, services)
            if (status == 0 && !compose_find_service(*ret, *service)) {
                fprintf(stderr, "drover down: no such service: %s\n", *service);
                return 1;
            }
        return status;
    }
    struct compose_project *p = NEW(struct compose_project);
    p->name = name;
    p->separator = "-";
    o->plan.remove_orphans = true;
    *ret = p;
    return 0;
}

int cli_down(int argc, char **argv)
{
    struct down_options o = {.timeout_s = -1};
    const struct cli_option options[] = {
        PROJECT_OPTIONS(o.project),
        {'v', "volumes", CLI_FLAG, &o.plan.volumes, NULL, "Remove the volumes too: their data goes"},
        {0, "rmi", CLI_TEXT, &o.rmi, "WHICH",
         "Remove images too: all, or local (those built without an image name)"},
        {0, "remove-orphans", CLI_FLAG, &o.plan.remove_orphans, NULL,
         "Remove services the file no longer has"},
        {0, "local", CLI_FLAG, &o.local, NULL, "Containers of this machine only, not services of the swarm"},
        {'t', "timeout", CLI_INT, &o.timeout_s, "SECONDS", "Before a container that does not stop is killed"},
        {0},
    };
    const struct cli_command command = {
        "down [OPTIONS] [SERVICE...]",
        "Stops and removes the project's containers and networks. Volumes stay.",
        options,
        false,
        0,
        -1};
    char **rest;
    struct err err;
    int status = cli_parse(&command, argc, argv, &rest);
    _cleanup_compose_ struct compose_project *p = NULL;
    if (status < 0 && o.rmi && strcmp(o.rmi, "all") != 0 && strcmp(o.rmi, "local") != 0) {
        fprintf(stderr, "drover down: --rmi must be all or local, not \"%s\"\n", o.rmi);
        status = 2;
    }
    if (status < 0) {
        status = load(&o, rest, &p);
        o.plan.services = rest;
        o.plan.all_images = o.rmi && strcmp(o.rmi, "all") == 0;
        o.plan.local_images = o.rmi != NULL;
        if (status == 0 && take_down_all(p, &o, &err) < 0)
            status = cli_fail(&err);
    }
    project_options_done(&o.project);
    return status;
}
