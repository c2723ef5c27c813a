/* A Dockerfile as a list of instructions, each with its line. Pure: no variable is expanded and no file is
 * read here. Any bytes are safe input; what is wrong is refused with file, line and instruction.
 *
 * Follows the Dockerfile reference: parser directives, comments, continuation lines, heredocs of RUN, COPY
 * and ADD, JSON and shell forms. A step belongs to the struct dockerfile; dockerfile_done() frees all. */
#ifndef BAKERY_DOCKERFILE_H
#define BAKERY_DOCKERFILE_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

enum { DOCKERFILE_MAX_BYTES = 4 << 20 };

enum df_op {
    DF_ADD,
    DF_ARG,
    DF_CMD,
    DF_COPY,
    DF_ENTRYPOINT,
    DF_ENV,
    DF_EXPOSE,
    DF_FROM,
    DF_HEALTHCHECK,
    DF_LABEL,
    DF_MAINTAINER,
    DF_ONBUILD,
    DF_RUN,
    DF_SHELL,
    DF_STOPSIGNAL,
    DF_USER,
    DF_VOLUME,
    DF_WORKDIR,
};

struct df_pair {
    char *name;
    char *value; /* NULL: none given */
};

struct df_heredoc {
    char *name;
    char *content; /* with its last newline */
    bool expand;   /* its name was not quoted */
};

struct df_step {
    enum df_op op;
    const char *file;    /* where it stands; borrowed from the struct dockerfile */
    int line, last_line; /* the second with its heredocs */
    char *
        *comments; /* FROM, ARG: the lines of comment right above it, without "#" and white space; or NULL */
    char *text;    /* the whole instruction, continuation lines joined */
    struct df_pair *flags;
    size_t flag_count;
    bool legacy;           /* ENV, LABEL: "name value" without an equals sign */
    bool empty_line;       /* one among its continued lines */
    bool json;             /* the arguments were a JSON array */
    char **args;           /* words; one text for a shell form; HEALTHCHECK: "NONE" or "CMD" first */
    struct df_pair *pairs; /* ENV, LABEL, ARG */
    size_t pair_count;
    struct df_heredoc *heredocs; /* in order; their "<<X" words are in args */
    size_t heredoc_count;
    size_t *heredoc_arg; /* COPY, ADD: which of args each heredoc is */
};

/* Stages that are built together, see preprocess.h. */
struct df_group {
    char *name, *file;
    int line;
    struct df_pair *members; /* a stage or another group, and the name its image gets, or NULL */
    size_t member_count;
};

struct dockerfile {
    char *name;
    char **files; /* that were included; or NULL */
    char escape;
    char *check; /* of the directive, or NULL */
    struct df_group *groups;
    size_t group_count;
    struct df_step *steps;
    size_t step_count;
};

/* `name` is what messages call the file. */
int dockerfile_parse(const char *text, size_t n, const char *name, struct dockerfile *ret, struct err *err);
/* What preprocess.h made: steps are where their lines came from. Takes the files and groups out of it. */
struct df_text;
int dockerfile_parse_text(struct df_text *text, const char *name, struct dockerfile *ret, struct err *err);
/* One instruction, as an ONBUILD trigger holds it; into a list of its own. */
int dockerfile_parse_trigger(const char *text, const char *name, struct dockerfile *ret, struct err *err);
void dockerfile_done(struct dockerfile *d);

const char *df_name(enum df_op op); /* "RUN" */
/* What the comment above a step says of `name`: the rest of a line that begins with it; NULL: nothing. */
const char *df_comment_on(const struct df_step *s, const char *name);
/* A flag's value ("" for a bare --link), or NULL; --from= with nothing behind it is no flag. */
const char *df_flag(const struct df_step *s, const char *name);
bool df_flag_on(const struct df_step *s, const char *name); /* a bare --link, or --link=true */

/* The table of instructions and flags of docs/dockerfile.md. */
void dockerfile_document(struct str *out);

#endif
