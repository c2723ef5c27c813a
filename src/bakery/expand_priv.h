/* The pattern modifiers of ${V...}: cutting off and replacing what matches. */
#ifndef BAKERY_EXPAND_PRIV_H
#define BAKERY_EXPAND_PRIV_H

#include "bakery/expand.h"

struct expand_edit {
    const char *pattern; /* * ? and \ before a letter that is meant as such */
    const char *replacement;
    char how; /* '#': off the front, '%': off the end, '/': replaced */
    bool all; /* the longest match for # and %, every match for / */
};

/* ERR_LIMIT when the result would pass EXPAND_MAX_BYTES. */
int expand__edit(const struct expand_edit *edit, const char *value, char **ret, struct err *err);

#endif
