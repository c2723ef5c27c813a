/* What the files of the gateway share: one request for the cluster as one engine. */
#ifndef CLUSTER_GATEWAY_H
#define CLUSTER_GATEWAY_H

#include "cluster/reach.h"

struct gate {
    struct cluster *c;
    struct http_request *q;
    json_t *nodes;     /* reach__nodes() */
    char *version;     /* "/v1.41", or "" */
    const char *path;  /* decoded, behind the version */
    const char *raw;   /* the same as sent */
    const char *query; /* without '?' */
};

/* What each node that is ready answered to the same request. */
struct answer {
    const json_t *node; /* of gate.nodes */
    int status;         /* 0: none, `err` says why */
    struct str body;
    struct err err;
};
struct answers {
    struct answer *list;
    size_t count;
};
/* `target`: without version. `head`: more lines of the head, each with its end, or NULL. */
void gate__ask_all(struct gate *g, const char *method, const char *target, const char *head,
                   struct answers *ret);
void gate__answers_done(struct answers *a);
const char *gate__node_name(const json_t *node);
const json_t *gate__node(struct gate *g, const char *name); /* by name or id; NULL: there is none */
json_t *gate__parsed(const struct answer *a);               /* NULL: it is no good answer */
static inline bool gate__answered(const struct answer *a)
{
    return a->status >= 200 && a->status < 300;
}

int gate__reply_first(struct gate *g, struct answers *all, struct err *err);
bool gate__any_answered(const struct answers *all);
bool gate__is_ready(const json_t *node);

char *gate__with_query(const struct gate *g, const char *raw); /* the caller frees */
void gate__pass(struct gate *g, const json_t *node, const char *raw);
const json_t *gate__own(struct gate *g); /* NULL: it is not in the list */
int gate__pass_to_own(struct gate *g, struct err *err);

/* gateway_find.c: to the node that has it. `rest`: the path behind "/containers/" and so on. */
int gate__pass_container(struct gate *g, const char *rest, struct err *err);
int gate__pass_exec(struct gate *g, const char *rest, struct err *err);
int gate__pass_local(struct gate *g, const char *kind, struct err *err); /* "networks" or "volumes" */
int gate__connect(struct gate *g, struct err *err);
int gate__pass_image(struct gate *g, const char *raw, struct err *err);
/* That the node has it; `kind`: "containers" or "exec". */
void gate__remember(struct gate *g, const char *kind, const char *id, const json_t *node);

/* gateway_lists.c, gateway_events.c */
int gate__list_containers(struct gate *g, struct err *err);
int gate__list_images(struct gate *g, struct err *err);
int gate__list_volumes(struct gate *g, struct err *err);
int gate__list_networks(struct gate *g, struct err *err);
int gate__prune_all(struct gate *g, struct err *err);
int gate__info(struct gate *g, struct err *err);
int gate__events(struct gate *g, struct err *err);

/* Chooses the node for the body of POST /containers/create (place_alone.h), by what it reserves and what its
 * environment and labels say of constraints and affinities, and takes these out of the environment. `hold`:
 * to be given back with place_alone__placed() when the container is there. */
int gate__place(struct gate *g, json_t *body, const json_t **ret, int64_t *ret_hold, struct err *err);

#endif
