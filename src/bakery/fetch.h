/* ADD's remote sources. */
#ifndef BAKERY_FETCH_H
#define BAKERY_FETCH_H

#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>

bool fetch_is_url(const char *text); /* http or https */
/* The file's name: the last part of the URL's path, without its escapes if they are none that are wrong;
 * "__unnamed__" when it has none. The caller frees. */
char *fetch_name(const char *url);
int fetch_check_sum(const char *checksum, struct err *err); /* ERR_INVALID, in a user's words */

/* Downloads into a new file of mode 0600, whose time is what the server says, else 1970's beginning. */
struct fetch {
    const char *url, *path;
    const char *checksum; /* "sha256:..." that it must be; NULL: any */
    /* A header line (RFC 9110, 13.1); when the server says that what it is about has not changed, `unchanged`
     * is set and there is no file. NULL: none. */
    const char *condition;
    bool (*stopped)(void *context); /* ends with ERR_CANCELLED; may be NULL */
    void *context;

    bool unchanged;
    char digest[DIGEST_BYTES]; /* of what came: by checksum's algorithm, else sha256 */
    char *next_condition;      /* to ask by next time; "" when there is nothing; the caller frees */
};
int fetch_into(struct fetch *f, struct err *err);
int fetch_url(const char *url, const char *path, struct err *err); /* the same, anything of it */

#endif
