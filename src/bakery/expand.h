/* Variables and quotes in a Dockerfile's words, as its reference defines them ("Environment replacement"):
 * $V ${V} ${V:-x} ${V-x} ${V:+x} ${V+x} ${V:?x} ${V?x} ${V#p} ${V##p} ${V%p} ${V%%p} ${V/p/x} ${V//p/x},
 * single and double quotes, and the escape character. In a pattern p, * stands for any letters and ? for one;
 * quoted or escaped they are themselves. What is unset expands to nothing. Pure; the growth of a text by its
 * own variables is bounded, and matching takes time in proportion to the value times its pattern. */
#ifndef BAKERY_EXPAND_H
#define BAKERY_EXPAND_H

#include "base/err.h"

#include <stdbool.h>

typedef const char *(*expand_lookup_fn)(void *context, const char *name); /* NULL: unset */

struct expand {
    char escape; /* '\\' or '`' */
    expand_lookup_fn lookup;
    void *context;
    bool raw; /* the content of a heredoc: quotes are letters */
};

enum { EXPAND_MAX_BYTES = 1 << 20, EXPAND_MAX_DEPTH = 32 };

/* One word, whatever white space it holds. */
int expand_word(const struct expand *x, const char *text, char **ret, struct err *err);
/* Words, split at white space outside quotes, that of expanded values included. */
int expand_words(const struct expand *x, const char *text, char ***ret, struct err *err);

#endif
