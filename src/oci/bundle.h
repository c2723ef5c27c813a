/* A bundle (bundle.md): a directory with config.json and the root file system. */
#ifndef OCI_BUNDLE_H
#define OCI_BUNDLE_H

#include "base/err.h"
#include "base/json.h"

struct bundle {
    char *path;      /* absolute, without symlinks */
    char *rootfs;    /* root.path of the config, absolute */
    struct str text; /* config.json as it is */
    json_t *config;
};

void bundle_done(struct bundle *b);
#define _cleanup_bundle_ _cleanup_(bundle_done)

/* `path` NULL: the working directory; `config` NULL: its config.json, else a file named from there. Checks
 * what the runtime itself does not read: the version and the root.
 */
int bundle_load(const char *path, const char *config, struct bundle *ret, struct err *err);
bool bundle_wants_terminal(const struct bundle *b);
/* Id maps that have one id: `host` as 0. */
json_t *bundle_one_id(unsigned host);

#endif
