/* The default system call policy, which the engine asks for by name. */
#ifndef KEEPER_POLICY_H
#define KEEPER_POLICY_H

#include <jansson.h>

/* Puts the policy itself in the place of KEEPER_SECCOMP_DEFAULT: the same object for the same capabilities,
 * so that the runtime finds its compiled filter by comparing pointers. */
void policy_expand(json_t *spec);

#endif
