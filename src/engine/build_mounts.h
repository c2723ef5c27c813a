/* What a build's RUN has mounted while it runs, besides what any container has.
 *
 * Each mount becomes a detached tree of which only a descriptor is held here and passed on to the keeper: no
 * path of the machine shows a secret or an agent's socket, they are files of a tmpfs that is mounted nowhere
 * else. The places that are mounted over come from a directory below the image's layers, so that none is made
 * in the step's own layer, from where it would get into the image. A variable that is a secret goes into the
 * process alone, not into the container's document. */
#ifndef ENGINE_BUILD_MOUNTS_H
#define ENGINE_BUILD_MOUNTS_H

#include "engine/engine_priv.h"

#include "bakery/bakery.h"

struct build_mount {
    int fd; /* or negative: a tmpfs */
    char *target, *options;
    char *cache; /* the cache directory in use, or NULL */
    int agent;   /* a listening socket whose file is mounted, or negative */
    const struct bakery_mount *asked;
};

struct build_mounts {
    struct engine *engine;
    const struct bakery_run *run;
    struct build_mount *list;
    size_t count;
    char *places; /* the lower directory, as named from that of the layers; or NULL */
    char **env;
    struct build_agents *agents; /* what serves the sockets */
};

/* `mapped`: the container has a user namespace in which 0 is `uid`, `gid`. */
struct build_owner {
    bool mapped;
    uid_t uid;
    gid_t gid;
};

int build_mounts__open(struct engine *e, const struct bakery_run *run, struct build_owner owner,
                       struct build_mounts **ret, struct err *err);
void build_mounts__into_spec(struct build_mounts *m, struct start_fds *fds, json_t *mounts);
void build_mounts__close(struct build_mounts *m);
static inline void build_mounts__close_p(struct build_mounts **m)
{
    build_mounts__close(*m);
}

/* --- build_agents.c: ssh agents --- */
int build_agents__start(struct build_mounts *m, struct err *err);
void build_agents__stop(struct build_agents *a);

/* --- build_caches.c: directories that outlive builds --- */
int build_caches__open(struct engine *e, struct err *err);
void build_caches__free(struct build_caches *c);
/* A directory for the mount's id, by its sharing; waits for a locked one as long as the build is wanted.
 * Without first content it is made as the mount says. */
int build_caches__take(struct engine *e, const struct bakery_run *run, const struct bakery_mount *m,
                       char **ret_dir, struct err *err);
void build_caches__give(struct engine *e, const char *dir);

#endif
