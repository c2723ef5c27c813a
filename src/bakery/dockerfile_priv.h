/* Between the lines of a Dockerfile (dockerfile.c) and the arguments of an instruction (arguments.c). */
#ifndef BAKERY_DOCKERFILE_PRIV_H
#define BAKERY_DOCKERFILE_PRIV_H

#include "bakery/dockerfile.h"

enum df_form {
    DF_TEXT,       /* one text */
    DF_WORDS,      /* split at white space */
    DF_JSON_TEXT,  /* JSON array, or one text */
    DF_JSON_WORDS, /* JSON array, or split at white space */
    DF_JSON_ONLY,
    DF_PAIRS, /* a=b c="d e", or: a b c */
    DF_NAMES, /* a=b c */
    DF_HEALTH,
};

enum df_flag_value { DF_FLAG_TEXT, DF_FLAG_BOOL, DF_FLAG_LIST };

struct df_flag_kind {
    const char *name;
    enum df_flag_value value;
    const char *doc; /* what is done; "refused: " and why, where nothing is */
};

struct df_instruction {
    const char *name;
    enum df_op op;
    enum df_form form;
    bool heredocs;
    const char *usage, *doc;
    const struct df_flag_kind *flags; /* known to Docker; ended by one without a name, or NULL */
};

const struct df_instruction *df__find_instruction(const char *word); /* NULL: none of that name */
const char *df__near_instruction(const char *word); /* one that may have been meant, or NULL */

/* Reads flags and arguments from `rest`, what follows the instruction's name. */
int df__parse_arguments(const struct df_instruction *in, const char *rest, char escape, struct df_step *s,
                        struct err *err);
/* Words of a line with their quotes and escapes kept; a quote that is not closed ends with the line. */
char **df__raw_words(const char *line, char escape);

#endif
