#include "bake/base.h"

#include "bake/layout.h"
#include "bakery/packages.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/timeutil.h"
#include "image/image.h"
#include "image/tar.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATUS_FILE_MAX = 64 << 20, KEYRING_MAX = 16 << 20 };
static const char sbom_dir[] = "usr/share/sbom";

/* Runs when all packages are there, in a shell of mmdebstrap's, "$1" is the root. */
static const char strip_machine[] =
    "rm -f \"$1\"/etc/hostname \"$1\"/etc/resolv.conf \"$1\"/etc/machine-id \"$1\"/var/lib/dbus/machine-id "
    "\"$1\"/var/cache/ldconfig/aux-cache \"$1\"/var/log/*.log \"$1\"/var/log/apt/*";

/* Of packages that are only unpacked nothing says what they are; the archives do. */
static const char note_packages[] =
    "for deb in \"$1\"/var/cache/apt/archives/*.deb; do "
    "dpkg-deb -f \"$deb\" Package Version Architecture Source Homepage Maintainer; "
    "printf 'Status: install ok installed\\n\\n'; done >\"$1\"/.packages";

void base_image_done(struct base_image *b)
{
    free(b->id);
    free(b->manifest_digest);
    free(b->sbom);
    free(b->packages);
    *b = (struct base_image){0};
}

/* --- The request --- */

static bool is_busybox(const struct base_request *q)
{
    return str_eq(q->spec, "busybox") || str_after(q->spec, "busybox:");
}

static const char *suite_of(const struct base_request *q)
{
    const char *colon = strchr(q->spec, ':');
    return colon ? colon + 1 : "bookworm";
}

static bool made_of(const char *text, const char *more)
{
    if (!isalnum((unsigned char)*text))
        return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr(more, *text))
            return false;
    return true;
}

int base_snapshot_epoch(const char *snapshot, int64_t *ret, struct err *err)
{
    int year, month, day, hour, minute, second, n = 0;
    int64_t ns;
    if (sscanf(snapshot, "%4d%2d%2dT%2d%2d%2dZ%n", &year, &month, &day, &hour, &minute, &second, &n) != 6 ||
        n != (int)strlen(snapshot))
        return err_set(err, ERR_INVALID, "snapshot \"%.40s\" is no time such as 20260101T000000Z", snapshot);
    _cleanup_free_ char *text =
        str_printf("%04d-%02d-%02dT%02d:%02d:%02dZ", year, month, day, hour, minute, second);
    int r = time_parse_rfc3339(text, &ns, err);
    if (r == 0)
        *ret = ns / NS_PER_S;
    return r;
}

