/* A few small files as a tar archive in memory: what PUT /containers/X/archive takes. */
#ifndef CLI_PACK_H
#define CLI_PACK_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct pack_file {
    const char *path; /* absolute; its directories are made where they are missing */
    const void *bytes;
    size_t n;
    int64_t uid, gid;
    int mode;
};

/* Appends a regular file; a path longer than a header holds is ERR_LIMIT. */
int pack_add(struct str *archive, const struct pack_file *file, struct err *err);
void pack_end(struct str *archive);
/* Extracts the archive at "/" of a container. */
int pack_send(const char *container, const struct str *archive, struct err *err);

#endif
