/* The child of a launch, from clone3 to execve. Private to the runtime. */
#ifndef RUNTIME_CHILD_H
#define RUNTIME_CHILD_H

#include "runtime/cgroup.h"
#include "runtime/plan.h"

struct child {
    const struct plan *plan;
    const struct cgroup *cgroup;
    bool in_cgroup; /* was born in it (CLONE_INTO_CGROUP) */
    bool mapped;    /* is in a user namespace: see launch.c for what the parent does then */
    bool is_exec;   /* is in the container already: child__go_ahead() */
    bool joined;    /* its usher has joined the namespaces that are not new */
    bool no_new_keyring, reset_affinity, plain_newlines;
    bool make_cwd; /* when the image has no such directory */
    int stdio[3];
    int status_fd;         /* where the outcome goes; negative while it waits to be started */
    pid_t container_pid;   /* exec: the container's first process */
    int container_fd;      /* exec: pidfd of the container's first process; else negative */
    int container_root_fd; /* exec: its root, where that is not its mount namespace's; else negative */
    int start_fd;          /* listening; negative: one phase */
    int console_fd;        /* who gets the terminal's master; negative: stdio are what was given */
    unsigned preserve_fds;
    bool confirmed;  /* waits for CHILD_CONFIRMED on status_fd */
    int parked_from; /* descriptors from here on it never has; 0: it has copies of all */
    /* To the parent, for what only it can do; negative when there is no such thing. The other end is the
     * parent's, of which the child has a copy to close. */
    int sync_fd, sync_other_fd;
    pid_t outer_pid; /* as the parent sees it; 0 without a sync_fd or a starter */
    bool by_starter; /* shares the memory of one, and tells its pid */
    bool executing;  /* all is done but the execve */
    struct hook_state hook_state;
};

/* What goes through the status pipe: this byte once all is set up and execve is next, and a struct err when
 * anything failed, before or after. The pipe closes with execve. */
enum { CHILD_READY = 'r', CHILD_CONFIRMED = 'c', CHILD_BORN = 'b' };
/* Comes first from a child that a starter made. No code of an err is as large as the tag. */
struct child_born {
    int tag;
    pid_t pid;
};
/* What goes through sync_fd: the child's pid (int) once the parent has done its part; then, with hooks or
 * trees for the parent to map, ints from the child: the index of a mount, with its tree, for which a struct
 * err comes back; at last CHILD_MOUNTED, and one byte back when prestart and createRuntime are through. */
enum { CHILD_MOUNTED = -1, CHILD_GO_ON = 'g' };

/* In the parent, before its first clone: what it ignores, for all its children. */
void child__know_signals(void);
/* In the parent: the highest of the descriptors that the child will use. */
int child__highest_descriptor(const struct child *c);
/* Never returns. */
_Noreturn void child_run(struct child *c);

/* The first half of an exec, in an usher. */
int child__go_ahead(struct child *c, struct err *err);
void child__report_ready(const struct child *c);
void child__report(int fd, const void *bytes, size_t n);
/* Closes all from `first` on but `keep` (negative ones count for nothing). */
int child__close_others(int first, const int *keep, size_t count, struct err *err);

/* Tells the parent that all is set up, and returns when somebody wants it to go on. From then on the outcome
 * goes to that one. */
int child__await_start(struct child *c, struct err *err);

/* Inside the container: makes a terminal, sends its master away, and takes its slave as stdio. */
int child__open_console(struct child *c, struct err *err);
int child__bind_console(const struct child *c, struct err *err); /* stdin as /dev/console */

/* New and joined namespaces, but for those that the clone made. */
int child__enter_namespaces(const struct child *c, struct err *err);

/* The environment of the program: the config's, with a HOME from the container's /etc/passwd when it has
 * none. */
char **child__environment(const struct plan_process *process);
/* What child__execute() would say of a program that is not there or may not be executed. */
int child__check_program(const struct plan_process *process, char **env, struct err *err);
/* Finds the program and becomes it; returns only with an error. */
int child__execute(const struct plan_process *process, char **env, struct err *err);

#endif
