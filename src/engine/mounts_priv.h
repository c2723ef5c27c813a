/* What the files about mount points share: mounts.c (all of a container's), mount_objects.c (those given as
 * objects, HostConfig.Mounts). */
#ifndef ENGINE_MOUNTS_PRIV_H
#define ENGINE_MOUNTS_PRIV_H

#include "engine/engine_priv.h"

struct resolve {
    struct engine *e;
    json_t *points; /* destination -> point */
    char ***volumes;
};

struct volume_wish {
    const char *name, *driver, *mode; /* name NULL or "": an anonymous one */
    const json_t *labels, *options;
    bool rw, fill;
};

int mounts__clean_path(const char *path, char **ret, struct err *err);
/* What a bind of `source` propagates, when `asked` (or nothing, ""). A mount of the engine's own root, or of
 * what holds it, must let go of what the engine unmounts, and so is never a private copy: "rslave", which is
 * its default, or "rshared". */
int mounts__propagation(struct resolve *x, const char *source, const char *asked, const char **ret,
                        struct err *err);
/* Takes `point`. */
int mounts__put(struct resolve *x, const char *destination, json_t *point, bool replace, struct err *err);
int mounts__volume_point(struct resolve *x, const struct volume_wish *w, json_t **ret, struct err *err);
int mounts__add_object(struct resolve *x, const json_t *mount, struct err *err);

#endif
