/* The file of `drover serve --signature-policy FILE` (docs/registry.md), read into a policy of
 * image/signature_policy.h.
 *
 * YAML; every key is known or an error, which names file, line and column. It is read again when it, or a key
 * that it names, has changed, at the next pull. A version that is wrong changes nothing: it is logged, once,
 * and the policy before it stays in force. Any thread. */
#ifndef API_SIGNATURE_FILE_H
#define API_SIGNATURE_FILE_H

#include "base/file_watch.h"
#include "image/signature_policy.h"

struct signature_file;

/* A policy out of the text of such a file; `path` is for messages and for the keys it names, which are read,
 * and added to `watch`. The policy is the caller's. */
int signature_file_parse(const char *path, const char *text, size_t n, struct file_watch *watch,
                         struct signature_policy **ret, struct err *err);

int signature_file_open(const char *path, struct signature_file **ret, struct err *err);
void signature_file_free(struct signature_file *f); /* NULL is fine */
/* For images_set_signatures(); lives as long as `f`. */
const struct image_signatures *signature_file_source(struct signature_file *f);

#endif
