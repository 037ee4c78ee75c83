/*
 * Connections of the host, and what is told of them.
 *
 * Places are never given back to the kernel, and the lowest free one is taken first: memory follows the largest number
 * of connections at once. A place is locked by whoever feeds it; who finds it locked for too long gives it up, and the
 * holder ends it (state 2).
 */
#include "src/probe/host/http_host.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "src/probe/host/hook.h"

#define INDEX_BITS 12u
#define INDEX_MASK ((1u << INDEX_BITS) - 1)
#define PATIENCE 2000u /* turns that a feeding thread waits for another */
_Static_assert(SL_PROBE_MAX_CONNECTIONS < INDEX_MASK && SL_PROBE_MAX_CONNECTIONS % 64 == 0, "places have their bits");

enum { FREE, LOCKED, LOCKED_TO_END };

typedef struct connection {
    _Atomic sl_http_ref ref; /* 0 while the place is free */
    _Atomic uint32_t lock;
    uint32_t times; /* given out */
    uint32_t id;
    int fd;
    bool told; /* a request of it */
    /* Copies of the watch's, for other threads: the request that waits, and whether its body was read. */
    _Atomic uint32_t waiting;
    _Atomic uint32_t whole;
    sl_http_watch watch;
} connection;

_Atomic sl_http_ref sl_http_by_fd[SL_HTTP_FDS];
static const void *_Atomic tls_keys[SL_PROBE_MAX_TLS + SL_HTTP_TLS_WINDOW]; /* who has the numbers behind the fds */
static connection *_Atomic pool;
static _Atomic uint64_t taken[SL_PROBE_MAX_CONNECTIONS / 64];
/* Of the host's attaching: in a child, the places that its parent had taken are free. */
static _Atomic uint32_t pool_generation, pool_clearing;

/* ---- telling ---- */

static uint32_t new_request(void *user)
{
    (void)user;
    return sl_host_next(&sl_the_host->last_request);
}

static void tell_request(connection *c, const sl_http_watch_event *e)
{
    c->told = true;
    sl_probe_request *p = (sl_probe_request *)(void *)sl_host_take(SL_PROBE_REQUEST, sizeof *p, e->tail.len);
    if (!p)
        return;
    p->head.flags = e->flags;
    p->head.count = (uint32_t)e->tail.len;
    p->start_ns = e->start_ns;
    p->request = e->request;
    p->connection = c->id;
    memcpy(p + 1, e->tail.ptr, e->tail.len);
    sl_host_commit(&p->head, sizeof *p, e->tail.len);
}

static void tell_request_end(const sl_http_watch_event *e)
{
    sl_probe_request_end *p = (sl_probe_request_end *)(void *)sl_host_take(SL_PROBE_REQUEST_END, sizeof *p, 0);
    if (!p)
        return;
    p->bytes = e->bytes;
    p->request = e->request;
    p->reserved = 0;
    sl_host_commit(&p->head, sizeof *p, 0);
}

static void tell_answer(const sl_http_watch_event *e)
{
    sl_probe_answer *p = (sl_probe_answer *)(void *)sl_host_take(SL_PROBE_ANSWER, sizeof *p, 0);
    if (!p)
        return;
    p->head.flags = e->flags;
    p->content_length = e->bytes;
    p->request = e->request;
    p->status = e->status;
    sl_host_commit(&p->head, sizeof *p, 0);
}

static void tell_frame(const sl_http_watch_event *e)
{
    sl_probe_frame *p = (sl_probe_frame *)(void *)sl_host_take(SL_PROBE_FRAME, sizeof *p, 0);
    if (!p)
        return;
    p->head.flags = e->flags;
    p->request = e->request;
    p->bytes = e->bytes < UINT32_MAX ? (uint32_t)e->bytes : UINT32_MAX;
    sl_host_commit(&p->head, sizeof *p, 0);
}

