/* Further processes in running containers. An exec is remembered until its container goes, or until later
 * ones push it out when it has ended; its fields are guarded by engine.lock. */
#include "engine/engine_priv.h"

#include "base/digest.h"

#include <sys/socket.h>
#include <unistd.h>

enum {
    EXECS_MAX = 1024, /* of one container, running ones included */
    EXEC_CANNOT_EXECUTE = 126,
};

void exec__free(void *exec)
{
    struct exec *x = exec;
    free(x->doc);
    free(x);
}

/* --- the process --- */

static void set_rlimits(json_t *process, const json_t *host)
{
    json_t *list = json_object_get(host, "Ulimits"), *limit, *out = json_array();
    size_t i;
    json_array_foreach (list, i, limit) {
        _cleanup_free_ char *type = str_printf("RLIMIT_%s", json_str(limit, "Name"));
        for (char *p = type; *p; p++)
            if (*p >= 'a' && *p <= 'z')
                *p = (char)(*p - 'a' + 'A');
        json_array_append_new(out, json_pack("{s:s, s:I, s:I}", "type", type, "soft", json_int(limit, "Soft"),
                                             "hard", json_int(limit, "Hard")));
    }
    if (json_array_size(out) > 0)
        json_object_set(process, "rlimits", out);
    json_decref(out);
}

/* Capabilities, no_new_privs and the like as the container has them, or all with --privileged. A user other
 * than root keeps only the bounding set, as after an execve. */