static int check_sources(const struct base_request *q, struct err *err)
{
    int64_t ignored;
    if (q->mirrors && q->snapshot)
        return err_set(err, ERR_INVALID,
                       "a snapshot and mirrors: the packages can come from one of them only");
    if (strv_len(q->mirrors) > BASE_MIRRORS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d mirrors", BASE_MIRRORS_MAX);
    for (char *const *m = q->mirrors; m && *m; m++)
        if (!(str_after(*m, "deb ") || strstr(*m, "://") || **m == '/') || strpbrk(*m, "\r\n"))
            return err_set(err, ERR_INVALID,
                           "mirror \"%.200s\" is neither a URL nor a line as \"deb URL SUITE COMPONENT\"",
                           *m);
    return q->snapshot ? base_snapshot_epoch(q->snapshot, &ignored, err) : 0;
}

int base_request_check(const struct base_request *q, struct err *err)
{
    static const char *const variants[] = {"apt",    "essential", "required", "minbase",
                                           "buildd", "important", "standard", NULL};
    bool debian = str_after(q->spec, "debian:") != NULL;
    if (!debian && !is_busybox(q))
        return err_set(
            err, ERR_INVALID,
            "\"%.100s\" is no base that is known here; write debian:SUITE, busybox or busybox:SUITE",
            q->spec);
    if (!made_of(suite_of(q), "-./") || strstr(suite_of(q), ".."))
        return err_set(err, ERR_INVALID, "\"%.100s\" is no name of a suite; write debian:bookworm",
                       suite_of(q));
    if (q->variant && !strv_has((char *const *)variants, q->variant))
        return err_set(
            err, ERR_INVALID,
            "variant \"%.40s\" is none of apt, essential, required, minbase, buildd, important, standard",
            q->variant);
    if (is_busybox(q) && (q->variant || q->include))
        return err_set(err, ERR_INVALID, "busybox is one program: it has no variants and takes no packages");
    if (strv_len(q->include) > BASE_INCLUDE_MAX)
        return err_set(err, ERR_LIMIT, "more than %d packages to include", BASE_INCLUDE_MAX);
    for (char *const *p = q->include; p && *p; p++)
        if (!made_of(*p, "+-.:=~/_"))
            return err_set(err, ERR_INVALID, "\"%.100s\" is no name of a package", *p);
    return check_sources(q, err);
}

/* --- The command --- */

static void add_snapshot(const struct base_request *q, char ***argv)
{
    const char *suite = suite_of(q);
    static const struct {
        const char *archive, *suffix;
    } parts[] = {{"debian", ""}, {"debian", "-updates"}, {"debian-security", "-security"}};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        strv_take(argv,
                  str_printf("deb [check-valid-until=no] http://snapshot.debian.org/archive/%s/%s/ %s%s main",
                             parts[i].archive, q->snapshot, suite, parts[i].suffix));
}

static char **command_of(const struct base_request *q, const char *out)
{
    static const char *const docs[] = {"path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*",
                                       "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/doc/*",
                                       "path-include=/usr/share/doc/*/copyright"};
    char **argv = NULL;
    bool busybox = is_busybox(q);
    strv_add(&argv, "mmdebstrap");
    strv_take(&argv, str_printf("--variant=%s", busybox ? "extract" : q->variant ? q->variant : "apt"));
    strv_add(&argv, "--format=tar");
    strv_add(&argv, "--skip=output/dev"); /* a container gets its devices when it starts */
    strv_add(&argv, "--aptopt=APT::Install-Recommends \"0\"");
    for (size_t i = 0; !busybox && i < ARRAY_SIZE(docs); i++)
        strv_take(&argv, str_printf("--dpkgopt=%s", docs[i]));
    if (busybox) {
        strv_add(&argv, "--include=busybox-static");
        strv_take(&argv, str_printf("--extract-hook=%s", note_packages));
    } else if (q->include) {
        _cleanup_free_ char *list = strv_join(q->include, ",");
        strv_take(&argv, str_printf("--include=%s", list));
    }
    strv_take(&argv, str_printf("--customize-hook=%s", strip_machine));
    if (q->keyring)
        strv_take(&argv, str_printf("--keyring=%s", q->keyring));
    strv_add(&argv, suite_of(q));
    strv_add(&argv, out);
    for (char *const *m = q->mirrors; m && *m; m++)
        strv_add(&argv, *m);
    if (q->snapshot)
        add_snapshot(q, &argv);
    return argv;
}

/* For a person: without the hooks' programs, which are of no choice of his, and without places of this
 * machine. */
static char *command_shown(const struct base_request *q)
{
    struct base_request shown = *q;
    const char *slash = q->keyring ? strrchr(q->keyring, '/') : NULL;
    shown.keyring = slash ? slash + 1 : q->keyring;
    _cleanup_strv_ char **argv = command_of(&shown, "base.tar");
    struct str line = STR_INIT;
    STRV_FOREACH (word, argv) {
        bool quote = strpbrk(*word, " \"'*$[]") != NULL;
        if (!strstr(*word, "-hook="))
            str_addf(&line, "%s%s%s%s", line.len ? " " : "", quote ? "'" : "", *word, quote ? "'" : "");
    }
    return str_take(&line);
}

/* apt verifies as a user of its own, who may not go where the file lies. */
static int take_keyring(struct base_request *q, const char *dir, char **ret_path, struct err *err)
{
    _cleanup_str_ struct str keys = STR_INIT;
    const char *dot = strrchr(q->keyring, '.');
    int r = file_read(q->keyring, KEYRING_MAX, &keys, err);
    if (r < 0)
        return err_wrap(err, "keyring");
    *ret_path = str_printf("%s/keyring%s", dir, str_eq(dot, ".asc") ? ".asc" : ".gpg");
    q->keyring = *ret_path;
    return file_replace(*ret_path, keys.data, keys.len, 0644, false, err);
}

/* --- Running it --- */

/* What mmdebstrap and apt say of the cause: the first lines that are marked as errors. */
static void causes(const char *output, struct str *ret)
{
    _cleanup_strv_ char **lines = strv_split(output, '\n');
    int told = 0;
    STRV_FOREACH (line, lines) {
        const char *text = str_after(*line, "E: ");
        if (!text || told >= 3 || (ret->len && strstr(ret->data, text)))
            continue;
        str_addf(ret, "%s%.300s", told++ ? "; " : "", text);
    }
}

static int run(char *const *argv, const char *dir, int64_t epoch, struct err *err)
{
    /* The output goes to a file, because the message is in the middle of it. The root is made in `dir` too,
     * so that it goes with it. */
    static const char script[] =
        "export TMPDIR=\"$1\" SOURCE_DATE_EPOCH=\"$2\"; log=\"$1/log\"; shift 2; exec \"$@\" >\"$log\" 2>&1";
    const char *const before[] = {"sh", "-c", script, "sh", dir};
    _cleanup_free_ char *log = str_printf("%s/log", dir);
    char **shell = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(before); i++)
        strv_add(&shell, before[i]);
    strv_take(&shell, str_printf("%lld", (long long)epoch));
    for (; *argv; argv++)
        strv_add(&shell, *argv);
    struct err failure;
    int r = process_run((const char *const *)shell, NULL, NULL, &failure);
    strv_free(shell);
    if (r == 0)
        return 0;
    _cleanup_str_ struct str output = STR_INIT, cause = STR_INIT;
    file_read(log, 16 << 20, &output, NULL);
    if (strstr(failure.msg, "exited with 127") || strstr(str_get(&output), "mmdebstrap: not found"))
        return err_set(
            err, ERR_NOT_FOUND,
            "mmdebstrap, which makes bases from packages, is not installed: apt-get install mmdebstrap");
    causes(str_get(&output), &cause);
    return err_set(err, ERR_SYSTEM, "mmdebstrap could not make the base: %s",
                   cause.len ? str_get(&cause) : failure.msg);
}

