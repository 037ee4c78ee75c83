/* OTLP JSON to protobuf, driven by the tables of messages. */
#include "src/base/assert.h"
#include "src/wire/base64.h"
#include "src/wire/json_scan.h"
#include "src/wire/otlp_json.h"
#include "src/wire/otlp_messages.h"
#include "src/wire/pb.h"

#define NUMBER_MOST 64 /* characters of a number that stands in a string */

static int take_message(sl_buf *out, const message *m, sl_json_value from);
static int take_any(sl_buf *out, sl_json_value from);

/* ---- numbers: as they are, or in a string ---- */

/* The characters of a number. */
static int digits_of(sl_json_value from, sl_str *ret_text)
{
    if (from.type != SL_JSON_NUMBER && from.type != SL_JSON_STRING)
        return SL_EPARSE;
    sl_str text = from.type == SL_JSON_NUMBER ? from.raw : sl_json_string_raw(from);
    if (text.len == 0 || text.len > NUMBER_MOST)
        return SL_EPARSE;
    *ret_text = text;
    return 0;
}

static int take_u64(sl_json_value from, uint64_t *ret_number)
{
    sl_str text;
    int64_t whole;
    int error = digits_of(from, &text);
    if (error || sl_str_to_u64(text, ret_number) == 0)
        return error;
    if (sl_json_i64((sl_json_value){SL_JSON_NUMBER, text}, &whole) != 0 || whole < 0) /* 5e0 */
        return SL_EPARSE;
    *ret_number = (uint64_t)whole;
    return 0;
}

static int take_i64(sl_json_value from, int64_t *ret_number)
{
    sl_str text;
    int error = digits_of(from, &text);
    if (error || sl_str_to_i64(text, ret_number) == 0)
        return error;
    return sl_json_i64((sl_json_value){SL_JSON_NUMBER, text}, ret_number) == 0 ? 0 : SL_EPARSE;
}

static int take_double(sl_json_value from, double *ret_number)
{
    static const struct {
        const char *name;
        double value;
    } words[] = {{"NaN", __builtin_nan("")}, {"Infinity", __builtin_inf()}, {"-Infinity", -__builtin_inf()}};
    sl_str text;
    int error = digits_of(from, &text);
    for (size_t i = 0; i < 3 && !error; i++) {
        if (!sl_str_eq_c(text, words[i].name))
            continue;
        *ret_number = words[i].value;
        return 0;
    }
    if (error || sl_json_double((sl_json_value){SL_JSON_NUMBER, text}, ret_number) == 0)
        return error;
    return SL_EPARSE;
}

static int take_bool(sl_json_value from, uint64_t *ret_number)
{
    *ret_number = from.type == SL_JSON_TRUE;
    return from.type == SL_JSON_TRUE || from.type == SL_JSON_FALSE ? 0 : SL_EPARSE;
}

/* ---- texts and bytes ---- */

/* A string's characters, decoded into the buffer without tag. */
static int append_text(sl_buf *out, sl_json_value from)
{
    size_t len = 0;
    sl_str raw = sl_json_string_raw(from);
    if (from.type != SL_JSON_STRING)
        return SL_EPARSE;
    int error = sl_buf_reserve(out, raw.len + 2);
    if (!error)
        error = sl_json_unescape(raw, out->data + out->len, out->cap - out->len, &len);
    if (!error)
        out->len += len;
    return error;
}

static int append_hex(sl_buf *out, sl_json_value from)
{
    sl_str text = sl_json_string_raw(from);
    if (from.type != SL_JSON_STRING || text.len % 2)
        return SL_EPARSE;
    int error = sl_buf_reserve(out, text.len / 2 + 1);
    if (!error)
        error = sl_hex_decode(text, (uint8_t *)out->data + out->len, text.len / 2);
    if (!error)
        out->len += text.len / 2;
    return error;
}

static int append_base64(sl_buf *out, sl_json_value from)
{
    size_t before = out->len, len = 0;
    int error = append_text(out, from); /* decoded in place: it is never longer than its text */
    if (!error)
        error = sl_base64_decode(sl_str_of(out->data + before, out->len - before), (uint8_t *)out->data + before, &len);
    if (!error)
        out->len = before + len;
    return error;
}

