/* What a build says of its image: how it was built (provenance.c) and what is in it (sbom.c). */
#ifndef BAKERY_ATTEST_H
#define BAKERY_ATTEST_H

#include "bakery/build_priv.h"

/* At the end of the build; without any asked for, the image has none afterwards. */
int build__attest(struct builder *b, const char *image_id, struct err *err);

/* Something that came from elsewhere, and its digest. Any thread may call. */
void build__material(struct builder *b, const char *uri, const char *algorithm, const char *hex);
void build__material_image(struct builder *b, const char *name, const char *id);

/* An SPDX document of the packages that the image's own database (dpkg's, apk's, rpm's) says are installed.
 */
int build__sbom(struct builder *b, const char *image_id, json_t **ret, struct err *err);

#endif
