/* OTLP protobuf to JSON, driven by tables of messages. */
#include "src/wire/otlp_json.h"

#include "src/base/assert.h"
#include "src/wire/base64.h"
#include "src/wire/json_write.h"
#include "src/wire/otlp_messages.h"
#include "src/wire/otlp_read.h"

/* ---- Writing ---- */

#define DEPTH_OF_ONE_VALUE 4 /* containers that one more level of AnyValue may open */

static int put_message(sl_jw *w, const message *m, sl_str bytes);
static int put_any(sl_jw *w, sl_str bytes);

static void put_i64_string(sl_jw *w, int64_t value)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        text[--at] = '-';
    sl_jw_str(w, sl_str_of(text + at, sizeof text - at));
}

static int put_base64(sl_jw *w, sl_str bytes)
{
    sl_buf text;
    sl_buf_init(&text, SL_MAX_OTLP_REQUEST_BYTES * 2);
    int error = sl_base64_encode(&text, bytes);
    sl_jw_str(w, sl_buf_str(&text));
    sl_buf_done(&text);
    return error;
}

/* {"values": [ … ]} of an array or a map. */
static int put_values(sl_jw *w, sl_str items, bool map)
{
    int error = 0;
    sl_str item;
    sl_jw_object(w);
    sl_jw_member_array(w, "values");
    sl_otlp_iter it = sl_otlp_items(items, SL_OTLP_ARRAY_ITEMS);
    while (!error && sl_otlp_next(&it, &item))
        error = map ? put_message(w, &key_value, item) : put_any(w, item);
    sl_jw_end(w);
    sl_jw_end(w);
    return error ? error : it.reader.error;
}

static int put_any(sl_jw *w, sl_str bytes)
{
    sl_otlp_any any;
    if (w->error)
        return w->error; /* the depth is no longer counted then */
    int error = sl_otlp_read_any(bytes, &any);
    sl_jw_object(w);
    bool container = !error && (any.type == SL_VALUE_ARRAY || any.type == SL_VALUE_MAP);
    if (error || any.type == SL_VALUE_EMPTY || (container && w->depth + DEPTH_OF_ONE_VALUE > SL_MAX_JSON_DEPTH)) {
        sl_jw_end(w);
        return error;
    }
    static const char *const names[] = {"",           "stringValue", "boolValue", "intValue", "doubleValue",
                                        "arrayValue", "kvlistValue", "bytesValue"};
    SL_ASSERT(any.type < sizeof names / sizeof names[0]);
    sl_jw_key(w, sl_str_c(names[any.type]));
    if (any.type == SL_VALUE_STRING)
        sl_jw_str(w, any.str);
    else if (any.type == SL_VALUE_BOOL)
        sl_jw_bool(w, any.boolean);
    else if (any.type == SL_VALUE_INT)
        put_i64_string(w, any.integer);
    else if (any.type == SL_VALUE_DOUBLE)
        sl_jw_double(w, any.real);
    else if (any.type == SL_VALUE_BYTES)
        error = put_base64(w, any.str);
    else
        error = put_values(w, any.str, any.type == SL_VALUE_MAP);
    sl_jw_end(w);
    return error;
}

static int put_single(sl_jw *w, const field *f, const sl_pb_field *value)
{
    switch (f->kind) {
    case TEXT:
        sl_jw_str(w, value->bytes);
        return 0;
    case HEX:
        sl_jw_hex(w, (const uint8_t *)value->bytes.ptr, value->bytes.len);
        return 0;
    case UINT32:
    case FIXED32:
        sl_jw_u64(w, (uint32_t)value->value);
        return 0;
    case SINT32:
        sl_jw_i64(w, (int32_t)sl_pb_unzigzag(value->value & UINT32_MAX));
        return 0;
    case BOOL:
        sl_jw_bool(w, value->value != 0);
        return 0;
    case FIXED64:
        sl_jw_u64_string(w, value->value);
        return 0;
    case SFIXED64:
        put_i64_string(w, (int64_t)value->value);
        return 0;
    case DOUBLE:
        sl_jw_double(w, sl_pb_bits_double(value->value));
        return 0;
    case ANY:
        return put_any(w, value->bytes);
    default:
        SL_ASSERT(f->kind == MESSAGE && f->message);
        return put_message(w, f->message, value->bytes);
    }
}

