/* What the files of the store share: the queue, and what a backend is. */
#ifndef STORE_STORE_PRIV_H
#define STORE_STORE_PRIV_H

#include "base/map.h"
#include "store/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    STORE_KEPT_STATEMENTS = 64,
    STORE_IDLE_READERS = 3,
    STORE_GROUP_BATCHES = 512,
    STORE_WAITED_MAX = 4096,                  /* batches that somebody waits for */
    STORE_BEHIND_MAX = 2048,                  /* statements that nobody waits for */
    STORE_BEHIND_MANY = STORE_BEHIND_MAX / 4, /* of these enough to begin at once */
    STORE_BEHIND_MS = 50,                     /* how long they may wait for company */
};

/* --- a connection to an SQLite file, with its kept statements: by one thread at a time --- */

struct store_connection {
    sqlite3 *db;
    struct map statements; /* SQL text -> sqlite3_stmt, prepared and reset */
    struct map tables;     /* the same text -> strv of the tables that it changes */
    struct map verbs;      /* statements of our own, which callers must not come by */
    bool own;              /* our own BEGIN, SAVEPOINT, PRAGMA pass the authorizer while this is set */
    char **collected;      /* tables of the statement that is being prepared */
    struct store_connection *next;
};

int store__connect(const char *path, bool read_only, struct store_connection **ret, struct err *err);
void store__disconnect(struct store_connection *c);
/* Runs statements of our own, which may be several and may control transactions. */
int store__exec(struct store_connection *c, const char *sql, struct err *err);
/* One of a few that are run often and have no result: kept prepared. */
int store__verb(struct store_connection *c, const char *sql, struct err *err);
/* A prepared statement with its parameters bound; give it back with store__release. */
int store__prepare(struct store_connection *c, const char *sql, const struct store_value *params,
                   size_t param_count, sqlite3_stmt **ret, struct err *err);
void store__release(sqlite3_stmt *statement);
/* The same for a batch's statement, which has no result: in *ret_tables (may be NULL) what it changes,
 * borrowed until the next call. */
int store__prepare_change(struct store_connection *c, const struct store_statement *s, sqlite3_stmt **ret,
                          char *const **ret_tables, struct err *err);
int store__prepare_query(struct store_connection *c, const char *sql, const struct store_value *params,
                         size_t param_count, sqlite3_stmt **ret, struct err *err);
/* The error of the last call on a connection, in words that say what to do. */
int store__error(struct store_connection *c, int rc, const char *what, struct err *err);

/* --- migrations --- */

/* Tables that every database of ours has. */
extern const char *const store__own_tables[];
int store__migrate(struct store_connection *c, const char *const *migrations, struct err *err);
size_t store__known_version(const char *const *migrations);
int store__newer(int64_t version, size_t known, struct err *err);
/* Runs one script and adds the text of each of its statements to *ret. */
int store__run_script(struct store_connection *c, const char *script, char ***ret, struct err *err);
/* ERR_CORRUPT for a damaged file. */
int store__check_whole(struct store_connection *c, struct err *err);
/* Holds the tables against the rules. */
int store__check_tables(struct store_connection *c, struct err *err);

/* --- batches on their way --- */

/* Lives on the caller's stack until `done`. With `behind` nobody waits, and it owns itself, its statement and
 * its values. */
struct store_request {
    const struct store_statement *statements;
    size_t count;
    size_t bytes;           /* SQL and values */
    const char *request_id; /* NULL: none */
    enum store_durability durability;
    int result;
    struct err err;
    bool done, behind;
    pthread_cond_t finished;
    struct store_statement own;
    void (*call)(void *context);
    void *context;
    struct store_request *next;
};

/* What remembers a request id, in the batch's transaction before its statements: it changes one row, or none
 * when the batch was done before. The other one keeps the table small. */
#define STORE_REMEMBER_SQL "INSERT INTO store_request(id) VALUES (?) ON CONFLICT DO NOTHING"
#define STORE_FORGET_SQL   "DELETE FROM store_request WHERE seq <= (SELECT max(seq) FROM store_request) - ?"

/* A statement's row count; the fence has an error of its own. */
int store__check_changes(struct store *s, const struct store_statement *st, int64_t changes, struct err *err);

struct store_backend {
    /* Commits each batch of the group whole or not at all, sets their results, and tells the watchers. */
    void (*run_group)(struct store *s, struct store_request *group);
    int (*query)(struct store *s, const char *sql, const struct store_value *params, size_t param_count,
                 store_row_fn row, void *context, struct err *err);
    int (*leader)(struct store *s, char ret_address[STORE_ADDRESS_BYTES], struct err *err);
    void (*close)(struct store *s);
    size_t batch_bytes, group_bytes;
    bool polled; /* others write too: watchers are told of what store__poll finds */
};
extern const struct store_backend store__sqlite, store__cowsql;

struct store {
    const struct store_backend *_Atomic backend; /* store_move changes it */
    struct sqlite_state *sqlite;
    struct cowsql_state *cowsql;
    pthread_mutex_t lock; /* all below, but what `busy` gives to one thread */
    pthread_cond_t work, behind_room;
    struct store_request *queue, **queue_end;
    size_t behind_count, waited_count; /* of the queue, by kind */
    int64_t behind_since_ns;           /* the oldest of those behind */
    bool stopping;
    bool sleeping; /* the thread waits for a signal, however long */
    bool busy;     /* somebody works on a group: the backend's writing side is his */
    bool unsynced; /* lazy commits not yet on disk */
    int64_t unsynced_since_ns;
    atomic_ullong version;
    pthread_t thread;

    pthread_mutex_t watch_lock; /* all below; held while watchers are told */
    struct store_watch *watches;
    size_t watch_count;
    pthread_t poller;
    pthread_cond_t poll_wake;
    bool polling, poll_stop;
    pthread_mutex_t poll_lock; /* `polled` */
    struct map polled;         /* table -> the number of its last change, as int64_t * */
};

/* Tells those who watch one of the tables (strv). */
void store__tell(struct store *s, char *const *tables);
void store__watch_init(struct store *s);
int store__watch_begin(struct store *s, struct err *err);
void store__watch_done(struct store *s);

int store__sqlite_open(const char *path, const char *const *migrations, struct store *s, struct err *err);
const char *store__sqlite_path(const struct store *s);
/* Says in the file that it has been moved, or no longer; the caller is who is busy. Nobody opens a marked
 * file, and it takes no batches. */
int store__sqlite_mark(struct store *s, bool moved, struct err *err);
/* Whether a restore into the members' store has ended. */
int store__is_restored(const struct store_members *m, bool *ret, struct err *err);
/* What lazy commits left in the page cache goes to the disk. */
void store__sqlite_sync(struct store *s);
int store__cowsql_open(const struct store_members *members, const char *const *migrations, struct store *s,
                       struct err *err);

/* A joinable thread without signals: these belong to the program's own threads. */
int store__thread(pthread_t *ret, void *(*main)(void *), void *context, const char *what, struct err *err);
void store__behind_free(struct store_request *q);
void *store__writer_main(void *store);
/* Lock held, and nobody is busy: works on what is queued until all of it is done, or `until` (may be NULL).
 */
void store__work(struct store *s, const struct store_request *until);

#endif