/* --- What is in it --- */

struct taking {
    const char *status_path; /* of the list of packages in the archive */
    struct str status;
    const char *root; /* where the files of busybox go; NULL: nowhere */
};

static int take_status(struct taking *t, tar_read_fn read, void *context, struct err *err)
{
    char piece[16384];
    ssize_t n;
    while ((n = read(context, piece, sizeof(piece), err)) > 0) {
        str_addn(&t->status, piece, (size_t)n);
        if (t->status.len > STATUS_FILE_MAX)
            return err_set(err, ERR_LIMIT, "the list of packages has more than %d bytes", STATUS_FILE_MAX);
    }
    return (int)n;
}

static int take_file(const char *path, mode_t mode, tar_read_fn read, void *context, struct err *err)
{
    char piece[16384];
    ssize_t n;
    int r = 0;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return err_sys(err, errno, "create %s", path);
    while (r == 0 && (n = read(context, piece, sizeof(piece), err)) > 0)
        r = file_write_all(fd, piece, (size_t)n, err);
    return r < 0 ? r : (int)n;
}

static int take_entry(void *context, const struct tar_entry *e, tar_read_fn read, void *read_context,
                      struct err *err)
{
    static const char *const files[][2] = {
        {"bin/busybox", "bin/busybox"},
        {"usr/bin/busybox", "bin/busybox"},
        {"usr/share/doc/busybox-static/copyright", "usr/share/doc/busybox-static/copyright"}};
    struct taking *t = context;
    if (str_eq(e->path, t->status_path))
        return take_status(t, read, read_context, err);
    for (size_t i = 0; t->root && S_ISREG(e->mode) && i < ARRAY_SIZE(files); i++) {
        if (!str_eq(e->path, files[i][0]))
            continue;
        _cleanup_free_ char *path = str_printf("%s/%s", t->root, files[i][1]);
        return take_file(path, e->mode & 0777, read, read_context, err);
    }
    return 0;
}

