/* What every unit test includes: cmocka with its own prerequisites, and a scratch directory. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <unistd.h>

/* Fails with the error's own words. */
#define assert_ok(r, err)                                                                                    \
    do {                                                                                                     \
        int r_ = (int)(r);                                                                                   \
        if (r_ < 0)                                                                                          \
            fail_msg("%s: returned %d: %s", #r, r_, (err)->msg);                                             \
    } while (0)

/* A fresh directory below TMPDIR (or /tmp); remove with scratch_remove. */
static inline char *scratch_new(void)
{
    const char *tmp = getenv("TMPDIR");
    char *path = str_printf("%s/drover-unit-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(path))
        fail_msg("mkdtemp: %s", strerror(errno));
    return path;
}

static inline void scratch_remove(char *path)
{
    struct err err;
    int r;
    /* A keeper that came up second, of two that were started at once, may be about to see that it is one too
     * many: it has a file there for a moment. */
    for (int tries = 0; (r = file_remove_tree(path, &err)) < 0 && err.sys == ENOTEMPTY && tries < 500;
         tries++)
        usleep(20000);
    if (r < 0)
        fail_msg("%s", err.msg);
    free(path);
}

#endif
