/* Which image a tag is: its registry is asked once, and everybody means the same image from then on. */
#ifndef CLI_DIGEST_H
#define CLI_DIGEST_H

#include "base/err.h"

/* "web:1" as "web:1@sha256:...", by what the server hears from its registry; an image that has a digest stays
 * as it is. The caller frees. */
int digest_resolve(const char *image, char **ret, struct err *err);

#endif
