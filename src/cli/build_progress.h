/* A build as it goes on. On a terminal what is done stays, and below it what is at work is redrawn in place:
 * a line for each step, with the end of its output. Elsewhere each thing that happens is a line. */
#ifndef CLI_BUILD_PROGRESS_H
#define CLI_BUILD_PROGRESS_H

#include "base/err.h"

#include <jansson.h>

struct build_progress;

/* `style`: auto, plain, tty, quiet, rawjson. */
int build_progress_new(const char *style, struct build_progress **ret, struct err *err);
/* As struct build_request wants them; the context is the progress. */
void build_progress_event(void *progress, const json_t *event);
void build_progress_text(void *progress, const char *text);
/* What a failed step said is shown again, when it was not to be seen. */
void build_progress_end(struct build_progress *p, bool failed);
void build_progress_free(struct build_progress *p);

#endif
