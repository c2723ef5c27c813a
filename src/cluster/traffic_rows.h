/* The rows (facts.h) from which a machine knows where connections go, and what they come to on one machine:
 * the same on who leads, of whose objects they are made, and on who was told them.
 *
 *   networks: the body that makes the network
 *
 *   nodes:    {"Machine": its address, "Via", "Mac": the way to its containers' addresses, "Lost": true},
 *             each where there is one
 *
 *   services: {"Name", "Networks": [{"Target", "Aliases"}], "Addresses": {network: "10.0.1.2/24"}, "Ports":
 *             [{"Protocol", "PublishedPort", "TargetPort"}]}
 *
 *   tasks:    {"Service", "Node", "Addresses": {network: "10.0.1.5/24"}, "Published": true when its service
 *             has ports, "Serves": true while it takes connections}; and of containers that are no tasks
 *             (attach.h), by "CONTAINER.NETWORK": {"Node", "Addresses", "Names": what they are called}
 */
#ifndef CLUSTER_TRAFFIC_ROWS_H
#define CLUSTER_TRAFFIC_ROWS_H

#include "cluster/facts.h"

struct traffic_rows { /* one of the first two */
    const struct facts *facts;
    const json_t *document;   /* facts__merge() */
    const json_t *containers; /* {task: id} on this machine */
};
json_t *traffic_row(const struct traffic_rows *rows, enum fact_kind kind, const char *id); /* or NULL */

/* A service's elements of "traffic" (traffic.h) on the machine of the node `self`, of its tasks ({id: row});
 * on the networks that there are rows of. `ingress`: that network's id. */
void traffic_rows__add_entries(const struct traffic_rows *rows, const char *service, const json_t *tasks,
                               const char *self, const char *ingress, json_t *to);
/* A task's addresses, if it is on another machine, into the lists of {network: [{"Address", "Via", "Mac",
 * "Names"}]}, without names if it has none. */
void traffic_rows__add_far(const struct traffic_rows *rows, const json_t *task, const char *self,
                           json_t *far);
/* A document of all that concerns a node, to {"networks", "traffic"}. */
json_t *traffic_rows__describe(const json_t *document, const json_t *containers, const char *self);
/* What a row has to do with: any of these networks ({id: true}), or every machine. */
bool traffic_rows__concerns(const struct fact *fact, const json_t *networks);

#endif
