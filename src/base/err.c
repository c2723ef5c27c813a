#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int http_status;
    int exit_code;
    bool retryable;
} facts[ERR_MAX_] = {
    [ERR_NONE] = {"no error", 200, 0, false},
    [ERR_INVALID] = {"invalid", 400, 2, false},
    [ERR_UNAUTHORIZED] = {"unauthorized", 401, 1, false},
    [ERR_DENIED] = {"denied", 403, 1, false},
    [ERR_NOT_FOUND] = {"not found", 404, 1, false},
    [ERR_CONFLICT] = {"conflict", 409, 1, false},
    [ERR_NOT_MODIFIED] = {"not modified", 304, 0, false},
    [ERR_UNSUPPORTED] = {"unsupported", 501, 1, false},
    [ERR_LIMIT] = {"limit reached", 413, 1, false},
    [ERR_NO_SPACE] = {"no space", 507, 1, true},
    [ERR_CORRUPT] = {"corrupt", 500, 1, false},
    [ERR_UNAVAILABLE] = {"unavailable", 503, 1, true},
    [ERR_NOT_LEADER] = {"not leader", 503, 1, true},
    [ERR_NO_MAJORITY] = {"no majority", 503, 1, true},
    [ERR_BUSY] = {"busy", 503, 1, true},
    [ERR_TIMEOUT] = {"timed out", 504, 1, true},
    [ERR_CANCELLED] = {"cancelled", 499, 130, false},
    [ERR_PROTOCOL] = {"protocol error", 502, 1, false},
    [ERR_NO_MEMORY] = {"out of memory", 500, 1, true},
    [ERR_SYSTEM] = {"system error", 500, 1, false},
};

static int index_of(int code)
{
    int i = abs(code);
    return i < ERR_MAX_ ? i : ERR_SYSTEM;
}

const char *err_name(int code)
{
    return facts[index_of(code)].name;
}

int err_http_status(int code)
{
    return facts[index_of(code)].http_status;
}

int err_exit_code(int code)
{
    return facts[index_of(code)].exit_code;
}

bool err_retryable(int code)
{
    return facts[index_of(code)].retryable;
}

int err_code_of_errno(int sys)
{
    switch (sys) {
    case ENOENT:
    case ESRCH:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case EINVAL:
        return ERR_INVALID;
    case EEXIST:
    case EADDRINUSE:
    case EBUSY:
        return ERR_CONFLICT;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case ENOMEM:
        return ERR_NO_MEMORY;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return ERR_UNAVAILABLE;
    case ETIMEDOUT:
    case ETIME:
        return ERR_TIMEOUT;
    case ECANCELED:
        return ERR_CANCELLED;
    case EMFILE:
    case ENFILE:
    case E2BIG:
    case EFBIG:
        return ERR_LIMIT;
    case EOPNOTSUPP:
    case ENOSYS:
        return ERR_UNSUPPORTED;
    default:
        return ERR_SYSTEM;
    }
}

int err_vset(struct err *err, enum err_code code, const char *format, va_list ap)
{
    if (err) {
        err->code = code;
        err->sys = 0;
        vsnprintf(err->msg, sizeof(err->msg), format, ap);
    }
    return -(int)code;
}

int err_set(struct err *err, enum err_code code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int r = err_vset(err, code, format, ap);
    va_end(ap);
    return r;
}

int err_sys(struct err *err, int sys, const char *format, ...)
{
    int code = err_code_of_errno(sys);
    if (!err)
        return -code;
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(err->msg, sizeof(err->msg), format, ap);
    va_end(ap);
    char text[128];
    const char *reason = strerror_r(sys, text, sizeof(text));
    /* In the middle of a sentence: "no such file or directory", as programs in Go say it and clients look
     * for; but "RPC ..." stays. */
    if (n >= 0 && (size_t)n < sizeof(err->msg) && isupper((unsigned char)reason[0]) &&
        islower((unsigned char)reason[1]))
        snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %c%s", tolower((unsigned char)*reason),
                 reason + 1);
    else if (n >= 0 && (size_t)n < sizeof(err->msg))
        snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s", reason);
    err->code = code;
    err->sys = sys;
    return -code;
}

int err_wrap(struct err *err, const char *format, ...)
{
    if (!err)
        return -ERR_SYSTEM;
    char context[ERR_MESSAGE_BYTES / 2];
    va_list ap;
    va_start(ap, format);
    vsnprintf(context, sizeof(context), format, ap);
    va_end(ap);
    char joined[sizeof(err->msg) + sizeof(context) + 2];
    snprintf(joined, sizeof(joined), "%s: %s", context, err->msg);
    memcpy(err->msg, joined, sizeof(err->msg) - 1);
    err->msg[sizeof(err->msg) - 1] = '\0';
    return -(err->code ? err->code : ERR_SYSTEM);
}

int err_copy(struct err *to, const struct err *from)
{
    if (!from)
        return 0;
    if (to && to != from)
        *to = *from;
    return -from->code;
}
