/* A change of file modes as chmod(1) takes it: octal ("644", "1777"), or symbolic ("u=rwX,go=rX", "+x",
 * "g=u"). Without u, g, o or a, a symbolic clause is for all, whatever the umask. */
#ifndef BASE_FILE_MODE_H
#define BASE_FILE_MODE_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

enum { FILE_MODE_MAX_STEPS = 32 };

struct file_mode {
    struct file_mode_step {
        mode_t who;    /* the bits of these classes are meant, special ones among them */
        char op;       /* '=', '+', '-' */
        mode_t bits;   /* for every class */
        bool if_exec;  /* X: execution for directories, and where somebody may execute already */
        mode_t copied; /* 0700, 0070 or 0007: the bits of that class; else 0 */
    } steps[FILE_MODE_MAX_STEPS];
    size_t count;
};

/* ERR_INVALID says what a mode looks like. */
int file_mode_parse(const char *text, struct file_mode *ret, struct err *err);
/* The permission bits (07777) that a file of `mode` gets. */
mode_t file_mode_apply(const struct file_mode *m, mode_t mode);

#endif
