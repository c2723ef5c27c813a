/* A container as this program remembers it between two commands: the directory <root>/<id>.
 *
 *   state.json   what `state` prints, the first process with its start time (so that a pid that was used
 *                again is not taken for it), the cgroup's path; replaced as a whole
 *   status       a link to it: the name, and the names of fields, that tools written for crun read
 *   config.json  the bundle's config as it was when the container was created
 *   start.sock   where a created container waits for `start`; there until it has been started
 *   mounts-in-place  in_place.h
 *
 * A command that changes a container holds a lock (flock) on the directory while it does. A directory without
 * state.json is a creation that did not finish: the next creation of that id takes it over. */
#ifndef OCI_CONTAINER_H
#define OCI_CONTAINER_H

#include "base/err.h"
#include "base/json.h"
#include "oci/options.h"

#include <sys/types.h>

struct cgroup;

struct container {
    char *id, *dir;
    int dir_fd;      /* carries the lock; negative when not locked */
    json_t *state;   /* state.json; NULL before the first save */
    json_t *config;  /* see container_config() */
    pid_t pid;       /* 0: its first process is gone */
    int pidfd;       /* negative when it is gone */
    bool has_zombie; /* its parent has not taken its exit status yet */
};

#define CONTAINER_INIT ((struct container){.dir_fd = -EBADF, .pidfd = -EBADF})
void container_done(struct container *c);
#define _cleanup_container_ _cleanup_(container_done)

/* The directory of all containers: --root, else /run/drover-oci, or below $XDG_RUNTIME_DIR for a user. The
 * caller frees. */
char *container_root(const struct oci_args *args);

/* A new one, locked. ERR_CONFLICT when the id is taken. */
int container_make(const struct oci_args *args, const char *id, struct container *ret, struct err *err);
/* One that exists; locked, it waits for its turn. */
int container_open(const struct oci_args *args, const char *id, bool locked, struct container *ret,
                   struct err *err);
void container_unlock(struct container *c);
/* Again, for one that was unlocked. ERR_NOT_FOUND when it has been deleted since. */
int container_lock(struct container *c, struct err *err);
/* Writes state.json from `state` and `pid`. */
int container_save(struct container *c, struct err *err);
int container_save_config(struct container *c, const char *text, size_t n, struct err *err);
/* Reads config.json once; borrowed. */
int container_config(struct container *c, const json_t **ret, struct err *err);
/* Takes its directory away. */
int container_forget(struct container *c, struct err *err);

char *container_start_socket(const struct container *c); /* the caller frees */
/* "created", "running", "paused" or "stopped": from the kernel. */
const char *container_status(const struct container *c);
/* NULL when it never had one or it is gone. */
struct cgroup *container_cgroup(const struct container *c);
/* The JSON of `state` (runtime.md, "State"), with `status` when not NULL. */
json_t *container_state_json(const struct container *c, const char *status);

/* Calls `visit` with each container of the root, in order of id. Directories that are none are passed over.
 */
int container_each(const struct oci_args *args, void (*visit)(struct container *c, void *arg), void *arg,
                   struct err *err);

#endif
