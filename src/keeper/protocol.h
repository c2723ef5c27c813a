/* Messages between the keeper and its clients, on a unix seqpacket socket: one message a packet.
 *
 * A message is a head (u32 magic, u16 version, u16 type, u64 request) and fields in a fixed order for each
 * type: u32, i64 (machine's byte order), text (u32 length, bytes without NUL, a NUL), lists (u32 count,
 * texts). Descriptors travel along. The spec of a container, which may be large, comes as JSON in the first
 * descriptor (a memfd).
 *
 *     client                         keeper
 *     HELLO                     ->   REPLY pid instance features version      (another protocol is refused)
 *     ADOPT id exec pidfd.. *   ->                         copies kept from a keeper that has died
 *     READY                     ->   HOLD *, EXIT *        copies to keep; exits not yet forgotten
 *     START, EXEC, ... FORGET   ->   REPLY code text ...   any number in flight, answered in any order
 *                                    HOLD                  before a START's or EXEC's program is executed
 *                                    RELEASE               stdin was closed: close the copy too
 *                                    EXIT
 *
 * A request whose keeper died before it answered is sent again to the next one, flagged PROTOCOL_AGAIN. All
 * requests but START and EXEC can be repeated as they are. With those the answer is that of the process which
 * is there already, if it is: known by its record, and taken up where the launch stood with what the client
 * holds of it. Its program is executed only after the HOLD was sent, so that none can run unknown.
 *
 * When client and keeper are killed before the next client's READY was answered, nobody holds the pipes:
 * output ends there. A launch that had been recorded runs, or is undone before that READY is answered
 * (record.c). Exit codes are known all the same, see holder.h.
 *
 * Everything that comes in is checked: lengths, counts, NULs, ids; the reader's `bad` is sticky, so that a
 * parser reads all its fields and asks once. */
#ifndef KEEPER_PROTOCOL_H
#define KEEPER_PROTOCOL_H

#include "base/str.h"
#include "keeper/keeper.h"

enum {
    PROTOCOL_MAGIC = 0x504b5244, /* "DRKP" */
    PROTOCOL_VERSION = 1,
    PROTOCOL_MAX_BYTES = 64 * 1024,
    PROTOCOL_MAX_SPEC_BYTES = 8 << 20,
    PROTOCOL_MAX_LOWERS = 512,
    PROTOCOL_MAX_RUNTIME_ARGS = 64,
    PROTOCOL_MAX_PASSED = 24,
    PROTOCOL_MAX_ATTACHED = 4,
    PROTOCOL_ID_BYTES = 129,
};

enum protocol_type {
    PROTOCOL_HELLO = 1,
    PROTOCOL_ADOPT,
    PROTOCOL_READY,
    PROTOCOL_START,
    PROTOCOL_EXEC,
    PROTOCOL_ATTACH,
    PROTOCOL_KILL,
    PROTOCOL_RESIZE,
    PROTOCOL_PAUSE,
    PROTOCOL_CLOSE_STDIN,
    PROTOCOL_LIST,
    PROTOCOL_FORGET,
    PROTOCOL_SHUTDOWN,
    PROTOCOL_UPGRADE,
    PROTOCOL_COUNTERS,
    PROTOCOL_REPLY = 64,
    PROTOCOL_EXIT,
    PROTOCOL_HOLD,
    PROTOCOL_RELEASE,
};

/* Told in the answer to HELLO, which may grow at its end: what an older keeper does not say it cannot do. */
enum protocol_feature { PROTOCOL_CAN_UPGRADE = 1, PROTOCOL_COUNTS = 2, PROTOCOL_DEFAULTS = 4 };

/* Which descriptors of a process a HOLD or an ADOPT carries, in this order. With a terminal HELD_STDOUT is
 * its master and HELD_STDERR the pipe through which its output goes to the log. */
enum protocol_held { HELD_PIDFD, HELD_STDIN, HELD_STDOUT, HELD_STDERR, HELD_STATUS, HELD_MAX };

/* Added to the type of a request that is sent again because the keeper died before it answered. */
enum { PROTOCOL_AGAIN = 0x8000 };

struct protocol_head {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint64_t request;
};

struct protocol_reader {
    const char *at, *end;
    bool bad;
};

void protocol_begin(struct str *m, enum protocol_type type, uint64_t request);
void protocol_put_u32(struct str *m, uint32_t v);
void protocol_put_i64(struct str *m, int64_t v);
void protocol_put_text(struct str *m, const char *text); /* NULL reads back as "" */
void protocol_put_list(struct str *m, const char *const *list);

/* False when the head is wrong. The version is left to the caller. */
bool protocol_open(const void *bytes, size_t n, struct protocol_head *ret_head, struct protocol_reader *ret);
uint32_t protocol_get_u32(struct protocol_reader *r);
int64_t protocol_get_i64(struct protocol_reader *r);
const char *protocol_get_text(struct protocol_reader *r); /* borrowed from the message; "" when bad */
/* A list of borrowed texts; the caller frees the array. NULL when bad. */
const char **protocol_get_list(struct protocol_reader *r, uint32_t max);
/* True when all was read, and nothing was wrong. */
bool protocol_end(const struct protocol_reader *r);

/* [a-zA-Z0-9_.-]{1,128}, not "." or "..": a file's name. */
bool protocol_id_valid(const char *id);

/* The two large requests. Formatting leaves out what travels as descriptors; parsing leaves `spec`,
 * `process`, fds and attach_fds alone and sets their counts. *ret_lists owns the lists that the start
 * points to. */
void protocol_put_start(struct str *m, const struct keeper_start *start);
struct protocol_lists {
    const char **lowers, **runtime_args;
};
static inline void protocol_lists_done(struct protocol_lists *l)
{
    free(l->lowers);
    free(l->runtime_args);
}
int protocol_get_start(struct protocol_reader *r, struct keeper_start *ret, struct protocol_lists *ret_lists,
                       struct err *err);
void protocol_put_exec(struct str *m, const struct keeper_exec *exec);
int protocol_get_exec(struct protocol_reader *r, struct keeper_exec *ret, struct err *err);

void protocol_put_exit(struct str *m, const struct keeper_exit *exit);
void protocol_get_exit(struct protocol_reader *r, struct keeper_exit *ret);

/* JSON in a new memfd, and back. */
int protocol_memfd(const char *text, size_t n, int *ret_fd, struct err *err);

#endif
