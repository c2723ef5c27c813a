/* `drover bake`: bases from packages, and the images of a bakery.yaml. */
#ifndef CLI_BAKE_H
#define CLI_BAKE_H

#include "bake/bakery.h"
#include "bake/base.h"

/* Makes a base and loads it into the node under request->reference. Nothing of the making is left behind,
 * also after an interrupt (interrupt.h: the verb catches it). */
int bake_base(const struct base_request *request, struct base_image *ret, struct err *err);
/* SOURCE_DATE_EPOCH when it is set, else the snapshot's time, else BASE_DEFAULT_EPOCH. */
int bake_epoch(const char *snapshot, int64_t *ret, struct err *err);

enum bake_outcome { BAKE_WAITING, BAKE_WORKING, BAKE_CURRENT, BAKE_MADE, BAKE_FAILED, BAKE_HELD };

/* One going through a bakery. */
struct bake_run {
    const struct bakery *bakery;
    const char *dir;        /* of bakery.yaml; relative paths are below it */
    const char *state_path; /* written after each image */
    json_t *state;
    bool refresh;               /* bases are made again, to see whether their packages have changed */
    bool skip_failed;           /* not again what failed with the same input */
    bool *wanted;               /* of bakery->images */
    enum bake_outcome *outcome; /* of each */
};
/* Makes, tests, pushes and promotes what has changed, in order, several at a time where they are independent.
 * A failure holds back what stands on it, and nothing else; the result says whether there was one. An error
 * is of the going through itself. */
int bake_go_through(struct bake_run *run, bool *ret_failed, struct err *err);
/* Why an image would be made, to be freed; NULL: it is up to date. `changing` says which of those before it
 * would be. */
int bake_reason(const struct bake_run *run, size_t which, const bool *changing, char **ret, struct err *err);
/* Lines of running containers whose image, or what it stands on, is an older one than the state's. */
int bake_outdated_containers(const json_t *state, char ***ret, struct err *err);

/* Waits for `interval_ns`, or a push that a registry tells of at `listener` (NULL: none). */
struct bake_listener;
int bake_listen(const char *address, const char *secret, const struct bakery *bakery,
                struct bake_listener **ret, struct err *err);
void bake_wait(struct bake_listener *l, int64_t interval_ns);
void bake_listener_free(struct bake_listener *l);

int cli_bake_base(int argc, char **argv);
int cli_bake(int argc, char **argv);

#endif
