/* The loop: shared read buffer, timer wheel, writing. */
#include "src/net/loop.h"

#include <errno.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

#define SCRATCH_MAX (1024u * 1024)

static void on_tick(uv_timer_t *ticker);

int sl_loop_init(sl_loop *loop)
{
    SL_ASSERT(loop);
    memset(loop, 0, sizeof *loop);
    loop->read_buffer = sl_malloc(SL_LOOP_READ_BYTES);
    if (!loop->read_buffer)
        return SL_ENOMEM;
    if (uv_loop_init(&loop->uv) != 0) {
        sl_free(loop->read_buffer);
        return SL_EIO;
    }
    sl_buf_init(&loop->scratch, SCRATCH_MAX);
    loop->uv.data = loop;
    if (uv_timer_init(&loop->uv, &loop->ticker) != 0) {
        (void)uv_loop_close(&loop->uv);
        sl_free(loop->read_buffer);
        return SL_EIO;
    }
    loop->ticker.data = loop;
    return 0;
}

void sl_loop_done(sl_loop *loop)
{
    if (!loop || !loop->read_buffer)
        return;
    SL_ASSERT(loop->timer_count == 0);
    uv_close((uv_handle_t *)&loop->ticker, NULL);
    while (uv_loop_alive(&loop->uv))
        (void)uv_run(&loop->uv, UV_RUN_ONCE);
    int busy = uv_loop_close(&loop->uv);
    SL_ASSERT(busy == 0);
    (void)busy;
    sl_buf_done(&loop->scratch);
    sl_free(loop->read_buffer);
    loop->read_buffer = NULL;
}

/* ---- timers ---- */

static uint64_t tick_now(sl_loop *loop)
{
    SL_ASSERT(loop);
    return uv_now(&loop->uv) / SL_TIMER_TICK_MS;
}

static void wheel_link(sl_loop *loop, sl_timer *timer)
{
    SL_ASSERT(!timer->prev && timer->deadline > 0);
    uint64_t slot = timer->deadline;
    if (slot < loop->tick)
        slot = loop->tick;
    if (slot >= loop->tick + SL_TIMER_SLOTS)
        slot = loop->tick + SL_TIMER_SLOTS - 1;
    timer->slot = slot;
    sl_timer **list = &loop->slots[slot % SL_TIMER_SLOTS];
    timer->next = *list;
    timer->prev = list;
    if (timer->next)
        timer->next->prev = &timer->next;
    *list = timer;
    loop->timer_count++;
}

static void wheel_unlink(sl_loop *loop, sl_timer *timer)
{
    SL_ASSERT(timer->prev && *timer->prev == timer && loop->timer_count > 0);
    *timer->prev = timer->next;
    if (timer->next)
        timer->next->prev = timer->prev;
    timer->next = NULL;
    timer->prev = NULL;
    loop->timer_count--;
}

static void ticker_start(sl_loop *loop)
{
    SL_ASSERT(loop);
    if (loop->ticking)
        return;
    uv_update_time(&loop->uv);
    if (loop->timer_count == 0)
        loop->tick = tick_now(loop);
    loop->ticking = true;
    (void)uv_timer_start(&loop->ticker, on_tick, SL_TIMER_TICK_MS, SL_TIMER_TICK_MS);
    uv_unref((uv_handle_t *)&loop->ticker);
}

void sl_timer_set(sl_loop *loop, sl_timer *timer, sl_timer_fn fn, uint64_t ms)
{
    SL_ASSERT(loop && timer && fn);
    if (SL_UNLIKELY(!loop->ticking))
        ticker_start(loop);
    timer->fn = fn;
    timer->deadline = (uv_now(&loop->uv) + ms) / SL_TIMER_TICK_MS + 1;
    if (timer->prev) {
        if (timer->slot <= timer->deadline)
            return;
        wheel_unlink(loop, timer);
    }
    wheel_link(loop, timer);
}

void sl_timer_stop(sl_loop *loop, sl_timer *timer)
{
    SL_ASSERT(timer);
    timer->deadline = 0;
    if (timer->prev)
        wheel_unlink(loop, timer);
}

