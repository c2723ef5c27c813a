/* Which registries may be spoken to without TLS: those of this machine's loopback, and those of a list. An
 * entry of it is a registry's HOST[:PORT], or a range of addresses (10.0.0.0/8) for every registry that has
 * an address in it. Reads the list only. */
#ifndef IMAGE_INSECURE_H
#define IMAGE_INSECURE_H

#include <stdbool.h>

struct err;

/* An entry as an administrator writes it: "http://" and "https://" before it are passed over, as dockerd
 * does. *ret is the caller's. */
int insecure_entry_parse(const char *text, char **ret, struct err *err);
bool insecure_is_range(const char *entry);
/* Looks the host's name up, which may take as long as the resolver does, if the list has a range and no entry
 * is the host's own. */
bool insecure_allows(char *const *entries, const char *host);

#endif
