#include "base/json_arena.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>

enum { ARENA_BYTES = 64 << 10, ALIGNMENT = 16 };

static struct {
    bool on;
    size_t used, live; /* bytes, blocks */
    char bytes[ARENA_BYTES] __attribute__((aligned(4096)));
} arena;

void json_arena_begin(void)
{
    arena.on = true;
}

void json_arena_end(void)
{
    arena.on = false;
}

#ifdef __SANITIZE_ADDRESS__

void json_arena_use(void)
{
}

#else

static void *take(size_t size)
{
    if (!arena.on || size > ARENA_BYTES - arena.used)
        return malloc(size);
    void *block = arena.bytes + arena.used;
    arena.used += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    arena.live++;
    return block;
}

static void put(void *block)
{
    const char *at = block;
    if (at < arena.bytes || at >= arena.bytes + ARENA_BYTES)
        free(block);
    else if (--arena.live == 0)
        arena.used = 0;
}

void json_arena_use(void)
{
    json_set_alloc_funcs(take, put);
}

#endif