/* Looks at one slot: what is due fires, what has moved is put where it belongs now, what rests falls out. */
static void run_slot(sl_loop *loop, uint64_t tick)
{
    SL_ASSERT(loop);
    sl_timer *due = NULL;
    sl_timer **due_end = &due;
    sl_timer *timer = loop->slots[tick % SL_TIMER_SLOTS];
    loop->tick = tick + 1;
    while (timer) {
        sl_timer *next = timer->next;
        SL_ASSERT(timer->slot == tick);
        wheel_unlink(loop, timer);
        if (timer->deadline > tick) {
            wheel_link(loop, timer);
        } else if (timer->deadline > 0) {
            /* Kept on a list of its own, linked as in the wheel: a callback may stop any other timer. */
            timer->prev = due_end;
            timer->next = NULL;
            *due_end = timer;
            due_end = &timer->next;
            loop->timer_count++;
        }
        timer = next;
    }
    while (due) {
        timer = due;
        wheel_unlink(loop, timer);
        if (timer->deadline == 0)
            continue;
        if (timer->deadline > tick) {
            wheel_link(loop, timer);
            continue;
        }
        timer->deadline = 0;
        timer->fn(timer);
    }
}

static void on_tick(uv_timer_t *ticker)
{
    SL_ASSERT(ticker);
    sl_loop *loop = ticker->data;
    uint64_t now = tick_now(loop);
    while (loop->tick <= now && loop->timer_count > 0)
        run_slot(loop, loop->tick);
    if (loop->timer_count == 0) {
        loop->ticking = false;
        (void)uv_timer_stop(&loop->ticker);
    } else if (loop->tick <= now) {
        loop->tick = now + 1;
    }
}

/* ---- reading and writing ---- */

void sl_loop_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    SL_ASSERT(ret_buf && handle);
    (void)suggested;
    ret_buf->base = sl_loop_of(handle->loop)->read_buffer;
    ret_buf->len = SL_LOOP_READ_BYTES;
}

/* Takes `written` bytes off the front of the pieces; returns how many pieces are used up. */
static unsigned skip_written(uv_buf_t *pieces, unsigned count, size_t written)
{
    unsigned i = 0;
    while (i < count && written >= pieces[i].len)
        written -= pieces[i++].len;
    if (i < count) {
        pieces[i].base += written;
        pieces[i].len -= written;
    }
    return i;
}

int sl_stream_write(uv_stream_t *stream, uv_buf_t *pieces, unsigned count, uv_write_cb done)
{
    SL_ASSERT(stream && (pieces || count == 0) && done);
    int written = uv_try_write(stream, pieces, count);
    if (written < 0) {
        if (written != UV_EAGAIN)
            return SL_ECLOSED;
        written = 0;
    }
    unsigned first = skip_written(pieces, count, (size_t)written);
    if (SL_LIKELY(first == count))
        return 0;
    size_t rest = 0;
    for (unsigned i = first; i < count; i++)
        rest += pieces[i].len;
    if (rest == 0)
        return 0;
    uv_write_t *request = sl_malloc(sizeof *request + rest);
    if (!request)
        return SL_ENOMEM;
    char *copy = (char *)(request + 1);
    size_t at = 0;
    for (unsigned i = first; i < count; i++) {
        memcpy(copy + at, pieces[i].base, pieces[i].len);
        at += pieces[i].len;
    }
    uv_buf_t queued = uv_buf_init(copy, (unsigned)rest);
    if (uv_write(request, stream, &queued, 1, done) != 0) {
        sl_free(request);
        return SL_ECLOSED;
    }
    return 0;
}

bool sl_sockaddr_text(const struct sockaddr *address, char *text, size_t size, uint16_t *ret_port)
{
    SL_ASSERT(address && text && ret_port);
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        *ret_port = ntohs(v4->sin_port);
        return uv_ip4_name(v4, text, size) == 0;
    }
    if (address->sa_family != AF_INET6)
        return false;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    *ret_port = ntohs(v6->sin6_port);
    return uv_ip6_name(v6, text, size) == 0;
}