/* Whether the other side has said that nothing more comes, or is gone: what the server may not have read yet. */
static bool peer_has_left(int fd)
{
    struct pollfd p = {fd, POLLRDHUP, 0};
    return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

/* Servers end a stream in order also when they break it off because its reader has gone. */
static uint16_t end_flags(const connection *c, uint16_t flags)
{
    bool ask = flags == SL_PROBE_END_COMPLETE && c->watch.is_event_stream && (unsigned)c->fd < SL_PROBE_MAX_FDS;
    return ask && peer_has_left(c->fd) ? flags | SL_PROBE_END_BY_PEER : flags;
}

static void tell_answer_end(const connection *c, const sl_http_watch_event *e)
{
    sl_probe_answer_end *p = (sl_probe_answer_end *)(void *)sl_host_take(SL_PROBE_ANSWER_END, sizeof *p, e->tail.len);
    if (!p)
        return;
    p->head.flags = end_flags(c, e->flags);
    p->head.count = (uint32_t)e->tail.len;
    p->bytes = e->bytes;
    p->request = e->request;
    p->reserved = 0;
    if (e->tail.len)
        memcpy(p + 1, e->tail.ptr, e->tail.len);
    sl_host_commit(&p->head, sizeof *p, e->tail.len);
}

static void on_event(void *user, const sl_http_watch_event *e)
{
    if (e->kind == SL_PROBE_REQUEST)
        tell_request(user, e);
    else if (e->kind == SL_PROBE_REQUEST_END)
        tell_request_end(e);
    else if (e->kind == SL_PROBE_ANSWER)
        tell_answer(e);
    else if (e->kind == SL_PROBE_FRAME)
        tell_frame(e);
    else
        tell_answer_end(user, e);
}

static sl_http_watch_sink sink_of(connection *c)
{
    return (sl_http_watch_sink){new_request, on_event, c};
}

/* ---- places ---- */

static connection *places(void)
{
    connection *have = atomic_load_explicit(&pool, memory_order_acquire), *none = NULL;
    if (SL_LIKELY(have != NULL))
        return have;
    size_t size = sizeof(connection) * SL_PROBE_MAX_CONNECTIONS;
    void *made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED)
        return NULL;
    if (atomic_compare_exchange_strong(&pool, &none, made))
        return made;
    (void)munmap(made, size); /* another thread was quicker */
    return none;
}

/* The connection's number stands for it no more. */
static void leave_fd(const connection *c, sl_http_ref ref)
{
    SL_ASSERT((unsigned)c->fd < SL_HTTP_FDS);
    bool was = atomic_compare_exchange_strong(&sl_http_by_fd[c->fd], &ref, 0);
    if (was && (unsigned)c->fd >= SL_PROBE_MAX_FDS)
        atomic_store(&tls_keys[(unsigned)c->fd - SL_PROBE_MAX_FDS], NULL);
}

static void clear_pool(connection *c)
{
    for (size_t i = 0; i < SL_PROBE_MAX_CONNECTIONS; i++) {
        if (!(atomic_load(&taken[i / 64]) >> i % 64 & 1))
            continue;
        leave_fd(&c[i], atomic_exchange(&c[i].ref, 0));
        atomic_store(&c[i].lock, FREE);
        atomic_fetch_and(&taken[i / 64], ~(1ull << i % 64));
    }
}

/* False while there is no pool of this process. */
static bool pool_is_ours(void)
{
    uint32_t now = atomic_load_explicit(&sl_host_generation, memory_order_relaxed);
    uint32_t was = atomic_load_explicit(&pool_clearing, memory_order_relaxed);
    connection *c = places();
    if (!c || atomic_load_explicit(&pool_generation, memory_order_acquire) == now)
        return c != NULL;
    if (was == now || !atomic_compare_exchange_strong(&pool_clearing, &was, now))
        return false;
    clear_pool(c);
    atomic_store_explicit(&pool_generation, now, memory_order_release);
    return true;
}

/* Index of a place that is now the caller's; SL_PROBE_MAX_CONNECTIONS: none is free. */
static size_t take_place(void)
{
    for (size_t word = 0; word < SL_PROBE_MAX_CONNECTIONS / 64; word++) {
        uint64_t bits = atomic_load_explicit(&taken[word], memory_order_relaxed);
        while (~bits) {
            unsigned bit = (unsigned)__builtin_ctzll(~bits);
            if (atomic_compare_exchange_weak(&taken[word], &bits, bits | 1ull << bit))
                return word * 64 + bit;
        }
    }
    return SL_PROBE_MAX_CONNECTIONS;
}

static void free_place(connection *c)
{
    size_t i = (size_t)(c - atomic_load_explicit(&pool, memory_order_relaxed));
    SL_ASSERT(i < SL_PROBE_MAX_CONNECTIONS);
    atomic_store(&c->ref, 0);
    atomic_store(&c->waiting, 0);
    atomic_store_explicit(&c->lock, FREE, memory_order_release);
    atomic_fetch_and(&taken[i / 64], ~(1ull << i % 64));
}

