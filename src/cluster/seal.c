#include "cluster/seal.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/cluster_priv.h"
#include "cluster/identity.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MARK      SEAL_MARK
#define LOCK_FILE "lock.json"
#define LOCK_NAME "the key of this machine" /* what lock.json's content is authenticated as */

enum { FILE_BYTES_MAX = 64 << 10 };

static const char *const files[] = {"secrets.key", "ca.key", "node.key"};

static bool is_sealed(const struct str *raw)
{
    return raw->len >= sizeof(MARK) - 1 && memcmp(raw->data, MARK, sizeof(MARK) - 1) == 0;
}

static int read_raw(struct cluster *c, const char *name, struct str *ret, struct err *err)
{
    _cleanup_free_ char *path = identity__path(c, name);
    return file_read(path, FILE_BYTES_MAX, ret, err);
}

static int write_raw(struct cluster *c, const char *name, const void *bytes, size_t n, struct err *err)
{
    _cleanup_free_ char *path = identity__path(c, name);
    return file_replace(path, bytes, n, 0600, true, err);
}

/* --- One file; with the lock --- */

static int open_text(struct cluster *c, const char *name, struct str *raw, struct str *ret, struct err *err)
{
    const size_t head = sizeof(MARK) - 1;
    if (!is_sealed(raw)) {
        *ret = *raw;
        *raw = (struct str){0};
        return 0;
    }
    if (!c->seal.known)
        return err_set(err, ERR_CORRUPT, "%s/%s is sealed, and the key that it is sealed with is not known",
                       c->dir, name);
    return keys__open_with(c->seal.own_key, name, raw->data + head, raw->len - head, ret) < 0
               ? err_set(err, ERR_CORRUPT, "%s/%s is damaged: put it back from a backup", c->dir, name)
               : 0;
}

static int write_text(struct cluster *c, const char *name, const void *bytes, size_t n, struct err *err)
{
    _cleanup_str_ struct str sealed = STR_INIT;
    if (!c->seal.on)
        return write_raw(c, name, bytes, n, err);
    str_add(&sealed, MARK);
    int r = keys__seal_with(c->seal.own_key, name, bytes, n, &sealed, err);
    return r == 0 ? write_raw(c, name, sealed.data, sealed.len, err) : r;
}

int seal__read(struct cluster *c, const char *name, struct str *ret, struct err *err)
{
    _cleanup_str_ struct str raw = STR_INIT;
    SCOPED_LOCK(locked, &c->seal.lock);
    int r = read_raw(c, name, &raw, err);
    return r == 0 ? open_text(c, name, &raw, ret, err) : r;
}

int seal__write(struct cluster *c, const char *name, const void *bytes, size_t n, struct err *err)
{
    SCOPED_LOCK(locked, &c->seal.lock);
    return write_text(c, name, bytes, n, err);
}

/* --- All of them --- */

static int settle_file(struct cluster *c, const char *name, struct err *err)
{
    _cleanup_str_ struct str raw = STR_INIT, text = STR_INIT;
    int r = read_raw(c, name, &raw, err);
    if (r == -ERR_NOT_FOUND || (r == 0 && is_sealed(&raw) == c->seal.on))
        return 0;
    if (r == 0)
        r = open_text(c, name, &raw, &text, err);
    return r == 0 ? write_text(c, name, text.data, text.len, err) : r;
}

static int settle(struct cluster *c, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
        r = settle_file(c, files[i], err);
    return r;
}

