/* RFC 9112, section 7.1. Extensions and trailers are skipped; both are bounded. */
#include "http/server_priv.h"

#include <ctype.h>

enum { MAX_DIGITS = 15, MAX_LINE = 4096, MAX_TRAILERS = 16384 };

static bool size_digit(struct http_chunks *c, char ch)
{
    int value = isdigit((unsigned char)ch)    ? ch - '0'
                : isxdigit((unsigned char)ch) ? tolower(ch) - 'a' + 10
                                              : -1;
    if (value < 0 || ++c->digits > MAX_DIGITS)
        return false;
    c->left = c->left << 4 | (unsigned)value;
    return true;
}

static void size_line_ended(struct http_chunks *c)
{
    c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
    c->line = 0;
    c->digits = 0; /* in the trailer: bytes of the present line */
    c->cr = false;
}

static bool one(struct http_chunks *c, char ch)
{
    switch (c->state) {
    case CHUNK_SIZE:
    case CHUNK_EXTENSION:
        if (ch == '\n' && c->digits > 0)
            size_line_ended(c);
        else if (c->cr || ch == '\n')
            return false;
        else if (ch == '\r')
            c->cr = true;
        else if (c->state == CHUNK_EXTENSION)
            return ++c->line <= MAX_LINE;
        else if ((ch == ';' || ch == ' ' || ch == '\t') && c->digits > 0)
            c->state = CHUNK_EXTENSION;
        else
            return size_digit(c, ch);
        return true;
    case CHUNK_DATA_END:
        if (ch == '\r' && !c->cr) {
            c->cr = true;
            return true;
        }
        *c = (struct http_chunks){.state = CHUNK_SIZE};
        return ch == '\n';
    case CHUNK_TRAILER:
        if (ch == '\n') {
            if (c->digits == 0)
                c->state = CHUNK_DONE;
            c->digits = 0;
        } else if (ch != '\r') {
            c->digits = 1;
        }
        return ++c->line <= MAX_TRAILERS;
    case CHUNK_DATA:
    case CHUNK_DONE:
        break;
    }
    return false;
}

ssize_t http__chunk_framing(struct http_chunks *c, const char *bytes, size_t n)
{
    size_t i = 0;
    for (; i < n && c->state != CHUNK_DATA && c->state != CHUNK_DONE; i++)
        if (!one(c, bytes[i]))
            return -1;
    return (ssize_t)i;
}

void http__chunk_took(struct http_chunks *c, size_t n)
{
    must(c->state == CHUNK_DATA && n <= c->left);
    c->left -= n;
    if (c->left == 0) {
        c->state = CHUNK_DATA_END;
        c->cr = false;
    }
}
