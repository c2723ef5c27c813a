#include "base/mem.h"

#include <string.h>
#include <unistd.h>

_Noreturn void must_fail(const char *condition, const char *file, int line)
{
    fprintf(stderr, "drover: impossible state: %s (%s:%d)\n", condition, file, line);
    abort();
}

static _Noreturn void out_of_memory(size_t bytes)
{
    fprintf(stderr, "drover: out of memory (%zu bytes asked)\n", bytes);
    abort();
}

size_t mem_mul(size_t a, size_t b)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        out_of_memory(SIZE_MAX);
    return product;
}

void *mem_new(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p)
        out_of_memory(bytes);
    return p;
}

void *mem_grow(void *p, size_t count, size_t size)
{
    size_t bytes = mem_mul(count, size);
    void *grown = realloc(p, bytes ? bytes : 1);
    if (!grown)
        out_of_memory(bytes);
    return grown;
}

void *mem_dup(const void *p, size_t bytes)
{
    void *copy = mem_new(bytes);
    if (bytes)
        memcpy(copy, p, bytes);
    return copy;
}

char *mem_strdup(const char *s)
{
    return s ? mem_dup(s, strlen(s) + 1) : NULL;
}

char *mem_strndup(const char *s, size_t n)
{
    size_t length = strnlen(s, n);
    char *copy = mem_new(length + 1);
    memcpy(copy, s, length);
    return copy;
}

int close_fd(int fd)
{
    if (fd >= 0) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return -EBADF;
}
