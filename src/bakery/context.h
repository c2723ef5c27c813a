/* A build context that came as a tar, unpacked only when a step needs its files.
 *
 * While the archive comes it is kept as one file and looked through: names, modes, link targets and a digest
 * of each file's content. That is all the cache's keys ask for, so a build in which nothing has changed
 * writes no file. What cannot be told from the archive as surely as from an unpacked tree (a name that comes
 * twice, lies below a link or leads above the root, a hole, a FIFO, anything that is to be refused) is not
 * guessed: then the archive is unpacked at once, and extraction decides.
 *
 * Whoever packed the archive is not trusted. Once received, any thread may ask. */
#ifndef BAKERY_CONTEXT_H
#define BAKERY_CONTEXT_H

#include "bakery/bakery.h"
#include "base/digest.h"
#include "base/str.h"

#include <sys/stat.h>

enum { CONTEXT_ENTRIES_MAX = 1000000 }; /* of a context that comes as an archive */

/* NULL when everything was unpacked at once. */
struct context_tree;
const struct context_tree *context_tree(const struct bakery_context *c);

/* Unpacks what has come, once; *ret_fd is the directory, borrowed. */
int context_unpack(struct bakery_context *c, int *ret_fd, struct err *err);
/* A small file of the context. Files that a build reads by name (its Dockerfile, the ignore files) are in
 * memory, for others it unpacks. ERR_NOT_FOUND. */
int context_read(struct bakery_context *c, const char *path, size_t max, struct str *ret, struct err *err);

/* As the calls of these names do below a root directory: links on the way are followed inside the tree, one
 * at the end is not. ERR_NOT_FOUND. */
int context_stat(const struct context_tree *t, const char *path, struct stat *ret, struct err *err);
/* "sha256:<hex>" of a regular file's content; false: it is none. */
bool context_digest(const struct context_tree *t, const char *path, char ret[DIGEST_BYTES]);
/* A link's target; borrowed. NULL: it is none. */
const char *context_link(const struct context_tree *t, const char *path);
/* The names in a directory, which may be behind a link, sorted; the caller frees. */
int context_names(const struct context_tree *t, const char *path, char ***ret, struct err *err);

#endif
