/* A registry's manifests: a first line with the Content-Type, then the body. */
#include "base/digest.h"
#include "base/mem.h"
#include "base/str.h"
#include "registry/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    if (!end)
        return 0;
    size_t n = (size_t)(end - data);
    _cleanup_free_ char *type = mem_strndup((const char *)data, n);
    struct manifest m = {0};
    struct registry_err err = {0};
    if (manifest_parse(end + 1, size - n - 1, *type ? type : NULL, &m, &err) < 0) {
        must(err.code != REGISTRY_INTERNAL && *err.cause.msg);
        return 0;
    }
    must(m.blob_count <= 2 * MANIFEST_MAX_DESCRIPTORS + 1 && *m.media_type);
    for (size_t i = 0; i < m.blob_count; i++)
        must(digest_valid(m.blobs[i].digest) && m.blobs[i].size >= 0);
    must(!m.subject || digest_valid(m.subject));
    manifest_done(&m);
    return 0;
}
