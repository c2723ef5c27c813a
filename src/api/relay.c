#include "api/api_priv.h"

#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { BUFFER_BYTES = 32 << 10, FRAME_HEAD = 8, MAX_DETACH_KEYS = 64, STREAM_SYSTEM_ERROR = 3 };

void api__frame(struct str *out, int stream, const void *bytes, size_t n)
{
    const unsigned char head[FRAME_HEAD] = {(unsigned char)stream,
                                            0,
                                            0,
                                            0,
                                            (unsigned char)(n >> 24),
                                            (unsigned char)(n >> 16),
                                            (unsigned char)(n >> 8),
                                            (unsigned char)n};
    str_addn(out, head, sizeof(head));
    str_addn(out, bytes, n);
}

static int detach_key(const char *name, struct str *out, struct err *err)
{
    const char *control = str_after(name, "ctrl-");
    if (str_eq(name, "DEL")) {
        str_addc(out, 127);
    } else if (name[0] && !name[1]) {
        str_addc(out, name[0]);
    } else if (control && control[0] && !control[1] && strchr("@[\\]^_", control[0])) {
        str_addc(out, (char)(control[0] & 0x1f));
    } else if (control && control[0] >= 'a' && control[0] <= 'z' && !control[1]) {
        str_addc(out, (char)(control[0] - 'a' + 1));
    } else {
        return err_set(
            err, ERR_INVALID,
            "Unknown character: '%s': detach keys are a letter, or ctrl- and one of a-z @ [ \\ ] ^ _", name);
    }
    return 0;
}

