#include "cli/watch.h"

#include "bakery/ignore.h"
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/archive.h"
#include "cli/call.h"
#include "cli/hook.h"
#include "cli/up.h"
#include "cli/verbs.h"
#include "compose/yaml.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_DIRECTORIES = 8192,
    MAX_CHANGES = 4096,
    MAX_PATTERNS_BYTES = 1 << 20,
    PAUSE_MS = 150,
    LONGEST_MS = 1000,
    MAX_DEPTH = 64
};

struct rule {
    const struct compose_service *service;
    const struct compose_watch *watch;
    struct ignore *ignored, *included; /* NULL: nothing; everything */
    struct ignore *context_ignored;    /* .dockerignore of the build context */
};

struct watcher {
    const struct files_watch *options;
    struct rule *rules;
    size_t rule_count;
    int fd;
    char **directories; /* by inotify's number, which are small and ascending */
    size_t capacity, directory_count;
    struct map changes; /* absolute path -> the watcher */
};

/* --- Which paths are a rule's --- */

static const char *below(const char *path, const char *dir)
{
    const char *rest = str_after(path, dir);
    return !rest ? NULL : !*rest ? "" : *rest == '/' ? rest + 1 : dir[strlen(dir) - 1] == '/' ? rest : NULL;
}

static bool in_git(const char *relative)
{
    return str_eq(relative, ".git") || str_after(relative, ".git/") || strstr(relative, "/.git/");
}

/* The path relative to the rule's, when the rule is to act on it; else NULL. */
static const char *own_path(const struct rule *r, const char *path, bool directory)
{
    const char *relative = below(path, r->watch->path);
    const char *in_context = r->service->has_build ? below(path, r->service->build.context) : NULL;
    if (!relative || in_git(relative))
        return NULL;
    if (!*relative)
        return relative;
    if ((r->ignored && ignore_matches(r->ignored, relative)) ||
        (r->context_ignored && in_context && *in_context && ignore_matches(r->context_ignored, in_context)))
        return NULL;
    return !r->included || directory || ignore_matches(r->included, relative) ? relative : NULL;
}

static int parse_patterns(char *const *list, struct ignore **ret, struct err *err)
{
    if (!list || !*list)
        return 0;
    _cleanup_free_ char *text = strv_join(list, "\n");
    return ignore_parse(text, strlen(text), ret, err);
}

static int prepare_rule(struct rule *r, struct err *err)
{
    int result = parse_patterns(r->watch->ignore, &r->ignored, err);
    if (result == 0)
        result = parse_patterns(r->watch->include, &r->included, err);
    if (result < 0 || !r->service->has_build)
        return result;
    _cleanup_free_ char *path = str_printf("%s/.dockerignore", r->service->build.context);
    _cleanup_str_ struct str text = STR_INIT;
    result = file_read(path, MAX_PATTERNS_BYTES, &text, err);
    if (result == -ERR_NOT_FOUND || !text.len)
        return 0;
    return result < 0 ? result : ignore_parse(str_get(&text), text.len, &r->context_ignored, err);
}

/* --- Watching directories --- */

static bool any_rule_wants(const struct watcher *w, const char *path, bool directory)
{
    for (size_t i = 0; i < w->rule_count; i++)
        if (own_path(&w->rules[i], path, directory))
            return true;
    return false;
}

