/*
 * A watched connection: no crash, the same events however the bytes are cut, and every request begins, ends and is
 * answered in order.
 */
#include "src/probe/http_watch.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

typedef struct told {
    uint64_t hash;
    uint64_t frame_bytes;
    uint32_t last_request, last_read, last_answered, last_ended;
} told;

static uint32_t new_request(void *user)
{
    return ++((told *)user)->last_request;
}

static void mix(told *t, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        t->hash = (t->hash ^ ((const unsigned char *)bytes)[i]) * 1099511628211ull;
}

static void check_order(told *t, const sl_http_watch_event *e)
{
    EXPECT(e->request > 0 && e->request <= t->last_request);
    switch (e->kind) {
    case SL_PROBE_REQUEST:
        EXPECT(e->request == t->last_request && e->tail.len >= 4 && e->tail.len <= SL_PROBE_HEAD_MAX);
        EXPECT(e->tail.ptr[e->tail.len - 1] == '\n' && memchr(e->tail.ptr, ' ', e->tail.len));
        break;
    case SL_PROBE_REQUEST_END:
        EXPECT(e->request > t->last_read && e->request > t->last_ended);
        t->last_read = e->request;
        break;
    case SL_PROBE_ANSWER:
        EXPECT(e->request == t->last_ended + 1 && e->request > t->last_answered && e->status >= 100);
        t->last_answered = e->request;
        t->frame_bytes = 0;
        break;
    case SL_PROBE_FRAME:
        EXPECT(e->request == t->last_answered && e->bytes > 0);
        t->frame_bytes += e->bytes;
        break;
    case SL_PROBE_ANSWER_END:
        EXPECT(e->request == t->last_ended + 1 && e->tail.len <= SL_PROBE_TAIL_MAX && t->frame_bytes <= e->bytes);
        t->last_ended = e->request;
        t->frame_bytes = 0;
        break;
    default:
        abort();
    }
}

static void on_event(void *user, const sl_http_watch_event *e)
{
    told *t = user;
    check_order(t, e);
    if (e->kind == SL_PROBE_FRAME)
        return;
    mix(t, &e->kind, sizeof e->kind);
    mix(t, &e->flags, sizeof e->flags);
    mix(t, &e->request, sizeof e->request);
    mix(t, &e->status, sizeof e->status);
    mix(t, &e->start_ns, sizeof e->start_ns);
    mix(t, &e->bytes, sizeof e->bytes);
    mix(t, e->tail.ptr, e->tail.len);
}

/* Pieces of a direction, each with its length in front of it; fed in steps of at most `step` bytes. */
static void play(const uint8_t *data, size_t size, size_t step, told *t)
{
    static sl_http_watch watch;
    sl_http_watch_sink sink = {new_request, on_event, t};
    bool failed = size && data[0] & 1;
    uint64_t now = 0;
    sl_http_watch_init(&watch, false);
    for (size_t at = 1; at < size;) {
        unsigned way = data[at] & 1u;
        size_t len = at + 1 < size ? ((size_t)(data[at] >> 1) << 4) + (data[at + 1] & 15u) : 0;
        at += 2;
        sl_str piece = sl_str_sub(sl_str_of((const char *)data, size), at, len);
        now++;
        for (size_t i = 0; i < piece.len; i += step) {
            if (way)
                sl_http_watch_out(&watch, &sink, sl_str_sub(piece, i, step));
            else
                sl_http_watch_in(&watch, &sink, sl_str_sub(piece, i, step), now);
            if (way)
                sl_http_watch_written(&watch, &sink);
        }
        at += piece.len;
    }
    sl_http_watch_end(&watch, &sink, failed ? SL_HTTP_WATCH_BY_PEER : SL_HTTP_WATCH_BY_SERVER);
    EXPECT(sl_http_watch_is_lost(&watch) && sl_http_watch_current(&watch) == 0);
    EXPECT(t->last_ended == t->last_request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    told whole = {.hash = 1469598103934665603ull}, cut = whole;
    play(data, size, SIZE_MAX / 2, &whole);
    play(data, size, size ? 1u + data[0] % 7u : 1u, &cut);
    EXPECT(whole.hash == cut.hash && whole.last_request == cut.last_request);
    return 0;
}
