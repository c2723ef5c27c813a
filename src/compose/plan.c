#include "compose/plan.h"

#include "base/json.h"
#include "compose/render.h"

void compose_plan_done(struct plan *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->actions[i].name);
        free(p->actions[i].id);
    }
    free(p->actions);
    *p = (struct plan){0};
}

static struct plan_action *add(struct plan *p, enum plan_kind kind, int stage, const char *name)
{
    GROW(p->actions, p->count, p->capacity);
    struct plan_action *a = &p->actions[p->count++];
    *a = (struct plan_action){.kind = kind, .stage = stage, .name = mem_strdup(name), .required = true};
    return a;
}

/* Stable, so that actions of one stage keep the file's order. */
static void sort_by_stage(struct plan *p)
{
    for (size_t i = 1; i < p->count; i++)
        for (size_t j = i; j > 0 && p->actions[j - 1].stage > p->actions[j].stage; j--) {
            struct plan_action a = p->actions[j];
            p->actions[j] = p->actions[j - 1];
            p->actions[j - 1] = a;
        }
}

/* --- Looking at what is there --- */

static const char *label(const json_t *object, const char *name)
{
    return json_str(json_object_get(object, "Labels"), name);
}

static bool belongs(const json_t *object, const char *project)
{
    return strcmp(label(object, COMPOSE_LABEL_PROJECT), project) == 0;
}

static bool is_oneoff(const json_t *container)
{
    return strcmp(label(container, COMPOSE_LABEL_ONEOFF), "True") == 0;
}

static const char *first_name(const json_t *container)
{
    const char *name = json_string_value(json_array_get(json_object_get(container, "Names"), 0));
    return name ? name + (*name == '/') : "";
}

static int container_number(const json_t *container)
{
    int64_t n = 0;
    parse_i64(label(container, COMPOSE_LABEL_NUMBER), 1, INT32_MAX, &n, NULL);
    return (int)n;
}

static const json_t *find_by_name(const json_t *list, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach ((json_t *)list, i, item)
        if (strcmp(json_str(item, "Name"), name) == 0)
            return item;
    return NULL;
}

/* The container of a service with this number; of several, the one seen first. */
static const json_t *find_container(const json_t *containers, const char *project, const char *service,
                                    int number)
{
    size_t i;
    json_t *c;
    json_array_foreach ((json_t *)containers, i, c)
        if (belongs(c, project) && !is_oneoff(c) && container_number(c) == number &&
            strcmp(label(c, COMPOSE_LABEL_SERVICE), service) == 0)
            return c;
    return NULL;
}

static bool is_running(const json_t *container)
{
    const char *state = json_str(container, "State");
    return strcmp(state, "running") == 0 || strcmp(state, "restarting") == 0 || strcmp(state, "paused") == 0;
}

static const char *image_id(const struct plan_observed *o, const char *name)
{
    return json_str(o->images, name);
}

/* --- Bodies --- */

char *compose_plan_container_name(const struct compose_project *p, const struct compose_service *s,
                                  int number)
{
    if (s->container_name)
        return mem_strdup(s->container_name);
    return str_printf("%s%s%s%s%d", p->name, p->separator, s->name, p->separator, number);
}

json_t *compose_plan_container_body(const struct compose_service *s, int number, const char *id)
{
    json_t *body = json_deep_copy(s->body);
    json_t *labels = json_object_get(body, "Labels");
    char text[16];
    snprintf(text, sizeof(text), "%d", number);
    json_set_str(labels, COMPOSE_LABEL_NUMBER, text);
    json_set_str(labels, COMPOSE_LABEL_HASH, s->hash);
    json_set_str(labels, COMPOSE_LABEL_EXTRA, s->extra);
    json_set_str(labels, COMPOSE_LABEL_IMAGE, id);
    const json_t *first = s->networks ? json_object_get(s->endpoints, s->networks[0]) : NULL;
    if (first)
        json_object_set_new(body, "NetworkingConfig",
                            json_pack("{s:{s:o}}", "EndpointsConfig", s->networks[0], json_deep_copy(first)));
    return body;
}

/* --- Images --- */

static bool planned(const struct plan *p, enum plan_kind kind, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->actions[i].kind == kind && strcmp(p->actions[i].name, name) == 0)
            return true;
    return false;
}

