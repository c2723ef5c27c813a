/* drover deploy, and what drover up and down do where there is a swarm. */
#include "cli/stack.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/pull.h"
#include "cli/verbs.h"

enum { POLL_MS = 100 };

struct deployment {
    const struct stack_options *options;
    const struct stack *stack;
    struct progress *progress;
    int64_t until_ns;
    bool *updated; /* of each service: its rollout is this deployment's */
};

int stack_wanted(bool *ret, struct err *err)
{
    _cleanup_json_ json_t *info = NULL;
    int r = cli_get(&info, err, "/info");
    if (r == 0)
        *ret = str_eq(json_str(json_object_get(info, "Swarm"), "LocalNodeState"), "active");
    return r;
}

int stack_make(const struct compose_project *p, const struct project_options *o, bool read_files,
               struct stack *ret)
{
    struct map environ = MAP_INIT(free);
    _cleanup_str_ struct str problems = STR_INIT;
    struct err err;
    const struct compose_options options = {.env_files = o->env_files};
    int r = compose_environment(&options, p->dir, &environ, &err);
    if (r == 0)
        r = compose_stack(p, &environ, read_files, ret, &problems, &err);
    map_done(&environ);
    _cleanup_strv_ char **lines = strv_split(str_get(&problems), '\n');
    STRV_FOREACH (line, lines)
        if (**line)
            fprintf(stderr, "drover: %s\n", *line);
    return r < 0 ? cli_fail(&err) : 0;
}

/* --- Networks, secrets, configs --- */

static int need_networks(const struct deployment *d, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < d->stack->network_count; i++) {
        const struct stack_item *n = &d->stack->networks[i];
        _cleanup_json_ json_t *present = NULL;
        _cleanup_free_ char *name = cli_escape(n->name), *key = str_printf("Network %s", n->name);
        r = cli_get(&present, err, "/networks/%s", name);
        if (r == 0 && !str_eq(json_str(present, "Scope"), "swarm"))
            r = err_set(err, ERR_CONFLICT,
                        "network %s is there already, and is this machine's alone: take down what uses it "
                        "(drover down "
                        "--local), or give the network another name",
                        n->name);
        if (r != -ERR_NOT_FOUND)
            continue;
        r = cli_call("POST", n->body, NULL, err, "/networks/create");
        if (r == 0)
            progress_set(d->progress, key, COLOUR_GREEN, "Created");
    }
    return r;
}

static int need_file(const struct deployment *d, const char *kind, const struct stack_item *f,
                     struct err *err)
{
    _cleanup_json_ json_t *present = NULL;
    bool secret = str_eq(kind, "secrets");
    _cleanup_free_ char *name = cli_escape(f->name),
                        *key = str_printf("%s %s", secret ? "Secret" : "Config", f->name);
    int r = cli_get(&present, err, "/%s/%s", kind, name);
    if (r == -ERR_NOT_FOUND) {
        r = cli_call("POST", f->body, NULL, err, "/%s/create", kind);
        if (r == 0)
            progress_set(d->progress, key, COLOUR_GREEN, "Created");
        return r;
    }
    if (r < 0)
        return r;
    r = cli_call("POST", f->body, NULL, err, "/%s/%s/update?version=%lld", kind, name,
                 (long long)json_int(json_object_get(present, "Version"), "Index"));
    if (r == -ERR_INVALID)
        return err_set(err, ERR_CONFLICT,
                       "%s %s is in the swarm with another content, which cannot change: give the new one a "
                       "name of its own "
                       "(name: under its key), so that services go over to it",
                       secret ? "secret" : "config", f->name);
    return r;
}

static int need_files(const struct deployment *d, const char *kind, const struct stack_item *list,
                      size_t count, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = need_file(d, kind, &list[i], err);
    return r;
}

/* --- Waiting --- */

static int status_of(const char *name, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *list = NULL, *filters = json_pack("{s:[s]}", "name", name);
    _cleanup_free_ char *text = cli_escape_json(filters);
    json_t *one;
    size_t i;
    int r = cli_get(&list, err, "/services?status=true&filters=%s", text);
    if (r < 0)
        return r;
    json_array_foreach (list, i, one)
        if (str_eq(json_str(json_object_get(one, "Spec"), "Name"), name)) {
            *ret = json_incref(one);
            return 0;
        }
    return err_set(err, ERR_NOT_FOUND, "service %s is gone", name);
}

