/* Steps of a stage that are prepared before their turn. One `ahead` a stage: begun behind its FROM, ended by
 * its thread; see ahead.c. */
#ifndef BAKERY_AHEAD_H
#define BAKERY_AHEAD_H

#include "bakery/copy_priv.h"

/* Looks through the stage's steps from `first` on and sets helpers to work. */
void build__ahead_begin(struct build *s, size_t first);
/* c->step's turn has come: what a helper has prepared for it goes to *c, or its failure to *err; waits for
 * one that is at it. Nothing is taken where none has begun. */
int build__ahead_take(struct build *s, struct copy *c, bool *ret_taken, struct err *err);
/* Stops and waits for the helpers, and drops what nobody took. */
void build__ahead_end(struct build *s);

#endif
