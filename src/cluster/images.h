/* Images between nodes, over the cluster's port: what a node has is given to any other node of the swarm, a
 * worker too, and to nobody else. The paths are a registry's (OCI distribution-spec 1.1, "Pull") below
 * IMAGE_NODES_PREFIX and IMAGE_NODES_OWN_PREFIX (image/nodes.h), with the repository's whole name. Only
 * blobs of images and of what was pushed are given: not uploads, and nothing else of the machine. */
#ifndef CLUSTER_IMAGES_H
#define CLUSTER_IMAGES_H

#include "cluster/cluster_priv.h"
#include "http/server.h"
#include "image/nodes.h"

/* Routes of the port. */
int images__give_manifest(struct http_request *q, void *cluster, struct err *err);
int images__give_own_manifest(struct http_request *q, void *cluster, struct err *err);
int images__give_blob(struct http_request *q, void *cluster, struct err *err);
/* POST {"Image": reference}: [{"ID", "Door", "Manager", "Hostname"}], whom to ask for it. The leader's. */
int images__sources(struct http_request *q, void *cluster, struct err *err);

/* For the images of this node's engine. */
void images__begin(struct cluster *c);
void images__end(struct cluster *c);

#endif