/* The record of a connection, which may have been given to another meanwhile. NULL: there is none. */
static connection *record_of(sl_http_ref ref)
{
    connection *c = atomic_load_explicit(&pool, memory_order_acquire);
    if (!c || !ref ||
        atomic_load_explicit(&pool_generation, memory_order_relaxed) !=
            atomic_load_explicit(&sl_host_generation, memory_order_relaxed))
        return NULL;
    return &c[(ref & INDEX_MASK) - 1];
}

/* ---- locking ---- */

static void end_locked(connection *c, sl_http_watch_ending how)
{
    sl_http_watch_sink sink = sink_of(c);
    leave_fd(c, atomic_load_explicit(&c->ref, memory_order_relaxed));
    sl_http_watch_end(&c->watch, &sink, how);
    free_place(c);
}

/* Gives the lock back, or ends the connection for a thread that could not wait for it. */
static void release(connection *c)
{
    uint32_t state = LOCKED;
    if (atomic_compare_exchange_strong_explicit(&c->lock, &state, FREE, memory_order_release, memory_order_relaxed))
        return;
    if (atomic_load_explicit(&c->ref, memory_order_acquire))
        end_locked(c, SL_HTTP_WATCH_GIVEN_UP);
    else
        atomic_store_explicit(&c->lock, FREE, memory_order_release);
}

/* The locked record; NULL when the reference is stale, or another thread is at it for too long. */
static connection *lock_of(sl_http_ref ref, bool *ret_busy)
{
    connection *c = record_of(ref);
    *ret_busy = false;
    for (unsigned turn = 0; c && turn < PATIENCE; turn++) {
        uint32_t state = FREE;
        if (atomic_load_explicit(&c->ref, memory_order_relaxed) != ref)
            return NULL;
        if (!atomic_compare_exchange_weak_explicit(&c->lock, &state, LOCKED, memory_order_acquire,
                                                   memory_order_relaxed))
            continue;
        if (SL_LIKELY(atomic_load_explicit(&c->ref, memory_order_acquire) == ref))
            return c;
        release(c);
        return NULL;
    }
    *ret_busy = c != NULL;
    return NULL;
}

static void unlock(connection *c)
{
    uint32_t current = sl_http_watch_current(&c->watch);
    atomic_store_explicit(&c->waiting, current, memory_order_relaxed);
    atomic_store_explicit(&c->whole, c->watch.reading != current, memory_order_relaxed);
    /* What is not understood from its first byte on may be TLS's wrapping: what is within is read piece by piece. */
    if (SL_UNLIKELY(sl_http_watch_is_lost(&c->watch) && (c->watch.tls || c->told)))
        end_locked(c, SL_HTTP_WATCH_GIVEN_UP); /* adopted again when it goes on with a request, or within TLS */
    else
        release(c);
}

/* Another thread holds it: its end is left to that one. */
static void give_up(connection *c, sl_http_ref ref)
{
    uint32_t state = LOCKED;
    if (c && atomic_load(&c->ref) == ref && !atomic_compare_exchange_strong(&c->lock, &state, LOCKED_TO_END)) {
        bool busy;
        connection *free_now = state == FREE ? lock_of(ref, &busy) : NULL;
        if (free_now)
            end_locked(free_now, SL_HTTP_WATCH_GIVEN_UP);
    }
}

/* Locks the connection if the descriptor still stands for it. */
static connection *enter(int fd, sl_http_ref ref)
{
    bool busy;
    SL_ASSERT((unsigned)fd < SL_HTTP_FDS);
    if (atomic_load_explicit(&sl_http_by_fd[fd], memory_order_relaxed) != ref || sl_host_this_thread()->ours)
        return NULL;
    connection *c = lock_of(ref, &busy);
    if (busy && atomic_compare_exchange_strong(&sl_http_by_fd[fd], &ref, 0))
        give_up(record_of(ref), ref);
    return c;
}

/* ---- what happens to a connection ---- */

static void end_of(sl_http_ref ref)
{
    bool busy;
    connection *c = lock_of(ref, &busy);
    if (c)
        end_locked(c, SL_HTTP_WATCH_BY_SERVER);
    else if (busy)
        give_up(record_of(ref), ref);
}

