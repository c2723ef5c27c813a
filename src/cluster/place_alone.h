/* A place for a container that is no task: one that is started on the cluster as one engine (gateway.c). The
 * leader chooses, with the model that tasks are placed by (place.c): the same filters and strategies, and
 * what tasks and other containers have reserved counts.
 *
 *     request  {constraints: ["constraint:disk==ssd"], marks: [{text, soft}], cpu, memory, image, ports:
 *               ["8080/tcp"], volumes: [name], os, architecture, strategy, options,
 *               nodes: {ID: {tasks, cpu, memory, ports, ids, volumes, image, meets: [mark, ...]}}}
 *     answer   {node, hold}, or {refused: "why", held}
 *
 * `nodes` has what those that answered said: how many containers that are no tasks they have, and what these
 * take. A mark is what the nodes' containers decide (an affinity): a node that does not meet one is refused,
 * or with `soft` comes after those that do.
 *
 * What was placed holds its room until the container is among those that its node said (`ids`), so that
 * others that are placed meanwhile, by whichever manager, find the room taken: at most HOLD_MS until
 * place_alone__placed() tells that the container has been made, and LISTING_MS from then on, since it may
 * have gone again. `held`: how many such there are, so that who was refused may ask again in a moment.
 */
#ifndef CLUSTER_PLACE_ALONE_H
#define CLUSTER_PLACE_ALONE_H

#include "cluster/cluster_priv.h"

/* On any manager. */
int place_alone__ask(struct cluster *c, const json_t *request, json_t **ret, struct err *err);
/* `container`: its id; "": there is none. */
void place_alone__placed(struct cluster *c, int64_t hold, const char *container);
void place_alone__forget(struct cluster *c); /* all holds; with the lock */

/* The port's side, for managers: POST /cluster/place, POST /cluster/placed {hold, container}. */
struct http_request;
int place_alone__take(struct http_request *q, void *cluster, struct err *err);
int place_alone__taken(struct http_request *q, void *cluster, struct err *err);

#endif