static int add_directory(struct watcher *w, const char *path, struct err *err)
{
    static const uint32_t events = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE |
                                   IN_ATTRIB | IN_ONLYDIR | IN_EXCL_UNLINK;
    if (w->directory_count >= MAX_DIRECTORIES)
        return err_set(err, ERR_LIMIT, "more than %d directories to watch; ignore some, at %s",
                       MAX_DIRECTORIES, path);
    int number = inotify_add_watch(w->fd, path, events);
    if (number < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(err, errno, "watch %s", path);
    while ((size_t)number >= w->capacity) {
        size_t more = w->capacity ? w->capacity * 2 : 64;
        w->directories = mem_grow(w->directories, more, sizeof(*w->directories));
        memset(w->directories + w->capacity, 0, (more - w->capacity) * sizeof(*w->directories));
        w->capacity = more;
    }
    w->directory_count += !w->directories[number];
    free(w->directories[number]);
    w->directories[number] = mem_strdup(path);
    return 0;
}

static void note_change(struct watcher *w, const char *path)
{
    if (w->changes.count < MAX_CHANGES && any_rule_wants(w, path, false))
        map_put(&w->changes, path, w);
}

/* A directory and all below it; with `changed`, what is in it counts as new. Links are not followed. */
static int add_tree(struct watcher *w, const char *path, bool changed, int depth, struct err *err)
{
    int r = add_directory(w, path, err);
    DIR *dir = r == 0 && depth < MAX_DEPTH ? opendir(path) : NULL;
    struct dirent *entry;
    while (r == 0 && dir && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        _cleanup_free_ char *inside = str_printf("%s/%s", path, entry->d_name);
        struct stat st;
        bool is_dir = lstat(inside, &st) == 0 && S_ISDIR(st.st_mode);
        if (is_dir && any_rule_wants(w, inside, true))
            r = add_tree(w, inside, changed, depth + 1, err);
        else if (!is_dir && changed)
            note_change(w, inside);
    }
    if (dir)
        closedir(dir);
    return r;
}

static int start_watching(struct watcher *w, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->rule_count; i++) {
        const char *path = w->rules[i].watch->path;
        struct stat st;
        if (stat(path, &st) < 0)
            return err_sys(err, errno, "%s:%d: watch %s", w->rules[i].watch->node->file,
                           w->rules[i].watch->node->line, path);
        /* A single file is watched through its directory: editors replace files. */
        _cleanup_free_ char *parent = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
        r = S_ISDIR(st.st_mode) ? add_tree(w, path, false, 0, err)
                                : add_directory(w, *parent ? parent : "/", err);
    }
    return r;
}

/* --- What a rule does --- */

static void say(const struct watcher *w, const struct rule *r, const char *format, ...) _printf_(3, 4);
static void say(const struct watcher *w, const struct rule *r, const char *format, ...)
{
    va_list ap;
    _cleanup_str_ struct str text = STR_INIT;
    va_start(ap, format);
    str_vaddf(&text, format, ap);
    va_end(ap);
    if (!w->options->quiet)
        fprintf(stderr, "%s: %s\n", r->service->name, str_get(&text));
}

