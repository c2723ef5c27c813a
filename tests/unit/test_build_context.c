#include "unit.h"

#include "bakery/context.h"
#include "bakery/source.h"
#include "base/file.h"
#include "image/tar.h"
#include "tarball.h"

#include <dirent.h>
#include <fcntl.h>

struct fixture {
    char *dir;
    int number; /* of directories made so far */
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = NEW(struct fixture);
    f->dir = scratch_new();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    scratch_remove(f->dir);
    free(f);
    return 0;
}

static char *new_dir(struct fixture *f)
{
    char *dir = str_printf("%s/%d", f->dir, f->number++);
    assert_int_equal(mkdir(dir, 0755), 0);
    return dir;
}

static size_t files_in(const char *path)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    size_t n = 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

static int try_receive(struct fixture *f, const struct str *bytes, const char *dir,
                       struct bakery_context **ret)
{
    struct tarball_reader reader = {.bytes = bytes};
    return bakery_context_receive(dir, NULL, 0, tarball_read, &reader, ret, &f->err);
}

static struct bakery_context *receive(struct fixture *f, const struct str *bytes, const char *dir)
{
    struct bakery_context *c = NULL;
    assert_ok(try_receive(f, bytes, dir, &c), &f->err);
    return c;
}

static struct str a_context(int filter)
{
    struct tarball *t = tarball_new(filter);
    tarball_dir(t, "src", 0750);
    tarball_file(t, "src/main.c", "int main(void) { return 0; }\n");
    tarball_add(t, "src/run.sh", S_IFREG | 0755, "#!/bin/sh\n", NULL, NULL);
    tarball_file(t, "made/on/the/way", "no entry told of these directories\n");
    tarball_dir(t, "made/on", 0700);
    tarball_symlink(t, "here", "src");
    tarball_symlink(t, "src/up", "../made");
    tarball_symlink(t, "src/absolute", "/made/on/the/way");
    tarball_symlink(t, "above", "../../../src/main.c");
    tarball_symlink(t, "nowhere", "not/there");
    tarball_symlink(t, "round", "round");
    tarball_hardlink(t, "src/again.c", "src/main.c");
    tarball_add(t, "empty", S_IFREG | 04711, "", NULL, NULL);
    tarball_dir(t, "src", 0755);
    tarball_file(t, "Dockerfile", "FROM scratch\n");
    return tarball_end(t);
}

/* The hash, or the error's code. */
static char *key_of(const struct source_root *root, const char *text)
{
    struct sources sources = {0};
    struct err err = {0};
    char *key = NULL;
    if (sources_find(&sources, root, text, &err) < 0 || sources_hash(&sources, &key, &err) < 0)
        key = str_printf("error %d", err.code);
    sources_done(&sources);
    return key;
}

/* An archive of `count` empty files, a thousand to a directory, made as it is read. */
struct many {
    char block[512];
    size_t left; /* of the block */
    int next, count, zeros;
};

static void next_block(struct many *m)
{
    memset(m->block, 0, sizeof(m->block));
    m->left = sizeof(m->block);
    if (m->next == m->count) {
        m->zeros++;
        return;
    }
    snprintf(m->block, 100, "d%03d/sub/f%06d", m->next / 1000, m->next);
    memcpy(m->block + 100, "0000644", 8);
    memcpy(m->block + 124, "00000000000", 12);
    memcpy(m->block + 136, "00000000000", 12);
    memset(m->block + 148, ' ', 8);
    m->block[156] = '0';
    memcpy(m->block + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(m->block); i++)
        sum += (unsigned char)m->block[i];
    snprintf(m->block + 148, 8, "%06o", sum);
    m->next++;
}

static ssize_t read_many(void *context, void *buffer, size_t n, struct err *err)
{
    struct many *m = context;
    size_t got = 0;
    while (got < n && (m->left || m->zeros < 2)) {
        if (!m->left)
            next_block(m);
        size_t part = MIN(n - got, m->left);
        memcpy((char *)buffer + got, m->block + sizeof(m->block) - m->left, part);
        m->left -= part;
        got += part;
    }
    return (ssize_t)got;
}