int api__detach_keys_parse(const char *text, struct str *ret, struct err *err)
{
    _cleanup_strv_ char **names = strv_split(text, ',');
    if (strv_len(names) > MAX_DETACH_KEYS)
        return err_set(err, ERR_INVALID, "more than %d detach keys", MAX_DETACH_KEYS);
    str_clear(ret);
    STRV_FOREACH (n, names) {
        int r = detach_key(*n, ret, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int api__detach_keys_check(const char *text, const char *what, struct err *err)
{
    _cleanup_str_ struct str keys = STR_INIT;
    if (str_empty(text) || api__detach_keys_parse(text, &keys, NULL) == 0)
        return 0;
    return err_set(err, ERR_INVALID, "Invalid %s keys (%.100s) provided", what, text);
}

struct relay {
    const struct api_relay *given;
    struct str in, out; /* read from one side, not yet written to the other */
    size_t in_sent, out_sent;
    bool in_end, out_end; /* nothing more comes from there */
    bool in_shut;         /* the process was told so */
    bool client_gone, detached;
    bool client_ended; /* by its protocol's goodbye */
    struct str keys;
    size_t keys_matched;
    unsigned char head[FRAME_HEAD];
    size_t head_have, frame_left;
    bool left_out; /* the frame under way is of a stream that the client did not ask for */
    bool spoke;    /* a frame came */
    bool said_end; /* and the keeper's mark of a stream's proper end: a head of zeros */
};

/* Looks for the detach keys; a part of them at the end is held back until the next byte decides. */
static void take_input(struct relay *r, const char *bytes, size_t n)
{
    if (!r->given->want_stdin)
        return;
    if (r->keys.len == 0) {
        str_addn(&r->in, bytes, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == r->keys.data[r->keys_matched]) {
            if (++r->keys_matched == r->keys.len) {
                r->detached = true;
                return;
            }
            continue;
        }
        str_addn(&r->in, r->keys.data, r->keys_matched);
        r->keys_matched = bytes[i] == r->keys.data[0] ? 1 : 0;
        if (!r->keys_matched)
            str_addc(&r->in, bytes[i]);
    }
}

/* What the client has sent, in whatever form it sends it. */
static void take_from_client(struct relay *r, const char *bytes, size_t n)
{
    if (!r->given->ws)
        return take_input(r, bytes, n);
    _cleanup_str_ struct str plain = STR_INIT;
    if (!api__ws_decode(r->given->ws, bytes, n, &plain, &r->out))
        r->in_end = r->client_ended = true;
    take_input(r, str_get(&plain), plain.len);
}

static bool plain(const struct relay *r)
{
    return r->given->raw || r->given->ws;
}

static void take_head(struct relay *r)
{
    static const unsigned char end[FRAME_HEAD];
    const unsigned char *h = r->head;
    r->head_have = 0;
    r->frame_left = (size_t)h[4] << 24 | (size_t)h[5] << 16 | (size_t)h[6] << 8 | h[7];
    r->left_out = h[0] < 8 && r->given->leave_out & 1u << h[0];
    if (memcmp(h, end, FRAME_HEAD) == 0)
        r->said_end = true;
    else if (!plain(r) && !r->client_gone && !r->left_out)
        str_addn(&r->out, h, FRAME_HEAD);
    r->spoke = true;
}

/* A raw stream's and a WebSocket's client gets the bytes alone, the others frames. */
static void take_output(struct relay *r, const char *bytes, size_t n)
{
    while (n > 0) {
        if (r->frame_left == 0) {
            r->head[r->head_have++] = (unsigned char)*bytes++;
            n--;
            if (r->head_have == FRAME_HEAD)
                take_head(r);
            continue;
        }
        size_t part = MIN(n, r->frame_left);
        if (!r->client_gone && !r->left_out && r->given->ws)
            api__ws_encode(r->given->ws, bytes, part, &r->out);
        else if (!r->client_gone && !r->left_out)
            str_addn(&r->out, bytes, part);
        bytes += part;
        n -= part;
        r->frame_left -= part;
    }
}

/* False at the end of what can be read. */
static bool receive(int fd, char *buffer, ssize_t *ret_n)
{
    *ret_n = recv(fd, buffer, BUFFER_BYTES, MSG_DONTWAIT);
    if (*ret_n < 0 && (errno == EAGAIN || errno == EINTR)) {
        *ret_n = 0;
        return true;
    }
    return *ret_n > 0;
}

/* False when the other side takes no more for ever. */
static bool transmit(int fd, struct str *s, size_t *sent)
{
    ssize_t n = send(fd, s->data + *sent, s->len - *sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    *sent += (size_t)n;
    if (*sent == s->len) {
        str_clear(s);
        *sent = 0;
    }
    return true;
}

static bool wants_input(const struct relay *r)
{
    return (r->given->want_stdin || r->given->ws) && !r->in_end && r->in.len == 0;
}

static int await(struct relay *r, short *client, short *process, struct err *err)
{
    short from_client =
        (short)((wants_input(r) ? POLLIN : 0) | (r->out.len && !r->client_gone ? POLLOUT : 0));
    short from_process = (short)((!r->out_end && r->out.len == 0 ? POLLIN : 0) | (r->in.len ? POLLOUT : 0));
    struct pollfd p[2] = {
        /* A peer known to be gone, or one that nothing is asked of, would only be reported again and again.
         */
        {.fd = r->client_gone && !from_client ? -1 : r->given->client_fd, .events = from_client},
        {.fd = from_process ? r->given->process_fd : -1, .events = from_process},
    };
    if (poll(p, 2, -1) < 0 && errno != EINTR)
        return err_sys(err, errno, "poll");
    *client = p[0].revents;
    *process = p[1].revents;
    return 0;
}

static void move_client(struct relay *r, short events, char *buffer)
{
    ssize_t n;
    if (wants_input(r) && (events & (POLLIN | POLLHUP | POLLERR))) {
        if (!receive(r->given->client_fd, buffer, &n))
            r->in_end = true;
        else
            take_from_client(r, buffer, (size_t)n);
    }
    if ((events & POLLOUT) && r->out.len && !transmit(r->given->client_fd, &r->out, &r->out_sent))
        r->client_gone = true;
    if (events & (POLLHUP | POLLERR))
        r->client_gone = true;
    if (r->client_gone)
        str_clear(&r->out), r->out_sent = 0;
}

/* Without the mark of the end the keeper died: the process goes on, and its output, which goes to its log, is
 * not seen here. */
static void tell_if_cut(struct relay *r)
{
    static const char text[] =
        "the stream was cut: it was not read in time, or the keeper was restarted; the process runs on\n";
    /* One that never said a word may be a process that was never started. */
    if (r->client_gone || !r->spoke || r->said_end)
        return;
    if (r->given->ws)
        api__ws_encode(r->given->ws, text, strlen(text), &r->out);
    else if (r->given->raw)
        str_add(&r->out, text);
    else
        api__frame(&r->out, STREAM_SYSTEM_ERROR, text, strlen(text));
}

static void move_process(struct relay *r, short events, char *buffer)
{
    ssize_t n;
    if (!r->out_end && r->out.len == 0 && (events & (POLLIN | POLLHUP | POLLERR))) {
        if (!receive(r->given->process_fd, buffer, &n)) {
            r->out_end = true;
            tell_if_cut(r);
            if (r->given->ws && !r->client_gone)
                api__ws_close(r->given->ws, &r->out);
        } else {
            take_output(r, buffer, (size_t)n);
        }
    }
    if ((events & (POLLOUT | POLLERR)) && r->in.len && !transmit(r->given->process_fd, &r->in, &r->in_sent)) {
        /* It reads no more; its output may still come. */
        r->in_end = r->in_shut = true;
        str_clear(&r->in), r->in_sent = 0;
    }
}

static bool finished(const struct relay *r)
{
    bool input_done = !r->given->want_stdin || (r->in_end && r->in.len == 0);
    if ((r->client_ended || (r->given->ends_with_input && r->in_end)) && input_done && r->out.len == 0)
        return true;
    return r->detached || (r->out_end && r->out.len == 0) || (r->client_gone && input_done);
}

static int run(struct relay *r, char *buffer, struct err *err)
{
    while (!finished(r)) {
        if (r->in_end && r->in.len == 0 && !r->in_shut && !r->given->ends_with_input) {
            shutdown(r->given->process_fd, SHUT_WR);
            r->in_shut = true;
        }
        short client = 0, process = 0;
        int status = await(r, &client, &process, err);
        if (status < 0)
            return status;
        move_client(r, client, buffer);
        move_process(r, process, buffer);
    }
    /* What was typed before the detach keys, as far as the process takes it: it must not hold us back. */
    if (r->detached && r->in.len)
        transmit(r->given->process_fd, &r->in, &r->in_sent);
    return 0;
}

/* A unix socket that is closed with bytes in it that nobody read gives its peer a reset instead of the end:
 * nothing more comes in, and what came is taken out. */
static void drop_input(int fd, char *buffer)
{
    shutdown(fd, SHUT_RD);
    while (recv(fd, buffer, BUFFER_BYTES, MSG_DONTWAIT) > 0)
        ;
}

int api__relay(const struct api_relay *given, enum api_relay_end *ret_end, struct err *err)
{
    struct relay r = {.given = given, .in_shut = !given->want_stdin};
    int status = 0;
    if (given->tty && given->want_stdin)
        status =
            api__detach_keys_parse(given->detach_keys ? given->detach_keys : "ctrl-p,ctrl-q", &r.keys, err);
    if (status == 0) {
        _cleanup_free_ char *buffer = mem_new(BUFFER_BYTES);
        if (given->early)
            take_from_client(&r, str_get(given->early), given->early->len);
        status = run(&r, buffer, err);
        drop_input(given->client_fd, buffer);
    }
    if (ret_end)
        *ret_end = r.detached ? RELAY_DETACHED : r.out_end ? RELAY_PROCESS_ENDED : RELAY_CLIENT_ENDED;
    str_free(&r.in);
    str_free(&r.out);
    str_free(&r.keys);
    return status;
}