/* "daily" and its like: an image that nobody knows the age of is fetched. */
static bool is_stale(const struct compose_service *s, const char *policy, const struct plan_observed *o)
{
    return strcmp(policy, "refresh") == 0 && json_int(o->fetched, s->image) < o->now_ns - s->refresh_ns;
}

/* The services that a build stands on first: they may be none that is to run. */
static int plan_image(const struct compose_project *p, const struct compose_service *s,
                      const struct plan_observed *observed, const struct plan_options *options,
                      struct plan *plan, struct err *err)
{
    const char *policy = options->pull ? options->pull : s->pull_policy;
    bool missing = !*image_id(observed, s->image);
    bool build = s->has_build && !options->no_build &&
                 (missing || options->build || strcmp(s->pull_policy, "build") == 0);
    bool pull = !s->has_build && (strcmp(policy, "always") == 0 || is_stale(s, policy, observed) ||
                                  (missing && strcmp(policy, "never") != 0));
    int r = 0;
    if (missing && !build && !pull)
        return err_set(err, ERR_NOT_FOUND, "service %s: image %s is not there%s", s->name, s->image,
                       s->has_build ? "; leave out --no-build to build it"
                                    : "; the pull policy is \"never\"");
    if ((!build && !pull) || planned(plan, build ? PLAN_BUILD : PLAN_PULL, s->image))
        return 0;
    for (char **base = build ? s->build.bases : NULL; r == 0 && base && *base; base++)
        r = plan_image(p, compose_find_service(p, *base), observed, options, plan, err);
    if (r == 0)
        add(plan, build ? PLAN_BUILD : PLAN_PULL, build ? 1 + s->build.depth : 0, s->image)->service = s;
    return r;
}

/* Those that are only mounted: built where a service has them, else fetched. */
static int plan_mounted(const struct compose_project *p, const struct compose_service *s,
                        const struct plan_observed *observed, const struct plan_options *options,
                        struct plan *plan, struct err *err)
{
    int r = 0;
    for (char **image = s->image_mounts; r == 0 && image && *image; image++) {
        const struct compose_service *made = NULL;
        for (size_t i = 0; i < p->service_count; i++)
            if (p->services[i].has_build && strcmp(p->services[i].image, *image) == 0)
                made = &p->services[i];
        if (made)
            r = plan_image(p, made, observed, options, plan, err);
        else if (!*image_id(observed, *image) && str_eq(options->pull, "never"))
            r = err_set(err, ERR_NOT_FOUND,
                        "service %s: image %s, which it mounts, is not there; the pull policy is \"never\"",
                        s->name, *image);
        else if ((!*image_id(observed, *image) || str_eq(options->pull, "always")) &&
                 !planned(plan, PLAN_PULL, *image))
            add(plan, PLAN_PULL, 0, *image)->service = s;
    }
    return r;
}

int compose_plan_images(const struct compose_project *p, const struct plan_observed *observed,
                        const struct plan_options *options, struct plan *ret, struct err *err)
{
    struct plan plan = {0};
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->service_count; i++)
        if (p->services[i].active && p->services[i].replicas) {
            r = plan_image(p, &p->services[i], observed, options, &plan, err);
            if (r == 0)
                r = plan_mounted(p, &p->services[i], observed, options, &plan, err);
        }
    if (r < 0) {
        compose_plan_done(&plan);
        return r;
    }
    sort_by_stage(&plan);
    *ret = plan;
    return 0;
}

/* --- Up --- */

/* Stages: first what stands in the way goes; then networks and volumes; then by depth of dependencies the
 * waits, the containers, their start; orphans at the end. */
enum { STAGE_STOP, STAGE_REMOVE, STAGE_REMOVE_NETWORK, STAGE_CREATE, STAGE_SERVICES, STAGES_A_DEPTH = 3 };
enum { WITHIN_WAIT, WITHIN_CREATE, WITHIN_START };

enum change { UNCHANGED, STARTED, MADE_ANEW };

struct up {
    const struct compose_project *p;
    const struct plan_observed *o;
    const struct plan_options *options;
    struct plan *plan;
    enum change *changed; /* what happens to containers of each service */
    char **stale_networks;
};

