#include "bake/layout.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "image/gzip_writer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK = 512, CHUNK = 256 * 1024 };

void layout_done(struct layout *l)
{
    free(l->dir);
    json_decref(l->layers);
    json_decref(l->diff_ids);
    json_decref(l->history);
    *l = (struct layout){0};
}

int layout_begin(struct layout *l, const char *dir, int64_t epoch, struct err *err)
{
    *l = (struct layout){.dir = mem_strdup(dir),
                         .layers = json_array(),
                         .diff_ids = json_array(),
                         .history = json_array(),
                         .epoch = epoch};
    _cleanup_free_ char *blobs = str_printf("%s/blobs/sha256", dir);
    return file_mkdirs(blobs, 0755, err);
}

/* --- Layers --- */

/* A header's size field: octal, or base-256 when the first bit is set. */
static int64_t header_size(const unsigned char *field)
{
    int64_t size = 0;
    if (*field & 0x80) {
        for (int i = 4; i < 12; i++)
            size = size << 8 | field[i];
        return size;
    }
    for (int i = 0; i < 12 && field[i]; i++)
        if (field[i] >= '0' && field[i] <= '7')
            size = size * 8 + (field[i] - '0');
    return size;
}

/* Where the end mark begins: a writer fills up to its record's size behind it, and some readers of layers
 * refuse more than the two blocks that the mark has. */
static int find_end(int fd, int64_t *ret, struct err *err)
{
    unsigned char block[BLOCK];
    static const unsigned char zero[BLOCK];
    for (int64_t at = 0;;) {
        ssize_t n = pread(fd, block, BLOCK, at);
        if (n < 0)
            return err_sys(err, errno, "read the archive");
        if (n < BLOCK || memcmp(block, zero, BLOCK) == 0) {
            *ret = at;
            return n == 0 || n == BLOCK ? 0 : err_set(err, ERR_INVALID, "the archive ends in a header");
        }
        int64_t size = header_size(block + 124);
        if (size < 0 || size > INT64_MAX / 2 - at)
            return err_set(err, ERR_INVALID, "the archive has an entry without end");
        at += BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK;
    }
}

struct blob {
    int fd;
    int64_t bytes;
    struct digest_hasher *hasher;
};

static int put(void *context, const void *bytes, size_t n, struct err *err)
{
    struct blob *b = context;
    digest_hasher_add(b->hasher, bytes, n);
    b->bytes += (int64_t)n;
    return file_write_all(b->fd, bytes, n, err);
}

static int compress(int fd, int64_t end, struct blob *to, char diff_id[DIGEST_BYTES], struct err *err)
{
    static const char mark[2 * BLOCK];
    _cleanup_free_ char *buffer = mem_new(CHUNK);
    _cleanup_hasher_ struct digest_hasher *plain = digest_hasher_new("sha256");
    struct gzip_writer *w = gzip_writer_new(put, to);
    int r = 0;
    for (int64_t at = 0; r == 0 && at < end;) {
        ssize_t n = pread(fd, buffer, (size_t)MIN((int64_t)CHUNK, end - at), at);
        if (n <= 0) {
            r = n < 0 ? err_sys(err, errno, "read the archive")
                      : err_set(err, ERR_INVALID, "the archive is cut off");
            break;
        }
        digest_hasher_add(plain, buffer, (size_t)n);
        r = gzip_writer_add(w, buffer, (size_t)n, err);
        at += n;
    }
    if (r == 0)
        r = gzip_writer_add(w, mark, sizeof(mark), err);
    if (r == 0)
        r = gzip_writer_finish(w, err);
    gzip_writer_free(w);
    digest_hasher_add(plain, mark, sizeof(mark));
    digest_hasher_format(plain, diff_id);
    return r;
}

static char *blob_path(const struct layout *l, const char *digest)
{
    return str_printf("%s/blobs/sha256/%s", l->dir, digest_hex(digest));
}

static json_t *time_of(const struct layout *l)
{
    char text[TIME_RFC3339_BYTES];
    return json_string(time_format_rfc3339(l->epoch * NS_PER_S, text));
}

