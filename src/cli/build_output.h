/* `drover build --output`: where the result goes. */
#ifndef CLI_BUILD_OUTPUT_H
#define CLI_BUILD_OUTPUT_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum build_output_type { OUTPUT_IMAGE, OUTPUT_REGISTRY, OUTPUT_LOCAL, OUTPUT_TAR, OUTPUT_OCI, OUTPUT_DOCKER };

struct build_output {
    enum build_output_type type;
    char *destination; /* "-": standard output; NULL: none */
    char **names;
    bool push;
};

/* "type=TYPE[,dest=PATH][,name=NAME][,push=true]", or a path alone: a directory, "-" a tar. */
int build_output_parse(const char *text, struct build_output *ret, struct err *err);
void build_output_done(struct build_output *o);
/* The image is built, and has its names. */
/* A build for several platforms: an image for each. Archives of type=oci and pushes have an index of them; a
 * directory has one below it for each platform ("linux_arm64"). */
struct build_index {
    char **ids, **platforms;
};
/* Here a name can stand for one image: this machine's kind, else the first. */
int build_index_tag(const struct build_index *index, char *const *tags, struct err *err);
int build_index_push(const struct build_index *index, char *const *names, struct err *err);
int build_output_index(const struct build_output *o, const struct build_index *index, char *const *tags,
                       struct err *err);
int build_output_carry_out(const struct build_output *o, const char *image_id, char *const *tags,
                           struct err *err);

#endif
