/* The members of a replicated store, as who uses or manages it sees them. Blocking; any thread.
 *
 * Errors beside the common ones: ERR_NO_MAJORITY: no leader was found in time, with each member's own reason
 * (a member that has stopped for its full disk says so: ERR_NO_SPACE when all that is missing is that). */
#ifndef STORE_MEMBERS_H
#define STORE_MEMBERS_H

#include "base/err.h"
#include "store/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_members {
    char *const *addresses; /* HOST:PORT, ends with NULL: some members; the others are learned from them */
    struct tls_files tls;
    int timeout_ms; /* until a leader answers; 0: STORE_TIMEOUT_MS */
};

enum { STORE_TIMEOUT_MS = 10000, STORE_ADDRESS_BYTES = 128 };

enum store_role { STORE_VOTER, STORE_STANDBY, STORE_SPARE };

struct store_member {
    uint64_t id;
    enum store_role role;
    bool leader;
    char address[STORE_ADDRESS_BYTES];
};

/* As the leader has them; the caller frees. */
int store_members_list(const struct store_members *m, struct store_member **ret, size_t *ret_count,
                       struct err *err);
/* Makes a member that runs at `address` a voter. A former member of that address is removed first: one whose
 * data are gone would vote again on what it has forgotten. Waits until it has caught up; may be repeated. */
int store_members_add(const struct store_members *m, uint64_t id, const char *address, struct err *err);
int store_members_remove(const struct store_members *m, uint64_t id, struct err *err);
/* Has another voter lead. */
int store_members_transfer(const struct store_members *m, uint64_t id, struct err *err);
/* Writes the whole database to a file, as SQLite has it: from a follower where there is one, because a dump
 * holds it twice in memory, and with everything that was acknowledged before. */
int store_members_backup(const struct store_members *m, const char *path, struct err *err);
/* Writes such a file, or that of a store of one machine, into a store that is empty. Interrupted, it is begun
 * again by the next call, and until then the store can not be opened. */
int store_members_restore(const struct store_members *m, const char *path, struct err *err);

#endif