static int set_security(json_t *process, const json_t *host, bool privileged, struct err *err)
{
    _cleanup_json_ json_t *own_host = host ? json_deep_copy(host) : json_object();
    if (privileged)
        json_object_set_new(own_host, "Privileged", json_true());
    _cleanup_json_ json_t *spec = json_pack("{s:O, s:{}}", "process", process, "linux");
    _cleanup_strv_ char **caps = NULL;
    int r = spec__security(own_host, spec, &caps, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *list = json_of_strv(caps), *none = json_array();
    bool root = json_int(json_object_get(process, "user"), "uid") == 0;
    json_t *held = root ? list : none;
    json_object_set_new(process, "capabilities",
                        json_pack("{s:O, s:O, s:O}", "bounding", list, "effective", held, "permitted", held));
    return 0;
}

int exec__process(struct container *c, const json_t *doc, const json_t *body, json_t **ret, struct err *err)
{
    const json_t *config = json_object_get(doc, "Config"), *host = json_object_get(doc, "HostConfig");
    const char *user = json_str(body, "User"), *cwd = json_str(body, "WorkingDir");
    bool tty = json_bool(body, "Tty");
    _cleanup_free_ char *home = NULL;
    _cleanup_strv_ char **groups = NULL, **command = NULL;
    _cleanup_json_ json_t *process = json_object();
    json_t *env = NULL;
    int r = json_get_strv(body, "", "Cmd", &command, err);
    if (r == 0 && !command)
        r = err_set(err, ERR_INVALID, "No exec command specified");
    if (r == 0)
        r = json_get_strv(host, "HostConfig", "GroupAdd", &groups, err);
    if (r == 0)
        r = spec__user(c, NULL, *user ? user : json_str(config, "User"), groups, process, &home, err);
    if (r == 0)
        r = spec__environment(c, config, json_object_get(body, "Env"), tty, home, &env, err);
    if (r < 0)
        return r;
    if (!*cwd)
        cwd = json_str(config, "WorkingDir");
    json_object_set_new(process, "args", json_of_strv(command));
    json_object_set_new(process, "env", env);
    json_object_set_new(process, "terminal", json_boolean(tty));
    json_set_str(process, "cwd", *cwd ? cwd : "/");
    set_rlimits(process, host);
    spec__oom_score(host, process);
    r = set_security(process, host, json_bool(body, "Privileged"), err);
    if (r == 0)
        *ret = take_ptr(process);
    return r;
}

/* --- create --- */

static int check_running(struct container *c, const char *ref, struct err *err)
{
    struct container_state s = container__state(c);
    if (s.status == STATUS_PAUSED)
        return err_set(err, ERR_CONFLICT, "Container %s is paused, unpause the container before exec", ref);
    if (s.status == STATUS_RESTARTING)
        return err_set(err, ERR_CONFLICT, "Container %s is restarting, wait until the container is running",
                       c->id);
    if (s.status != STATUS_RUNNING)
        return err_set(err, ERR_CONFLICT, "Container %s is not running", c->id);
    return 0;
}

static int check_body(const json_t *body, struct err *err)
{
    static const char *const flags[] = {"AttachStdin", "AttachStdout", "AttachStderr",
                                        "Detach",      "Tty",          "Privileged"};
    static const char *const texts[] = {"User", "WorkingDir", "DetachKeys"};
    _cleanup_strv_ char **command = NULL, **env = NULL;
    bool flag;
    const char *text = "";
    int r = json_get_strv(body, "", "Cmd", &command, err);
    if (r == 0 && (strv_len(command) == 0 || !**command))
        r = err_set(err, ERR_INVALID, "No exec command specified");
    if (r == 0)
        r = json_get_strv(body, "", "Env", &env, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(flags); i++)
        r = json_get_bool(body, "", flags[i], &flag, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(texts); i++)
        r = json_get_string(body, "", texts[i], &text, err);
    return r;
}

/* Room for one more: the oldest that has ended makes it. Both locks held. */
static int make_room(struct engine *e, struct container *c, struct err *err)
{
    if (strv_len(c->execs) < EXECS_MAX)
        return 0;
    for (char **id = c->execs; *id; id++) {
        struct exec *x = map_get(&e->execs, *id);
        if (x && (x->running || !x->started))
            continue;
        map_remove(&e->execs, *id);
        free(*id);
        for (char **next = id; *next; next++)
            *next = next[1];
        return 0;
    }
    return err_set(err, ERR_LIMIT, "container %.12s has %d execs that have not ended", c->id, EXECS_MAX);
}

/* Docker puts a space after the program, whether an argument follows or not. */
void exec__event(struct container *c, const char *action, const json_t *body, const char *exec_id)
{
    _cleanup_strv_ char **command = NULL;
    json_get_strv(body, "", "Cmd", &command, NULL);
    _cleanup_free_ char *arguments = command && *command ? strv_join(command + 1, " ") : NULL;
    _cleanup_free_ char *text =
        str_printf("%s: %s %s", action, command ? *command : "", arguments ? arguments : "");
    container__event(c, text, "execID", exec_id);
}

void exec__die_event(struct container *c, const struct keeper_exit *exit)
{
    _cleanup_json_ json_t *more =
        json_pack("{s:s,s:o}", "execID", exit->exec_id, "exitCode", json_sprintf("%d", exit->status));
    container__event_with(c, "exec_die", more);
}

/* The user is decided now: the container's own when none is named. */
static struct exec *new_exec(struct container *c, const json_t *body)
{
    struct exec *x = NEW(struct exec);
    _cleanup_json_ json_t *whole = json_copy((json_t *)body), *doc = container__doc(c);
    if (!*json_str(body, "User"))
        json_set_str(whole, "User", json_str(json_object_get(doc, "Config"), "User"));
    digest_random_id(x->id);
    snprintf(x->container_id, sizeof(x->container_id), "%s", c->id);
    x->doc = json_format(whole);
    return x;
}

int engine_exec_create(struct engine *e, const char *ref, const json_t *body, char **ret_id, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = check_body(body, err);
    if (r == 0)
        r = check_running(c, ref, err);
    if (r < 0)
        return r;
    struct exec *x = new_exec(c, body);
    _cleanup_free_ char *id = mem_strdup(x->id);
    pthread_mutex_lock(&e->lock);
    pthread_mutex_lock(&c->lock);
    r = make_room(e, c, err);
    if (r == 0) {
        strv_add(&c->execs, x->id);
        map_put(&e->execs, x->id, x);
    }
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_unlock(&e->lock);
    if (r < 0) {
        exec__free(x);
        return r;
    }
    exec__event(c, "exec_create", body, id);
    *ret_id = take_ptr(id);
    return 0;
}

/* --- start --- */

static int find(struct engine *e, const char *id, struct exec **ret, struct err *err) /* engine.lock held */
{
    *ret = map_get(&e->execs, id);
    return *ret ? 0 : err_set(err, ERR_NOT_FOUND, "No such exec instance: %s", id);
}

/* Marks it as started, so that it is so only once; gives copies of what is needed. */
static int claim(struct engine *e, const char *id, json_t **ret_body, char ret_container_id[65],
                 struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    struct exec *x;
    int r = find(e, id, &x, err);
    if (r < 0)
        return r;
    if (x->started)
        return err_set(err, ERR_CONFLICT,
                       x->running ? "Error: Exec command %s is already running"
                                  : "Error: Exec command %s has already run",
                       x->id);
    *ret_body = json_loads(x->doc, 0, NULL);
    must(*ret_body);
    snprintf(ret_container_id, 65, "%s", x->container_id);
    x->started = x->running = true;
    return 0;
}

static void set_outcome(struct engine *e, const char *id, bool running, int exit_code, pid_t pid)
{
    SCOPED_LOCK(locked, &e->lock);
    struct exec *x = map_get(&e->execs, id);
    if (!x)
        return;
    x->running = running;
    x->exit_code = exit_code;
    x->pid = pid;
}

static void set_pid(struct engine *e, const char *id, pid_t pid)
{
    SCOPED_LOCK(locked, &e->lock);
    struct exec *x = map_get(&e->execs, id);
    if (x && x->running) /* else it has ended already */
        x->pid = pid;
}

static int launch(struct engine *e, struct container *c, const char *id, const json_t *body, int attach_fd,
                  int rows, int columns, struct err *err)
{
    _cleanup_json_ json_t *doc = container__doc(c), *process = NULL;
    int r = exec__process(c, doc, body, &process, err);
    if (r == -ERR_BUSY) /* it has just ended */
        return err_set(err, ERR_CONFLICT, "Container %s is not running", c->id);
    if (r < 0)
        return r;
    struct keeper_exec exec = {.id = c->id,
                               .exec_id = id,
                               .process = process,
                               .open_stdin = attach_fd >= 0 && json_bool(body, "AttachStdin"),
                               .tty = json_bool(body, "Tty"),
                               .rows = rows,
                               .columns = columns,
                               .attach_fds = &attach_fd,
                               .attach_count = attach_fd >= 0};
    pid_t pid = 0;
    r = keeper_exec(e->keeper, &exec, &pid, err);
    if (r < 0) /* words that programs look for */
        return err_wrap(err, "OCI runtime exec failed: exec failed: unable to start container process");
    set_pid(e, id, pid);
    return 0;
}

static int start(struct engine *e, struct container *c, const char *id, const json_t *body, bool detach,
                 int rows, int columns, int *ret_fd, struct err *err)
{
    _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
    int r = check_running(c, c->id, err);
    if (r < 0)
        return r;
    if (!detach) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
            return err_sys(err, errno, "make a socket pair");
        ours = pair[0];
        theirs = pair[1];
    }
    exec__event(c, "exec_start", body, id);
    r = launch(e, c, id, body, theirs, rows, columns, err);
    if (r < 0)
        return r;
    *ret_fd = take_fd(&ours);
    return 0;
}

