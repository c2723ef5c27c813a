/* What is different between two documents, for people to read. */
#ifndef DEPLOY_CHANGES_H
#define DEPLOY_CHANGES_H

#include <jansson.h>

enum { DEPLOY_CHANGES_MAX = 200, DEPLOY_CHANGES_DEPTH = 32 };

/* [{"Path": "TaskTemplate.ContainerSpec.Image", "Before": VALUE, "After": VALUE}], in the order of paths; a
 * side that has nothing there lacks its key. Objects are gone into, other values told whole; an absent value,
 * null, {} and [] are the same. At most DEPLOY_CHANGES_MAX. A new reference. */
json_t *deploy_changes(const json_t *before, const json_t *after);

#endif