static int service_stage(const struct compose_service *s, int within)
{
    return STAGE_SERVICES + s->depth * STAGES_A_DEPTH + within;
}

static int plan_resource(struct up *u, const struct compose_resource *r, bool network, struct err *err)
{
    const char *what = network ? "network" : "volume";
    const json_t *found = find_by_name(network ? u->o->networks : u->o->volumes, r->name);
    if (!r->used)
        return 0;
    if (r->external)
        return found ? 0
                     : err_set(err, ERR_NOT_FOUND,
                               "%s %s is external and not there; create it with: docker %s create %s", what,
                               r->name, what, r->name);
    if (found && !belongs(found, u->p->name))
        return err_set(err, ERR_CONFLICT,
                       "%s %s exists and is not of project %s; remove it, or say external: true", what,
                       r->name, u->p->name);
    const char *hash = label(r->body, COMPOSE_LABEL_HASH);
    const char *made_from = found ? label(found, COMPOSE_LABEL_HASH) : "";
    /* One without a digest was made by a docker compose that knows none. */
    bool stale = *made_from && strcmp(made_from, hash) != 0;
    if (stale && !network)
        return err_set(err, ERR_CONFLICT,
                       "volume %s was made from another definition; remove it with \"drover down --volumes\" "
                       "(its data goes), or restore its definition",
                       r->name);
    if (found && (!stale || !network))
        return 0;
    if (stale) {
        strv_add(&u->stale_networks, r->name);
        add(u->plan, PLAN_REMOVE_NETWORK, STAGE_REMOVE_NETWORK, r->name);
    }
    add(u->plan, network ? PLAN_CREATE_NETWORK : PLAN_CREATE_VOLUME, STAGE_CREATE, r->name)->resource = r;
    return 0;
}

static bool on_stale_network(const struct up *u, const json_t *container)
{
    const json_t *networks = json_object_get(json_object_get(container, "NetworkSettings"), "Networks");
    STRV_FOREACH (name, u->stale_networks)
        if (json_object_get(networks, *name))
            return true;
    return false;
}

static void stop_and_remove(struct plan *plan, const json_t *container, const struct compose_service *s,
                            int stop_stage, int remove_stage)
{
    if (is_running(container)) {
        struct plan_action *stop = add(plan, PLAN_STOP, stop_stage, first_name(container));
        stop->service = s;
        stop->id = mem_strdup(json_str(container, "Id"));
    }
    struct plan_action *remove = add(plan, PLAN_REMOVE, remove_stage, first_name(container));
    remove->service = s;
    remove->id = mem_strdup(json_str(container, "Id"));
}

/* Of what this service depends on, the most that happens to one whose namespaces it shares (or to any one
 * with depends_on.restart). */
static enum change change_below(const struct up *u, const struct compose_service *s)
{
    enum change most = UNCHANGED;
    for (size_t i = 0; i < s->depend_count; i++) {
        const struct compose_dependency *d = &s->depends[i];
        const struct compose_service *on = compose_find_service(u->p, d->service);
        enum change change = on ? u->changed[on - u->p->services] : UNCHANGED;
        if (!d->shares)
            change = d->restart && change ? STARTED : UNCHANGED;
        most = MAX(most, change);
    }
    return most;
}

/* The id of a service's container; of several, the one whose name is first. */
static const char *container_of(const void *context, const char *service)
{
    const struct up *u = context;
    const json_t *first = NULL;
    size_t i;
    json_t *c;
    json_array_foreach ((json_t *)u->o->containers, i, c)
        if (belongs(c, u->p->name) && !is_oneoff(c) &&
            strcmp(label(c, COMPOSE_LABEL_SERVICE), service) == 0 &&
            (!first || strcmp(first_name(c), first_name(first)) < 0))
            first = c;
    return first ? json_str(first, "Id") : NULL;
}

/* Whether a container was made from the definition as it is now, by whomever. */
static bool same_definition(const struct up *u, const struct compose_service *s, const json_t *c)
{
    const char *made_from = label(c, COMPOSE_LABEL_HASH), *extra = label(c, COMPOSE_LABEL_EXTRA);
    if (*extra && strcmp(extra, s->extra) != 0)
        return false;
    if (strcmp(made_from, s->hash) == 0)
        return true;
    for (int later = 0; later < 2; later++) {
        _cleanup_free_ char *hash = render_service_hash(u->p, s, later, container_of, u);
        if (strcmp(made_from, hash) == 0)
            return true;
    }
    return false;
}

