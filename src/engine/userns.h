/* Which ids of the machine a container's own are: `drover serve --userns-remap` for all, and
 * HostConfig.UsernsMode for one.
 *
 *     ""        as serve is configured: the range of --userns-remap, or none
 *     "host"    none: root in the container is root of the machine, held back by capabilities only
 *     "private", "auto", "auto:size=N"
 *               a range that no other container has (as Podman's "auto")
 *
 * The choice is made when a container is created and stays with it ("UserNamespace" of its document). On disk
 * everything keeps the container's ids, see image_snapshot_mount_mapped(), so that a range can be given to
 * another container as soon as this one is gone. */
#ifndef ENGINE_USERNS_H
#define ENGINE_USERNS_H

#include "engine/engine_priv.h"
#include "image/tar.h"

struct userns {
    uint32_t uid, gid, count; /* what 0 inside is outside; count 0: no user namespace */
};

/* Reads `text` of --userns-remap: "", "default", USER[:GROUP] of /etc/subuid and /etc/subgid, FIRST:COUNT. */
int userns__configure(struct engine *e, const char *text, struct err *err);
/* Of a container's document. */
struct userns userns__of(const json_t *doc);
/* For a new container: NULL when it shares the machine's ids. A range of its own is reserved for `id`. */
int userns__choose(struct engine *e, const char *id, const json_t *host, json_t **ret, struct err *err);
void userns__release(struct engine *e, const char *id);
/* What of an earlier serve is still taken; at the start. */
void userns__restore(struct engine *e, const char *id, const json_t *doc);

/* A user namespace with this map, and with `ret_net` a network namespace that belongs to it, loopback up. */
int userns__open(const struct userns *u, int *ret_user, int *ret_net, struct err *err);
/* The container whose namespaces `host` joins, and so its user namespace: its name, or NULL. */
const char *userns__joined(const json_t *host);
/* At a start: the container to join must still have the user namespace that `own_doc` was made for. */
int userns__check_joined(struct engine *e, const json_t *own_doc, struct err *err);
/* A network namespace that belongs to an existing user namespace. */
int userns__net_in(int user, int *ret_net, struct err *err);
/* That of a running container. */
int userns__open_of(struct container *c, int *ret_user, struct err *err);
/* Into a spec: the namespace (`index` of the descriptors passed along) and its maps. */
void userns__describe(const struct userns *u, size_t index, json_t *spec);

/* This thread makes files as the mapped root, with all its rights, until the end. */
struct userns_identity {
    bool taken;
};
int userns__identity_take(const struct tar_ids *ids, struct userns_identity *ret, struct err *err);
void userns__identity_give_back(struct userns_identity *identity);

#endif
