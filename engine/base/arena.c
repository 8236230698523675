/* arena.c: chunks of zeroed memory, handed out by moving a mark. Chunks double up to 4 MiB, so that a small parse costs
 * little and a large one few allocations; what is larger than a chunk gets its own. */
#include "engine/base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

enum { ALIGN = 16, FIRST_CHUNK = 4096, LARGEST_CHUNK = 4 << 20 };

struct ArenaChunk {
    ArenaChunk *older;
    size_t used, size; /* bytes of the payload */
    _Alignas(ALIGN) unsigned char payload[];
};

/* calloc gives large chunks as fresh pages of the system: zeroed, and untouched until used. */
static ArenaChunk *chunk_new(Arena *a, size_t size)
{
    size_t bytes;
    if (!checked_add(size, sizeof(ArenaChunk), &bytes))
        return NULL;
    ArenaChunk *c = calloc(1, bytes);
    if (!c)
        return NULL;
    c->size = size;
    a->total_bytes += bytes;
    return c;
}

void *arena_alloc(Arena *a, size_t bytes)
{
    size_t need;
    if (!checked_align(bytes ? bytes : 1, ALIGN, &need))
        return NULL;
    ArenaChunk *top = a->chunk;
    if (!top || need > top->size - top->used) {
        size_t size = top ? 2 * top->size : FIRST_CHUNK;
        if (size > LARGEST_CHUNK)
            size = LARGEST_CHUNK;
        ArenaChunk *c = chunk_new(a, need > size / 4 ? need : size);
        if (!c)
            return NULL;
        if (top && need > size / 4) { /* a chunk of its own goes beneath, so that the open one stays in use */
            c->older = top->older;
            top->older = c;
        } else {
            c->older = top;
            a->chunk = c;
        }
        top = c;
    }
    void *p = top->payload + top->used;
    top->used += need;
    return p;
}

void *arena_array(Arena *a, size_t count, size_t elem_bytes)
{
    size_t bytes;
    if (!checked_mul(count, elem_bytes, &bytes))
        return NULL;
    return arena_alloc(a, bytes);
}

char *arena_strndup(Arena *a, const char *s, size_t len)
{
    size_t bytes;
    if (!checked_add(len, 1, &bytes))
        return NULL;
    char *copy = arena_alloc(a, bytes);
    if (copy && len)
        memcpy(copy, s, len);
    return copy;
}

void arena_free(Arena *a)
{
    if (!a)
        return;
    for (ArenaChunk *c = a->chunk; c;) {
        ArenaChunk *older = c->older;
        free(c);
        c = older;
    }
    *a = (Arena){0};
}
