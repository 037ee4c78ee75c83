/*
 * Cutting. A table says which fields of which message are texts to be cut and which are messages to be entered;
 * everything else is copied as it is, unknown fields too. Texts are cut shorter and shorter until the whole fits.
 */
#include "src/telemetry/batch_cut.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/wire/pb.h"

#define AROUND_VALUE 3u /* messages of a span around a value: the event, its KeyValue, the AnyValue */

typedef enum shape { COPY, TEXT, BLOB, SPAN, EVENT, LINK, STATUS, RECORD, KEY_VALUE, ANY, ARRAY, MAP } shape;

/* What field `number` of message `message` is. Source: OTLP trace.proto, logs.proto, common.proto. */
typedef struct field_shape {
    shape message;
    uint32_t number;
    shape what;
} field_shape;

static const field_shape shapes[] = {
    {SPAN, 5, TEXT},    {SPAN, 9, KEY_VALUE},   {SPAN, 11, EVENT},    {SPAN, 13, LINK},    {SPAN, 15, STATUS},
    {EVENT, 2, TEXT},   {EVENT, 3, KEY_VALUE},  {LINK, 4, KEY_VALUE}, {STATUS, 2, TEXT},   {RECORD, 5, ANY},
    {RECORD, 12, TEXT}, {RECORD, 6, KEY_VALUE}, {KEY_VALUE, 2, ANY},  {ANY, 1, TEXT},      {ANY, 7, BLOB},
    {ANY, 5, ARRAY},    {ANY, 6, MAP},          {ARRAY, 1, ANY},      {MAP, 1, KEY_VALUE},
};

static shape shape_of(shape message, const sl_pb_field *field)
{
    SL_ASSERT(field);
    if (field->wire != SL_PB_LEN)
        return COPY;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (shapes[i].message == message && shapes[i].number == field->number)
            return shapes[i].what;
    }
    return COPY;
}

/* Start of the last part of at most `max` bytes that does not begin inside a UTF-8 sequence. */
static size_t tail_start(sl_str s, size_t max)
{
    SL_ASSERT(s.ptr || !s.len);
    size_t at = s.len > max ? s.len - max : 0;
    while (at < s.len && ((unsigned char)s.ptr[at] & 0xC0) == 0x80)
        at++;
    return at;
}

/* Appends a text field, cut to about `limit` bytes. */
static int put_cut(sl_buf *out, uint32_t number, sl_str s, shape what, size_t limit)
{
    SL_ASSERT(s.ptr || !s.len);
    if (s.len <= limit)
        return sl_pb_buf_str(out, number, s);
    if (what == BLOB)
        return sl_pb_buf_str(out, number, sl_str_sub(s, 0, limit));
    size_t head = sl_utf8_prefix(s, limit * 2 / 3);
    size_t tail = tail_start(s, limit / 3);
    char note[48];
    int note_len = snprintf(note, sizeof note, "...[%zu bytes cut]...", tail - head);
    SL_ASSERT(head <= tail && note_len > 0 && (size_t)note_len < sizeof note);
    sl_pb_cursor c;
    size_t len = head + (size_t)note_len + (s.len - tail);
    int error = sl_pb_buf_cursor(out, len + 16, &c);
    if (error)
        return error;
    c.at = sl_pb_raw_varint(sl_pb_raw_tag(c.at, number, SL_PB_LEN), len);
    c.at = sl_pb_raw_copy(c.at, s.ptr, head);
    c.at = sl_pb_raw_copy(c.at, note, (size_t)note_len);
    c.at = sl_pb_raw_copy(c.at, s.ptr + tail, s.len - tail);
    sl_pb_buf_commit(out, &c);
    return 0;
}

/* Copies a message with its texts cut. */
static int cut_message(shape message, sl_str bytes, size_t limit, unsigned depth, sl_buf *out)
{
    if (depth > SL_MAX_VALUE_MESSAGES + AROUND_VALUE)
        return SL_EPARSE;
    sl_pb_reader r = sl_pb_reader_of(bytes);
    sl_pb_field field;
    const uint8_t *from = r.at;
    while (sl_pb_next(&r, &field)) {
        shape what = shape_of(message, &field);
        int error;
        if (what == COPY) {
            error = sl_buf_put(out, from, (size_t)(r.at - from));
        } else if (what == TEXT || what == BLOB) {
            error = put_cut(out, field.number, field.bytes, what, limit);
        } else {
            size_t mark = 0;
            error = sl_pb_buf_open(out, field.number, &mark);
            if (!error)
                error = cut_message(what, field.bytes, limit, depth + 1, out);
            if (!error)
                sl_pb_buf_close(out, mark);
        }
        if (error)
            return error;
        from = r.at;
    }
    return r.error;
}

int sl_batch_cut(sl_signal signal, sl_str item, size_t max, sl_buf *out)
{
    SL_ASSERT(signal == SL_SIGNAL_TRACES || signal == SL_SIGNAL_LOGS);
    SL_ASSERT(out && out->failed == 0);
    size_t start = out->len;
    for (size_t limit = 65536; limit >= 64; limit /= 4) {
        out->len = start;
        int error = cut_message(signal == SL_SIGNAL_TRACES ? SPAN : RECORD, item, limit, 0, out);
        if (error) {
            out->len = start;
            return error;
        }
        if (out->len - start <= max)
            return 0;
    }
    out->len = start;
    return SL_ETOOBIG;
}
