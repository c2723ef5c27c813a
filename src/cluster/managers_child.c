/* A manager's `drover store run`: started, started again, ended. */
#include "cluster/managers_priv.h"

#include "base/log.h"
#include "base/process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RESTART_MS = 1000, /* `drover store run` itself has longer pauses */
    END_MS = 8000,     /* it hands over the lead, and waits for its connections */
};

static char **command(const struct managers *m)
{
    char **argv = NULL;
    strv_add(&argv, "drover");
    strv_add(&argv, "store");
    strv_add(&argv, "run");
    strv_add(&argv, "--address");
    strv_add(&argv, m->address);
    strv_add(&argv, "--ca");
    strv_add(&argv, m->tls.authority);
    strv_add(&argv, "--cert");
    strv_add(&argv, m->tls.certificate);
    strv_add(&argv, "--key");
    strv_add(&argv, m->tls.key);
    strv_add(&argv, "--revoked");
    strv_add(&argv, m->tls.revoked);
    if (!m->others)
        strv_add(&argv, "--bootstrap");
    STRV_FOREACH (o, m->others) {
        strv_add(&argv, "--join");
        strv_add(&argv, *o);
    }
    strv_add(&argv, m->directory);
    return argv;
}

/* Only calls between fork and execve that are safe beside other threads. */
static _Noreturn void become_store(const char *path, char *const *argv, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent)
        execv(path, argv);
    _exit(127);
}

/* The kernel sends a child its PDEATHSIG when the thread ends that made it: only the managers' thread. */
static void start_child(struct managers *m)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_strv_ char **argv = command(m);
    struct err err;
    if (process_self_path(&path, &err) < 0) {
        log_error("managers: %s", err.msg);
        return;
    }
    pid_t parent = getpid(), child = fork();
    if (child == 0)
        become_store(path, argv, parent);
    if (child < 0)
        log_error("managers: start the store: %m");
    m->child = MAX(child, 0);
}

void managers__tend_child(struct managers *m, int64_t *started_ns)
{
    int status;
    if (m->child && waitpid(m->child, &status, WNOHANG) == m->child) {
        log_warning("managers: the store ended (%s %d)", WIFSIGNALED(status) ? "signal" : "status",
                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        m->child = 0;
    }
    int64_t now = time_monotonic_ns();
    if (!m->child && (!*started_ns || now - *started_ns >= RESTART_MS * NS_PER_MS)) {
        *started_ns = now;
        start_child(m);
    }
}

void managers__end_child(struct managers *m)
{
    int64_t until_ns = time_monotonic_ns() + END_MS * NS_PER_MS;
    int status;
    if (!m->child)
        return;
    kill(m->child, SIGTERM);
    while (waitpid(m->child, &status, WNOHANG) == 0) {
        if (time_monotonic_ns() > until_ns)
            kill(m->child, SIGKILL); /* its own child goes with it */
        time_sleep_ns(10 * NS_PER_MS);
    }
    m->child = 0;
}
