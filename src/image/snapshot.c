/* Writable snapshots: overlayfs over an image's layers, mounted detached, so that the host's mount table
 * does not change.
 *
 * Three ways to say up to hundreds of layers to the kernel, best first; what it lacks is found out once:
 *   LOWERDIR_ADD   fsconfig(2) "lowerdir+", one layer a call            Linux 6.7
 *   LOWERDIR       fsconfig(2) "lowerdir", 255 bytes in all, so relative to a thread's own working directory
 *   MOUNT          mount(2), a page of options, in a thread's own mount namespace; then open_tree(2) */
#include "base/file.h"
#include "base/process.h"
#include "image/image_priv.h"
#include "image/tar_priv.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <sys/mount.h> and <linux/mount.h> cannot be included together in glibc before 2.37. */
int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
enum { MOUNT_FLAG_REC_PRIVATE = 16384 | (1 << 18) }; /* MS_REC | MS_PRIVATE */

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

enum mount_method { METHOD_LOWERDIR_ADD, METHOD_LOWERDIR, METHOD_MOUNT };
enum { FSCONFIG_TEXT_MAX = 255 };

static int top_attributes(struct images *im, const char *top, const char *upper, struct err *err)
{
    /* The root directory's own mode and owner are the upper directory's: make them the image's. */
    struct stat st;
    _cleanup_close_ int from = openat(im->layers_fd, top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int to = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (from < 0 || to < 0 || fstat(from, &st) < 0)
        return err_sys(err, errno, "prepare %s", upper);
    return tar__copy_attributes(from, to, &st, err);
}

static int describe(struct images *im, const char *id, const char *dir, struct image_snapshot *ret,
                    struct err *err)
{
    struct image_snapshot s = {0};
    int r = id ? image_lowers(im, id, &s.lowers, err) : 0;
    if (r < 0)
        return r;
    if (!s.lowers)
        s.lowers = NEW_N(char *, 1);
    s.upper = str_printf("%s/upper", dir);
    s.work = str_printf("%s/work", dir);
    *ret = s;
    return 0;
}

int image_snapshot_create(struct images *im, const char *id, const char *dir, struct image_snapshot *ret,
                          struct err *err)
{
    struct image_snapshot s = {0};
    int r = describe(im, id, dir, &s, err);
    if (r < 0)
        return r;
    r = file_mkdirs(dir, 0700, err);
    if (r == 0 &&
        ((mkdir(s.upper, 0755) < 0 && errno != EEXIST) || (mkdir(s.work, 0700) < 0 && errno != EEXIST)))
        r = err_sys(err, errno, "create snapshot in %s", dir);
    if (r == 0)
        r = top_attributes(im, *s.lowers ? *s.lowers : "empty", s.upper, err);
    if (r < 0) {
        image_snapshot_done(&s);
        return r;
    }
    *ret = s;
    return 0;
}

int image_lower_of_path(struct images *im, const char *path, char **ret, struct err *err)
{
    _cleanup_free_ char *real = realpath(path, NULL);
    if (!real)
        return err_sys(err, errno, "open %s", path);
    const char *inside = str_after(real, im->root);
    if (inside && *inside == '/') {
        *ret = str_printf("..%s", inside);
        return 0;
    }
    struct str s = STR_INIT;
    for (const char *c = im->layers_dir; *c; c++)
        if (*c == '/')
            str_add(&s, "../");
    str_add(&s, real + 1);
    *ret = str_take(&s);
    return 0;
}

int image_snapshot_over(struct images *im, const char *path, const char *dir, struct image_snapshot *ret,
                        struct err *err)
{
    char *lower;
    int r = image_lower_of_path(im, path, &lower, err);
    if (r < 0)
        return r;
    r = image_snapshot_create(im, NULL, dir, ret, err);
    if (r == 0 && (r = top_attributes(im, lower, ret->upper, err)) < 0)
        image_snapshot_done(ret);
    if (r == 0)
        strv_take(&ret->lowers, lower);
    else
        free(lower);
    return r;
}

int image_snapshot_open(struct images *im, const char *id, const char *dir, struct image_snapshot *ret,
                        struct err *err)
{
    struct image_snapshot s = {0};
    int r = describe(im, id, dir, &s, err);
    if (r < 0)
        return r;
    if (!file_exists(s.upper) || !file_exists(s.work)) {
        image_snapshot_done(&s);
        return err_set(err, ERR_NOT_FOUND, "no snapshot in %s", dir);
    }
    *ret = s;
    return 0;
}

void image_snapshot_done(struct image_snapshot *s)
{
    strv_free(s->lowers);
    free(s->upper);
    free(s->work);
    *s = (struct image_snapshot){0};
}

/* --- mounting --- */

struct mount_work {
    struct images *im;
    const struct image_snapshot *snapshot;
    char *const *lowers;
    size_t lower_count;
    bool writable;
    char upper[40], work[40]; /* through descriptors: no length, comma or colon can disturb */
    int method;
    int fd;         /* the result */
    int sys;        /* errno of a failure */
    bool unable;    /* the kernel does not know this way */
    char said[256]; /* the kernel's own words */
};

static int fs_string(int fs, const char *key, const char *value)
{
    return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0);
}

