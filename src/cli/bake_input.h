/* What an image of a bakery is made of: for bake_work.c, which makes it. */
#ifndef CLI_BAKE_INPUT_H
#define CLI_BAKE_INPUT_H

#include "base/digest.h"
#include "cli/bake.h"

#include <pthread.h>

/* The digest of all that goes into it: its files, arguments, tests, and the ids of the images it stands on.
 * `lock` guards run->state, or is NULL. An image of elsewhere that its registry has anew is fetched, or with
 * `look_only` only named in `ret_outside`. */
int bake_input(struct bake_run *run, pthread_mutex_t *lock, const struct bakery_image *image, bool look_only,
               char ret[DIGEST_BYTES], const char **ret_outside, struct err *err);

/* The digest that a registry has under a name now, to be freed. */
int bake_remote_digest(const char *reference, char **ret, struct err *err);

/* These three are the caller's. */
char *bake_path(const struct bake_run *run, const char *path); /* of a name in the bakery's file */
char *bake_image_id(const char *name);                         /* "" when the node has none */
json_t *bake_args(const struct bakery_image *image);

#endif
