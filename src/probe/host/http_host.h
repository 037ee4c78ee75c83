/*
 * The HTTP side of a host: connections by descriptor, and which request a thread is at work for.
 *
 * Descriptors become known through accept, or when the first bytes that are read from a socket are the head of a
 * request (a connection that was accepted before libllama was seen). Everything here may run in a signal handler and
 * never waits for long: a connection that two threads use at the same instant is watched no more.
 */
#ifndef SL_PROBE_HOST_HTTP_H
#define SL_PROBE_HOST_HTTP_H

#include <sys/uio.h>

#include "src/base/limits.h"
#include "src/probe/host/real.h"
#include "src/probe/http_watch.h"

/* A function of libc. */
static inline void *sl_host_libc(sl_hook_id id)
{
    void *found = atomic_load_explicit(&sl_host_reals[id], memory_order_acquire);
    return SL_LIKELY(found && sl_host_on()) ? found : sl_host_real(id);
}

/* A connection that is watched: place in the pool and how often the place was given out. 0: none. */
typedef uint32_t sl_http_ref;

/* TLS that works on memory (asyncio, for instance) has no descriptor: numbers from SL_PROBE_MAX_FDS on stand for it. */
#define SL_HTTP_TLS_WINDOW 8u /* places that a key may be in */
#define SL_HTTP_FDS (SL_PROBE_MAX_FDS + SL_PROBE_MAX_TLS + SL_HTTP_TLS_WINDOW)
extern _Atomic sl_http_ref sl_http_by_fd[SL_HTTP_FDS];

/* The connection behind a descriptor, while events are recorded. */
static inline sl_http_ref sl_http_find(int fd)
{
    if (!sl_host_on() || (unsigned)fd >= SL_PROBE_MAX_FDS)
        return 0;
    return atomic_load_explicit(&sl_http_by_fd[fd], memory_order_relaxed);
}

/* A descriptor of a new connection. */
void sl_http_accepted(int fd);
/* Bytes were read from a socket that is not known: it becomes known if they begin a request. `tls`: from within TLS. */
void sl_http_adopt(int fd, const void *bytes, size_t len, bool tls);

/* The number that stands for an object of libssl which has no descriptor; -1: it is not watched. */
int sl_http_tls_fd(const void *ssl);
/* Bytes were read by such an object: it becomes known if they begin a request. */
void sl_http_tls_adopt(const void *ssl, const void *bytes, size_t len);
/* The object is about to be freed. `by_peer`: the peer had said that it is done. */
void sl_http_tls_gone(const void *ssl, bool by_peer);

/* What a call has moved: the first `bytes` bytes of `pieces`. */
typedef struct sl_http_moved {
    const struct iovec *pieces;
    size_t count;
    size_t bytes;
    bool tls; /* text within TLS; of such a connection, what is outside is not looked at */
} sl_http_moved;
/* `ref` is what the descriptor stood for before the call; nothing happens when it stands for something else now. */
void sl_http_was_read(int fd, sl_http_ref ref, const sl_http_moved *moved);
void sl_http_was_written(int fd, sl_http_ref ref, const sl_http_moved *moved);
/* Bytes of a file. */
void sl_http_was_sent(int fd, sl_http_ref ref, uint64_t bytes);
/* The peer sends no more. */
void sl_http_at_end(int fd, sl_http_ref ref);
/* A call failed with `error`: the connection has ended if that says so. */
void sl_http_failed(int fd, sl_http_ref ref, int error);
/* The host is about to close it. */
void sl_http_closing(int fd, sl_http_ref ref);

/* ---- the thread ---- */

#define SL_HTTP_SERVES 4u

/* Which connections with an unanswered request this thread reads; one thread that reads several serves none of them
 * for certain. */
typedef struct sl_http_thread {
    uint32_t generation;
    uint32_t post_due; /* request that was read, or tokenised for, and not handed over since */
    bool post_guessed; /* told already, of a condition that may not be the queue's */
    uint32_t read_whole;
    uint32_t count;
    sl_http_ref serves[SL_HTTP_SERVES];
} sl_http_thread;
extern _Thread_local sl_http_thread sl_http_thread_state __attribute__((tls_model("initial-exec")));

/* The request of a connection that waits for its answer; 0: none. `*ret_whole`: its body was read. */
uint32_t sl_http_waiting(sl_http_ref ref, bool *ret_whole);
/* The thread has read from, or written to, the connection: finds out anew what it serves. */
void sl_http_serve(sl_http_ref ref, bool has_read);

#endif
