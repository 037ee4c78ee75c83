/*
 * Arena: memory of one request, freed at once. Nothing taken from it is freed by itself.
 * Built with SL_ARENA_MALLOC every allocation is a malloc of its own, so that sanitizers see each bound.
 */
#ifndef SL_BASE_ARENA_H
#define SL_BASE_ARENA_H

#include <sightline/base.h>

typedef struct sl_arena_block sl_arena_block;

typedef struct sl_arena {
    sl_arena_block *blocks; /* newest first */
    size_t used;            /* bytes given out in total */
    size_t max;
    size_t block_bytes;
} sl_arena;

/* An empty arena that gives out at most `max` bytes, in blocks of `block_bytes`. Allocates nothing. */
void sl_arena_init(sl_arena *arena, size_t block_bytes, size_t max);
/* Frees everything; the arena is empty and usable again. */
void sl_arena_done(sl_arena *arena);
/* Forgets everything but keeps one block for the next request. */
void sl_arena_reset(sl_arena *arena);
/* `size` bytes aligned for any type, not cleared; NULL at the maximum or without memory. */
void *sl_arena_alloc(sl_arena *arena, size_t size);
/* Cleared memory. */
void *sl_arena_zalloc(sl_arena *arena, size_t size);
/* Copy of a view, NUL-terminated; ptr NULL when it failed. */
sl_str sl_arena_dup(sl_arena *arena, sl_str s);

#endif
