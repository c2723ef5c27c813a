/* The actions of a plan as API calls, those of one stage at the same time. */
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/hook.h"
#include "cli/pack.h"
#include "cli/project.h"
#include "cli/pull.h"
#include "compose/render.h"

#include <pthread.h>

enum { MAX_AT_ONCE = 16, WAIT_STEP_MS = 200 };

static char *subject(const struct plan_action *a)
{
    static const char *const nouns[] = {
        [PLAN_PULL] = "Image",
        [PLAN_BUILD] = "Image",
        [PLAN_REMOVE_NETWORK] = "Network",
        [PLAN_CREATE_NETWORK] = "Network",
        [PLAN_CREATE_VOLUME] = "Volume",
        [PLAN_WAIT] = "Service",
        [PLAN_CREATE] = "Container",
        [PLAN_RECREATE] = "Container",
        [PLAN_START] = "Container",
        [PLAN_RESTART] = "Container",
        [PLAN_STOP] = "Container",
        [PLAN_REMOVE] = "Container",
        [PLAN_REMOVE_VOLUME] = "Volume",
        [PLAN_REMOVE_IMAGE] = "Image",
    };
    return str_printf("%-9s %s", nouns[a->kind], a->name);
}

/* --- Containers --- */

static int connect_others(const struct compose_service *s, const char *id, struct err *err)
{
    for (char **network = s->networks ? s->networks + 1 : NULL; network && *network; network++) {
        _cleanup_json_ json_t *body = json_pack("{s:s, s:O}", "Container", id, "EndpointConfig",
                                                json_object_get(s->endpoints, *network));
        _cleanup_free_ char *escaped = cli_escape(*network);
        int r = cli_call("POST", body, NULL, err, "/networks/%s/connect", escaped);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Says of which service, and where in the files, the engine refuses something. */
static int blame(const struct compose_service *s, struct err *err)
{
    compose_blame(s, err);
    return err_wrap(err, "service %s", s->name);
}

static bool is_bound(const json_t *host, const char *target)
{
    size_t i;
    json_t *bind;
    _cleanup_free_ char *inside = str_printf(":%s:", target);
    json_array_foreach (json_object_get(host, "Binds"), i, bind)
        if (strstr(json_string_value(bind), inside))
            return true;
    return false;
}

static json_t *mount_at(const json_t *host, const char *target)
{
    size_t i;
    json_t *mount;
    json_array_foreach (json_object_get(host, "Mounts"), i, mount)
        if (strcmp(json_str(mount, "Target"), target) == 0)
            return mount;
    return NULL;
}

/* Anonymous volumes of the old container go over to the new one: their data is the service's. */
static void inherit_volumes(const json_t *old, json_t *body)
{
    json_t *host = json_object_get(body, "HostConfig"), *mount;
    size_t i;
    json_array_foreach (json_object_get(old, "Mounts"), i, mount) {
        const char *name = json_str(mount, "Name"), *target = json_str(mount, "Destination");
        if (strcmp(json_str(mount, "Type"), "volume") != 0 || strlen(name) != 64 || !str_is_hex(name) ||
            is_bound(host, target))
            continue;
        json_t *wanted = mount_at(host, target);
        if (wanted && strcmp(json_str(wanted, "Type"), "volume") == 0 && !*json_str(wanted, "Source")) {
            json_set_str(wanted, "Source", name);
        } else if (!wanted) {
            if (!json_object_get(host, "Mounts"))
                json_object_set_new(host, "Mounts", json_array());
            json_array_append_new(
                json_object_get(host, "Mounts"),
                json_pack("{s:s, s:s, s:s}", "Type", "volume", "Source", name, "Target", target));
        }
    }
}

/* Secrets and configs that are no plain binds. */
static int copy_files(const struct compose_service *s, const char *id, struct err *err)
{
    _cleanup_str_ struct str archive = STR_INIT;
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->copy_count; i++) {
        const struct compose_copy *c = &s->copies[i];
        _cleanup_str_ struct str text = STR_INIT;
        if (c->file)
            r = file_read(c->file, COMPOSE_MAX_COPY_BYTES, &text, err);
        else
            str_add(&text, c->content);
        const struct pack_file file = {c->target, str_get(&text), text.len, c->uid, c->gid, c->mode};
        if (r == 0)
            r = pack_add(&archive, &file, err);
    }
    pack_end(&archive);
    return r < 0 || !s->copy_count ? r : pack_send(id, &archive, err);
}

/* A container whose id is part of a digest, see render.h. */
struct shared {
    const struct compose_project *project;
    json_t **container; /* the last one looked up */
};

static const char *container_of(const void *context, const char *service)
{
    const struct shared *shared = context;
    const struct compose_service *s = compose_find_service(shared->project, service);
    if (!s)
        return NULL;
    _cleanup_free_ char *name = compose_plan_container_name(shared->project, s, 1),
                        *escaped = cli_escape(name);
    json_decref(*shared->container);
    *shared->container = NULL;
    if (cli_get(shared->container, NULL, "/containers/%s/json", escaped) < 0)
        return NULL;
    return json_str(*shared->container, "Id");
}

static void set_hash(const struct project_run *run, const struct compose_service *s, json_t *body)
{
    _cleanup_json_ json_t *container = NULL;
    const struct shared shared = {run->project, &container};
    _cleanup_free_ char *hash = render_service_hash(run->project, s, false, container_of, &shared);
    json_set_str(json_object_get(body, "Labels"), COMPOSE_LABEL_HASH, hash);
}

static int create_named(const struct project_run *run, const struct plan_action *a, const char *name,
                        const json_t *old, char **ret_id, struct err *err)
{
    _cleanup_json_ json_t *body =
        compose_plan_container_body(a->service, a->number, json_str(run->world->images, a->service->image));
    set_hash(run, a->service, body);
    if (old)
        inherit_volumes(old, body);
    return project_create_container(a->service, body, name, ret_id, err);
}

int project_create_container(const struct compose_service *s, const json_t *body, const char *name,
                             char **ret_id, struct err *err)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *escaped = cli_escape(name), *platform = cli_escape(s->platform);
    int r = cli_call("POST", body, &answer, err, "/containers/create?name=%s&platform=%s", escaped, platform);
    if (r < 0)
        return blame(s, err);
    const char *id = json_str(answer, "Id");
    r = connect_others(s, id, err);
    if (r == 0)
        r = copy_files(s, id, err);
    if (r < 0) {
        blame(s, err);
        cli_call("DELETE", NULL, NULL, NULL, "/containers/%s?force=1", id);
        return r;
    }
    *ret_id = mem_strdup(id);
    return 0;
}

