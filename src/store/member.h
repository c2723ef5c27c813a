/* A connection to one member, and the search for the one that leads. */
#ifndef STORE_MEMBER_H
#define STORE_MEMBER_H

#include "store/members.h"
#include "store/wire.h"

#include <pthread.h>

enum {
    MEMBER_ANSWER_MS = 2000,    /* for one request; a leader that takes longer is given up */
    MEMBER_CONNECT_MS = 1000,   /* for TCP and TLS */
    MEMBER_BODY_MAX = 16 << 20, /* of an answer; rows come in pages of 4 KiB and one row more */
    MEMBER_DUMP_MAX = 1 << 30,  /* of a dump: twice the database at most */
};

/* Requests are appended to `out` with wire_put_*, sent with member__send, and answered in order. */
struct member {
    struct tls_link *link;
    char address[STORE_ADDRESS_BYTES];
    struct str out;
    unsigned char *body;
    size_t body_capacity;
    uint64_t failure; /* the last answer's code when it was a WIRE_FAILURE, else 0 */
    bool broken;      /* the connection can not be used any more */
    struct member *next;
};

int member__connect(const char *address, const struct tls_files *files, int64_t deadline_ns,
                    struct member **ret, struct err *err);
void member__close(struct member *m);
int member__send(struct member *m, int64_t deadline_ns, struct err *err);
/* The next answer, which must be of `type`; borrowed until the next call. A WIRE_FAILURE is an error of the
 * member, everything else that goes wrong breaks the connection. */
int member__receive(struct member *m, enum wire_response type, size_t max, int64_t deadline_ns,
                    struct wire_body *ret, struct err *err);
/* Sends what is in `out` and takes one answer. */
int member__call(struct member *m, enum wire_response type, int64_t deadline_ns, struct wire_body *ret,
                 struct err *err);

#define MEMBER_DATABASE "drover"

/* Before SQL. */
int member__open(struct member *m, struct err *err);
int member__exec(struct member *m, const char *sql, const struct store_value *params, size_t n,
                 uint64_t *ret_last_id, struct err *err);
/* All rows; a `row` that ends it early breaks the connection. */
int member__query(struct member *m, const char *sql, const struct store_value *params, size_t n,
                  store_row_fn row, void *context, struct err *err);

/* What is known of the members: shared by all connections of a store. */
struct cluster {
    struct tls_files tls; /* owned */
    int timeout_ms;
    pthread_mutex_t lock;
    char **addresses;
    char leader[STORE_ADDRESS_BYTES];  /* the last that was found; "" none */
    char suspect[STORE_ADDRESS_BYTES]; /* one that did not answer as leader */
    int64_t suspect_until_ns;
};

void cluster__init(struct cluster *c, const struct store_members *m);
void cluster__done(struct cluster *c);
int64_t cluster__deadline(const struct cluster *c);
/* Connects to the leader. */
int cluster__find(struct cluster *c, int64_t deadline_ns, struct member **ret, struct err *err);
/* It did not answer: others are asked first for a while. */
void cluster__suspect(struct cluster *c, const char *address);
/* All members, from a connection to any; learned by the cluster. */
int cluster__list(struct cluster *c, struct member *m, struct store_member **ret, size_t *ret_count,
                  struct err *err);

#endif
