/* What a manager keeps secret on its disk, sealed and not, and what a crash in the middle of either leaves
 * (src/cluster/seal.c). */
#include "unit.h"

#include "cluster/cluster_priv.h"
#include "cluster/seal.h"

static const unsigned char one[SEAL_KEY_BYTES] = "the first unlock key, of 32 byte",
                           two[SEAL_KEY_BYTES] = "another unlock key, of 32 bytes.";
static const char *const names[] = {"secrets.key", "ca.key", "node.key"};

struct disk {
    struct cluster *c;
    char *dir;
};

/* A start of the process; whether it finds itself locked. */
static bool start(struct disk *d)
{
    struct err err;
    bool locked;
    d->c = NEW(struct cluster);
    d->c->dir = d->dir;
    assert_ok(seal__begin(d->c, &locked, &err), &err);
    return locked;
}

static void end(struct disk *d)
{
    seal__done(d->c);
    free(d->c);
}

static char *raw(const struct disk *d, const char *name)
{
    _cleanup_free_ char *path = str_printf("%s/%s", d->dir, name);
    struct str text = STR_INIT;
    return file_read(path, 4096, &text, NULL) < 0 ? NULL : str_take(&text);
}

static void put(const struct disk *d, const char *name, const char *text)
{
    _cleanup_free_ char *path = str_printf("%s/%s", d->dir, name);
    struct err err;
    assert_ok(file_replace(path, text, strlen(text), 0600, false, &err), &err);
}

/* As root's own and no longer than it was: the bytes of the file, which may have zeros. */
static void copy(const struct disk *d, const char *from, const char *to)
{
    _cleanup_free_ char *a = str_printf("%s/%s", d->dir, from), *b = str_printf("%s/%s", d->dir, to);
    _cleanup_str_ struct str bytes = STR_INIT;
    struct err err;
    assert_ok(file_read(a, 4096, &bytes, &err), &err);
    assert_ok(file_replace(b, bytes.data, bytes.len, 0600, false, &err), &err);
}

static void assert_reads(struct disk *d)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_str_ struct str text = STR_INIT;
        struct err err;
        assert_ok(seal__read(d->c, names[i], &text, &err), &err);
        assert_string_equal(str_get(&text), names[i]);
    }
}

static size_t in_the_clear(const struct disk *d)
{
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_free_ char *text = raw(d, names[i]);
        count += str_eq(text, names[i]);
    }
    return count;
}

static void make(struct disk *d)
{
    struct err err;
    d->dir = scratch_new();
    assert_false(start(d));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_ok(seal__write(d->c, names[i], names[i], strlen(names[i]), &err), &err);
    assert_int_equal(in_the_clear(d), 3);
}

static void remove_disk(struct disk *d)
{
    end(d);
    scratch_remove(d->dir);
}

static void sealed_files_are_read_with_their_key_alone(void **state)
{
    struct disk d;
    struct err err;
    _cleanup_str_ struct str text = STR_INIT;
    make(&d);
    assert_ok(seal__set(d.c, one, &err), &err);
    assert_int_equal(in_the_clear(&d), 0);
    assert_reads(&d);
    end(&d);
    assert_true(start(&d));
    assert_int_equal(seal__read(d.c, "ca.key", &text, &err), -ERR_CORRUPT);
    assert_int_equal(seal__open(d.c, two, &err), -ERR_UNAUTHORIZED);
    assert_string_equal(err.msg, "swarm could not be unlocked: invalid key provided");
    assert_int_equal(seal__read(d.c, "ca.key", &text, &err), -ERR_CORRUPT);
    assert_ok(seal__open(d.c, one, &err), &err);
    assert_reads(&d);
    assert_ok(seal__set(d.c, NULL, &err), &err);
    assert_int_equal(in_the_clear(&d), 3);
    end(&d);
    assert_false(start(&d));
    assert_reads(&d);
    remove_disk(&d);
}

