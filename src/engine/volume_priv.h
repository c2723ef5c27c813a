/* What the files about volumes share: volume.c (the table), volume_mount.c (volumes of running containers),
 * volume_local.c and volume_plugin.c (drivers), volume_api.c (requests).
 *
 * A driver is "local", or the name of a Docker volume plug-in. What a plug-in answers is hostile: bounded in
 * size and time, and checked. */
#ifndef ENGINE_VOLUME_PRIV_H
#define ENGINE_VOLUME_PRIV_H

#include "engine/engine_priv.h"

json_t *volume__doc(const struct volume *v); /* parsed; engine.lock held */
bool volume__is_local(const char *driver);   /* "" is */
/* The first container that uses the volume, as a copy of its id, or NULL. engine.lock held. */
char *volume__user(struct engine *e, const char *name);
void volume__event(struct engine *e, const char *action, const char *name, const char *driver);

/* --- volume_local.c --- */
int volume_local__check(const json_t *options, struct err *err);
/* Whether its directory is a mount of its own while it is used. */
bool volume_local__mounts(const json_t *options);
int volume_local__mount(const char *path, const json_t *options, struct err *err);
void volume_local__unmount(const char *path);

/* --- volume_plugin.c: calls of the VolumeDriver protocol --- */
int volume_plugin__create(const char *driver, const char *name, const json_t *options, struct err *err);
int volume_plugin__remove(const char *driver, const char *name, struct err *err);
int volume_plugin__mount(const char *driver, const char *name, const char *id, char **ret_path,
                         struct err *err);
int volume_plugin__unmount(const char *driver, const char *name, const char *id, struct err *err);
/* "Mountpoint" and "Status" of a volume. */
int volume_plugin__get(const char *driver, const char *name, json_t **ret, struct err *err);
/* "local" or "global". */
const char *volume_plugin__scope(const char *driver);

#endif