/* The newest tasks' states counted; the last error that one tells. */
static int look_at_tasks(const char *name, size_t *ret_complete, size_t *ret_live, struct str *ret_error,
                         struct err *err)
{
    _cleanup_json_ json_t *list = NULL, *filters = json_pack("{s:[s]}", "service", name);
    _cleanup_free_ char *text = cli_escape_json(filters);
    json_t *one;
    size_t i;
    int r = cli_get(&list, err, "/tasks?filters=%s", text);
    *ret_complete = *ret_live = 0;
    json_array_foreach (list, i, one) {
        const json_t *status = json_object_get(one, "Status");
        const char *state = json_str(status, "State"), *error = json_str(status, "Err");
        bool ended = str_eq(state, "failed") || str_eq(state, "rejected") || str_eq(state, "shutdown") ||
                     str_eq(state, "complete");
        *ret_complete += str_eq(state, "complete");
        *ret_live += !ended;
        if (*error) {
            str_clear(ret_error);
            str_addf(ret_error, "%.300s", error);
        }
    }
    return r;
}

/* Right after an update the tasks of before run, and nothing says yet that they will not. */
static int count_current(const char *name, int64_t *ret, struct err *err)
{
    _cleanup_json_ json_t *list = NULL,
                          *filters = json_pack("{s:[s], s:[s], s:[s]}", "service", name, "_up-to-date",
                                               "true", "desired-state", "running");
    _cleanup_free_ char *text = cli_escape_json(filters);
    json_t *one;
    size_t i;
    int r = cli_get(&list, err, "/tasks?filters=%s", text);
    *ret = 0;
    json_array_foreach (list, i, one)
        *ret += str_eq(json_str(json_object_get(one, "Status"), "State"), "running");
    return r;
}

/* 1: it is as it should be; 0: on its way. */
static int is_there(const char *name, bool to_complete, bool updated, struct str *ret_detail, struct err *err)
{
    _cleanup_json_ json_t *service = NULL;
    size_t complete, live;
    int r = status_of(name, &service, err);
    if (r == 0)
        r = look_at_tasks(name, &complete, &live, ret_detail, err);
    if (r < 0)
        return r;
    if (to_complete && complete && !live)
        return 1;
    const json_t *status = json_object_get(service, "ServiceStatus"),
                 *update = json_object_get(service, "UpdateStatus"),
                 *mode = json_object_get(json_object_get(service, "Spec"), "Mode");
    const char *state = json_str(update, "State");
    if (updated &&
        (str_eq(state, "paused") || str_eq(state, "rollback_paused") || str_eq(state, "rollback_completed")))
        return err_set(err, ERR_SYSTEM, "service %s: the update is %s: %.300s", name, state,
                       json_str(update, "Message"));
    if (to_complete || str_eq(state, "updating") || str_eq(state, "rollback_started"))
        return 0;
    if (json_object_get(mode, "ReplicatedJob") || json_object_get(mode, "GlobalJob"))
        return 1; /* its runs come and end */
    int64_t running;
    r = count_current(name, &running, err);
    return r < 0 ? r : running >= json_int(status, "DesiredTasks");
}

static int wait_for_service(const struct deployment *d, size_t i, bool to_complete, struct err *err)
{
    const char *name = d->stack->services[i].name;
    _cleanup_free_ char *key = str_printf("Service %s", name), *told = mem_strdup("");
    for (;;) {
        _cleanup_str_ struct str detail = STR_INIT;
        int r = is_there(name, to_complete, d->updated[i], &detail, err);
        if (r == 1)
            progress_set(d->progress, key, COLOUR_GREEN, to_complete ? "Completed" : "Running");
        if (r != 0)
            return r < 0 ? r : 0;
        if (!str_eq(told, str_get(&detail))) {
            free(told);
            told = mem_strdup(str_get(&detail));
            progress_set(d->progress, key, COLOUR_YELLOW, detail.len ? told : "Waiting");
        }
        if (time_monotonic_ns() > d->until_ns)
            return err_set(
                err, ERR_TIMEOUT,
                "service %s is not there in time%s%s: \"drover explain %s\" and \"docker service ps "
                "%s\" say more",
                name, detail.len ? ": " : "", str_get(&detail), name, name);
        time_sleep_ns(POLL_MS * NS_PER_MS);
    }
}