static int create(const struct project_run *run, const struct plan_action *a, struct err *err)
{
    _cleanup_free_ char *id = NULL;
    return create_named(run, a, a->name, NULL, &id, err);
}

/* What a container of the service has to do when it has started. */
static int after_start(const struct compose_service *s, const char *id, struct err *err)
{
    for (size_t i = 0; i < s->post_start_count; i++) {
        int r = hook_run(id, &s->post_start[i], err);
        if (r < 0)
            return err_wrap(err, "service %s: post_start", s->name);
    }
    return 0;
}

static int stop(const struct project_run *run, const struct compose_service *s, const char *id,
                struct err *err)
{
    char query[32] = "";
    for (size_t i = 0; s && i < s->pre_stop_count; i++)
        if (hook_run(id, &s->pre_stop[i], err) < 0) /* it stops all the same */
            fprintf(stderr, "drover: service %s: pre_stop: %s\n", s->name, err->msg);
    if (run->stop_timeout_s >= 0)
        snprintf(query, sizeof(query), "?t=%d", run->stop_timeout_s);
    int r = cli_call("POST", NULL, NULL, err, "/containers/%s/stop%s", id, query);
    return r == -ERR_NOT_MODIFIED || r == -ERR_NOT_FOUND ? 0 : r;
}

/* The new container is made and started before the old one is removed; when that fails, the old one runs
 * again. */
static int recreate(const struct project_run *run, const struct plan_action *a, struct err *err)
{
    _cleanup_json_ json_t *old = NULL;
    _cleanup_free_ char *id = NULL, *aside = str_printf("%.12s_%s", a->id, a->name);
    struct err ignored;
    int r = cli_get(&old, err, "/containers/%s/json", a->id);
    if (r < 0)
        return r;
    bool was_running = json_bool(json_object_get(old, "State"), "Running");
    r = create_named(run, a, aside, run->renew_volumes ? NULL : old, &id, err);
    if (r < 0)
        return r;
    r = stop(run, was_running ? a->service : NULL, a->id, err);
    if (r == 0)
        r = was_running ? cli_call("POST", NULL, NULL, err, "/containers/%s/start", id) : 0;
    if (r == 0 && was_running)
        r = after_start(a->service, id, err);
    if (r < 0) {
        cli_call("DELETE", NULL, NULL, &ignored, "/containers/%s?force=1", id);
        if (was_running)
            cli_call("POST", NULL, NULL, &ignored, "/containers/%s/start", a->id);
        return err_wrap(err, "service %s: the new container did not start, the old one was kept",
                        a->service->name);
    }
    r = cli_call("DELETE", NULL, NULL, err, "/containers/%s?force=1", a->id);
    if (r == 0 || r == -ERR_NOT_FOUND) {
        _cleanup_free_ char *name = cli_escape(a->name);
        r = cli_call("POST", NULL, NULL, err, "/containers/%s/rename?name=%s", id, name);
    }
    return r;
}

