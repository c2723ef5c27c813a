/* Files and descriptors: whole reads and writes, atomic replacement, trees, and opening a path inside a root
 * that its owner controls.
 *
 * Sizes that another party chooses are bounded by the caller's `max` argument (ERR_LIMIT beyond it). */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/str.h"

#include <sys/stat.h>
#include <sys/types.h>

struct err;

/* All bytes or an error; interrupted calls go on. */
int file_write_all(int fd, const void *bytes, size_t n, struct err *err);
/* For a file that is written from its beginning on and synced at its end: has the disk begin with what came
 * since *begun, when that is a good deal, so that the sync finds little left. Changes nothing but the time it
 * takes. */
void file_write_behind(int fd, int64_t size, int64_t *begun);
/* Up to `n` bytes until end of file. Returns the count, or a negative code. */
ssize_t file_read_full(int fd, void *buffer, size_t n, struct err *err);
int file_read(const char *path, size_t max, struct str *ret, struct err *err);
int file_read_at(int dir_fd, const char *path, size_t max, struct str *ret, struct err *err);
int file_read_fd(int fd, size_t max, struct str *ret, struct err *err);

/* Replaces `path` so that a reader or a crash sees the old content or the new, never a part: temporary file
 * in the same directory, write, rename. With `durable`, also fsync of the file and of the directory. */
int file_replace(const char *path, const void *bytes, size_t n, mode_t mode, bool durable, struct err *err);
/* Writes into an existing file such as one of /proc or /sys in one write(2). */
int file_poke(const char *path, const char *text, struct err *err);
int file_poke_at(int dir_fd, const char *path, const char *text, struct err *err);

int file_mkdirs(const char *path, mode_t mode, struct err *err); /* like mkdir -p */
bool file_exists(const char *path);
/* Removes a tree; what is not there is not an error. Never follows a symlink, never crosses into a mount. */
int file_remove_tree(const char *path, struct err *err);
int file_remove_tree_at(int dir_fd, const char *name, struct err *err);
int file_fsync_dir(const char *path, struct err *err);

/* Opens `path` as seen by a process whose root directory is `root_fd`: symlinks and ".." are resolved inside
 * it (openat2 with RESOLVE_IN_ROOT), so that the root's owner cannot lead us out. Returns the descriptor or a
 * negative code. `flags` get O_CLOEXEC. */
int file_open_in_root(int root_fd, const char *path, int flags, mode_t mode, struct err *err);
/* The same, and no link is followed, not on the way either. -1 with errno (ELOOP, ENOENT, ...). */
int file_open_below(int root_fd, const char *path, int flags);
/* The same, creating missing directories (mode 0755) on the way; returns an O_PATH descriptor of the
 * directory. */
int file_mkdirs_in_root(int root_fd, const char *path, mode_t mode, struct err *err);

/* Overlayfs' mark of an opaque directory: an attribute only the machine's root may set, or, in a user
 * namespace (mounts there have the option userxattr), the user's. */
const char *file_overlay_opaque(void);
/* Whether that is the work directory of an overlay that was mounted as a volatile one; see below. */
bool file_overlay_was_volatile(const char *work);
/* Takes off the mark that a volatile overlay leaves in its work directory, by which the kernel refuses to
 * mount it again. What was written may have been lost only if the machine went down, and then whoever called
 * the overlay volatile does not want it any more. Not while it is mounted. */
void file_overlay_forget_volatile(const char *work);

/* Sends one datagram or stream chunk with up to 32 descriptors along; receives likewise (descriptors arrive
 * CLOEXEC; those beyond `fd_capacity` are closed). Return bytes moved, 0 at end of file, or a negative code.
 * What a peer had sent is received also when it has died since. */
enum { FILE_MAX_FDS = 32 };
ssize_t file_send_fds(int sock, const void *bytes, size_t n, const int *fds, size_t fd_count,
                      struct err *err);
ssize_t file_recv_fds(int sock, void *buffer, size_t n, int *fds, size_t fd_capacity, size_t *ret_fd_count,
                      struct err *err);

/* Unix sockets. Listening replaces a dead socket file and refuses a live one (ERR_CONFLICT). `type` is
 * SOCK_STREAM or SOCK_SEQPACKET. Paths of up to 107 bytes; longer ones are reached through the directory. */
int file_listen_unix(const char *path, int type, mode_t mode, int *ret_fd, struct err *err);
int file_connect_unix(const char *path, int type, int *ret_fd, struct err *err);

/* An exclusive advisory lock (flock) on `path`, created if missing; ERR_CONFLICT when another holds it. The
 * lock lives as long as the descriptor. */
int file_lock(const char *path, int *ret_fd, struct err *err);

#endif
