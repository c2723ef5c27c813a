/* State in SQL: atomic batches of statements with parameters, typed rows, migrations.
 *
 * A batch either commits whole or leaves no trace. There are no interactive transactions: what must be
 * checked is said in the batch, as the number of rows that a statement must change. One writer thread commits
 * the queued batches of all callers together (one disk write for many), each in its own savepoint. Reads are
 * separate queries and see what was committed. Any thread may call anything here.
 *
 * Rules that keep every backend possible: STRICT tables; no RETURNING, PRAGMA, ATTACH, VACUUM or TEMP in
 * statements; no BOOLEAN, DATE or TIMESTAMP columns; times and random values are parameters; no NUL byte in
 * text. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

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
void store_close(struct store *s); /* waits for queued batches */

enum store_durability {
    STORE_DURABLE, /* on disk when the call returns */
    STORE_LAZY, /* visible when the call returns, on disk soon: for what a restart can find out by itself */
};
int store_batch(struct store *s, const struct store_statement *statements, size_t count,
                enum store_durability durability, struct err *err);

/* Queues one statement and returns at once: for what may be lost with the process, because a restart finds it
 * out. All batches take effect in the order they were given. The values are copied; the text of the SQL must
 * stay. `done` (may be NULL) is called on the writer's thread once the statement has been committed, or has
 * failed, which is logged; it must not call the store. Waits when too many are queued. */
void store_behind(struct store *s, const struct store_statement *statement, void (*done)(void *context),
                  void *context);

/* Changes with every write that may have been visible: what was read at one version holds while it is the
 * same. */
uint64_t store_version(struct store *s);

/* Calls `row` for each row; a non-zero return ends the query and is returned. Values are borrowed for the
 * call. */
typedef int (*store_row_fn)(void *context, const struct store_value *columns, size_t column_count,
                            struct err *err);
int store_query(struct store *s, const char *sql, const struct store_value *params, size_t param_count,
                store_row_fn row, void *context, struct err *err);

#endif
