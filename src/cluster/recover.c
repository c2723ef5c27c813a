/* What a node finds of its tasks when it starts, or begins to lead or to follow: which containers are there,
 * how they are, and which are nobody's. */
#include "cluster/cluster_priv.h"
#include "cluster/managers.h"

/* Nobody has told this node to stop it: whoever led before counted the node as lost. */
static void halt_if_running(struct cluster *c, struct task *t)
{
    _cleanup_json_ json_t *inspection = NULL;
    if (t->container &&
        engine_container_inspect(c->engine, t->container, 0, &inspection, &(struct err){0}) == 0)
        t->halt = json_bool(json_object_get(inspection, "State"), "Running");
}

void agent__recover_task(struct cluster *c, struct task *t)
{
    _cleanup_json_ json_t *inspection = NULL;
    if (!str_eq(t->node, c->self)) /* who leads knows the others' containers, too */
        return;
    if (t->container)
        map_put(&c->containers, t->container, t);
    if (task_ended(t->state)) {
        halt_if_running(c, t);
        return;
    }
    if (!t->container) {
        if (t->state > TASK_ASSIGNED) { /* whatever was made goes: prepare() begins anew */
            t->state = TASK_ASSIGNED;
            t->dirty = true;
        }
        return;
    }
    int r = engine_container_inspect(c->engine, t->container, 0, &inspection, &(struct err){0});
    if (r == -ERR_NOT_FOUND)
        agent__ended(c, t, 0, "its container was removed");
    else if (r == 0 && (t->state >= TASK_READY || c->role != ROLE_LEADS || managers__replicated(c)))
        agent__observe(c, t, inspection);
}

#define TASK_LABEL "com.docker.swarm.task.id"

/* The containers of tasks, as they are listed; NULL: not to be had. */
static json_t *task_containers(struct cluster *c)
{
    _cleanup_json_ json_t *filters = json_pack("{s:[s]}", "label", TASK_LABEL);
    json_t *list = NULL;
    return engine_container_list(c->engine, true, 0, false, filters, &list, &(struct err){0}) < 0 ? NULL
                                                                                                  : list;
}

/* A node that does not lead has no rows of its own: which container is whose is on the containers' labels. */
void agent__find_containers(struct cluster *c)
{
    _cleanup_json_ json_t *list = task_containers(c);
    json_t *one;
    size_t i;
    json_array_foreach (list, i, one) {
        struct task *t =
            map_get(&c->objects[CLUSTER_TASK], json_str(json_object_get(one, "Labels"), TASK_LABEL));
        if (t && !t->container)
            t->container = mem_strdup(json_str(one, "Id"));
    }
}

/* Containers of tasks that nobody knows: what was written behind may be lost with the machine. */
void agent__remove_strays(struct cluster *c)
{
    _cleanup_json_ json_t *list = task_containers(c);
    json_t *one;
    size_t i;
    json_array_foreach (list, i, one) {
        const char *id = json_str(json_object_get(one, "Labels"), TASK_LABEL);
        if (!map_get(&c->objects[CLUSTER_TASK], id))
            engine_container_remove(c->engine, json_str(one, "Id"), true, true, &(struct err){0});
    }
}

void agent__recover(struct cluster *c)
{
    struct map_entry *e;
    bool others = c->role != ROLE_LEADS || managers__replicated(c);
    if (others) /* what this node has told the leader last may be lost with it */
        agent__find_containers(c);
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));)
        agent__recover_task(c, e->value);
    if (c->role == ROLE_LEADS || c->assignment_known)
        agent__remove_strays(c);
}
