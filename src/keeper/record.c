#include "keeper/daemon.h"

#include "base/file.h"
#include "base/json.h"
#include "base/json_arena.h"
#include "base/log.h"
#include "base/process.h"
#include "base/timeutil.h"
#include "keeper/foreign.h"
#include "keeper/holder.h"
#include "keeper/park.h"
#include "keeper/policy.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RECORD_MAX_BYTES = 64 * 1024, SPARES_MAX = 64 };

#define SPARE_PREFIX "spare." /* no record's: those have a colon */

static char *record_path(const struct container *c, const char *exec_id)
{
    return *exec_id ? str_printf("%s/%s:exec:%s", c->d->dir, c->id, exec_id)
                    : str_printf("%s/%s:container", c->d->dir, c->id);
}

/* Files of containers that are forgotten, for the next ones: making and deleting an inode costs a file system
 * more than renaming one. One byte is left in each, since ext4 writes a file that was emptied and written
 * anew to the disk when it is closed (mount option auto_da_alloc). */
static unsigned spares;

static char *spare_path(const struct daemon *d, unsigned number)
{
    return str_printf("%s/" SPARE_PREFIX "%u", d->dir, number);
}

static bool spare_put(const struct daemon *d, const char *path)
{
    _cleanup_free_ char *spare = spare_path(d, spares);
    if (spares == SPARES_MAX || truncate(path, 1) < 0 || rename(path, spare) < 0)
        return false;
    spares++;
    return true;
}

static bool spare_take(const struct daemon *d, const char *path)
{
    if (!spares)
        return false;
    _cleanup_free_ char *spare = spare_path(d, --spares);
    return rename(spare, path) == 0;
}

/* One line in one write: what a kill can leave is a line less, or a part that cannot be parsed. At the start,
 * or with O_APPEND at the end. */
static int write_line(const char *path, int flags, struct str *line, struct err *err)
{
    str_addc(line, '\n');
    _cleanup_close_ int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    int r = file_write_all(fd, line->data, line->len, err);
    return r < 0 ? err_wrap(err, "write %s", path) : 0;
}

static int append_json(const char *path, int flags, const json_t *value, struct err *err)
{
    _cleanup_free_ char *text = json_format(value);
    _cleanup_str_ struct str line = STR_INIT;
    str_add(&line, text);
    return write_line(path, O_APPEND | flags, &line, err);
}

int record_begin(const struct container *c, struct str *config, struct err *err)
{
    _cleanup_free_ char *path = record_path(c, "");
    /* Between JSON's words only: in its strings they are escaped. */
    for (char *at = config->data; (at = memchr(at, '\n', config->len - (size_t)(at - config->data)));)
        *at = ' ';
    /* Over that of a container of this name that nobody knows any more. */
    bool spare = spare_take(c->d, path);
    if (!spare)
        unlink(path);
    return write_line(path, spare ? 0 : O_CREAT | O_EXCL, config, err);
}

int record_write(const struct process *p, struct err *err)
{
    const struct container *c = p->c;
    json_arena_begin();
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
    json_arena_end();
    _cleanup_free_ char *path = record_path(c, p->exec_id);
    return append_json(path, *p->exec_id ? O_CREAT : 0, record, err);
}

int record_write_exit(const struct process *p, struct err *err)
{
    _cleanup_json_ json_t *record = json_pack(
        "{s:i, s:i, s:b, s:I, s:b}", "status", p->exit.status, "signal", p->exit.signal, "oom_killed",
        p->exit.oom_killed, "at_ns", (json_int_t)p->exit.at_ns, "output_taken", p->state == PROCESS_EXITED);
    _cleanup_free_ char *path = record_path(p->c, p->exec_id);
    return append_json(path, 0, record, err);
}

void record_remove(const struct process *p)
{
    _cleanup_free_ char *path = record_path(p->c, p->exec_id);
    if (*p->exec_id || !spare_put(p->c->d, path))
        unlink(path);
    if (*p->exec_id)
        return;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&p->c->execs, &i));)
        record_remove(e->value);
}

/* The file's lines, those that are whole. */
static int read_lines(const char *path, char ***ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, PROTOCOL_MAX_SPEC_BYTES + RECORD_MAX_BYTES, &text, err);
    if (r < 0)
        return r;
    *ret = strv_split(str_get(&text), '\n');
    return 0;
}

/* What a kill left of a line would spoil the next. */
static void cut_torn_line(const char *path)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read(path, PROTOCOL_MAX_SPEC_BYTES + RECORD_MAX_BYTES, &text, NULL) < 0)
        return;
    const char *end = memrchr(text.data, '\n', text.len);
    size_t whole = end ? (size_t)(end - text.data) + 1 : 0;
    if (whole < text.len && truncate(path, (off_t)whole) < 0)
        log_error("%s: how it ends will not be recorded: %s", path, strerror(errno));
}

static int parse_line(char *const *lines, size_t number, json_t **ret, struct err *err)
{
    if (strv_len(lines) <= number)
        return err_set(err, ERR_NOT_FOUND, "the keeper's record has no line %zu", number + 1);
    return json_parse(lines[number], strlen(lines[number]), "the keeper's record", ret, err);
}

