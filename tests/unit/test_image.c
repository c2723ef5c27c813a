#include "base/digest.h"
#include "base/json.h"
#include "image/image_priv.h"
#include "tarball.h"
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void need_root(void)
{
    if (geteuid() != 0) {
        print_message("skipped: needs root (CAP_CHOWN, CAP_SYS_ADMIN for overlayfs)\n");
        skip();
    }
}

/* Published images, when they are at hand. */
static char *shared_file(const char *name)
{
    const char *root = getenv("DROVER_SHARED");
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[n > 0 ? n : 0] = '\0';
    if (strrchr(exe, '/'))
        *strrchr(exe, '/') = '\0';
    /* The binary is <source>/<build>/tests/unit/test-image. */
    char *path = root ? str_printf("%s/data/images/%s", root, name)
                      : str_printf("%s/../../../../shared/data/images/%s", exe, name);
    if (!file_exists(path)) {
        free(path);
        print_message("skipped: no %s (set DROVER_SHARED)\n", name);
        skip();
    }
    return path;
}

struct place {
    char *dir, *root;
    struct images *im;
};

static struct place place_new(void)
{
    struct place p = {.dir = scratch_new()};
    struct err err = {0};
    p.root = str_printf("%s/images", p.dir);
    assert_ok(images_open(p.root, &p.im, &err), &err);
    return p;
}

static void reopen(struct place *p)
{
    struct err err = {0};
    images_close(p->im);
    p->im = NULL;
    assert_ok(images_open(p->root, &p->im, &err), &err);
}

static int count_files(const char *root, const char *below)
{
    char *path = str_printf("%s/%s", root, below);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    free(path);
    return n;
}

/* Nothing is left: of blobs, of layers but the empty one, of things half-made. */
static void assert_empty(struct place *p)
{
    assert_int_equal(count_files(p->root, "blobs/sha256"), 0);
    assert_int_equal(count_files(p->root, "layers"), 1);
    assert_int_equal(count_files(p->root, "tmp"), 0);
}

static void place_done(struct place *p)
{
    images_close(p->im);
    scratch_remove(p->dir);
    free(p->root);
}

/* --- images made here: a docker-archive of the given layer tars --- */

static int fd_of(const struct str *bytes)
{
    FILE *f = tmpfile();
    assert_non_null(f);
    int fd = dup(fileno(f));
    fclose(f);
    struct err err = {0};
    assert_ok(file_write_all(fd, bytes->data, bytes->len, &err), &err);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static void add_bytes(struct tarball *t, const char *name, const void *bytes, size_t n)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_mode(e, S_IFREG | 0644);
    archive_entry_set_size(e, (la_int64_t)n);
    archive_write_header(t->archive, e);
    archive_write_data(t->archive, bytes, n);
    archive_entry_free(e);
}

static struct str docker_archive(const char *tag, struct str *layers, size_t count)
{
    struct tarball *t = tarball_new(0);
    json_t *names = json_array(), *diffs = json_array();
    for (size_t i = 0; i < count; i++) {
        char name[40], digest[DIGEST_BYTES];
        snprintf(name, sizeof(name), "l%zu/layer.tar", i);
        add_bytes(t, name, layers[i].data, layers[i].len);
        digest_of(layers[i].data, layers[i].len, digest);
        json_array_append_new(names, json_string(name));
        json_array_append_new(diffs, json_string(digest));
    }
    json_t *config = json_pack("{s:s, s:s, s:s, s:{s:[s]}, s:{s:s, s:o}}", "architecture", "amd64", "os",
                               "linux", "created", "2024-01-02T03:04:05Z", "config", "Cmd", "sh", "rootfs",
                               "type", "layers", "diff_ids", diffs);
    json_t *manifest =
        json_pack("[{s:s, s:[s], s:o}]", "Config", "config.json", "RepoTags", tag, "Layers", names);
    char *text = json_format(config), *list = json_format(manifest);
    tarball_file(t, "config.json", text);
    tarball_file(t, "manifest.json", list);
    free(text);
    free(list);
    json_decref(config);
    json_decref(manifest);
    for (size_t i = 0; i < count; i++)
        str_free(&layers[i]);
    return tarball_end(t);
}

