/*
 * See pgvector.h. A request is in the queue, then with one member (a thread and its connection), then done. Whoever
 * frees it while a member has it leaves it to the member, and wakes that up through its eventfd.
 */
#include "src/store/pgvector.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/store/pgvector_impl.h"

#define IDLE_MS 60000
#define ANSWER_MS 120000
#define CLOSE_MS 3000 /* for a thread to end */

typedef enum request_state { WAITING = 0, RUNNING, DONE } request_state;

struct sl_pgvector_request {
    /* Constant from the start. */
    sl_pgvector *pool;
    sl_pg_search search;
    void *user;
    /* Under the lock. */
    sl_pgvector_request *next;
    request_state state;
    struct member *member;
    void (*done)(void *user); /* NULL: freed by its owner */
};

typedef struct member {
    sl_pgvector *pool;
    pthread_t thread;
    sl_pg_session session; /* the thread's */
} member;

struct sl_pgvector {
    /* Constant from the start. */
    char *conninfo, *library;
    uint64_t answer_ms, idle_ms;
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closing;
    sl_pgvector_request *first, **last;
    unsigned waiting, idle, member_count;
    member members[SL_MAX_PGVECTOR_CONNECTIONS];
    bool loaded;
    sl_libpq pq; /* constant once it is loaded */
};

/* ---- requests ---- */

static void request_delete(sl_pgvector_request *r)
{
    sl_pg_search_done(&r->search);
    sl_free(r);
}

static sl_pgvector_request *take_first(sl_pgvector *pool)
{
    sl_pgvector_request *r = pool->first;
    if (!r)
        return NULL;
    pool->first = r->next;
    if (!pool->first)
        pool->last = &pool->first;
    pool->waiting--;
    r->next = NULL;
    r->state = RUNNING;
    return r;
}

static void take_out(sl_pgvector *pool, sl_pgvector_request *r)
{
    sl_pgvector_request **at = &pool->first;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    if (!*at)
        pool->last = at;
    pool->waiting--;
}

/* ---- members ---- */

/* The library, looked for until it is found: it may be installed meanwhile. */
static bool load_library(sl_pgvector *pool, sl_pg_fault *fault)
{
    char reason[SL_LIBPQ_REASON];
    (void)pthread_mutex_lock(&pool->lock);
    if (!pool->loaded)
        pool->loaded = sl_libpq_load(pool->library ? pool->library : SL_LIBPQ_FILE, reason, &pool->pq) == 0;
    bool loaded = pool->loaded;
    (void)pthread_mutex_unlock(&pool->lock);
    if (!loaded)
        sl_pg_fault_set(fault, SL_PG_INTERNAL, "%s", reason);
    return loaded;
}

static void drain(int wake)
{
    uint64_t count;
    while (read(wake, &count, sizeof count) > 0)
        ;
}

/* Waits for a request; NULL: the pool closes. A connection that is idle for long is closed. Under the lock. */
static sl_pgvector_request *wait_request(member *m)
{
    sl_pgvector *pool = m->pool;
    while (!pool->first && !pool->closing) {
        uint64_t deadline = m->session.link.conn ? sl_deadline_ns(pool->idle_ms) : SL_FOREVER;
        pool->idle++;
        bool woken = sl_cond_wait_until(&pool->wake, &pool->lock, deadline);
        pool->idle--;
        if (!woken && !pool->first && m->session.link.conn) {
            (void)pthread_mutex_unlock(&pool->lock);
            sl_pg_session_reset(&m->session);
            (void)pthread_mutex_lock(&pool->lock);
        }
    }
    return pool->closing ? NULL : take_first(pool);
}

static void *run_member(void *user)
{
    member *m = user;
    sl_pgvector *pool = m->pool;
    sl_pgvector_request *r;
    (void)pthread_mutex_lock(&pool->lock);
    while ((r = wait_request(m))) {
        r->member = m;
        (void)pthread_mutex_unlock(&pool->lock);
        if (load_library(pool, &r->search.answer.fault)) {
            m->session.link.pq = &pool->pq;
            sl_pg_session_search(&m->session, pool->conninfo, pool->answer_ms, &r->search);
        }
        (void)pthread_mutex_lock(&pool->lock);
        drain(m->session.link.wake);
        r->state = DONE;
        if (r->done)
            r->done(r->user);
        else
            request_delete(r);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    sl_pg_session_reset(&m->session);
    return NULL;
}

/* One more, when there may be one. True: somebody will take what waits. Under the lock. */
static bool add_member(sl_pgvector *pool)
{
    if (pool->waiting < pool->idle || pool->member_count == SL_MAX_PGVECTOR_CONNECTIONS)
        return true;
    member *m = &pool->members[pool->member_count];
    *m = (member){.pool = pool};
    m->session.link.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->session.link.wake >= 0 && sl_thread_start(&m->thread, run_member, m) == 0) {
        pool->member_count++;
        return true;
    }
    if (m->session.link.wake >= 0)
        (void)close(m->session.link.wake);
    return pool->member_count > 0;
}

