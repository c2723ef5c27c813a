#include "http/server_priv.h"

#include <ctype.h>
#include <strings.h>

size_t http__head_end(const char *bytes, size_t n, size_t *scanned)
{
    /* An end may have begun in what was looked at: back by three bytes. */
    size_t i = *scanned > 3 ? *scanned - 3 : 0;
    for (const char *lf; (lf = memchr(bytes + i, '\n', n - i)); i = (size_t)(lf - bytes) + 1) {
        size_t next = (size_t)(lf - bytes) + 1;
        if (next < n && bytes[next] == '\n')
            return next + 1;
        if (next + 1 < n && bytes[next] == '\r' && bytes[next + 1] == '\n')
            return next + 2;
    }
    *scanned = n;
    return 0;
}

/* RFC 9110, section 5.6.2. */
static bool is_token(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text[i]) && !(text[i] && strchr("!#$%&'*+-.^_`|~", text[i])))
            return false;
    return n > 0;
}

static bool is_field_value(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' && *text != '\t')
            return false;
    return true;
}

/* Cuts the line off `*at`; NULL when its end is not there. */
static char *take_line(char **at, char *end)
{
    char *line = *at, *lf = memchr(line, '\n', (size_t)(end - line));
    if (!lf)
        return NULL;
    *at = lf + 1;
    *lf = '\0';
    if (lf > line && lf[-1] == '\r')
        lf[-1] = '\0';
    return line;
}

static int parse_request_line(char *line, struct http_head *head, const char **why)
{
    char *target = strchr(line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;
    *why = "malformed request line";
    if (!version || !is_token(line, (size_t)(target - line)))
        return 400;
    *target++ = '\0';
    *version++ = '\0';
    if (strncmp(version, "HTTP/", 5) != 0 || !isdigit((unsigned char)version[5]) || version[6] != '.' ||
        !isdigit((unsigned char)version[7]) || version[8])
        return 400;
    for (const char *c = target; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return 400;
    if (!*target)
        return 400;
    if (version[5] != '1') {
        *why = "only HTTP/1.0 and HTTP/1.1 are spoken here";
        return 505;
    }
    head->method = line;
    head->target = target;
    head->minor = version[7] != '0';
    return 0;
}

static int parse_field(char *line, struct http_head *head, const char **why)
{
    char *colon = strchr(line, ':');
    *why = "malformed header";
    if (!colon || !is_token(line, (size_t)(colon - line)))
        return 400;
    if (head->field_count == HTTP_MAX_HEADERS) {
        *why = "too many headers";
        return 431;
    }
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t"), *end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    if (!is_field_value(value))
        return 400;
    GROW(head->fields, head->field_count, head->field_capacity);
    head->fields[head->field_count++] = (struct http_field){line, value};
    return 0;
}

static bool has_token(const char *list, const char *token)
{
    size_t n = strlen(token);
    while (*list) {
        list += strspn(list, " \t,");
        size_t have = strcspn(list, ",");
        size_t bare = have;
        while (bare > 0 && (list[bare - 1] == ' ' || list[bare - 1] == '\t'))
            bare--;
        if (bare == n && strncasecmp(list, token, n) == 0)
            return true;
        list += have;
    }
    return false;
}

/* What the fields say about the message itself. */
struct framing {
    const char *length, *encoding, *host;
    int hosts;
};

static int note_field(const struct http_field *f, struct http_head *head, struct framing *m, const char **why)
{
    if (strcasecmp(f->name, "Content-Length") == 0) {
        if (m->length && strcmp(m->length, f->value) != 0) {
            *why = "Content-Length is given twice";
            return 400;
        }
        m->length = f->value;
    } else if (strcasecmp(f->name, "Transfer-Encoding") == 0) {
        *why = "unsupported transfer encoding";
        if (m->encoding || strcasecmp(f->value, "chunked") != 0)
            return 501;
        m->encoding = f->value;
    } else if (strcasecmp(f->name, "Host") == 0) {
        m->hosts++;
    } else if (strcasecmp(f->name, "Connection") == 0) {
        if (has_token(f->value, "close"))
            head->keep_alive = false;
        else if (head->minor == 0 && has_token(f->value, "keep-alive"))
            head->keep_alive = true;
    } else if (strcasecmp(f->name, "Expect") == 0) {
        *why = "unsupported expectation";
        if (strcasecmp(f->value, "100-continue") != 0)
            return 417;
        head->expects_continue = head->minor > 0;
    }
    return 0;
}

static int check_framing(struct http_head *head, const struct framing *m, const char **why)
{
    *why = "malformed Content-Length";
    if (m->length) {
        if (!isdigit((unsigned char)m->length[0]) ||
            parse_i64(m->length, 0, INT64_MAX, &head->content_length, NULL) < 0)
            return 400;
    }
    *why = "both Content-Length and Transfer-Encoding";
    if (m->length && m->encoding)
        return 400;
    *why = "chunked encoding needs HTTP/1.1";
    if (m->encoding && head->minor == 0)
        return 400;
    *why = m->hosts ? "too many Host headers" : "missing required Host header";
    if (m->hosts > 1 || (m->hosts == 0 && head->minor > 0))
        return 400;
    head->chunked = m->encoding != NULL;
    return 0;
}

int http__head_parse(char *text, size_t n, struct http_head *ret, const char **ret_why)
{
    char *at = text, *end = text + n, *line;
    *ret = (struct http_head){0};
    *ret_why = "NUL in the request's head";
    if (memchr(text, '\0', n))
        return 400;
    line = take_line(&at, end);
    must(line);
    int status = parse_request_line(line, ret, ret_why);
    struct framing framing = {0};
    ret->keep_alive = status == 0 && ret->minor > 0;
    while (status == 0 && (line = take_line(&at, end)) && *line) {
        status = parse_field(line, ret, ret_why);
        if (status == 0)
            status = note_field(&ret->fields[ret->field_count - 1], ret, &framing, ret_why);
    }
    return status ? status : check_framing(ret, &framing, ret_why);
}