/* A place for a new connection; 0: none is free. */
static sl_http_ref place_for(int fd, bool tls)
{
    size_t i = take_place();
    if (i == SL_PROBE_MAX_CONNECTIONS)
        return 0;
    connection *c = atomic_load(&pool) + i;
    sl_http_ref ref = ++c->times << INDEX_BITS | (uint32_t)(i + 1);
    c->fd = fd;
    c->told = false;
    c->id = sl_host_next(&sl_the_host->last_connection);
    sl_http_watch_init(&c->watch, tls);
    atomic_store(&c->waiting, 0);
    atomic_store(&c->ref, ref);
    return ref;
}

static sl_http_ref begin(int fd, bool tls)
{
    SL_ASSERT((unsigned)fd < SL_HTTP_FDS);
    if (!pool_is_ours() || sl_host_this_thread()->ours)
        return 0;
    sl_http_ref ref = place_for(fd, tls), old = atomic_exchange(&sl_http_by_fd[fd], ref);
    if (old)
        end_of(old); /* its close was not seen */
    return ref;
}

void sl_http_accepted(int fd)
{
    if ((unsigned)fd < SL_PROBE_MAX_FDS && sl_host_same_process())
        (void)begin(fd, false);
}

/* A request line that nobody sends who speaks something else. */
static bool begins_request(sl_str bytes)
{
    static const char *const methods[] = {"GET /", "POST /", "PUT /", "HEAD /", "DELETE /", "OPTIONS /", "PATCH /"};
    size_t end = sl_str_chr(sl_str_sub(bytes, 0, SL_HTTP_WATCH_LINE), '\n');
    if (end == SL_NPOS)
        return false;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (sl_str_starts(bytes, sl_str_c(methods[i])))
            return sl_str_find(sl_str_sub(bytes, 0, end), SL_STR(" HTTP/1.")) != SL_NPOS;
    }
    return false;
}

static void begin_with(int fd, const void *bytes, size_t len, bool tls)
{
    struct iovec piece = {(void *)(uintptr_t)bytes, len};
    sl_http_moved moved = {&piece, 1, len, tls};
    sl_http_ref ref = begin(fd, tls);
    if (ref)
        sl_http_was_read(fd, ref, &moved);
}

void sl_http_adopt(int fd, const void *bytes, size_t len, bool tls)
{
    int type, kept = errno;
    socklen_t size = sizeof type;
    if ((unsigned)fd < SL_PROBE_MAX_FDS && begins_request(sl_str_of(bytes, len)) &&
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM && sl_host_same_process())
        begin_with(fd, bytes, len, tls);
    errno = kept;
}

/* ---- TLS without a descriptor ---- */

static size_t tls_home(const void *ssl)
{
    return (size_t)((uint64_t)(uintptr_t)ssl * 0x9E3779B97F4A7C15ull >> 40) % SL_PROBE_MAX_TLS;
}

int sl_http_tls_fd(const void *ssl)
{
    size_t home = tls_home(ssl);
    for (size_t i = home; i < home + SL_HTTP_TLS_WINDOW; i++) {
        if (atomic_load_explicit(&tls_keys[i], memory_order_relaxed) == ssl)
            return (int)(SL_PROBE_MAX_FDS + i);
    }
    return -1;
}

/* A number for the object; -1: there is no room. One thread at a time uses an object of libssl. */
static int tls_fd_new(const void *ssl)
{
    size_t home = tls_home(ssl);
    int known = sl_http_tls_fd(ssl);
    for (size_t i = home; known < 0 && i < home + SL_HTTP_TLS_WINDOW; i++) {
        const void *none = NULL;
        if (atomic_compare_exchange_strong(&tls_keys[i], &none, ssl))
            known = (int)(SL_PROBE_MAX_FDS + i);
    }
    return known;
}

void sl_http_tls_adopt(const void *ssl, const void *bytes, size_t len)
{
    int kept = errno;
    if (begins_request(sl_str_of(bytes, len)) && sl_host_same_process() && pool_is_ours()) {
        int fd = tls_fd_new(ssl);
        if (fd >= 0)
            begin_with(fd, bytes, len, true);
    }
    errno = kept;
}

/* Bytes within TLS are a conversation of their own; what was fed before they came was its wrapping. */
static bool fits_layer(connection *c, bool tls)
{
    if (SL_LIKELY(c->watch.tls == tls))
        return true;
    if (tls && sl_http_watch_current(&c->watch) == 0)
        sl_http_watch_init(&c->watch, true);
    return tls && c->watch.tls;
}

