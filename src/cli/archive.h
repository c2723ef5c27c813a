/* Files between this machine and a container, as tar streams. */
#ifndef CLI_ARCHIVE_H
#define CLI_ARCHIVE_H

#include "base/err.h"
#include "image/tar.h"

/* Extracts what `what` packs into directory `path` of a container, while it is packed. */
/* to_user: what arrives belongs to the container's user, instead of to whom the tar says. */
int archive_put(const char *container, const char *path, bool to_user, const struct tar_create *what,
                struct err *err);
/* The same with a tar stream that is there already. */
int archive_put_fd(const char *container, const char *path, bool to_user, int fd, struct err *err);
/* Packs in a thread, into a pipe whose other end `take` reads. */
int archive_packed(const struct tar_create *what, int (*take)(void *context, int fd, struct err *err),
                   void *context, struct err *err);
/* The tar stream of a path of a container into a descriptor, or extracted below `into` (an open directory).
 */
int archive_get_fd(const char *container, const char *path, int fd, struct err *err);
int archive_fetch(const char *url, int into, struct err *err); /* of any answer that is a tar */
/* The tar stream of a whole container. */
int archive_export_fd(const char *container, int fd, struct err *err);
int archive_extract(const char *container, const char *path, int into, struct err *err);

enum archive_kind { ARCHIVE_NOTHING, ARCHIVE_FILE, ARCHIVE_DIRECTORY };
/* What is at the path, links followed once. */
int archive_kind(const char *container, const char *path, enum archive_kind *ret, struct err *err);

#endif