static void a_context_of_many_files_is_not_unpacked_to_be_understood(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *dir = new_dir(f);
    struct many m = {.count = 300000};
    struct bakery_context *c = NULL;
    assert_ok(bakery_context_receive(dir, NULL, 0, read_many, &m, &c, &f->err), &f->err);
    const struct context_tree *t = context_tree(c);
    assert_non_null(t);
    assert_int_equal(files_in(dir), 0);
    _cleanup_strv_ char **all = NULL, **some = NULL;
    assert_ok(context_names(t, "", &all, &f->err), &f->err);
    assert_ok(context_names(t, "d123/sub", &some, &f->err), &f->err);
    assert_int_equal(strv_len(all), 300);
    assert_int_equal(strv_len(some), 1000);
    assert_string_equal(some[999], "f123999");
    char digest[DIGEST_BYTES];
    for (int i = 0; i < m.count; i++) {
        char path[64];
        snprintf(path, sizeof(path), "d%03d/../d%03d/sub/f%06d", (i + 1) % 300, i / 1000, i);
        assert_true(context_digest(t, path, digest));
    }
    assert_string_equal(digest, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_false(context_digest(t, "d000/sub/f300000", digest));
    bakery_context_free(c);
}

static void a_context_of_too_many_files_is_refused_before_its_rest_is_read(void **state)
{
    struct fixture *f = *state;
    for (int odd = 0; odd < 2; odd++) { /* one that is looked through, one that has to be unpacked at once */
        struct tarball *t = tarball_new(0);
        for (int i = 0; i < 2000; i++) {
            _cleanup_free_ char *name = str_printf("file-%d", odd && i == 3 ? 2 : i);
            tarball_file(t, name, "x");
        }
        _cleanup_str_ struct str bytes = tarball_end(t);
        struct tarball_reader reader = {.bytes = &bytes};
        struct bakery_context *c = NULL;
        _cleanup_free_ char *dir = new_dir(f), *kept = str_printf("%s.tar", dir);
        assert_int_equal(bakery_context_receive(dir, NULL, 100, tarball_read, &reader, &c, &f->err),
                         -ERR_LIMIT);
        assert_non_null(strstr(f->err.msg, "more than 100 entries"));
        assert_non_null(strstr(f->err.msg, ".dockerignore"));
        assert_true(odd || reader.at < bytes.len);
        assert_in_range(files_in(dir), 0, odd ? 100 : 0);
        assert_false(file_exists(kept));
        reader.at = 0;
        assert_ok(bakery_context_receive(dir, NULL, 2000, tarball_read, &reader, &c, &f->err), &f->err);
        bakery_context_free(c);
    }
}

static void an_archive_has_the_keys_of_its_unpacked_tree(void **state)
{
    static const char *const texts[] = {
        ".",
        "src",
        "src/main.c",
        "src/*.c",
        "*",
        "*/on",
        "here",
        "here/run.sh",
        "here/up/on",
        "above",
        "nowhere",
        "round",
        "src/absolute",
        "made/on/the/way",
        "made",
        "empty",
        "empty/more",
        "nothing",
        "src/main.c/",
        "../src/again.c",
        "src/up/on/the/w*",
        "**/way",
        "here/*",
        "*/up/on/*",
        "nowhere/deeper",
        "round/x",
        "src/./main.c",
        "here/../Dockerfile",
    };
    struct fixture *f = *state;
    _cleanup_str_ struct str bytes = a_context(0);
    _cleanup_free_ char *dir = new_dir(f), *unpacked = new_dir(f);
    struct bakery_context *c = receive(f, &bytes, dir);
    _cleanup_close_ int fd = open(unpacked, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct tarball_reader reader = {.bytes = &bytes};
    const struct tar_extract x = {.root_fd = fd, .names_from_root = true};
    assert_ok(tar_extract_stream(&x, tarball_read, &reader, &f->err), &f->err);
    struct ignore *ignore = NULL, *exclude = NULL;
    const char *patterns = "src/*\n!src/up\nmade/on/the\n!made/on/the/way\n";
    assert_ok(ignore_parse(patterns, strlen(patterns), &ignore, &f->err), &f->err);
    assert_ok(ignore_add(&exclude, "*.c", "--exclude", &f->err), &f->err);
    assert_non_null(context_tree(c));
    for (int kind = 0; kind < 8; kind++) {
        struct source_root root = {.fd = fd,
                                   .ignore = kind & 1 ? ignore : NULL,
                                   .exclude = kind & 2 ? exclude : NULL,
                                   .parents = kind & 4};
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
            root.tree = NULL;
            _cleanup_free_ char *expected = key_of(&root, texts[i]);
            root.tree = context_tree(c);
            _cleanup_free_ char *found = key_of(&root, texts[i]);
            if (!str_eq(found, expected))
                fail_msg("%s (%d): %s, unpacked it is %s", texts[i], kind, found, expected);
        }
    }
    assert_int_equal(files_in(dir), 0); /* all of that without a file */
    ignore_free(ignore);
    ignore_free(exclude);
    bakery_context_free(c);
}

static char *key_of_one(struct fixture *f, const char *content, mode_t mode, int filter)
{
    struct tarball *t = tarball_new(filter);
    tarball_add(t, "file", S_IFREG | mode, content, NULL, NULL);
    _cleanup_str_ struct str bytes = tarball_end(t);
    _cleanup_free_ char *dir = new_dir(f);
    struct bakery_context *c = receive(f, &bytes, dir);
    const struct source_root root = {.fd = -EBADF, .tree = context_tree(c)};
    char *key = key_of(&root, ".");
    bakery_context_free(c);
    return key;
}

static void content_and_mode_decide(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *key = key_of_one(f, "one", 0644, 0),
                        *packed = key_of_one(f, "one", 0644, ARCHIVE_FILTER_GZIP),
                        *same_size_and_time = key_of_one(f, "two", 0644, 0),
                        *mode = key_of_one(f, "one", 0755, 0);
    assert_string_equal(key, packed);
    assert_string_not_equal(key, same_size_and_time);
    assert_string_not_equal(key, mode);
}

static void it_is_unpacked_once_when_a_step_asks(void **state)
{
    struct fixture *f = *state;
    _cleanup_str_ struct str bytes = a_context(ARCHIVE_FILTER_GZIP), text = STR_INIT;
    _cleanup_free_ char *dir = new_dir(f);
    struct bakery_context *c = receive(f, &bytes, dir);
    assert_ok(context_read(c, "Dockerfile", 100, &text, &f->err), &f->err);
    assert_string_equal(str_get(&text), "FROM scratch\n");
    assert_int_equal(context_read(c, ".dockerignore", 100, &text, &f->err), -ERR_NOT_FOUND);
    assert_int_equal(files_in(dir), 0);
    int first, second;
    assert_ok(context_unpack(c, &first, &f->err), &f->err);
    assert_ok(context_unpack(c, &second, &f->err), &f->err);
    assert_int_equal(first, second);
    assert_int_equal(files_in(dir), 8);
    bakery_context_free(c);
}

static void a_file_that_is_not_in_memory_is_read_all_the_same(void **state)
{
    struct fixture *f = *state;
    _cleanup_str_ struct str bytes = a_context(0), text = STR_INIT;
    _cleanup_free_ char *dir = new_dir(f);
    struct bakery_context *c = receive(f, &bytes, dir);
    assert_ok(context_read(c, "here/run.sh", 100, &text, &f->err), &f->err);
    assert_string_equal(str_get(&text), "#!/bin/sh\n");
    bakery_context_free(c);
}

/* What makes an archive one that is unpacked at once. */
static void twice(struct tarball *t)
{
    tarball_file(t, "x", "one");
    tarball_file(t, "x", "two");
}
static void below_a_link(struct tarball *t)
{
    tarball_dir(t, "x", 0755);
    tarball_symlink(t, "link", "x");
    tarball_file(t, "link/file", "it is in x");
}
static void from_above(struct tarball *t)
{
    tarball_file(t, "../x", "from above");
}
static void link_for_directory(struct tarball *t)
{
    tarball_dir(t, "y", 0755);
    tarball_dir(t, "x", 0755);
    tarball_symlink(t, "x", "y");
}
static void fifo(struct tarball *t)
{
    tarball_add(t, "x", S_IFIFO | 0644, NULL, NULL, NULL);
}
static void linked_link(struct tarball *t)
{
    tarball_symlink(t, "y", "z");
    tarball_hardlink(t, "x", "y");
}

static void what_an_archive_alone_does_not_tell_is_unpacked_at_once(void **state)
{
    static void (*const kinds[])(struct tarball *) = {twice, below_a_link, from_above, link_for_directory,
                                                      fifo,  linked_link};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct tarball *t = tarball_new(0);
        kinds[i](t);
        _cleanup_str_ struct str bytes = tarball_end(t);
        _cleanup_free_ char *dir = new_dir(f), *x = str_printf("%s/x", dir);
        struct bakery_context *c = receive(f, &bytes, dir);
        struct stat st;
        if (context_tree(c) || lstat(x, &st) < 0)
            fail_msg("archive %zu was not unpacked", i);
        bakery_context_free(c);
    }
}

