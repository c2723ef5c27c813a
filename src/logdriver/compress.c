#include "logdriver/compress.h"

#include "base/err.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "keeper/log_file.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { QUEUE_MAX = 64, CHUNK = 64 << 10 };

struct job {
    char *path;
    int max_files; /* 0: a local log */
};

static pthread_mutex_t rotation = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static struct job queue[QUEUE_MAX];
static size_t queued;
static bool started, closing;
static pthread_t thread;
/* An eventfd, and inotify on the directories of local logs; the paths by their watches' numbers. */
static int wake_fd = -EBADF, notify_fd = -EBADF;
static struct map watched = {.free_value = free};

void compress_lock(void)
{
    pthread_mutex_lock(&rotation);
}

void compress_unlock(void)
{
    pthread_mutex_unlock(&rotation);
}

static bool is_closing(void)
{
    pthread_mutex_lock(&lock);
    bool is = closing;
    pthread_mutex_unlock(&lock);
    return is;
}

/* From `in` to the file `to`, as gzip. */
static int deflate_file(int in, const char *to, struct err *err)
{
    _cleanup_free_ char *buffer = mem_new(CHUNK);
    gzFile out = gzopen(to, "wbe1");
    if (!out)
        return err_sys(err, errno, "create %s", to);
    ssize_t n;
    int r = 0;
    for (off_t at = 0; r == 0 && (n = pread(in, buffer, CHUNK, at)) > 0; at += n)
        if (gzwrite(out, buffer, (unsigned)n) != (int)n || is_closing())
            r = err_set(err, ERR_NO_SPACE, "write %s", to);
    if (gzclose(out) != Z_OK && r == 0)
        r = err_set(err, ERR_NO_SPACE, "write %s", to);
    return r;
}

/* Puts the compressed form in the place of its file, wherever a rotation has moved that meanwhile. */
static bool put_in_place(const struct job *j, const struct stat *of, const char *made)
{
    bool done = false;
    compress_lock();
    for (int i = 1; i < j->max_files && !done; i++) {
        struct stat st;
        _cleanup_free_ char *name = str_printf("%s.%d", j->path, i), *to = str_printf("%s.gz", name);
        if (stat(name, &st) == 0 && st.st_ino == of->st_ino)
            done = rename(made, to) == 0 && unlink(name) == 0;
    }
    compress_unlock();
    return done;
}

static void compress_one(const struct job *j, const char *name)
{
    struct stat st;
    struct err err;
    _cleanup_free_ char *made = str_printf("%s.gz.part", j->path);
    _cleanup_close_ int in = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (in < 0 || fstat(in, &st) < 0)
        return;
    if (deflate_file(in, made, &err) < 0) {
        if (!is_closing())
            log_warning("compress %s: %s", name, err.msg);
        unlink(made);
    } else if (!put_in_place(j, &st, made))
        unlink(made);
}

/* Several rotations may have gone by since the job was given. */
static void do_job(const struct job *j)
{
    struct err err;
    if (!j->max_files && log_compress(j->path, is_closing, &err) < 0 && !is_closing())
        log_warning("%s", err.msg);
    for (int i = j->max_files - 1; i >= 1; i--) {
        _cleanup_free_ char *name = str_printf("%s.%d", j->path, i);
        compress_one(j, name);
    }
}

/* One that finds no place stays as it is; one that waits already is done once. */
static void add_job(const char *path, int max_files)
{
    for (size_t i = 0; i < queued; i++)
        if (str_eq(queue[i].path, path))
            return;
    if (queued < QUEUE_MAX)
        queue[queued++] = (struct job){mem_strdup(path), max_files};
}

static void watch_name(char name[16], int watch)
{
    snprintf(name, 16, "%d", watch);
}

/* A local log that begins a new file gets it by a rename to its own name. */
static void take_events(void)
{
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n;
    while ((n = read(notify_fd, buffer, sizeof(buffer))) > 0)
        for (char *at = buffer; at < buffer + n;) {
            const struct inotify_event *e = (const struct inotify_event *)at;
            char name[16];
            watch_name(name, e->wd);
            const char *path = map_get(&watched, name), *slash = path ? strrchr(path, '/') : NULL;
            if (slash && e->len && str_eq(e->name, slash + 1))
                add_job(path, 0);
            at += sizeof(*e) + e->len;
        }
}

static bool take_job(struct job *ret)
{
    if (!queued)
        return false;
    *ret = queue[0];
    memmove(queue, queue + 1, --queued * sizeof(queue[0]));
    return true;
}

static void *run(void *context)
{
    const struct sched_param none = {0};
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
    pthread_mutex_lock(&lock);
    while (!closing) {
        struct job j;
        uint64_t ignored;
        struct pollfd p[] = {{.fd = wake_fd, .events = POLLIN}, {.fd = notify_fd, .events = POLLIN}};
        bool have = take_job(&j);
        pthread_mutex_unlock(&lock);
        if (have) {
            do_job(&j);
            free(j.path);
        } else if (poll(p, ARRAY_SIZE(p), -1) > 0 && p[0].revents && read(wake_fd, &ignored, 8) < 0)
            log_debug("compress: %s", strerror(errno));
        pthread_mutex_lock(&lock);
        take_events();
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* Locked. */
static bool start(void)
{
    if (started || closing)
        return started && !closing;
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    started = wake_fd >= 0 && notify_fd >= 0 && pthread_create(&thread, NULL, run, NULL) == 0;
    if (!started) {
        log_warning("rotated logs are not compressed: %s", strerror(errno));
        wake_fd = close_fd(wake_fd);
        notify_fd = close_fd(notify_fd);
    }
    return started;
}

static void wake(void)
{
    if (eventfd_write(wake_fd, 1) < 0)
        log_debug("compress: %s", strerror(errno));
}

void compress_rotated(const char *path, int max_files)
{
    pthread_mutex_lock(&lock);
    if (start()) {
        add_job(path, max_files);
        wake();
    }
    pthread_mutex_unlock(&lock);
}

static void watch(const char *path)
{
    _cleanup_free_ char *dir = mem_strdup(path);
    char *slash = strrchr(dir, '/'), name[16];
    must(slash);
    *slash = '\0';
    int number = inotify_add_watch(notify_fd, dir, IN_MOVED_TO | IN_ONLYDIR);
    if (number < 0) {
        log_warning("%s: rotated files are not compressed: watch: %s", path, strerror(errno));
        return;
    }
    watch_name(name, number);
    map_put(&watched, name, mem_strdup(path));
    add_job(path, 0);
    wake();
}

void compress_watch(const char *path)
{
    pthread_mutex_lock(&lock);
    if (start())
        watch(path);
    pthread_mutex_unlock(&lock);
}

void compress_unwatch(const char *path)
{
    struct map_entry *e;
    int64_t number;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; (e = map_next(&watched, &i));)
        if (str_eq(e->value, path) && parse_i64(e->key, 0, INT32_MAX, &number, NULL) == 0) {
            inotify_rm_watch(notify_fd, (int)number);
            map_remove(&watched, e->key);
        }
    pthread_mutex_unlock(&lock);
}

void compress_close(void)
{
    pthread_mutex_lock(&lock);
    closing = true;
    bool join = started;
    if (join)
        wake();
    pthread_mutex_unlock(&lock);
    if (join)
        pthread_join(thread, NULL);
    struct job j;
    while (take_job(&j))
        free(j.path);
    map_done(&watched);
    watched = MAP_INIT(free);
    wake_fd = close_fd(wake_fd);
    notify_fd = close_fd(notify_fd);
    started = closing = false;
}
