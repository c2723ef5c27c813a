#include "image/gzip_writer.h"

#include "base/mem.h"

#include <pthread.h>
#include <string.h>
#include <zlib.h>

enum { BLOCK_BYTES = 1 << 20, BLOCKS = 4, RAW_DEFLATE = -15 };

struct block {
    unsigned char *in, *out;
    size_t in_bytes, out_bytes, capacity;
    bool failed;
};

struct gzip_writer {
    tar_write_fn write_fn;
    void *write_context;
    struct block blocks[BLOCKS];
    size_t filled; /* full blocks; the one after is being filled */
    uint32_t crc, size;
    bool begun;
};

struct gzip_writer *gzip_writer_new(tar_write_fn write_fn, void *write_context)
{
    struct gzip_writer *w = NEW(struct gzip_writer);
    w->write_fn = write_fn;
    w->write_context = write_context;
    for (size_t i = 0; i < BLOCKS; i++) {
        struct block *b = &w->blocks[i];
        b->capacity = compressBound(BLOCK_BYTES) + 64; /* and the flush marker */
        b->in = mem_new(BLOCK_BYTES);
        b->out = mem_new(b->capacity);
    }
    return w;
}

void gzip_writer_free(struct gzip_writer *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < BLOCKS; i++) {
        free(w->blocks[i].in);
        free(w->blocks[i].out);
    }
    free(w);
}

static void *compress_block(void *context)
{
    struct block *b = context;
    z_stream z = {.next_in = b->in,
                  .avail_in = (unsigned)b->in_bytes,
                  .next_out = b->out,
                  .avail_out = (unsigned)b->capacity};
    /* The fastest level: a layer is written once for each change of a Dockerfile, mostly read back never. */
    b->failed = deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, RAW_DEFLATE, 9, Z_DEFAULT_STRATEGY) != Z_OK;
    if (b->failed)
        return NULL;
    b->failed = deflate(&z, Z_SYNC_FLUSH) != Z_OK || z.avail_in != 0 || z.avail_out == 0;
    b->out_bytes = b->capacity - z.avail_out;
    deflateEnd(&z);
    return NULL;
}

static int begin(struct gzip_writer *w, struct err *err)
{
    /* No name, no time, unknown system: nothing that differs between runs. */
    static const unsigned char header[10] = {0x1f, 0x8b, Z_DEFLATED, 0, 0, 0, 0, 0, 0, 255};
    if (w->begun)
        return 0;
    w->begun = true;
    return w->write_fn(w->write_context, header, sizeof(header), err);
}

static int compress_all(struct gzip_writer *w, size_t count, struct err *err)
{
    pthread_t threads[BLOCKS];
    bool started[BLOCKS] = {false};
    for (size_t i = 1; i < count; i++)
        started[i] = pthread_create(&threads[i], NULL, compress_block, &w->blocks[i]) == 0;
    for (size_t i = 0; i < count; i++) {
        w->crc = (uint32_t)crc32(w->crc, w->blocks[i].in, (unsigned)w->blocks[i].in_bytes);
        w->size += (uint32_t)w->blocks[i].in_bytes;
        if (!started[i])
            compress_block(&w->blocks[i]);
    }
    int r = begin(w, err);
    for (size_t i = 0; i < count; i++) {
        struct block *b = &w->blocks[i];
        if (started[i])
            pthread_join(threads[i], NULL);
        if (r == 0 && b->failed)
            r = err_set(err, ERR_NO_MEMORY, "compress: out of memory");
        if (r == 0)
            r = w->write_fn(w->write_context, b->out, b->out_bytes, err);
        b->in_bytes = 0;
    }
    w->filled = 0;
    return r;
}

int gzip_writer_add(struct gzip_writer *w, const void *bytes, size_t n, struct err *err)
{
    const char *at = bytes;
    while (n) {
        struct block *b = &w->blocks[w->filled];
        size_t part = MIN(n, BLOCK_BYTES - b->in_bytes);
        memcpy(b->in + b->in_bytes, at, part);
        b->in_bytes += part;
        at += part;
        n -= part;
        if (b->in_bytes < BLOCK_BYTES || ++w->filled < BLOCKS)
            continue;
        int r = compress_all(w, BLOCKS, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int gzip_writer_finish(struct gzip_writer *w, struct err *err)
{
    size_t count = w->filled + (w->filled < BLOCKS && w->blocks[w->filled].in_bytes ? 1 : 0);
    int r = compress_all(w, count, err);
    if (r < 0)
        return r;
    /* An empty last block, checksum and length. */
    const unsigned char end[10] = {0x03,
                                   0x00,
                                   (unsigned char)w->crc,
                                   (unsigned char)(w->crc >> 8),
                                   (unsigned char)(w->crc >> 16),
                                   (unsigned char)(w->crc >> 24),
                                   (unsigned char)w->size,
                                   (unsigned char)(w->size >> 8),
                                   (unsigned char)(w->size >> 16),
                                   (unsigned char)(w->size >> 24)};
    return w->write_fn(w->write_context, end, sizeof(end), err);
}