static int write_lock(struct cluster *c, const unsigned char *unlock_key, struct err *err)
{
    _cleanup_str_ struct str sealed = STR_INIT;
    int r = keys__seal_with(unlock_key, LOCK_NAME, c->seal.own_key, SEAL_KEY_BYTES, &sealed, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *text = base64_encode(sealed.data, sealed.len);
    _cleanup_json_ json_t *doc = json_pack("{s:s}", "key", text);
    _cleanup_free_ char *line = json_format(doc);
    return write_raw(c, LOCK_FILE, line, strlen(line), err);
}

static void wipe(struct cluster *c)
{
    _cleanup_free_ char *path = identity__path(c, LOCK_FILE);
    unlink(path);
    c->seal.on = c->seal.known = c->seal.unfinished = false;
    explicit_bzero(c->seal.unlock_key, SEAL_KEY_BYTES);
    explicit_bzero(c->seal.own_key, SEAL_KEY_BYTES);
}

static int set_off(struct cluster *c, struct err *err)
{
    c->seal.on = false;
    int r = settle(c, err);
    if (r == 0)
        wipe(c);
    return r;
}

/* With the first unlock key the machine's own is made; it stays until nothing is sealed any more. */
static int set_on(struct cluster *c, const unsigned char *unlock_key, struct err *err)
{
    struct seal *s = &c->seal;
    bool first = !s->known;
    if (first)
        keys__random(s->own_key, SEAL_KEY_BYTES);
    int r = first || memcmp(s->unlock_key, unlock_key, SEAL_KEY_BYTES) ? write_lock(c, unlock_key, err) : 0;
    if (r < 0)
        return r;
    memcpy(s->unlock_key, unlock_key, SEAL_KEY_BYTES);
    s->on = s->known = s->unfinished = true;
    /* The key that was on the disk in the clear is not to be worth anything to who finds its traces. */
    c->renews = c->renews || first;
    r = settle(c, err);
    s->unfinished = r < 0;
    return r;
}

int seal__set(struct cluster *c, const unsigned char *unlock_key, struct err *err)
{
    struct seal *s = &c->seal;
    SCOPED_LOCK(locked, &s->lock);
    if (!unlock_key)
        return s->known ? set_off(c, err) : 0;
    return s->on && !s->unfinished && memcmp(s->unlock_key, unlock_key, SEAL_KEY_BYTES) == 0
               ? 0
               : set_on(c, unlock_key, err);
}

void seal__forget(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->seal.lock);
    wipe(c);
}

/* --- The start --- */

static bool any_sealed(struct cluster *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_str_ struct str raw = STR_INIT;
        if (read_raw(c, files[i], &raw, &(struct err){0}) == 0 && is_sealed(&raw))
            return true;
    }
    return false;
}

int seal__begin(struct cluster *c, bool *ret_locked, struct err *err)
{
    struct seal *s = &c->seal;
    pthread_mutex_init(&s->lock, NULL);
    s->key_fd = memfd_create("node.key", MFD_CLOEXEC);
    if (s->key_fd < 0)
        return err_sys(err, errno, "make room for the node's key in memory");
    snprintf(s->key_path, sizeof(s->key_path), "/proc/%d/fd/%d", (int)getpid(), s->key_fd);
    *ret_locked = any_sealed(c);
    if (!*ret_locked) /* of a change that was cut off at its beginning, or its end */
        wipe(c);
    return 0;
}

void seal__done(struct cluster *c)
{
    close_fd(c->seal.key_fd);
    explicit_bzero(c->seal.unlock_key, SEAL_KEY_BYTES);
    explicit_bzero(c->seal.own_key, SEAL_KEY_BYTES);
    pthread_mutex_destroy(&c->seal.lock);
}

int seal__open(struct cluster *c, const unsigned char unlock_key[SEAL_KEY_BYTES], struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT, sealed = STR_INIT, own = STR_INIT;
    _cleanup_json_ json_t *doc = NULL;
    SCOPED_LOCK(locked, &c->seal.lock);
    int r = read_raw(c, LOCK_FILE, &text, err);
    if (r == 0)
        r = json_parse(str_get(&text), text.len, LOCK_FILE, &doc, err);
    if (r == 0)
        r = base64_decode(json_str(doc, "key"), &sealed, err);
    if (r < 0) {
        err_wrap(err, "%s/" LOCK_FILE " is needed (from a backup; or docker swarm leave --force)", c->dir);
        return r;
    }
    if (keys__open_with(unlock_key, LOCK_NAME, sealed.data, sealed.len, &own) < 0 ||
        own.len != SEAL_KEY_BYTES)
        return err_set(err, ERR_UNAUTHORIZED, "swarm could not be unlocked: invalid key provided");
    memcpy(c->seal.own_key, own.data, SEAL_KEY_BYTES);
    memcpy(c->seal.unlock_key, unlock_key, SEAL_KEY_BYTES);
    explicit_bzero(own.data, own.len);
    c->seal.on = c->seal.known = c->seal.unfinished = true; /* a file may be as it was before a crash */
    return 0;
}

/* --- The node's key in memory --- */

const char *seal__key_path(const struct cluster *c)
{
    return c->seal.key_path;
}

/* Whoever reads the one before at this moment has it whole. */
int seal__show_key(struct cluster *c, const char *pem, struct err *err)
{
    _cleanup_close_ int fd = memfd_create("node.key", MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "make room for the node's key in memory");
    int r = file_write_all(fd, pem, strlen(pem), err);
    if (r == 0 && dup3(fd, c->seal.key_fd, O_CLOEXEC) < 0)
        r = err_sys(err, errno, "show the node's key");
    return r;
}
