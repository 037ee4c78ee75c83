/* Shared work: a list of jobs, each with a counter of the rows that are handed out. */
#include "src/store/collection_pool.h"

#include <sched.h>
#include <stdatomic.h>

#include "src/base/mem.h"
#include "src/base/sync.h"

typedef struct job job;
struct job {
    /* Constant. */
    sl_pool_fn fn;
    void *user;
    size_t rows, chunk;
    /* Atomic: relaxed, the lock orders everything else. */
    atomic_size_t next_row;
    /* Guarded by the pool's lock. */
    size_t slots;   /* given out */
    size_t helpers; /* at work */
    job *next;
};

struct sl_pool {
    size_t size;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* a job has come, or the end */
    pthread_cond_t left; /* a helper has left a job */
    job *jobs;
    bool started;
    bool ending;
    size_t thread_count;
    pthread_t threads[SL_MAX_POOL_THREADS];
};

static size_t core_count(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : (size_t)count;
}

int sl_pool_new(size_t threads, sl_pool **ret_pool)
{
    SL_ASSERT(ret_pool);
    sl_pool *pool = sl_calloc(1, sizeof *pool);
    if (!pool)
        return SL_ENOMEM;
    pool->size = threads ? threads : core_count();
    if (pool->size > SL_MAX_POOL_THREADS)
        pool->size = SL_MAX_POOL_THREADS;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->wake, NULL);
    (void)pthread_cond_init(&pool->left, NULL);
    *ret_pool = pool;
    return 0;
}

void sl_pool_free(sl_pool *pool)
{
    if (!pool)
        return;
    (void)pthread_mutex_lock(&pool->lock);
    SL_ASSERT(!pool->jobs);
    pool->ending = true;
    (void)pthread_cond_broadcast(&pool->wake);
    (void)pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->thread_count; i++)
        (void)pthread_join(pool->threads[i], NULL);
    (void)pthread_cond_destroy(&pool->left);
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->lock);
    sl_free(pool);
}

size_t sl_pool_size(const sl_pool *pool)
{
    SL_ASSERT(!pool || pool->size >= 1);
    return pool ? pool->size : 1;
}

/* Does parts until none is left. */
static void take_part(job *j, size_t slot)
{
    SL_ASSERT(j && j->chunk > 0);
    for (;;) {
        size_t from = atomic_fetch_add_explicit(&j->next_row, j->chunk, memory_order_relaxed);
        if (from >= j->rows)
            return;
        size_t to = j->rows - from > j->chunk ? from + j->chunk : j->rows;
        j->fn(j->user, slot, from, to);
    }
}

/* A job that has rows left and a slot; the lock is held. */
static job *find_job(sl_pool *pool)
{
    for (job *j = pool->jobs; j; j = j->next)
        if (j->slots < pool->size && atomic_load_explicit(&j->next_row, memory_order_relaxed) < j->rows)
            return j;
    return NULL;
}

static void *help(void *user)
{
    sl_pool *pool = user;
    (void)pthread_mutex_lock(&pool->lock);
    while (!pool->ending) {
        job *j = find_job(pool);
        if (!j) {
            (void)pthread_cond_wait(&pool->wake, &pool->lock);
            continue;
        }
        size_t slot = j->slots++;
        j->helpers++;
        (void)pthread_mutex_unlock(&pool->lock);
        take_part(j, slot);
        (void)pthread_mutex_lock(&pool->lock);
        SL_ASSERT(j->helpers > 0);
        if (--j->helpers == 0)
            (void)pthread_cond_broadcast(&pool->left);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* The lock is held. */
static void start_threads(sl_pool *pool)
{
    if (pool->started)
        return;
    pool->started = true;
    while (pool->thread_count + 1 < pool->size && sl_thread_start(&pool->threads[pool->thread_count], help, pool) == 0)
        pool->thread_count++;
}

static void link_job(sl_pool *pool, job *j)
{
    (void)pthread_mutex_lock(&pool->lock);
    start_threads(pool);
    job **end = &pool->jobs; /* the oldest first: it is helped before the younger ones */
    while (*end)
        end = &(*end)->next;
    *end = j;
    (void)pthread_cond_broadcast(&pool->wake);
    (void)pthread_mutex_unlock(&pool->lock);
}

static void unlink_job(sl_pool *pool, job *j)
{
    (void)pthread_mutex_lock(&pool->lock);
    while (j->helpers)
        (void)pthread_cond_wait(&pool->left, &pool->lock);
    job **at = &pool->jobs;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    (void)pthread_mutex_unlock(&pool->lock);
}

void sl_pool_each(sl_pool *pool, size_t rows, size_t chunk, sl_pool_fn fn, void *user)
{
    SL_ASSERT(fn && chunk > 0);
    if (rows == 0)
        return;
    job j = {.fn = fn, .user = user, .rows = rows, .chunk = chunk, .slots = 1};
    atomic_init(&j.next_row, 0);
    if (!pool || pool->size == 1 || rows <= chunk) {
        take_part(&j, 0);
        return;
    }
    link_job(pool, &j);
    take_part(&j, 0);
    unlink_job(pool, &j);
}
