/* `drover serve` without root: everything of an instance lives in namespaces that belong to its user.
 *
 *   host                                        | the user's own user, mount and network namespace
 *   drover rootless (the uplink) --- fork ----> | drover rootless hold    keeps the namespaces alive
 *       |  \--- slirp4netns ------- tap0 -----> | 10.0.2.100, out through the user's own sockets
 *       +-- <root>/rootless/uplink.sock <------ | drover serve, keeper, dns, containers: as root has them
 *
 * Inside, serve is root of that user namespace: bridges, veth pairs, nftables, overlay mounts and id changes
 * are the kernel's ordinary ones, and no other part of Drover knows the difference, but for: the cgroups that
 * the user may not write, and published ports, whose first half is a socket of slirp4netns on the host.
 *
 * `drover serve` of an ordinary user asks the uplink (starting it when there is none) for its namespaces,
 * enters them and executes itself: the process, its number and its place under a service manager stay the
 * same. Either of the two small processes may die: the uplink makes another holder, and its spare (spare.c)
 * takes the uplink's place. slirp4netns is started anew by the uplink, with the same ports.
 *
 * What an ordinary user is given besides themselves comes from /etc/subuid and /etc/subgid, through newuidmap
 * and newgidmap. Without an entry only one id is there, and images with files of several owners cannot be
 * unpacked. */
#ifndef ROOTLESS_ROOTLESS_H
#define ROOTLESS_ROOTLESS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Where things are when nothing is said: of root in /var/lib/drover and /run/drover.sock; of others in
 * $XDG_DATA_HOME/drover and $XDG_RUNTIME_DIR/drover.sock. The caller frees. */
char *rootless_default_root(void);
char *rootless_default_socket(void);

/* For a process of an ordinary user that has one thread: enters the instance's namespaces, made when there
 * are none and `make` is set, and executes this binary there with `argv` ("drover", "serve", ...). Returns
 * only with an error, or with 0 when there is nothing to enter (`make` not set). */
int rootless_enter(const char *root, bool make, char *const *argv, struct err *err);

/* Inside: whether `root` is an instance of this kind. */
bool rootless_inside(const char *root);
/* Inside: a port of the host, forwarded to the same port of the namespace's tap0. Idempotent. ERR_CONFLICT:
 * it is taken; ERR_DENIED: the kernel keeps it for root. host_ip "" or "0.0.0.0": all. */
int rootless_port_add(const char *root, const char *protocol, const char *host_ip, uint16_t port,
                      struct err *err);
int rootless_port_remove(const char *root, const char *protocol, uint16_t port, struct err *err);
/* Ends the two processes and slirp4netns; with the last process of a namespace it goes too. */
int rootless_end(const char *root, struct err *err);

/* `drover rootless --root DIR`: the uplink. */
int rootless_main(int argc, char **argv);

#endif
