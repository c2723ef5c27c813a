/* Inside `docker ps`: what a call of it looks at (list.c), and which containers it wants (list_filter.c). */
#ifndef ENGINE_LIST_PRIV_H
#define ENGINE_LIST_PRIV_H

#include "engine/engine_priv.h"

/* One call of the list. */
struct listing {
    struct engine *e;
    const json_t *filters;
    bool all, size;
    int64_t now_ns, before_ns, since_ns;
    struct map image_ids;   /* name of an image -> its id now, "" when there is none */
    struct map image_bases; /* id of an image -> its parent's id or "" */
    json_t *link_names;     /* see links.h */
    char **ancestors;       /* ids of the images of the filter "ancestor" */
};

/* A container looked at: what is at hand of it at once, and its documents, which have to be read. */
struct candidate {
    struct container *c;
    char *name; /* "/x" */
    struct container_state state;
    const char *health;
    json_t *labels;           /* or NULL */
    const json_t *link_names; /* or NULL */

    json_t *doc, *net, *ports;
    const json_t *config;
};

/* The id of the image that has a name now, or "". */
const char *listing__image_id(struct listing *l, const char *name);

/* Up as `docker ps` without --all means it. */
bool listing__is_up(const struct candidate *x);
/* Fills in what the filters ask for, or says which makes no sense. The maps are ready before. */
int listing__read_filters(struct listing *l, struct err *err);
/* Do the filters that need no document let it through? */
bool listing__may_want(struct listing *l, struct candidate *x);
/* Do the others? Its documents were read. */
bool listing__wants(struct listing *l, struct candidate *x);

#endif
