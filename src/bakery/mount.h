/* RUN --mount=type=...,key=value: what is mounted while a step runs. Pure.
 *
 *     bind    target, source, from, ro|rw          a directory or file of the context, a stage or an image;
 *                                                  what is written to it is gone afterwards
 *     cache   target, id, source, from, sharing, mode, uid, gid, ro     a directory that outlives builds
 *     tmpfs   target, size
 *     secret  id, target, env, required, mode, uid, gid
 *     ssh     id, target, required, mode, uid, gid
 *
 * Follows the Dockerfile reference, "RUN --mount". */
#ifndef BAKERY_MOUNT_H
#define BAKERY_MOUNT_H

#include "bakery/bakery.h"

struct mount_flag {
    struct bakery_mount mount; /* its texts are this one's own */
    char *from;                /* a stage's or image's name; NULL: the context */
    bool required;             /* secret, ssh */
    bool has_target;           /* it was given, or follows from the type */
};

/* `expand` gives each value with its variables replaced (the caller frees); NULL: as it stands. `workdir` is
 * what a target that is not absolute is seen from. */
typedef int (*mount_expand_fn)(void *context, const char *text, char **ret, struct err *err);
int mount_parse(const char *text, const char *workdir, mount_expand_fn expand, void *context,
                struct mount_flag *ret, struct err *err);
void mount_done(struct mount_flag *m);
#define _cleanup_mount_ _cleanup_(mount_done)

/* What the definition says, for the key of the step: without anything of a secret. */
char *mount_describe(const struct mount_flag *m);

#endif
