/* The frames of a stream: looked at as they pass, and the one that only we asked for taken out. */
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/gateway/gw_impl.h"
#include "src/gateway/telemetry.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* ---- what is worth a closer look ---- */

/* Behind a name's closing quote: white space, colon, white space; true when the value is not `null`. */
static bool tells(const char *p, const char *end)
{
    SL_ASSERT(p && p <= end);
    while (p < end && (*p == ' ' || *p == ':' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p == end || *p != 'n';
}

static bool named_here(const char *p, const char *end)
{
    SL_ASSERT(p && p < end && *p == '"');
    static const sl_str names[] = {{"\"usage\"", 7}, {"\"finish_reason\"", 15}};
    sl_str rest = sl_str_of(p, (size_t)(end - p));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (sl_str_starts(rest, names[i]) && tells(p + names[i].len, end))
            return true;
    }
    return false;
}

bool sl_gw_may_tell(sl_str data)
{
    SL_ASSERT(data.ptr || !data.len);
    const char *p = data.ptr, *end = p + data.len;
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), u = _mm_set1_epi8('u'), f = _mm_set1_epi8('f');
    for (; end - p > 16; p += 16) {
        __m128i here = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i next = _mm_loadu_si128((const __m128i *)(const void *)(p + 1));
        __m128i hit =
            _mm_and_si128(_mm_cmpeq_epi8(here, quote), _mm_or_si128(_mm_cmpeq_epi8(next, u), _mm_cmpeq_epi8(next, f)));
        for (unsigned mask = (unsigned)_mm_movemask_epi8(hit); mask; mask &= mask - 1) {
            if (named_here(p + __builtin_ctz(mask), end))
                return true;
        }
    }
#endif
    for (; p < end; p++) {
        if (*p == '"' && named_here(p, end))
            return true;
    }
    return false;
}

/* ---- watching ---- */

static void learn(sl_gw_request *request, sl_str data)
{
    SL_ASSERT(request);
    int error = sl_answer_read(&request->answer, data);
    (void)error; /* a frame that is not JSON tells nothing */
}

/* Data of a frame. The usual one, a single line behind "data:", needs no walk over lines. False: none in one piece. */
static bool data_of(const sl_sse_frame *frame, sl_str *ret_data)
{
    SL_ASSERT(frame && ret_data);
    sl_str line = frame->bytes;
    if (SL_LIKELY(sl_str_starts(line, SL_STR("data:")) && line.ptr[line.len - 1] == '\n' &&
                  memchr(line.ptr, '\n', line.len - 1) == NULL && memchr(line.ptr, '\r', line.len) == NULL)) {
        size_t from = line.len > 6 && line.ptr[5] == ' ' ? 6 : 5;
        *ret_data = sl_str_of(line.ptr + from, line.len - 1 - from);
        return true;
    }
    return sl_sse_frame_data(frame, NULL, ret_data) == 0;
}

/* Looks at a frame. True: it is the one that only we asked for. */
static bool see_frame(sl_gw_request *request, const sl_sse_frame *frame, uint64_t now)
{
    SL_ASSERT(request && frame);
    sl_gw_stream *stream = &request->stream;
    sl_str data;
    if (frame->cut || !data_of(frame, &data) || sl_str_eq(sl_str_trim(data), SL_STR("[DONE]")))
        return false;
    sl_frame_kind kind = {false, false};
    if (sl_gw_may_tell(data))
        kind = sl_frame_look(data);
    if (stream->hide_usage && kind.usage && sl_frame_is_usage_only(data)) {
        learn(request, data);
        return true;
    }
    if (stream->frames == 0 || kind.usage || kind.finish)
        learn(request, data);
    if (stream->frames++ == 0) {
        stream->first_ns = now;
        sl_gw_trace_first(request, now);
    } else {
        sl_gw_trace_frame(request, now - stream->last_ns);
    }
    stream->last_ns = now;
    return false;
}

/* Watches what passes. */
static void watch_frames(sl_gw_request *request, sl_str bytes, bool end)
{
    SL_ASSERT(request);
    sl_sse_frame frame;
    uint64_t now = sl_mono_ns();
    while (sl_sse_next(&request->stream.sse, &bytes, &frame) == 0)
        (void)see_frame(request, &frame, now);
    if (end && sl_sse_finish(&request->stream.sse, &frame) == 0)
        (void)see_frame(request, &frame, now);
}

/* Sends the held beginning of a frame that turned out to be one for the client. */
static void send_held(sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_buf *hold = &request->stream.hold;
    if (hold->len == 0)
        return;
    sl_gw_pass_on(request, sl_buf_str(hold), false);
    sl_buf_clear(hold);
}

/*
 * Takes hidden frames out of `bytes`, in place. Whole frames go on at once; the beginning of one that is not complete
 * waits for its rest (nobody could have read it anyway). Returns what may go out now, behind what was held.
 */
static sl_str hide_frames(sl_gw_request *request, sl_str bytes, bool end)
{
    SL_ASSERT(request && (bytes.ptr || !bytes.len));
    sl_gw_stream *stream = &request->stream;
    char *to = (char *)bytes.ptr;
    size_t kept = 0;
    uint64_t now = sl_mono_ns();
    sl_sse_frame frame;
    for (;;) {
        sl_str before = bytes;
        int result = sl_sse_next(&stream->sse, &bytes, &frame);
        if (result != 0 && end)
            result = sl_sse_finish(&stream->sse, &frame);
        size_t len = before.len - bytes.len;
        if (result != 0) {
            if (!end && sl_buf_put(&stream->hold, before.ptr, before.len) == 0)
                break;
            if (!end)
                stream->hide_usage = false; /* a frame beyond all bounds: it passes as it is */
            send_held(request);
        } else if (see_frame(request, &frame, now)) {
            sl_buf_clear(&stream->hold);
            continue;
        } else {
            send_held(request);
        }
        SL_ASSERT(to || !len);
        if (len)
            memmove(to + kept, before.ptr, len);
        kept += len;
        if (result != 0)
            break;
    }
    return sl_str_of(to, kept);
}

sl_str sl_gw_frames_for_client(sl_gw_request *request, sl_str bytes, bool end)
{
    SL_ASSERT(request);
    if (request->stream.hide_usage)
        return hide_frames(request, bytes, end);
    watch_frames(request, bytes, end);
    return bytes;
}
