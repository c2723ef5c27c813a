#include "store/store_priv.h"

#include "base/str.h"

/* store_request: what store_batch_once remembers. store_state: what the store knows of itself: the epoch
 * (name "epoch"), each table's number of changes ("table:NAME"), and, without a name, what a writer of a
 * replicated store did last. */
const char *const store__own_tables[] = {
    "CREATE TABLE IF NOT EXISTS schema_version("
    "id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS store_request(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT",
    "CREATE TABLE IF NOT EXISTS store_state("
    "id INTEGER PRIMARY KEY, name TEXT UNIQUE, number INTEGER NOT NULL, text TEXT) STRICT",
    NULL,
};

static int read_version(struct store_connection *c, int64_t *ret, struct err *err)
{
    sqlite3_stmt *st;
    int r = store__prepare(c, "SELECT version FROM schema_version WHERE id = 1", NULL, 0, &st, err);
    if (r < 0)
        return r;
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(st, 0);
    else if (rc == SQLITE_DONE)
        *ret = 0;
    else
        r = store__error(c, rc, "read schema version", err);
    store__release(st);
    return r;
}

static int write_version(struct store_connection *c, int64_t version, struct err *err)
{
    sqlite3_stmt *st;
    struct store_value param = STORE_I64(version);
    int r = store__prepare(c, "INSERT OR REPLACE INTO schema_version(id, version) VALUES (1, ?)", &param, 1,
                           &st, err);
    if (r < 0)
        return r;
    int rc = sqlite3_step(st);
    if (rc != SQLITE_DONE)
        r = store__error(c, rc, "write schema version", err);
    store__release(st);
    return r;
}

int store__check_whole(struct store_connection *c, struct err *err)
{
    sqlite3_stmt *st;
    c->own = true;
    int r = store__prepare(c, "PRAGMA quick_check(1)", NULL, 0, &st, err);
    if (r == 0) {
        int rc = sqlite3_step(st);
        const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
        if (rc != SQLITE_ROW)
            r = store__error(c, rc, "check", err);
        else if (!text || strcmp(text, "ok") != 0)
            r = err_set(err, ERR_CORRUPT,
                        "the database is damaged (%s): restore it from a backup, or move it away",
                        text ? text : "no result");
        store__release(st);
    }
    c->own = false;
    return r;
}

int store__newer(int64_t version, size_t known, struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED,
                   "the database has version %lld, written by a newer drover; this one knows up to %zu",
                   (long long)version, known);
}

/* Another process may migrate the same file at the same time: the version is read again under the lock. */
static int migrate_step(struct store_connection *c, const char *const *migrations, size_t known,
                        bool *ret_more, struct err *err)
{
    int64_t version = 0;
    int r = store__exec(c, "BEGIN IMMEDIATE", err);
    if (r < 0)
        return r;
    r = read_version(c, &version, err);
    if (r == 0 && version > (int64_t)known)
        r = store__newer(version, known, err);
    *ret_more = version < (int64_t)known;
    if (r == 0 && *ret_more) {
        r = store__exec(c, migrations[version], err);
        if (r < 0)
            err_wrap(err, "migration from version %lld", (long long)version);
        else
            r = write_version(c, version + 1, err);
    }
    if (r == 0)
        r = store__exec(c, "COMMIT", err);
    if (r < 0 && !sqlite3_get_autocommit(c->db))
        store__exec(c, "ROLLBACK", NULL);
    return r;
}

size_t store__known_version(const char *const *migrations)
{
    size_t known = 0;
    while (migrations && migrations[known])
        known++;
    return known;
}

int store__migrate(struct store_connection *c, const char *const *migrations, struct err *err)
{
    size_t known = store__known_version(migrations);
    int r = store__check_whole(c, err);
    for (const char *const *sql = store__own_tables; r == 0 && *sql; sql++)
        r = store__exec(c, *sql, err);
    bool more = true;
    while (r == 0 && more)
        r = migrate_step(c, migrations, known, &more, err);
    return r < 0 ? r : store__check_tables(c, err);
}

int store__run_script(struct store_connection *c, const char *script, char ***ret, struct err *err)
{
    const char *at = script, *rest;
    c->own = true;
    int rc = SQLITE_OK;
    while (rc == SQLITE_OK && *at) {
        sqlite3_stmt *st = NULL;
        rc = sqlite3_prepare_v3(c->db, at, -1, 0, &st, &rest);
        if (st)
            rc = sqlite3_step(st);
        if (st && rc == SQLITE_DONE) {
            strv_take(ret, mem_strndup(at, (size_t)(rest - at)));
            rc = SQLITE_OK;
        }
        sqlite3_finalize(st);
        at = rest;
    }
    c->own = false;
    return rc == SQLITE_OK ? 0 : store__error(c, rc, "store", err);
}

int store__check_tables(struct store_connection *c, struct err *err)
{
    sqlite3_stmt *st;
    c->own = true;
    int r = store__prepare(c,
                           "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND "
                           "NOT strict AND name NOT LIKE 'sqlite_%'",
                           NULL, 0, &st, err);
    if (r == 0) {
        int rc = sqlite3_step(st);
        if (rc == SQLITE_ROW)
            r = err_set(err, ERR_INVALID, "store: table %s is not STRICT", sqlite3_column_text(st, 0));
        else if (rc != SQLITE_DONE)
            r = store__error(c, rc, "check tables", err);
        store__release(st);
    }
    c->own = false;
    return r;
}
