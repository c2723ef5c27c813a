/* rpm's databases. Each package is a blob: rpm's header format (version 4) without the eight bytes that files
 * of packages have before it. All numbers of it are big-endian:
 *
 *     entries, bytes of data      two numbers
 *     tag, type, offset, count    an entry, as many as said
 *     data                        where the offsets count from
 *
 * The first entry is of a region that holds the others together, which means nothing here. */
#include "bakery/packages_priv.h"
#include "base/deferred.h"
#include "base/json.h"

#include <endian.h>
#include <sqlite3.h>
#include <stdlib.h>

/* --- a header --- */

enum { PREFIX_BYTES = 8, ENTRY_BYTES = 16, TEXT_MAX = 4096 };
enum { TYPE_INT32 = 4, TYPE_STRING = 6 };
enum {
    TAG_NAME = 1000,
    TAG_VERSION = 1001,
    TAG_RELEASE = 1002,
    TAG_EPOCH = 1003,
    TAG_VENDOR = 1011,
    TAG_URL = 1020,
    TAG_ARCH = 1022,
    TAG_SOURCE = 1044,
};

struct header {
    const unsigned char *entries, *data;
    uint32_t count, bytes;
};

static uint32_t number_at(const unsigned char *at)
{
    uint32_t n;
    memcpy(&n, at, sizeof(n));
    return be32toh(n);
}

/* The data of an entry of that tag and type, with *ret_left bytes from there on; NULL when it has none. */
static const unsigned char *find(const struct header *h, uint32_t tag, uint32_t type, size_t *ret_left)
{
    for (uint32_t i = 0; i < h->count; i++) {
        const unsigned char *e = h->entries + (size_t)i * ENTRY_BYTES;
        uint32_t offset = number_at(e + 8);
        if (number_at(e) != tag || number_at(e + 4) != type || !number_at(e + 12) || offset >= h->bytes)
            continue;
        *ret_left = h->bytes - offset;
        return h->data + offset;
    }
    return NULL;
}

/* What is no text of a decent length is none. */
static char *text_of(const struct header *h, uint32_t tag)
{
    size_t left;
    const unsigned char *at = find(h, tag, TYPE_STRING, &left);
    size_t n = at ? strnlen((const char *)at, left) : 0;
    if (!n || n == left || n > TEXT_MAX)
        return NULL;
    char *text = mem_strndup((const char *)at, n);
    _cleanup_json_ json_t *valid = json_string(text);
    if (valid)
        return text;
    free(text);
    return NULL;
}

static char *version_of(const struct header *h)
{
    size_t left;
    const unsigned char *epoch = find(h, TAG_EPOCH, TYPE_INT32, &left);
    _cleanup_free_ char *version = text_of(h, TAG_VERSION), *release = text_of(h, TAG_RELEASE);
    if (!version || !release)
        return NULL;
    return epoch && left >= sizeof(uint32_t) ? str_printf("%u:%s-%s", number_at(epoch), version, release)
                                             : str_printf("%s-%s", version, release);
}

int packages_add_rpm(struct packages *p, const void *header, size_t n, struct err *err)
{
    const unsigned char *at = header;
    struct header h = {.count = n >= PREFIX_BYTES ? number_at(at) : UINT32_MAX,
                       .bytes = n >= PREFIX_BYTES ? number_at(at + 4) : 0};
    if (n < PREFIX_BYTES || h.count > (n - PREFIX_BYTES) / ENTRY_BYTES ||
        h.bytes > n - PREFIX_BYTES - (size_t)h.count * ENTRY_BYTES)
        return err_set(err, ERR_INVALID, "rpm's database is damaged: a package's header is cut");
    h.entries = at + PREFIX_BYTES;
    h.data = h.entries + (size_t)h.count * ENTRY_BYTES;
    struct package one = {.name = text_of(&h, TAG_NAME),
                          .version = version_of(&h),
                          .architecture = text_of(&h, TAG_ARCH),
                          .source = text_of(&h, TAG_SOURCE),
                          .homepage = text_of(&h, TAG_URL),
                          .maintainer = text_of(&h, TAG_VENDOR)};
    /* Keys that packages are checked with are kept as if they were packages. */
    if (str_eq(one.name, "gpg-pubkey"))
        free(take_ptr(one.name));
    return packages__take(p, &one, err);
}

/* --- SQLite --- */

/* The file is a stranger's, and so are its tables: what SQLite does with them is bounded. */
enum { BLOB_MAX_BYTES = 64 << 20, BLOBS_MAX_BYTES = 512 << 20, STEPS_MAX = 10000000 };