static int wait_for_dependencies(const struct deployment *d, const struct stack_service *s, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->service->depend_count; i++) {
        const struct compose_dependency *on = &s->service->depends[i];
        for (size_t j = 0; r == 0 && j < d->stack->service_count; j++)
            if (str_eq(d->stack->services[j].service->name, on->service)) {
                r = wait_for_service(d, j, on->condition == COMPOSE_COMPLETED, err);
                if (r < 0 && !on->required)
                    r = 0;
            }
    }
    return r;
}

/* --- Services --- */

static int fill_ids(json_t *spec, const char *field, const char *id_key, const char *name_key,
                    const char *kind, struct err *err)
{
    json_t *list = json_object_get(json_object_get(json_object_get(spec, "TaskTemplate"), "ContainerSpec"),
                                   field),
           *one;
    size_t i;
    json_array_foreach (list, i, one) {
        _cleanup_json_ json_t *present = NULL;
        _cleanup_free_ char *name = cli_escape(json_str(one, name_key));
        int r = cli_get(&present, err, "/%s/%s", kind, name);
        if (r == -ERR_NOT_FOUND) {
            const char *what = str_eq(kind, "secrets") ? "secret" : "config";
            return err_set(err, ERR_NOT_FOUND,
                           "%s %s is external, and not in the swarm: \"docker %s create %s FILE\" makes it",
                           what, json_str(one, name_key), what, json_str(one, name_key));
        }
        if (r < 0)
            return r;
        json_set_str(one, id_key, json_str(present, "ID"));
    }
    return 0;
}

static int send(const json_t *spec, const char *path, struct err *err)
{
    const char *image =
        json_str(json_object_get(json_object_get(spec, "TaskTemplate"), "ContainerSpec"), "Image");
    _cleanup_free_ char *body = json_format(spec), *auth = pull_auth_header(image);
    char *const headers[] = {(char[]){"Content-Type: application/json"}, auth, NULL};
    struct http_call call = {.method = "POST", .headers = headers, .body = body, .body_bytes = strlen(body)};
    struct http_response response;
    int r = cli_exchange(&call, path, &response, err);
    if (r == 0)
        http_response_done(&response);
    return r;
}

/* 1: it is as it should be already. */
static int is_same(const json_t *spec, struct err *err)
{
    _cleanup_json_ json_t *body = json_pack("{s:[O]}", "Services", spec), *plan = NULL;
    int r = cli_call("POST", body, &plan, err, "/drover/plan");
    return r < 0 ? r
                 : str_eq(json_str(json_array_get(json_object_get(plan, "Services"), 0), "Action"), "none");
}

static int deploy_service(const struct deployment *d, size_t i, struct err *err)
{
    const struct stack_service *s = &d->stack->services[i];
    _cleanup_json_ json_t *present = NULL;
    _cleanup_free_ char *name = cli_escape(s->name), *key = str_printf("Service %s", s->name);
    int r = fill_ids(s->spec, "Secrets", "SecretID", "SecretName", "secrets", err);
    if (r == 0)
        r = fill_ids(s->spec, "Configs", "ConfigID", "ConfigName", "configs", err);
    if (r < 0)
        return err_wrap(err, "service %s", s->name);
    r = cli_get(&present, err, "/services/%s", name);
    if (r == -ERR_NOT_FOUND) {
        r = send(s->spec, "/services/create", err);
        if (r == 0)
            progress_set(d->progress, key, COLOUR_GREEN, "Created");
    } else if (r == 0 && (r = is_same(s->spec, err)) == 1) {
        progress_set(d->progress, key, COLOUR_NONE, "Unchanged");
        return 0;
    } else if (r == 0) {
        _cleanup_free_ char *path =
            str_printf("/services/%s/update?version=%lld", name,
                       (long long)json_int(json_object_get(present, "Version"), "Index"));
        r = send(s->spec, path, err);
        d->updated[i] = r == 0;
        if (r == 0)
            progress_set(d->progress, key, COLOUR_GREEN, "Updated");
    }
    return r < 0 ? err_wrap(err, "service %s", s->name) : 0;
}

