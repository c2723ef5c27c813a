/* One container or one more process in it, from an OCI runtime config (runtime-spec 1.3, config.md and
 * config-linux.md).
 *
 * The caller is a single-threaded process that will be the parent of what is started (the keeper, or
 * drover-oci). A launch returns at once with the child's pid, pidfd and a status descriptor; the child sets
 * itself up (namespaces, mounts, pivot_root, cgroups, capabilities, seccomp, user) and executes the program.
 * Read the result with runtime_launch_result() when `status_fd` is readable: the set-up error with its cause,
 * or success, which is the moment of execve. On an error
 * the child is gone: the caller reaps it, then drops the cgroup (cgroup_remove, cgroup_free); mounts and
 * namespaces went with the child. When runtime_launch() itself fails, nothing was made.
 *
 * Needs Linux 5.12 (mount_setattr, clone3, setns on a pidfd).
 *
 * Nothing from inside the container is trusted: paths in its root are opened with RESOLVE_IN_ROOT, mounts are
 * made on descriptors, /proc is checked to be procfs before it is written. */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

/* The newest version of the specification that is done here. */
#define RUNTIME_SPEC_VERSION "1.3.0"
/* Annotation: with "1" the program begins with its signals blocked. */
#define RUNTIME_BLOCK_SIGNALS "org.drover.block-signals"
/* Annotation: where drover-oci sends a pidfd of the container's process. */
#define RUNTIME_PIDFD_RECEIVER "run.oci.pidfd_receiver"

/* A container's cgroup in whichever hierarchies this host has: see cgroup.h. */
struct cgroup;

struct runtime_overlay {
    const char *layers_dir;
    const char *const
        *lowers;              /* names relative to layers_dir, top first, NULL-terminated; NULL: no overlay */
    const char *upper, *work; /* absolute */
    /* What is written may be lost with the machine's power, also after fsync: for containers that nobody will
     * want after their end. Saves the wait for the disk when the last process ends (milliseconds). Once the
     * file system below has failed to write anything, anybody's, each fsync in there fails with EIO until the
     * end: told rather too often than not at all. */
    bool is_volatile;
};

struct runtime_launch {
    const char *id;
    const json_t *spec; /* the whole config for a container; only "process" counts for an exec */
    const char *root;   /* host path that becomes / (overlay mounted over it, or bind as it is) */
    struct runtime_overlay overlay;
    bool root_ready; /* root_fd, a detached mount tree that stays the caller's, becomes / instead */
    int root_fd;
    int stdio[3]; /* descriptors to become 0, 1, 2; without a terminal */
    /* A pty is made in the container's own devpts and becomes 0, 1, 2, the controlling terminal and
     * /dev/console; its master is sent over console_fd, a connected unix stream socket (SCM_RIGHTS). */
    bool tty;
    int console_fd;
    const int *fds; /* "fd:N" in a namespace's path, or as a bind's source, means fds[N] */
    size_t fd_count;
    /* The child waits, set up, for runtime_launch_confirm(), and ends when all copies of its status_fd are
     * closed before: a launch that nobody knows of runs nothing. status_fd is a stream socket then. */
    bool confirmed;
    /* n > 0: the caller has many descriptors from n on that a child has nothing to do with, such as those of
     * the containers that run already. To copy them into each child and to close them there costs the kernel
     * more than all else when there are thousands: children are born without them (usher.h). */
    int parked_from;

    /* Who is to make the child: NULL, or one that has nothing else to do. What is no launch for a starter, or
     * does not reach it, is done without. It reads the config from config_fd again, with its own function. */
    const struct runtime_starter *starter;
    int config_fd;

    /* Called with what is left out of the config although the specification lets it be asked for; NULL: said
     * to nobody. */
    void (*warn)(const char *message);