int record_read_config(const struct container *c, json_t **ret, struct err *err)
{
    _cleanup_free_ char *path = record_path(c, "");
    _cleanup_strv_ char **lines = NULL;
    int r = read_lines(path, &lines, err);
    if (r == 0)
        r = parse_line(lines, 0, ret, err);
    if (r == 0)
        policy_expand(*ret);
    return r;
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
    foreign_load(c);
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

static void load_exit(struct process *p, const json_t *record)
{
    p->exit = (struct keeper_exit){.status = (int)json_int(record, "status"),
                                   .signal = (int)json_int(record, "signal"),
                                   .oom_killed = json_bool(record, "oom_killed"),
                                   .at_ns = json_int(record, "at_ns")};
    /* A keeper of a version that says nothing of it recorded an exit when all was taken. */
    const json_t *taken = json_object_get(record, "output_taken");
    p->state = !taken || json_is_true(taken) ? PROCESS_EXITED : PROCESS_ENDING;
}

/* Nothing is concluded yet, not even when it is dead: a client may have its pipes, with output in them, its
 * pidfd, with its exit code, and the socket that says how its launch went on. */
static void find_again(struct process *p)
{
    p->found = true;
    int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    /* The start is compared after the pidfd was opened: from then on it cannot become another's. */
    if (fd >= 0 && p->pid_start && process_start_time(p->pid) == p->pid_start)
        p->pidfd.fd = fd;
    else
        close_fd(fd);
}

/* False when the launch was not finished when the keeper died, or not yet reported: whoever asked for it was
 * told that it failed. */
static bool load_process(struct container *c, const char *exec_id)
{
    size_t line = *exec_id ? 0 : 1; /* after a container's config */
    _cleanup_json_ json_t *record = NULL;
    _cleanup_free_ char *path = record_path(c, exec_id);
    _cleanup_strv_ char **lines = NULL;
    if (read_lines(path, &lines, NULL) < 0 || parse_line(lines, line++, &record, NULL) < 0)
        return false;
    struct process *p = proc_new(c, exec_id);
    load_flags(p, record);
    if (!*exec_id)
        load_container(c, record);
    p->state = PROCESS_RUNNING;
    for (json_t *exit; parse_line(lines, line, &exit, NULL) == 0; line++) {
        load_exit(p, exit);
        json_decref(exit);
    }
    if (p->state == PROCESS_EXITED) {
        holder_release(p); /* recorded, and perhaps not reaped any more */
        return true;
    }
    cut_torn_line(path);
    find_again(p);
    if (!*exec_id)
        container_open_log(c);
    return true;
}

/* Whatever of it got as far as its cgroup ends: nobody would know of it. */
static void end_unfinished(struct container *c)
{
    struct err err;
    _cleanup_json_ json_t *config = NULL;
    if (record_read_config(c, &config, NULL) < 0)
        return;
    const char *path = json_str(json_object_get(config, "linux"), "cgroupsPath");
    if (cgroup_open(str_empty(path) ? c->id : path, &c->cgroup, &err) < 0) {
        c->cgroup = NULL;
        return;
    }
    foreign_load(c);
    log_warning("%s: its launch was not finished when the keeper ended: it is removed", c->id);
    if (cgroup_kill(c->cgroup, SIGKILL, &err) < 0 || cgroup_remove(c->cgroup, &err) < 0)
        log_error("%s: %s", c->id, err.msg);
    foreign_clean_up(c);
}

/* `name` is "<id>:container" or "<id>:exec:<exec id>"; no id has a colon. */
static void load_one(struct daemon *d, int dir_fd, const char *name, bool execs)
{
    const char *colon = strchr(name, ':');
    if (!colon && str_after(name, SPARE_PREFIX))
        unlinkat(dir_fd, name, 0);
    if (!colon)
        return;
    _cleanup_free_ char *id = mem_strndup(name, (size_t)(colon - name));
    const char *exec_id = str_after(colon, ":exec:");
    if (!protocol_id_valid(id) || (exec_id != NULL) != execs)
        return;
    struct container *c = map_get(&d->containers, id);
    if (execs) {
        if (!c || !protocol_id_valid(exec_id) || c->execs.count >= MAX_EXECS || !load_process(c, exec_id))
            unlinkat(dir_fd, name, 0);
    } else if (str_eq(colon, ":container") && !c) {
        c = container_new(d, id);
        if (!load_process(c, "")) {
            end_unfinished(c);
            unlinkat(dir_fd, name, 0);
            container_free(c);
        }
    }
}

void record_load_all(struct daemon *d)
{
    for (int execs = 0; execs < 2; execs++) {
        DIR *dir = opendir(d->dir);
        if (!dir)
            return;
        for (struct dirent *e; (e = readdir(dir));)
            load_one(d, dirfd(dir), e->d_name, execs);
        closedir(dir);
    }
    if (d->containers.count)
        log_info("found %zu containers of an earlier keeper", d->containers.count);
}

/* All that a client may have of it is here. */
static void take_up(struct process *p)
{
    p->found = false;
    if (p->state == PROCESS_ENDING) {
        proc_ended_before(p);
    } else if (p->pidfd.fd >= 0) {
        proc_watch_pidfd(p, p->pidfd.fd);
    } else {
        p->exit = (struct keeper_exit){0};
        proc_exit_unknown(p);
        proc_ended(p);
    }
}

void record_adopt(struct daemon *d, const char *id, const char *exec_id, unsigned mask, int *fds,
                  size_t fd_count)
{
    struct process *p = proc_find(d, id, exec_id, NULL);
    struct err err;
    if (!p || !p->found)
        return;
    size_t at = 0;
    int none = -EBADF, *held[HELD_MAX];
    for (int i = 0; i < HELD_MAX; i++)
        held[i] = mask & 1u << i && at < fd_count ? &fds[at++] : &none;
    *(p->tty ? &p->relay_fd : &p->out[1].fd) = park_fd(take_fd(held[HELD_STDERR]));
    p->out[0].fd = take_fd(held[HELD_STDOUT]);
    if (p->out[0].fd >= 0 && terminal_need_relay(p, &err) < 0) /* an older keeper had none */
        log_error("%s: a kill of the keeper may cost some of its output: %s", id, err.msg);
    if (*held[HELD_STDIN] >= 0)
        stdin_start(p, take_fd(held[HELD_STDIN]));
    if (p->pidfd.fd < 0)
        p->pidfd.fd = take_fd(held[HELD_PIDFD]);
    bool ending = p->state == PROCESS_ENDING;
    if (*held[HELD_STATUS] >= 0 && !ending)
        launch_go_on(p, take_fd(held[HELD_STATUS]));
    else
        proc_run(p);
    if (ending)
        p->state = PROCESS_ENDING;
    take_up(p);
}

/* --- launches whose keeper and client are both dead ---
 *
 * Nobody has the status of such a process any more: it executes its program when it had been let go, and ends
 * when it had not, by itself and soon. Which of the two is for the kernel to say, also of one that has ended.
 * What never ran is undone, so that it can be started anew; before that is known nobody is told that it runs.
 */

enum { FATE_PATIENCE_MS = 2000, FATE_KILLED_PATIENCE_MS = 1000 };

static bool see(const struct process *p, struct process_stat *ret)
{
    return p->found && p->state == PROCESS_RUNNING && p->pidfd.fd >= 0 && !p->c->foreign &&
           process_stat(p->pid, ret) && ret->start == p->pid_start;
}

struct fates {
    size_t open;
    bool kill;
};

static void ask_fate(struct process *p, void *context)
{
    struct fates *f = context;
    struct process_stat stat;
    if (!see(p, &stat) || stat.executed || stat.state == 'Z')
        return;
    f->open++;
    if (f->kill)
        syscall(SYS_pidfd_send_signal, p->pidfd.fd, SIGKILL, NULL, 0);
}

static void await_fates(struct daemon *d)
{
    for (int ms = 0; ms < FATE_PATIENCE_MS + FATE_KILLED_PATIENCE_MS; ms++) {
        struct fates f = {.kill = ms == FATE_PATIENCE_MS};
        daemon_each_process(d, ask_fate, &f);
        if (!f.open)
            return;
        nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    }
}

static void go_on(struct process *p, void *context)
{
    struct process_stat stat;
    if (!p->found)
        return;
    if (!see(p, &stat) || stat.executed || stat.state != 'Z') {
        take_up(p);
        return;
    }
    log_warning("%s%s%s: it was not let go when keeper and client ended: its launch is undone", p->c->id,
                *p->exec_id ? " exec " : "", p->exec_id);
    if (!*p->exec_id && p->c->cgroup)
        cgroup_kill(p->c->cgroup, SIGKILL, NULL);
    proc_launch_undo(p);
}

void record_go_on(struct daemon *d)
{
    await_fates(d);
    daemon_each_process(d, go_on, NULL);
}

bool record_any(const char *path)
{
    DIR *dir = opendir(path);
    bool any = false;
    for (struct dirent *e; dir && !any && (e = readdir(dir));)
        any = strchr(e->d_name, ':') != NULL;
    if (dir)
        closedir(dir);
    return any;
}

/* --- for who waits for its processes --- */

size_t record_open_processes(const char *path, struct record_open **ret)
{
    size_t count = 0, capacity = 0;
    DIR *dir = opendir(path);
    *ret = NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        const char *colon = strchr(e->d_name, ':');
        if (!colon)
            continue;
        size_t line = str_eq(colon, ":container") ? 1 : 0;
        _cleanup_free_ char *file = str_printf("%s/%s", path, e->d_name);
        _cleanup_strv_ char **lines = NULL;
        _cleanup_json_ json_t *record = NULL, *exit = NULL;
        if (read_lines(file, &lines, NULL) < 0 || parse_line(lines, line, &record, NULL) < 0 ||
            parse_line(lines, line + 1, &exit, NULL) == 0)
            continue;
        GROW(*ret, count, capacity);
        (*ret)[count++] =
            (struct record_open){(pid_t)json_int(record, "pid"), (uint64_t)json_int(record, "start")};
    }
    if (dir)
        closedir(dir);
    return count;
}
