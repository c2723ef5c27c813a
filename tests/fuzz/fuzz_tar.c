/* Extraction of a layer: whatever the bytes, nothing may appear outside the root. */
#include "base/file.h"
#include "image/tar.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct input {
    const uint8_t *bytes;
    size_t left;
};

static ssize_t take(void *context, void *buffer, size_t n, struct err *err)
{
    struct input *in = context;
    n = MIN(n, in->left);
    if (n)
        memcpy(buffer, in->bytes, n);
    in->bytes += n;
    in->left -= n;
    return (ssize_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[] = "/tmp/drover-fuzz-XXXXXX";
    must(mkdtemp(dir));
    _cleanup_free_ char *root = str_printf("%s/root", dir);
    must(mkdir(root, 0755) == 0);
    _cleanup_close_ int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct input in = {.bytes = data, .left = size};
    const struct tar_extract x = {.root_fd = fd,
                                  .layer = geteuid() == 0,
                                  .uid = getuid(),
                                  .gid = getgid(),
                                  .limits = {.max_bytes = 1 << 20, .max_entries = 1000}};
    tar_extract_stream(&x, take, &in, NULL);
    must(file_remove_tree(root, NULL) == 0);
    must(rmdir(dir) == 0); /* fails when anything came to lie beside the root */
    return 0;
}
