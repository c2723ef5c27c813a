#include "logdriver/compress.h"

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { QUEUE_MAX = 64, CHUNK = 64 << 10 };

struct job {
    char *path;
    int max_files;
};

static pthread_mutex_t rotation = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct job queue[QUEUE_MAX];
static size_t queued;
static bool started, closing;
static pthread_t thread;

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
    for (int i = j->max_files - 1; i >= 1; i--) {
        _cleanup_free_ char *name = str_printf("%s.%d", j->path, i);
        compress_one(j, name);
    }
}

static void *run(void *context)
{
    const struct sched_param none = {0};
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
    pthread_mutex_lock(&lock);
    while (!closing) {
        if (!queued) {
            pthread_cond_wait(&changed, &lock);
            continue;
        }
        struct job j = queue[0];
        memmove(queue, queue + 1, --queued * sizeof(queue[0]));
        pthread_mutex_unlock(&lock);
        do_job(&j);
        free(j.path);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

void compress_rotated(const char *path, int max_files)
{
    pthread_mutex_lock(&lock);
    if (!started && !closing)
        started = pthread_create(&thread, NULL, run, NULL) == 0;
    /* One that finds no place stays as it is. */
    if (started && queued < QUEUE_MAX)
        queue[queued++] = (struct job){mem_strdup(path), max_files};
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

void compress_close(void)
{
    pthread_mutex_lock(&lock);
    closing = true;
    bool join = started;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    if (join)
        pthread_join(thread, NULL);
    while (queued)
        free(queue[--queued].path);
    started = closing = false;
}
