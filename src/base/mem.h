/* Ownership of memory and descriptors by scope.
 *
 *     _cleanup_free_ char *path = str_printf("%s/%s", root, name);
 *     _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
 *     ...
 *     *ret_fd = take_fd(&fd);
 *
 * A descriptor variable starts as -EBADF; close_fd() leaves errno alone and returns -EBADF. Allocation never
 * returns NULL: a machine that cannot give a few bytes ends the process with a message (what peers can grow
 * is bounded before it is allocated, so that they cannot reach this). */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define _cleanup_(f)    __attribute__((cleanup(f)))
#define _cleanup_free_  _cleanup_(mem_free_p)
#define _cleanup_close_ _cleanup_(close_fd_p)
#define _cleanup_file_  _cleanup_(close_file_p)
#define _printf_(a, b)  __attribute__((format(printf, a, b)))
#define _unused_        __attribute__((unused))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

/* An impossible state of our own making: says where, and aborts. Always on. Input never reaches one. */
#define must(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            must_fail(#condition, __FILE__, __LINE__);                                                       \
    } while (0)
_Noreturn void must_fail(const char *condition, const char *file, int line);

void *mem_new(size_t bytes);                        /* zeroed */
void *mem_grow(void *p, size_t count, size_t size); /* realloc of count * size, checked for overflow */
void *mem_dup(const void *p, size_t bytes);
char *mem_strdup(const char *s); /* NULL gives NULL */
char *mem_strndup(const char *s, size_t n);
#define NEW(type)      ((type *)mem_new(sizeof(type)))
#define NEW_N(type, n) ((type *)mem_new(mem_mul((n), sizeof(type))))
size_t mem_mul(size_t a, size_t b); /* aborts on overflow */

/* Makes room for one more in a growing array: GROW(items, count, capacity). */
#define GROW(items, count, capacity)                                                                         \
    do {                                                                                                     \
        if ((count) >= (capacity)) {                                                                         \
            (capacity) = (capacity) ? (capacity)*2 : 8;                                                      \
            (items) = mem_grow((items), (capacity), sizeof(*(items)));                                       \
        }                                                                                                    \
    } while (0)

static inline void mem_free_p(void *p)
{
    free(*(void **)p);
}

#define take_ptr(p)                                                                                          \
    ({                                                                                                       \
        __typeof__(p) *taken_from_ = &(p);                                                                   \
        __typeof__(p) taken_ = *taken_from_;                                                                 \
        *taken_from_ = NULL;                                                                                 \
        taken_;                                                                                              \
    })

int close_fd(int fd); /* accepts negatives; keeps errno; returns -EBADF */
static inline void close_fd_p(int *fd)
{
    *fd = close_fd(*fd);
}
static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -EBADF;
    return taken;
}
static inline void close_file_p(FILE **f)
{
    if (*f)
        fclose(*f);
    *f = NULL;
}

#endif
