/* docker-init: the first process of a container that asked for one (`--init`).
 *
 *     docker-init -- PROGRAM [ARGUMENT...]
 *
 * It runs the program as its child, hands every signal it gets on to it, takes the ends of whatever processes
 * are left to it, and ends as the program ends: with its exit status, or 128 and the number of the signal.
 * What cannot be executed is 127 when it is not there, else 126.
 *
 * Statically linked, since it runs with the files of any image, and part of the engine's own binary (see
 * init.S): so that it is never missing, or of another version. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Those that a process brings on itself; blocked, they could not tell of a fault of ours. */
static const int own_signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};

static void run(char **argv)
{
    sigset_t none;
    sigemptyset(&none);
    /* A group of its own, in front when there is a terminal: so that ctrl-c reaches the program and its
     * children, as without us. */
    setpgid(0, 0);
    tcsetpgrp(STDIN_FILENO, getpgrp());
    signal(SIGTTIN, SIG_DFL);
    signal(SIGTTOU, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(argv[0], argv);
    int why = errno;
    dprintf(STDERR_FILENO, "docker-init: exec %s: %s\n", argv[0], strerror(why));
    _exit(why == ENOENT || why == ENOTDIR ? 127 : 126);
}

static int status_of(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* All that have ended; true when the program is among them. */
static bool reap(pid_t program, int *ret_status)
{
    bool ended = false;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == program) {
            *ret_status = status_of(status);
            ended = true;
        }
    return ended;
}

int main(int argc, char **argv)
{
    sigset_t all;
    int first = argc > 1 && strcmp(argv[1], "--") == 0 ? 2 : 1, status = 0;
    if (first >= argc) {
        dprintf(STDERR_FILENO, "usage: docker-init -- PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    sigfillset(&all);
    for (size_t i = 0; i < sizeof(own_signals) / sizeof(own_signals[0]); i++)
        sigdelset(&all, own_signals[i]);
    /* The engine starts us with all signals blocked: one that comes before this line waits. */
    sigprocmask(SIG_SETMASK, &all, NULL);
    /* The program takes the terminal, which must not stop us. */
    signal(SIGTTIN, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
    pid_t program = fork();
    if (program < 0) {
        dprintf(STDERR_FILENO, "docker-init: fork: %s\n", strerror(errno));
        return 126;
    }
    if (program == 0)
        run(argv + first);
    while (!reap(program, &status)) {
        int number = sigwaitinfo(&all, NULL);
        if (number > 0 && number != SIGCHLD)
            kill(program, number);
    }
    return status;
}
