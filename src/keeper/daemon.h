/* Inside the keeper process: what it knows, and who does what.
 *
 *   daemon.c   main: the lock, the socket, signals, the tick
 *   clients.c  connections: queues of answers and events, dispatch of requests (requests.c)
 *   launch.c   START and EXEC: from the request to the moment of execve
 *   process.c  a process's life: output to log and streams, exit, conclusion
 *   terminal.c a process's terminal: from the master to the log
 *   attach.c   attached streams: frames out, stdin in, back-pressure
 *   foreign.c  containers of other OCI runtimes
 *   holder.c   exit codes of those that outlive a keeper
 *   record.c   files from which a new keeper finds its processes again; adoption of descriptors
 *
 *     LAUNCHING --execve--> RUNNING --ended--> ENDING --output drained, streams sent--> EXITED --FORGET-->
 *         \--set-up failed, reaped--> (freed)
 *
 * How a process ended is recorded before it is reaped, and it is reaped before its output is waited for: what
 * is not reaped keeps its pid namespace, and so its container, from ending.
 *
 * EXIT is told exactly in the step to EXITED, and to each client that says READY later. */
#ifndef KEEPER_DAEMON_H
#define KEEPER_DAEMON_H

#include "base/map.h"
#include "keeper/log_file.h"
#include "keeper/loop.h"
#include "keeper/protocol.h"
#include "runtime/cgroup.h"
#include "runtime/starter.h"

#include <sys/resource.h>

enum {
    BURST_BYTES = LOG_PAYLOAD_BYTES, /* read from a pipe at once */
    ATTACH_BUFFER_BYTES = 64 * 1024, /* pending for one stream before its process is held back */
    STDIN_BUFFER_BYTES = 64 * 1024,
    MAX_CLIENTS = 64,
    MAX_ATTACHED = 64,   /* streams of one process */
    MAX_EXECS = 4096,    /* records of one container */
    MAX_IDS_BYTES = 240, /* both make a file's name */
    STALL_SECONDS = 10,
    LINGER_SECONDS = 2,
    STARTERS_MAX = 4,
    IDLE_SECONDS = 10, /* without clients and containers: many times what a client needs to come */
};

/* Makes containers' first processes in our place: runtime/starter.h. */
struct starter {
    struct daemon *d;
    struct watch w; /* its descriptor; negative: there is none in this place */
    struct runtime_starter starter;
    struct process *busy_with;
    unsigned launches;
};

struct daemon {
    struct loop loop;
    char *dir; /* <root>/keeper */
    char *root;
    int lock_fd;
    int64_t instance; /* tells images of one process apart */
    struct watch listener, signals, children;
    struct client *clients;
    size_t client_count;
    uint64_t next_client;
    struct map containers; /* id -> struct container */
    char *burst;           /* BURST_BYTES */
    bool catching_up;
    int64_t idle_since_ns; /* no client, and nothing held; 0: not so at the last tick */
    int oom_score_adj;     /* what we were born with, for the containers */
    struct rlimit nofile;
    struct starter starters[STARTERS_MAX];
    unsigned launches; /* that a starter could have made */
};

struct foreign;        /* foreign.h: a container of another runtime */
struct foreign_launch; /* a process of one, while it is launched */

struct container {
    struct daemon *d;
    char id[PROTOCOL_ID_BYTES];
    struct process *first;
    struct map execs; /* exec id -> struct process */
    struct cgroup *cgroup;
    struct foreign *foreign; /* NULL: native */
    struct log_file *log;
    char *log_path;
    int64_t log_max_bytes;
    int log_max_files;
    int64_t readers_dropped; /* attached streams that were not read in time */
    bool own_pid_namespace;
    bool memory_limited;
    bool paused;
};

enum process_state { PROCESS_LAUNCHING, PROCESS_RUNNING, PROCESS_ENDING, PROCESS_EXITED };

