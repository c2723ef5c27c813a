/* What is installed in an image: dpkg's, apk's or rpm's database, as labels and as an SPDX 2.3 document. All
 * of them are a stranger's: whatever is in them is an error or a list, in bounded time and memory. */
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
enum packages_kind { PACKAGES_DPKG, PACKAGES_APK, PACKAGES_RPM };
struct packages {
    struct package *items; /* sorted by name, then architecture */
    enum packages_kind kind;
    size_t count, capacity;
};
enum { PACKAGES_MAX = 100000 };

/* Installed ones of the text of a status file (deb-status(5): stanzas of "Field: value"). */
int packages_parse(const char *text, struct packages *ret, struct err *err);
/* The same of apk's "installed" (stanzas of "X:value"). */
int packages_parse_apk(const char *text, struct packages *ret, struct err *err);
/* rpm's database as it is a SQLite file, which SQLite may write to (its journal). */
int packages_read_rpm_sqlite(const char *path, struct packages *ret, struct err *err);
/* The same as rpm's own "ndb" (Packages.db). */
int packages_parse_rpm_ndb(const void *bytes, size_t n, struct packages *ret, struct err *err);
/* One package's header as these databases have it: rpm's header without its magic. */
int packages_add_rpm(struct packages *p, const void *header, size_t n, struct err *err);
void packages_done(struct packages *p);
char *packages_line(const struct packages *p); /* "name=version ..."; the caller frees */

/* SPDX 2.3 (clauses 6, 7, 11). `subject` names the base, `distro` is of its package URLs ("debian-12"). */
json_t *packages_spdx(const struct packages *p, const char *subject, const char *distro, int64_t epoch);

#endif