/* One path into one container, or out of it when it is gone here. */
static int sync_path(const struct rule *r, const char *container, const char *relative, struct err *err)
{
    _cleanup_free_ char *from = str_printf("%s%s%s", r->watch->path, *relative ? "/" : "", relative);
    _cleanup_free_ char *to = str_printf("%s%s%s", r->watch->target, *relative ? "/" : "", relative);
    struct stat st;
    if (lstat(from, &st) < 0) {
        const struct compose_hook remove = {.body =
                                                json_pack("{s:b, s:b, s:[s, s, s, s]}", "AttachStdout", 1,
                                                          "AttachStderr", 1, "Cmd", "rm", "-rf", "--", to)};
        int result = hook_run(container, &remove, err);
        json_decref(remove.body);
        return result;
    }
    if (S_ISDIR(st.st_mode))
        return 0; /* what is in it is a change of its own */
    _cleanup_free_ char *parent = mem_strndup(from, (size_t)(strrchr(from, '/') - from));
    _cleanup_close_ int root = open(*parent ? parent : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct tar_create create = {
        .root_fd = root, .path = strrchr(from, '/') + 1, .name = to + 1, .epoch = -1};
    return root < 0 ? err_sys(err, errno, "open %s", parent)
                    : archive_put(container, "/", false, &create, err);
}

static int for_each_container(const struct watcher *w, const struct rule *r,
                              int (*fn)(const struct rule *, const char *id, void *context, struct err *),
                              void *context, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    size_t i;
    json_t *c;
    int result = project_containers(w->options->project->name, r->service->name, false, &list, err);
    json_array_foreach (list, i, c)
        if (result == 0 && !str_eq(json_str(json_object_get(c, "Labels"), COMPOSE_LABEL_ONEOFF), "True"))
            result = fn(r, json_str(c, "Id"), context, err);
    return result;
}

static int sync_all(const struct rule *r, const char *id, void *context, struct err *err)
{
    int result = 0;
    for (char **path = context; result == 0 && *path; path++)
        result = sync_path(r, id, *path, err);
    return result;
}

static int restart(const struct rule *r, const char *id, void *context, struct err *err)
{
    (void)r, (void)context;
    return cli_call("POST", NULL, NULL, err, "/containers/%s/restart", id);
}

static int run_exec(const struct rule *r, const char *id, void *context, struct err *err)
{
    (void)context;
    return hook_run(id, r->watch->exec, err);
}

static int act(const struct watcher *w, const struct rule *r, char **paths, struct err *err)
{
    const char *action = r->watch->action;
    size_t n = strv_len(paths);
    int result = 0;
    if (strcmp(action, "rebuild") == 0) {
        say(w, r, "rebuilding after a change of %s", *paths[0] ? paths[0] : r->watch->path);
        return up_service(w->options->project_options, r->service->name)
                   ? err_set(err, ERR_SYSTEM, "the service could not be rebuilt")
                   : 0;
    }
    if (str_after(action, "sync")) {
        result = for_each_container(w, r, sync_all, paths, err);
        if (result == 0)
            say(w, r, "synced %zu path%s to %s", n, n == 1 ? "" : "s", r->watch->target);
    }
    if (result == 0 && (strcmp(action, "restart") == 0 || strcmp(action, "sync+restart") == 0)) {
        result = for_each_container(w, r, restart, NULL, err);
        if (result == 0)
            say(w, r, "restarted");
    }
    if (result == 0 && strcmp(action, "sync+exec") == 0) {
        result = for_each_container(w, r, run_exec, NULL, err);
        if (result == 0)
            say(w, r, "ran %s",
                json_string_value(json_array_get(json_object_get(r->watch->exec->body, "Cmd"), 0)));
    }
    return result;
}

/* Every rule with the changes that are its own. An error is said, and the watch goes on. */
static void apply_changes(struct watcher *w)
{
    for (size_t i = 0; i < w->rule_count; i++) {
        struct map_entry *e;
        struct err err;
        _cleanup_strv_ char **paths = NULL;
        for (size_t j = 0; (e = map_next(&w->changes, &j));)
            if (own_path(&w->rules[i], e->key, false))
                strv_add(&paths, own_path(&w->rules[i], e->key, false));
        if (paths && act(w, &w->rules[i], paths, &err) < 0)
            fprintf(stderr, "drover: watch: service %s: %s\n", w->rules[i].service->name, err.msg);
    }
    map_done(&w->changes);
    w->changes = MAP_INIT(NULL);
}

/* --- The loop --- */

static int take_event(struct watcher *w, const struct inotify_event *event, struct err *err)
{
    if (event->mask & IN_Q_OVERFLOW) {
        fprintf(stderr, "drover: watch: more changes than could be followed; some were missed\n");
        return 0;
    }
    const char *dir = event->wd >= 0 && (size_t)event->wd < w->capacity ? w->directories[event->wd] : NULL;
    if (event->mask & IN_IGNORED && dir) {
        free(w->directories[event->wd]);
        w->directories[event->wd] = NULL;
        w->directory_count--;
        return 0;
    }
    if (!dir || !event->len)
        return 0;
    _cleanup_free_ char *path = str_printf("%s/%s", dir, event->name);
    bool came = event->mask & (IN_CREATE | IN_MOVED_TO), is_dir = event->mask & IN_ISDIR;
    if (is_dir && came && any_rule_wants(w, path, true))
        return add_tree(w, path, true, 0, err);
    /* A new file that is still being written tells when it is closed. */
    if (!is_dir || !came)
        note_change(w, path);
    return 0;
}

static int read_events(struct watcher *w, struct err *err)
{
    _Alignas(struct inotify_event) char buffer[16384];
    ssize_t n = read(w->fd, buffer, sizeof(buffer));
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : err_sys(err, errno, "read changes");
    int r = 0;
    for (ssize_t at = 0; r == 0 && at < n;) {
        const struct inotify_event *event = (const struct inotify_event *)(buffer + at);
        r = take_event(w, event, err);
        at += (ssize_t)(sizeof(*event) + event->len);
    }
    return r;
}

/* Acts when it has been quiet for a moment; or, where it never is, after a while. */
static int loop(struct watcher *w, struct err *err)
{
    int r = 0;
    int64_t began_ns = 0;
    while (r == 0) {
        struct pollfd p = {.fd = w->fd, .events = POLLIN};
        int ready = poll(&p, 1, w->changes.count ? PAUSE_MS : -1);
        if (ready > 0)
            r = read_events(w, err);
        else if (ready < 0 && errno != EINTR)
            r = err_sys(err, errno, "poll");
        if (!w->changes.count)
            continue;
        int64_t now = time_monotonic_ns();
        began_ns = began_ns ? began_ns : now;
        if (ready == 0 || now - began_ns >= LONGEST_MS * NS_PER_MS) {
            apply_changes(w);
            began_ns = 0;
        }
    }
    return r;
}

static int collect_rules(struct watcher *w, struct err *err)
{
    const struct compose_project *p = w->options->project;
    size_t capacity = 0;
    for (size_t i = 0; i < p->service_count; i++) {
        const struct compose_service *s = &p->services[i];
        bool asked =
            !w->options->services || !*w->options->services || strv_has(w->options->services, s->name);
        for (size_t j = 0; s->active && asked && j < s->watch_count; j++) {
            GROW(w->rules, w->rule_count, capacity);
            w->rules[w->rule_count] = (struct rule){.service = s, .watch = &s->watch[j]};
            int r = prepare_rule(&w->rules[w->rule_count++], err);
            if (r < 0)
                return r;
        }
    }
    return w->rule_count ? 0 : err_set(err, ERR_INVALID, "no service has \"develop.watch\"");
}

/* What is there at the start, for the rules that ask for it. */
static int sync_first(struct watcher *w, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->rule_count; i++)
        if (w->rules[i].watch->initial_sync && str_after(w->rules[i].watch->action, "sync")) {
            struct watcher one = {.options = w->options, .rules = &w->rules[i], .rule_count = 1, .fd = w->fd};
            one.directories = w->directories;
            one.capacity = w->capacity;
            one.directory_count = w->directory_count;
            one.changes = MAP_INIT(NULL);
            r = add_tree(&one, w->rules[i].watch->path, true, 0, err);
            w->directories = one.directories;
            w->capacity = one.capacity;
            w->directory_count = one.directory_count;
            if (r == 0)
                apply_changes(&one);
        }
    return r;
}