struct process {
    struct container *c;
    char *exec_id; /* "": the container's first */
    enum process_state state;
    pid_t pid;
    uint64_t pid_start; /* of /proc/PID/stat: with the pid it names one process for ever */
    int64_t started_ns;
    struct watch pidfd, status, stdin_w, out[2]; /* out[0] also a terminal's master */
    struct watch console;   /* where the master of a terminal that is being made will arrive */
    int relay_fd;           /* terminal.c; negative: none */
    uint16_t rows, columns; /* first size of the terminal; 0: unset */
    bool tty, open_stdin, stdin_once, keep_output;
    bool found;        /* by a new keeper: waits for a client that may hold its descriptors */
    bool stdin_ending; /* close when stdin_buffer is empty */
    bool held;         /* output is not read because a stream is full */
    bool warned;
    struct str stdin_buffer;
    struct attach *attached;
    size_t attached_count;
    uint64_t reply_client, reply_request; /* of the launch */
    struct err *launch_err;               /* set: the launch failed, and waits for the reaping */
    int64_t linger_until_ns;
    struct foreign_launch *launching; /* or NULL */
    struct starter *starter;          /* is making it; or NULL */
    struct keeper_exit exit;          /* ids are not set here */
};

struct attach {
    struct watch w;
    struct process *p;
    struct attach *next;
    int flags;
    bool read_ended;
    struct str pending; /* frames not sent; from `sent` on */
    size_t sent;
    int64_t progress_ns;
};

struct client {
    struct watch w;
    struct daemon *d;
    struct client *next;
    uint64_t number;
    bool greeted, ready;
    struct outgoing *first, *last;
    size_t queued;
};

/* daemon.c */
/* Becomes another binary: the process, its lock, its socket and its children stay; what it knows is in its
 * records, and the descriptors come back from the client. Returns only with an error. */
int daemon_execute(struct daemon *d, int binary_fd, struct err *err);

/* clients.c */
void keeper__clients_accept(struct daemon *d);
void keeper__clients_drop_all(struct daemon *d);
/* Descriptors are copied when the message has to wait. */
void keeper__client_send(struct client *cl, const struct str *m, const int *fds, size_t fd_count);
void keeper__client_send_error(struct client *cl, uint64_t request, const struct err *err);
void keeper__client_send_ok(struct client *cl, uint64_t request);
/* Handles what other clients have sent so far, so that nothing of one that died is done after the next one
 * has asked what there is. */
void keeper__clients_catch_up(struct client *cl);
struct client *keeper__client_find(struct daemon *d, uint64_t number); /* NULL when it has gone */
void keeper__clients_tell(struct daemon *d, const struct str *m, const int *fds,
                          size_t fd_count); /* all ready ones */

/* requests.c */
/* The descriptors become the callee's; those it takes it sets to -EBADF. */
void keeper__handle_request(struct client *cl, const void *bytes, size_t n, int *fds, size_t fd_count);

/* launch.c */
int launch_start(struct client *cl, uint64_t request, const struct keeper_start *s, int *fds, bool again,
                 struct err *err);
int launch_exec(struct client *cl, uint64_t request, const struct keeper_exec *e, int *fds, bool again,
                struct err *err);
/* Takes up a launch that is known by its record and by its clients. The descriptor becomes the process's. */
void launch_go_on(struct process *p, int status_fd);

/* The helper of a process that another runtime launches has been reaped; false: the launch failed. */
bool launch_helper_ended(struct process *p);

/* starters.c */
void starters_init(struct daemon *d);
/* One that has nothing to do, for the next launch; or NULL. */
struct starter *starters_idle(struct daemon *d);
void starter_begins(struct starter *s, struct process *p);
/* The launch is over for it, or has failed: then it ends. A process without a starter is fine. */
void starter_done(struct process *p, bool executed);
/* After a launch: makes one more if that one had to do without. */
void starters_refill(struct daemon *d, bool was_missed);
/* It is one of them, or may be the child of one that has not told its pid yet. */
bool starters_know(const struct daemon *d, pid_t pid);
void starters_end(struct daemon *d);
/* Reads the config of a container from what came with a launch. */
int launch_read_spec(int config_fd, void *daemon, json_t **ret, struct err *err);

