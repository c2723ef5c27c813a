/* Running another program of the host and collecting what it says. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include "base/str.h"

#include <sys/types.h>

struct err;

/* Runs argv[0] (looked up in PATH) with `input` (may be NULL) on stdin; stdout and stderr, up to 1 MiB
 * together, go to `ret_output` (may be NULL). 0 when it exited with 0; else an error with its exit status and
 * last line of output. */
int process_run(const char *const *argv, const char *input, struct str *ret_output, struct err *err);

/* The same without input, and what it says is given to `sink` as it comes, however much that is. When that
 * fails the program is killed, and its error is the one returned. */
typedef int (*process_sink_fn)(void *context, const char *bytes, size_t n, struct err *err);
int process_run_into(const char *const *argv, process_sink_fn sink, void *context, struct err *err);

/* Starts argv[0] (an absolute path) as a daemon of its own session, whose parent is not us: stdin from `in`
 * (negative: /dev/null), stdout and stderr appended to `log_path`, every other descriptor closed. Its later
 * death is nobody's here. */
int process_spawn_daemon(const char *const *argv, int in, const char *log_path, struct err *err);

/* Of /proc/PID/stat: what a process is, or was as long as its parent has not waited for it. */
struct process_stat {
    char state; /* 'Z': it has ended */
    pid_t parent;
    uint64_t start; /* see process_start_time() */
    bool executed;  /* it has been made by a clone and then executed a program */
    int exit_code;  /* as waitpid(2) has it; 0 too when we may not know (CAP_SYS_PTRACE) */
};
bool process_stat(pid_t pid, struct process_stat *ret);

/* When the process was started, in the kernel's ticks: with its number it names one process for ever. 0 when
 * there is none. */
uint64_t process_start_time(pid_t pid);

/* Whether we are in a user namespace that does not have all ids of the machine: there root may not do what
 * only the machine's root may (make device nodes, write trusted extended attributes, raise limits). */
bool process_in_user_namespace(void);

/* The highest group id up to which all have a number in our user namespace; 2^31-1 where all have. */
uint32_t process_last_group(void);

/* For a process of which a container's program can come to be a copy: a child of ours, until its execve, and
 * an execve of "/proc/self/exe", a script or a dynamic loader of the image's making, run our own binary,
 * whose /proc/PID/exe then leads out of the container, to a file that the machine's root may write
 * (CVE-2019-5736). Executes the binary again from a read-only mount of it that is mounted nowhere, or from a
 * sealed copy where no mount may be made; returns 0 at once in the process that this makes. Early:
 * descriptors that are CLOEXEC and everything in memory are lost. */
int process_guard_binary(char *const *argv, struct err *err);

/* The path of the running binary, as a new process can execute it. */
int process_self_path(char **ret, struct err *err);

#endif
