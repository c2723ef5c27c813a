/* The build checks that BuildKit documents, by its names: warnings about a Dockerfile that builds. Pure: what
 * only a base image could tell is not looked at. The directive "# check=skip=NAME,NAME;error=true" leaves
 * some out ("all": every one) and makes the others errors of the build; "experimental=NAME" asks for those
 * that are not made else. */
#ifndef BAKERY_CHECK_H
#define BAKERY_CHECK_H

#include "bakery/dockerfile.h"
#include "bakery/ignore.h"

struct check_warning {
    const char *rule, *doc; /* its name, and when it passes (Markdown) */
    const char *file;       /* borrowed from the struct dockerfile */
    int line;
    char *text;
};

struct check_result {
    struct check_warning *list;
    size_t count, capacity;
    bool error; /* the directive asks for a failure */
};

/* `ignore` may be NULL. ERR_INVALID when the directive is not one. */
int check_dockerfile(const struct dockerfile *d, const struct ignore *ignore, struct check_result *ret,
                     struct err *err);
/* The build argument BUILDKIT_DOCKERFILE_CHECK goes before the directive. */
void check_take_argument(struct dockerfile *d, char *const *build_args);
void check_result_done(struct check_result *r);
void check_document(struct str *out); /* the table of docs/dockerfile.md */

#endif
