/* What is installed in a base: /var/lib/dpkg/status, as labels and as an SPDX 2.3 document. */
#ifndef BAKE_PACKAGES_H
#define BAKE_PACKAGES_H

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdint.h>

struct package {
    char *name, *version, *architecture, *source, *homepage, *maintainer;
};
struct packages {
    struct package *items; /* sorted by name, then architecture */
    size_t count, capacity;
};
enum { PACKAGES_MAX = 100000 };

/* Installed ones of the text of a status file (deb-status(5): stanzas of "Field: value"). */
int packages_parse(const char *text, struct packages *ret, struct err *err);
void packages_done(struct packages *p);
char *packages_line(const struct packages *p); /* "name=version ..."; the caller frees */

/* SPDX 2.3 (clauses 6, 7, 11). `subject` names the base, `distro` is of its package URLs ("debian-12"). */
json_t *packages_spdx(const struct packages *p, const char *subject, const char *distro, int64_t epoch);

#endif
