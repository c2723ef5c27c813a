/* exec: one more process in a container. */
#include "base/file.h"
#include "oci/commands.h"
#include "oci/console.h"
#include "oci/launch.h"
#include "oci/wait.h"
#include "runtime/cgroup.h"
#include "runtime/resctrl.h"
#include "runtime/runtime.h"

#include <sys/wait.h>
#include <unistd.h>

enum { EXEC_FAILED = 255 };

/* "UID[:GID]", of numbers: whose names they are is the engine's affair. */
static int set_user(json_t *process, const char *text, struct err *err)
{
    if (!text)
        return 0;
    _cleanup_strv_ char **parts = strv_split(text, ':');
    json_t *user = json_object();
    static const char *const keys[] = {"uid", "gid"};
    json_object_set_new(process, "user", user);
    if (strv_len(parts) > 2)
        return err_set(err, ERR_INVALID, "option --user: \"%s\" is not UID[:GID]", text);
    for (size_t i = 0; i < strv_len(parts); i++) {
        int64_t number;
        int r = parse_i64(parts[i], 0, UINT32_MAX, &number, err);
        if (r < 0)
            return err_wrap(err, "option --user");
        json_object_set_new(user, keys[i], json_integer(number));
    }
    return 0;
}

static int add_groups(json_t *process, char **groups, struct err *err)
{
    json_t *user = json_object_get(process, "user");
    if (!groups)
        return 0;
    if (!user)
        json_object_set_new(process, "user", user = json_object());
    json_t *list = json_object_get(user, "additionalGids");
    if (!list)
        json_object_set_new(user, "additionalGids", list = json_array());
    STRV_FOREACH (group, groups) {
        int64_t number;
        int r = parse_i64(*group, 0, UINT32_MAX, &number, err);
        if (r < 0)
            return err_wrap(err, "option --additional-gids");
        json_array_append_new(list, json_integer(number));
    }
    return 0;
}

/* Into the sets that a program has from its start. Not ambient: a set-uid helper would hand it on. */
static void add_capabilities(json_t *process, char **caps)
{
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    if (!caps)
        return;
    json_t *all = json_object_get(process, "capabilities");
    if (!all)
        json_object_set_new(process, "capabilities", all = json_object());
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        json_t *set = json_object_get(all, sets[i]);
        if (!set)
            json_object_set_new(all, sets[i], set = json_array());
        STRV_FOREACH (cap, caps)
            json_array_append_new(set, json_string(*cap));
    }
}

/* A name that is there already gets the new value. */
static void set_variable(json_t *list, const char *entry)
{
    size_t name = strcspn(entry, "=");
    for (size_t i = json_array_size(list); i-- > 0;) {
        const char *old = json_string_value(json_array_get(list, i));
        if (old && strncmp(old, entry, name) == 0 && (old[name] == '=' || !old[name]))
            json_array_remove(list, i);
    }
    json_array_append_new(list, json_string(entry));
}

static void add_environment(json_t *process, char **env)
{
    json_t *list = json_object_get(process, "env");
    if (env && !list)
        json_object_set_new(process, "env", list = json_array());
    STRV_FOREACH (entry, env)
        set_variable(list, *entry);
}

/* The container's own process with what the options change. */
static int process_of_options(const struct oci_args *args, const json_t *config, json_t **ret,
                              struct err *err)
{
    if (args->word_count < 2)
        return err_set(err, ERR_INVALID, "process args cannot be empty: name a command, or --process");
    _cleanup_json_ json_t *process = json_deep_copy(json_object_get(config, "process"));
    if (!process)
        process = json_object();
    json_object_set_new(process, "args", json_of_strv(args->words + 1));
    json_object_set_new(process, "terminal", json_boolean(args->tty));
    if (args->cwd)
        json_set_str(process, "cwd", args->cwd);
    if (args->apparmor)
        json_set_str(process, "apparmorProfile", args->apparmor);
    if (args->process_label)
        json_set_str(process, "selinuxLabel", args->process_label);
    /* What the option says, and not what the container's program has: as crun. */
    json_object_set_new(process, "noNewPrivileges", json_boolean(args->no_new_privs));
    add_environment(process, args->env);
    add_capabilities(process, args->caps);
    int r = set_user(process, args->user, err);
    if (r == 0)
        r = add_groups(process, args->groups, err);
    if (r == 0)
        *ret = take_ptr(process);
    return r;
}

static int load_process(const struct oci_args *args, const json_t *config, json_t **ret, struct err *err)
{
    if (!args->process)
        return process_of_options(args, config, ret, err);
    int r = json_parse_file(args->process, ret, err);
    if (r == 0 && !json_is_object(*ret))
        return err_set(err, ERR_INVALID, "%s: not an object", args->process);
    return r;
}

