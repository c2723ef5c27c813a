/* What has to be done so that what is there becomes what a project says: pure functions from (desired,
 * observed, options) to a list of actions, which the caller carries out.
 *
 * Actions are in order of `stage`; those of one stage do not need each other and may run at the same time.
 * Planning again after the actions were done gives an empty list. First compose_plan_images(), carry it out,
 * observe again; then compose_plan_up(), since an image made anew changes which containers have to be.
 *
 * Observed are the lists of the Docker API, as they come: GET /containers/json?all=1, /networks, /volumes
 * ("Volumes" of it); and `images`, an object from a reference of the project to the image's id, for those
 * that exist. All are borrowed. */
#ifndef COMPOSE_PLAN_H
#define COMPOSE_PLAN_H

#include "compose/compose.h"

enum plan_kind {
    PLAN_PULL,  /* name: the image */
    PLAN_BUILD, /* of service */
    PLAN_REMOVE_NETWORK,
    PLAN_CREATE_NETWORK, /* of resource */
    PLAN_CREATE_VOLUME,
    PLAN_WAIT,     /* for every container of `service` to reach `condition` */
    PLAN_CREATE,   /* a new container `name`, number `number` */
    PLAN_RECREATE, /* the same in place of container `id` */
    PLAN_START,    /* container `name` */
    PLAN_RESTART,
    PLAN_STOP,   /* container `id` */
    PLAN_REMOVE, /* container `id` */
    PLAN_REMOVE_VOLUME,
    PLAN_REMOVE_IMAGE,
};

struct plan_action {
    enum plan_kind kind;
    int stage;
    const struct compose_service *service;   /* NULL for what the project does not know */
    const struct compose_resource *resource; /* to create */
    int number;
    char *name; /* of the thing, for people and for the API */
    char *id;   /* of an existing container */
    enum compose_condition condition;
    bool required; /* PLAN_WAIT: a failure is one of the whole plan */
};

struct plan {
    struct plan_action *actions;
    size_t count, capacity;
};

struct plan_observed {
    const json_t *containers, *networks, *volumes, *images;
    const json_t *fetched; /* when images were fetched, ns since 1970, by reference; NULL: not known */
    int64_t now_ns;
};

struct plan_options {
    bool force_recreate, no_recreate, remove_orphans, no_start;
    bool always_recreate_deps;              /* whom `services` depends on is made anew */
    bool build, no_build;                   /* build always; never */
    const char *pull;                       /* "always", "missing", "never" over the services' own; NULL */
    char *const *services;                  /* whom force_recreate (and down) means; empty: all */
    bool volumes, all_images, local_images; /* down: remove these too */
};

void compose_plan_done(struct plan *p);
int compose_plan_images(const struct compose_project *p, const struct plan_observed *observed,
                        const struct plan_options *options, struct plan *ret, struct err *err);
int compose_plan_up(const struct compose_project *p, const struct plan_observed *observed,
                    const struct plan_options *options, struct plan *ret, struct err *err);
/* `p` may be NULL when only the name of the project is known. */
int compose_plan_down(const struct compose_project *p, const char *project_name,
                      const struct plan_observed *observed, const struct plan_options *options,
                      struct plan *ret, struct err *err);

/* The body to create container `number` with, its image being `image_id`. A new reference. */
json_t *compose_plan_container_body(const struct compose_service *s, int number, const char *image_id);
char *compose_plan_container_name(const struct compose_project *p, const struct compose_service *s,
                                  int number);

#endif
