/* The other nodes of this node's swarm, which pulls ask for images: no setting is needed.
 *
 * A digest is asked of any of them before the registry that its name tells, since what comes is compared with
 * it. A tag is asked of managers alone, because who answers it decides what runs: a worker that was taken
 * over must not. A manager answers for what was made in the swarm (built, loaded, committed, pushed to its
 * registry), before docker.io is asked for a name without an address; and, where the registry of a name
 * cannot be reached, for what it has pulled from there itself.
 *
 * How it is done: an image's blobs come as from a registry, over the cluster's port (cluster/images.h). The
 * swarm tells whom to ask, and shows what this node is; both sides know each other by their certificates. */
#ifndef IMAGE_NODES_H
#define IMAGE_NODES_H

#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct images;

enum { IMAGE_NODES_MAX = 16 };

#define IMAGE_NODES_PREFIX     "/cluster/images"     /* all that a node has */
#define IMAGE_NODES_OWN_PREFIX "/cluster/images/own" /* of tags those that were made in the swarm */

struct image_node {
    char *certified; /* the name that its certificate must be for */
    char *address;   /* HOST:PORT */
    char *shown;     /* for people */
    bool manager;
};
/* PEM files: who vouches for nodes, this node's certificate and key, and what was taken back. */
struct image_node_files {
    char *authority, *certificate, *key, *revoked;
};
struct image_nodes {
    void *context;
    /* Whom to ask for a reference, the likeliest first: at most IMAGE_NODES_MAX, and none of no swarm. */
    size_t (*list)(void *context, const char *reference, struct image_node *ret);
    void (*files)(void *context, struct image_node_files *ret);
};
void image_node_done(struct image_node *n);
void image_node_files_done(struct image_node_files *f);

/* `nodes` is borrowed until it is set to NULL; not while pulls go on. */
void images_set_nodes(struct images *im, const struct image_nodes *nodes);

/* --- the other side: what this node gives to others --- */

/* The manifest that a tag or digest of a repository ("docker.io/library/web") leads to here. `own`: no tag of
 * what was pulled from a registry. ERR_NOT_FOUND. */
int images_offered(struct images *im, const char *repository, const char *reference, bool own,
                   char ret_digest[DIGEST_BYTES], struct err *err);
/* Whether a blob is one of an image, or of what was pushed to the registry here. */
bool images_offer_blob(struct images *im, const char *digest);

#endif
