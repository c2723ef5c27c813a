/* What is installed in an image: dpkg's or apk's database, as labels and as an SPDX 2.3 document. */
#ifndef BAKERY_PACKAGES_H
#define BAKERY_PACKAGES_H

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct package {
    char *name, *version, *architecture, *source, *homepage, *maintainer;
};
struct packages {
    struct package *items; /* sorted by name, then architecture */
    bool apk;              /* they are apk's, not dpkg's */
    size_t count, capacity;
};
enum { PACKAGES_MAX = 100000 };

/* Installed ones of the text of a status file (deb-status(5): stanzas of "Field: value"). */
int packages_parse(const char *text, struct packages *ret, struct err *err);
/* The same of apk's "installed" (stanzas of "X:value"). */
int packages_parse_apk(const char *text, struct packages *ret, struct err *err);
void packages_done(struct packages *p);
char *packages_line(const struct packages *p); /* "name=version ..."; the caller frees */

/* SPDX 2.3 (clauses 6, 7, 11). `subject` names the base, `distro` is of its package URLs ("debian-12"). */
json_t *packages_spdx(const struct packages *p, const char *subject, const char *distro, int64_t epoch);

#endif