    /* What only an OCI command line asks for; all zero for the keeper, whose loop must never block. */
    const char *bundle;    /* absolute; for the state that hooks and the seccomp listener are given */
    unsigned preserve_fds; /* descriptors 3 to 2 + n stay open in the program */
    bool no_pivot, no_new_keyring, systemd_cgroup;
    bool mounts_in_place; /* without a mount namespace: the root is a mount that the caller takes off
                             afterwards */
    bool plain_newlines;  /* the carriage return of a line is for another terminal to add, behind this one */
    bool two_phase;       /* start_fd counts: the child stops when all is set up, until runtime_start() */
    int start_fd;         /* a listening unix stream socket; closed in the program */
};

struct runtime_child {
    pid_t pid; /* 0: a starter makes it; see runtime_launch_born() */
    int pidfd;
    int status_fd;
};

int runtime_launch(const struct runtime_launch *launch, struct cgroup **ret_cgroup, struct runtime_child *ret,
                   struct err *err);
/* For a launch that a starter was given, when `status_fd` is readable: the child's pid and pidfd. On an error
 * there is no child, and nothing to reap. */
int runtime_launch_born(int status_fd, struct runtime_child *ret, struct err *err);
/* One more process in the container whose first process is `pid` (held as `pidfd`, so that the number cannot
 * have been reused) and whose whole config is `container_spec`: joins its namespaces, cgroup, root, seccomp
 * and capabilities bound. */
int runtime_exec(const struct runtime_launch *launch, const json_t *container_spec, pid_t pid, int pidfd,
                 struct cgroup *cgroup, struct runtime_child *ret, struct err *err);
/* 0 when the program has been executed; else why not. Blocks from the moment the descriptor becomes readable
 * only for the execve itself. Closes nothing. ERR_NOT_FOUND and ERR_DENIED are Docker's 127 and 126. */
int runtime_launch_result(int status_fd, struct err *err);
/* Only with `confirmed`. Lets the child go on; once more is harmless. */
void runtime_launch_confirm(int status_fd);
/* Only with `confirmed`, after the hang-up (EPOLLRDHUP) of status_fd: whether the program has been executed.
 * It takes nothing from the descriptor, so that another process may ask again. */
bool runtime_launch_executed(int status_fd);

/* Lets a two-phase launch go on: connects to the socket at `path` (any length), and returns when the program
 * has been executed, or with why not. ERR_CONFLICT: it has been started before. */
int runtime_start(const char *path, struct err *err);
/* Runs the hooks of one kind ("poststart", "poststop", ...: config.md, "POSIX-platform Hooks") one after the
 * other with `state` (the JSON of `state`) on their stdin, each within its timeout. Stops at the first that
 * fails. runtime_launch() runs prestart, createRuntime, createContainer and startContainer itself, and blocks
 * for them. */
int runtime_run_hooks(const json_t *spec, const char *kind, const json_t *state, struct err *err);
/* Only the root, at launch->root, in the caller's own mount namespace (which becomes private to it before):
 * for a caller that leaves the rest to another runtime. */
int runtime_mount_root(const struct runtime_launch *launch, struct err *err);
/* What this runtime can do on this machine: features.md of the runtime-spec. */
json_t *runtime_features(void);

/* A config with Docker's defaults to start from: mounts, masked and read-only paths, default capabilities,
 * the default seccomp policy, devices, namespaces pid, mount, uts, ipc, cgroup (network is the caller's to
 * add). */
json_t *runtime_default_spec(void);
/* The same without seccomp, made once for the whole process: not to be changed. */
const json_t *runtime_shared_defaults(void);
/* Docker's default seccomp policy narrowed to the architecture and to what `capabilities` (list of "CAP_X")
 * allow; "linux.seccomp" of a config. */
json_t *runtime_default_seccomp(char *const *capabilities);
/* Names of all capabilities this kernel has and this process can give, as "CAP_X", in a static
 * NULL-terminated list. A config may ask for others: they are left out, with a word
 * to `warn`. */
char *const *runtime_all_capabilities(void);

#endif
