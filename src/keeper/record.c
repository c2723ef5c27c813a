#include "keeper/daemon.h"

#include "base/file.h"
#include "base/json.h"
#include "base/json_arena.h"
#include "base/log.h"
#include "base/process.h"
#include "keeper/foreign.h"
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
    _cleanup_json_ json_t *record =
        json_pack("{s:i, s:i, s:b, s:I}", "status", p->exit.status, "signal", p->exit.signal, "oom_killed",
                  p->exit.oom_killed, "at_ns", (json_int_t)p->exit.at_ns);
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

static bool load_exit(struct process *p, const json_t *record)
{
    if (!record)
        return false;
    p->exit = (struct keeper_exit){.status = (int)json_int(record, "status"),
                                   .signal = (int)json_int(record, "signal"),
                                   .oom_killed = json_bool(record, "oom_killed"),
                                   .at_ns = json_int(record, "at_ns")};
    p->state = PROCESS_EXITED;
    return true;
}

/* Nothing is concluded yet, not even when it is dead: a client may have its pipes, with output in them, its
 * pidfd, with its exit code, and the socket that says how its launch went on. */
static void find_alive(struct process *p)
{
    p->state = PROCESS_RUNNING;
    p->found = true;
    p->adopted = true;
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
    size_t first_line = *exec_id ? 0 : 1; /* after a container's config */
    _cleanup_json_ json_t *record = NULL;
    _cleanup_json_ json_t *exit = NULL;
    _cleanup_free_ char *path = record_path(c, exec_id);
    _cleanup_strv_ char **lines = NULL;
    if (read_lines(path, &lines, NULL) < 0 || parse_line(lines, first_line, &record, NULL) < 0)
        return false;
    if (parse_line(lines, first_line + 1, &exit, NULL) < 0)
        exit = NULL;
    struct process *p = proc_new(c, exec_id);
    load_flags(p, record);
    if (!*exec_id)
        load_container(c, record);
    if (!load_exit(p, exit)) {
        find_alive(p);
        if (!*exec_id)
            container_open_log(c);
    }
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

static void end_unknown(struct process *p)
{
    p->exit = (struct keeper_exit){.status = 128 + SIGKILL};
    proc_ended(p);
}

void record_adopt(struct daemon *d, const char *id, const char *exec_id, unsigned mask, int *fds,
                  size_t fd_count)
{
    struct process *p = proc_find(d, id, exec_id, NULL);
    struct err err;
    if (!p || !p->found)
        return;
    p->found = false;
    size_t at = 0;
    int none = -EBADF, *held[HELD_MAX];
    for (int i = 0; i < HELD_MAX; i++)
        held[i] = mask & 1u << i && at < fd_count ? &fds[at++] : &none;
    *(p->tty ? &p->relay_fd : &p->out[1].fd) = take_fd(held[HELD_STDERR]);
    p->out[0].fd = take_fd(held[HELD_STDOUT]);
    if (p->out[0].fd >= 0 && terminal_need_relay(p, &err) < 0) /* an older keeper had none */
        log_error("%s: a kill of the keeper may cost some of its output: %s", id, err.msg);
    if (*held[HELD_STDIN] >= 0)
        stdin_start(p, take_fd(held[HELD_STDIN]));
    if (p->pidfd.fd < 0)
        p->pidfd.fd = take_fd(held[HELD_PIDFD]);
    if (*held[HELD_STATUS] >= 0)
        launch_go_on(p, take_fd(held[HELD_STATUS]));
    else
        proc_run(p);
    if (p->pidfd.fd >= 0)
        proc_watch_pidfd(p, p->pidfd.fd);
    else
        end_unknown(p);
}

static void go_on(struct process *p, void *context)
{
    if (!p->found)
        return;
    p->found = false;
    if (p->pidfd.fd >= 0)
        proc_watch_pidfd(p, p->pidfd.fd);
    else
        end_unknown(p);
}

void record_go_on(struct daemon *d)
{
    daemon_each_process(d, go_on, NULL);
}
