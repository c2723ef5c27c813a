/* ADD's remote sources. */
#ifndef BAKERY_FETCH_H
#define BAKERY_FETCH_H

#include "base/err.h"

#include <stdbool.h>

bool fetch_is_url(const char *text); /* http or https */
/* The file's name: the last part of the URL's path, without its escapes if they are none that are wrong;
 * "__unnamed__" when it has none. The caller frees. */
char *fetch_name(const char *url);
/* Downloads into a new file of mode 0600; `checksum` ("sha256:...") may be NULL. */
int fetch_url(const char *url, const char *path, const char *checksum, struct err *err);
/* The same; ends with ERR_CANCELLED once `stopped` says so. */
int fetch_url_until(const char *url, const char *path, const char *checksum, bool (*stopped)(void *context),
                    void *context, struct err *err);

#endif
