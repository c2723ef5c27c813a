/* The document of a cache that travels: what each key's step made.
 *
 *     {"steps": [{"key": "sha256:...", "created": "2026-01-01T00:00:00Z", "layer": "sha256:..."}, ...]}
 *
 * It is the config of a manifest (media type below) whose layers are the steps'; or, of an inline cache, a
 * text among the annotations of the image's manifest. A step without "layer" changed no file. "created" makes
 * the step's image the same here as where it was built, so that the next key is found too; the entry of a
 * layer of its own (COPY --link) has none. Everything else of an image is made here, from the instruction:
 * whoever wrote the document decides what files a step leaves, as he would had he built it, and nothing else.
 *
 * BuildKit's own (application/vnd.buildkit.cacheconfig.v0) is a graph of its solver's vertices and their
 * keys, which stand for nothing here. */
#ifndef BAKERY_CACHE_DOCUMENT_H
#define BAKERY_CACHE_DOCUMENT_H

#include "base/err.h"
#include "base/map.h"

#include <jansson.h>

#define CACHE_MEDIA_TYPE "application/vnd.drover.build.cache.v1+json"
#define CACHE_ANNOTATION "drover.build.cache"

enum { CACHE_STEPS_MAX = 20000, CACHE_LAYERS_MAX = 4000, CACHE_INLINE_MAX = 1 << 20 };

struct cache_step {
    char *created;       /* NULL: of a layer of its own */
    const json_t *layer; /* its descriptor, borrowed from the manifest; NULL: none */
};

/* Key -> struct cache_step, into an empty map that frees them. ERR_INVALID, ERR_LIMIT. */
struct map cache_steps_new(void);
int cache_steps_parse(const char *text, size_t n, const json_t *manifest, struct map *steps, struct err *err);

#endif
