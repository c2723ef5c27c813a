/* Finds what assumes a certain host: addresses, host names, absolute paths of a host, an operating system of
 * the host. In configuration everything is looked at; in files only what can hardly mean anything else, so
 * that version numbers and documentation are left alone. */
#ifndef IMAGETEST_HOSTREFS_H
#define IMAGETEST_HOSTREFS_H

#include "base/str.h"

enum { HOSTREF_BYTES = 128 };

struct hostref {
    const char *rule;         /* "address", "host-name", "host-path", "host-os" */
    char text[HOSTREF_BYTES]; /* printable */
    int line;                 /* from 1 */
};

/* `config`: a value of the configuration, not a file. `own_name`: of the machine that builds, or NULL. */
void hostrefs_find(const char *text, size_t n, bool config, const char *own_name,
                   void (*found)(void *context, const struct hostref *ref), void *context);

/* Whether a file of this path is looked into: what people write, not what packages bring. */
bool hostrefs_in_scope(const char *path);

#endif