/* One LEN field, whose contents `append` writes. */
static int take_bytes(sl_buf *out, uint32_t number, sl_json_value from, int (*append)(sl_buf *, sl_json_value))
{
    size_t mark;
    int error = sl_pb_buf_open(out, number, &mark);
    if (!error)
        error = append(out, from);
    if (!error)
        sl_pb_buf_close(out, mark);
    return error;
}

static int take_nested(sl_buf *out, uint32_t number, const message *m, sl_json_value from)
{
    size_t mark;
    int error = sl_pb_buf_open(out, number, &mark);
    if (!error)
        error = take_message(out, m, from);
    if (!error)
        sl_pb_buf_close(out, mark);
    return error;
}

/* ---- values ---- */

/* {"values": [...]} */
static int take_values(sl_buf *out, sl_json_value from, bool map)
{
    sl_json_iter items;
    sl_json_value item, values = sl_json_get(from, "values");
    int error = from.type == SL_JSON_OBJECT ? 0 : SL_EPARSE;
    if (values.type != SL_JSON_ARRAY && values.type != SL_JSON_NULL && values.type != SL_JSON_NONE)
        error = SL_EPARSE;
    sl_json_iter_init(&items, values);
    while (!error && sl_json_iter_next(&items, NULL, &item))
        error = map ? take_nested(out, 1, &key_value, item) : take_bytes(out, 1, item, take_any);
    return error;
}

static int take_array(sl_buf *out, sl_json_value from)
{
    return take_values(out, from, false);
}

static int take_map(sl_buf *out, sl_json_value from)
{
    return take_values(out, from, true);
}

static int take_one_of(sl_buf *out, uint32_t number, sl_json_value from)
{
    uint64_t whole = 0;
    int64_t integer = 0;
    double real = 0;
    int error = 0;
    switch (number) {
    case SL_VALUE_STRING:
        return take_bytes(out, number, from, append_text);
    case SL_VALUE_BOOL:
        error = take_bool(from, &whole);
        return error ? error : sl_pb_buf_uint(out, number, whole);
    case SL_VALUE_INT:
        error = take_i64(from, &integer);
        return error ? error : sl_pb_buf_uint(out, number, (uint64_t)integer);
    case SL_VALUE_DOUBLE:
        error = take_double(from, &real);
        return error ? error : sl_pb_buf_double(out, number, real);
    case SL_VALUE_ARRAY:
        return take_bytes(out, number, from, take_array);
    case SL_VALUE_MAP:
        return take_bytes(out, number, from, take_map);
    default:
        return take_bytes(out, number, from, append_base64);
    }
}

/* The contents of an AnyValue: of several members the last that is there counts, as it does in protobuf. */
static int take_any(sl_buf *out, sl_json_value from)
{
    /* Field numbers of AnyValue are those of sl_value_type. */
    static const char *const names[] = {NULL,          "stringValue", "boolValue",   "intValue",
                                        "doubleValue", "arrayValue",  "kvlistValue", "bytesValue"};
    _Static_assert(SL_VALUE_STRING == 1 && SL_VALUE_BYTES == 7, "as in common.proto");
    sl_json_iter members;
    sl_json_value key, value;
    int error = from.type == SL_JSON_OBJECT ? 0 : SL_EPARSE;
    sl_json_iter_init(&members, from);
    while (!error && sl_json_iter_next(&members, &key, &value)) {
        for (uint32_t i = 1; i < sizeof names / sizeof *names && !error; i++)
            if (value.type != SL_JSON_NULL && sl_json_string_is(key, sl_str_c(names[i])))
                error = take_one_of(out, i, value);
    }
    return error;
}

/* ---- messages ---- */

