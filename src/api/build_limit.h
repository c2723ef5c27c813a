/* The build cache's bounds, kept after builds, in a thread of its own: no client waits for it. While a build
 * goes on nothing goes: whatever there is it may be about to use. */
#ifndef API_BUILD_LIMIT_H
#define API_BUILD_LIMIT_H

#include "api/api_priv.h"

struct build_limit *build_limit_new(struct api *a);
void build_limit_free(struct build_limit *l); /* waits for the thread */
/* See api_limit_build_cache(). */
void build_limit_set(struct build_limit *l, int64_t max_bytes, int64_t max_age_ns);

/* Around each build. */
void build_limit_begin(struct build_limit *l);
void build_limit_end(struct build_limit *l);
/* When there is no build, none begins until let_go; false when there is one. */
bool build_limit_keep_idle(struct build_limit *l);
void build_limit_let_go(struct build_limit *l);
/* What was used since then may be in use by a build; 0: there is none. */
int64_t build_limit_in_use_from(struct build_limit *l);

#endif
