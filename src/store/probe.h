/* Who leads a replicated store, asked of one member again and again: for a process that acts on every change
 * of the lead, and for which a search by the members' users would be too slow and too dear.
 *
 * It keeps its connection. One thread at a time. An answer may be old by an election's time: what is decided
 * on it is written behind a fence (store.h). */
#ifndef STORE_PROBE_H
#define STORE_PROBE_H

#include "store/members.h"

struct store_probe;

/* `address` and the names of the files are copied. */
struct store_probe *store_probe_new(const char *address, const struct tls_files *tls);
void store_probe_free(struct store_probe *p); /* NULL is fine */
/* "" when that member knows of no leader. An error: it does not answer within about a second. */
int store_probe_leader(struct store_probe *p, char ret_address[STORE_ADDRESS_BYTES], struct err *err);

#endif
