/* Room on the disk, kept by a thread of its own: when less is free than is to be, images that nothing uses
 * go, the one not used for longest first, and with them what builds cached, until there is enough again and a
 * tenth more.
 *
 * Never goes what a container uses (running or not), what fits a pattern or is labelled drover.keep=true,
 * what was used, pulled, built or tagged within the last while, what the registry's repositories have, and
 * anything at all while a build goes on. Each removal is an event and a line of the log. */
#ifndef API_KEEP_FREE_H
#define API_KEEP_FREE_H

#include "api/api_priv.h"

struct keep_free_config {
    int64_t bytes; /* at least so much; 0: see percent */
    int percent;   /* of the disk; both 0: nothing is reclaimed */
    char **images; /* patterns (base/name_pattern.h) of names without a tag, or with it */
    int64_t unused_for_ns;
};

/* "20g" or "10%". */
bool keep_free_parse(const char *text, struct keep_free_config *to);

struct keep_free;
/* `config` is borrowed. */
int keep_free_start(struct api *a, const struct keep_free_config *config, struct keep_free **ret,
                    struct err *err);
void keep_free_stop(struct keep_free *k);

#endif