static int give_up(void *context)
{
    return 1;
}

static int sqlite_failure(sqlite3 *db, struct err *err)
{
    return err_set(err, ERR_INVALID, "rpm's database: %.200s", sqlite3_errmsg(db));
}

static int read_rows(sqlite3 *db, struct packages *all, struct err *err)
{
    sqlite3_stmt *rows = NULL;
    int rc = sqlite3_prepare_v3(db, "SELECT blob FROM Packages", -1, 0, &rows, NULL), r = 0;
    size_t bytes = 0;
    while (rc == SQLITE_OK && r == 0 && sqlite3_step(rows) == SQLITE_ROW) {
        const void *blob = sqlite3_column_blob(rows, 0);
        size_t n = (size_t)sqlite3_column_bytes(rows, 0);
        bytes += n;
        r = bytes > BLOBS_MAX_BYTES ? err_set(err, ERR_LIMIT, "rpm's database: too much is in it")
                                    : packages_add_rpm(all, blob, n, err);
    }
    if (sqlite3_finalize(rows) != SQLITE_OK || rc != SQLITE_OK)
        r = r < 0 ? r : sqlite_failure(db, err);
    return r;
}

int packages_read_rpm_sqlite(const char *path, struct packages *ret, struct err *err)
{
    struct packages all = {.kind = PACKAGES_RPM};
    sqlite3 *db = NULL;
    deferred_need(DEFERRED_SQLITE);
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    must(db);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, BLOB_MAX_BYTES);
    sqlite3_progress_handler(db, STEPS_MAX, give_up, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "PRAGMA cell_size_check = ON", NULL, NULL, NULL);
    int r = rc == SQLITE_OK ? read_rows(db, &all, err) : sqlite_failure(db, err);
    sqlite3_close(db);
    if (r < 0) {
        packages_done(&all);
        return r;
    }
    packages__sort(&all);
    *ret = all;
    return 0;
}

/* --- ndb ---
 *
 * Little-endian, in blocks of 16 bytes. Two blocks say what the file is and how many pages of 4 KiB the slots
 * take; a slot is a block that says where a package's blob begins, which has a block before it. */

enum { BLOCK = 16, PAGE = 4096, SLOTS_AT = 2 * BLOCK };

struct ndb {
    const unsigned char *bytes;
    size_t n, left; /* what blobs may still take: none is part of another */
};

/* The number `field` of the block at `at`, which is there. */
static uint32_t ndb_number(const struct ndb *db, size_t at, int field)
{
    uint32_t n;
    memcpy(&n, db->bytes + at + (size_t)field * sizeof(n), sizeof(n));
    return le32toh(n);
}

static bool ndb_is(const struct ndb *db, size_t at, const char *magic)
{
    return at <= db->n && db->n - at >= BLOCK && memcmp(db->bytes + at, magic, 4) == 0;
}

static int add_slot(struct ndb *db, size_t at, struct packages *all, struct err *err)
{
    if (!ndb_is(db, at, "Slot"))
        return err_set(err, ERR_INVALID, "rpm's database is damaged: no slot is where one should be");
    uint32_t package = ndb_number(db, at, 1);
    size_t blob = (size_t)ndb_number(db, at, 2) * BLOCK;
    if (!package)
        return 0;
    bool there = ndb_is(db, blob, "BlbS") && ndb_number(db, blob, 1) == package;
    size_t bytes = there ? ndb_number(db, blob, 3) : 0;
    if (!there || bytes > db->n - blob - BLOCK || bytes > db->left)
        return err_set(err, ERR_INVALID, "rpm's database is damaged: package %u is not where it should be",
                       package);
    db->left -= bytes;
    return packages_add_rpm(all, db->bytes + blob + BLOCK, bytes, err);
}

int packages_parse_rpm_ndb(const void *bytes, size_t n, struct packages *ret, struct err *err)
{
    struct ndb db = {bytes, n, n};
    struct packages all = {.kind = PACKAGES_RPM};
    if (!ndb_is(&db, 0, "RpmP") || ndb_number(&db, 0, 1) != 0 || ndb_number(&db, 0, 3) > n / PAGE)
        return err_set(err, ERR_INVALID, "rpm's database is damaged, or of a form that is not known");
    size_t end = (size_t)ndb_number(&db, 0, 3) * PAGE;
    int r = 0;
    for (size_t at = SLOTS_AT; r == 0 && at < end; at += BLOCK)
        r = add_slot(&db, at, &all, err);
    if (r < 0) {
        packages_done(&all);
        return r;
    }
    packages__sort(&all);
    *ret = all;
    return 0;
}