/* A number of a field, or of a packed run of them, without tag. */
static int append_number(sl_buf *out, kind k, sl_json_value from)
{
    uint64_t whole = 0;
    int64_t integer = 0;
    double real = 0;
    uint8_t bytes[8];
    int error = 0;
    if (k == DOUBLE || k == DOUBLES)
        error = take_double(from, &real);
    else if (k == SINT32 || k == SFIXED64)
        error = take_i64(from, &integer);
    else
        error = k == BOOL ? take_bool(from, &whole) : take_u64(from, &whole);
    bool narrow = k == UINT32 || k == FIXED32;
    if (error || (narrow && whole > UINT32_MAX) || (k == SINT32 && (integer < INT32_MIN || integer > INT32_MAX)))
        return SL_EPARSE;
    if (k == DOUBLE || k == DOUBLES)
        whole = sl_pb_double_bits(real);
    else if (k == SINT32)
        whole = sl_pb_zigzag(integer);
    else if (k == SFIXED64)
        whole = (uint64_t)integer;
    if (k == FIXED32)
        return sl_buf_put(out, bytes, (size_t)(sl_pb_raw_fixed32(bytes, (uint32_t)whole) - bytes));
    if (wire_of(k) == SL_PB_VARINT || k == VARINTS)
        return sl_pb_buf_varint(out, whole);
    return sl_buf_put(out, bytes, (size_t)(sl_pb_raw_fixed64(bytes, whole) - bytes));
}

static int take_packed(sl_buf *out, const field *f, sl_json_value from)
{
    size_t mark;
    sl_json_iter items;
    sl_json_value item;
    int error = sl_pb_buf_open(out, f->number, &mark);
    sl_json_iter_init(&items, from);
    while (!error && sl_json_iter_next(&items, NULL, &item))
        error = append_number(out, f->kind, item);
    if (!error)
        sl_pb_buf_close(out, mark);
    return error;
}

static int take_repeated(sl_buf *out, const field *f, sl_json_value from)
{
    sl_json_iter items;
    sl_json_value item;
    int error = 0;
    if (from.type != SL_JSON_ARRAY)
        return SL_EPARSE;
    if (is_packed(f->kind))
        return take_packed(out, f, from);
    sl_json_iter_init(&items, from);
    while (!error && sl_json_iter_next(&items, NULL, &item))
        error = f->kind == TEXTS ? take_bytes(out, f->number, item, append_text)
                                 : take_nested(out, f->number, f->message, item);
    return error;
}

static int take_field(sl_buf *out, const field *f, sl_json_value from)
{
    if (f->kind >= TEXTS)
        return take_repeated(out, f, from);
    switch (f->kind) {
    case TEXT:
        return take_bytes(out, f->number, from, append_text);
    case HEX:
        return take_bytes(out, f->number, from, append_hex);
    case ANY:
        return take_bytes(out, f->number, from, take_any);
    case MESSAGE:
        return take_nested(out, f->number, f->message, from);
    default: {
        int error = sl_pb_buf_varint(out, (uint64_t)f->number << 3 | wire_of(f->kind));
        return error ? error : append_number(out, f->kind, from);
    }
    }
}

static int take_message(sl_buf *out, const message *m, sl_json_value from)
{
    sl_json_iter members;
    sl_json_value key, value;
    int error = from.type == SL_JSON_OBJECT ? 0 : SL_EPARSE;
    SL_ASSERT(m && m->fields);
    sl_json_iter_init(&members, from);
    while (!error && sl_json_iter_next(&members, &key, &value)) {
        const field *f = m->fields;
        while (f->number && !sl_json_string_is(key, sl_str_c(f->name)))
            f++;
        if (f->number && value.type != SL_JSON_NULL)
            error = take_field(out, f, value);
    }
    return error;
}

int sl_otlp_from_json(sl_otlp_signal signal, sl_str json, sl_buf *out)
{
    sl_json_value root;
    SL_ASSERT(out && signal <= SL_OTLP_METRICS);
    size_t before = out->len;
    int error = sl_json_parse(json, &root, NULL);
    if (!error)
        error = take_message(out, otlp_requests[signal], root);
    if (error)
        out->len = before;
    return error == SL_EINVAL ? SL_EPARSE : error;
}
