/* The mounts of one RUN: their definitions read, and what they show made ready. */
#ifndef BAKERY_RUN_MOUNTS_H
#define BAKERY_RUN_MOUNTS_H

#include "bakery/build_priv.h"
#include "bakery/mount.h"

struct run_mounts {
    struct mount_flag *flags;
    struct bakery_mount *mounts; /* those that are there, pointing into the above and the below */
    struct layer *layers;        /* of flags, where it has a "from" */
    struct str *secrets;         /* of flags */
    size_t count, mounted;
};

enum { RUN_MOUNTS_MAX = 20 };

int run_mounts_read(struct build *s, const struct df_step *step, struct run_mounts *ret, struct err *err);
/* Adds to the step's key what they are and, of binds, what they show. */
int run_mounts_key(struct build *s, const struct run_mounts *m, struct str *key, struct err *err);
/* Secrets are asked for, stages built, snapshots made. */
int run_mounts_prepare(struct build *s, struct run_mounts *m, struct err *err);
void run_mounts_done(struct run_mounts *m);
#define _cleanup_run_mounts_ _cleanup_(run_mounts_done)

#endif