int layout_add_layer(struct layout *l, int fd, const char *created_by, struct err *err)
{
    char diff_id[DIGEST_BYTES], digest[DIGEST_BYTES];
    _cleanup_free_ char *temporary = str_printf("%s/layer", l->dir);
    _cleanup_close_ int out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0)
        return err_sys(err, errno, "create %s", temporary);
    struct blob blob = {.fd = out, .hasher = digest_hasher_new("sha256")};
    int64_t end;
    int r = find_end(fd, &end, err);
    if (r == 0)
        r = compress(fd, end, &blob, diff_id, err);
    digest_hasher_format(blob.hasher, digest);
    digest_hasher_free(blob.hasher);
    _cleanup_free_ char *path = blob_path(l, digest);
    if (r == 0 && rename(temporary, path) < 0)
        r = err_sys(err, errno, "rename %s", temporary);
    if (r < 0)
        return r;
    json_array_append_new(l->layers, json_pack("{s:s, s:s, s:I}", "mediaType",
                                               "application/vnd.oci.image.layer.v1.tar+gzip", "digest",
                                               digest, "size", (json_int_t)blob.bytes));
    json_array_append_new(l->diff_ids, json_string(diff_id));
    json_t *line = json_pack("{s:o}", "created", time_of(l));
    json_set_str(line, "created_by", created_by);
    json_array_append_new(l->history, line);
    return 0;
}

/* --- Documents --- */

static int put_document(const struct layout *l, const json_t *document, char digest[DIGEST_BYTES],
                        json_int_t *ret_size, struct err *err)
{
    _cleanup_free_ char *text = json_format(document);
    digest_of(text, strlen(text), digest);
    *ret_size = (json_int_t)strlen(text);
    _cleanup_free_ char *path = blob_path(l, digest);
    return file_replace(path, text, strlen(text), 0644, false, err);
}

static int put_file(const struct layout *l, const char *name, const json_t *document, struct err *err)
{
    _cleanup_free_ char *text = json_format(document), *path = str_printf("%s/%s", l->dir, name);
    return file_replace(path, text, strlen(text), 0644, false, err);
}

int layout_end(struct layout *l, const json_t *config, const char *architecture, const char *reference,
               char **ret_id, char **ret_manifest, struct err *err)
{
    static const char manifest_type[] = "application/vnd.oci.image.manifest.v1+json";
    char id[DIGEST_BYTES], manifest_digest[DIGEST_BYTES];
    json_int_t size;
    _cleanup_json_ json_t *image =
        json_pack("{s:o, s:s, s:s, s:O, s:{s:s, s:O}, s:O}", "created", time_of(l), "architecture",
                  architecture, "os", "linux", "config", config, "rootfs", "type", "layers", "diff_ids",
                  l->diff_ids, "history", l->history);
    int r = put_document(l, image, id, &size, err);
    _cleanup_json_ json_t *manifest =
        json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:O}", "schemaVersion", 2, "mediaType", manifest_type,
                  "config", "mediaType", "application/vnd.oci.image.config.v1+json", "digest", id, "size",
                  size, "layers", l->layers);
    if (r == 0)
        r = put_document(l, manifest, manifest_digest, &size, err);
    const char *colon = strrchr(reference, ':');
    _cleanup_json_ json_t *index = json_pack(
        "{s:i, s:[{s:s, s:s, s:I, s:{s:s, s:s}}]}", "schemaVersion", 2, "manifests", "mediaType",
        manifest_type, "digest", manifest_digest, "size", size, "annotations", "io.containerd.image.name",
        reference, "org.opencontainers.image.ref.name", colon ? colon + 1 : reference);
    _cleanup_json_ json_t *version = json_pack("{s:s}", "imageLayoutVersion", "1.0.0");
    if (r == 0)
        r = put_file(l, "index.json", index, err);
    if (r == 0)
        r = put_file(l, "oci-layout", version, err);
    if (r < 0)
        return r;
    *ret_id = mem_strdup(id);
    *ret_manifest = mem_strdup(manifest_digest);
    return 0;
}