static bool needs_new(const struct up *u, const struct compose_service *s, const json_t *c)
{
    if (change_below(u, s) == MADE_ANEW)
        return true;
    if (u->options->no_recreate)
        return false;
    bool asked = !u->options->services || !*u->options->services || strv_has(u->options->services, s->name);
    if ((u->options->force_recreate && asked) || (u->options->always_recreate_deps && !asked))
        return true;
    const char *made_from = label(c, COMPOSE_LABEL_IMAGE), *now = image_id(u->o, s->image);
    return !same_definition(u, s, c) ||
           (*now && strcmp(*made_from ? made_from : json_str(c, "ImageID"), now) != 0);
}

/* A job that others wait for has done its work; it runs again when it is made anew. */
static bool is_completed_job(const struct up *u, const struct compose_service *s, const json_t *c)
{
    if (!str_after(json_str(c, "Status"), "Exited (0)"))
        return false;
    for (size_t i = 0; i < u->p->service_count; i++)
        for (size_t j = 0; j < u->p->services[i].depend_count; j++) {
            const struct compose_dependency *d = &u->p->services[i].depends[j];
            if (strcmp(d->service, s->name) == 0 && d->condition == COMPOSE_COMPLETED)
                return true;
        }
    return false;
}

static void plan_one(struct up *u, const struct compose_service *s, int number)
{
    const json_t *c = find_container(u->o->containers, u->p->name, s->name, number);
    _cleanup_free_ char *name = compose_plan_container_name(u->p, s, number);
    enum change *changed = &u->changed[s - u->p->services];
    bool in_the_way = c && on_stale_network(u, c);
    struct plan_action *a = NULL;
    if (in_the_way)
        stop_and_remove(u->plan, c, s, STAGE_STOP, STAGE_REMOVE);
    if (!c || in_the_way) {
        a = add(u->plan, PLAN_CREATE, service_stage(s, WITHIN_CREATE), name);
    } else if (needs_new(u, s, c)) {
        a = add(u->plan, PLAN_RECREATE, service_stage(s, WITHIN_CREATE), name);
        a->id = mem_strdup(json_str(c, "Id"));
    }
    if (a) {
        a->service = s;
        a->number = number;
        *changed = MADE_ANEW;
    }
    if (u->options->no_start || (!a && (is_running(c) || is_completed_job(u, s, c))))
        return;
    struct plan_action *start = add(u->plan, PLAN_START, service_stage(s, WITHIN_START), name);
    start->service = s;
    start->number = number;
    *changed = MAX(*changed, STARTED);
}

static void plan_waits(struct up *u, const struct compose_service *s)
{
    for (size_t i = 0; i < s->depend_count; i++) {
        const struct compose_dependency *d = &s->depends[i];
        const struct compose_service *on = compose_find_service(u->p, d->service);
        if (!on || !on->active || !on->replicas || d->condition == COMPOSE_STARTED || u->options->no_start)
            continue;
        struct plan_action *wait = add(u->plan, PLAN_WAIT, service_stage(s, WITHIN_WAIT), on->name);
        wait->service = on;
        wait->condition = d->condition;
        wait->required = d->required;
    }
}

/* Whoever stays is restarted when what it stands on was made anew or started. */
static void plan_restarts(struct up *u, const struct compose_service *s)
{
    bool restart = change_below(u, s) != UNCHANGED && !u->options->no_start;
    for (int number = 1; restart && number <= s->replicas; number++) {
        const json_t *c = find_container(u->o->containers, u->p->name, s->name, number);
        if (c && is_running(c))
            add(u->plan, PLAN_RESTART, service_stage(s, WITHIN_START), first_name(c))->service = s;
    }
}

static void plan_service(struct up *u, const struct compose_service *s)
{
    for (int number = 1; number <= s->replicas; number++)
        plan_one(u, s, number);
    if (u->changed[s - u->p->services])
        plan_waits(u, s);
    else
        plan_restarts(u, s);
}

