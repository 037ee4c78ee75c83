/*
 * Heap memory of the library: malloc behind a seam, so that tests can make the Nth allocation fail and count leaks.
 */
#ifndef SL_BASE_MEM_H
#define SL_BASE_MEM_H

#include <stddef.h>

/* The seam. `resize` serves allocation (ptr NULL), change and, with size 0, release. */
typedef struct sl_allocator {
    void *(*resize)(void *user, void *ptr, size_t size);
    void *user;
} sl_allocator;

/* As malloc; NULL when memory runs out or size is 0. */
void *sl_malloc(size_t size);
/* As calloc; NULL also when count * size overflows. */
void *sl_calloc(size_t count, size_t size);
/* As realloc with a size above 0; the old block stays valid on failure. */
void *sl_realloc(void *ptr, size_t size);
/* As free; NULL is accepted. */
void sl_free(void *ptr);
/* Copy of LEN bytes with a NUL behind them; NULL without memory. Freed by sl_free. */
char *sl_strndup(const char *ptr, size_t len);

/* Allocations of the calling thread that have failed so far. Who reads what was built in many small pieces sees by it
 * whether a piece may be missing. */
size_t sl_mem_failures(void);

/* Replaces the allocator (NULL: malloc's) for the whole process. Only while nothing is allocated by the library. */
void sl_mem_set_allocator(const sl_allocator *allocator);

#endif
