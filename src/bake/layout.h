/* An image as an OCI image layout in a directory (image-layout.md), the same bytes for the same content. */
#ifndef BAKE_LAYOUT_H
#define BAKE_LAYOUT_H

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdint.h>

struct layout {
    char *dir; /* <dir>/blobs/sha256, index.json, oci-layout */
    json_t *layers, *diff_ids, *history;
    int64_t epoch;
};

int layout_begin(struct layout *l, const char *dir, int64_t epoch, struct err *err);
/* A plain tar, up to its end mark, as a gzip layer. */
int layout_add_layer(struct layout *l, int fd, const char *created_by, struct err *err);
/* `config` as the image configuration's "config" (borrowed). */
int layout_end(struct layout *l, const json_t *config, const char *architecture, const char *reference,
               char **ret_id, char **ret_manifest, struct err *err);
void layout_done(struct layout *l);

#endif
