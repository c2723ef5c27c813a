/* A database file's content, written into an empty replicated store.
 *
 * It takes several transactions, because one may not be large. Until the last of them the store says that it
 * is being filled (store_state "loading"), nobody opens it, and who finds that begins again. Triggers,
 * indexes and views come after the rows; foreign keys are off on the connection, since the file was held
 * against them when it was written. */
#include "store/members.h"

#include "base/file.h"
#include "base/timeutil.h"
#include "store/member.h"
#include "store/store_priv.h"

enum { CHUNK_BYTES = 256 << 10, CHUNK_MS = 30000 };

struct load {
    struct member *to;
    struct store_connection *from;
    size_t waiting; /* statements that were sent and not answered */
    size_t bytes;   /* of this transaction */
};

static int drain(struct load *l, struct err *err)
{
    struct wire_body body;
    struct err first = {0}, other;
    int64_t deadline_ns = time_monotonic_ns() + CHUNK_MS * NS_PER_MS;
    int result = 0, r = member__send(l->to, deadline_ns, err);
    for (; r == 0 && l->waiting && !l->to->broken; l->waiting--) {
        int one = member__receive(l->to, WIRE_RESULT, MEMBER_BODY_MAX, deadline_ns, &body,
                                  result ? &other : &first);
        result = result ? result : one;
    }
    return r < 0 ? r : result < 0 ? err_copy(err, &first) : 0;
}

static void put(struct load *l, const char *sql, const struct store_value *v, size_t n)
{
    size_t before = l->to->out.len;
    wire_put_sql(&l->to->out, WIRE_EXEC_SQL, sql, v, n);
    l->bytes += l->to->out.len - before;
    l->waiting++;
}

static int begin_part(struct load *l, struct err *err)
{
    l->bytes = 0;
    return member__exec(l->to, "BEGIN IMMEDIATE", NULL, 0, NULL, err);
}

static int end_part(struct load *l, struct err *err)
{
    int r = drain(l, err);
    return r < 0 ? r : member__exec(l->to, "COMMIT", NULL, 0, NULL, err);
}

static int each_name(struct load *l, const char *sql,
                     int (*f)(struct load *l, const char *a, const char *b, struct err *err), struct err *err)
{
    sqlite3_stmt *st;
    int rc = SQLITE_DONE, r = store__prepare(l->from, sql, NULL, 0, &st, err);
    if (r < 0)
        return r;
    while (r == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW)
        r = f(l, (const char *)sqlite3_column_text(st, 0), (const char *)sqlite3_column_text(st, 1), err);
    if (r == 0 && rc != SQLITE_DONE)
        r = store__error(l->from, rc, "read", err);
    store__release(st);
    return r;
}

static int make_object(struct load *l, const char *name, const char *sql, struct err *err)
{
    put(l, sql, NULL, 0);
    return 0;
}

static struct store_value value_of(sqlite3_stmt *st, int i)
{
    switch (sqlite3_column_type(st, i)) {
    case SQLITE_INTEGER:
        return STORE_I64(sqlite3_column_int64(st, i));
    case SQLITE_FLOAT:
        return (struct store_value){.type = STORE_REAL, .real = sqlite3_column_double(st, i)};
    case SQLITE_NULL:
        return (struct store_value){.type = STORE_NULL};
    default: {
        bool text = sqlite3_column_type(st, i) == SQLITE_TEXT;
        const void *bytes = text ? (const void *)sqlite3_column_text(st, i) : sqlite3_column_blob(st, i);
        return (struct store_value){.type = text ? STORE_TEXT : STORE_BLOB,
                                    .bytes = bytes ? bytes : "",
                                    .size = (size_t)sqlite3_column_bytes(st, i)};
    }
    }
}

/* "INSERT INTO t(a, b) VALUES (?,?)" and "SELECT a, b FROM t" of a table's columns; the rowid is not kept
 * where no column is it. */
static int table_texts(struct load *l, const char *table, struct str *insert, struct str *select,
                       struct err *err)
{
    struct store_value v = STORE_STR(table);
    sqlite3_stmt *st;
    struct str marks = STR_INIT;
    int rc,
        n = 0,
        r = store__prepare(l->from, "SELECT name FROM pragma_table_info(?) ORDER BY cid", &v, 1, &st, err);
    if (r < 0)
        return r;
    str_addf(insert, "INSERT INTO \"%s\"(", table);
    str_add(select, "SELECT ");
    for (; (rc = sqlite3_step(st)) == SQLITE_ROW; n++) {
        str_addf(insert, "%s\"%s\"", n ? "," : "", (const char *)sqlite3_column_text(st, 0));
        str_addf(select, "%s\"%s\"", n ? "," : "", (const char *)sqlite3_column_text(st, 0));
        str_add(&marks, n ? ",?" : "?");
    }
    str_addf(insert, ") VALUES (%s)", str_get(&marks));
    str_addf(select, " FROM \"%s\"", table);
    str_free(&marks);
    store__release(st);
    return rc == SQLITE_DONE && n <= WIRE_PARAMS_MAX
               ? 0
               : err_set(err, ERR_INVALID, "table %s can not be read, or has too many columns", table);
}

