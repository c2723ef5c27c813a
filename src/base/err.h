/* Errors: a small negative code that the program acts on, and a text that a person acts on.
 *
 * A function that can fail returns 0 or a negative code (-ERR_...), and fills the caller's `struct err`,
 * always its last parameter. Outputs are untouched on failure and always set on success. Filling never
 * allocates, so that it works when memory is short. `err` may be NULL where the caller needs only the code.
 *
 *     struct err err = {0};
 *     if (image_find(images, "web", &image, &err) < 0)
 *         return err_wrap(&err, "create container");
 *
 * Add context (err_wrap) when an error crosses a folder. Log or return, never both: only an edge (an API
 * handler, a CLI verb, an event loop) logs. One table (err.c) maps a code to its name, HTTP status, exit code
 * and whether trying again can help. A message says the cause and what to do, starts in lower case and has no
 * full stop at its end. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

enum err_code {
    ERR_NONE = 0,
    ERR_INVALID,      /* the request itself is wrong: its form, a value */
    ERR_UNAUTHORIZED, /* who are you */
    ERR_DENIED,       /* you may not; also EPERM and EACCES of the kernel */
    ERR_NOT_FOUND,
    ERR_CONFLICT,     /* not in this state, or the name is taken */
    ERR_NOT_MODIFIED, /* it was so already */
    ERR_UNSUPPORTED,  /* named in a standard, and not done here */
    ERR_LIMIT,        /* a bound was reached: size, count, depth */
    ERR_NO_SPACE,     /* disk full or quota */
    ERR_CORRUPT,      /* a digest or a stored form is wrong */
    ERR_UNAVAILABLE,  /* a peer or a process does not answer */
    ERR_NOT_LEADER,   /* another member decides */
    ERR_NO_MAJORITY,  /* too few members answer for anything to be decided */
    ERR_BUSY,         /* too many ask at once */
    ERR_TIMEOUT,
    ERR_CANCELLED, /* the asker went away */
    ERR_PROTOCOL,  /* a peer speaks nonsense */
    ERR_NO_MEMORY,
    ERR_SYSTEM, /* anything else the kernel refused */
    ERR_MAX_,
};

enum { ERR_MESSAGE_BYTES = 1024 };

struct err {
    int code; /* enum err_code, positive */
    int sys;  /* errno of the cause, or 0 */
    char msg[ERR_MESSAGE_BYTES];
};

/* Fills `err` and returns -code. */
int err_set(struct err *err, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int err_vset(struct err *err, enum err_code code, const char *format, va_list ap)
    __attribute__((format(printf, 3, 0)));

/* The same from an errno: the code follows from it (ENOENT: not found, ENOSPC and EDQUOT: no space, ...), and
 * ": " with the errno's text is appended to the message. Returns the negative code. */
int err_sys(struct err *err, int sys, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the message; returns the error's negative code. The oldest words go when the text
 * is longer than fits. */
int err_wrap(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Copies `from` (may be NULL) into `to` (may be NULL), and returns the negative code. */
int err_copy(struct err *to, const struct err *from);

/* Facts of a code, from the table. `code` may be negative as returned, or positive. */
const char *err_name(int code); /* "not found" */
int err_http_status(int code);  /* 404 */
int err_exit_code(int code);    /* process exit status, 1 for most */
bool err_retryable(int code);
int err_code_of_errno(int sys); /* positive enum err_code */

#endif
