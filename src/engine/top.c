/* docker top: a container's processes as the machine's ps shows them. The usual `-ef` is read from /proc;
 * other options are ps's own to understand. */
#include "engine/engine_priv.h"

#include "base/err.h"
#include "base/file.h"
#include "base/process.h"
#include "runtime/cgroup.h"

#include <dirent.h>
#include <pwd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TOP_MAX_PROCESSES = 4096, PROC_FILE_MAX = 64 << 10, PS_ARGS_MAX = 1000 };

/* --- -ef --- */

struct process {
    pid_t pid, ppid;
    uid_t uid;
    int64_t start_ticks, cpu_ticks;
    char tty[32];
    char *command;
};

static int64_t boot_ns(void)
{
    struct timespec up;
    clock_gettime(CLOCK_BOOTTIME, &up);
    return time_now_ns() - (up.tv_sec * NS_PER_S + up.tv_nsec);
}

static void format_tty(int device, char out[32])
{
    int major = (device >> 8) & 0xfff, minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    if (!device)
        snprintf(out, 32, "?");
    else if (major >= 136 && major < 144)
        snprintf(out, 32, "pts/%d", (major - 136) * 256 + minor);
    else
        snprintf(out, 32, "tty%d", minor);
}

/* A process that ends while it is looked at is left out. */
static bool process_read(pid_t pid, struct process *ret)
{
    char path[64];
    _cleanup_str_ struct str text = STR_INIT, command = STR_INIT;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (file_read(path, PROC_FILE_MAX, &text, NULL) < 0)
        return false;
    const char *open = strchr(str_get(&text), '('), *close = strrchr(str_get(&text), ')');
    long long utime, stime, start;
    int ppid, tty;
    if (!open || !close ||
        sscanf(close + 2, "%*c %d %*d %*d %d %*d %*u %*u %*u %*u %*u %lld %lld %*d %*d %*d %*d %*d %*d %lld",
               &ppid, &tty, &utime, &stime, &start) != 5)
        return false;
    struct stat owner;
    snprintf(path, sizeof(path), "/proc/%d", pid);
    if (lstat(path, &owner) < 0)
        return false;
    *ret = (struct process){
        .pid = pid, .ppid = ppid, .uid = owner.st_uid, .start_ticks = start, .cpu_ticks = utime + stime};
    format_tty(tty, ret->tty);
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    if (file_read(path, PROC_FILE_MAX, &command, NULL) == 0 && command.len) {
        while (command.len && !command.data[command.len - 1])
            str_truncate(&command, command.len - 1);
        for (size_t i = 0; i < command.len; i++)
            if (!command.data[i])
                command.data[i] = ' ';
        ret->command = str_take(&command);
    } else
        ret->command = str_printf("[%.*s]", (int)(close - open - 1), open + 1);
    return true;
}

static char *user_name(uid_t uid)
{
    char buffer[4096];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found)
        return mem_strdup(found->pw_name);
    return str_printf("%u", uid);
}

/* ps -ef's columns: UID PID PPID C STIME TTY TIME CMD */
static json_t *process_row(const struct process *p, int64_t booted_ns)
{
    long ticks = sysconf(_SC_CLK_TCK);
    time_t started = (time_t)((booted_ns + p->start_ticks * (NS_PER_S / ticks)) / NS_PER_S);
    int64_t cpu_s = p->cpu_ticks / ticks, alive_s = MAX(time_now_ns() / NS_PER_S - started, 1);
    struct tm tm;
    char stime[16], time_text[32], number_text[16];
    localtime_r(&started, &tm);
    strftime(stime, sizeof(stime), alive_s < 24 * 3600 ? "%H:%M" : "%b%d", &tm);
    snprintf(time_text, sizeof(time_text), "%02lld:%02lld:%02lld", (long long)cpu_s / 3600,
             (long long)cpu_s / 60 % 60, (long long)cpu_s % 60);
    _cleanup_free_ char *user = user_name(p->uid);
    json_t *row = json_array();
    json_array_append_new(row, json_string(user));
    snprintf(number_text, sizeof(number_text), "%d", p->pid);
    json_array_append_new(row, json_string(number_text));
    snprintf(number_text, sizeof(number_text), "%d", p->ppid);
    json_array_append_new(row, json_string(number_text));
    snprintf(number_text, sizeof(number_text), "%lld", (long long)MIN(cpu_s * 100 / alive_s, 99));
    json_array_append_new(row, json_string(number_text));
    json_array_append_new(row, json_string(stime));
    json_array_append_new(row, json_string(p->tty));
    json_array_append_new(row, json_string(time_text));
    json_t *command = json_string(p->command);
    json_array_append_new(row, command ? command : json_string("?"));
    return row;
}

