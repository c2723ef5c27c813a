/* BuildKit's endpoints. Its protocol, gRPC over an HTTP/2 connection that is upgraded to, is not spoken: but
 * just enough of it to say so. buildx takes a /grpc that cannot be upgraded for a reason to fetch an image of
 * BuildKit from the internet and to run it with all privileges; one that answers each call with an error it
 * tells its user, word for word. References: RFC 9113 (HTTP/2), RFC 7541 (its headers), gRPC's
 * PROTOCOL-HTTP2.md. */
#include "api/api_priv.h"

#include "base/file.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PREFACE_BYTES = 24, FRAME_HEAD_BYTES = 9, FRAME_BYTES_MAX = 16384, PING_BYTES = 8 };
enum frame_type { HEADERS = 1, SETTINGS = 4, PING = 6, GOAWAY = 7, CONTINUATION = 9 };
enum frame_flag { ACK = 1, END_STREAM = 1, END_HEADERS = 4 };
enum { GRPC_UNIMPLEMENTED = 12 };

struct frame {
    uint32_t length, stream;
    unsigned type, flags;
    unsigned char payload[FRAME_BYTES_MAX];
};

/* What came with the request, then what the socket has. False at its end. */
struct source {
    int fd;
    const char *early;
    size_t early_left;
};

static bool read_whole(struct source *s, void *to, size_t n)
{
    char *at = to;
    while (n > 0) {
        ssize_t got;
        if (s->early_left) {
            got = (ssize_t)MIN(n, s->early_left);
            memcpy(at, s->early, (size_t)got);
            s->early += got;
            s->early_left -= (size_t)got;
        } else {
            got = read(s->fd, at, n);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                return false;
        }
        at += got;
        n -= (size_t)got;
    }
    return true;
}

static bool read_frame(struct source *s, struct frame *f)
{
    unsigned char head[FRAME_HEAD_BYTES];
    if (!read_whole(s, head, sizeof(head)))
        return false;
    f->length = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
    f->type = head[3];
    f->flags = head[4];
    f->stream = (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8];
    return f->length <= FRAME_BYTES_MAX && read_whole(s, f->payload, f->length);
}

static void add_frame(struct str *out, enum frame_type type, unsigned flags, uint32_t stream,
                      const void *payload, size_t n)
{
    const unsigned char head[FRAME_HEAD_BYTES] = {
        (unsigned char)(n >> 16),      (unsigned char)(n >> 8),      (unsigned char)n,
        (unsigned char)type,           (unsigned char)flags,         (unsigned char)(stream >> 24),
        (unsigned char)(stream >> 16), (unsigned char)(stream >> 8), (unsigned char)stream};
    str_addn(out, head, sizeof(head));
    str_addn(out, payload, n);
}

/* A literal without indexing and with a new name (RFC 7541, 6.2.2); lengths below 127 are one byte. */
static void add_header(struct str *block, const char *name, const char *value)
{
    must(strlen(name) < 127 && strlen(value) < 127);
    str_addc(block, 0);
    str_addc(block, (char)strlen(name));
    str_add(block, name);
    str_addc(block, (char)strlen(value));
    str_add(block, value);
}

/* A response of trailers alone: how a call fails at once. */
static void refuse_call(uint32_t stream, struct str *out)
{
    _cleanup_str_ struct str block = STR_INIT;
    _cleanup_free_ char *status = str_printf("%d", GRPC_UNIMPLEMENTED);
    add_header(&block, ":status", "200");
    add_header(&block, "content-type", "application/grpc");
    add_header(&block, "grpc-status", status);
    add_header(&block, "grpc-message", API_NO_BUILDKIT);
    add_frame(out, HEADERS, END_STREAM | END_HEADERS, stream, block.data, block.len);
}

/* Data, priorities and windows are passed over. */
static void answer(const struct frame *f, struct str *out)
{
    if (f->type == SETTINGS && !(f->flags & ACK))
        add_frame(out, SETTINGS, ACK, 0, "", 0);
    else if (f->type == PING && !(f->flags & ACK) && f->length == PING_BYTES)
        add_frame(out, PING, ACK, 0, f->payload, PING_BYTES);
    else if ((f->type == HEADERS || f->type == CONTINUATION) && (f->flags & END_HEADERS))
        refuse_call(f->stream, out);
}

void api__buildkit_refuse(int fd, const char *early, size_t early_bytes)
{
    struct source source = {fd, early, early_bytes};
    struct frame *f = NEW(struct frame);
    char preface[PREFACE_BYTES];
    _cleanup_str_ struct str out = STR_INIT;
    add_frame(&out, SETTINGS, 0, 0, "", 0);
    bool going = read_whole(&source, preface, sizeof(preface)) && memcmp(preface, "PRI * HTTP/2.0", 14) == 0;
    while (going && file_write_all(fd, out.data, out.len, NULL) == 0) {
        str_clear(&out);
        going = read_frame(&source, f) && f->type != GOAWAY;
        if (going)
            answer(f, &out);
    }
    free(f);
}

static int take_over(struct http_request *q, int *ret_fd, struct str *ret_early, struct err *err)
{
    if (!http_wants_upgrade(q, NULL))
        return err_set(err, ERR_INVALID, "no upgrade proto in request");
    if (!http_wants_upgrade(q, "h2c"))
        return err_set(err, ERR_INVALID, "protocol %.100s not supported", http_header(q, "Upgrade"));
    return http_hijack(q, "application/grpc", ret_fd, ret_early, err);
}

int api_buildkit_grpc(struct http_request *q, void *context, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str early = STR_INIT;
    int r = take_over(q, &fd, &early, err);
    if (r == 0)
        api__buildkit_refuse(fd, early.data, early.len);
    return r;
}

/* Where a client waits to be called, for its files. Nobody calls; the build that it then asks for is refused
 * in the same words, while a refusal here would reach no user of the older CLIs. */
int api_buildkit_session(struct http_request *q, void *context, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str early = STR_INIT;
    int r = take_over(q, &fd, &early, err);
    char passed_over[512];
    while (r == 0 && fd >= 0 && read(fd, passed_over, sizeof(passed_over)) > 0)
        ;
    return r;
}
