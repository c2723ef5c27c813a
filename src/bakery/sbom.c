#include "bakery/attest.h"

#include "bakery/packages.h"
#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

/* The image's files are a stranger's: only regular ones are read, inside its root, and not without end. */
enum { DATABASE_MAX_BYTES = 64 << 20, RELEASE_MAX_BYTES = 64 << 10, STATUS_FILES_MAX = 10000 };
enum { RPM_MAX_BYTES = 256 << 20 };

static int open_inside(int root, const char *path, struct err *err)
{
    struct stat st;
    _cleanup_close_ int fd = file_open_in_root(root, path, O_RDONLY | O_NONBLOCK, 0, err);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a regular file", path);
    return take_fd(&fd);
}

static int read_inside(int root, const char *path, size_t max, struct str *ret, struct err *err)
{
    _cleanup_close_ int fd = open_inside(root, path, err);
    if (fd < 0)
        return fd;
    int r = file_read_fd(fd, max, ret, err);
    return r < 0 ? err_wrap(err, "%s", path) : 0;
}

static bool read_if_there(int root, const char *path, size_t max, struct str *ret, int *r, struct err *err)
{
    struct err why = {0};
    int code = read_inside(root, path, max, ret, &why);
    if (code < 0 && code != -ERR_NOT_FOUND)
        *r = err_copy(err, &why);
    return code == 0;
}

/* Images without dpkg itself have a file for each package. */
static int read_status_dir(int root, struct str *text, struct err *err)
{
    static const char dir[] = "var/lib/dpkg/status.d";
    int fd = file_open_in_root(root, dir, O_RDONLY | O_DIRECTORY, 0, NULL), r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return 0;
    const struct dirent *e;
    for (size_t n = 0; r == 0 && (e = readdir(d));) {
        if (e->d_name[0] == '.' || str_ends_with(e->d_name, ".md5sums"))
            continue;
        _cleanup_free_ char *path = str_printf("%s/%s", dir, e->d_name);
        if (++n > STATUS_FILES_MAX || text->len > DATABASE_MAX_BYTES)
            r = err_set(err, ERR_LIMIT, "%s has too much in it", dir);
        else if (read_if_there(root, path, RELEASE_MAX_BYTES, text, &r, err))
            str_add(text, "\nStatus: install ok installed\n\n");
    }
    closedir(d);
    return r;
}

/* SQLite gets a copy of its own, and puts into it what its journal has. */
static int copy_inside(int root, const char *path, const char *to, struct err *err)
{
    _cleanup_close_ int from = open_inside(root, path, err);
    _cleanup_close_ int fd = from < 0 ? from : open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (from < 0 || fd < 0)
        return from < 0 ? from : err_sys(err, errno, "create %s", to);
    int64_t left = RPM_MAX_BYTES;
    for (ssize_t n; (n = sendfile(fd, from, NULL, 1 << 20)) != 0 && left >= 0; left -= n)
        if (n < 0)
            return err_sys(err, errno, "copy %s", path);
    return left < 0 ? err_set(err, ERR_LIMIT, "%s has more than %lld bytes", path, (long long)RPM_MAX_BYTES)
                    : 0;
}

static int read_sqlite(struct builder *b, int root, const char *path, struct packages *ret, struct err *err)
{
    _cleanup_free_ char *copy = build__work_path(b), *journal = str_printf("%s-wal", path),
                        *journal_copy = str_printf("%s-wal", copy);
    struct err why = {0};
    int r = copy_inside(root, path, copy, err);
    if (r == 0 && (r = copy_inside(root, journal, journal_copy, &why)) < 0)
        r = r == -ERR_NOT_FOUND ? 0 : err_copy(err, &why);
    return r < 0 ? r : packages_read_rpm_sqlite(copy, ret, err);
}

static int read_ndb(int root, const char *path, struct packages *ret, struct err *err)
{
    _cleanup_str_ struct str bytes = STR_INIT;
    int r = read_inside(root, path, RPM_MAX_BYTES, &bytes, err);
    return r < 0 ? r : packages_parse_rpm_ndb(bytes.data, bytes.len, ret, err);
}

