#include "keeper/daemon.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RECORD_MAX_BYTES = 64 * 1024 };

char *record_path(const struct container *c, const char *exec_id, const char *suffix)
{
    return *exec_id ? str_printf("%s/%s/exec.%s.%s", c->d->dir, c->id, exec_id, suffix)
                    : str_printf("%s/%s/%s", c->d->dir, c->id, suffix);
}

uint64_t record_pid_start(pid_t pid)
{
    char path[64];
    _cleanup_str_ struct str text = STR_INIT;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (file_read(path, 4096, &text, NULL) < 0)
        return 0;
    /* The name, second field, may hold anything; its last bracket ends it. Field 22 is the start. */
    const char *at = strrchr(str_get(&text), ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

int record_make_dir(const struct container *c, struct err *err)
{
    _cleanup_free_ char *dir = str_printf("%s/%s", c->d->dir, c->id);
    if (mkdir(dir, 0700) == 0)
        return 0;
    if (errno != EEXIST)
        return err_sys(err, errno, "create %s", dir);
    struct stat st;
    if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
        return err_set(err, ERR_CONFLICT, "%s is not a directory", dir);
    /* A container of this name that nobody knows any more. */
    int r = file_remove_tree(dir, err);
    if (r == 0 && mkdir(dir, 0700) < 0)
        r = err_sys(err, errno, "create %s", dir);
    return r;
}

static int replace_json(const char *path, const json_t *value, struct err *err)
{
    _cleanup_free_ char *text = json_format(value);
    return file_replace(path, text, strlen(text), 0600, false, err);
}

int record_write(const struct process *p, struct err *err)
{
    const struct container *c = p->c;
    _cleanup_json_ json_t *record =
        json_pack("{s:i, s:I, s:I, s:b, s:b, s:b, s:b}", "pid", p->pid, "start", (json_int_t)p->pid_start,
                  "started_ns", (json_int_t)p->started_ns, "tty", p->tty, "open_stdin", p->open_stdin,
                  "stdin_once", p->stdin_once, "keep_output", p->keep_output);
    if (!*p->exec_id) {
        json_set_str(record, "cgroup", c->cgroup ? cgroup_path(c->cgroup) : NULL);
        json_set_str(record, "log", c->log_path);
        json_object_set_new(record, "log_max_bytes", json_integer(c->log_max_bytes));
        json_object_set_new(record, "log_max_files", json_integer(c->log_max_files));
        json_object_set_new(record, "own_pid_namespace", json_boolean(c->own_pid_namespace));
        json_object_set_new(record, "memory_limited", json_boolean(c->memory_limited));
    }
    _cleanup_free_ char *path = record_path(c, p->exec_id, "state");
    return replace_json(path, record, err);
}

int record_write_exit(const struct process *p, struct err *err)
{
    _cleanup_json_ json_t *record =
        json_pack("{s:i, s:i, s:b, s:I}", "status", p->exit.status, "signal", p->exit.signal, "oom_killed",
                  p->exit.oom_killed, "at_ns", (json_int_t)p->exit.at_ns);
    _cleanup_free_ char *path = record_path(p->c, p->exec_id, "exit");
    return replace_json(path, record, err);
}

void record_remove(const struct process *p)
{
    struct err err;
    if (*p->exec_id) {
        _cleanup_free_ char *state = record_path(p->c, p->exec_id, "state");
        _cleanup_free_ char *exit = record_path(p->c, p->exec_id, "exit");
        unlink(state);
        unlink(exit);
        return;
    }
    _cleanup_free_ char *dir = str_printf("%s/%s", p->c->d->dir, p->c->id);
    if (file_remove_tree(dir, &err) < 0)
        log_error("%s", err.msg);
}

/* --- a new keeper --- */

static void load_flags(struct process *p, const json_t *record)
{
    p->pid = (pid_t)json_int(record, "pid");
    p->pid_start = (uint64_t)json_int(record, "start");
    p->started_ns = json_int(record, "started_ns");
    p->tty = json_bool(record, "tty");
    p->open_stdin = json_bool(record, "open_stdin");
    p->stdin_once = json_bool(record, "stdin_once");
    p->keep_output = json_bool(record, "keep_output");
}

static void load_container(struct container *c, const json_t *record)
{
    struct err err;
    const char *log = json_str(record, "log"), *cgroup = json_str(record, "cgroup");
    c->log_path = str_empty(log) ? NULL : mem_strdup(log);
    c->log_max_bytes = json_int(record, "log_max_bytes");
    c->log_max_files = (int)json_int(record, "log_max_files");
    c->own_pid_namespace = json_bool(record, "own_pid_namespace");
    c->memory_limited = json_bool(record, "memory_limited");
    if (!str_empty(cgroup) && cgroup_open(cgroup, &c->cgroup, &err) < 0) {
        log_warning("%s: %s", c->id, err.msg);
        c->cgroup = NULL;
    }
}

static bool load_exit(struct process *p)
{
    _cleanup_json_ json_t *record = NULL;
    _cleanup_free_ char *path = record_path(p->c, p->exec_id, "exit");
    if (json_parse_file(path, &record, NULL) < 0)
        return false;
    p->exit = (struct keeper_exit){.status = (int)json_int(record, "status"),
                                   .signal = (int)json_int(record, "signal"),
                                   .oom_killed = json_bool(record, "oom_killed"),
                                   .at_ns = json_int(record, "at_ns")};
    p->state = PROCESS_EXITED;
    return true;
}

static void find_alive(struct process *p)
{
    p->state = PROCESS_RUNNING;
    int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    /* The start is compared after the pidfd was opened: from then on it cannot become another's. */
    if (fd >= 0 && p->pid_start && record_pid_start(p->pid) == p->pid_start) {
        proc_watch_pidfd(p, fd);
        return;
    }
    close_fd(fd);
    p->lost = true;
}

static bool load_process(struct container *c, const char *exec_id)
{
    struct err err;
    _cleanup_json_ json_t *record = NULL;
    _cleanup_free_ char *path = record_path(c, exec_id, "state");
    if (json_parse_file(path, &record, &err) < 0) {
        log_warning("%s: %s", c->id, err.msg);
        return false;
    }
    struct process *p = proc_new(c, exec_id);
    load_flags(p, record);
    if (!*exec_id)
        load_container(c, record);
    if (!load_exit(p)) {
        find_alive(p);
        if (!*exec_id)
            container_open_log(c);
    }
    return true;
}

static void load_execs(struct container *c, DIR *dir)
{
    for (struct dirent *e; (e = readdir(dir)) && c->execs.count < MAX_EXECS;) {
        const char *name = str_after(e->d_name, "exec.");
        if (!name || !str_ends_with(name, ".state"))
            continue;
        _cleanup_free_ char *exec_id = mem_strndup(name, strlen(name) - strlen(".state"));
        if (protocol_id_valid(exec_id))
            load_process(c, exec_id);
    }
}

static void load_one(struct daemon *d, int dir_fd, const char *id)
{
    _cleanup_close_ int fd = openat(dir_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    struct container *c = container_new(d, id);
    if (!load_process(c, "")) {
        /* Its launch was not finished when the keeper died, or not yet reported: whoever asked was told that
         * it failed. What there is of it goes. */
        _cleanup_free_ char *path = str_printf("%s/%s", d->dir, id);
        file_remove_tree(path, NULL);
        container_free(c);
        return;
    }
    DIR *dir = fdopendir(take_fd(&fd));
    if (!dir)
        return;
    load_execs(c, dir);
    closedir(dir);
}

void record_load_all(struct daemon *d)
{
    DIR *dir = opendir(d->dir);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));)
        if (protocol_id_valid(e->d_name))
            load_one(d, dirfd(dir), e->d_name);
    closedir(dir);
    if (d->containers.count)
        log_info("found %zu containers of an earlier keeper", d->containers.count);
}