static void a_device_is_refused(void **state)
{
    struct fixture *f = *state;
    struct tarball *t = tarball_new(0);
    tarball_add(t, "x", S_IFCHR | 0644, NULL, NULL, NULL);
    _cleanup_str_ struct str bytes = tarball_end(t);
    _cleanup_free_ char *dir = new_dir(f);
    struct bakery_context *c = NULL;
    assert_int_equal(try_receive(f, &bytes, dir, &c), -ERR_DENIED);
    assert_string_equal(f->err.msg, "build context: entry \"x\" is a device node: refused");
}

/* Where a sender may stop: the file is whole, or the context is refused. */
static void an_archive_may_end_behind_its_last_byte_and_no_sooner(void **state)
{
    static const size_t sizes[] = {1, 511, 512, 513, 1024};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char content[1025] = {0};
        memset(content, 'x', sizes[i]);
        struct tarball *t = tarball_new(0);
        tarball_file(t, "file", content);
        _cleanup_str_ struct str bytes = tarball_end(t);
        _cleanup_free_ char *whole = key_of_one(f, content, 0644, 0);
        const size_t ends[] = {513, 511 + sizes[i], 512 + sizes[i], 513 + sizes[i], 1023 + sizes[i]};
        for (size_t k = sizes[i] == 1 ? 2 : 0; k < ARRAY_SIZE(ends); k++) {
            size_t n = ends[k];
            struct str cut = {.data = bytes.data, .len = n};
            _cleanup_free_ char *dir = new_dir(f);
            struct bakery_context *c = NULL;
            int r = try_receive(f, &cut, dir, &c);
            if (n < 512 + sizes[i] ? r == 0 : r < 0)
                fail_msg("%zu of %zu bytes of a file: %d", n - 512, sizes[i], r);
            if (r < 0)
                continue;
            struct source_root root = {.fd = -EBADF, .tree = context_tree(c)};
            if (!root.tree)
                assert_ok(context_unpack(c, &root.fd, &f->err), &f->err);
            _cleanup_free_ char *key = key_of(&root, ".");
            assert_string_equal(key, whole);
            bakery_context_free(c);
        }
    }
}

#define IN_SCRATCH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(a_context_of_many_files_is_not_unpacked_to_be_understood),
        IN_SCRATCH(a_context_of_too_many_files_is_refused_before_its_rest_is_read),
        IN_SCRATCH(an_archive_has_the_keys_of_its_unpacked_tree),
        IN_SCRATCH(content_and_mode_decide),
        IN_SCRATCH(it_is_unpacked_once_when_a_step_asks),
        IN_SCRATCH(a_file_that_is_not_in_memory_is_read_all_the_same),
        IN_SCRATCH(what_an_archive_alone_does_not_tell_is_unpacked_at_once),
        IN_SCRATCH(a_device_is_refused),
        IN_SCRATCH(an_archive_may_end_behind_its_last_byte_and_no_sooner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