static ssize_t read_fd(void *context, void *buffer, size_t n, struct err *err)
{
    ssize_t got = read(*(int *)context, buffer, n);
    return got < 0 ? err_sys(err, errno, "read the archive") : got;
}

static int look_through(int fd, struct taking *t, struct packages *ret, struct err *err)
{
    const struct tar_walk walk = {.context = t, .entry = take_entry};
    int r = tar_walk_stream(&walk, read_fd, &fd, err);
    if (r == 0)
        r = packages_parse(str_get(&t->status), ret, err);
    if (r == 0 && !ret->count) {
        packages_done(ret);
        r = err_set(err, ERR_INVALID, "the base has no list of packages");
    }
    return r;
}

/* --- busybox: one static program under all its names, and the few files that programs expect --- */

static int make_directories(const char *root, struct err *err)
{
    static const struct {
        const char *name;
        mode_t mode;
    } all[] = {{"", 0755},
               {"bin", 0755},
               {"dev", 0755},
               {"etc", 0755},
               {"home", 0755},
               {"proc", 0755},
               {"root", 0700},
               {"run", 0755},
               {"sbin", 0755},
               {"sys", 0755},
               {"tmp", 01777},
               {"usr", 0755},
               {"usr/bin", 0755},
               {"usr/sbin", 0755},
               {"usr/share", 0755},
               {"usr/share/doc", 0755},
               {"usr/share/doc/busybox-static", 0755},
               {"var", 0755},
               {"var/lib", 0755},
               {"var/lib/dpkg", 0755},
               {"var/log", 0755},
               {"var/tmp", 01777}};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        _cleanup_free_ char *path = str_printf("%s/%s", root, all[i].name);
        if (mkdir(path, 0700) < 0 || chmod(path, all[i].mode) < 0) /* whatever the umask */
            return err_sys(err, errno, "make %s", path);
    }
    return 0;
}

static int link_names(const char *root, struct err *err)
{
    _cleanup_str_ struct str names = STR_INIT;
    _cleanup_free_ char *program = str_printf("%s/bin/busybox", root);
    const char *const argv[] = {program, "--list", NULL};
    int r = process_run(argv, NULL, &names, err);
    if (r < 0)
        return r;
    _cleanup_strv_ char **lines = strv_split(str_get(&names), '\n');
    STRV_FOREACH (name, lines) {
        _cleanup_free_ char *path = str_printf("%s/bin/%s", root, *name);
        if (**name && !strchr(*name, '/') && symlink("busybox", path) < 0 && errno != EEXIST)
            return err_sys(err, errno, "make %s", path);
    }
    return 0;
}

static int put_text(const char *root, const char *name, const char *text, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/%s", root, name);
    return file_replace(path, text, strlen(text), 0644, false, err);
}

static int finish_busybox(const char *root, const struct taking *t, struct err *err)
{
    int r = link_names(root, err);
    if (r == 0)
        r = put_text(root, "var/lib/dpkg/status", str_get(&t->status), err);
    if (r == 0)
        r = put_text(root, "etc/passwd",
                     "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
                     err);
    return r == 0 ? put_text(root, "etc/group", "root:x:0:\nnogroup:x:65534:\n", err) : r;
}

/* --- The image --- */

static int write_out(void *context, const void *bytes, size_t n, struct err *err)
{
    return file_write_all(*(int *)context, bytes, n, err);
}