static int load(struct place *p, struct str *bytes, char ***ret, struct err *err)
{
    int fd = fd_of(bytes);
    char **loaded = NULL;
    int r = image_load(p->im, fd, NULL, NULL, &loaded, err);
    close(fd);
    if (r == 0 && ret)
        *ret = loaded;
    else
        strv_free(loaded);
    return r;
}

static void load_layers(struct place *p, const char *tag, struct str *layers, size_t count)
{
    struct err err = {0};
    struct str bytes = docker_archive(tag, layers, count);
    assert_ok(load(p, &bytes, NULL, &err), &err);
    str_free(&bytes);
}

static int mounted(struct place *p, const char *image, struct image_snapshot *s)
{
    struct err err = {0};
    char *dir = str_printf("%s/snap-%d", p->dir, rand());
    int root = -1;
    assert_ok(image_snapshot_create(p->im, image, dir, s, &err), &err);
    assert_ok(image_snapshot_mount(p->im, s, false, &root, &err), &err);
    free(dir);
    return root;
}

static char *id_of(struct place *p, const char *name)
{
    struct image_info info = {0};
    struct err err = {0};
    assert_ok(image_get(p->im, name, &info, &err), &err);
    char *id = mem_strdup(info.id);
    image_info_done(&info);
    return id;
}

/* --- the tests --- */

static void loads_a_published_image_and_mounts_it(void **state)
{
    need_root();
    char *path = shared_file("busybox-1.37.0-glibc-amd64.oci.tar");
    struct place p = place_new();
    struct err err = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char **loaded = NULL;
    assert_ok(image_load(p.im, fd, NULL, NULL, &loaded, &err), &err);
    close(fd);
    assert_string_equal(loaded[0], "Loaded image: busybox:1.37.0-glibc");
    strv_free(loaded);
    reopen(&p);
    struct image_info info = {0};
    assert_ok(image_get(p.im, "busybox:1.37.0-glibc", &info, &err), &err);
    assert_string_equal(info.manifest_digest,
                        "sha256:7a3ebe5bfd1a4a19797d20b0c0bb39d44393e9a03fd852c0865b0f540d868df0");
    struct image_snapshot s = {0};
    int root = mounted(&p, info.id, &s);
    struct stat st;
    assert_int_equal(fstatat(root, "bin/busybox", &st, 0), 0);
    assert_true(st.st_size > 100000);
    close(root);
    image_snapshot_done(&s);
    image_info_done(&info);
    place_done(&p);
    free(path);
}

static void what_is_saved_loads_as_the_same_image(void **state)
{
    need_root();
    struct place p = place_new(), q = place_new();
    struct err err = {0};
    struct tarball *layer = tarball_new(0);
    tarball_file(layer, "b", "2");
    struct str layers[] = {tarball_end(layer)};
    load_layers(&p, "app:1", layers, 1);
    char *id = id_of(&p, "app:1"), *names[] = {(char *)"app:1", NULL};
    assert_ok(image_tag(p.im, "app:1", "other.example.com/app", &err), &err);
    char *file = str_printf("%s/saved.tar", p.dir);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_ok(image_save(p.im, names, fd, NULL, &err), &err);
    lseek(fd, 0, SEEK_SET);
    char **loaded = NULL;
    assert_ok(image_load(q.im, fd, NULL, NULL, &loaded, &err), &err);
    assert_int_equal(strv_len(loaded), 1);
    assert_string_equal(loaded[0], "Loaded image: app:1");
    char *id2 = id_of(&q, "app:1");
    assert_string_equal(id, id2);
    struct image_info info = {0};
    assert_int_equal(image_get(q.im, "other.example.com/app", &info, &err), -ERR_NOT_FOUND);
    assert_string_equal(err.msg, "No such image: other.example.com/app:latest");
    strv_free(loaded);
    free(id);
    free(id2);
    free(file);
    close(fd);
    place_done(&p);
    place_done(&q);
}

