/* Parts of a config that are named instead of told: what most containers have alike makes nine tenths of a
 * config, and both sides know it.
 *
 *   linux.seccomp = KEEPER_SECCOMP_DEFAULT   the policy for the spec's bounding capabilities
 *   process.capabilities, linux.maskedPaths, linux.readonlyPaths, linux.resources.devices = "default"
 *   mounts: a text in the place of an object  the default mount of that destination
 *
 * The defaults are runtime_shared_defaults(). Which keepers know more than the first line: PROTOCOL_DEFAULTS.
 */
#ifndef KEEPER_POLICY_H
#define KEEPER_POLICY_H

#include <jansson.h>

/* A config of the same meaning, which shares what it does not name with `spec`. */
json_t *policy_shorten(const json_t *spec);
/* Puts the parts themselves in the place of their names. They are shared and not to be changed; the policy of
 * the same capabilities is the same object, so that the runtime finds its compiled filter by comparing
 * pointers. */
void policy_expand(json_t *spec);

#endif
