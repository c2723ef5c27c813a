/* What the files of the SQLite backend share: one connection with its kept statements, and the store. */
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
    STORE_BEHIND_MAX = 2048,                  /* statements that nobody waits for */
    STORE_BEHIND_MANY = STORE_BEHIND_MAX / 4, /* of these enough to begin at once */
    STORE_BEHIND_MS = 50,                     /* how long they may wait for company */
};

/* A connection is used by one thread at a time. */
struct store_connection {
    sqlite3 *db;
    struct map statements; /* SQL text -> sqlite3_stmt, prepared and reset */
    struct map verbs;      /* the same of our own, which callers must not come by */
    bool own;              /* our own BEGIN, SAVEPOINT, PRAGMA pass the authorizer while this is set */
    struct store_connection *next;
};

/* One batch on its way; lives on the caller's stack until `done`. With `behind` nobody waits, and it owns
 * itself, its statement and its values. */
struct store_request {
    const struct store_statement *statements;
    size_t count;
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

struct store {
    char *path;
    pthread_mutex_t lock; /* all below, but what `busy` gives to one thread */
    pthread_cond_t work, behind_room;
    struct store_request *queue, **queue_end;
    size_t behind_count, waited_count; /* of the queue, by kind */
    int64_t behind_since_ns;           /* the oldest of those behind */
    struct store_connection *idle_readers;
    size_t idle_reader_count;
    bool stopping;
    bool sleeping; /* the thread waits for a signal, however long */
    bool busy;     /* somebody works on a group: the next four are his */
    struct store_connection *writer;
    bool full;     /* commits sync (PRAGMA synchronous) */
    bool unsynced; /* lazy commits not yet on disk */
    int64_t unsynced_since_ns;
    atomic_ullong version;
    pthread_t thread;
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
/* The error of the last call on a connection, in words that say what to do. */
int store__error(struct store_connection *c, int rc, const char *what, struct err *err);

void store__behind_free(struct store_request *q);
int store__migrate(struct store_connection *c, const char *const *migrations, struct err *err);
void *store__writer_main(void *store);
/* Lock held, and nobody is busy: works on what is queued until all of it is done, or `until` (may be NULL).
 */
void store__work(struct store *s, const struct store_request *until);

#endif
