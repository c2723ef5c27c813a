/* The registries of other nodes, which a pull asks for names without an address before docker.io.
 *
 * A peer is another Drover's `serve --registry` (or any registry): what was pushed there, and what that node
 * has under the name itself, is taken from it, under the name that was asked for. Names with another address
 * are never asked of a peer, and no user's password is sent to one. How a peer is reached and who vouches for
 * it is as for every registry (images_allow_insecure, images_trust); policies of signatures hold.
 *
 * A peer that is away is not asked again for ten seconds. */
#ifndef IMAGE_PEERS_H
#define IMAGE_PEERS_H

#include "base/err.h"

struct images;

enum { IMAGE_PEERS_MAX = 16 };

/* "HOST[:PORT]" each, in the order in which they are asked; copied. To be called once, before any pull.
 * ERR_INVALID, ERR_LIMIT. */
int images_set_peers(struct images *im, char *const *hosts, struct err *err);

#endif