void sl_http_was_read(int fd, sl_http_ref ref, const sl_http_moved *moved)
{
    connection *c = enter(fd, ref);
    if (!c)
        return;
    sl_http_watch_sink sink = sink_of(c);
    uint64_t now_ns = sl_host_now();
    size_t left = fits_layer(c, moved->tls) ? moved->bytes : 0;
    for (size_t i = 0; i < moved->count && left; i++) {
        size_t n = moved->pieces[i].iov_len < left ? moved->pieces[i].iov_len : left;
        sl_http_watch_in(&c->watch, &sink, sl_str_of(moved->pieces[i].iov_base, n), now_ns);
        left -= n;
    }
    unlock(c);
    sl_http_serve(ref, true);
}

void sl_http_was_written(int fd, sl_http_ref ref, const sl_http_moved *moved)
{
    connection *c = enter(fd, ref);
    if (!c)
        return;
    sl_http_watch_sink sink = sink_of(c);
    uint32_t before = sl_http_watch_current(&c->watch);
    size_t left = fits_layer(c, moved->tls) ? moved->bytes : 0;
    for (size_t i = 0; i < moved->count && left; i++) {
        size_t n = moved->pieces[i].iov_len < left ? moved->pieces[i].iov_len : left;
        sl_http_watch_out(&c->watch, &sink, sl_str_of(moved->pieces[i].iov_base, n));
        left -= n;
    }
    sl_http_watch_written(&c->watch, &sink);
    bool answered = before != sl_http_watch_current(&c->watch);
    unlock(c);
    if (answered)
        sl_http_serve(ref, false);
}

void sl_http_was_sent(int fd, sl_http_ref ref, uint64_t bytes)
{
    connection *c = enter(fd, ref);
    if (!c)
        return;
    sl_http_watch_sink sink = sink_of(c);
    if (!c->watch.tls) {
        sl_http_watch_out_unseen(&c->watch, &sink, bytes);
        sl_http_watch_written(&c->watch, &sink);
    }
    unlock(c);
    sl_http_serve(ref, false);
}

static void end(int fd, sl_http_ref ref, sl_http_watch_ending how)
{
    connection *c = enter(fd, ref);
    if (!c)
        return;
    end_locked(c, how);
    sl_http_serve(ref, false);
}

void sl_http_at_end(int fd, sl_http_ref ref)
{
    bool whole;
    if (sl_http_waiting(ref, &whole) == 0 && sl_host_same_process())
        end(fd, ref, SL_HTTP_WATCH_BY_SERVER);
}

void sl_http_failed(int fd, sl_http_ref ref, int error)
{
    if ((error == EPIPE || error == ECONNRESET || error == ETIMEDOUT || error == ENOTCONN) && sl_host_same_process())
        end(fd, ref, SL_HTTP_WATCH_BY_PEER);
}

void sl_http_closing(int fd, sl_http_ref ref)
{
    int kept = errno;
    bool whole;
    if (sl_host_same_process())
        end(fd, ref,
            sl_http_waiting(ref, &whole) && peer_has_left(fd) ? SL_HTTP_WATCH_AFTER_PEER : SL_HTTP_WATCH_BY_SERVER);
    errno = kept;
}

void sl_http_tls_gone(const void *ssl, bool by_peer)
{
    int kept = errno, fd = sl_http_tls_fd(ssl);
    if (fd >= 0 && sl_host_same_process()) {
        sl_http_ref ref = atomic_load_explicit(&sl_http_by_fd[fd], memory_order_relaxed);
        if (ref)
            end(fd, ref, by_peer ? SL_HTTP_WATCH_BY_PEER : SL_HTTP_WATCH_BY_SERVER);
        (void)atomic_compare_exchange_strong(&tls_keys[(unsigned)fd - SL_PROBE_MAX_FDS], &ssl, NULL);
    }
    errno = kept;
}

uint32_t sl_http_waiting(sl_http_ref ref, bool *ret_whole)
{
    connection *c = record_of(ref);
    if (!c || atomic_load_explicit(&c->ref, memory_order_relaxed) != ref)
        return 0;
    *ret_whole = atomic_load_explicit(&c->whole, memory_order_relaxed) != 0;
    return atomic_load_explicit(&c->waiting, memory_order_relaxed);
}
