#include "keeper/protocol.h"

#include "base/file.h"

#include <sys/mman.h>
#include <unistd.h>

void protocol_begin(struct str *m, enum protocol_type type, uint64_t request)
{
    struct protocol_head head = {PROTOCOL_MAGIC, PROTOCOL_VERSION, (uint16_t)type, request};
    str_truncate(m, 0);
    str_addn(m, &head, sizeof(head));
}

void protocol_put_u32(struct str *m, uint32_t v)
{
    str_addn(m, &v, sizeof(v));
}

void protocol_put_i64(struct str *m, int64_t v)
{
    str_addn(m, &v, sizeof(v));
}

void protocol_put_text(struct str *m, const char *text)
{
    uint32_t n = text ? (uint32_t)strlen(text) : 0;
    protocol_put_u32(m, n);
    str_addn(m, text ? text : "", n + 1);
}

void protocol_put_list(struct str *m, const char *const *list)
{
    uint32_t n = 0;
    while (list && list[n])
        n++;
    protocol_put_u32(m, n);
    for (uint32_t i = 0; i < n; i++)
        protocol_put_text(m, list[i]);
}

bool protocol_open(const void *bytes, size_t n, struct protocol_head *ret_head, struct protocol_reader *ret)
{
    struct protocol_head head;
    if (n < sizeof(head) || n > PROTOCOL_MAX_BYTES)
        return false;
    memcpy(&head, bytes, sizeof(head));
    if (head.magic != PROTOCOL_MAGIC)
        return false;
    *ret_head = head;
    *ret = (struct protocol_reader){(const char *)bytes + sizeof(head), (const char *)bytes + n, false};
    return true;
}

static void get(struct protocol_reader *r, void *to, size_t n)
{
    if (r->bad || (size_t)(r->end - r->at) < n) {
        r->bad = true;
        memset(to, 0, n);
        return;
    }
    memcpy(to, r->at, n);
    r->at += n;
}

uint32_t protocol_get_u32(struct protocol_reader *r)
{
    uint32_t v;
    get(r, &v, sizeof(v));
    return v;
}

int64_t protocol_get_i64(struct protocol_reader *r)
{
    int64_t v;
    get(r, &v, sizeof(v));
    return v;
}

const char *protocol_get_text(struct protocol_reader *r)
{
    uint32_t n = protocol_get_u32(r);
    if (r->bad || (size_t)(r->end - r->at) <= n || r->at[n] != '\0' || memchr(r->at, '\0', n)) {
        r->bad = true;
        return "";
    }
    const char *text = r->at;
    r->at += n + 1;
    return text;
}

const char **protocol_get_list(struct protocol_reader *r, uint32_t max)
{
    uint32_t n = protocol_get_u32(r);
    if (r->bad || n > max) {
        r->bad = true;
        return NULL;
    }
    const char **list = NEW_N(const char *, (size_t)n + 1);
    for (uint32_t i = 0; i < n; i++)
        list[i] = protocol_get_text(r);
    if (r->bad) {
        free(list);
        return NULL;
    }
    return list;
}

bool protocol_end(const struct protocol_reader *r)
{
    return !r->bad && r->at == r->end;
}

bool protocol_id_valid(const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    return n > 0 && n < PROTOCOL_ID_BYTES && id[n] == '\0' && !str_eq(id, ".") && !str_eq(id, "..");
}

static int malformed(struct err *err, const char *what)
{
    return err_set(err, ERR_PROTOCOL, "malformed %s request", what);
}

enum {
    FLAG_OPEN_STDIN = 1,
    FLAG_STDIN_ONCE = 2,
    FLAG_TTY = 4,
    FLAG_KEEP_OUTPUT = 8,
    FLAG_HAS_LOG = 16,
    FLAG_HAS_OVERLAY = 32,
    FLAG_VOLATILE = 64, /* an older keeper does not look at it */
};

void protocol_put_start(struct str *m, const struct keeper_start *start)
{
    protocol_put_text(m, start->id);
    protocol_put_u32(m, (start->open_stdin ? FLAG_OPEN_STDIN : 0u) |
                            (start->stdin_once ? FLAG_STDIN_ONCE : 0u) | (start->tty ? FLAG_TTY : 0u) |
                            (start->log.path ? FLAG_HAS_LOG : 0u) |
                            (start->overlay.lowers ? FLAG_HAS_OVERLAY : 0u) |
                            (start->overlay.is_volatile ? FLAG_VOLATILE : 0u));
    protocol_put_u32(m, (uint32_t)start->rows);
    protocol_put_u32(m, (uint32_t)start->columns);
    protocol_put_text(m, start->root);
    protocol_put_text(m, start->overlay.layers_dir);
    protocol_put_list(m, start->overlay.lowers);
    protocol_put_text(m, start->overlay.upper);
    protocol_put_text(m, start->overlay.work);
    protocol_put_text(m, start->log.path);
    protocol_put_i64(m, start->log.max_bytes);
    protocol_put_u32(m, (uint32_t)start->log.max_files);
    protocol_put_u32(m, (uint32_t)start->fd_count);
    protocol_put_u32(m, (uint32_t)start->attach_count);
    protocol_put_text(m, start->runtime.path);
    protocol_put_list(m, start->runtime.args);
    protocol_put_u32(m, (uint32_t)start->ready_root);
}

