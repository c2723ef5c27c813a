/* Between the checks' list (check.c) and those of variables (check_variables.c). */
#ifndef BAKERY_CHECK_PRIV_H
#define BAKERY_CHECK_PRIV_H

#include "bakery/check.h"
#include "bakery/dockerfile_priv.h"

struct checking {
    const struct dockerfile *d;
    const struct ignore *ignore;
    struct check_result *out;
    const struct check_rule *rule; /* the one at work */
};

/* Each rule goes through the whole file by itself. */
struct check_rule {
    const char *name, *doc;
    void (*run)(struct checking *c);
    bool experimental;
};

#define EACH_STEP(s, c)                                                                                      \
    for (const struct df_step *s = (c)->d->steps; s < (c)->d->steps + (c)->d->step_count; s++)

_printf_(3, 4) void check__warn(struct checking *c, const struct df_step *s, const char *format, ...);
const char *check__stage_name(const struct df_step *s); /* of a FROM with one; else NULL */

/* Rules, each by its name in check.c's table. */
void check__undefined_in_from(struct checking *c);
void check__invalid_default_in_from(struct checking *c);
void check__undefined_var(struct checking *c);
void check__secrets(struct checking *c);

#endif
