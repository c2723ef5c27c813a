/* How far a shipper has come, in a file that is mapped: what is stored there holds however this process ends.
 *
 * Lines are sent in batches of *pieces* (a line is one piece, or several datagrams). The kernel itself notes
 * in sent[i].msg_len, before sendmmsg(2) returns, how much of piece i it has taken: a process that is killed
 * within the call has the number all the same. So whoever opens the cursor next knows exactly which lines of
 * an unfinished batch went out, and goes on behind them. (After a crash of the machine the file may be old:
 * lines come twice.)
 *
 * A batch: cursor_begin() with the pieces, cursor_finish() with the place behind it. `state` says in one word
 * which of two places holds and how many pieces are under way, so that no kill falls between. With a place
 * goes how many lines of each stream behind it have been sent already: what a process before this one sent of
 * a batch that it did not finish. */
#ifndef LOGDRIVER_CURSOR_H
#define LOGDRIVER_CURSOR_H

#include "base/err.h"
#include "keeper/log_reader.h"

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum { PIECES_MAX = 512 };

struct cursor_piece {
    uint32_t size;
    uint32_t before; /* bytes that earlier calls took of it */
    uint8_t stream;
    uint8_t last; /* of its line */
    uint8_t unused[2];
};

struct cursor_page {
    char magic[8];
    uint64_t state;  /* pieces << 1 | place that holds */
    uint64_t needed; /* LOG_CURSOR_NEEDED: read by the log's writer */
    uint64_t dropped_lines, missed_files, sent_lines;
    uint64_t file_inode; /* of a destination that is a file, at the batch's begin */
    int64_t file_size;
    struct cursor_piece piece[PIECES_MAX];
    struct mmsghdr sent[PIECES_MAX];
    struct log_place place[2];
    int64_t skip[2][2]; /* of each place, of each stream */
};

struct cursor {
    struct cursor_page *page;
    bool fresh; /* it was just made */
};

int cursor_open(const char *path, struct cursor *ret, struct err *err);
void cursor_close(struct cursor *c);

const struct log_place *cursor_place(const struct cursor *c);
size_t cursor_pieces(const struct cursor *c);
/* page->piece[0..count) have been filled. A batch that another process left is over with it. */
void cursor_begin(struct cursor *c, size_t count);
/* The batch's pieces from there on count as not sent. */
void cursor_restart(struct cursor *c, size_t from);
void cursor_finish(struct cursor *c, const struct log_place *next, const int64_t skip[2]);
/* Lines of each stream behind the place that are not to be sent. */
const int64_t *cursor_skip(const struct cursor *c);
bool cursor_piece_sent(const struct cursor *c, size_t i);
/* Adds the lines of each stream, of the batch under way, that went out whole. */
void cursor_add_sent_lines(const struct cursor *c, int64_t to[2]);

#endif