static int pack_tree(const char *root, const char *tar, int64_t epoch, int *ret_fd, struct err *err)
{
    _cleanup_close_ int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd = open(tar, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (root_fd < 0 || fd < 0)
        return err_sys(err, errno, "open %s", root_fd < 0 ? root : tar);
    const struct tar_create c = {.root_fd = root_fd,
                                 .path = "/",
                                 .epoch = epoch,
                                 .ids = {.uid = getuid(), .gid = getgid(), .count = 1}};
    int r = tar_create_stream(&c, write_out, &fd, err);
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}

static int add_sbom(struct layout *l, const char *dir, const char *name, const char *text, struct err *err)
{
    _cleanup_free_ char *root = str_printf("%s/sbom", dir), *in = str_printf("%s/%s", root, sbom_dir);
    _cleanup_free_ char *file = str_printf("%s/%s", in, name), *tar = str_printf("%s/sbom.tar", dir);
    _cleanup_close_ int fd = -EBADF;
    int r = file_mkdirs(in, 0755, err);
    if (r == 0)
        r = file_replace(file, text, strlen(text), 0644, false, err);
    if (r == 0)
        r = pack_tree(root, tar, l->epoch, &fd, err);
    return r < 0 ? r : layout_add_layer(l, fd, "drover bake base: software bill of materials (SPDX)", err);
}

/* The root file system as the distribution's packages make it, or busybox' own. */
static int find_root(const struct base_request *q, const char *dir, int *fd, struct packages *packages,
                     struct err *err)
{
    bool busybox = is_busybox(q);
    _cleanup_free_ char *root = str_printf("%s/busybox", dir), *tar = str_printf("%s/busybox.tar", dir);
    struct taking t = {.status_path = busybox ? ".packages" : "var/lib/dpkg/status",
                       .root = busybox ? root : NULL};
    int r = busybox ? make_directories(root, err) : 0;
    if (r == 0)
        r = look_through(*fd, &t, packages, err);
    if (r == 0 && busybox) {
        *fd = close_fd(*fd);
        r = finish_busybox(root, &t, err);
        if (r == 0)
            r = pack_tree(root, tar, q->epoch, fd, err);
        if (r < 0)
            packages_done(packages);
    }
    str_free(&t.status);
    return r;
}

static int make_layout(const struct base_request *q, const char *dir, int *fd, const char *command,
                       struct base_image *ret, struct err *err)
{
    struct packages packages = {0};
    struct layout l = {0};
    _cleanup_free_ char *where = str_printf("%s/layout", dir),
                        *made = str_printf("drover bake base %s", q->spec);
    _cleanup_free_ char *distro = str_printf("debian-%s", suite_of(q)),
                        *name = str_printf("%s.spdx.json", q->spec);
    for (char *c = name; *c; c++)
        *c = *c == ':' || *c == '/' ? '-' : *c;
    int r = find_root(q, dir, fd, &packages, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *spdx = packages_spdx(&packages, q->spec, distro, q->epoch);
    ret->sbom = json_dumps(spdx, JSON_INDENT(1));
    ret->packages = packages_line(&packages);
    ret->package_count = packages.count;
    packages_done(&packages);
    r = layout_begin(&l, where, q->epoch, err);
    if (r == 0)
        r = layout_add_layer(&l, *fd, made, err);
    if (r == 0)
        r = add_sbom(&l, dir, name, ret->sbom, err);
    _cleanup_free_ char *sbom = str_printf("/%s/%s", sbom_dir, name);
    _cleanup_json_ json_t *config =
        json_pack("{s:[s], s:[s], s:{s:s, s:s, s:s, s:s}}", "Env",
                  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "Cmd",
                  is_busybox(q) ? "sh" : "bash", "Labels", "drover.base", q->spec, "drover.base.command",
                  command, "drover.base.packages", ret->packages, "drover.base.sbom", sbom);
    if (r == 0)
        r = layout_end(&l, config, image_architecture(), q->reference, &ret->id, &ret->manifest_digest, err);
    layout_done(&l);
    return r;
}

int base_make(const struct base_request *q, const char *dir, struct base_image *ret, struct err *err)
{
    int r = base_request_check(q, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *tar = str_printf("%s/base.tar", dir), *keyring = NULL, *command = command_shown(q);
    struct base_request own = *q;
    if (q->keyring)
        r = take_keyring(&own, dir, &keyring, err);
    if (r < 0)
        return r;
    _cleanup_strv_ char **argv = command_of(&own, tar);
    r = run(argv, dir, q->epoch, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(tar, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", tar);
    struct base_image made = {0};
    r = make_layout(q, dir, &fd, command, &made, err);
    if (r < 0)
        base_image_done(&made);
    else
        *ret = made;
    return r;
}
