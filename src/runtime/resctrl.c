#include "runtime/resctrl.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct wish {
    bool set;
    const char *class; /* NULL: one of its own, by its id */
    const char *l3, *bandwidth;
    char **schemata;
    bool monitored;
};

static void wish_done(struct wish *w)
{
    strv_free(w->schemata);
}
#define _cleanup_wish_ _cleanup_(wish_done)

static const char *stand_in;

void resctrl__use(const char *dir)
{
    stand_in = dir;
}

/* --- the config --- */

/* A line of the file, so that it cannot become two. */
static int check_line(const char *key, const char *text, const char *start, struct err *err)
{
    if (!text || (!strchr(text, '\n') && (!start || str_after(text, start))))
        return 0;
    return err_set(err, ERR_INVALID, "\"linux.intelRdt.%s\": \"%.200s\" is not a line%s%s", key, text,
                   start ? " that starts with " : "", start ? start : "");
}

static int parse(const json_t *config, struct wish *ret, struct err *err)
{
    static const char where[] = "linux.intelRdt";
    json_t *object = NULL;
    int r = json_get_object(json_object_get(config, "linux"), "linux", "intelRdt", &object, err);
    if (r < 0 || !object)
        return r;
    ret->set = true;
    r = json_get_string(object, where, "closID", &ret->class, err);
    if (r == 0)
        r = json_get_string(object, where, "l3CacheSchema", &ret->l3, err);
    if (r == 0)
        r = json_get_string(object, where, "memBwSchema", &ret->bandwidth, err);
    if (r == 0)
        r = json_get_strv(object, where, "schemata", &ret->schemata, err);
    if (r == 0)
        r = json_get_bool(object, where, "enableMonitoring", &ret->monitored, err);
    if (r == 0)
        r = check_line("l3CacheSchema", ret->l3, NULL, err);
    if (r == 0)
        r = check_line("memBwSchema", ret->bandwidth, "MB:", err);
    STRV_FOREACH (line, ret->schemata)
        if (r == 0)
            r = check_line("schemata", *line, NULL, err);
    if (r < 0)
        return r;
    if (str_empty(ret->class))
        ret->class = NULL;
    /* A name right below the top, or the top itself. */
    if (ret->class && !str_eq(ret->class, "/") && (strchr(ret->class, '/') || *ret->class == '.'))
        return err_set(err, ERR_INVALID, "\"linux.intelRdt.closID\": \"%.200s\" is not a name", ret->class);
    return 0;
}

/* --- the file system --- */

static char *find_mount(void)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (stand_in)
        return mem_strdup(stand_in);
    if (file_read("/proc/self/mountinfo", 16 << 20, &text, NULL) < 0)
        return NULL;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        _cleanup_strv_ char **fields = strv_split(*line, ' ');
        if (strv_len(fields) > 5 && strstr(*line, " - resctrl "))
            return mem_strdup(fields[4]);
    }
    return NULL;
}

static char *class_dir(const struct wish *w, const char *top, const char *id)
{
    return str_eq(w->class, "/") ? mem_strdup(top) : str_printf("%s/%s", top, w->class ? w->class : id);
}

static char *monitoring_dir(const char *class, const char *id)
{
    return str_printf("%s/mon_groups/%s", class, id);
}

/* What the kernel has to say about a refusal is in a file. */
static int write_to(const char *top, const char *dir, const char *file, const char *text, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, file),
                        *status = str_printf("%s/info/last_cmd_status", top);
    _cleanup_str_ struct str why = STR_INIT;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text))
        return 0;
    int sys = errno;
    _cleanup_free_ char *words = file_read(status, 4096, &why, NULL) < 0 ? NULL : str_strip(str_get(&why));
    return err_sys(err, sys, "\"linux.intelRdt\": write %s%s%s", path, words ? ": " : "", words ? words : "");
}

/* Whether `line` ("L3:0=f;1=1f") says of each of its domains what the file says. */
static bool agrees(const char *file, const char *line)
{
    size_t name = strcspn(line, ":");
    int base = strncmp(line, "MB", 2) == 0 ? 10 : 16;
    _cleanup_strv_ char **lines = strv_split(file, '\n');
    STRV_FOREACH (other, lines) {
        const char *text = *other + strspn(*other, " ");
        if (strncmp(text, line, name) != 0 || text[name] != ':' || line[name] != ':')
            continue;
        _cleanup_strv_ char **wanted = strv_split(line + name + 1, ';'),
                            **there = strv_split(text + name + 1, ';');
        size_t found = 0;
        STRV_FOREACH (want, wanted)
            STRV_FOREACH (have, there) {
                char *a, *b;
                if (strtoul(*want, &a, 10) == strtoul(*have, &b, 10) && *a == '=' && *b == '=')
                    found += strtoull(a + 1, NULL, base) == strtoull(b + 1, NULL, base);
            }
        return found == strv_len(wanted);
    }
    return false;
}

