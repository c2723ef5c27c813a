#include "runtime/hooks.h"

#include "base/json.h"
#include "base/timeutil.h"
#include "runtime/runtime.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_HOOKS = 256, OUTPUT_KEPT = 512 };

static const char *const kind_names[HOOK_KINDS_] = {
    [HOOK_PRESTART] = "prestart",
    [HOOK_CREATE_RUNTIME] = "createRuntime",
    [HOOK_CREATE_CONTAINER] = "createContainer",
    [HOOK_START_CONTAINER] = "startContainer",
    [HOOK_POSTSTART] = "poststart",
    [HOOK_POSTSTOP] = "poststop",
};

const char *hooks_kind_name(enum hook_kind kind)
{
    return kind_names[kind];
}

/* --- reading --- */

static int parse_hook(const json_t *entry, const char *where, struct hook *ret, struct err *err)
{
    int64_t timeout = 0;
    if (!json_is_object(entry))
        return err_set(err, ERR_INVALID, "\"%s\" has an entry that is not an object", where);
    int r = json_get_string(entry, where, "path", &ret->path, err);
    if (r == 0)
        r = json_get_strv(entry, where, "args", &ret->args, err);
    if (r == 0)
        r = json_get_strv(entry, where, "env", &ret->env, err);
    if (r == 0)
        r = json_get_i64(entry, where, "timeout", &timeout, err);
    if (r < 0)
        return r;
    if (str_empty(ret->path) || *ret->path != '/')
        return err_set(err, ERR_INVALID, "\"%s.path\" must be an absolute path, not \"%s\"", where,
                       ret->path ? ret->path : "");
    bool given = json_is_integer(json_object_get(entry, "timeout"));
    if (given && (timeout <= 0 || timeout > INT_MAX / 1000))
        return err_set(err, ERR_INVALID, "\"%s.timeout\" must be a number of seconds above 0, not %lld",
                       where, (long long)timeout);
    ret->timeout_s = (int)timeout;
    return 0;
}

static int parse_kind(const json_t *all, enum hook_kind kind, struct hooks *hooks, struct err *err)
{
    char where[48];
    json_t *list = NULL, *entry;
    int r = json_get_array(all, "hooks", kind_names[kind], &list, err);
    if (r < 0 || json_array_size(list) == 0)
        return r;
    if (json_array_size(list) > MAX_HOOKS)
        return err_set(err, ERR_LIMIT, "\"hooks.%s\" has more than %d entries", kind_names[kind], MAX_HOOKS);
    snprintf(where, sizeof(where), "hooks.%s", kind_names[kind]);
    hooks->lists[kind] = NEW_N(struct hook, json_array_size(list));
    hooks->any = true;
    size_t i;
    json_array_foreach (list, i, entry) {
        hooks->counts[kind]++;
        if ((r = parse_hook(entry, where, &hooks->lists[kind][i], err)) < 0)
            return r;
    }
    return 0;
}

int hooks_parse(const json_t *spec, struct hooks *ret, struct err *err)
{
    json_t *all = NULL;
    struct hooks hooks = {0};
    int r = json_get_object(spec, "", "hooks", &all, err);
    for (int kind = 0; kind < HOOK_KINDS_ && r == 0; kind++)
        r = parse_kind(all, (enum hook_kind)kind, &hooks, err);
    if (r < 0)
        hooks_done(&hooks);
    else
        *ret = hooks;
    return r;
}

void hooks_done(struct hooks *hooks)
{
    for (int kind = 0; kind < HOOK_KINDS_; kind++) {
        for (size_t i = 0; i < hooks->counts[kind]; i++) {
            strv_free(hooks->lists[kind][i].args);
            strv_free(hooks->lists[kind][i].env);
        }
        free(hooks->lists[kind]);
    }
    *hooks = (struct hooks){0};
}

/* --- running --- */

