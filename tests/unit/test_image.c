#include "base/json.h"
#include "image/image.h"
#include "unit.h"

#include <fcntl.h>
#include <sys/stat.h>

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

static void loads_a_published_image_and_mounts_it(void **state)
{
    char *path = shared_file("busybox-1.37.0-glibc-amd64.oci.tar"), *dir = scratch_new();
    struct images *im = NULL;
    struct err err = {0};
    assert_ok(images_open(dir, &im, &err), &err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char **loaded = NULL;
    assert_ok(image_load(im, fd, NULL, &loaded, &err), &err);
    close(fd);
    assert_string_equal(loaded[0], "Loaded image: busybox:1.37.0-glibc");
    strv_free(loaded);
    struct image_info info = {0};
    assert_ok(image_get(im, "busybox:1.37.0-glibc", &info, &err), &err);
    assert_string_equal(info.manifest_digest,
                        "sha256:7a3ebe5bfd1a4a19797d20b0c0bb39d44393e9a03fd852c0865b0f540d868df0");
    struct image_snapshot s = {0};
    char *sdir = str_printf("%s/snap", dir);
    assert_ok(image_snapshot_create(im, info.id, sdir, &s, &err), &err);
    int root = -1;
    assert_ok(image_snapshot_mount(im, &s, false, &root, &err), &err);
    struct stat st;
    assert_int_equal(fstatat(root, "bin/busybox", &st, 0), 0);
    assert_true(st.st_size > 100000);
    close(root);
    image_snapshot_done(&s);
    image_info_done(&info);
    images_close(im);
    free(sdir);
    scratch_remove(dir);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_a_published_image_and_mounts_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