/* Containers beyond the number of replicas, and those of services the files no longer have. */
static void plan_surplus(struct up *u)
{
    int last = STAGE_SERVICES + (u->p->max_depth + 1) * STAGES_A_DEPTH;
    size_t i;
    json_t *c;
    json_array_foreach ((json_t *)u->o->containers, i, c) {
        if (!belongs(c, u->p->name) || is_oneoff(c))
            continue;
        const struct compose_service *s = compose_find_service(u->p, label(c, COMPOSE_LABEL_SERVICE));
        if (s ? s->active && container_number(c) > s->replicas : u->options->remove_orphans)
            stop_and_remove(u->plan, c, s, last, last + 1);
        else if (!s && on_stale_network(u, c))
            stop_and_remove(u->plan, c, s, STAGE_STOP, STAGE_REMOVE);
    }
}

int compose_plan_up(const struct compose_project *p, const struct plan_observed *observed,
                    const struct plan_options *options, struct plan *ret, struct err *err)
{
    struct plan plan = {0};
    _cleanup_free_ enum change *changed = NEW_N(enum change, p->service_count + 1);
    struct up u = {p, observed, options, &plan, changed, NULL};
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->network_count; i++)
        r = plan_resource(&u, &p->networks[i], true, err);
    for (size_t i = 0; r == 0 && i < p->volume_count; i++)
        r = plan_resource(&u, &p->volumes[i], false, err);
    /* By depth, so that `changed` of what a service depends on is known. */
    for (int depth = 0; r == 0 && depth <= p->max_depth; depth++)
        for (size_t i = 0; i < p->service_count; i++)
            if (p->services[i].active && p->services[i].depth == depth)
                plan_service(&u, &p->services[i]);
    if (r == 0)
        plan_surplus(&u);
    strv_free(u.stale_networks);
    if (r < 0) {
        compose_plan_done(&plan);
        return r;
    }
    sort_by_stage(&plan);
    *ret = plan;
    return 0;
}

/* --- Down --- */

static void plan_down_containers(const struct compose_project *p, const char *name,
                                 const struct plan_observed *o, const struct plan_options *options,
                                 struct plan *plan)
{
    int deepest = p ? p->max_depth : 0;
    size_t i;
    json_t *c;
    json_array_foreach ((json_t *)o->containers, i, c) {
        if (!belongs(c, name))
            continue;
        const struct compose_service *s = p ? compose_find_service(p, label(c, COMPOSE_LABEL_SERVICE)) : NULL;
        bool some = options->services && *options->services;
        if (some ? !s || !strv_has(options->services, s->name) : p && !s && !options->remove_orphans)
            continue;
        /* Who depends on others stops first. */
        stop_and_remove(plan, c, s, deepest - (s ? s->depth : deepest), deepest + 1);
    }
}

static void plan_down_resources(const json_t *list, const char *project, enum plan_kind kind, int stage,
                                struct plan *plan)
{
    size_t i;
    json_t *item;
    json_array_foreach ((json_t *)list, i, item)
        if (belongs(item, project))
            add(plan, kind, stage, json_str(item, "Name"));
}

int compose_plan_down(const struct compose_project *p, const char *project_name,
                      const struct plan_observed *observed, const struct plan_options *options,
                      struct plan *ret, struct err *err)
{
    struct plan plan = {0};
    int last = (p ? p->max_depth : 0) + 2;
    (void)err;
    plan_down_containers(p, project_name, observed, options, &plan);
    if (!options->services || !*options->services)
        plan_down_resources(observed->networks, project_name, PLAN_REMOVE_NETWORK, last, &plan);
    if (options->volumes)
        plan_down_resources(observed->volumes, project_name, PLAN_REMOVE_VOLUME, last, &plan);
    for (size_t i = 0; p && (options->all_images || options->local_images) && i < p->service_count; i++) {
        const struct compose_service *s = &p->services[i];
        bool own = s->has_build && !s->image_given;
        if ((options->all_images || own) && *image_id(observed, s->image) &&
            !planned(&plan, PLAN_REMOVE_IMAGE, s->image))
            add(&plan, PLAN_REMOVE_IMAGE, last + 1, s->image);
    }
    sort_by_stage(&plan);
    *ret = plan;
    return 0;
}