/* process.c */
struct process *proc_find(struct daemon *d, const char *id, const char *exec_id, struct err *err);
struct process *proc_new(struct container *c, const char *exec_id);
void proc_free(struct process *p); /* also takes it out of its container */
void proc_run(struct process *p);  /* starts reading */
bool proc_keeps_log(const struct process *p);
void proc_watch_pidfd(struct process *p, int pidfd);
void proc_launch_failed(struct process *p); /* says so and frees it; or it ends, when nobody asks */
void proc_launch_undo(struct process *p);   /* as if it had never been asked for */
void proc_ended(struct process *p);         /* status known: records, reaps, drains, concludes */
void proc_ended_before(struct process *p);  /* the same, of one whose end an earlier keeper has recorded */
void proc_exit_unknown(struct process *p);
void proc_conclude_if_done(struct process *p);
void proc_hold_if_full(struct process *p);
void proc_put_hold(struct process *p, struct str *m, int fds[HELD_MAX], size_t *ret_count);
void proc_put_exit(struct process *p, struct str *m);
void proc_close_stdin(struct process *p);
struct container *container_new(struct daemon *d, const char *id);
void container_open_log(struct container *c);
void container_free(struct container *c); /* also takes it out of the map; files stay */
/* How the process ended, as waitpid(2) has it, which the kernel keeps for who holds a pidfd (Linux 6.15). 1:
 * it is known; 0: not before its parent has waited for it; negative: this kernel does not tell. */
int pidfd_exit_code(int pidfd, int *ret_wait_status);
/* Whether the number is that of a process that we have not let go, or of a helper of ours (foreign.c). */
bool daemon_knows(struct daemon *d, pid_t pid);
/* Calls for every process; the callee may free the one it got. */
void daemon_each_process(struct daemon *d, void (*each)(struct process *p, void *context), void *context);

/* terminal.c
 *
 * A terminal's output cannot be spliced into the log: it goes through a pipe of our own, the relay. splice(2)
 * takes bytes from the terminal's queue and puts them into the pipe before the kernel looks at a signal
 * again, so that a kill finds each byte in the terminal, the relay or the log, of which a client holds the
 * first two. A kernel whose terminals cannot be spliced (none since 5.11) says EINVAL: then output is read
 * and written, and a kill between the two costs that burst. */
/* The master (which becomes the process's) of a process that was not yet confirmed. */
int terminal_take(struct process *p, int *fd, struct err *err);
/* For output that is kept, and only before it is told to clients what to hold. */
int terminal_need_relay(struct process *p, struct err *err);
/* Like read(2) into the daemon's burst; the bytes are in the log then. `err`: what is not. */
ssize_t terminal_read(struct process *p, struct err *err);

/* attach.c */
int attach_new(struct process *p, int *fd, int flags, struct err *err);
void attach_output(struct process *p, int stream, const char *bytes, size_t n);
/* Tells all that nothing more comes; nothing may be pending. */
void attach_end(struct process *p);
void attach_drop(struct attach *a);
void attach_drop_all(struct process *p);
bool attach_any_pending(const struct process *p);
bool attach_any_full(const struct process *p);
void attach_check_stalls(struct process *p, int64_t now_ns);
void stdin_start(struct process *p, int fd);
void stdin_resume_readers(struct process *p);

/* record.c */
/* A container's file has three lines: its config, what it runs as, how it ended; that of an exec the last
 * two. The last comes once more when output was left in the pipes. A file of few inodes is what makes this
 * cheap: ext4 finds a new inode slowly after many deletions. */
int record_begin(const struct container *c, struct str *config, struct err *err);
int record_read_config(const struct container *c, json_t **ret, struct err *err);
int record_write(const struct process *p, struct err *err);
/* Once when it has ended, and once more when its output has been taken, if that is later. */
int record_write_exit(const struct process *p, struct err *err);
/* What a keeper's records in this directory name as having run, and not as having ended. */
struct record_open {
    pid_t pid;
    uint64_t start;
};
size_t record_open_processes(const char *dir, struct record_open **ret);
void record_remove(const struct process *p); /* of the first process: also those of its execs */
bool record_any(const char *dir);            /* there is one */
void record_load_all(struct daemon *d);
void record_adopt(struct daemon *d, const char *id, const char *exec_id, unsigned mask, int *fds,
                  size_t fd_count);
/* No client has more to give: what was found goes on with what there is. */
void record_go_on(struct daemon *d);

#endif
