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
size_t df__distance(const char *a, const char *b);  /* letters to change; SIZE_MAX for long words */
const char *df__near_instruction(const char *word); /* one that may have been meant, or NULL */

/* Lines of a text, without their ends. */
struct df_lines {
    const char *at, *end;
    int number; /* of the line that was given last; 1 is the first */
};
bool df__next_line(struct df_lines *in, const char **ret, size_t *ret_n);
void df__skip_space(const char **line, size_t *n);
/* An instruction from its first line on: comments and empty lines between continued lines do not count. True
 * when there was an empty one. */
bool df__join_lines(struct df_lines *in, char escape, const char *line, size_t n, struct str *ret);

/* Parser directives stand before everything else, each at most once; what is not given is NULL. A line of
 * "#!" may go before them: then the escape character stays what it is, as BuildKit has it. */
struct df_directives {
    char escape;
    char *syntax, *check;
};
int df__read_directives(struct df_lines *in, const char *name, struct df_directives *ret, struct err *err);
/* "3<<-'EOF'": digits, <<, perhaps a dash, a name without '<'. Sets name and expand of *ret. */
bool df__heredoc_word(const char *word, struct df_heredoc *ret, bool *ret_strip);
bool df__heredoc_open(const char *word); /* it would be one, were a quote in its name closed */
void df__groups_free(struct df_group *groups, size_t n);

/* Reads flags and arguments from `rest`, what follows the instruction's name. */
int df__parse_arguments(const struct df_instruction *in, const char *rest, char escape, struct df_step *s,
                        struct err *err);
/* Words of a line with their quotes and escapes kept; a quote that is not closed ends with the line. */
char **df__raw_words(const char *line, char escape);

#endif
