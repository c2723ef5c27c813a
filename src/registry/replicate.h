/* Replication: what is pushed here is copied to other registries, as the policy's rules say.
 *
 * What waits is not an event but a name: `team/app:v1`, or `team/app@sha256:...` for what was pushed without
 * a tag. When its turn comes it is compared with what the target has, and what is missing there is sent:
 * blobs, the manifests of an index, then the manifest under its name, byte for byte, so that digests stay. A
 * name that is no longer here is deleted there where the rule says so, and else left alone. So names may be
 * repeated, come in any order and twice without harm, and a tag that moved ten times while the target was
 * away is sent once.
 *
 * Names wait until they have been sent: a rule's target is tried again after 1, 2, 4, ... seconds, a minute
 * at most. When there are REPLICATE_QUEUE_MAX the oldest go; registry_replicate_all() sends all there is. */
#ifndef REGISTRY_REPLICATE_H
#define REGISTRY_REPLICATE_H

#include "registry/queue.h"

enum { REPLICATE_QUEUE_MAX = 100000, REPLICATE_LONGEST_S = 60, REPLICATE_DEPTH_MAX = 4 };

extern const struct queue_kind registry__replication;

/* The names that a rule has of what happened, as a JSON list; NULL: none. The caller frees. */
struct notice;
char *registry__replicate_names(const struct registry_replication *rule, const struct notice *what);

#endif
