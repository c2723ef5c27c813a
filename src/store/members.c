#include "store/members.h"

#include "base/file.h"
#include "base/timeutil.h"
#include "store/member.h"
#include "store/store_priv.h"

#include <fcntl.h>
#include <unistd.h>

enum { CHANGE_MS = 30000, DUMP_MS = 120000, BEHIND_PAUSE_MS = 50, BEHIND_TRIES = 40 };

/* A connection to the leader, and all that it knows. */
static int open_leader(struct cluster *c, struct member **ret, struct store_member **ret_list,
                       size_t *ret_count, struct err *err)
{
    struct member *m;
    int r = cluster__find(c, cluster__deadline(c), &m, err);
    if (r < 0)
        return r;
    r = cluster__list(c, m, ret_list, ret_count, err);
    if (r < 0)
        member__close(m);
    else
        *ret = m;
    return r;
}

int store_members_list(const struct store_members *given, struct store_member **ret, size_t *ret_count,
                       struct err *err)
{
    struct cluster c;
    struct member *m = NULL;
    cluster__init(&c, given);
    int r = open_leader(&c, &m, ret, ret_count, err);
    member__close(m);
    cluster__done(&c);
    return r;
}

/* Changes of the members wait for a majority, and for one that has to catch up. */
static int change(struct member *m, struct err *err)
{
    struct wire_body body;
    int64_t deadline_ns = time_monotonic_ns() + CHANGE_MS * NS_PER_MS;
    int r = member__send(m, deadline_ns, err);
    return r < 0 ? r : member__receive(m, WIRE_EMPTY, MEMBER_BODY_MAX, deadline_ns, &body, err);
}

static int remove_one(struct member *m, uint64_t id, struct err *err)
{
    wire_put_number(&m->out, WIRE_REMOVE, id);
    return change(m, err);
}

static int make_voter(struct member *m, const struct store_member *list, size_t n, uint64_t id,
                      const char *address, struct err *err)
{
    const struct store_member *self = NULL;
    for (size_t i = 0; i < n; i++)
        if (list[i].id == id)
            self = &list[i];
    if (self && !str_eq(self->address, address))
        return err_set(err, ERR_CONFLICT, "store: member %llu is known as %s", (unsigned long long)id,
                       self->address);
    if (self && self->role == STORE_VOTER)
        return 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        if (list[i].id != id && str_eq(list[i].address, address))
            r = remove_one(m, list[i].id, err);
    if (r == 0 && !self) {
        wire_put_member(&m->out, id, address);
        r = change(m, err);
    }
    if (r == 0) {
        wire_put_assign(&m->out, id, STORE_VOTER);
        r = change(m, err);
    }
    return r;
}

int store_members_add(const struct store_members *given, uint64_t id, const char *address, struct err *err)
{
    struct cluster c;
    struct member *m = NULL;
    struct store_member *list = NULL;
    size_t n = 0;
    cluster__init(&c, given);
    int r = open_leader(&c, &m, &list, &n, err);
    if (r == 0)
        r = make_voter(m, list, n, id, address, err);
    free(list);
    member__close(m);
    cluster__done(&c);
    return r;
}

