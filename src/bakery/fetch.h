/* ADD's remote sources. */
#ifndef BAKERY_FETCH_H
#define BAKERY_FETCH_H

#include "base/err.h"

#include <stdbool.h>

bool fetch_is_url(const char *text); /* http or https */
/* The file's name: the last part of the URL's path. ERR_INVALID when it has none. */
int fetch_name(const char *url, char **ret, struct err *err);
/* Downloads into a new file of mode 0600; `checksum` ("sha256:...") may be NULL. */
int fetch_url(const char *url, const char *path, const char *checksum, struct err *err);

#endif