/* In the two places, and the forms that rpm has had. One that cannot be read must not pass for an image
 * without packages. */
static int read_rpm(struct builder *b, int root, struct packages *ret, struct err *err)
{
    static const char *const places[] = {"usr/lib/sysimage/rpm", "var/lib/rpm"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        _cleanup_free_ char *sqlite = str_printf("%s/rpmdb.sqlite", places[i]),
                            *ndb = str_printf("%s/Packages.db", places[i]),
                            *old = str_printf("%s/Packages", places[i]);
        struct err why = {0};
        int r = read_sqlite(b, root, sqlite, ret, &why);
        if (r == -ERR_NOT_FOUND)
            r = read_ndb(root, ndb, ret, &why);
        if (r != -ERR_NOT_FOUND)
            return r < 0 ? err_copy(err, &why) : 0;
        _cleanup_close_ int there = open_inside(root, old, NULL);
        if (there >= 0)
            return err_set(err, ERR_UNSUPPORTED,
                           "%s is rpm's database in Berkeley DB's form, which is not read", old);
    }
    return 0;
}

static int read_packages(struct builder *b, int root, struct packages *ret, struct err *err)
{
    _cleanup_str_ struct str dpkg = STR_INIT, apk = STR_INIT;
    int r = 0;
    read_if_there(root, "var/lib/dpkg/status", DATABASE_MAX_BYTES, &dpkg, &r, err);
    if (r == 0)
        r = read_status_dir(root, &dpkg, err);
    if (r == 0 && !dpkg.len)
        read_if_there(root, "lib/apk/db/installed", DATABASE_MAX_BYTES, &apk, &r, err);
    if (r < 0)
        return r;
    if (apk.len)
        return packages_parse_apk(str_get(&apk), ret, err);
    return dpkg.len ? packages_parse(str_get(&dpkg), ret, err) : read_rpm(b, root, ret, err);
}

/* NAME=value or NAME="value" of os-release(5), as far as it can be part of a URL. */
static void take_release(const char *text, const char *name, char ret[64])
{
    snprintf(ret, 64, "unknown");
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *value = str_after(line, name);
        if (!value)
            continue;
        value += *value == '"';
        size_t n = strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789._");
        if (n && n < 64)
            snprintf(ret, 64, "%.*s", (int)n, value);
    }
}

static char *distribution(int root)
{
    _cleanup_str_ struct str text = STR_INIT;
    char id[64], version[64];
    if (read_inside(root, "etc/os-release", RELEASE_MAX_BYTES, &text, NULL) < 0)
        str_clear(&text);
    take_release(str_get(&text), "ID=", id);
    take_release(str_get(&text), "VERSION_ID=", version);
    return str_printf("%s-%s", id, version);
}

static char *subject_of(const struct builder *b, const char *image_id)
{
    const char *name = b->o->tags && b->o->tags[0] ? b->o->tags[0] : NULL;
    return name ? mem_strdup(name) : mem_strndup(digest_hex(image_id), 12);
}

static int describe(struct builder *b, int root, const char *image_id, json_t **ret, struct err *err)
{
    struct packages packages = {0};
    int r = read_packages(b, root, &packages, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *distro = distribution(root), *subject = subject_of(b, image_id);
    *ret = packages_spdx(&packages, subject, distro, b->epoch < 0 ? b->began_ns / NS_PER_S : b->epoch);
    packages_done(&packages);
    return 0;
}

int build__sbom(struct builder *b, const char *image_id, json_t **ret, struct err *err)
{
    struct image_snapshot snapshot = {0};
    _cleanup_free_ char *dir = build__work_path(b);
    _cleanup_close_ int root = -EBADF;
    if (mkdir(dir, 0700) < 0)
        return err_sys(err, errno, "make %s", dir);
    int r = image_snapshot_create(b->im, image_id, dir, &snapshot, err);
    if (r == 0)
        r = image_snapshot_mount(b->im, &snapshot, true, &root, err);
    if (r == 0)
        r = describe(b, root, image_id, ret, err);
    image_snapshot_done(&snapshot);
    return r;
}
