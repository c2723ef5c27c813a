/* Mirrors: repositories below a prefix that are another registry's, fetched when they are asked for.
 *
 * `hub/library/busybox` is, with a mirror of prefix `hub` and upstream docker.io, docker.io's
 * library/busybox. A tag is asked for upstream (by HEAD) when it was not for the mirror's ttl; where upstream
 * does not answer, what is here is served, however old. A manifest is fetched and compared with its digest; a
 * blob is, when a client asks for it: one client fetches it, and others who ask meanwhile wait for that.
 * Nothing can be pushed there.
 *
 * So these are the one kind of repository whose manifests may name blobs that are not here. Their bytes are
 * bounded: beyond the mirror's size the blobs that were not asked for longest go, to be fetched again. */
#ifndef REGISTRY_MIRROR_H
#define REGISTRY_MIRROR_H

#include "registry/registry_priv.h"

/* REGISTRY_DENIED for a repository of a mirror: before everything that pushes. */
int registry__mirror_refuse(struct registry *r, const char *repository, struct registry_err *err);
bool registry__mirrored(struct registry *r, const char *repository);
/* Sees to it that a manifest is here and as fresh as it is to be, where the repository is a mirror's. Fails
 * only when there is nothing to serve. */
int registry__mirror_manifest(struct registry *r, const char *repository, const char *reference,
                              struct registry_err *err);
/* The same for a blob that is not here; *ret_fetched: look again. */
int registry__mirror_blob(struct registry *r, const char *repository, const char *digest, bool *ret_fetched,
                          struct registry_err *err);

#endif
