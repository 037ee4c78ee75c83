/*
 * One event loop of one thread: libuv, a read buffer that all its connections share, and coarse timers.
 *
 * Promises: an idle connection owns no buffer; setting a timer again costs two stores (a deadline that moves away is
 * noticed when the old one comes up); an idle loop does not wake up. Timers are late by at most SL_TIMER_TICK_MS, never
 * early. Nothing here is for a second thread.
 */
#ifndef SL_NET_LOOP_H
#define SL_NET_LOOP_H

#include <uv.h>

#include "src/base/assert.h"
#include "src/base/buf.h"
#include "src/base/str.h"

#define SL_LOOP_READ_BYTES (64u * 1024)
#define SL_TIMER_TICK_MS 50u
#define SL_TIMER_SLOTS 1024u /* a turn of the wheel is 51 s; later deadlines go round again */

typedef struct sl_timer sl_timer;
typedef void (*sl_timer_fn)(sl_timer *timer);

/* In the caller's storage. All zero is a timer that is not set. */
struct sl_timer {
    sl_timer *next;
    sl_timer **prev; /* NULL: not in the wheel */
    sl_timer_fn fn;
    uint64_t deadline; /* ticks; 0: not set */
    uint64_t slot;     /* tick at which the wheel looks at it */
};

typedef struct sl_loop {
    uv_loop_t uv;
    char *read_buffer; /* SL_LOOP_READ_BYTES, valid during one read callback */
    sl_buf scratch;    /* for the one who builds something within one callback */
    uv_timer_t ticker;
    bool ticking;
    size_t timer_count;
    uint64_t tick; /* the next one to be looked at */
    sl_timer *slots[SL_TIMER_SLOTS];
} sl_loop;

/* Errors: SL_ENOMEM, SL_EIO. */
SL_MUST_CHECK int sl_loop_init(sl_loop *loop);
/* Runs what is left of closing handles and frees the loop. Nothing else may be active. */
void sl_loop_done(sl_loop *loop);

/* Sets or moves a timer: `fn` is called once, `ms` from now or up to a tick later. */
void sl_timer_set(sl_loop *loop, sl_timer *timer, sl_timer_fn fn, uint64_t ms);
/* Takes a timer out; nothing happens when it is not set. */
void sl_timer_stop(sl_loop *loop, sl_timer *timer);
/* Keeps a timer from firing at the price of a store; it stays in the wheel until its old deadline. */
static inline void sl_timer_rest(sl_timer *timer)
{
    timer->deadline = 0;
}

/* For uv_read_start: the loop's shared buffer. `handle->loop->data` is the sl_loop. */
void sl_loop_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf);

/*
 * Writes to a stream: at once as far as the kernel takes it, the rest is copied and queued behind what waits already.
 * `pieces` may be changed. Errors: SL_ENOMEM, SL_ECLOSED (the stream is broken; the caller closes it).
 */
SL_MUST_CHECK int sl_stream_write(uv_stream_t *stream, uv_buf_t *pieces, unsigned count, uv_write_cb done);

/* A numeric address and its port as text; false when it is neither IPv4 nor IPv6, or does not fit. */
bool sl_sockaddr_text(const struct sockaddr *address, char *text, size_t size, uint16_t *ret_port);

static inline sl_loop *sl_loop_of(const uv_loop_t *uv)
{
    return (sl_loop *)uv->data;
}

#endif
