/* The keeper: the small process that holds a node's containers, seen from the process that uses it (`drover
 * serve`).
 *
 * It starts containers through src/runtime, holds their pipes and terminals, writes their logs, and records
 * their exits. It outlives `serve`: whoever connects later learns what happened meanwhile. One keeper per
 * root directory (a lock says so). A process is named by its container's id and an exec id; "" is the
 * container's first process.
 *
 * Files, all under <root>/keeper/:  keeper.sock (unix seqpacket, versioned binary protocol, see protocol.h),
 * keeper.lock, keeper.log, and <id>:container, <id>:exec:<exec id> for each process it knows: what a new
 * keeper needs to find it again.
 *
 * Calling sequence: keeper_open() (starts the process when none answers), keeper_list() to learn the present,
 * then requests from any thread. Exits arrive at `on_exit` on a thread of the client's own, after the last
 * byte of output has been logged and sent to attached streams; each is repeated after a reconnect until
 * keeper_forget() drops it, so the receiver must be idempotent. A short process's exit may arrive before the
 * keeper_start() that started it has returned. When the keeper dies the client reconnects
 * (starting a new one) and calls `on_restart`. */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct keeper;

/* It is not known how the process ended: it did when neither the keeper, its client, nor its holder
 * (holder.h) was there. */
enum { KEEPER_SIGNAL_UNKNOWN = -1 };

struct keeper_exit {
    const char *id;
    const char *exec_id; /* "" for the container's first process */
    int status;          /* as a shell reports it: 0-255; 128 + n when ended by signal n */
    int signal;          /* n, or 0; or KEEPER_SIGNAL_UNKNOWN, with status 137 */
    bool oom_killed;     /* the cgroup counted an out-of-memory kill during its life */
    int64_t at_ns;
};

struct keeper_callbacks {
    void *context;
    void (*on_exit)(void *context, const struct keeper_exit *exit);
    void (*on_restart)(void *context); /* may be NULL */
};

/* How output is kept. The file format is in log_file.h; readers use log_reader.h. */
struct keeper_log {
    const char *path;  /* the current file; rotated ones are path.1, path.2, ...; NULL keeps none */
    int64_t max_bytes; /* of one file; 0: LOG_DEFAULT_BYTES */
    int max_files;     /* 0: LOG_DEFAULT_FILES */
};

/* An overlay root that the runtime mounts inside the container's own mount namespace, so that it goes with
 * it. NULL lowers: spec root.path is used as it is. */
struct keeper_overlay {
    const char
        *layers_dir; /* lowers are names relative to it, top layer first, to keep mount(2) within a page */
    const char *const *lowers; /* NULL-terminated */
    const char *upper;         /* absolute */
    const char *work;
    /* What the container writes to its root need not outlive the machine's going down, even after its fsync:
     * see runtime.h. A keeper too old to know it mounts as ever. */
    bool is_volatile;
};

/* As "linux.seccomp" of a spec: the runtime's default policy for the spec's bounding capabilities. The policy
 * is far longer than the rest of a config, and the keeper has it. */
#define KEEPER_SECCOMP_DEFAULT "default"

/* Another OCI runtime (runc, crun, ...), which is asked instead of our own. */
struct keeper_runtime {
    const char *path;        /* absolute; NULL: our own */
    const char *const *args; /* before those of each command; NULL-terminated, or NULL */
};

struct keeper_start {
    const char *id;     /* [a-zA-Z0-9_.-]{1,128} */
    const json_t *spec; /* OCI runtime config; namespaces with path "fd:N", and binds of the detached tree
                         * "fd:N", take the N-th of `fds` */
    struct keeper_overlay overlay;
    const char *root; /* the directory the overlay is mounted over (or the plain root); exists */
    struct keeper_log log;
    bool open_stdin;       /* false: stdin is /dev/null */
    bool stdin_once;       /* end of file on stdin when the first attached stream closes its side */
    bool tty;              /* spec process.terminal must agree */
    int rows, columns;     /* first size of the terminal; 0: unset */
    const int *fds;        /* passed along; stay the caller's */
    size_t fd_count;       /* at most 8 */
    const int *attach_fds; /* streams attached before the first byte; see keeper_attach; stay the caller's */
    size_t attach_count;   /* at most 4 */
    struct keeper_runtime runtime;
    int ready_root; /* n > 0: fds[n - 1] is a detached mount tree that becomes the root, instead of `overlay`
                     */
};

struct keeper_exec {
    const char *id;
    const char *exec_id;
    const json_t *process; /* OCI runtime config's "process" object */
    bool open_stdin, tty;
    bool keep_output; /* false: output goes to attached streams only (as exec does) */
    int rows, columns;
    const int *attach_fds;
    size_t attach_count;
};

