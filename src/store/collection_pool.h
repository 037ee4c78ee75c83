/*
 * Threads that share work which is split by row: whoever has the work takes part, idle threads join, and it returns
 * when all is done.
 *
 * Promises: works with no helper at all (the caller does everything); any number of callers at once; a helper that
 * cannot be started is done without.
 */
#ifndef SL_STORE_COLLECTION_POOL_H
#define SL_STORE_COLLECTION_POOL_H

#include "src/base/limits.h"
#include "src/base/str.h"

typedef struct sl_pool sl_pool;

/*
 * `threads` take part in a piece of work, its caller among them; 0: as many as this process may use cores, at most
 * SL_MAX_POOL_THREADS. They are started by the first work. Errors: SL_ENOMEM.
 */
SL_MUST_CHECK int sl_pool_new(size_t threads, sl_pool **ret_pool);
/* Joins the threads; no work may be under way. NULL is accepted. */
void sl_pool_free(sl_pool *pool);
/* Threads that may take part at once. NULL: 1. */
size_t sl_pool_size(const sl_pool *pool);

/* One part. `slot` is below sl_pool_size, and of this thread alone during the work. */
typedef void (*sl_pool_fn)(void *user, size_t slot, size_t from, size_t to);

/* Calls `fn` for parts of at most `chunk` of 0 to `rows`, in no order, until all are done. Any thread. */
void sl_pool_each(sl_pool *pool, size_t rows, size_t chunk, sl_pool_fn fn, void *user);

#endif