int stack_list(const char *kind, const char *stack, json_t **ret, struct err *err)
{
    _cleanup_free_ char *label = str_printf(STACK_LABEL "=%s", stack);
    _cleanup_json_ json_t *filters = json_pack("{s:[s]}", "label", label);
    _cleanup_free_ char *text = cli_escape_json(filters);
    return cli_get(ret, err, "/%s?filters=%s", kind, text);
}

static const char *name_in(const json_t *object)
{
    const json_t *spec = json_object_get(object, "Spec");
    return json_str(spec ? spec : object, "Name");
}

static int prune(const struct deployment *d, const char *stack, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    json_t *one;
    size_t i;
    int r = stack_list("services", stack, &list, err);
    json_array_foreach (list, i, one) {
        bool kept = false;
        for (size_t j = 0; j < d->stack->service_count; j++)
            kept = kept || str_eq(d->stack->services[j].name, name_in(one));
        if (r < 0 || kept)
            continue;
        _cleanup_free_ char *key = str_printf("Service %s", name_in(one));
        r = cli_call("DELETE", NULL, NULL, err, "/services/%s", json_str(one, "ID"));
        if (r == 0)
            progress_set(d->progress, key, COLOUR_GREEN, "Removed");
    }
    return r;
}

static int carry_out(const struct deployment *d, const char *name, struct err *err)
{
    const struct stack *s = d->stack;
    int r = need_networks(d, err);
    if (r == 0)
        r = need_files(d, "secrets", s->secrets, s->secret_count, err);
    if (r == 0)
        r = need_files(d, "configs", s->configs, s->config_count, err);
    for (size_t i = 0; r == 0 && i < s->service_count; i++) {
        r = wait_for_dependencies(d, &s->services[i], err);
        if (r == 0)
            r = deploy_service(d, i, err);
    }
    if (r == 0 && d->options->prune)
        r = prune(d, name, err);
    for (size_t i = 0; r == 0 && !d->options->detach && i < s->service_count; i++) {
        const json_t *template = json_object_get(s->services[i].spec, "TaskTemplate");
        const char *condition = json_str(json_object_get(template, "RestartPolicy"), "Condition");
        bool stays = !*condition || str_eq(condition, "any"); /* others may end, and be right */
        r = stays ? wait_for_service(d, i, false, err) : 0;
    }
    return r;
}

int stack_deploy(const struct compose_project *p, const struct stack_options *o)
{
    struct stack stack = {0};
    struct err err;
    if (cli_dry_run) {
        stack_diff(p, o->project, &o->images);
        return 0;
    }
    int status = stack_make(p, o->project, true, &stack);
    if (status)
        return status;
    if (stack_pin(&stack, p->name, &o->images, &err) < 0) {
        compose_stack_done(&stack);
        return cli_fail(&err);
    }
    int64_t seconds = o->wait_timeout_s > 0 ? o->wait_timeout_s : STACK_WAIT_S;
    _cleanup_progress_ struct progress *progress = progress_new();
    const struct deployment d = {.options = o,
                                 .stack = &stack,
                                 .progress = progress,
                                 .until_ns = time_monotonic_ns() + seconds * NS_PER_S,
                                 .updated = NEW_N(bool, stack.service_count + 1)};
    int r = carry_out(&d, p->name, &err);
    free(d.updated);
    compose_stack_done(&stack);
    return r < 0 ? cli_fail(&err) : 0;
}

/* --- Planned --- */

static void keep_present(json_t *list, const char *kind, const char *name_key, const char *id_key)
{
    for (size_t i = json_array_size(list); i-- > 0;) {
        _cleanup_json_ json_t *present = NULL;
        json_t *one = json_array_get(list, i);
        _cleanup_free_ char *name = cli_escape(json_str(one, name_key));
        if (cli_get(&present, &(struct err){0}, "/%s/%s", kind, name) < 0)
            json_array_remove(list, i);
        else if (id_key)
            json_set_str(one, id_key, json_str(present, "ID"));
    }
}

