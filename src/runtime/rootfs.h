/* The container's file system, built by the child in its own mount namespace.
 *
 * The image is the attacker: it may hold symlinks anywhere, and another container that shares a volume may
 * change them meanwhile. Until the root has been changed, every path in it is resolved with RESOLVE_IN_ROOT
 * and then only used through its descriptor; afterwards nothing outside can be named any more.
 *
 * Filesystems and binds are made detached, get all of their options, and only then become visible with
 * move_mount(2).
 *
 * What a user namespace's root could not do or reach is done before by the parent: see rootfs_prepare(). */
#ifndef RUNTIME_ROOTFS_H
#define RUNTIME_ROOTFS_H

#include "runtime/cgroup.h"
#include "runtime/plan.h"

/* In the parent, before the clone. Makes what many containers share, once for the life of the process; and
 * for a container with a user namespace, or a mount with an id map, the detached trees of its root, binds and
 * id-mapped mounts, which plan_done() closes. Blocks for the life of a short process only then. */
int rootfs_prepare(struct plan *plan, struct err *err);

/* In the process that joins namespaces for a container with a new user namespace, before that is made: the
 * sysfs of a network namespace and the mqueue of an ipc namespace that are not the user namespace's own,
 * whose root the kernel gives none. */
void rootfs_prepare_joined(struct plan *plan);

/* Propagation, overlay or bind: `*ret_root_fd` is the root to be (O_PATH). */
int rootfs_mount_root(const struct plan *plan, int *ret_root_fd, struct err *err);
/* The config's mounts in their order. A mount over "/" replaces `*root_fd`. In a user namespace the parent is
 * asked over `parent_fd` for id maps: see child.h. */
int rootfs_mount_all(const struct plan *plan, const struct cgroup *cgroup, int parent_fd, int *root_fd,
                     struct err *err);
/* Nodes, and the links of /dev. A /dev that the config binds is left alone. */
int rootfs_make_devices(const struct plan *plan, int root_fd, struct err *err);
/* Moves the process into the root and drops the old one. */
int rootfs_enter(const struct plan *plan, int root_fd, struct err *err);
/* Inside, when all mounts and nodes are made: masked and read-only paths, read-only tmpfs, the root's own
 * read-only flag and propagation. */
int rootfs_protect(const struct plan *plan, struct err *err);

/* --- shared by the files of this part --- */

/* The descriptor to open `path` inside the root with O_PATH, made first when missing: a directory or an empty
 * file, with the directories above it, and what dangling symlinks lead to. */
int rootfs__target(int root_fd, const char *path, bool directory, struct err *err);
/* The same, where a symlink at the path itself is what is meant. */
int rootfs__target_itself(int root_fd, const char *path, bool directory, struct err *err);
/* A symlink at the path, with the directories above it. One that leads there already is fine. */
int rootfs__make_symlink(int root_fd, const char *path, const char *text, struct err *err);
/* The same for a directory to which no symlink leads: proc and sysfs are what later checks rely on. An image
 * whose /proc is a symlink would put it elsewhere and leave paths below /proc under its own control. */
int rootfs__plain_directory(int root_fd, const char *path, struct err *err);
bool rootfs__is_root(const char *path); /* "/", "/.", ... */
bool rootfs__is_dev(const char *path);  /* "/dev", "/dev/", ... */
bool rootfs__is_proc(int fd);
/* ERR_DENIED for a mount inside a procfs, but for a few files that only inform; or over "/proc", unless what
 * is mounted is a procfs itself. */
int rootfs__check_proc(int root_fd, int target_fd, const char *destination, bool brings_proc,
                       struct err *err);

/* In rootfs_protect(): filesystems of our own that are still being filled. */
int rootfs__read_only_later(int fd, struct err *err);
int rootfs__make_read_only(struct err *err);
/* The place of the terminal in the container's /dev, held as `dev_fd`: never through a symlink. */
int rootfs__console_target(int dev_fd, struct err *err);
/* A detached tree becomes visible. */
int rootfs__attach(int tree_fd, int target_fd, const char *what, struct err *err);
int rootfs__attach_at(int tree_fd, int dir_fd, const char *name, const char *what, struct err *err);
/* The source of a bind as a detached tree with all options of the mount but its id map. */
int rootfs__open_bind(const struct plan_mount *m, struct err *err);
/* The same of a source within the container's root, looked up in it as it is now. */
int rootfs__open_bind_within(int root_fd, const struct plan_mount *m, struct err *err);
/* Gives a detached tree the id map of a user namespace. */
int rootfs__map_tree(int tree, int userns_fd, const struct plan_mount *m, struct err *err);
/* A new filesystem, detached, with all options. */
int rootfs__new_filesystem(const struct plan_mount *m, const char *label, struct err *err);
int rootfs__dress(int tree_fd, const struct plan_mount *m, struct err *err);
/* The overlay at plan->root, in the calling process's mount namespace. */
int rootfs__mount_overlay(const struct plan *plan, struct err *err);
/* Copies what is in the directory `from_fd` into the empty `to_fd`; symlinks are copied, mounts not entered,
 * and the destination's size is the bound. */
int rootfs__copy_up(int from_fd, int to_fd, const char *what, struct err *err);

/* Whether only mount(2) knows what the config asks for. */
bool rootfs__needs_old_mount(const struct plan_mount *m);
/* The quick way: see late.c. The first two in the parent; the others in the child. */
bool rootfs__can_be_late(const struct plan *plan);
int rootfs__late_descriptor(void); /* which the others need */
int rootfs__open_late_root(const struct plan *plan, struct err *err);
int rootfs__enter_late(int root_fd, struct err *err);
/* In the parent: the device nodes of a container with a user namespace, which may not make any itself. */
int rootfs__prepare_nodes(struct plan *plan, struct err *err);
/* Covers for masked files and directories, shared by all containers of a process; negative where the kernel
 * cannot share them (before 6.15). */
void rootfs__make_covers(void);
int rootfs__cover_top(void); /* to be kept open while the others are used */
int rootfs__cover_null(void);
int rootfs__cover_empty(void);

#endif
