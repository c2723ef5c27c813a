/* The wire protocol of cowsql (dqlite's, version 1): requests are written, answers are read.
 *
 * A message is a header of 8 bytes (the body's length in words of 8 bytes, a type, a schema, 2 unused) and a
 * body; numbers are little endian, texts end with a NUL and are padded to a word. Sources: cowsql
 * src/protocol.h, src/request.h, src/response.h, src/tuple.c.
 *
 * The reader trusts nothing: a length, a count or a type that the body does not hold is ERR_PROTOCOL. It
 * allocates only what the bytes that have come ask for. What it returns is borrowed from the body. */
#ifndef STORE_WIRE_H
#define STORE_WIRE_H

#include "base/str.h"
#include "store/store.h"

#include <stdbool.h>

enum {
    WIRE_HEADER_BYTES = 8,
    WIRE_PARAMS_MAX = 255,
    WIRE_COLUMNS_MAX = 255,
    WIRE_MEMBERS_MAX = 64,
};

#define WIRE_PROTOCOL UINT64_C(1) /* what a client sends first */

enum wire_request {
    WIRE_LEADER = 0,
    WIRE_OPEN = 3,
    WIRE_EXEC_SQL = 8,
    WIRE_QUERY_SQL = 9,
    WIRE_ADD = 12,
    WIRE_ASSIGN = 13,
    WIRE_REMOVE = 14,
    WIRE_DUMP = 15,
    WIRE_CLUSTER = 16,
    WIRE_TRANSFER = 17,
};

enum wire_response {
    WIRE_FAILURE = 0,
    WIRE_SERVER = 1,
    WIRE_SERVERS = 3,
    WIRE_DATABASE = 4,
    WIRE_RESULT = 6,
    WIRE_ROWS = 7,
    WIRE_EMPTY = 8,
    WIRE_FILES = 9,
};

/* Codes of WIRE_FAILURE beside those of SQLite. */
enum { WIRE_NOT_LEADER = 10250, WIRE_LEADERSHIP_LOST = 10506, WIRE_IOERR_WRITE = 778 };

/* Requests, appended to `out`; texts without a NUL inside, `param_count` up to WIRE_PARAMS_MAX. */
void wire_put_number(struct str *out, enum wire_request type, uint64_t n); /* LEADER, REMOVE, CLUSTER, ... */
void wire_put_text(struct str *out, enum wire_request type, const char *text); /* DUMP */
void wire_put_open(struct str *out, const char *database);
void wire_put_member(struct str *out, uint64_t id, const char *address); /* ADD */
void wire_put_assign(struct str *out, uint64_t id, uint64_t role);
void wire_put_sql(struct str *out, enum wire_request type, const char *sql, const struct store_value *params,
                  size_t param_count);
/* A WIRE_FAILURE, for a server that has nothing else to say. */
void wire_put_failure(struct str *out, uint64_t code, const char *text);

struct wire_header {
    uint64_t body_bytes;
    uint8_t type;
};
struct wire_header wire_header(const unsigned char bytes[WIRE_HEADER_BYTES]);

struct wire_body {
    const unsigned char *at;
    size_t left;
};

int wire_get_failure(struct wire_body body, uint64_t *ret_code, const char **ret_text, struct err *err);
int wire_get_server(struct wire_body body, uint64_t *ret_id, const char **ret_address, struct err *err);
int wire_get_result(struct wire_body body, uint64_t *ret_last_id, uint64_t *ret_changes, struct err *err);

struct wire_member {
    uint64_t id, role; /* 0 voter, 1 standby, 2 spare */
    const char *address;
};
int wire_get_servers(struct wire_body body, struct wire_member *members, size_t capacity, size_t *ret_count,
                     struct err *err);

/* One message of rows: `row` is called for each, a non-zero return ends it and is returned; *ret_more: others
 * follow in a message of their own. */
int wire_get_rows(struct wire_body body, store_row_fn row, void *context, bool *ret_more, struct err *err);

struct wire_file {
    const char *name;
    const unsigned char *bytes;
    size_t size;
};
/* The database and its write-ahead log. */
int wire_get_files(struct wire_body body, struct wire_file ret_files[2], struct err *err);

#endif
