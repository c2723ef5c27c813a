/* gzip (RFC 1952) by several threads: independent blocks of 1 MiB, so the result does not depend on how many
 * threads there are, and the same bytes always give the same file. */
#ifndef IMAGE_GZIP_WRITER_H
#define IMAGE_GZIP_WRITER_H

#include "image/tar.h"

struct gzip_writer;
struct gzip_writer *gzip_writer_new(tar_write_fn write_fn, void *write_context);
int gzip_writer_add(struct gzip_writer *w, const void *bytes, size_t n, struct err *err);
int gzip_writer_finish(struct gzip_writer *w, struct err *err);
void gzip_writer_free(struct gzip_writer *w);

#endif
