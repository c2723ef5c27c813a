/* State in SQL: atomic batches of statements with parameters, typed rows, migrations; in a file of this
 * machine (SQLite), or replicated over several (cowsql: Raft under SQLite, docs/store.md).
 *
 * A batch either commits whole or leaves no trace. There are no interactive transactions: what must be
 * checked is said in the batch, as the number of rows that a statement must change. One writer commits the
 * queued batches of all callers together (one disk write, or one round of the members, for many), each in its
 * own savepoint. Reads are separate queries and see what was committed. Any thread may call anything here.
 *
 * Rules, the same for both backends: STRICT tables; no RETURNING, PRAGMA, ATTACH, VACUUM or TEMP in
 * statements; at most STORE_PARAMS_MAX parameters; times and random values are parameters, because every
 * member must come to the same; no NUL byte in text. Foreign keys are enforced.
 *
 * Errors that a caller tells apart:
 *     ERR_CONFLICT     a row count, a constraint
 *     ERR_INVALID      a statement against the rules
 *     ERR_LIMIT        a batch or a result that is too large
 *     ERR_BUSY         too many are waiting; or another writer did not let go in time
 *     ERR_NO_SPACE     a full disk
 *     ERR_NOT_LEADER   a fence (store_fence) of an epoch that is over; the message names who leads
 *     ERR_NO_MAJORITY  too few members answer; nothing was done
 *     ERR_TIMEOUT      the members went silent at the commit: it may have been done. A retry with the same
 *                      request id (store_batch_once) is safe */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/err.h"
#include "store/members.h"

#include <stddef.h>
#include <stdint.h>

enum {
    STORE_PARAMS_MAX = 255,
    STORE_BATCH_BYTES = 1 << 20,       /* SQL and values of a batch in a replicated store */
    STORE_FILE_BATCH_BYTES = 64 << 20, /* in a file */
    STORE_RESULT_BYTES = 32 << 20,     /* of one query in a replicated store */
    STORE_REQUESTS_KEPT = 65536,       /* request ids that are remembered, the latest */
    STORE_REQUEST_ID_BYTES = 128,
    STORE_WATCHES_MAX = 256,
};

struct store;

enum store_type { STORE_NULL, STORE_INTEGER, STORE_REAL, STORE_TEXT, STORE_BLOB };

struct store_value {
    enum store_type type;
    int64_t integer;
    double real;
    const void *bytes; /* TEXT (NUL-terminated as well) or BLOB; borrowed */
    size_t size;
};

#define STORE_I64(v) ((struct store_value){.type = STORE_INTEGER, .integer = (v)})
#define STORE_STR(s) store_text(s)
struct store_value store_text(const char *s); /* NULL gives SQL NULL */

struct store_statement {
    const char *sql;
    const struct store_value *params;
    size_t param_count;
    int64_t
        expect_changes; /* rows the statement must change, else the batch fails with ERR_CONFLICT; <0: any */
};

/* Opens or creates the database file. `migrations` is an array of SQL scripts ending with NULL; script i
 * brings version i to i+1, each in one transaction. A database of a newer version than we know is refused. */
int store_open(const char *path, const char *const *migrations, struct store **ret, struct err *err);
/* The same of a replicated store. Its members may change while it is open. */
int store_open_members(const struct store_members *members, const char *const *migrations, struct store **ret,
                       struct err *err);
void store_close(struct store *s); /* waits for queued batches */

/* Moves a file's content into the members' store, which is empty, and goes on there: queries are answered all
 * the time, batches wait meanwhile. The file is not opened any more afterwards. On an error it goes on as it
 * was; only when the move was completed all the same, or nobody knows, every batch is answered with
 * ERR_UNAVAILABLE. */
int store_move(struct store *s, const struct store_members *members, const char *const *migrations,
               struct err *err);

enum store_durability {
    STORE_DURABLE, /* on disk when the call returns: on the disks of a majority, where there are members */
    STORE_LAZY, /* visible when the call returns, on disk soon: for what a restart can find out by itself */
};
int store_batch(struct store *s, const struct store_statement *statements, size_t count,
                enum store_durability durability, struct err *err);
/* A durable batch that takes effect once, however often it is tried with the same request id (up to
 * STORE_REQUEST_ID_BYTES - 1 bytes of the caller's choice): again, it is 0 and changes nothing. */
int store_batch_once(struct store *s, const char *request_id, const struct store_statement *statements,
                     size_t count, struct err *err);

/* Queues one statement and returns at once: for what may be lost with the process, because a restart finds it
 * out. All batches take effect in the order they were given. The values are copied; the text of the SQL must
 * stay. `done` (may be NULL) is called on the writer's thread once the statement has been committed, or has
 * failed, which is logged; it must not call the store. Waits when too many are queued. */
void store_behind(struct store *s, const struct store_statement *statement, void (*done)(void *context),
                  void *context);

/* Changes with every write of this process that may have been visible: what was read at one version holds
 * while it is the same, where nobody else writes. */
uint64_t store_version(struct store *s);

/* Calls `row` for each row; a non-zero return ends the query and is returned. Values are borrowed for the
 * call. */
typedef int (*store_row_fn)(void *context, const struct store_value *columns, size_t column_count,
                            struct err *err);
int store_query(struct store *s, const char *sql, const struct store_value *params, size_t param_count,
                store_row_fn row, void *context, struct err *err);

/* Calls `changed` after a commit that may have changed one of `tables` (ends with NULL; names are copied): of
 * this process at once, of another member's users within STORE_WATCH_MS. Several commits may give one call,
 * and one commit two. It runs on a thread of the store's, must not call it, and is not running any more when
 * store_unwatch has returned. ERR_LIMIT beyond STORE_WATCHES_MAX. */
enum { STORE_WATCH_MS = 200 };
struct store_watch;
int store_watch(struct store *s, const char *const *tables, void (*changed)(void *context), void *context,
                struct store_watch **ret, struct err *err);
void store_unwatch(struct store_watch *w);

/* Who decides. `holder` takes the lead: the epochs before are over. A decision is a batch that begins with
 * store_fence(&epoch): when a later epoch has begun, it fails with ERR_NOT_LEADER and names that one's
 * holder. Reads of a member that has lost the lead may be old for the time of an election; a fence never is.
 */
int store_lead(struct store *s, const char *holder, int64_t *ret_epoch, struct err *err);
struct store_statement store_fence(const struct store_value *epoch);

/* The address of the member that leads; "" for a file. */
int store_leader(struct store *s, char ret_address[STORE_ADDRESS_BYTES], struct err *err);

#endif