/* Wire type of one number of a packed field. */
static uint32_t element_wire(kind k)
{
    return k == VARINTS ? SL_PB_VARINT : SL_PB_FIXED64;
}

static void put_element(sl_jw *w, kind k, uint64_t value)
{
    if (k == DOUBLES)
        sl_jw_double(w, sl_pb_bits_double(value));
    else
        sl_jw_u64_string(w, value);
}

/* One packed run of numbers. */
static int put_packed(sl_jw *w, kind k, sl_str run)
{
    sl_pb_reader r = sl_pb_reader_of(run);
    while (r.at < r.end && !r.error) {
        sl_pb_field element = {0, element_wire(k), 0, {NULL, 0}};
        if (sl_pb_read_value(&r, &element))
            put_element(w, k, element.value);
    }
    return r.error;
}

static int put_repeated(sl_jw *w, const field *f, sl_str bytes)
{
    SL_ASSERT(f);
    int error = 0;
    sl_pb_field item;
    sl_jw_array(w);
    sl_pb_reader r = sl_pb_reader_of(bytes);
    while (!error && sl_pb_next(&r, &item)) {
        if (item.number != f->number)
            continue;
        if (is_packed(f->kind) && item.wire == element_wire(f->kind))
            put_element(w, f->kind, item.value);
        else if (item.wire != SL_PB_LEN)
            continue;
        else if (f->kind == TEXTS)
            sl_jw_str(w, item.bytes);
        else if (f->kind == MESSAGES)
            error = put_message(w, f->message, item.bytes);
        else
            error = put_packed(w, f->kind, item.bytes);
    }
    sl_jw_end(w);
    return error ? error : r.error;
}

static const field *field_of(const message *m, const sl_pb_field *f)
{
    SL_ASSERT(m);
    for (const field *at = m->fields; at->number; at++) {
        if (at->number == f->number)
            return wire_of(at->kind) == f->wire || (is_packed(at->kind) && element_wire(at->kind) == f->wire) ? at
                                                                                                              : NULL;
    }
    return NULL;
}

static int put_message(sl_jw *w, const message *m, sl_str bytes)
{
    sl_pb_field last[MAX_FIELD + 1];
    uint32_t present = 0;
    sl_pb_reader r = sl_pb_reader_of(bytes);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (!field_of(m, &f))
            continue;
        SL_ASSERT(f.number <= MAX_FIELD);
        if (m->oneof & BIT(f.number))
            present &= ~m->oneof;
        present |= BIT(f.number);
        last[f.number] = f;
    }
    int error = r.error;
    sl_jw_object(w);
    for (const field *at = m->fields; at->number && !error; at++) {
        if (!(present & BIT(at->number)) || (at->kind == HEX && last[at->number].bytes.len == 0))
            continue;
        sl_jw_key(w, sl_str_c(at->name));
        error = at->kind >= TEXTS ? put_repeated(w, at, bytes) : put_single(w, at, &last[at->number]);
    }
    sl_jw_end(w);
    return error;
}

int sl_otlp_to_json(sl_otlp_signal signal, sl_str request, sl_buf *out)
{
    SL_ASSERT(out && signal <= SL_OTLP_METRICS);
    size_t before = out->len;
    sl_jw w;
    sl_jw_init(&w, out);
    w.nonfinite = SL_JW_STRING;
    int error = put_message(&w, otlp_requests[signal], request);
    int written = sl_jw_finish(&w);
    if (!error)
        error = written;
    if (error)
        out->len = before;
    return error;
}
