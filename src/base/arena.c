/* Arena of blocks. */
#include "src/base/arena.h"

#include <stdalign.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

struct sl_arena_block {
    sl_arena_block *next;
    size_t size; /* of the data behind this head */
    size_t used;
    alignas(max_align_t) unsigned char data[];
};

#define ARENA_ALIGN alignof(max_align_t)

void sl_arena_init(sl_arena *arena, size_t block_bytes, size_t max)
{
    SL_ASSERT(arena && block_bytes > 0 && max > 0);
    memset(arena, 0, sizeof *arena);
    arena->block_bytes = block_bytes;
    arena->max = max;
}

void sl_arena_done(sl_arena *arena)
{
    if (!arena)
        return;
    while (arena->blocks) {
        sl_arena_block *next = arena->blocks->next;
        sl_free(arena->blocks);
        arena->blocks = next;
    }
    arena->used = 0;
}

void sl_arena_reset(sl_arena *arena)
{
    SL_ASSERT(arena);
#ifdef SL_ARENA_MALLOC
    sl_arena_done(arena);
#else
    while (arena->blocks && arena->blocks->next) {
        sl_arena_block *next = arena->blocks->next;
        sl_free(arena->blocks);
        arena->blocks = next;
    }
    if (arena->blocks && arena->blocks->size > arena->block_bytes) {
        sl_free(arena->blocks);
        arena->blocks = NULL;
    }
    if (arena->blocks)
        arena->blocks->used = 0;
    arena->used = 0;
#endif
}

static sl_arena_block *add_block(sl_arena *arena, size_t size)
{
    sl_arena_block *block = sl_malloc(sizeof *block + size);
    if (!block)
        return NULL;
    block->size = size;
    block->used = 0;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *sl_arena_alloc(sl_arena *arena, size_t size)
{
    SL_ASSERT(arena && arena->max > 0);
    if (size == 0)
        size = 1;
    if (size > arena->max || arena->used > arena->max - size)
        return NULL;
    size_t rounded = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
#ifdef SL_ARENA_MALLOC
    sl_arena_block *block = add_block(arena, size);
#else
    sl_arena_block *block = arena->blocks;
    if (!block || block->size - block->used < rounded)
        block = add_block(arena, rounded > arena->block_bytes ? rounded : arena->block_bytes);
#endif
    if (!block)
        return NULL;
    void *ptr = block->data + block->used;
    block->used = block->size - block->used < rounded ? block->size : block->used + rounded;
    arena->used += size;
    return ptr;
}

void *sl_arena_zalloc(sl_arena *arena, size_t size)
{
    void *ptr = sl_arena_alloc(arena, size);
    if (ptr)
        memset(ptr, 0, size);
    return ptr;
}

sl_str sl_arena_dup(sl_arena *arena, sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    char *copy = s.len < SIZE_MAX ? sl_arena_alloc(arena, s.len + 1) : NULL;
    if (!copy)
        return sl_str_of(NULL, 0);
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return sl_str_of(copy, s.len);
}