int store_members_remove(const struct store_members *given, uint64_t id, struct err *err)
{
    struct cluster c;
    struct member *m = NULL;
    struct store_member *list = NULL;
    size_t n = 0;
    bool known = false;
    cluster__init(&c, given);
    int r = open_leader(&c, &m, &list, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        known |= list[i].id == id;
    if (r == 0 && !known)
        r = err_set(err, ERR_NOT_FOUND, "store: no member %llu", (unsigned long long)id);
    if (r == 0)
        r = remove_one(m, id, err);
    free(list);
    member__close(m);
    cluster__done(&c);
    return r;
}

int store_members_transfer(const struct store_members *given, uint64_t id, struct err *err)
{
    struct cluster c;
    struct member *m = NULL;
    cluster__init(&c, given);
    int r = cluster__find(&c, cluster__deadline(&c), &m, err);
    if (r == 0) {
        wire_put_number(&m->out, WIRE_TRANSFER, id);
        r = change(m, err);
    }
    member__close(m);
    cluster__done(&c);
    return r;
}

/* --- backup --- */

static int number_row(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    *(int64_t *)context = columns[0].integer;
    return 0;
}

#define BACKUP_MARK_SQL "SELECT number FROM store_state WHERE name = 'backup'"

/* Everything that was acknowledged before is in a dump that has this number. */
static int put_mark(struct cluster *c, struct member *m, int64_t *ret, struct err *err)
{
    int64_t deadline_ns = cluster__deadline(c);
    int r = member__open(m, err);
    while (r == 0) {
        r = member__exec(m,
                         "INSERT INTO store_state(name, number) VALUES ('backup', 1) "
                         "ON CONFLICT(name) DO UPDATE SET number = number + 1",
                         NULL, 0, NULL, err);
        if (r != -ERR_BUSY || time_monotonic_ns() >= deadline_ns)
            break;
        r = 0; /* another writer's transaction is open: nobody queues for it */
        time_sleep_ns(NS_PER_MS);
    }
    if (r == 0)
        r = member__query(m, BACKUP_MARK_SQL, NULL, 0, number_row, ret, err);
    return r;
}

static int fetch_dump(struct cluster *c, const char *address, const char *path, struct err *err)
{
    struct member *m;
    struct wire_body body;
    struct wire_file files[2];
    int64_t deadline_ns = time_monotonic_ns() + DUMP_MS * NS_PER_MS;
    int r = member__connect(address, &c->tls, deadline_ns, &m, err);
    if (r < 0)
        return r;
    wire_put_text(&m->out, WIRE_DUMP, MEMBER_DATABASE);
    r = member__send(m, deadline_ns, err);
    if (r == 0)
        r = member__receive(m, WIRE_FILES, MEMBER_DUMP_MAX, deadline_ns, &body, err);
    if (r == 0)
        r = wire_get_files(body, files, err);
    _cleanup_free_ char *wal = str_printf("%s-wal", path);
    if (r == 0)
        r = file_replace(path, files[0].bytes, files[0].size, 0600, false, err);
    if (r == 0)
        r = file_replace(wal, files[1].bytes, files[1].size, 0600, false, err);
    member__close(m);
    return r;
}

/* Folds the write-ahead log into the file, reads the mark, and holds it for whole. */
static int settle_dump(const char *path, int64_t *ret_mark, struct err *err)
{
    struct store_connection *c;
    sqlite3_stmt *st;
    int r = store__connect(path, false, &c, err);
    if (r < 0)
        return r;
    *ret_mark = 0;
    r = store__check_whole(c, err);
    if (r == 0)
        r = store__prepare(c, BACKUP_MARK_SQL, NULL, 0, &st, err);
    if (r == 0) {
        if (sqlite3_step(st) == SQLITE_ROW)
            *ret_mark = sqlite3_column_int64(st, 0);
        store__release(st);
        r = store__exec(c, "PRAGMA journal_mode=DELETE", err);
    }
    store__disconnect(c);
    return r;
}

static int dump_with(struct cluster *c, const char *address, const char *path, int64_t mark, struct err *err)
{
    for (int i = 0; i < BEHIND_TRIES; i++) {
        int64_t found;
        int r = fetch_dump(c, address, path, err);
        if (r == 0)
            r = settle_dump(path, &found, err);
        if (r < 0 || found >= mark)
            return r;
        time_sleep_ns(BEHIND_PAUSE_MS * NS_PER_MS);
    }
    return err_set(err, ERR_TIMEOUT, "store: %s is behind the others", address);
}

static int dump_any(struct cluster *c, const struct store_member *list, size_t n, const char *path,
                    int64_t mark, struct err *err)
{
    int r = -ERR_NOT_FOUND;
    for (int leader = 0; leader < 2; leader++)
        for (size_t i = 0; i < n; i++)
            if (list[i].leader == leader && (r = dump_with(c, list[i].address, path, mark, err)) == 0)
                return 0;
    return r;
}

static int sync_file(const char *path, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? err_sys(err, errno, "sync %s", path) : 0;
}

int store_members_backup(const struct store_members *given, const char *path, struct err *err)
{
    struct cluster c;
    struct member *m = NULL;
    struct store_member *list = NULL;
    size_t n = 0;
    int64_t mark = 0;
    _cleanup_free_ char *partial = str_printf("%s.partial", path), *wal = str_printf("%s-wal", partial),
                        *shm = str_printf("%s-shm", partial);
    cluster__init(&c, given);
    int r = open_leader(&c, &m, &list, &n, err);
    if (r == 0)
        r = put_mark(&c, m, &mark, err);
    if (r == 0)
        r = dump_any(&c, list, n, partial, mark, err);
    if (r == 0)
        r = sync_file(partial, err);
    if (r == 0 && rename(partial, path) < 0)
        r = err_sys(err, errno, "rename %s", partial);
    unlink(partial);
    unlink(wal);
    unlink(shm);
    free(list);
    member__close(m);
    cluster__done(&c);
    return r;
}
