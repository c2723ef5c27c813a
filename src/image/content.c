/* The blob store as its other owners see it. */
#include "image/content.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "image/image_priv.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

void content_hold(struct images *im)
{
    image__hold(im);
}

void content_let_go(struct images *im, char *const *digests)
{
    image__let_go(im, digests);
}

bool content_size(struct images *im, const char *digest, int64_t *ret_size)
{
    _cleanup_free_ char *path = image__blob_path(im, digest);
    struct stat st;
    if (stat(path, &st) < 0)
        return false;
    if (ret_size)
        *ret_size = st.st_size;
    return true;
}

bool content_has(struct images *im, const char *digest, int64_t *ret_size)
{
    return image__blob_has(im, digest) && content_size(im, digest, ret_size);
}

int content_open(struct images *im, const char *digest, int *ret_fd, int64_t *ret_size, struct err *err)
{
    return image__blob_open(im, digest, ret_fd, ret_size, err);
}

int content_adopt(struct images *im, const char *path, const char *digest, struct err *err)
{
    must(digest_valid(digest));
    image__pin(im, digest);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_sys(err, errno, "store %s", digest);
    _cleanup_free_ char *final = image__blob_path(im, digest);
    FAILPOINT("image-content-synced");
    if (rename(path, final) < 0)
        return err_sys(err, errno, "store %s", digest);
    FAILPOINT("image-content-renamed");
    *strrchr(final, '/') = '\0';
    return file_fsync_dir(final, err);
}

void content_release(struct images *im, char *const *digests)
{
    image__blob_sweep(im, digests, NULL);
}

const char *content_uploads_dir(struct images *im)
{
    return im->uploads_dir;
}

const char *content_root(struct images *im)
{
    return im->root;
}

struct store *content_store(struct images *im)
{
    return im->store;
}

int content_install(struct images *im, const char *manifest_digest, const char *reference, char **ret_id,
                    struct err *err)
{
    return image__ingest(im, manifest_digest, reference, NULL, NULL, ret_id, err);
}
