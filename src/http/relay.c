/* A request that another server of HTTP answers: its bytes and that one's go through as they are. */
#include "base/relay.h"
#include "http/server_priv.h"

#include <strings.h>
#include <sys/socket.h>

void http_request_head(struct http_request *q, const char *target, struct str *out)
{
    static const char *const own[] = {"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade"};
    bool upgrade = http_wants_upgrade(q, NULL);
    str_addf(out, "%s %s HTTP/1.1\r\n", q->method, target);
    for (size_t i = 0; i < q->head->field_count; i++) {
        const struct http_field *f = &q->head->fields[i];
        bool skip = false;
        for (size_t k = 0; k < ARRAY_SIZE(own) - upgrade; k++)
            skip = skip || strcasecmp(f->name, own[k]) == 0;
        if (!skip)
            str_addf(out, "%s: %s\r\n", f->name, f->value);
    }
    str_addf(out, "Connection: %s\r\n\r\n", upgrade ? "Upgrade" : "close");
}

static ssize_t conn_recv(void *of, void *bytes, size_t n)
{
    size_t held = http__conn_take(of, bytes, n);
    return held ? (ssize_t)held : http__conn_recv(of, bytes, n);
}

static ssize_t conn_send(void *of, const void *bytes, size_t n)
{
    return http__conn_send_some(of, bytes, n);
}

static void conn_shut(void *of)
{
    /* With the answer's end the connection is closed. */
}

void http_relay(struct http_request *q, int fd)
{
    const struct relay_end client = {q->conn, q->conn->fd, conn_recv, conn_send, conn_shut},
                           server = {.fd = fd};
    q->answered = q->hijacked = q->close = true;
    relay(&client, &server, &(struct relay_rule){.until = RELAY_ANSWER, .stop_fd = -1});
}

bool http_send_raw(struct http_request *q, const void *bytes, size_t n)
{
    q->answered = true;
    return http__conn_send(q->conn, &(struct iovec){(void *)bytes, n}, 1, HTTP_ANSWER_TIMEOUT_MS);
}