static void another_unlock_key_takes_the_place_of_the_first(void **state)
{
    struct disk d;
    struct err err;
    make(&d);
    assert_ok(seal__set(d.c, one, &err), &err);
    assert_ok(seal__set(d.c, two, &err), &err);
    end(&d);
    assert_true(start(&d));
    assert_int_equal(seal__open(d.c, one, &err), -ERR_UNAUTHORIZED);
    assert_ok(seal__open(d.c, two, &err), &err);
    assert_reads(&d);
    remove_disk(&d);
}

static void files_cannot_take_each_others_place(void **state)
{
    struct disk d;
    struct err err;
    _cleanup_str_ struct str text = STR_INIT;
    make(&d);
    assert_ok(seal__set(d.c, one, &err), &err);
    copy(&d, "secrets.key", "ca.key");
    assert_int_equal(seal__read(d.c, "ca.key", &text, &err), -ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "damaged"));
    remove_disk(&d);
}

/* Each moment at which sealing, or ending it, may have been cut off: the first `done` files are as they were
 * to be. */
static void a_crash_in_the_middle_loses_nothing(void **state)
{
    for (size_t done = 0; done <= ARRAY_SIZE(names); done++) {
        struct disk d;
        struct err err;
        make(&d);
        assert_ok(seal__set(d.c, one, &err), &err);
        for (size_t i = done; i < ARRAY_SIZE(names); i++)
            put(&d, names[i], names[i]);
        end(&d);
        bool locked = start(&d);
        assert_int_equal(locked, done > 0);
        if (locked)
            assert_ok(seal__open(d.c, one, &err), &err);
        assert_reads(&d);
        /* What was wanted is done whole, whichever it was. */
        assert_ok(seal__set(d.c, done % 2 ? two : NULL, &err), &err);
        assert_int_equal(in_the_clear(&d), done % 2 ? 0 : 3);
        assert_reads(&d);
        end(&d);
        assert_int_equal(start(&d), done % 2);
        remove_disk(&d);
    }
}

static void without_its_lock_file_a_sealed_node_says_so(void **state)
{
    struct disk d;
    struct err err;
    make(&d);
    assert_ok(seal__set(d.c, one, &err), &err);
    _cleanup_free_ char *path = str_printf("%s/lock.json", d.dir);
    static const char *const contents[] = {
        NULL, "", "{", "{\"key\": 7}", "{\"key\": \"AAAA\"}", "{\"key\": \"not base64\"}"};
    end(&d);
    for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
        assert_int_equal(unlink(path), 0);
        if (contents[i])
            put(&d, "lock.json", contents[i]);
        assert_true(start(&d));
        assert_true(seal__open(d.c, one, &err) < 0);
        assert_true(strstr(err.msg, "lock.json") || strstr(err.msg, "invalid key provided"));
        end(&d);
        put(&d, "lock.json", "");
    }
    assert_true(start(&d));
    seal__forget(d.c);
    remove_disk(&d);
}

static void the_nodes_key_is_read_from_memory_whole_while_it_changes(void **state)
{
    struct disk d;
    struct err err;
    make(&d);
    for (int i = 0; i < 50; i++) {
        _cleanup_free_ char *pem = str_printf("%0*d", i % 2 ? 10 : 1000, i);
        _cleanup_str_ struct str seen = STR_INIT;
        assert_ok(seal__show_key(d.c, pem, &err), &err);
        assert_ok(file_read(seal__key_path(d.c), 4096, &seen, &err), &err);
        assert_string_equal(str_get(&seen), pem);
    }
    remove_disk(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sealed_files_are_read_with_their_key_alone),
        cmocka_unit_test(another_unlock_key_takes_the_place_of_the_first),
        cmocka_unit_test(files_cannot_take_each_others_place),
        cmocka_unit_test(a_crash_in_the_middle_loses_nothing),
        cmocka_unit_test(without_its_lock_file_a_sealed_node_says_so),
        cmocka_unit_test(the_nodes_key_is_read_from_memory_whole_while_it_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