/* The last bytes that a hook said, for the error. */
struct tail {
    char text[OUTPUT_KEPT + 1];
    size_t len;
};

static void tail_add(struct tail *t, const char *bytes, size_t n)
{
    if (n > OUTPUT_KEPT) {
        bytes += n - OUTPUT_KEPT;
        n = OUTPUT_KEPT;
    }
    size_t keep = MIN(t->len, OUTPUT_KEPT - n);
    memmove(t->text, t->text + t->len - keep, keep);
    memcpy(t->text + keep, bytes, n);
    t->len = keep + n;
    t->text[t->len] = '\0';
}

static const char *tail_line(struct tail *t)
{
    while (t->len && (t->text[t->len - 1] == '\n' || t->text[t->len - 1] == ' '))
        t->text[--t->len] = '\0';
    return t->len ? t->text : "it said nothing";
}

static _Noreturn void become(const struct hook *hook, char **env, int in, int out)
{
    /* Ignored signals and the mask would be handed on. */
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid(); /* a group of its own, to be killed as one */
    char *plain[] = {(char *)hook->path, NULL};
    if (dup2(in, 0) >= 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0 &&
        syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        execve(hook->path, hook->args && hook->args[0] ? hook->args : plain, hook->env ? hook->env : env);
    dprintf(2, "%s", strerror(errno));
    _exit(127);
}

struct run {
    pid_t pid;
    int pidfd, in, out;
    const char *left; /* of the state */
    int64_t deadline_ns;
    struct tail tail;
};

/* False at the end of what it says. */
static bool take_output(struct run *run)
{
    char bytes[1024];
    ssize_t n = read(run->out, bytes, sizeof(bytes));
    if (n > 0)
        tail_add(&run->tail, bytes, (size_t)n);
    return n > 0 || (n < 0 && errno == EINTR);
}

static void give_state(struct run *run)
{
    size_t n = strlen(run->left);
    ssize_t written = n ? write(run->in, run->left, n) : 0;
    if (written > 0)
        run->left += written;
    /* A hook need not read; then the pipe breaks. */
    if (!*run->left || (written < 0 && errno != EAGAIN && errno != EINTR))
        run->in = close_fd(run->in);
}

/* Until the hook itself has ended: what it leaves behind may keep its output open. */
static int attend(struct run *run, const struct hook *hook, struct err *err)
{
    for (;;) {
        int timeout = -1;
        if (hook->timeout_s) {
            int64_t left = run->deadline_ns - time_monotonic_ns();
            if (left <= 0)
                return err_set(err, ERR_TIMEOUT, "it did not end within %d s", hook->timeout_s);
            timeout = (int)(left / 1000000) + 1;
        }
        struct pollfd fds[3] = {{.fd = run->pidfd, .events = POLLIN},
                                {.fd = run->out, .events = POLLIN},
                                {.fd = run->in, .events = POLLOUT}};
        if (poll(fds, 3, timeout) < 0 && errno != EINTR)
            return err_sys(err, errno, "poll");
        if (fds[1].revents && !take_output(run))
            run->out = close_fd(run->out);
        if (fds[2].revents)
            give_state(run);
        if (fds[0].revents)
            return 0;
    }
}

/* "bad system call" */
static const char *signal_text(int signal_)
{
    static char text[64];
    const char *name = sigdescr_np(signal_);
    snprintf(text, sizeof(text), "%s", name ? name : "unknown");
    *text = (char)tolower((unsigned char)*text);
    return text;
}

static int judge(struct run *run, struct err *err)
{
    int status;
    while (waitpid(run->pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_sys(err, errno, "wait");
    fcntl(run->out, F_SETFL, O_NONBLOCK);
    while (run->out >= 0 && take_output(run))
        ;
    if (WIFSIGNALED(status))
        return err_set(err, ERR_SYSTEM, "killed by signal %d (%s)", WTERMSIG(status),
                       signal_text(WTERMSIG(status)));
    if (WEXITSTATUS(status))
        return err_set(err, ERR_SYSTEM, "exit status %d: %s", WEXITSTATUS(status), tail_line(&run->tail));
    return 0;
}

static int run_hook(const struct hook *hook, const char *state, char **env, struct err *err)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    _cleanup_close_ int in_read = in[0], in_write = in[1];
    if (pipe2(out, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    _cleanup_close_ int out_read = out[0], out_write = out[1];
    struct run run = {.left = state,
                      .deadline_ns = time_monotonic_ns() + hook->timeout_s * INT64_C(1000000000)};
    run.pid = fork();
    if (run.pid < 0)
        return err_sys(err, errno, "fork");
    if (run.pid == 0)
        become(hook, env, in_read, out_write);
    in_read = close_fd(in_read);
    out_write = close_fd(out_write);
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, run.pid, 0);
    run.pidfd = pidfd;
    run.in = take_fd(&in_write);
    run.out = take_fd(&out_read);
    fcntl(run.in, F_SETFL, O_NONBLOCK);
    int r = pidfd < 0 ? err_sys(err, errno, "pidfd_open") : attend(&run, hook, err);
    if (r < 0) {
        kill(-run.pid, SIGKILL);
        kill(run.pid, SIGKILL);
        judge(&run, NULL);
    } else {
        r = judge(&run, err);
    }
    close_fd(run.in);
    close_fd(run.out);
    return r;
}

int hooks_run(const struct hooks *hooks, enum hook_kind kind, const char *state, char **env, struct err *err)
{
    if (!hooks->counts[kind])
        return 0;
    /* A hook that ends without reading must not end us. */
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGPIPE, &ignore, &before);
    int r = 0;
    for (size_t i = 0; i < hooks->counts[kind] && r == 0; i++) {
        r = run_hook(&hooks->lists[kind][i], state, env, err);
        if (r < 0)
            err_wrap(err, "error running %s hook #%zu: %s", kind_names[kind], i, hooks->lists[kind][i].path);
    }
    sigaction(SIGPIPE, &before, NULL);
    return r;
}

int runtime_run_hooks(const json_t *spec, const char *kind, const json_t *state, struct err *err)
{
    struct hooks hooks;
    int r = hooks_parse(spec, &hooks, err);
    if (r < 0)
        return r;
    enum hook_kind k = 0;
    while (k < HOOK_KINDS_ && !str_eq(kind, kind_names[k]))
        k++;
    _cleanup_free_ char *text = json_format(state);
    r = k == HOOK_KINDS_ ? err_set(err, ERR_INVALID, "there are no \"%s\" hooks", kind)
                         : hooks_run(&hooks, k, text, environ, err);
    hooks_done(&hooks);
    return r;
}

/* --- state --- */

struct hook_state hooks_state(const char *id, const char *bundle, const char *status, const json_t *spec)
{
    _cleanup_json_ json_t *head = json_pack("{s:s}", "ociVersion", RUNTIME_SPEC_VERSION);
    _cleanup_json_ json_t *rest = json_object();
    json_set_str(head, "id", id);
    json_set_str(head, "status", status);
    json_set_str(rest, "bundle", bundle ? bundle : "");
    json_t *annotations = json_object_get(spec, "annotations");
    if (json_object_size(annotations))
        json_object_set(rest, "annotations", annotations);
    _cleanup_free_ char *a = json_format(head), *b = json_format(rest);
    return (struct hook_state){.before = str_printf("%.*s,\"pid\":", (int)strlen(a) - 1, a),
                               .after = str_printf(",%s", b + 1)};
}

char *hooks_state_of(const struct hook_state *state, pid_t pid)
{
    return str_printf("%s%d%s", state->before, (int)pid, state->after);
}

void hooks_state_done(struct hook_state *state)
{
    free(state->before);
    free(state->after);
    *state = (struct hook_state){0};
}
