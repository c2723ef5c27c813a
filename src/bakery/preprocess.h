/* The language of files that begin with "# syntax=drover/1": what it adds to Dockerfiles is carried out here,
 * before the build, and gives the plain Dockerfile that the file stands for. docs/dockerfile.md describes it:
 * INCLUDE, IF/ELIF/ELSE/ENDIF, FOR/ENDFOR, TARGET, and ${V#p} and its kin where other builders lack them.
 *
 * A file without that line is left alone. Pure but for `read`; any bytes are safe input. Includes, their
 * depth, loops, steps and the text that comes of it are bounded, and every error names the file and line it
 * is at, and through which INCLUDE it got there. */
#ifndef BAKERY_PREPROCESS_H
#define BAKERY_PREPROCESS_H

#include "bakery/dockerfile.h"
#include "bakery/platform.h"
#include "base/str.h"

enum {
    PREPROCESS_MAX_DEPTH = 16,     /* of includes, and of blocks in blocks */
    PREPROCESS_MAX_FILES = 256,    /* includes carried out */
    PREPROCESS_MAX_LOOP = 1000,    /* times through one FOR */
    PREPROCESS_MAX_STEPS = 100000, /* instructions looked at, in all */
};

struct preprocess_options {
    const char *name;        /* of the file, as a path in the context */
    char *const *build_args; /* "NAME=value"; what has no "=" is not given */
    const struct platform *target_platform, *build_platform;
    /* A file of the context, by its clean path; ERR_NOT_FOUND when there is none. */
    int (*read)(void *context, const char *path, struct str *ret, struct err *err);
    void *context;
};

struct df_origin {
    const char *file;
    int line;
};

/* A plain Dockerfile, and where each of its lines came from. */
struct df_text {
    struct str text;
    struct df_origin *lines;
    size_t line_count, line_capacity;
    char **files; /* the names that `lines` borrows */
    struct df_group *groups;
    size_t group_count, group_capacity;
};

bool preprocess_wanted(const char *text, size_t n); /* it says "# syntax=drover/1" */
int preprocess(const char *text, size_t n, const struct preprocess_options *o, struct df_text *ret,
               struct err *err);
void df_text_done(struct df_text *t);

bool preprocess__is_word(const char *word); /* INCLUDE, IF, ... */

#endif
