/* What readers of databases share (packages.c, packages_rpm.c). */
#ifndef BAKERY_PACKAGES_PRIV_H
#define BAKERY_PACKAGES_PRIV_H

#include "bakery/packages.h"

/* Takes over the texts; one without name or version is left out. */
int packages__take(struct packages *all, struct package *p, struct err *err);
void packages__sort(struct packages *p);

#endif