static int failed(struct mount_work *m, int fs)
{
    m->sys = errno;
    ssize_t n = fs >= 0 ? read(fs, m->said, sizeof(m->said) - 1) : -1;
    m->said[MAX(n, 0)] = '\0';
    for (char *c = m->said; *c; c++)
        if (*c == '\n')
            *c = '\0';
    close_fd(fs);
    return -1;
}

static int finish_fs(struct mount_work *m, int fs)
{
    static const char *const options[][2] = {
        /* Layers are to be complete by themselves, readable by every engine: no redirects, no metadata-only
         * copies, no index that ties them to this host. */
        {"redirect_dir", "off"},
        {"metacopy", "off"},
        {"index", "off"},
    };
    if (m->writable && (fs_string(fs, "upperdir", m->upper) < 0 || fs_string(fs, "workdir", m->work) < 0))
        return failed(m, fs);
    if (fs_string(fs, "source", "overlay") < 0)
        return failed(m, fs);
    /* In a user namespace overlayfs has marks of its own, with which the first two are off and may not be
     * said to be. */
    bool user = process_in_user_namespace();
    if (user && syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0)
        return failed(m, fs);
    for (size_t i = user ? 2 : 0; i < ARRAY_SIZE(options); i++)
        if (fs_string(fs, options[i][0], options[i][1]) < 0)
            return failed(m, fs);
    if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return failed(m, fs);
    m->fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
    if (m->fd < 0)
        return failed(m, fs);
    close_fd(fs);
    return 0;
}