enum keeper_state { KEEPER_RUNNING, KEEPER_EXITED };

struct keeper_process {
    char id[129];
    char exec_id[129];
    enum keeper_state state;
    pid_t pid;
    int64_t started_ns;
    struct keeper_exit exit; /* when exited; id and exec_id point into this struct */
};

enum { KEEPER_ATTACH_STDIN = 1, KEEPER_ATTACH_STDOUT = 2, KEEPER_ATTACH_STDERR = 4 };

/* Which program is started as the keeper; default: the environment's DROVER_BINARY, else the running binary,
 * whose main() must hand `keeper --root DIR` to keeper_main(). Before any keeper_open(). */
void keeper_set_binary(const char *path);
/* The process itself: argv is "keeper", "--root", DIR. Returns its exit status. */
int keeper_main(int argc, char **argv);

/* A keeper that runs, or one that was killed, may hold containers of this root. */
bool keeper_may_hold(const char *root);
/* Raises the process's soft limit of descriptors to the hard one: copies of the descriptors of all processes
 * are held here, so that a keeper that dies loses no pipe. */
int keeper_open(const char *root, const struct keeper_callbacks *callbacks, struct keeper **ret,
                struct err *err);
void keeper_close(struct keeper *k); /* the process and its containers live on; not from a callback */
pid_t keeper_pid(struct keeper *k);
/* Whether the keeper answers: sends it a small question, unless the last one has yet to be answered. Returns
 * how long that one has been waiting (or how long no keeper could be reached); 0: none is. Never waits. */
int64_t keeper_silence_ns(struct keeper *k);
/* Ends the keeper process itself; refused (ERR_CONFLICT) while containers run. The groups of those that have
 * ended go, what is known of them stays for the next keeper. */
int keeper_shutdown(struct keeper *k, struct err *err);

/* Replaces the running keeper by the binary at `path`; containers, their output and their exit codes do not
 * notice, attached streams are cut. Returns when the new one answers. */
int keeper_upgrade(struct keeper *k, const char *path, struct err *err);

/* Returns when the program has been executed, or with the reason why not (nothing is left then). The codes
 * tell Docker's exit codes 126 (ERR_DENIED: cannot be executed) and 127 (ERR_NOT_FOUND: no such program)
 * apart. */
int keeper_start(struct keeper *k, const struct keeper_start *start, pid_t *ret_pid, struct err *err);
int keeper_exec(struct keeper *k, const struct keeper_exec *exec, pid_t *ret_pid, struct err *err);

/* Attaches one end of a connected stream socket pair (SOCK_STREAM) to a running process. From the keeper come
 * Docker's frames (one byte stream number 1 or 2, three zeros, 32-bit big-endian length, bytes), also with a
 * terminal, then, after the process has ended, a head of zeros and end of file: without the zeros the keeper
 * died and the stream is cut. Bytes written towards the keeper are stdin;
 * shutdown(SHUT_WR) ends stdin when stdin_once. `fd` stays the caller's (who closes its copy after the call).
 * `flags` of KEEPER_ATTACH_*. A reader that does not read holds the process back only for a bounded time,
 * then is dropped. For streams given with keeper_start and keeper_exec all three flags hold. */
int keeper_attach(struct keeper *k, const char *id, const char *exec_id, int fd, int flags, struct err *err);

/* `all`: every process of the container (its cgroup), as SIGKILL on stop with a shared pid namespace needs.
 */
int keeper_kill(struct keeper *k, const char *id, const char *exec_id, int signal, bool all, struct err *err);
int keeper_resize(struct keeper *k, const char *id, const char *exec_id, int rows, int columns,
                  struct err *err);
int keeper_pause(struct keeper *k, const char *id, bool paused, struct err *err);
int keeper_close_stdin(struct keeper *k, const char *id, const char *exec_id, struct err *err);
/* Array of all processes known, running and exited; the caller frees. */
int keeper_list(struct keeper *k, struct keeper_process **ret, size_t *ret_count, struct err *err);
/* What a running container's output came to that did not get where it should. Zeros with a keeper too old to
 * tell, or that is not there at this instant. */
struct keeper_counters {
    int64_t log_dropped_bytes; /* did not fit on the disk */
    int64_t readers_dropped;   /* attached streams that were not read in time */
};
int keeper_counters(struct keeper *k, const char *id, struct keeper_counters *ret, struct err *err);
/* Drops the record of an exited process; for the first process also the container's cgroup and files. Absent
 * is fine. */
int keeper_forget(struct keeper *k, const char *id, const char *exec_id, struct err *err);
/* The same for a container's first process without waiting for the answer. What is lost with the connection
 * is made good by the exit's repetition. */
void keeper_forget_later(struct keeper *k, const char *id);

#endif
