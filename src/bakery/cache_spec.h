/* What --cache-to and --cache-from say, as BuildKit's documentation has it:
 * "type=registry,ref=NAME,mode=max", "type=local,dest=DIRECTORY", "type=local,src=DIRECTORY", "type=inline";
 * NAME alone is type=registry,ref=NAME. Types that are a service of somebody's (gha, s3, azblob) are refused
 * by name. */
#ifndef BAKERY_CACHE_SPEC_H
#define BAKERY_CACHE_SPEC_H

#include "base/err.h"

#include <stdbool.h>

enum cache_type { CACHE_REGISTRY, CACHE_LOCAL, CACHE_INLINE };

struct cache_spec {
    enum cache_type type;
    char *place; /* registry: the reference; local: the client's directory; inline: NULL */
    char *name;  /* local: tag ("latest" when not given) or, of a source, digest */
    bool max;    /* every stage's steps, instead of those that the result stands on */
    bool ignore_error;
};

int cache_spec_parse(const char *text, bool is_target, struct cache_spec *ret, struct err *err);
void cache_spec_done(struct cache_spec *spec);

#endif
