/* Between walking a file (preprocess.c), conditions, substitution and targets. */
#ifndef BAKERY_PREPROCESS_PRIV_H
#define BAKERY_PREPROCESS_PRIV_H

#include "bakery/dockerfile_priv.h"
#include "bakery/preprocess.h"
#include "base/map.h"

/* What names stand for at one place of the file. */
struct scope {
    const struct preprocess_options *o;
    struct map loops;    /* FOR variables */
    struct map global;   /* ARGs before the first FROM */
    struct map stage;    /* ARG and ENV since the last FROM; NULL: declared, and not known before the build */
    struct map computed; /* TARGETPLATFORM and the like, as they were asked for */
    bool in_stage;
    char escape;
    bool unknown; /* set by a lookup of what only the build knows */
};

void scope__init(struct scope *s, const struct preprocess_options *o);
void scope__done(struct scope *s);
/* For conditions, INCLUDE, FOR and TARGET: every name there is. */
const char *scope__lookup_all(void *scope, const char *name);
/* As an instruction sees names: those of its stage, or the global ones before the first. */
const char *scope__lookup_here(void *scope, const char *name);
/* Expands a word of INCLUDE and the like; refused when it needs what only the build knows. */
int scope__expand(struct scope *s, const char *text, char **ret, struct err *err);
int scope__expand_words(struct scope *s, const char *text, char ***ret, struct err *err);
/* Takes note of FROM, ARG and ENV. */
void scope__learn(struct scope *s, const char *instruction);

/* a == "x" && !(b =~ "l*" || defined c) */
int condition__eval(struct scope *s, const char *text, bool *ret, struct err *err);

/* One instruction with its heredocs, as it stands in the file: FOR variables are replaced everywhere, the
 * others' pattern forms where the builder would expand them, and all forms where it would not. */
int substitute__unit(struct scope *s, const char *text, size_t n, struct str *ret, struct err *err);

/* TARGET name: member member=image */
int targets__add(struct scope *s, const char *rest, const char *file, int line, struct df_text *t,
                 struct err *err);
/* Members are stages or other targets, without circles. */
int targets__check(const struct df_text *t, struct err *err);

#endif
