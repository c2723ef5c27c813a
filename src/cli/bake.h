/* `drover bake`: bases from packages, and the images of a bakery.yaml. */
#ifndef CLI_BAKE_H
#define CLI_BAKE_H

#include "bake/base.h"

/* Makes a base and loads it into the node under request->reference. Nothing of the making is left behind,
 * whatever happens. */
int bake_base(const struct base_request *request, struct base_image *ret, struct err *err);
/* SOURCE_DATE_EPOCH when it is set, else the snapshot's time, else BASE_DEFAULT_EPOCH. */
int bake_epoch(const char *snapshot, int64_t *ret, struct err *err);

int cli_bake_base(int argc, char **argv);
int cli_bake(int argc, char **argv);

#endif