/* ---- the pool ---- */

static void pool_delete(sl_pgvector *pool)
{
    sl_free(pool->conninfo);
    sl_free(pool->library);
    sl_free(pool);
}

int sl_pgvector_new(const sl_pgvector_options *options, sl_pgvector **ret_pool)
{
    SL_ASSERT(options && options->conninfo && ret_pool);
    sl_pgvector *pool = sl_calloc(1, sizeof *pool);
    if (!pool)
        return SL_ENOMEM;
    pool->conninfo = sl_strndup(options->conninfo, strlen(options->conninfo));
    pool->library = options->library ? sl_strndup(options->library, strlen(options->library)) : NULL;
    pool->answer_ms = options->answer_ms ? options->answer_ms : ANSWER_MS;
    pool->idle_ms = options->idle_ms ? options->idle_ms : IDLE_MS;
    pool->last = &pool->first;
    if (!pool->conninfo || (options->library && !pool->library) || sl_cond_init(&pool->wake)) {
        pool_delete(pool);
        return SL_ENOMEM;
    }
    (void)pthread_mutex_init(&pool->lock, NULL);
    *ret_pool = pool;
    return 0;
}

static bool join_member(member *m)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLOSE_MS / 1000;
    return pthread_timedjoin_np(m->thread, NULL, &until) == 0;
}

void sl_pgvector_close(sl_pgvector *pool)
{
    if (!pool)
        return;
    bool all = true;
    const uint64_t one = 1;
    (void)pthread_mutex_lock(&pool->lock);
    SL_ASSERT(!pool->first && !pool->closing);
    pool->closing = true;
    (void)pthread_cond_broadcast(&pool->wake);
    for (unsigned i = 0; i < pool->member_count; i++)
        if (write(pool->members[i].session.link.wake, &one, sizeof one) < 0)
            SL_ASSERT(errno == EAGAIN); /* it is awake already */
    (void)pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->member_count; i++)
        if (join_member(&pool->members[i]))
            (void)close(pool->members[i].session.link.wake);
        else
            all = false;
    if (!all)
        return; /* that thread still looks at it */
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->lock);
    pool_delete(pool);
}

int sl_pgvector_search(sl_pgvector *pool, const sl_pg_query *query, sl_vector_filter *filter, void (*done)(void *user),
                       void *user, sl_pgvector_request **ret_request)
{
    SL_ASSERT(pool && query && done && ret_request);
    sl_pgvector_request *r = sl_calloc(1, sizeof *r);
    if (!r || sl_pg_search_init(&r->search, query, filter)) {
        if (!r)
            sl_vector_filter_free(filter);
        sl_free(r);
        return SL_ENOMEM;
    }
    r->pool = pool;
    r->user = user;
    r->done = done;
    int error = 0;
    (void)pthread_mutex_lock(&pool->lock);
    SL_ASSERT(!pool->closing);
    if (pool->waiting >= SL_MAX_PGVECTOR_WAITING)
        error = SL_EAGAIN;
    else if (!add_member(pool))
        error = SL_ENOMEM;
    if (!error) {
        *pool->last = r;
        pool->last = &r->next;
        pool->waiting++;
        *ret_request = r;
        (void)pthread_cond_signal(&pool->wake);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (error)
        request_delete(r);
    return error;
}

sl_pgvector_answer *sl_pgvector_answer_of(sl_pgvector_request *request)
{
    SL_ASSERT(request && request->state == DONE);
    return &request->search.answer;
}

void sl_pgvector_request_free(sl_pgvector_request *request)
{
    if (!request)
        return;
    sl_pgvector *pool = request->pool;
    const uint64_t one = 1;
    (void)pthread_mutex_lock(&pool->lock);
    bool running = request->state == RUNNING;
    if (request->state == WAITING)
        take_out(pool, request);
    request->done = NULL; /* its member frees it */
    if (running && write(request->member->session.link.wake, &one, sizeof one) < 0)
        SL_ASSERT(errno == EAGAIN); /* it is awake already */
    (void)pthread_mutex_unlock(&pool->lock);
    if (!running)
        request_delete(request);
}
