#include "store/store_priv.h"

#include "base/deferred.h"
#include "base/str.h"

enum { BUSY_WAIT_MS = 10000 };

static enum err_code code_of(int rc, int sys)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_UNAVAILABLE;
    case SQLITE_CONSTRAINT:
        return ERR_CONFLICT;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return ERR_DENIED;
    case SQLITE_AUTH:
    case SQLITE_ERROR:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
        return ERR_INVALID;
    case SQLITE_TOOBIG:
        return ERR_LIMIT;
    case SQLITE_NOMEM:
        return ERR_NO_MEMORY;
    default:
        return sys ? (enum err_code)err_code_of_errno(sys) : ERR_SYSTEM;
    }
}

int store__error(struct store_connection *c, int rc, const char *what, struct err *err)
{
    int sys = c->db ? sqlite3_system_errno(c->db) : 0;
    bool of_system = (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN;
    enum err_code code = code_of(rc, of_system ? sys : 0);
    const char *text = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc);
    const char *path = c->db ? sqlite3_db_filename(c->db, "main") : NULL;
    path = path ? path : "";

    switch (code) {
    case ERR_NO_SPACE:
        return err_set(err, code, "%s: no space left for database %s: free space on its file system", what,
                       path);
    case ERR_CORRUPT:
        return err_set(err, code,
                       "%s: database %s is damaged (%s): restore it from a backup, or move it away", what,
                       path, text);
    case ERR_UNAVAILABLE:
        return err_set(err, code, "%s: database %s is held by another process (%s)", what, path, text);
    default:
        break;
    }
    int r = err_set(err, code, "%s: %s", what, text);
    if (err && of_system && sys) {
        err_sys(err, sys, "%s: %s: %s", what, path, text);
        err->code = (int)code;
    }
    return r;
}

/* Callers' statements may not take over what the writer does around them, nor reach other files. */
static int authorize(void *context, int action, const char *a, const char *b, const char *database,
                     const char *trigger)
{
    struct store_connection *c = context;
    if ((action == SQLITE_INSERT || action == SQLITE_UPDATE || action == SQLITE_DELETE) &&
        !strv_has(c->collected, a))
        strv_add(&c->collected, a);
    if (c->own)
        return SQLITE_OK;
    switch (action) {
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
    case SQLITE_PRAGMA:
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
    case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TEMP_VIEW:
        return SQLITE_DENY;
    default:
        return SQLITE_OK;
    }
}

static void statement_free(void *statement)
{
    sqlite3_finalize(statement);
}

static void tables_free(void *tables)
{
    strv_free(tables);
}

int store__exec(struct store_connection *c, const char *sql, struct err *err)
{
    bool was = c->own;
    c->own = true;
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    c->own = was;
    return rc == SQLITE_OK ? 0 : store__error(c, rc, "store", err);
}

int store__verb(struct store_connection *c, const char *sql, struct err *err)
{
    sqlite3_stmt *st = map_get(&c->verbs, sql);
    int rc = SQLITE_OK;
    if (!st) {
        c->own = true;
        rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);
        c->own = false;
        if (rc == SQLITE_OK)
            map_put(&c->verbs, sql, st);
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    int r = rc == SQLITE_OK || rc == SQLITE_DONE ? 0 : store__error(c, rc, "store", err);
    sqlite3_reset(st);
    return r;
}

int store__connect(const char *path, bool read_only, struct store_connection **ret, struct err *err)
{
    deferred_need(DEFERRED_SQLITE);
    struct store_connection *c = NEW(struct store_connection);
    c->statements = MAP_INIT(statement_free);
    c->tables = MAP_INIT(tables_free);
    c->verbs = MAP_INIT(statement_free);
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    int r = 0;
    int rc = sqlite3_open_v2(path, &c->db, flags, NULL);
    if (rc != SQLITE_OK) {
        r = store__error(c, rc, "open", err);
        goto out;
    }
    /* A connection's fixed cost: the default look-aside pool alone is 48 KB. */
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_LOOKASIDE, NULL, 128, 64);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_limit(c->db, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_busy_timeout(c->db, BUSY_WAIT_MS);
    sqlite3_set_authorizer(c->db, authorize, c);
    r = store__exec(c,
                    read_only ? "PRAGMA cache_size=-128; PRAGMA query_only=1"
                              : "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=1;"
                                "PRAGMA cache_size=-512; PRAGMA journal_size_limit=4194304",
                    err);
    if (r < 0)
        goto out;
    *ret = take_ptr(c);
out:
    if (c)
        store__disconnect(c);
    return r < 0 ? err_wrap(err, "database %s", path) : 0;
}

