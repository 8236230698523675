/* arena.h: memory that is taken together and freed together (tokenizer tables, JSON trees, parsed headers).
 * Every pointer is 16-byte aligned; nothing moves once given out. */
#ifndef STRATA_BASE_ARENA_H
#define STRATA_BASE_ARENA_H

#include <stddef.h>

typedef struct ArenaChunk ArenaChunk;
typedef struct Arena {
    ArenaChunk *chunk;  /* newest first */
    size_t total_bytes; /* taken from malloc so far */
} Arena;

void *arena_alloc(Arena *a, size_t bytes);                    /* zeroed; NULL when memory is out */
void *arena_array(Arena *a, size_t count, size_t elem_bytes); /* zeroed; NULL on overflow or no memory */
char *arena_strndup(Arena *a, const char *s, size_t len);     /* NUL-terminated copy */
void arena_free(Arena *a);                                    /* accepts an empty or zeroed arena */

#endif
