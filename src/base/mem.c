/* The allocator seam over malloc. */
#include "src/base/mem.h"

#include "src/base/assert.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *system_resize(void *user, void *ptr, size_t size)
{
    (void)user;
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

static sl_allocator current = {system_resize, NULL};

void sl_mem_set_allocator(const sl_allocator *allocator)
{
    if (allocator) {
        current = *allocator;
    } else {
        current.resize = system_resize;
        current.user = NULL;
    }
}

static _Thread_local size_t failures;

static void *resize(void *ptr, size_t size)
{
    void *block = size ? current.resize(current.user, ptr, size) : NULL;
    failures += !block && size;
    return block;
}

size_t sl_mem_failures(void)
{
    return failures;
}

void *sl_malloc(size_t size)
{
    return resize(NULL, size);
}

void *sl_calloc(size_t count, size_t size)
{
    if (count == 0 || size == 0 || count > SIZE_MAX / size)
        return NULL;
    void *ptr = sl_malloc(count * size);
    if (ptr)
        memset(ptr, 0, count * size);
    return ptr;
}

void *sl_realloc(void *ptr, size_t size)
{
    return resize(ptr, size);
}

void sl_free(void *ptr)
{
    if (ptr)
        (void)current.resize(current.user, ptr, 0);
}

char *sl_strndup(const char *ptr, size_t len)
{
    SL_ASSERT(ptr || !len);
    char *copy = len < SIZE_MAX ? sl_malloc(len + 1) : NULL;
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, ptr, len);
    copy[len] = '\0';
    return copy;
}