void store__disconnect(struct store_connection *c)
{
    if (!c)
        return;
    map_done(&c->statements);
    map_done(&c->tables);
    map_done(&c->verbs);
    strv_free(c->collected);
    sqlite3_close(c->db);
    free(c);
}

static int bind(struct store_connection *c, sqlite3_stmt *st, int at, const struct store_value *v,
                struct err *err)
{
    int rc = SQLITE_OK;
    switch (v->type) {
    case STORE_NULL:
        rc = sqlite3_bind_null(st, at);
        break;
    case STORE_INTEGER:
        rc = sqlite3_bind_int64(st, at, v->integer);
        break;
    case STORE_REAL:
        rc = sqlite3_bind_double(st, at, v->real);
        break;
    case STORE_TEXT:
        if (memchr(v->bytes, '\0', v->size))
            return err_set(err, ERR_INVALID, "store: parameter %d is text with a zero byte in it", at);
        rc = sqlite3_bind_text64(st, at, v->bytes, v->size, SQLITE_STATIC, SQLITE_UTF8);
        break;
    case STORE_BLOB:
        rc = v->size ? sqlite3_bind_blob64(st, at, v->bytes, v->size, SQLITE_STATIC)
                     : sqlite3_bind_zeroblob(st, at, 0);
        break;
    }
    return rc == SQLITE_OK ? 0 : store__error(c, rc, "store: bind", err);
}

static int find_statement(struct store_connection *c, const char *sql, sqlite3_stmt **ret, struct err *err)
{
    sqlite3_stmt *st = map_get(&c->statements, sql);
    if (st && !sqlite3_stmt_busy(st)) {
        *ret = st;
        return 0;
    }
    const char *rest = NULL;
    c->collected = strv_free(c->collected);
    int rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, &rest);
    if (rc != SQLITE_OK)
        return store__error(c, rc, "store", err);
    if (!st || rest[strspn(rest, " \t\r\n;")]) {
        sqlite3_finalize(st);
        return err_set(err, ERR_INVALID, "store: one statement at a time: %s", sql);
    }
    if (c->statements.count >= STORE_KEPT_STATEMENTS) {
        map_done(&c->statements);
        map_done(&c->tables);
        c->statements = MAP_INIT(statement_free);
        c->tables = MAP_INIT(tables_free);
    }
    map_put(&c->statements, sql, st);
    map_put(&c->tables, sql, take_ptr(c->collected));
    *ret = st;
    return 0;
}

int store__prepare(struct store_connection *c, const char *sql, const struct store_value *params,
                   size_t param_count, sqlite3_stmt **ret, struct err *err)
{
    sqlite3_stmt *st;
    int r = find_statement(c, sql, &st, err);
    if (r < 0)
        return r;
    if ((size_t)sqlite3_bind_parameter_count(st) != param_count)
        return err_set(err, ERR_INVALID, "store: %d parameters wanted, %zu given: %s",
                       sqlite3_bind_parameter_count(st), param_count, sql);
    if (param_count > STORE_PARAMS_MAX)
        return err_set(err, ERR_INVALID, "store: %zu parameters, more than %d: %s", param_count,
                       STORE_PARAMS_MAX, sql);
    for (size_t i = 0; i < param_count; i++) {
        r = bind(c, st, (int)i + 1, &params[i], err);
        if (r < 0) {
            store__release(st);
            return r;
        }
    }
    *ret = st;
    return 0;
}

void store__release(sqlite3_stmt *statement)
{
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}

int store__prepare_change(struct store_connection *c, const struct store_statement *s, sqlite3_stmt **ret,
                          char *const **ret_tables, struct err *err)
{
    sqlite3_stmt *st;
    int r = store__prepare(c, s->sql, s->params, s->param_count, &st, err);
    if (r < 0)
        return r;
    if (sqlite3_column_count(st)) {
        store__release(st);
        return err_set(err, ERR_INVALID, "store: a batch takes no query and no RETURNING: %s", s->sql);
    }
    if (ret_tables)
        *ret_tables = map_get(&c->tables, s->sql);
    *ret = st;
    return 0;
}

int store__prepare_query(struct store_connection *c, const char *sql, const struct store_value *params,
                         size_t param_count, sqlite3_stmt **ret, struct err *err)
{
    sqlite3_stmt *st;
    int r = store__prepare(c, sql, params, param_count, &st, err);
    if (r < 0)
        return r;
    if (!sqlite3_column_count(st) || !sqlite3_stmt_readonly(st)) {
        store__release(st);
        return err_set(err, ERR_INVALID, "store: a query only reads: %s", sql);
    }
    *ret = st;
    return 0;
}