int protocol_get_start(struct protocol_reader *r, struct keeper_start *ret, struct protocol_lists *ret_lists,
                       struct err *err)
{
    struct keeper_start s = {.id = protocol_get_text(r)};
    uint32_t flags = protocol_get_u32(r);
    s.open_stdin = flags & FLAG_OPEN_STDIN;
    s.stdin_once = flags & FLAG_STDIN_ONCE;
    s.tty = flags & FLAG_TTY;
    s.rows = (uint16_t)protocol_get_u32(r);
    s.columns = (uint16_t)protocol_get_u32(r);
    s.root = protocol_get_text(r);
    s.overlay.layers_dir = protocol_get_text(r);
    _cleanup_free_ const char **lowers = protocol_get_list(r, PROTOCOL_MAX_LOWERS);
    s.overlay.lowers = flags & FLAG_HAS_OVERLAY ? lowers : NULL;
    s.overlay.upper = protocol_get_text(r);
    s.overlay.work = protocol_get_text(r);
    s.overlay.is_volatile = flags & FLAG_VOLATILE;
    s.log.path = protocol_get_text(r);
    if (!(flags & FLAG_HAS_LOG))
        s.log.path = NULL;
    s.log.max_bytes = protocol_get_i64(r);
    s.log.max_files = (int)(protocol_get_u32(r) & INT32_MAX);
    s.fd_count = protocol_get_u32(r);
    s.attach_count = protocol_get_u32(r);
    s.runtime.path = protocol_get_text(r);
    _cleanup_free_ const char **args = protocol_get_list(r, PROTOCOL_MAX_RUNTIME_ARGS);
    s.runtime.args = args;
    if (!*s.runtime.path)
        s.runtime.path = NULL;
    s.ready_root = (int)(protocol_get_u32(r) & INT32_MAX);
    if (!protocol_end(r) || (size_t)s.ready_root > s.fd_count || s.fd_count > PROTOCOL_MAX_PASSED ||
        s.attach_count > PROTOCOL_MAX_ATTACHED)
        return malformed(err, "start");
    if (!protocol_id_valid(s.id))
        return err_set(err, ERR_INVALID, "\"%.140s\" is no container id", s.id);
    *ret = s;
    *ret_lists = (struct protocol_lists){take_ptr(lowers), take_ptr(args)};
    return 0;
}

void protocol_put_exec(struct str *m, const struct keeper_exec *exec)
{
    protocol_put_text(m, exec->id);
    protocol_put_text(m, exec->exec_id);
    protocol_put_u32(m, (exec->open_stdin ? FLAG_OPEN_STDIN : 0u) | (exec->tty ? FLAG_TTY : 0u) |
                            (exec->keep_output ? FLAG_KEEP_OUTPUT : 0u));
    protocol_put_u32(m, (uint32_t)exec->rows);
    protocol_put_u32(m, (uint32_t)exec->columns);
    protocol_put_u32(m, (uint32_t)exec->attach_count);
}

int protocol_get_exec(struct protocol_reader *r, struct keeper_exec *ret, struct err *err)
{
    struct keeper_exec e = {.id = protocol_get_text(r), .exec_id = protocol_get_text(r)};
    uint32_t flags = protocol_get_u32(r);
    e.open_stdin = flags & FLAG_OPEN_STDIN;
    e.tty = flags & FLAG_TTY;
    e.keep_output = flags & FLAG_KEEP_OUTPUT;
    e.rows = (uint16_t)protocol_get_u32(r);
    e.columns = (uint16_t)protocol_get_u32(r);
    e.attach_count = protocol_get_u32(r);
    if (!protocol_end(r) || e.attach_count > PROTOCOL_MAX_ATTACHED)
        return malformed(err, "exec");
    if (!protocol_id_valid(e.id) || !protocol_id_valid(e.exec_id))
        return err_set(err, ERR_INVALID, "\"%.140s\" or \"%.140s\" is no id", e.id, e.exec_id);
    *ret = e;
    return 0;
}

void protocol_put_exit(struct str *m, const struct keeper_exit *exit)
{
    protocol_put_text(m, exit->id);
    protocol_put_text(m, exit->exec_id);
    protocol_put_u32(m, (uint32_t)exit->status);
    protocol_put_u32(m, (uint32_t)exit->signal);
    protocol_put_u32(m, exit->oom_killed);
    protocol_put_i64(m, exit->at_ns);
}

void protocol_get_exit(struct protocol_reader *r, struct keeper_exit *ret)
{
    ret->id = protocol_get_text(r);
    ret->exec_id = protocol_get_text(r);
    ret->status = (int)protocol_get_u32(r);
    ret->signal = (int)protocol_get_u32(r);
    ret->oom_killed = protocol_get_u32(r) != 0;
    ret->at_ns = protocol_get_i64(r);
}

int protocol_memfd(const char *text, size_t n, int *ret_fd, struct err *err)
{
    _cleanup_close_ int fd = memfd_create("drover", MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "memfd");
    int r = file_write_all(fd, text, n, err);
    if (r < 0)
        return r;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, errno, "seek");
    *ret_fd = take_fd(&fd);
    return 0;
}
