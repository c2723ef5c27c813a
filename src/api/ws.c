#include "api/api_priv.h"

#include "base/base64.h"
#include "base/deferred.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

enum { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, CONTROL_MAX = 125 };
enum { FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80 };
enum { STATUS_NORMAL = 1000, STATUS_PROTOCOL = 1002 };

/* Section 1.3. */
static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

int api__ws_accept(struct http_request *q, int *ret_fd, struct str *ret_early, struct err *err)
{
    const char *key = http_header(q, "Sec-WebSocket-Key"), *version = http_header(q, "Sec-WebSocket-Version");
    _cleanup_str_ struct str raw = STR_INIT;
    if (!http_wants_upgrade(q, "websocket"))
        return err_set(err, ERR_INVALID, "not websocket protocol: the request needs \"Upgrade: websocket\"");
    if (!str_eq(version, "13"))
        return err_set(err, ERR_INVALID,
                       "missing or bad WebSocket version: Sec-WebSocket-Version must be 13");
    if (!key || api__base64_decode(key, &raw, NULL) < 0 || raw.len != 16)
        return err_set(err, ERR_INVALID, "Sec-WebSocket-Key must be 16 bytes in base64");
    _cleanup_free_ char *text = str_printf("%s%s", key, guid);
    unsigned char hash[20];
    deferred_need(DEFERRED_GNUTLS);
    must(gnutls_hash_fast(GNUTLS_DIG_SHA1, text, strlen(text), hash) == 0);
    _cleanup_free_ char *accept = base64_encode(hash, sizeof(hash));
    http_set_header(q, "Sec-WebSocket-Accept", accept);
    return http_hijack(q, NULL, ret_fd, ret_early, err);
}

/* Section 5.2; a server's frames have no mask. */
static void frame(unsigned opcode, const void *bytes, size_t n, struct str *out)
{
    str_addc(out, (char)(FIN | opcode));
    if (n < 126) {
        str_addc(out, (char)n);
    } else {
        int digits = n <= UINT16_MAX ? 2 : 8;
        str_addc(out, digits == 2 ? 126 : 127);
        for (int i = digits - 1; i >= 0; i--)
            str_addc(out, (char)(n >> (8 * i)));
    }
    str_addn(out, bytes, n);
}

void api__ws_encode(struct api_ws *ws, const void *bytes, size_t n, struct str *out)
{
    if (!ws->ended && n > 0)
        frame(ws->binary ? BINARY : TEXT, bytes, n, out);
}

static void say_goodbye(struct api_ws *ws, unsigned status, struct str *out)
{
    const char bytes[2] = {(char)(status >> 8), (char)status};
    if (!ws->ended)
        frame(CLOSE, bytes, sizeof(bytes), out);
    ws->ended = true;
}

void api__ws_close(struct api_ws *ws, struct str *out)
{
    say_goodbye(ws, STATUS_NORMAL, out);
}

void api__ws_done(struct api_ws *ws)
{
    str_free(&ws->control);
}

static bool is_control(const struct api_ws *ws)
{
    return ws->head[0] & 8;
}

/* How long the head is, as far as its bytes tell: two, a longer length, and the mask. */
static size_t head_length(const struct api_ws *ws)
{
    unsigned n = ws->head_have < 2 ? 0 : ws->head[1] & 0x7f;
    return 2 + (n == 126 ? 2 : n == 127 ? 8 : 0) + (ws->head_have < 2 ? 0 : 4);
}

static uint64_t frame_length(const struct api_ws *ws)
{
    unsigned n = ws->head[1] & 0x7f;
    int digits = n == 126 ? 2 : n == 127 ? 8 : 0;
    uint64_t length = digits ? 0 : n;
    for (int i = 0; i < digits; i++)
        length = length << 8 | ws->head[2 + i];
    return length;
}

/* The first two bytes. Sections 5.1 (a client masks), 5.4 (fragments) and 5.5 (control frames are small and
 * whole). */
static bool beginning_is_sane(const struct api_ws *ws)
{
    unsigned opcode = ws->head[0] & OPCODE;
    if ((ws->head[0] & RESERVED) || !(ws->head[1] & MASKED))
        return false;
    if (is_control(ws))
        return (opcode == CLOSE || opcode == PING || opcode == PONG) && (ws->head[0] & FIN) &&
               (ws->head[1] & 0x7f) <= CONTROL_MAX;
    return ws->in_message ? opcode == CONTINUATION : opcode == TEXT || opcode == BINARY;
}

static bool begin_frame(struct api_ws *ws)
{
    ws->left = frame_length(ws);
    if (ws->left >> 63)
        return false;
    ws->mask_at = 0;
    if (is_control(ws))
        str_clear(&ws->control);
    else
        ws->in_message = !(ws->head[0] & FIN);
    return true;
}

/* A frame's content is in. False when it was the last. */
static bool end_frame(struct api_ws *ws, struct str *out)
{
    unsigned opcode = ws->head[0] & OPCODE;
    ws->head_have = 0;
    if (opcode == PING && !ws->ended)
        frame(PONG, str_get(&ws->control), ws->control.len, out);
    if (opcode != CLOSE)
        return true;
    if (!ws->ended) /* section 5.5.1: with the same status */
        frame(CLOSE, str_get(&ws->control), MIN(ws->control.len, 2), out);
    ws->ended = true;
    return false;
}

static void take_content(struct api_ws *ws, const char *bytes, size_t n, struct str *to)
{
    const unsigned char *mask = ws->head + head_length(ws) - 4;
    char *room = str_reserve(to, n);
    for (size_t i = 0; i < n; i++)
        room[i] = (char)(bytes[i] ^ mask[ws->mask_at++ & 3]);
    to->len += n;
    to->data[to->len] = '\0';
    ws->left -= n;
}

bool api__ws_decode(struct api_ws *ws, const char *bytes, size_t n, struct str *in, struct str *out)
{
    while (n > 0) {
        bool in_head = ws->head_have < 2 || ws->head_have < head_length(ws);
        if (in_head) {
            ws->head[ws->head_have++] = (unsigned char)*bytes++;
            n--;
            if ((ws->head_have == 2 && !beginning_is_sane(ws)) ||
                (ws->head_have > 2 && ws->head_have == head_length(ws) && !begin_frame(ws))) {
                say_goodbye(ws, STATUS_PROTOCOL, out);
                return false;
            }
            if (ws->head_have < 2 || ws->head_have < head_length(ws))
                continue;
        } else {
            size_t part = (size_t)MIN((uint64_t)n, ws->left);
            take_content(ws, bytes, part, is_control(ws) ? &ws->control : in);
            bytes += part;
            n -= part;
        }
        if (ws->left == 0 && !end_frame(ws, out))
            return false;
    }
    return true;
}