static int start(const struct plan_action *a, struct err *err)
{
    _cleanup_free_ char *escaped = cli_escape(a->name);
    int r = cli_call("POST", NULL, NULL, err, "/containers/%s/start", escaped);
    if (r == -ERR_NOT_MODIFIED)
        return 0;
    return r < 0 ? blame(a->service, err) : after_start(a->service, a->name, err);
}

/* --- Waiting for what a service depends on --- */

/* 1: reached; 0: not yet; negative: it cannot be any more. */
static int condition_reached(const struct plan_action *a, const char *name, const json_t *state,
                             struct err *err)
{
    bool running = json_bool(state, "Running");
    const char *status = json_str(state, "Status");
    bool ended = strcmp(status, "exited") == 0 || strcmp(status, "dead") == 0;
    int exit_code = (int)json_int(state, "ExitCode");
    if (a->condition == COMPOSE_COMPLETED) {
        if (ended && exit_code != 0)
            return err_set(err, ERR_CONFLICT, "%s exited with %d instead of completing; see: drover logs %s",
                           name, exit_code, a->service->name);
        return ended;
    }
    if (ended)
        return err_set(err, ERR_CONFLICT, "%s exited with %d; see: drover logs %s", name, exit_code,
                       a->service->name);
    /* Between two of its restarts a container does not run, whatever its policy promises. */
    if (a->condition == COMPOSE_STARTED)
        return running && !json_bool(state, "Restarting");
    const json_t *health = json_object_get(state, "Health");
    if (!health && running)
        return err_set(err, ERR_INVALID, "%s has no healthcheck, so it never becomes healthy", name);
    if (strcmp(json_str(health, "Status"), "unhealthy") == 0) {
        const json_t *log = json_object_get(health, "Log");
        const json_t *last = json_array_get(log, json_array_size(log) - 1);
        _cleanup_free_ char *output = str_strip(json_str(last, "Output"));
        return err_set(err, ERR_CONFLICT, "%s is unhealthy%s%s", name, *output ? ": " : "", output);
    }
    return strcmp(json_str(health, "Status"), "healthy") == 0;
}

/* One that is restarted when it ends counts as running when it has been so at two looks in a row: a command
 * that fails at once runs for a moment too. */
static bool still_the_same(const json_t *container, char **started)
{
    const char *now = json_str(json_object_get(container, "State"), "StartedAt");
    const char *policy =
        json_str(json_object_get(json_object_get(container, "HostConfig"), "RestartPolicy"), "Name");
    bool same = !*policy || strcmp(policy, "no") == 0 || str_eq(*started, now);
    free(*started);
    *started = mem_strdup(now);
    return same;
}

static int wait_for(const struct project_run *run, const struct plan_action *a, struct err *err)
{
    for (int number = 1; number <= a->service->replicas; number++) {
        _cleanup_free_ char *name = compose_plan_container_name(run->project, a->service, number);
        _cleanup_free_ char *escaped = cli_escape(name);
        _cleanup_free_ char *started = mem_strdup("");
        int r = 0;
        while (r == 0) {
            _cleanup_json_ json_t *container = NULL;
            r = cli_get(&container, err, "/containers/%s/json", escaped);
            if (r == 0)
                r = condition_reached(a, name, json_object_get(container, "State"), err);
            if (r == 1 && a->condition == COMPOSE_STARTED && !still_the_same(container, &started))
                r = 0;
            if (r == 0 && run->wait_until_ns && time_monotonic_ns() > run->wait_until_ns)
                r = err_set(err, ERR_TIMEOUT, "%s was not ready in time", name);
            if (r == 0)
                time_sleep_ns(WAIT_STEP_MS * NS_PER_MS);
        }
        if (r < 0)
            return a->required ? r : 0;
    }
    return 0;
}

/* --- One action --- */

