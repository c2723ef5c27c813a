/* Names of files, as text. */
#ifndef BAKERY_PATH_H
#define BAKERY_PATH_H

/* The shortest name for the same path, as Go's path.Clean: no "//", "." or "x/.."; an absolute path does not
 * climb above "/"; "" gives ".". The caller frees. */
char *path_clean(const char *path);
/* `path` as seen from directory `base` (absolute), cleaned. The caller frees. */
char *path_resolve(const char *base, const char *path);
/* What follows the last slash of a path that does not end with one. */
const char *path_base(const char *path);

#endif
