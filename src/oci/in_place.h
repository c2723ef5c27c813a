/* The mounts of a container without a mount namespace (config-linux.md, "Namespaces": it has the runtime's).
 * They are made in the machine's own tree, so they get a place that goes as a whole: its root, bound over
 * itself. A link in the container's directory remembers that it has to. */
#ifndef OCI_IN_PLACE_H
#define OCI_IN_PLACE_H

#include "oci/container.h"

/* Whether the config asks for mounts and for no mount namespace. */
bool in_place_wanted(const json_t *config);
int in_place_prepare(const struct container *c, const char *rootfs, struct err *err);
/* Takes them off; nothing when there are none. */
void in_place_undo(const struct container *c);

#endif