static void watcher_done(struct watcher *w)
{
    for (size_t i = 0; i < w->rule_count; i++) {
        ignore_free(w->rules[i].ignored);
        ignore_free(w->rules[i].included);
        ignore_free(w->rules[i].context_ignored);
    }
    for (size_t i = 0; i < w->capacity; i++)
        free(w->directories[i]);
    free(w->directories);
    free(w->rules);
    map_done(&w->changes);
    close_fd(w->fd);
}

int files_watch(const struct files_watch *options, struct err *err)
{
    _cleanup_(watcher_done) struct watcher w = {
        .options = options, .changes = MAP_INIT(NULL), .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
    if (w.fd < 0)
        return err_sys(err, errno, "watch files");
    int r = collect_rules(&w, err);
    if (r == 0)
        r = start_watching(&w, err);
    if (r == 0)
        r = sync_first(&w, err);
    if (r < 0)
        return r;
    if (!options->quiet)
        fprintf(stderr, "Watch enabled\n");
    return loop(&w, err);
}

static void *run_in_thread(void *context)
{
    const struct files_watch *options = context;
    struct err err;
    if (files_watch(options, &err) < 0)
        fprintf(stderr, "drover: watch: %s\n", err.msg);
    free(context);
    return NULL;
}

void files_watch_start(const struct files_watch *options)
{
    pthread_t thread;
    must(pthread_create(&thread, NULL, run_in_thread, mem_dup(options, sizeof(*options))) == 0);
    pthread_detach(thread);
}

int cli_watch(int argc, char **argv)
{
    struct project_options project = {0};
    bool no_up = false, quiet = false;
    const struct cli_option options[] = {
        {0, "no-up", CLI_FLAG, &no_up, NULL, "Do not build and start the services first"},
        {0, "quiet", CLI_FLAG, &quiet, NULL, "Do not say what is synced"},
        PROJECT_OPTIONS(project),
        {0},
    };
    const struct cli_command command = {
        "watch [OPTIONS] [SERVICE...]",
        "Brings changes of files into the running services, as develop.watch says.",
        options,
        false,
        0,
        -1};
    char **services;
    struct err err;
    int status = cli_parse(&command, argc, argv, &services);
    _cleanup_compose_ struct compose_project *p = NULL;
    if (status < 0)
        status = project_load(&project, services, false, &p);
    if (status == 0 && p && !no_up)
        status = up_watched(&project, services);
    const struct files_watch watch = {
        .project = p, .project_options = &project, .services = services, .quiet = quiet};
    if (status == 0 && p && files_watch(&watch, &err) < 0)
        status = cli_fail(&err);
    project_options_done(&project);
    return status;
}
