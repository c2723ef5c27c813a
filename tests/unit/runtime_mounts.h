/* Changes to a box's config that several files of tests make. */
#ifndef TESTS_RUNTIME_MOUNTS_H
#define TESTS_RUNTIME_MOUNTS_H

#include "runtime_box.h"

#include <sys/sysmacros.h>

static inline void add_mount(struct box *b, const char *destination, const char *type, const char *source,
                             const char *options)
{
    json_t *mount = json_pack("{s:s}", "destination", destination);
    _cleanup_strv_ char **list = strv_split(options, ',');
    if (type)
        json_object_set_new(mount, "type", json_string(type));
    if (source)
        json_object_set_new(mount, "source", json_string(source));
    json_object_set_new(mount, "options", json_of_strv(list));
    json_array_append_new(json_object_get(b->spec, "mounts"), mount);
}

static inline json_t *last_mount(struct box *b)
{
    json_t *mounts = json_object_get(b->spec, "mounts");
    return json_array_get(mounts, json_array_size(mounts) - 1);
}

static inline void forget_mount(struct box *b, const char *destination)
{
    json_t *mounts = json_object_get(b->spec, "mounts");
    for (size_t i = json_array_size(mounts); i-- > 0;)
        if (str_eq(json_str(json_array_get(mounts, i), "destination"), destination))
            json_array_remove(mounts, i);
}

static inline json_t *id_map(int inside, int outside, int count)
{
    return json_pack("[{s:i,s:i,s:i}]", "containerID", inside, "hostID", outside, "size", count);
}

static inline char *make_dir(struct box *b, const char *path)
{
    char *whole = str_printf("%s/%s", b->dir, path);
    struct err err;
    assert_ok(file_mkdirs(whole, 0755, &err), &err);
    return whole;
}

static inline void put_link(const char *base, const char *path, const char *target)
{
    _cleanup_free_ char *whole = str_printf("%s/%s", base, path);
    (void)rmdir(whole);
    assert_int_equal(symlink(target, whole), 0);
}

static inline void run_true(struct box *b)
{
    const char *args[] = {"true", NULL};
    box_args(b, args);
    box_run(b);
}

#define assert_refused(b, part)                                                                              \
    do {                                                                                                     \
        run_true(b);                                                                                         \
        assert_int_equal((b)->status, -1);                                                                   \
        assert_contains((b)->err.msg, part);                                                                 \
    } while (0)

#endif