int stack_plan_request(const struct project_options *o, const struct stack_images *images, json_t **ret)
{
    struct err err;
    _cleanup_compose_ struct compose_project *p = NULL;
    struct stack stack = {0};
    const struct project_load_options how = {.as_stack = true};
    int status = project_load_with(o, &how, &p);
    if (status == 0)
        status = stack_make(p, o, false, &stack);
    if (status)
        return status;
    if (stack_pin(&stack, p->name, images, &err) < 0) {
        compose_stack_done(&stack);
        return cli_fail(&err);
    }
    json_t *list = json_array();
    for (size_t i = 0; i < stack.service_count; i++) {
        json_t *template = json_object_get(stack.services[i].spec, "TaskTemplate"),
               *container = json_object_get(template, "ContainerSpec");
        keep_present(json_object_get(container, "Secrets"), "secrets", "SecretName", "SecretID");
        keep_present(json_object_get(container, "Configs"), "configs", "ConfigName", "ConfigID");
        keep_present(json_object_get(template, "Networks"), "networks", "Target", NULL);
        json_array_append(list, stack.services[i].spec);
    }
    compose_stack_done(&stack);
    *ret = json_pack("{s:o}", "Services", list);
    return 0;
}

/* --- Removed --- */

static int remove_all(const char *kind, const char *what, const char *stack, struct progress *progress,
                      size_t *ret_count, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    json_t *one;
    size_t i;
    int r = stack_list(kind, stack, &list, err);
    *ret_count = r == 0 ? json_array_size(list) : 0;
    json_array_foreach (list, i, one) {
        const char *id = json_str(one, "ID");
        _cleanup_free_ char *key = str_printf("%s %s", what, name_in(one));
        if (r == 0)
            r = cli_call("DELETE", NULL, NULL, err, "/%s/%s", kind, *id ? id : json_str(one, "Id"));
        if (r == 0)
            progress_set(progress, key, COLOUR_GREEN, "Removed");
    }
    return r;
}

int stack_remove(const char *name, struct progress *progress, bool *ret_any, struct err *err)
{
    static const char *const kinds[][2] = {
        {"secrets", "Secret"}, {"configs", "Config"}, {"networks", "Network"}};
    bool swarm = false;
    size_t count = 0, more;
    int r = stack_wanted(&swarm, err);
    if (r == 0 && swarm)
        r = remove_all("services", "Service", name, progress, &count, err);
    *ret_any = count > 0;
    for (size_t i = 0; r == 0 && swarm && i < ARRAY_SIZE(kinds); i++)
        r = remove_all(kinds[i][0], kinds[i][1], name, progress, &more, err);
    return r;
}

int cli_deploy(int argc, char **argv)
{
    struct project_options project = {0};
    struct stack_options o = {.project = &project};
    const struct cli_option options[] = {
        {'d', "detach", CLI_FLAG, &o.detach, NULL, "Do not wait until all run"},
        {0, "prune", CLI_FLAG, &o.prune, NULL, "Remove services of the stack that the files do not have"},
        {0, "wait-timeout", CLI_INT, &o.wait_timeout_s, "SECONDS",
         "How long to wait for services (default 600)"},
        STACK_IMAGES_OPTIONS(o.images),
        PROJECT_OPTIONS(project),
        {0},
    };
    const struct cli_command command = {
        "deploy [OPTIONS] [SERVICE...]",
        "Deploys the Compose file's services to the swarm, those that others depend on "
        "first. What has not changed is left alone.",
        options,
        false,
        0,
        -1};
    char **services;
    struct err err;
    bool swarm = false;
    int status = cli_parse(&command, argc, argv, &services);
    if (status < 0 && stack_wanted(&swarm, &err) < 0)
        status = cli_fail(&err);
    if (status < 0 && !swarm) {
        fprintf(
            stderr,
            "drover deploy: this machine is of no swarm: make one (docker swarm init), or use drover up\n");
        status = 1;
    }
    if (status < 0) {
        _cleanup_compose_ struct compose_project *p = NULL;
        const struct project_load_options how = {.services = services, .to_run = true, .as_stack = true};
        status = project_load_with(&project, &how, &p);
        if (status == 0)
            status = stack_deploy(p, &o);
    }
    project_options_done(&project);
    return status;
}