static bool namespace_of(const char *pid, ino_t *ret)
{
    _cleanup_free_ char *path = str_printf("/proc/%s/ns/pid", pid);
    struct stat st;
    if (stat(path, &st) < 0)
        return false;
    *ret = st.st_ino;
    return true;
}

/* For a container without a cgroup: who shares the pid namespace of its first process, or that one alone when
 * it has none of its own. */
static void pids_by_namespace(pid_t first, pid_t **ret, size_t *ret_count)
{
    size_t capacity = 0;
    ino_t ours, theirs, other;
    _cleanup_free_ char *first_text = str_printf("%d", (int)first);
    bool own = namespace_of("self", &ours) && namespace_of(first_text, &theirs) && ours != theirs;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        int64_t pid;
        if (parse_i64(e->d_name, 1, INT32_MAX, &pid, NULL) < 0 ||
            (pid != first && (!own || !namespace_of(e->d_name, &other) || other != theirs)))
            continue;
        GROW(*ret, *ret_count, capacity);
        (*ret)[(*ret_count)++] = (pid_t)pid;
    }
    if (d)
        closedir(d);
}

static json_t *usual_columns(const pid_t *pids, size_t count)
{
    json_t *rows = json_array();
    int64_t booted = boot_ns();
    for (size_t i = 0; i < MIN(count, (size_t)TOP_MAX_PROCESSES); i++) {
        struct process p;
        if (!process_read(pids[i], &p))
            continue;
        json_array_append_new(rows, process_row(&p, booted));
        free(p.command);
    }
    return json_pack("{s:[ssssssss],s:o}", "Titles", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD",
                     "Processes", rows);
}

/* --- other options --- */

/* The words of a line; from the `most`-th on they are one. */
static char **words_of(const char *line, size_t most)
{
    char **words = NULL;
    while (*(line += strspn(line, " \t"))) {
        size_t n = strcspn(line, " \t");
        if (most && strv_len(words) + 1 == most)
            n = strlen(line);
        _cleanup_free_ char *word = mem_strndup(line, n);
        strv_add(&words, word);
        line += n;
    }
    return words;
}

