#include "logdriver/cursor.h"

#include "base/mem.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = {'D', 'R', 'V', 'C', 'U', 'R', '1', '\n'};

_Static_assert(offsetof(struct cursor_page, needed) == LOG_CURSOR_NEEDED, "the log's writer reads it there");

static uint64_t state_of(const struct cursor *c)
{
    return __atomic_load_n(&c->page->state, __ATOMIC_ACQUIRE);
}

static void set_state(struct cursor *c, size_t pieces, unsigned place)
{
    __atomic_store_n(&c->page->state, (uint64_t)pieces << 1 | place, __ATOMIC_RELEASE);
}

static bool is_sound(const struct cursor_page *p)
{
    if (memcmp(p->magic, magic, sizeof(magic)) != 0 || p->state >> 1 > PIECES_MAX)
        return false;
    const struct log_place *place = &p->place[p->state & 1];
    const int64_t *skip = p->skip[p->state & 1];
    return place->at >= 0 && skip[0] >= 0 && skip[1] >= 0 && place->within <= LOG_PAYLOAD_BYTES &&
           place->lines[0].size < LOG_PIECE_BYTES && place->lines[1].size < LOG_PIECE_BYTES;
}

int cursor_open(const char *path, struct cursor *ret, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    /* Reserved, as a mapping cannot say that the disk is full but by a signal. */
    int r = posix_fallocate(fd, 0, sizeof(struct cursor_page));
    if (r != 0)
        return err_sys(err, r, "make room for %s", path);
    struct cursor_page *page =
        mmap(NULL, sizeof(struct cursor_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return err_sys(err, errno, "map %s", path);
    *ret = (struct cursor){page, !is_sound(page)};
    if (ret->fresh) {
        memset(page, 0, sizeof(*page));
        memcpy(page->magic, magic, sizeof(magic));
        page->needed = 1;
    }
    return 0;
}

void cursor_close(struct cursor *c)
{
    if (c->page)
        munmap(c->page, sizeof(*c->page));
    c->page = NULL;
}

const struct log_place *cursor_place(const struct cursor *c)
{
    return &c->page->place[state_of(c) & 1];
}

const int64_t *cursor_skip(const struct cursor *c)
{
    return c->page->skip[state_of(c) & 1];
}

size_t cursor_pieces(const struct cursor *c)
{
    return (size_t)(state_of(c) >> 1);
}

void cursor_restart(struct cursor *c, size_t from)
{
    for (size_t i = from; i < cursor_pieces(c); i++) {
        c->page->sent[i].msg_len = 0;
        c->page->piece[i].before = 0;
    }
}

void cursor_begin(struct cursor *c, size_t count)
{
    must(count <= PIECES_MAX);
    for (size_t i = 0; i < count; i++) {
        c->page->sent[i].msg_len = 0;
        c->page->piece[i].before = 0;
    }
    set_state(c, count, state_of(c) & 1);
}

void cursor_finish(struct cursor *c, const struct log_place *next, const int64_t skip[2])
{
    unsigned other = !(state_of(c) & 1);
    struct log_place *to = &c->page->place[other];
    /* The lines' bytes only as far as there are any: usually none. */
    memcpy(to, next, offsetof(struct log_place, lines));
    for (int i = 0; i < 2; i++)
        memcpy(&to->lines[i], &next->lines[i], offsetof(struct log_place_line, bytes) + next->lines[i].size);
    memcpy(c->page->skip[other], skip, sizeof(c->page->skip[other]));
    set_state(c, 0, other);
    __atomic_store_n(&c->page->needed, MAX(next->sequence, (uint64_t)1), __ATOMIC_RELEASE);
}

bool cursor_piece_sent(const struct cursor *c, size_t i)
{
    const struct cursor_piece *p = &c->page->piece[i];
    return p->before + c->page->sent[i].msg_len >= p->size;
}

void cursor_add_sent_lines(const struct cursor *c, int64_t to[2])
{
    size_t count = cursor_pieces(c);
    for (size_t i = 0; i < count && cursor_piece_sent(c, i); i++)
        if (c->page->piece[i].last && c->page->piece[i].stream >= 1 && c->page->piece[i].stream <= 2)
            to[c->page->piece[i].stream - 1]++;
}
