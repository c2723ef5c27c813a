/* The container's file system, built by the child in its own mount namespace.
 *
 * The image is the attacker: it may hold symlinks anywhere. Until the root has been changed, every path in it
 * is resolved with RESOLVE_IN_ROOT and then only used through its descriptor; afterwards nothing outside can
 * be named any more. */
#ifndef RUNTIME_ROOTFS_H
#define RUNTIME_ROOTFS_H

#include "runtime/cgroup.h"
#include "runtime/plan.h"

/* The descriptor to open `path` inside the root with O_PATH, made first when missing: a directory or an empty
 * file, with the directories above it. */
int rootfs__target(int root_fd, const char *path, bool directory, struct err *err);

/* Propagation, overlay or bind: `*ret_root_fd` is the root to be (O_PATH). */
int rootfs_mount_root(const struct plan *plan, int *ret_root_fd, struct err *err);
/* The config's mounts in their order. */
int rootfs_mount_all(const struct plan *plan, const struct cgroup *cgroup, int root_fd, struct err *err);
/* /dev: nodes, links, and the terminal (`tty_fd`, or negative) as /dev/console. Left alone when the config
 * binds a /dev of its own. */
int rootfs_make_devices(const struct plan *plan, int root_fd, int tty_fd, struct err *err);
/* Moves the process into the root and drops the old one. */
int rootfs_enter(const struct plan *plan, int root_fd, struct err *err);
/* Inside: masked and read-only paths, the root's own read-only flag and propagation. */
int rootfs_protect(const struct plan *plan, struct err *err);

/* A bind of `source_fd`'s tree, detached, with a mount's attributes. Shared with devices. */
int rootfs__attach(int tree_fd, int target_fd, const char *what, struct err *err);

#endif
