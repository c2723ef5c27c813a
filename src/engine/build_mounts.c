#include "engine/build_mounts.h"

#include "base/file.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* Secrets are small; the tmpfs that holds them is bounded all the same. */
#define SECRETS_OPTIONS "mode=0700,size=32m"

struct making {
    struct build_mounts *m;
    struct build_owner owner;
    char *place; /* an empty directory of ours, over which things are mounted in our own namespace */
    int result;
    struct err err;
};

static int open_tree_of(int dir_fd, const char *path)
{
    return (int)syscall(SYS_open_tree, dir_fd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

static int chown_to(int fd, struct build_owner owner, const struct bakery_mount *asked)
{
    return fchown(fd, owner.uid + asked->uid, owner.gid + asked->gid);
}

/* --- in a thread with a mount namespace of its own --- */

static bool wants_part(const struct bakery_mount *asked)
{
    return !str_empty(asked->source) && !str_eq(asked->source, "/") && !str_eq(asked->source, ".");
}

/* The descriptor of all becomes one of the part. */
static int make_part(struct making *k, struct build_mount *b, struct err *err)
{
    const char *source = b->asked->source;
    _cleanup_close_ int whole = take_fd(&b->fd);
    int r = 0;
    if (syscall(SYS_move_mount, whole, "", AT_FDCWD, k->place, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(err, errno, "mount the source of %s", b->target);
    _cleanup_close_ int root = open(k->place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int part = root < 0 ? -EBADF : file_open_in_root(root, source, O_PATH, 0, err);
    if (root < 0 || part < 0) {
        r = root < 0 ? err_sys(err, errno, "open %s", k->place)
                     : err_wrap(err, "the source of the mount %s", b->target);
    } else {
        b->fd = open_tree_of(part, "");
        r = b->fd < 0 ? err_sys(err, errno, "mount the source of %s", b->target) : 0;
    }
    close_fd(take_fd(&part));
    close_fd(take_fd(&root));
    umount2(k->place, MNT_DETACH);
    return r;
}

static int make_cache(struct making *k, struct build_mount *b, struct err *err)
{
    b->fd = open_tree_of(AT_FDCWD, b->cache);
    return b->fd < 0 ? err_sys(err, errno, "mount the cache of %s", b->target) : 0;
}

static int make_secret(struct making *k, struct build_mount *b, const char *path, struct err *err)
{
    const struct bakery_mount *asked = b->asked;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "make the secret %s", asked->id);
    int r = file_write_all(fd, str_get(asked->value), asked->value->len, err);
    if (r < 0)
        return r;
    if (chown_to(fd, k->owner, asked) < 0 || fchmod(fd, (mode_t)asked->mode) < 0)
        return err_sys(err, errno, "give the secret %s its owner", asked->id);
    return 0;
}

static int make_socket(struct making *k, struct build_mount *b, const char *path, struct err *err)
{
    const struct bakery_mount *asked = b->asked;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return err_set(err, ERR_LIMIT, "%s: the path is too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    b->agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (b->agent < 0 || bind(b->agent, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(b->agent, 16) < 0 || chmod(path, (mode_t)asked->mode) < 0 ||
        chown(path, k->owner.uid + asked->uid, k->owner.gid + asked->gid) < 0)
        return err_sys(err, errno, "make the socket of ssh agent %s", asked->id);
    return 0;
}

static int make_files(struct making *k, struct err *err)
{
    struct build_mounts *m = k->m;
    int r = 0;
    /* Relative to the directory, whose own path may be longer than a socket's may. */
    if (mount("tmpfs", k->place, "tmpfs", MS_NOSUID | MS_NODEV, SECRETS_OPTIONS) < 0 || chdir(k->place) < 0)
        return err_sys(err, errno, "make a place in memory for secrets");
    for (size_t i = 0; r == 0 && i < m->count; i++) {
        struct build_mount *b = &m->list[i];
        enum bakery_mount_type type = b->asked->type;
        char name[24];
        snprintf(name, sizeof(name), "%zu", i);
        if (type != BAKERY_SECRET && type != BAKERY_SSH)
            continue;
        r = type == BAKERY_SECRET ? make_secret(k, b, name, err) : make_socket(k, b, name, err);
        if (r == 0 && (b->fd = open_tree_of(AT_FDCWD, name)) < 0)
            r = err_sys(err, errno, "mount %s", b->target);
    }
    return r;
}

static int make_all(struct making *k, struct err *err)
{
    struct build_mounts *m = k->m;
    if (unshare(CLONE_FS | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_sys(err, errno, "make a mount namespace");
    int r = 0;
    bool files = false;
    for (size_t i = 0; r == 0 && i < m->count; i++) {
        struct build_mount *b = &m->list[i];
        if (b->asked->type == BAKERY_BIND && wants_part(b->asked))
            r = make_part(k, b, err);
        else if (b->asked->type == BAKERY_CACHE)
            r = make_cache(k, b, err);
        else
            files = files || b->asked->type == BAKERY_SECRET || b->asked->type == BAKERY_SSH;
    }
    return r == 0 && files ? make_files(k, err) : r;
}

static void *make_thread(void *context)
{
    struct making *k = context;
    k->result = make_all(k, &k->err);
    return NULL;
}

/* --- the places --- */

/* Directories, and for what is a file an empty file, at the targets. */
static int make_places(struct build_mounts *m, const char *dir, struct err *err)
{
    if (mkdir(dir, 0755) < 0)
        return err_sys(err, errno, "make %s", dir);
    _cleanup_close_ int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_sys(err, errno, "open %s", dir);
    for (size_t i = 0; i < m->count; i++) {
        struct build_mount *b = &m->list[i];
        struct stat st;
        bool file = b->fd >= 0 && fstat(b->fd, &st) == 0 && !S_ISDIR(st.st_mode);
        _cleanup_free_ char *parent = mem_strndup(b->target, (size_t)(strrchr(b->target, '/') - b->target));
        _cleanup_close_ int fd = file_mkdirs_in_root(root, file ? parent : b->target, 0755, err);
        if (fd < 0)
            return fd;
        if (!file)
            continue;
        _cleanup_close_ int made =
            openat(fd, strrchr(b->target, '/') + 1, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (made < 0)
            return err_sys(err, errno, "make a place for %s", b->target);
    }
    return 0;
}

/* --- outside --- */

static char *options_of(const struct bakery_mount *asked, bool mapped)
{
    if (asked->type != BAKERY_TMPFS)
        return str_printf("rbind,rprivate,nosuid,nodev,%s%s", asked->read_only ? "ro" : "rw",
                          mapped && asked->type == BAKERY_CACHE ? ",idmap" : "");
    return asked->size_bytes ? str_printf("nosuid,nodev,mode=1777,size=%lld", (long long)asked->size_bytes)
                             : mem_strdup("nosuid,nodev,mode=1777");
}

static int add_env(struct build_mounts *m, const struct bakery_mount *asked, struct err *err)
{
    if (memchr(str_get(asked->value), '\0', asked->value->len))
        return err_set(err, ERR_INVALID, "secret %s has a zero byte, which a variable cannot hold",
                       asked->id);
    strv_take(&m->env, str_printf("%s=%s", asked->env, str_get(asked->value)));
    return 0;
}

static int add(struct build_mounts *m, const struct bakery_mount *asked, struct build_owner owner,
               struct err *err)
{
    int r = 0;
    if (asked->type == BAKERY_SECRET && asked->env)
        r = add_env(m, asked, err);
    if (r < 0 || !asked->target)
        return r;
    struct build_mount *b = &m->list[m->count++];
    *b = (struct build_mount){.fd = -EBADF,
                              .agent = -EBADF,
                              .asked = asked,
                              .target = mem_strdup(asked->target),
                              .options = options_of(asked, owner.mapped)};
    bool first = asked->type == BAKERY_SSH;
    for (size_t i = 0; i + 1 < m->count; i++)
        first = first && m->list[i].asked->type != BAKERY_SSH;
    if (first)
        strv_take(&m->env, str_printf("SSH_AUTH_SOCK=%s", asked->target));
    /* Here, since overlayfs takes only what is of its own mount namespace. */
    if (asked->type == BAKERY_BIND)
        return image_snapshot_mount(m->engine->images, asked->from, asked->read_only, &b->fd, err);
    return asked->type == BAKERY_CACHE ? build_caches__take(m->engine, m->run, asked, &b->cache, err) : 0;
}

static int make(struct build_mounts *m, struct build_owner owner, struct err *err)
{
    struct making k = {.m = m, .owner = owner, .place = str_printf("%s/place", m->run->snapshot_dir)};
    _cleanup_free_ char *places = str_printf("%s/places", m->run->snapshot_dir), *owned = k.place;
    if (mkdir(k.place, 0700) < 0)
        return err_sys(err, errno, "make %s", k.place);
    pthread_t thread;
    int sys = pthread_create(&thread, NULL, make_thread, &k);
    if (sys)
        return err_sys(err, sys, "make a thread");
    pthread_join(thread, NULL);
    if (k.result < 0)
        return err_copy(err, &k.err);
    int r = make_places(m, places, err);
    return r < 0 ? r : image_lower_of_path(m->engine->images, places, &m->places, err);
}

int build_mounts__open(struct engine *e, const struct bakery_run *run, struct build_owner owner,
                       struct build_mounts **ret, struct err *err)
{
    struct build_mounts *m = NEW(struct build_mounts);
    m->engine = e;
    m->run = run;
    m->list = NEW_N(struct build_mount, run->mount_count + 1);
    int r = 0;
    for (size_t i = 0; r == 0 && i < run->mount_count; i++)
        r = add(m, &run->mounts[i], owner, err);
    if (r == 0 && m->count)
        r = make(m, owner, err);
    if (r == 0)
        r = build_agents__start(m, err);
    if (r < 0) {
        build_mounts__close(m);
        return r;
    }
    *ret = m;
    return 0;
}

void build_mounts__into_spec(struct build_mounts *m, struct start_fds *fds, json_t *mounts)
{
    for (size_t i = 0; i < m->count; i++) {
        struct build_mount *b = &m->list[i];
        _cleanup_strv_ char **options = strv_split(b->options, ',');
        _cleanup_free_ char *source = NULL;
        if (b->fd >= 0) {
            must(fds->count < START_FDS_MAX);
            source = str_printf("fd:%zu", fds->count);
            fds->fd[fds->count++] = take_fd(&b->fd);
        }
        json_array_append_new(mounts, json_pack("{s:s,s:s,s:s,s:o}", "destination", b->target, "type",
                                                source ? "bind" : "tmpfs", "source",
                                                source ? source : "tmpfs", "options", json_of_strv(options)));
    }
}

void build_mounts__close(struct build_mounts *m)
{
    if (!m)
        return;
    build_agents__stop(m->agents);
    for (size_t i = 0; i < m->count; i++) {
        struct build_mount *b = &m->list[i];
        close_fd(b->fd);
        close_fd(b->agent);
        if (b->cache)
            build_caches__give(m->engine, b->cache);
        free(b->cache);
        free(b->target);
        free(b->options);
    }
    STRV_FOREACH (entry, m->env)
        explicit_bzero(*entry, strlen(*entry));
    strv_free(m->env);
    free(m->list);
    free(m->places);
    free(m);
}