int engine_exec_start(struct engine *e, const char *exec_id, bool detach, int missing_code, int rows,
                      int columns, int *ret_fd, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    _cleanup_container_ struct container *c = NULL;
    char container_id[65];
    struct err own = {0};
    if (!err)
        err = &own;
    int r = claim(e, exec_id, &body, container_id, err);
    if (r < 0)
        return r;
    r = container__find(e, container_id, &c, err);
    if (r == 0)
        r = start(e, c, exec_id, body, detach, rows, columns, ret_fd, err);
    if (r < 0)
        set_outcome(e, exec_id, false, r == -ERR_NOT_FOUND ? missing_code : EXEC_CANNOT_EXECUTE, 0);
    if (r == -ERR_NOT_FOUND)
        r = -(err->code = ERR_INVALID); /* the program is not there; 404 would mean the exec to clients */
    return r;
}

void exec__exited(struct engine *e, const struct keeper_exit *exit)
{
    _cleanup_container_ struct container *c = NULL;
    set_outcome(e, exit->exec_id, false, exit->status, 0);
    if (container__find(e, exit->id, &c, NULL) == 0)
        exec__die_event(c, exit);
    keeper_forget(e->keeper, exit->id, exit->exec_id, NULL);
}

/* --- the rest --- */

int engine_exec_resize(struct engine *e, const char *exec_id, int rows, int columns, struct err *err)
{
    char container_id[65];
    pthread_mutex_lock(&e->lock);
    struct exec *x;
    int r = find(e, exec_id, &x, err);
    if (r == 0 && (!x->started || (x->running && x->pid == 0)))
        r = err_set(err, ERR_UNAVAILABLE, "Exec command %s has not been started yet", exec_id);
    else if (r == 0 && !x->running)
        r = err_set(err, ERR_NOT_FOUND, "no such exec: %s has ended", exec_id);
    bool tty = false;
    if (r == 0) {
        _cleanup_json_ json_t *body = json_loads(x->doc, 0, NULL);
        tty = json_bool(body, "Tty");
        snprintf(container_id, sizeof(container_id), "%s", x->container_id);
    }
    pthread_mutex_unlock(&e->lock);
    if (r < 0 || !tty) /* without a terminal there is nothing to do */
        return r;
    return keeper_resize(e->keeper, container_id, exec_id, rows, columns, err);
}