static int check_running(const struct oci_args *args, const struct container *c, struct err *err)
{
    const char *status = container_status(c);
    if (str_eq(status, "stopped"))
        return err_set(err, ERR_CONFLICT, "cannot exec in a stopped container: container not running");
    if (str_eq(status, "paused") && !args->ignore_paused)
        return err_set(err, ERR_CONFLICT,
                       "cannot exec in a paused container (use --ignore-paused to override)");
    return 0;
}

/* One --cgroup: "[controller,...:]path" of a group below the container's, that is there already. */
static int descend(struct cgroup *g, const char *option, struct err *err)
{
    const char *colon = strchr(option, ':'), *path = colon ? colon + 1 : option;
    _cleanup_free_ char *controllers = colon ? mem_strndup(option, (size_t)(colon - option)) : NULL;
    _cleanup_strv_ char **parts = strv_split(path, '/');
    if (strv_has(parts, ".."))
        return err_set(err, ERR_INVALID, "option --cgroup: %s is not a sub cgroup path", path);
    int r = cgroup_descend(g, controllers, path, err);
    return r < 0 ? err_wrap(err, "option --cgroup") : 0;
}

static int find_cgroup(const struct oci_args *args, const struct container *c, struct cgroup **ret,
                       struct err *err)
{
    struct cgroup *g;
    int r = cgroup_open(json_str(c->state, "cgroup-path"), &g, err);
    if (r < 0)
        return r;
    STRV_FOREACH (option, args->cgroups)
        if (r == 0)
            r = descend(g, *option, err);
    if (r < 0)
        cgroup_free(g);
    else
        *ret = g;
    return r;
}

static int start(const struct oci_args *args, struct container *c, json_t *process, struct console *console,
                 struct runtime_child *ret, struct err *err)
{
    const json_t *config;
    struct cgroup *cgroup = NULL;
    unsigned inherited = 0;
    int r = container_config(c, &config, err);
    if (r == 0)
        r = launch_inherited_fds(args, &inherited, process, err);
    if (r == 0)
        r = resctrl_join(config, c->id, getpid(), err); /* for it to be born there */
    if (r == 0)
        r = find_cgroup(args, c, &cgroup, err);
    if (r < 0)
        return r;
    const struct runtime_launch launch = {
        .id = c->id,
        .spec = process,
        .stdio = {0, 1, 2},
        .tty = console->runtime_fd >= 0,
        .bundle = json_str(c->state, "bundle"),
        .preserve_fds = inherited,
        .no_new_keyring = false, /* joins the container's by its name; the caller's is the host's */
        .console_fd = console->runtime_fd,
        .plain_newlines = console->receive_fd >= 0,
    };
    r = runtime_exec(&launch, config, c->pid, c->pidfd, cgroup, ret, err);
    cgroup_free(cgroup);
    if (r < 0)
        return r;
    r = runtime_launch_result(ret->status_fd, err);
    close_fd(ret->status_fd);
    if (r < 0) {
        close_fd(ret->pidfd);
        waitpid(ret->pid, NULL, 0);
    }
    return r;
}

static int execute(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    _cleanup_console_ struct console console = CONSOLE_INIT;
    _cleanup_foreground_ struct foreground f = FOREGROUND_INIT;
    _cleanup_json_ json_t *process = NULL;
    const json_t *config;
    struct runtime_child child = {.pidfd = -EBADF};
    int master = -EBADF;
    int r = container_open(args, args->words[0], false, &c, err);
    if (r == 0)
        r = check_running(args, &c, err);
    if (r == 0)
        r = container_config(&c, &config, err);
    if (r == 0)
        r = load_process(args, config, &process, err);
    if (r == 0 && args->tty)
        json_object_set_new(process, "terminal", json_true());
    if (r == 0)
        r = console_open(args, json_bool(process, "terminal"), args->detach, &console, err);
    if (r == 0 && !args->detach)
        r = foreground_begin(&f, !args->no_subreaper, err);
    if (r == 0)
        r = start(args, &c, process, &console, &child, err);
    if (r == 0)
        r = console_receive(&console, &master, err);
    if (r == 0)
        r = launch_write_pid(args->pid_file, child.pid, err);
    if (r == 0)
        r = launch_send_pidfd(args->pidfd_socket, child.pidfd, err);
    close_fd(child.pidfd);
    if (r < 0 || args->detach)
        return r;
    return foreground_wait(&f, child.pid, master, -EBADF, ret_status, err);
}

int command_exec(const struct oci_args *args, int *ret_status, struct err *err)
{
    *ret_status = EXEC_FAILED;
    int r = execute(args, ret_status, err);
    if (r < 0)
        return err_wrap(err, "exec failed");
    if (args->detach)
        *ret_status = 0;
    return 0;
}