static void lower_layers_show_through_as_the_image_means_them(void **state)
{
    need_root();
    struct place p = place_new();
    struct tarball *bottom = tarball_new(0), *middle = tarball_new(0), *top = tarball_new(0);
    tarball_dir(bottom, "./", 0751);
    tarball_dir(bottom, "secret", 0700);
    tarball_file(bottom, "secret/key", "k");
    tarball_file(bottom, "gone", "g");
    tarball_dir(bottom, "fresh", 0755);
    tarball_file(bottom, "fresh/old", "o");
    tarball_file(bottom, "bin", "program");
    tarball_file(middle, "secret/other", "x"); /* implies secret/ and the root */
    tarball_file(middle, ".wh.gone", "");
    tarball_file(middle, "fresh/.wh..wh..opq", "");
    tarball_file(middle, "fresh/new", "n");
    tarball_hardlink(top, "bin2", "bin"); /* to a file two layers down */
    tarball_hardlink(top, "bin3", "bin");
    struct str layers[] = {tarball_end(bottom), tarball_end(middle), tarball_end(top)};
    load_layers(&p, "app", layers, 3);
    struct image_snapshot s = {0};
    int root = mounted(&p, "app", &s);
    struct stat st, st2;
    assert_int_equal(fstat(root, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0751);
    assert_int_equal(fstatat(root, "secret", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(st.st_mtime, 1000000000);
    assert_int_equal(fstatat(root, "secret/key", &st, 0), 0);
    assert_int_equal(fstatat(root, "gone", &st, 0), -1);
    assert_int_equal(fstatat(root, "fresh/old", &st, 0), -1);
    assert_int_equal(fstatat(root, "fresh/new", &st, 0), 0);
    assert_int_equal(fstatat(root, "bin2", &st, 0), 0);
    assert_int_equal(fstatat(root, "bin3", &st2, 0), 0);
    assert_int_equal(st.st_size, 7);
    assert_int_equal(st.st_ino, st2.st_ino);
    close(root);
    image_snapshot_done(&s);
    place_done(&p);
}

static void a_hostile_layer_leaves_nothing(void **state)
{
    need_root();
    struct place p = place_new();
    struct err err = {0};
    struct tarball *good = tarball_new(0), *evil = tarball_new(0);
    tarball_file(good, "fine", "x");
    tarball_file(evil, "also-fine", "x");
    tarball_file(evil, "../../evil", "x");
    struct str layers[] = {tarball_end(good), tarball_end(evil)};
    struct str bytes = docker_archive("evil", layers, 2);
    assert_int_equal(load(&p, &bytes, NULL, &err), -ERR_INVALID);
    assert_non_null(strstr(err.msg, "\"../../evil\" leads out"));
    assert_empty(&p);
    str_free(&bytes);

    /* The archive around it is no better. */
    struct tarball *outer = tarball_new(0);
    tarball_file(outer, "../manifest.json", "[]");
    bytes = tarball_end(outer);
    assert_int_equal(load(&p, &bytes, NULL, &err), -ERR_INVALID);
    assert_empty(&p);
    str_free(&bytes);
    place_done(&p);
}

static void a_layer_that_is_not_what_the_config_says_is_refused(void **state)
{
    need_root();
    struct place p = place_new();
    struct err err = {0};
    struct tarball *layer = tarball_new(0);
    tarball_file(layer, "f", "one");
    struct str layers[] = {tarball_end(layer)};
    struct str bytes = docker_archive("app", layers, 1);
    char *at = memmem(bytes.data, bytes.len, "one", 3);
    memcpy(at, "two", 3);
    assert_int_equal(load(&p, &bytes, NULL, &err), -ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "its content has the digest sha256:"));
    assert_empty(&p);
    str_free(&bytes);
    place_done(&p);
}

static void a_blob_of_the_wrong_digest_does_not_enter(void **state)
{
    struct place p = place_new();
    struct err err = {0};
    struct tarball *t = tarball_new(0);
    tarball_file(t, "blobs/sha256/7a3ebe5bfd1a4a19797d20b0c0bb39d44393e9a03fd852c0865b0f540d868df0", "{}");
    struct str bytes = tarball_end(t);
    assert_int_equal(load(&p, &bytes, NULL, &err), -ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "sha256:7a3ebe5bfd1a"));
    assert_empty(&p);
    str_free(&bytes);
    place_done(&p);
}

static void a_blob_that_rots_on_disk_is_noticed_and_a_load_heals_it(void **state)
{
    need_root();
    struct place p = place_new();
    struct err err = {0};
    struct tarball *layer = tarball_new(0);
    tarball_file(layer, "f", "one");
    struct str layers[] = {tarball_end(layer)};
    struct str bytes = docker_archive("app", layers, 1);
    assert_ok(load(&p, &bytes, NULL, &err), &err);
    char *id = id_of(&p, "app");
    char *path = str_printf("%s/blobs/sha256/%s", p.root, digest_hex(id));
    struct str text = STR_INIT;
    assert_ok(file_read(path, 100000, &text, &err), &err);
    text.data[5] ^= 1;
    assert_ok(file_replace(path, text.data, text.len, 0600, false, &err), &err);
    struct image_info info = {0};
    assert_int_equal(image_get(p.im, "app", &info, &err), -ERR_CORRUPT);
    assert_non_null(strstr(err.msg, id));
    assert_non_null(strstr(err.msg, "pull or load the image again"));
    assert_ok(load(&p, &bytes, NULL, &err), &err);
    assert_ok(image_get(p.im, "app", &info, &err), &err);
    image_info_done(&info);
    str_free(&text);
    str_free(&bytes);
    free(path);
    free(id);
    place_done(&p);
}

static void put(int root, const char *name, const char *text)
{
    int fd = openat(root, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void a_commit_is_the_changes_and_nothing_else(void **state)
{
    need_root();
    struct place p = place_new(), q = place_new();
    struct err err = {0};
    struct tarball *layer = tarball_new(0);
    tarball_dir(layer, "d", 0755);
    tarball_file(layer, "d/old", "o");
    tarball_file(layer, "gone", "g");
    struct str layers[] = {tarball_end(layer)};
    load_layers(&p, "base", layers, 1);
    char *base = id_of(&p, "base");
    struct image_snapshot s = {0};
    int root = mounted(&p, "base", &s);
    put(root, "new", "n");
    assert_int_equal(unlinkat(root, "gone", 0), 0);
    assert_int_equal(unlinkat(root, "d/old", 0), 0);
    assert_int_equal(unlinkat(root, "d", AT_REMOVEDIR), 0);
    assert_int_equal(mkdirat(root, "d", 0700), 0);
    put(root, "d/fresh", "f");
    json_t *changes = NULL;
    assert_ok(image_changes(p.im, &s, &changes, &err), &err);
    char *text = json_format(changes);
    assert_string_equal(text, "[{\"Path\":\"/d\",\"Kind\":0},{\"Path\":\"/d/fresh\",\"Kind\":1},"
                              "{\"Path\":\"/gone\",\"Kind\":2},{\"Path\":\"/new\",\"Kind\":1}]");
    free(text);
    json_decref(changes);
    close(root);
    char *digest = NULL, *diff = NULL, *id = NULL;
    assert_ok(image_layer_commit(p.im, base, s.lowers, s.upper, true, -1, &digest, &diff, &err), &err);
    assert_non_null(diff);
    json_t *config = json_pack("{s:{s:[s]}}", "config", "Cmd", "true");
    char *commits[] = {digest, NULL};
    assert_ok(image_create(p.im, base, commits, config, "made:1", &id, &err), &err);
    json_decref(config);
    image_snapshot_done(&s);

    /* The same seen here, and after a way through an archive. */
    char *file = str_printf("%s/saved.tar", p.dir), *names[] = {(char *)"made:1", NULL}, **loaded = NULL;
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_ok(image_save(p.im, names, fd, NULL, &err), &err);
    lseek(fd, 0, SEEK_SET);
    assert_ok(image_load(q.im, fd, NULL, NULL, &loaded, &err), &err);
    strv_free(loaded);
    close(fd);
    struct place *both[] = {&p, &q};
    for (int i = 0; i < 2; i++) {
        root = mounted(both[i], "made:1", &s);
        struct stat st;
        assert_int_equal(fstatat(root, "new", &st, 0), 0);
        assert_int_equal(fstatat(root, "gone", &st, 0), -1);
        assert_int_equal(fstatat(root, "d/old", &st, 0), -1);
        assert_int_equal(fstatat(root, "d/fresh", &st, 0), 0);
        assert_int_equal(fstatat(root, "d", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        close(root);
        image_snapshot_done(&s);
    }
    free(file);
    free(id);
    free(base);
    free(digest);
    free(diff);
    place_done(&p);
    place_done(&q);
}

static void the_same_changes_with_an_epoch_give_the_same_layer(void **state)
{
    need_root();
    struct place p = place_new();
    struct err err = {0};
    char *first = NULL;
    for (int i = 0; i < 2; i++) {
        struct image_snapshot s = {0};
        char *digest = NULL, *diff = NULL;
        int root = mounted(&p, NULL, &s);
        put(root, i ? "a" : "b", "x");
        put(root, i ? "b" : "a", "x");
        close(root);
        assert_ok(image_layer_commit(p.im, NULL, s.lowers, s.upper, true, 1000, &digest, &diff, &err), &err);
        if (first)
            assert_string_equal(first, digest);
        free(first);
        first = digest;
        free(diff);
        image_snapshot_done(&s);
    }
    free(first);
    struct image_snapshot s = {0};
    char *digest = NULL, *diff = NULL;
    close(mounted(&p, NULL, &s));
    assert_ok(image_layer_commit(p.im, NULL, s.lowers, s.upper, true, -1, &digest, &diff, &err), &err);
    assert_null(digest);
    assert_null(diff);
    image_snapshot_done(&s);
    place_done(&p);
}

static char *stopped_user(void *context, const char *id)
{
    return context ? mem_strdup(context) : NULL;
}

static void assert_log(json_t *log, const char *expected)
{
    char *text = json_format(log);
    assert_string_equal(text, expected);
    free(text);
    json_decref(log);
}

static int remove_image(struct place *p, const char *name, bool force, char *user, json_t **log,
                        struct err *err)
{
    struct image_removal how = {.force = force, .in_use = stopped_user, .context = user};
    return image_remove(p->im, name, &how, log, err);
}

static void rmi_follows_dockers_rules_and_leaves_no_rest(void **state)
{
    need_root();
    struct place p = place_new();
    struct err err = {0};
    struct tarball *layer = tarball_new(0);
    tarball_file(layer, "f", "x");
    struct str layers[] = {tarball_end(layer)}, plain = STR_INIT;
    str_addn(&plain, layers[0].data, layers[0].len);
    load_layers(&p, "app:1", layers, 1);
    char *id = id_of(&p, "app:1"), *used = (char *)"stopped container 0123456789ab";
    json_t *log = NULL;
    assert_int_equal(remove_image(&p, "app:1", false, used, &log, &err), -ERR_CONFLICT);
    char *expected =
        str_printf("conflict: unable to remove repository reference \"app:1\" (must force) - container "
                   "0123456789ab is using its referenced image %.12s",
                   digest_hex(id));
    assert_string_equal(err.msg, expected);
    free(expected);
    /* Another name may go, also when it is used. */
    assert_ok(image_tag(p.im, "app:1", "x.example.com/app:2", &err), &err);
    assert_int_equal(remove_image(&p, id, false, NULL, &log, &err), -ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "(must be forced) - image is referenced in multiple repositories"));
    assert_ok(remove_image(&p, "x.example.com/app:2", false, used, &log, &err), &err);
    assert_log(log, "[{\"Untagged\":\"x.example.com/app:2\"}]");
    assert_int_equal(remove_image(&p, "app:9", false, NULL, &log, &err), -ERR_NOT_FOUND);

    /* With an image on top, the name goes and the image stays until the upper one is gone. */
    json_t *config = json_object();
    char *child = NULL, *none[] = {NULL};
    assert_ok(image_create(p.im, id, none, config, "child", &child, &err), &err);
    json_decref(config);
    assert_int_equal(remove_image(&p, id, true, NULL, &log, &err), -ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "image has dependent child images"));
    assert_ok(remove_image(&p, "app:1", false, NULL, &log, &err), &err);
    assert_log(log, "[{\"Untagged\":\"app:1\"}]");
    assert_ok(image_cache_put(p.im, "key", child, &err), &err);
    assert_ok(remove_image(&p, "child", false, NULL, &log, &err), &err);
    char *cached = NULL;
    assert_int_equal(image_cache_get(p.im, "key", &cached, &err), -ERR_NOT_FOUND);
    char diff[DIGEST_BYTES];
    digest_of(str_get(&plain), plain.len, diff);
    expected = str_printf("[{\"Untagged\":\"child:latest\"},{\"Deleted\":\"%s\"},{\"Deleted\":\"%s\"},"
                          "{\"Deleted\":\"%s\"}]",
                          child, id, diff);
    str_free(&plain);
    assert_log(log, expected);
    free(expected);
    free(child);
    free(id);
    assert_empty(&p);
    place_done(&p);
}

static void an_archive_cut_anywhere_loads_nothing_and_leaves_nothing(void **state)
{
    need_root();
    struct place p = place_new();
    char content[701];
    memset(content, 'x', 700);
    content[700] = '\0';
    struct tarball *layer = tarball_new(0);
    tarball_file(layer, "a", content);
    struct str layers[] = {tarball_end(layer)};
    struct str bytes = docker_archive("cut:1", layers, 1);
    /* manifest.json, the last entry, ends somewhere in the last data block before the two empty ones. */
    size_t end = bytes.len - 1024 - 512;
    for (size_t cut = 0; cut < end; cut += 61) {
        struct str part = {.data = bytes.data, .len = cut};
        struct err err = {0};
        int r = load(&p, &part, NULL, &err);
        if (r >= 0 || !*err.msg)
            fail_msg("cut at %zu of %zu was taken", cut, bytes.len);
        assert_empty(&p);
    }
    struct err err = {0};
    assert_ok(load(&p, &bytes, NULL, &err), &err);
    str_free(&bytes);
    place_done(&p);
}

static void ids_are_found_by_unique_prefix(void **state)
{
    need_root();
    struct place p = place_new();
    struct tarball *layer = tarball_new(0);
    tarball_file(layer, "f", "x");
    struct str layers[] = {tarball_end(layer)};
    load_layers(&p, "app:1", layers, 1);
    char *id = id_of(&p, "app:1"), *prefix = mem_strndup(digest_hex(id), 12);
    char *long_prefix = mem_strndup(id, 7 + 20);
    char *a = id_of(&p, prefix), *b = id_of(&p, long_prefix), *c = id_of(&p, digest_hex(id));
    assert_string_equal(a, id);
    assert_string_equal(b, id);
    assert_string_equal(c, id);
    free(a);
    free(b);
    free(c);
    free(id);
    free(prefix);
    free(long_prefix);
    place_done(&p);
}

struct loader {
    struct place *place;
    struct str bytes;
    int result;
    struct err err;
};

static void *load_thread(void *context)
{
    struct loader *l = context;
    l->result = load(l->place, &l->bytes, NULL, &l->err);
    return NULL;
}

static void loads_of_the_same_layers_at_once_do_not_collide(void **state)
{
    need_root();
    struct place p = place_new();
    enum { THREADS = 6, LAYERS = 5 };
    struct loader l[THREADS] = {0};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        struct str layers[LAYERS];
        for (int j = 0; j < LAYERS; j++) {
            struct tarball *t = tarball_new(0);
            for (int k = 0; k < 50; k++) {
                char name[40];
                snprintf(name, sizeof(name), "d%d/f%d-%d", k % 7, j, k);
                tarball_file(t, name, "content");
            }
            layers[j] = tarball_end(t);
        }
        char tag[20];
        snprintf(tag, sizeof(tag), "app:%d", i);
        l[i].place = &p;
        l[i].bytes = docker_archive(tag, layers, LAYERS);
        assert_int_equal(pthread_create(&threads[i], NULL, load_thread, &l[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_ok(l[i].result, &l[i].err);
        str_free(&l[i].bytes);
    }
    assert_int_equal(count_files(p.root, "layers"), LAYERS + 1);
    assert_int_equal(count_files(p.root, "tmp"), 0);
    struct image_info *list;
    size_t count;
    struct err err = {0};
    assert_ok(image_list(p.im, &list, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(strv_len(list[0].references), THREADS);
    image_list_free(list, count);
    place_done(&p);
}

static int tell_pipe(void *context, const char *layer, const char *phase, int64_t current, int64_t total)
{
    /* The parent kills at some of these. */
    return write(*(int *)context, "x", 1) == 1 ? 0 : 1;
}

static void a_load_that_is_killed_leaves_a_sound_store(void **state)
{
    need_root();
    for (int kill_at = 1; kill_at <= 13; kill_at += 2) {
        char *dir = scratch_new(), *root = str_printf("%s/images", dir);
        struct str layers[4];
        for (int j = 0; j < 4; j++) {
            struct tarball *t = tarball_new(0);
            char name[20];
            snprintf(name, sizeof(name), "f%d", j);
            tarball_file(t, name, "content");
            layers[j] = tarball_end(t);
        }
        struct str bytes = docker_archive("app", layers, 4);
        int fd = fd_of(&bytes), fds[2];
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0) {
            struct images *im;
            struct err err = {0};
            char **loaded;
            struct image_progress progress = {.context = &fds[1], .report = tell_pipe};
            _exit(images_open(root, &im, &err) < 0 || image_load(im, fd, NULL, &progress, &loaded, &err) < 0);
        }
        close(fds[1]);
        char c;
        for (int i = 0; i < kill_at && read(fds[0], &c, 1) == 1; i++)
            ;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(fds[0]);
        struct place p = {.dir = dir, .root = root};
        struct err err = {0};
        assert_ok(images_open(root, &p.im, &err), &err);
        struct image_info info = {0};
        if (image_get(p.im, "app", &info, &err) < 0) {
            /* The tag comes after the image: that may be there already, whole. */
            struct image_info *list;
            size_t count;
            assert_ok(image_list(p.im, &list, &count, &err), &err);
            image_list_free(list, count);
            if (count == 0)
                assert_empty(&p);
        }
        image_info_done(&info);
        lseek(fd, 0, SEEK_SET);
        char **loaded = NULL;
        assert_ok(image_load(p.im, fd, NULL, NULL, &loaded, &err), &err);
        strv_free(loaded);
        struct image_snapshot s = {0};
        close(mounted(&p, "app", &s));
        assert_int_equal(strv_len(s.lowers), 4);
        image_snapshot_done(&s);
        close(fd);
        str_free(&bytes);
        place_done(&p);
    }
}

static void a_root_file_system_is_imported(void **state)
{
    need_root();
    struct place p = place_new();
    struct err err = {0};
    struct tarball *t = tarball_new(ARCHIVE_FILTER_GZIP);
    tarball_file(t, "etc/os-release", "ID=test");
    struct str bytes = tarball_end(t);
    int fd = fd_of(&bytes);
    char *id = NULL;
    json_t *config = json_pack("{s:[s]}", "Cmd", "/bin/sh");
    assert_ok(image_import(p.im, fd, "own:1", config, "from a test", NULL, &id, &err), &err);
    struct image_info info = {0};
    assert_ok(image_get(p.im, "own:1", &info, &err), &err);
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(json_object_get(info.config, "config"), "Cmd"), 0)),
        "/bin/sh");
    assert_int_equal(info.size_bytes, 7);
    image_info_done(&info);
    json_decref(config);
    close(fd);
    str_free(&bytes);
    free(id);
    struct image_snapshot s = {0};
    int root = mounted(&p, "own:1", &s);
    struct stat st;
    assert_int_equal(fstatat(root, "etc/os-release", &st, 0), 0);
    close(root);
    image_snapshot_done(&s);
    place_done(&p);
}

static void one_layer_and_a_hundred_and_twenty_mount_on_every_kernel(void **state)
{
    need_root();
    struct place p = place_new();
    enum { LAYERS = 120 };
    struct str layers[LAYERS];
    for (int j = 0; j < LAYERS; j++) {
        struct tarball *t = tarball_new(0);
        char name[20];
        snprintf(name, sizeof(name), "f%d", j);
        tarball_file(t, name, "content");
        layers[j] = tarball_end(t);
    }
    load_layers(&p, "deep", layers, LAYERS);
    struct tarball *only = tarball_new(0);
    tarball_file(only, "f0", "content");
    struct str few[] = {tarball_end(only)};
    load_layers(&p, "flat", few, 1);
    /* By every way that a kernel may leave us; see snapshot.c. */
    for (int method = 0; method <= 2; method++) {
        p.im->mount_method = method;
        struct image_snapshot s = {0};
        int root = mounted(&p, "deep", &s);
        struct stat st;
        assert_int_equal(fstatat(root, "f0", &st, 0), 0);
        assert_int_equal(fstatat(root, "f119", &st, 0), 0);
        put(root, "own", "x");
        close(root);
        image_snapshot_done(&s);
        root = mounted(&p, "flat", &s);
        assert_int_equal(fstatat(root, "f0", &st, 0), 0);
        put(root, "f0", "own");
        close(root);
        image_snapshot_done(&s);
    }
    place_done(&p);
}

static void a_second_process_may_not_open_the_same_store(void **state)
{
    struct place p = place_new();
    struct images *other = NULL;
    struct err err = {0};
    assert_int_equal(images_open(p.root, &other, &err), -ERR_CONFLICT);
    place_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_a_published_image_and_mounts_it),
        cmocka_unit_test(what_is_saved_loads_as_the_same_image),
        cmocka_unit_test(lower_layers_show_through_as_the_image_means_them),
        cmocka_unit_test(a_hostile_layer_leaves_nothing),
        cmocka_unit_test(a_layer_that_is_not_what_the_config_says_is_refused),
        cmocka_unit_test(a_blob_of_the_wrong_digest_does_not_enter),
        cmocka_unit_test(a_blob_that_rots_on_disk_is_noticed_and_a_load_heals_it),
        cmocka_unit_test(a_commit_is_the_changes_and_nothing_else),
        cmocka_unit_test(the_same_changes_with_an_epoch_give_the_same_layer),
        cmocka_unit_test(rmi_follows_dockers_rules_and_leaves_no_rest),
        cmocka_unit_test(an_archive_cut_anywhere_loads_nothing_and_leaves_nothing),
        cmocka_unit_test(ids_are_found_by_unique_prefix),
        cmocka_unit_test(loads_of_the_same_layers_at_once_do_not_collide),
        cmocka_unit_test(a_load_that_is_killed_leaves_a_sound_store),
        cmocka_unit_test(a_root_file_system_is_imported),
        cmocka_unit_test(one_layer_and_a_hundred_and_twenty_mount_on_every_kernel),
        cmocka_unit_test(a_second_process_may_not_open_the_same_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
