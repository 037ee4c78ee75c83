/* Event streams: no crash, and the same frames however the bytes are cut. */
#include "src/wire/sse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static void take(sl_buf *out, const sl_sse_frame *frame)
{
    sl_buf scratch;
    sl_str data;
    sl_buf_init(&scratch, 1 << 20);
    int rc = sl_sse_frame_data(frame, &scratch, &data);
    EXPECT(rc == 0 || rc == SL_ENOENT);
    EXPECT(frame->cut || frame->bytes.len > 0);
    (void)sl_sse_frame_is_done(frame);
    (void)sl_buf_put_char(out, frame->cut ? 'C' : 'F');
    (void)sl_buf_put_str(out, frame->bytes);
    (void)sl_buf_put_char(out, '\0');
    if (rc == 0)
        (void)sl_buf_put_str(out, data);
    sl_buf_done(&scratch);
}

/* All frames of a stream fed in pieces, as one text. */
static void collect(sl_str text, size_t step, size_t max, sl_buf *out)
{
    sl_sse sse;
    sl_sse_frame frame;
    sl_sse_init(&sse, max);
    for (size_t at = 0; at < text.len; at += step) {
        sl_str piece = sl_str_sub(text, at, step);
        char *copy = malloc(piece.len);
        EXPECT(copy);
        memcpy(copy, piece.ptr, piece.len);
        sl_str rest = sl_str_of(copy, piece.len);
        while (sl_sse_next(&sse, &rest, &frame) == 0)
            take(out, &frame);
        EXPECT(rest.len == 0);
        free(copy);
    }
    if (sl_sse_finish(&sse, &frame) == 0)
        take(out, &frame);
    sl_sse_done(&sse);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    sl_str text = sl_str_of((const char *)data + 2, size - 2);
    size_t max = data[1] % 4 == 0 ? 1u + data[1] : 0;
    sl_buf whole, pieces;
    sl_buf_init(&whole, 1 << 26);
    sl_buf_init(&pieces, 1 << 26);
    collect(text, text.len ? text.len : 1, max, &whole);
    collect(text, 1u + data[0] % 32u, max, &pieces);
    EXPECT(sl_str_eq(sl_buf_str(&whole), sl_buf_str(&pieces)));
    sl_buf_done(&whole);
    sl_buf_done(&pieces);
    return 0;
}