static json_t *process_config(const json_t *body)
{
    json_t *command = json_object_get(body, "Cmd"), *arguments = json_array(), *word;
    size_t i;
    json_array_foreach (command, i, word)
        if (i > 0)
            json_array_append(arguments, word);
    json_t *p = json_pack("{s:b, s:o, s:b}", "tty", json_bool(body, "Tty"), "arguments", arguments,
                          "privileged", json_bool(body, "Privileged"));
    json_object_set(p, "entrypoint", json_array_get(command, 0));
    if (*json_str(body, "User"))
        json_set_str(p, "user", json_str(body, "User"));
    return p;
}

int engine_exec_inspect(struct engine *e, const char *exec_id, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    struct exec *x;
    int r = find(e, exec_id, &x, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *body = json_loads(x->doc, 0, NULL);
    must(body);
    json_t *d = json_object();
    json_set_str(d, "ID", x->id);
    json_object_set_new(d, "Running", json_boolean(x->running));
    json_object_set_new(d, "ExitCode", x->started && !x->running ? json_integer(x->exit_code) : json_null());
    json_object_set_new(d, "ProcessConfig", process_config(body));
    json_object_set_new(d, "OpenStdin", json_boolean(json_bool(body, "AttachStdin")));
    json_object_set_new(d, "OpenStderr", json_boolean(json_bool(body, "AttachStderr")));
    json_object_set_new(d, "OpenStdout", json_boolean(json_bool(body, "AttachStdout")));
    json_object_set_new(d, "CanRemove", json_false());
    json_set_str(d, "ContainerID", x->container_id);
    json_set_str(d, "DetachKeys", json_str(body, "DetachKeys"));
    json_object_set_new(d, "Pid", json_integer(x->pid));
    *ret = d;
    return 0;
}
