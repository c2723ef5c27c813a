/* Finding the program and becoming it, with errors in the words that Docker's users and scripts know. */
#include "runtime/child.h"

#include "base/str.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static const char *find_variable(char **env, const char *name)
{
    const char *value = NULL;
    STRV_FOREACH (entry, env) {
        const char *rest = str_after(*entry, name);
        if (rest && *rest == '=') {
            value = rest + 1;
            break;
        }
    }
    return value;
}

static char **search_path(char **env)
{
    const char *search = find_variable(env, "PATH");
    return strv_split(search ? search : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ':');
}

static int no_such(const char *program, struct err *err)
{
    int r = err_set(err, ERR_NOT_FOUND, "exec: \"%s\": executable file not found in $PATH", program);
    if (err)
        err->sys = ENOENT;
    return r;
}

static int err_missing_loader(const char *path, struct err *err)
{
    int r = err_set(err, ERR_NOT_FOUND,
                    "exec %s: no such file or directory: its interpreter or loader is missing in the image",
                    path);
    if (err)
        err->sys = ENOENT;
    return r;
}

/* Why `path` could not be executed; `program` is what the user wrote. */
static int explain(int sys, const char *program, const char *path, struct err *err)
{
    struct stat st;
    switch (sys) {
    case ENOENT:
    case ENOTDIR:
        /* The file is there and its interpreter (of a script, or the dynamic loader) is not. */
        if (stat(path, &st) == 0)
            return err_missing_loader(path, err);
        return err_sys(err, sys == ENOTDIR ? ENOENT : sys, "exec: \"%s\": stat %s", program, path);
    case EACCES:
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            return err_set(err, ERR_DENIED, "exec: \"%s\": is a directory: permission denied", program);
        return err_set(err, ERR_DENIED, "exec: \"%s\": permission denied", program);
    case ENOEXEC:
        return err_set(err, ERR_DENIED, "exec %s: exec format error", path);
    default: {
        int r = err_sys(err, sys, "exec %s", path);
        /* Of the codes, "not found" alone means 127. */
        if (r == -ERR_NOT_FOUND && err)
            err->code = ERR_DENIED;
        return r;
    }
    }
}

static int check_in_path(const char *program, char **env, struct err *err)
{
    _cleanup_strv_ char **dirs = search_path(env);
    _cleanup_free_ char *refused = NULL;
    STRV_FOREACH (dir, dirs) {
        _cleanup_free_ char *path = **dir == '/' ? str_printf("%s/%s", *dir, program) : NULL;
        struct stat st;
        if (!path || stat(path, &st) < 0 || S_ISDIR(st.st_mode))
            continue;
        if (access(path, X_OK) == 0)
            return 0;
        if (!refused)
            refused = take_ptr(path);
    }
    return refused ? explain(EACCES, program, refused, err) : no_such(program, err);
}

int child__check_program(const struct plan_process *process, char **env, struct err *err)
{
    const char *program = process->args[0];
    struct stat st;
    if (!*program)
        return no_such(program, err);
    if (!strchr(program, '/'))
        return check_in_path(program, env, err);
    if (stat(program, &st) < 0)
        return explain(errno, program, program, err);
    return S_ISDIR(st.st_mode) || access(program, X_OK) < 0 ? explain(EACCES, program, program, err) : 0;
}

static int execute_in_path(const struct plan_process *process, char **env, struct err *err)
{
    const char *program = process->args[0];
    _cleanup_strv_ char **dirs = search_path(env);
    _cleanup_free_ char *refused = NULL; /* the first that was there and could not be executed */
    int refusal = 0;
    STRV_FOREACH (dir, dirs) {
        if (**dir != '/') /* a relative part would take programs from the working directory */
            continue;
        _cleanup_free_ char *path = str_printf("%s/%s", *dir, program);
        struct stat st;
        if (stat(path, &st) < 0 || S_ISDIR(st.st_mode))
            continue;
        execve(path, process->args, env);
        if (errno != EACCES)
            return explain(errno, program, path, err);
        if (!refused) {
            refused = take_ptr(path);
            refusal = errno;
        }
    }
    return refused ? explain(refusal, program, refused, err) : no_such(program, err);
}

int child__execute(const struct plan_process *process, char **env, struct err *err)
{
    const char *program = process->args[0];
    sigset_t all;
    sigfillset(&all);
    if (process->block_signals)
        sigprocmask(SIG_SETMASK, &all, NULL);
    if (!*program)
        return no_such(program, err);
    if (!strchr(program, '/'))
        return execute_in_path(process, env, err);
    execve(program, process->args, env);
    return explain(errno, program, program, err);
}