static int mount_lowerdir_add(struct mount_work *m)
{
    int fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
    if (fs < 0) {
        m->unable = errno == ENOSYS;
        return failed(m, -EBADF);
    }
    for (size_t i = 0; i < m->lower_count; i++) {
        char path[128];
        _cleanup_close_ int other = -EBADF;
        /* What is no layer may have a longer path than fsconfig(2) takes. */
        if (strchr(m->lowers[i], '/')) {
            other = openat(m->im->layers_fd, m->lowers[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
            snprintf(path, sizeof(path), "/proc/self/fd/%d", other);
        } else
            snprintf(path, sizeof(path), "/proc/self/fd/%d/%.64s", m->im->layers_fd, m->lowers[i]);
        if (fs_string(fs, "lowerdir+", path) < 0) {
            /* Old kernels refuse an unknown key only at CREATE or here, as EINVAL; new ones know it. */
            m->unable = i == 0 && errno == EINVAL;
            return failed(m, fs);
        }
    }
    return finish_fs(m, fs);
}

static int mount_lowerdir(struct mount_work *m, const char *lowers)
{
    if (unshare(CLONE_FS) < 0 || fchdir(m->im->layers_fd) < 0)
        return failed(m, -EBADF);
    int fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
    if (fs < 0) {
        m->unable = errno == ENOSYS;
        return failed(m, -EBADF);
    }
    if (fs_string(fs, "lowerdir", lowers) < 0)
        return failed(m, fs);
    return finish_fs(m, fs);
}

/* A comma would end the option, a backslash escape the next character. */
static void add_escaped(struct str *s, const char *path)
{
    for (; *path; path++) {
        if (*path == ',' || *path == '\\')
            str_addc(s, '\\');
        str_addc(s, *path);
    }
}

static int mount_classic(struct mount_work *m, const char *lowers)
{
    _cleanup_str_ struct str options = STR_INIT;
    str_addf(&options, "lowerdir=%s,%s,index=off", lowers,
             process_in_user_namespace() ? "userxattr" : "redirect_dir=off,metacopy=off");
    if (m->writable) {
        str_add(&options, ",upperdir=");
        add_escaped(&options, m->snapshot->upper);
        str_add(&options, ",workdir=");
        add_escaped(&options, m->snapshot->work);
    }
    if ((long)options.len >= sysconf(_SC_PAGESIZE)) {
        m->sys = E2BIG;
        return -1;
    }
    /* The mount is made over our own tmp directory, in a mount namespace that ends with this thread.
     * Overlayfs takes directories of its own namespace only: the working directory moves along when it is set
     * before, and names are looked up after; descriptors of before would be refused. */
    if (unshare(CLONE_FS) < 0 || fchdir(m->im->layers_fd) < 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MOUNT_FLAG_REC_PRIVATE, NULL) < 0 ||
        mount("overlay", m->im->tmp_dir, "overlay", 0, str_get(&options)) < 0)
        return failed(m, -EBADF);
    m->fd = (int)syscall(SYS_open_tree, AT_FDCWD, m->im->tmp_dir, OPEN_TREE_CLONE | O_CLOEXEC);
    return m->fd < 0 ? failed(m, -EBADF) : 0;
}

static void *mount_thread(void *context)
{
    struct mount_work *m = context;
    _cleanup_free_ char *lowers = strv_join(m->lowers, ":");
    if (m->method == METHOD_LOWERDIR && strlen(lowers) <= FSCONFIG_TEXT_MAX) {
        mount_lowerdir(m, lowers);
        return NULL;
    }
    mount_classic(m, lowers);
    return NULL;
}

static void try_method(struct mount_work *m, int method)
{
    m->method = method;
    m->unable = false;
    if (method == METHOD_LOWERDIR_ADD) {
        mount_lowerdir_add(m);
        return;
    }
    /* A thread of its own: its working directory and mount namespace are not ours. */
    pthread_t thread;
    m->sys = pthread_create(&thread, NULL, mount_thread, m);
    if (m->sys == 0)
        pthread_join(thread, NULL);
}

static int mount_err(const struct image_snapshot *s, const struct mount_work *m, struct err *err)
{
    if (m->sys == E2BIG)
        return err_set(
            err, ERR_LIMIT,
            "%zu layers are more than this kernel's mount(2) takes: use Linux 6.7 or newer, or an image "
            "of fewer layers",
            m->lower_count);
    const char *hint = m->sys == EINVAL || m->sys == EOPNOTSUPP
                           ? " (its file system must be able to carry overlayfs, as ext4 and xfs do)"
                           : "";
    return err_sys(err, m->sys, "mount snapshot %s%s%s%s", s->upper, hint, *m->said ? ": " : "", m->said);
}

int image_snapshot_mount(struct images *im, const struct image_snapshot *s, bool read_only, int *ret_root_fd,
                         struct err *err)
{
    _cleanup_close_ int upper = open(s->upper, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int work = open(s->work, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (upper < 0 || work < 0)
        return err_sys(err, errno, "open snapshot %s", s->upper);
    static char *empty[] = {(char *)"empty", NULL};
    char *const *lowers = s->lowers && *s->lowers ? s->lowers : empty;
    _cleanup_strv_ char **with_upper = NULL;
    if (read_only) { /* as one layer more: a work directory is its mount's own, and that may be in use */
        char *top;
        int r = image_lower_of_path(im, s->upper, &top, err);
        if (r < 0)
            return r;
        strv_take(&with_upper, top);
        for (char *const *lower = lowers; *lower; lower++)
            strv_add(&with_upper, *lower);
        lowers = with_upper;
    }
    struct mount_work m = {.im = im, .snapshot = s, .lowers = lowers, .writable = !read_only, .fd = -EBADF};
    m.lower_count = strv_len(m.lowers);
    snprintf(m.upper, sizeof(m.upper), "/proc/self/fd/%d", upper);
    snprintf(m.work, sizeof(m.work), "/proc/self/fd/%d", work);
    for (int method = __atomic_load_n(&im->mount_method, __ATOMIC_RELAXED); method <= METHOD_MOUNT;
         method++) {
        try_method(&m, method);
        if (!m.unable)
            break;
        __atomic_store_n(&im->mount_method, method + 1, __ATOMIC_RELAXED);
    }
    if (m.fd < 0)
        return mount_err(s, &m, err);
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    if (read_only && syscall(SYS_mount_setattr, m.fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
        close_fd(m.fd);
        return err_sys(err, errno, "make snapshot %s read-only", s->upper);
    }
    *ret_root_fd = m.fd;
    return 0;
}
