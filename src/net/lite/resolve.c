/*
 * Look-ups. Caller and thread hold a reference to a look-up each; the last one frees it with what was found. A thread
 * that is done in time is joined, another one detached.
 */
#include "src/net/lite/resolve.h"

#include <stdatomic.h>
#include <stdio.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/base/sync.h"

typedef struct lookup {
    _Atomic unsigned refs;
    /* Constant. */
    sl_net_ops ops;
    char *host;
    char *port;
    pthread_t thread; /* the caller's */
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t done_cond;
    bool done;
    int failed; /* EAI_… */
    struct addrinfo *list;
} lookup;

static _Atomic unsigned under_way;

static void lookup_unref(lookup *l)
{
    SL_ASSERT(l);
    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    if (l->list)
        freeaddrinfo(l->list);
    sl_free(l->host);
    sl_free(l->port);
    pthread_cond_destroy(&l->done_cond);
    pthread_mutex_destroy(&l->lock);
    sl_free(l);
}

static lookup *lookup_new(const sl_net_ops *ops, const char *host, const char *port)
{
    lookup *l = sl_calloc(1, sizeof *l);
    if (!l)
        return NULL;
    if (sl_cond_init(&l->done_cond)) {
        sl_free(l);
        return NULL;
    }
    pthread_mutex_init(&l->lock, NULL);
    atomic_init(&l->refs, 1);
    l->ops = *ops;
    l->host = sl_strndup(host, strlen(host));
    l->port = sl_strndup(port, strlen(port));
    if (!l->host || !l->port) {
        lookup_unref(l);
        return NULL;
    }
    return l;
}

static int ask(const sl_net_ops *ops, const char *host, const char *port, int flags, struct addrinfo **ret_list)
{
    struct addrinfo hints;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    return ops->resolve(ops->user, host, port, &hints, ret_list);
}

static void *run(void *user)
{
    lookup *l = user;
    struct addrinfo *list = NULL;
    int failed = ask(&l->ops, l->host, l->port, AI_NUMERICSERV, &list);
    pthread_mutex_lock(&l->lock);
    l->failed = failed;
    l->list = failed ? NULL : list;
    l->done = true;
    pthread_cond_signal(&l->done_cond);
    pthread_mutex_unlock(&l->lock);
    atomic_fetch_sub(&under_way, 1);
    lookup_unref(l);
    return NULL;
}

/* Starts the thread, which gets a reference. False: too many are out, or the system has no thread. */
static bool start(lookup *l)
{
    SL_ASSERT(l);
    if (atomic_fetch_add(&under_way, 1) < SL_MAX_LOOKUPS) {
        atomic_fetch_add(&l->refs, 1);
        if (!sl_thread_start(&l->thread, run, l))
            return true;
        atomic_fetch_sub(&l->refs, 1);
    }
    atomic_fetch_sub(&under_way, 1);
    return false;
}

static int explain(int failed, char *why, size_t size)
{
    (void)snprintf(why, size, "host name not resolved: %s", gai_strerror(failed));
    return failed == EAI_MEMORY ? SL_ENOMEM : SL_ERESOLVE;
}

/* Waits for the thread, and takes what it has found. */
static int wait_for(lookup *l, uint64_t deadline_ns, struct addrinfo **ret_list, char *why, size_t size)
{
    SL_ASSERT(l && ret_list);
    pthread_mutex_lock(&l->lock);
    while (!l->done && sl_mono_ns() < deadline_ns)
        (void)sl_cond_wait_until(&l->done_cond, &l->lock, deadline_ns);
    bool done = l->done;
    int failed = l->failed;
    struct addrinfo *list = l->list;
    l->list = NULL;
    pthread_mutex_unlock(&l->lock);
    if (!done) {
        (void)pthread_detach(l->thread);
        (void)snprintf(why, size, "host name not resolved in time");
        return SL_ETIMEOUT;
    }
    (void)pthread_join(l->thread, NULL);
    if (failed)
        return explain(failed, why, size);
    *ret_list = list;
    return 0;
}

int sl_resolve(const sl_net_ops *ops, const char *host, const char *port, uint64_t deadline_ns,
               struct addrinfo **ret_list, char *why, size_t size)
{
    SL_ASSERT(host && port && ret_list && why && size > 0);
    struct addrinfo *list = NULL;
    ops = ops ? ops : &sl_net_ops_libc;
    int failed = ask(ops, host, port, AI_NUMERICHOST | AI_NUMERICSERV, &list);
    if (failed == 0) {
        *ret_list = list;
        return 0;
    }
    if (failed != EAI_NONAME)
        return explain(failed, why, size);
    lookup *l = lookup_new(ops, host, port);
    int error = l ? 0 : SL_ENOMEM;
    if (error)
        (void)snprintf(why, size, "host name not resolved: no memory");
    if (!error && !start(l)) {
        (void)snprintf(why, size, "host name not resolved: too many look-ups hang");
        error = SL_ERESOLVE;
    }
    if (!error)
        error = wait_for(l, deadline_ns, ret_list, why, size);
    if (l)
        lookup_unref(l);
    return error;
}
