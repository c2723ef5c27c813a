/* The sources of COPY and ADD: files and directories below an open root, found and hashed.
 *
 * The root is the build context, another image's file system, or a directory of ours with one file made for
 * the step (a heredoc, a download). Its owner is not trusted: every path is resolved inside it. */
#ifndef BAKERY_SOURCE_H
#define BAKERY_SOURCE_H

#include "bakery/context.h"
#include "bakery/ignore.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Where sources are looked for, and what of it is meant. Borrows all it points to. */
struct source_root {
    int fd;
    const struct context_tree *tree; /* instead of fd, of a context that is not unpacked; NULL: there is fd */
    const struct ignore *ignore;     /* .dockerignore; NULL: nothing is left out */
    const struct ignore *exclude;    /* --exclude: paths in the root, and below a source directory; or NULL */
    bool passing;                    /* the files are the build's own and go at its end */
    bool keep_owner;
    bool parents; /* --parents: the directories of a source's path are kept, and "**" is a wildcard */
};

struct source {
    struct source_root root;
    bool owned;     /* root.fd is this source's own, with one thing made for the step */
    char *path;     /* in the root, not a symlink; "" is the root itself */
    char *name;     /* what the file is called at the destination; with parents its path there */
    char *named;    /* the path as it was found, symlinks and all; `name` is its end */
    char *identity; /* stands for the content in the hash, when there is one */
    /* A download of which the digest is known, so that it comes only when a layer is made of it (and root.fd
     * with it); url NULL: what there is, is here. */
    char *url, *digest;
    bool is_dir;
    bool unpack; /* an archive for ADD to unpack */
};

struct sources {
    struct source *list;
    size_t count, capacity;
};

enum { SOURCES_MAX = 100000 };

void sources_done(struct sources *s);
struct source *sources_add(struct sources *s, const struct source *source); /* takes its texts */

/* Adds what `text` names in the root: one file or directory, or all that match its wildcards, sorted, which
 * may be none; what is excluded is left out. ERR_NOT_FOUND in Docker's words. */
int sources_find(struct sources *s, const struct source_root *root, const char *text, struct err *err);
/* Those in a context that is not unpacked get its directory: before their content is read. */
int sources_unpack(struct sources *s, struct bakery_context *context, struct err *err);
/* Marks the regular files from `first` on, if they are here, that are tar archives, compressed or not. */
int sources_find_archives(struct sources *s, size_t first, struct err *err);
int source_find_archive(struct source *source, struct err *err); /* one of them */
/* "file:<hex>", "dir:<hex>" or "multi:<hex>" of names, modes, bytes, and owners where they are kept; the
 * caller frees. */
int sources_hash(const struct sources *s, char **ret, struct err *err);
/* Whether a path of the source's root is left out. A directory stays as long as something in it does. */
bool source_left_out(const struct source *s, const char *path, bool is_dir);

#endif