static int compare(const struct wish *w, const char *dir, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/schemata", dir);
    _cleanup_str_ struct str text = STR_INIT;
    const char *const lines[] = {w->l3, w->bandwidth};
    int r = file_read(path, 1 << 20, &text, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(lines); i++)
        if (!str_empty(lines[i]) && !agrees(str_get(&text), lines[i]))
            r = err_set(err, ERR_CONFLICT,
                        "\"linux.intelRdt\": the class \"%s\" is there, and its schemata are not \"%s\"",
                        w->class, lines[i]);
    return r;
}

static int write_schemata(const struct wish *w, const char *top, const char *dir, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    const char *const lines[] = {w->l3, w->bandwidth};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        if (!str_empty(lines[i]))
            str_addf(&text, "%s\n", lines[i]);
    STRV_FOREACH (line, w->schemata)
        str_addf(&text, "%s\n", *line);
    return text.len ? write_to(top, dir, "schemata", str_get(&text), err) : 0;
}

static int make_class(const struct wish *w, const char *top, const char *dir, bool *ret_made, struct err *err)
{
    bool limited = !str_empty(w->l3) || !str_empty(w->bandwidth) || strv_len(w->schemata);
    if (w->class && !limited)
        return file_exists(dir)
                   ? 0
                   : err_set(err, ERR_NOT_FOUND, "\"linux.intelRdt\": there is no class \"%s\"", w->class);
    *ret_made = mkdir(dir, 0755) == 0;
    if (!*ret_made && (errno != EEXIST || !w->class))
        return err_sys(err, errno, "\"linux.intelRdt\": make %s", dir);
    int r = *ret_made ? 0 : compare(w, dir, err);
    return r < 0 ? r : write_schemata(w, top, dir, err);
}

static int add_task(const struct wish *w, const char *top, const char *dir, const char *id, pid_t pid,
                    struct err *err)
{
    char number[16];
    snprintf(number, sizeof(number), "%d", (int)pid);
    _cleanup_free_ char *monitoring = monitoring_dir(dir, id);
    int r = write_to(top, dir, "tasks", number, err);
    return r < 0 || !w->monitored ? r : write_to(top, monitoring, "tasks", number, err);
}

/* --- */

int resctrl_check(const json_t *config, struct err *err)
{
    _cleanup_wish_ struct wish w = {0};
    int r = parse(config, &w, err);
    if (r < 0 || !w.set)
        return r;
    _cleanup_free_ char *top = find_mount();
    return top ? 0
               : err_set(err, ERR_UNSUPPORTED,
                         "\"linux.intelRdt\" needs a mounted resctrl file system (mount "
                         "-t resctrl resctrl /sys/fs/resctrl)");
}

json_t *resctrl_dirs(const json_t *config, const char *id)
{
    _cleanup_wish_ struct wish w = {0};
    _cleanup_free_ char *top = NULL;
    json_t *list = json_array();
    if (parse(config, &w, NULL) < 0 || !w.set || !(top = find_mount()))
        return list;
    _cleanup_free_ char *dir = class_dir(&w, top, id), *monitoring = monitoring_dir(dir, id);
    if (w.monitored)
        json_array_append_new(list, json_string(monitoring));
    if (!w.class)
        json_array_append_new(list, json_string(dir));
    return list;
}

int resctrl_enter(const json_t *config, const char *id, pid_t pid, struct err *err)
{
    _cleanup_wish_ struct wish w = {0};
    int r = resctrl_check(config, err);
    if (r == 0)
        r = parse(config, &w, err);
    if (r < 0 || !w.set)
        return r;
    _cleanup_free_ char *top = find_mount(), *dir = class_dir(&w, top, id),
                        *monitoring = monitoring_dir(dir, id);
    bool made = false, made_monitoring = false;
    r = make_class(&w, top, dir, &made, err);
    if (r == 0 && w.monitored && !(made_monitoring = mkdir(monitoring, 0755) == 0))
        r = err_sys(err, errno, "\"linux.intelRdt\": make %s", monitoring);
    if (r == 0)
        r = add_task(&w, top, dir, id, pid, err);
    if (r < 0 && made_monitoring)
        rmdir(monitoring);
    if (r < 0 && made)
        rmdir(dir);
    return r;
}

int resctrl_join(const json_t *config, const char *id, pid_t pid, struct err *err)
{
    _cleanup_wish_ struct wish w = {0};
    int r = resctrl_check(config, err);
    if (r == 0)
        r = parse(config, &w, err);
    if (r < 0 || !w.set)
        return r;
    _cleanup_free_ char *top = find_mount(), *dir = class_dir(&w, top, id);
    return add_task(&w, top, dir, id, pid, err);
}

void resctrl_remove(const json_t *dirs)
{
    size_t i;
    json_t *dir;
    json_array_foreach (dirs, i, dir)
        if (json_is_string(dir))
            rmdir(json_string_value(dir));
}