void record_adopt(struct daemon *d, const char *id, const char *exec_id, unsigned mask, int *fds,
                  size_t fd_count)
{
    struct process *p = proc_find(d, id, exec_id, NULL);
    if (!p || p->state != PROCESS_RUNNING || p->out[0].fd >= 0 || p->out[1].fd >= 0)
        return;
    int at = 0, *held[HELD_MAX] = {NULL, NULL, NULL, NULL};
    for (int i = 0; i < HELD_MAX; i++)
        if (mask & 1u << i)
            held[i] = (size_t)at < fd_count ? &fds[at++] : NULL;
    for (int i = 0; i < 2; i++)
        if (held[HELD_STDOUT + i])
            p->out[i].fd = take_fd(held[HELD_STDOUT + i]);
    if (held[HELD_STDIN] && p->stdin_w.fd < 0)
        stdin_start(p, take_fd(held[HELD_STDIN]));
    proc_run(p);
    if (held[HELD_PIDFD] && p->lost) {
        p->lost = false;
        proc_watch_pidfd(p, take_fd(held[HELD_PIDFD]));
    }
}

static void give_up(struct process *p, void *context)
{
    if (!p->lost)
        return;
    p->lost = false;
    p->exit = (struct keeper_exit){.status = 128 + SIGKILL};
    proc_ended(p);
}

void record_give_up_lost(struct daemon *d)
{
    daemon_each_process(d, give_up, NULL);
}
