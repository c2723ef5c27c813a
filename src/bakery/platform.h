/* What an image is for: an operating system, an architecture, perhaps a variant of it. */
#ifndef BAKERY_PLATFORM_H
#define BAKERY_PLATFORM_H

#include "base/err.h"

struct platform {
    char *os, *architecture, *variant; /* variant may be NULL */
};

int platform_of_machine(struct platform *ret, struct err *err);
int platform_parse(const char *text, struct platform *ret, struct err *err); /* "linux/arm/v7" */
void platform_done(struct platform *p);
char *platform_format(const struct platform *p); /* the caller frees */
/* "OS", "ARCH", "VARIANT", as TARGETOS and its kin end; NULL for another word. */
const char *platform_part(const struct platform *p, const char *part);

#endif