static int remove_thing(const char *kind, const char *name, const char *query, struct err *err)
{
    _cleanup_free_ char *escaped = cli_escape(name);
    int r = cli_call("DELETE", NULL, NULL, err, "/%s/%s%s", kind, escaped, query);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int act(const struct project_run *run, const struct plan_action *a, struct err *err)
{
    switch (a->kind) {
    case PLAN_PULL:
        return pull_image(a->name, a->service->platform, run->progress, err);
    case PLAN_BUILD:
        return project_build(a->service, NULL, run->progress, err);
    case PLAN_CREATE_NETWORK:
        return cli_call("POST", a->resource->body, NULL, err, "/networks/create");
    case PLAN_CREATE_VOLUME:
        return cli_call("POST", a->resource->body, NULL, err, "/volumes/create");
    case PLAN_WAIT:
        return wait_for(run, a, err);
    case PLAN_CREATE:
        return create(run, a, err);
    case PLAN_RECREATE:
        return recreate(run, a, err);
    case PLAN_START:
        return start(a, err);
    case PLAN_RESTART: {
        _cleanup_free_ char *name = cli_escape(a->name);
        return cli_call("POST", NULL, NULL, err, "/containers/%s/restart", name);
    }
    case PLAN_STOP:
        return stop(run, a->service, a->id, err);
    case PLAN_REMOVE:
        return remove_thing("containers", a->id, run->remove_volumes ? "?force=1&v=1" : "?force=1", err);
    case PLAN_REMOVE_NETWORK:
        return remove_thing("networks", a->name, "", err);
    case PLAN_REMOVE_VOLUME:
        return remove_thing("volumes", a->name, "", err);
    case PLAN_REMOVE_IMAGE:
        return remove_thing("images", a->name, "", err);
    }
    return 0;
}

static const struct {
    const char *doing, *done;
} words[] = {
    [PLAN_PULL] = {"Pulling", "Pulled"},
    [PLAN_BUILD] = {"Building", "Built"},
    [PLAN_REMOVE_NETWORK] = {"Removing", "Removed"},
    [PLAN_CREATE_NETWORK] = {"Creating", "Created"},
    [PLAN_CREATE_VOLUME] = {"Creating", "Created"},
    [PLAN_WAIT] = {"Waiting", ""},
    [PLAN_CREATE] = {"Creating", "Created"},
    [PLAN_RECREATE] = {"Recreating", "Recreated"},
    [PLAN_START] = {"Starting", "Started"},
    [PLAN_RESTART] = {"Restarting", "Restarted"},
    [PLAN_STOP] = {"Stopping", "Stopped"},
    [PLAN_REMOVE] = {"Removing", "Removed"},
    [PLAN_REMOVE_VOLUME] = {"Removing", "Removed"},
    [PLAN_REMOVE_IMAGE] = {"Removing", "Removed"},
};

struct job {
    const struct project_run *run;
    const struct plan_action *action;
    pthread_t thread;
    int result;
    struct err err;
};

static void *do_job(void *context)
{
    static const char *const reached[] = {"Running", "Healthy", "Completed"};
    struct job *job = context;
    const struct plan_action *a = job->action;
    _cleanup_free_ char *key = subject(a);
    progress_set(job->run->progress, key, COLOUR_YELLOW, words[a->kind].doing);
    job->result = cli_dry_run ? 0 : act(job->run, a, &job->err);
    if (job->result < 0)
        progress_set(job->run->progress, key, COLOUR_RED, "Failed");
    else
        progress_set(job->run->progress, key, COLOUR_GREEN,
                     a->kind == PLAN_WAIT ? reached[a->condition] : words[a->kind].done);
    return NULL;
}

int project_carry_out(const struct project_run *run, const struct plan *plan, struct err *err)
{
    const size_t most = project_at_once(MAX_AT_ONCE);
    for (size_t from = 0; from < plan->count;) {
        struct job jobs[MAX_AT_ONCE];
        size_t n = 0;
        while (n < most && from + n < plan->count &&
               plan->actions[from + n].stage == plan->actions[from].stage) {
            jobs[n] = (struct job){.run = run, .action = &plan->actions[from + n]};
            n++;
        }
        for (size_t i = 0; i < n; i++)
            must(pthread_create(&jobs[i].thread, NULL, do_job, &jobs[i]) == 0);
        int r = 0;
        for (size_t i = 0; i < n; i++) {
            pthread_join(jobs[i].thread, NULL);
            if (jobs[i].result < 0 && r == 0)
                r = err_copy(err, &jobs[i].err);
        }
        if (r < 0)
            return r;
        from += n;
    }
    return 0;
}