static bool among(const pid_t *pids, size_t count, int64_t pid)
{
    for (size_t i = 0; i < count; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

/* The lines of ps's table that are about these processes. */
static int read_table(const char *text, const pid_t *pids, size_t count, json_t **ret, struct err *err)
{
    _cleanup_strv_ char **lines = strv_split(text, '\n'), **titles = words_of(lines ? *lines : "", 0);
    size_t column = 0, width = strv_len(titles);
    while (column < width && !str_eq(titles[column], "PID"))
        column++;
    if (column == width)
        return err_set(err, ERR_INVALID, "Couldn't find PID field in ps output");
    json_t *rows = json_array();
    for (char **line = lines + 1; *line; line++) {
        _cleanup_strv_ char **words = words_of(*line, width);
        int64_t pid;
        if (strv_len(words) > column && parse_i64(words[column], 1, INT32_MAX, &pid, NULL) == 0 &&
            among(pids, count, pid) && json_array_size(rows) < TOP_MAX_PROCESSES)
            json_array_append_new(rows, json_of_strv(words));
    }
    *ret = json_pack("{s:o,s:o}", "Titles", json_of_strv(titles), "Processes", rows);
    return 0;
}

/* Only those processes (-q), or all when these options do not go with that. */
static int run_ps(char *const *options, const pid_t *pids, size_t count, struct str *ret, struct err *err)
{
    _cleanup_strv_ char **argv = NULL;
    _cleanup_str_ struct str list = STR_INIT;
    strv_add(&argv, "ps");
    for (char *const *o = options; o && *o; o++)
        strv_add(&argv, *o);
    for (size_t i = 0; i < count; i++)
        str_addf(&list, "%s%d", i ? "," : "-q", (int)pids[i]);
    size_t plain = strv_len(argv);
    strv_add(&argv, str_get(&list));
    if (process_run((const char *const *)argv, NULL, ret, NULL) == 0)
        return 0;
    free(argv[plain]);
    argv[plain] = NULL;
    str_clear(ret);
    return process_run((const char *const *)argv, NULL, ret, err);
}

/* "-o name=PID" would name another column so. */
static int check_options(const char *text, char *const *options, struct err *err)
{
    if (strlen(text) > PS_ARGS_MAX)
        return err_set(err, ERR_INVALID, "ps options of more than %d bytes", PS_ARGS_MAX);
    for (char *const *o = options; o && *o; o++) {
        const char *value = strchr(*o, '=');
        if (value && str_after(value + 1, "PID") && strncmp(*o, "pid=", 4) != 0)
            return err_set(err, ERR_INVALID, "specifying \"%s\" is not allowed", *o);
    }
    return 0;
}

static int asked_columns(const char *ps_args, const pid_t *pids, size_t count, json_t **ret, struct err *err)
{
    _cleanup_strv_ char **options = words_of(ps_args, 0);
    _cleanup_str_ struct str text = STR_INIT;
    struct err why = {0};
    int r = check_options(ps_args, options, err);
    if (r == 0 && access("/usr/bin/ps", X_OK) < 0 && access("/bin/ps", X_OK) < 0)
        r = err_set(err, ERR_UNSUPPORTED, "ps options need the program ps on this machine: install procps");
    if (r == 0 && run_ps(options, pids, count, &text, &why) < 0)
        r = err_set(err, ERR_SYSTEM, "ps: %.500s", why.msg);
    return r < 0 ? r : read_table(str_get(&text), pids, count, ret, err);
}

/* --- the call --- */

static int pids_of(struct container *c, pid_t **ret, size_t *ret_count, struct err *err)
{
    _cleanup_free_ char *path = container__cgroup(c, NULL);
    struct cgroup *group;
    int r = cgroup_open(path, &group, err);
    if (r < 0)
        return r;
    r = cgroup_pids(group, ret, ret_count, err);
    cgroup_free(group);
    if (r == 0 && !*ret_count) {
        free(take_ptr(*ret));
        pids_by_namespace(container__state(c).pid, ret, ret_count);
    }
    return r;
}

int engine_container_top(struct engine *e, const char *ref, const char *ps_args, json_t **ret,
                         struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = 0;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    enum container_status status = container__state(c).status;
    if (status == STATUS_RESTARTING)
        return err_set(err, ERR_CONFLICT, "Container %s is restarting, wait until the container is running",
                       c->id);
    if (!container__running(c))
        return err_set(err, ERR_CONFLICT, "Container %s is not running", c->id);
    if ((r = pids_of(c, &pids, &count, err)) < 0)
        return r;
    if (str_empty(ps_args) || str_eq(ps_args, "-ef"))
        *ret = usual_columns(pids, count);
    else
        r = asked_columns(ps_args, pids, count, ret, err);
    if (r == 0)
        container__event(c, "top", NULL, NULL);
    return r;
}