static int copy_table(struct load *l, const char *table, const char *sql, struct err *err)
{
    _cleanup_str_ struct str insert = STR_INIT, select = STR_INIT;
    sqlite3_stmt *st;
    struct store_value v[WIRE_PARAMS_MAX];
    int rc = SQLITE_DONE, r = table_texts(l, table, &insert, &select, err);
    if (r == 0)
        r = store__prepare(l->from, str_get(&select), NULL, 0, &st, err);
    if (r < 0)
        return r;
    int columns = sqlite3_column_count(st);
    while (r == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        for (int i = 0; i < columns; i++)
            v[i] = value_of(st, i);
        put(l, str_get(&insert), v, (size_t)columns);
        if (l->to->out.len > CHUNK_BYTES)
            r = drain(l, err);
        if (r == 0 && l->bytes > STORE_BATCH_BYTES) {
            r = end_part(l, err);
            if (r == 0)
                r = begin_part(l, err);
        }
    }
    if (r == 0 && rc != SQLITE_DONE)
        r = store__error(l->from, rc, "read", err);
    store__release(st);
    return r < 0 ? err_wrap(err, "table %s", table) : 0;
}

static int number_row(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    *(int64_t *)context = columns[0].integer;
    return 0;
}

struct names {
    char **drops;
};

static int drop_row(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    struct names *names = context;
    strv_take(&names->drops,
              str_printf("DROP %s \"%s\"", (const char *)columns[0].bytes, (const char *)columns[1].bytes));
    return 0;
}

#define FOREIGN "name NOT LIKE 'sqlite_%' AND name NOT LIKE 'store_%' AND name != 'schema_version'"

/* Empty, or left half full by one who wrote here before: then what he made is dropped. */
static int claim(struct member *m, struct err *err)
{
    int64_t objects = 0, loading = 0;
    struct names names = {NULL};
    int r = member__exec(m, "PRAGMA foreign_keys=0", NULL, 0, NULL, err);
    for (const char *const *sql = store__own_tables; r == 0 && *sql; sql++)
        r = member__exec(m, *sql, NULL, 0, NULL, err);
    if (r == 0)
        r = member__query(m, "SELECT count(*) FROM sqlite_master WHERE " FOREIGN, NULL, 0, number_row,
                          &objects, err);
    if (r == 0)
        r = member__query(m, "SELECT count(*) FROM store_state WHERE name = 'loading'", NULL, 0, number_row,
                          &loading, err);
    if (r == 0 && objects && !loading)
        return err_set(err, ERR_CONFLICT, "the store is not empty: a backup is restored into a new one");
    if (r == 0)
        r = member__exec(m, "INSERT OR IGNORE INTO store_state(name, number) VALUES ('loading', 1)", NULL, 0,
                         NULL, err);
    if (r == 0)
        r = member__query(
            m,
            "SELECT CASE type WHEN 'view' THEN 'VIEW' ELSE 'TABLE' END, name FROM sqlite_master "
            "WHERE type IN ('view', 'table') AND " FOREIGN " ORDER BY type DESC",
            NULL, 0, drop_row, &names, err);
    STRV_FOREACH (drop, names.drops)
        if (r == 0)
            r = member__exec(m, *drop, NULL, 0, NULL, err);
    strv_free(names.drops);
    return r;
}

static int finish(struct load *l, struct err *err)
{
    put(l, "DELETE FROM store_state", NULL, 0);
    put(l, "DELETE FROM store_request", NULL, 0);
    put(l, "DELETE FROM schema_version", NULL, 0);
    int r = copy_table(l, "schema_version", NULL, err);
    if (r == 0)
        r = copy_table(l, "store_request", NULL, err);
    if (r == 0) /* the writers of another store are none of this one's */
        r = copy_table(l, "store_state", NULL, err);
    put(l, "DELETE FROM store_state WHERE name IS NULL OR name IN ('loading', 'moved')", NULL, 0);
    return r;
}

static int copy_all(struct load *l, struct err *err)
{
    int r = begin_part(l, err);
    if (r == 0)
        r = each_name(l, "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND " FOREIGN, make_object,
                      err);
    if (r == 0)
        r = each_name(l, "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND " FOREIGN, copy_table,
                      err);
    if (r == 0)
        r = each_name(
            l, "SELECT name, sql FROM sqlite_master WHERE type != 'table' AND sql IS NOT NULL AND " FOREIGN,
            make_object, err);
    if (r == 0)
        r = finish(l, err);
    return r < 0 ? r : end_part(l, err);
}

int store_members_restore(const struct store_members *given, const char *path, struct err *err)
{
    struct cluster c;
    struct load l = {0};
    if (!file_exists(path))
        return err_set(err, ERR_NOT_FOUND, "%s is not there", path);
    int r = store__connect(path, true, &l.from, err);
    if (r < 0)
        return r;
    l.from->own = true; /* pragma_table_info */
    cluster__init(&c, given);
    r = store__check_whole(l.from, err);
    l.from->own = true;
    if (r == 0)
        r = store__exec(l.from, "BEGIN", err); /* one state of it, whoever writes meanwhile */
    if (r == 0)
        r = cluster__find(&c, cluster__deadline(&c), &l.to, err);
    if (r == 0)
        r = member__open(l.to, err);
    if (r == 0)
        r = claim(l.to, err);
    if (r == 0)
        r = copy_all(&l, err);
    member__close(l.to);
    store__disconnect(l.from);
    cluster__done(&c);
    return r;
}

int store__is_restored(const struct store_members *given, bool *ret, struct err *err)
{
    struct cluster c;
    struct member *m = NULL;
    int64_t loading = 0, objects = 0;
    cluster__init(&c, given);
    int r = cluster__find(&c, cluster__deadline(&c), &m, err);
    if (r == 0)
        r = member__open(m, err);
    if (r == 0)
        r = member__query(m, "SELECT count(*) FROM sqlite_master WHERE " FOREIGN, NULL, 0, number_row,
                          &objects, err);
    if (r == 0 && objects)
        r = member__query(m, "SELECT count(*) FROM store_state WHERE name = 'loading'", NULL, 0, number_row,
                          &loading, err);
    if (r == 0)
        *ret = objects && !loading;
    member__close(m);
    cluster__done(&c);
    return r;
}
