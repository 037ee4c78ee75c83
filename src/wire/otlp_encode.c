/* OTLP encoding of values and attributes. */
#include "src/wire/otlp_encode.h"

#include "src/base/assert.h"
#include "src/wire/pct.h"

/* Fields of AnyValue, KeyValue, ArrayValue/KeyValueList as whole tags. */
#define TAG_KEY 0x0A
#define TAG_VALUE 0x12
#define TAG_ITEM 0x0A
#define ANY_STRING 0x0A
#define ANY_BOOL 0x10
#define ANY_INT 0x18
#define ANY_DOUBLE 0x21
#define ANY_ARRAY 0x2A
#define ANY_MAP 0x32
#define ANY_BYTES 0x3A

static inline uint64_t word_at(const char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline bool ascii(const char *p, size_t len)
{
    SL_ASSERT(p || !len);
    uint64_t bits = 0;
    if (len >= 8) {
        for (size_t i = 0; i + 8 < len; i += 8)
            bits |= word_at(p + i);
        bits |= word_at(p + len - 8);
    } else if (len >= 4) {
        uint32_t first, last;
        memcpy(&first, p, 4);
        memcpy(&last, p + len - 4, 4);
        bits = first | last;
    } else {
        for (size_t i = 0; i < len; i++)
            bits |= (uint64_t)(unsigned char)p[i];
    }
    return (bits & 0x8080808080808080ull) == 0;
}

bool sl_otlp_utf8_valid(sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    return SL_LIKELY(ascii(s.ptr, s.len)) || sl_utf8_valid(s);
}

sl_str sl_otlp_cut_chars(sl_str s, size_t max_chars)
{
    if (SL_LIKELY(s.len <= max_chars))
        return s;
    size_t at = 0;
    for (size_t chars = 0; chars < max_chars && at < s.len; chars++) {
        bool valid;
        at += sl_utf8_piece(sl_str_sub(s, at, s.len), &valid);
    }
    return sl_str_sub(s, 0, at);
}

bool sl_otlp_put_text(sl_pb_cursor *c, uint32_t field, sl_str text)
{
    if (SL_LIKELY(sl_otlp_utf8_valid(text)))
        return sl_pb_put_str(c, field, text);
    size_t len = sl_utf8_repair(text, NULL);
    if (sl_pb_room(c) < sl_pb_size_bytes(field, len))
        return false;
    c->at = sl_pb_raw_varint(sl_pb_raw_tag(c->at, field, SL_PB_LEN), len);
    c->at += sl_utf8_repair(text, (char *)c->at);
    return true;
}

int sl_otlp_buf_text(sl_buf *buf, uint32_t field, sl_str text)
{
    sl_pb_cursor c;
    int error = sl_pb_buf_cursor(buf, sl_pb_size_bytes(field, sl_utf8_repair(text, NULL)), &c);
    if (error)
        return error;
    bool fits = sl_otlp_put_text(&c, field, text);
    SL_ASSERT(fits);
    (void)fits;
    sl_pb_buf_commit(buf, &c);
    return 0;
}

/* ---- Sizes. `depth` counts the messages that are open within the value. ---- */

static size_t value_size(const sl_value *value, size_t max_chars, unsigned depth);

/* Messages that one level of nesting opens: ArrayValue and AnyValue; KeyValueList, KeyValue and AnyValue. */
static unsigned levels_of(const sl_value *value)
{
    SL_ASSERT(value);
    return value->type == SL_VALUE_ARRAY ? 2 : 3;
}

static bool too_deep(const sl_value *value, unsigned depth)
{
    return depth + levels_of(value) > SL_MAX_VALUE_MESSAGES;
}

static size_t text_size(sl_str text)
{
    return SL_LIKELY(sl_otlp_utf8_valid(text)) ? text.len : sl_utf8_repair(text, NULL);
}

/* Contents of a KeyValue. */
static size_t pair_size(const sl_attr *attr, size_t max_chars, unsigned depth)
{
    SL_ASSERT(attr);
    return sl_pb_size_bytes(1, text_size(attr->key)) + sl_pb_size_bytes(2, value_size(&attr->value, max_chars, depth));
}

/* Contents of an ArrayValue or KeyValueList. */
static size_t items_size(const sl_value *value, size_t max_chars, unsigned depth)
{
    size_t size = 0;
    depth += levels_of(value);
    if (value->type == SL_VALUE_ARRAY) {
        for (size_t i = 0; i < value->as.array.count; i++)
            size += sl_pb_size_bytes(1, value_size(&value->as.array.items[i], max_chars, depth));
    } else {
        SL_ASSERT(value->type == SL_VALUE_MAP);
        for (size_t i = 0; i < value->as.map.count; i++)
            size += sl_pb_size_bytes(1, pair_size(&value->as.map.items[i], max_chars, depth));
    }
    return size;
}

static sl_str cut(const sl_value *value, size_t max_chars)
{
    SL_ASSERT(value->type == SL_VALUE_STRING || value->type == SL_VALUE_BYTES);
    if (value->type == SL_VALUE_BYTES || !sl_otlp_utf8_valid(value->as.str))
        return sl_str_sub(value->as.str, 0, max_chars);
    return sl_otlp_cut_chars(value->as.str, max_chars);
}

static size_t value_size(const sl_value *value, size_t max_chars, unsigned depth)
{
    SL_ASSERT(value);
    switch (value->type) {
    case SL_VALUE_STRING:
    case SL_VALUE_BYTES:
        if (value->as.str.len <= max_chars)
            return sl_pb_size_bytes(1, value->as.str.len);
        return sl_pb_size_bytes(1, cut(value, max_chars).len);
    case SL_VALUE_BOOL:
        return 2;
    case SL_VALUE_INT:
        return 1 + sl_pb_size_varint((uint64_t)value->as.integer);
    case SL_VALUE_DOUBLE:
        return 9;
    case SL_VALUE_ARRAY:
    case SL_VALUE_MAP:
        return too_deep(value, depth) ? 0 : sl_pb_size_bytes(5, items_size(value, max_chars, depth));
    case SL_VALUE_EMPTY:
    default:
        return 0;
    }
}

size_t sl_otlp_value_size(const sl_value *value, size_t max_chars)
{
    SL_ASSERT(value);
    return value_size(value, max_chars, 0);
}

static size_t framed_attr_size(uint32_t field, size_t pair)
{
    return sl_pb_size_bytes(field, pair);
}

size_t sl_otlp_attr_size(uint32_t field, const sl_attr *attr, size_t max_chars)
{
    SL_ASSERT(attr);
    return framed_attr_size(field, pair_size(attr, max_chars, 0));
}

/* ---- Writing, room assured ---- */

static uint8_t *raw_value(uint8_t *at, const sl_value *value, size_t max_chars, unsigned depth);

/* Copies short runs without a call. */
static inline uint8_t *raw_short(uint8_t *at, const char *from, size_t len)
{
    SL_ASSERT(from || !len);
    if (len >= 8 && len <= 32) {
        uint8_t *end = at + len;
        const char *last = from + len - 8;
        for (size_t i = 0; i + 8 < len; i += 8)
            memcpy(at + i, from + i, 8);
        memcpy(end - 8, last, 8);
        return end;
    }
    if (len >= 4 && len < 8) {
        memcpy(at, from, 4);
        memcpy(at + len - 4, from + len - 4, 4);
        return at + len;
    }
    return sl_pb_raw_copy(at, from, len);
}

static uint8_t *raw_text(uint8_t *at, uint8_t tag, sl_str text)
{
    SL_ASSERT(text.ptr || !text.len);
    *at++ = tag;
    if (SL_LIKELY(sl_otlp_utf8_valid(text)))
        return raw_short(sl_pb_raw_varint(at, text.len), text.ptr, text.len);
    at = sl_pb_raw_varint(at, sl_utf8_repair(text, NULL));
    return at + sl_utf8_repair(text, (char *)at);
}

static uint8_t *raw_pair(uint8_t *at, const sl_attr *attr, size_t max_chars, unsigned depth)
{
    SL_ASSERT(attr);
    at = raw_text(at, TAG_KEY, attr->key);
    *at++ = TAG_VALUE;
    at = sl_pb_raw_varint(at, value_size(&attr->value, max_chars, depth));
    return raw_value(at, &attr->value, max_chars, depth);
}

static uint8_t *raw_items(uint8_t *at, const sl_value *value, size_t max_chars, unsigned depth)
{
    SL_ASSERT(value);
    bool array = value->type == SL_VALUE_ARRAY;
    *at++ = array ? ANY_ARRAY : ANY_MAP;
    at = sl_pb_raw_varint(at, items_size(value, max_chars, depth));
    depth += levels_of(value);
    size_t count = array ? value->as.array.count : value->as.map.count;
    for (size_t i = 0; i < count; i++) {
        *at++ = TAG_ITEM;
        if (array) {
            at = sl_pb_raw_varint(at, value_size(&value->as.array.items[i], max_chars, depth));
            at = raw_value(at, &value->as.array.items[i], max_chars, depth);
        } else {
            at = sl_pb_raw_varint(at, pair_size(&value->as.map.items[i], max_chars, depth));
            at = raw_pair(at, &value->as.map.items[i], max_chars, depth);
        }
    }
    return at;
}

static uint8_t *raw_string(uint8_t *at, const sl_value *value, size_t max_chars)
{
    SL_ASSERT(value);
    sl_str s = value->as.str.len <= max_chars ? value->as.str : cut(value, max_chars);
    *at++ = value->type == SL_VALUE_STRING && sl_otlp_utf8_valid(s) ? ANY_STRING : ANY_BYTES;
    return sl_pb_raw_copy(sl_pb_raw_varint(at, s.len), s.ptr, s.len);
}

static uint8_t *raw_value(uint8_t *at, const sl_value *value, size_t max_chars, unsigned depth)
{
    SL_ASSERT(value);
    switch (value->type) {
    case SL_VALUE_STRING:
    case SL_VALUE_BYTES:
        return raw_string(at, value, max_chars);
    case SL_VALUE_BOOL:
        *at++ = ANY_BOOL;
        *at++ = value->as.boolean;
        return at;
    case SL_VALUE_INT:
        *at++ = ANY_INT;
        return sl_pb_raw_varint(at, (uint64_t)value->as.integer);
    case SL_VALUE_DOUBLE:
        *at++ = ANY_DOUBLE;
        return sl_pb_raw_fixed64(at, sl_pb_double_bits(value->as.real));
    case SL_VALUE_ARRAY:
    case SL_VALUE_MAP:
        return too_deep(value, depth) ? at : raw_items(at, value, max_chars, depth);
    case SL_VALUE_EMPTY:
    default:
        return at;
    }
}

bool sl_otlp_put_value(sl_pb_cursor *c, const sl_value *value, size_t max_chars)
{
    SL_ASSERT(c && value);
    size_t size = value_size(value, max_chars, 0);
    if (sl_pb_room(c) < size)
        return false;
    uint8_t *end = raw_value(c->at, value, max_chars, 0);
    SL_ASSERT(end == c->at + size);
    c->at = end;
    return true;
}

int sl_otlp_buf_value(sl_buf *buf, uint32_t field, const sl_value *value, size_t max_chars)
{
    SL_ASSERT(buf && value);
    size_t size = value_size(value, max_chars, 0);
    sl_pb_cursor c;
    int error = sl_pb_buf_cursor(buf, sl_pb_size_bytes(field, size), &c);
    if (error)
        return error;
    c.at = sl_pb_raw_varint(sl_pb_raw_tag(c.at, field, SL_PB_LEN), size);
    c.at = raw_value(c.at, value, max_chars, 0);
    sl_pb_buf_commit(buf, &c);
    return 0;
}

/* ---- Attributes ---- */

/* An attribute of any kind. */
static size_t put_any(sl_pb_cursor *c, uint32_t field, const sl_attr *attr, size_t max_chars)
{
    SL_ASSERT(c && attr);
    size_t pair = pair_size(attr, max_chars, 0);
    size_t size = framed_attr_size(field, pair);
    if (sl_pb_room(c) < size)
        return 0;
    uint8_t *at = sl_pb_raw_varint(sl_pb_raw_tag(c->at, field, SL_PB_LEN), pair);
    at = raw_pair(at, attr, max_chars, 0);
    SL_ASSERT(at == c->at + size);
    c->at = at;
    return size;
}

/*
 * Head of a KeyValue whose AnyValue takes `any` bytes, when all of it fits: the position where the AnyValue goes, and
 * the whole size. NULL when it does not fit, or when the key is no valid UTF-8 (*ret_size is then SIZE_MAX).
 */
static inline uint8_t *begin_pair(const sl_pb_cursor *c, uint32_t field, sl_str key, size_t any, size_t *ret_size)
{
    SL_ASSERT(ret_size && (key.ptr || !key.len));
    *ret_size = 0;
    if (SL_UNLIKELY(!sl_otlp_utf8_valid(key))) {
        *ret_size = SIZE_MAX;
        return NULL;
    }
    if (SL_LIKELY(field < 16 && key.len < 64 && any < 60)) { /* every tag and length is one byte */
        size_t all = key.len + any + 6;
        if (SL_UNLIKELY(sl_pb_room(c) < all))
            return NULL;
        uint8_t *to = c->at;
        to[0] = (uint8_t)(field << 3 | SL_PB_LEN);
        to[1] = (uint8_t)(all - 2);
        to[2] = TAG_KEY;
        to[3] = (uint8_t)key.len;
        to = raw_short(to + 4, key.ptr, key.len);
        to[0] = TAG_VALUE;
        to[1] = (uint8_t)any;
        *ret_size = all;
        return to + 2;
    }
    size_t pair = 1 + sl_pb_size_varint(key.len) + key.len + 1 + sl_pb_size_varint(any) + any;
    size_t size = sl_pb_size_bytes(field, pair);
    if (SL_UNLIKELY(sl_pb_room(c) < size))
        return NULL;
    uint8_t *at = sl_pb_raw_varint(sl_pb_raw_tag(c->at, field, SL_PB_LEN), pair);
    *at++ = TAG_KEY;
    at = raw_short(sl_pb_raw_varint(at, key.len), key.ptr, key.len);
    *at++ = TAG_VALUE;
    *ret_size = size;
    return sl_pb_raw_varint(at, any);
}

static size_t put_slowly(sl_pb_cursor *c, uint32_t field, sl_str key, sl_value value)
{
    sl_attr attr = {key, value};
    return put_any(c, field, &attr, SL_OTLP_NO_LIMIT);
}

size_t sl_otlp_put_attr_str(sl_pb_cursor *c, uint32_t field, sl_str key, sl_str value)
{
    SL_ASSERT(value.ptr || !value.len);
    size_t size;
    uint8_t *at = begin_pair(c, field, key, sl_pb_size_bytes(1, value.len), &size);
    if (!at)
        return size ? put_slowly(c, field, key, sl_value_str(value)) : 0;
    *at++ = SL_LIKELY(sl_otlp_utf8_valid(value)) ? ANY_STRING : ANY_BYTES;
    c->at = raw_short(sl_pb_raw_varint(at, value.len), value.ptr, value.len);
    return size;
}

size_t sl_otlp_put_attr_int(sl_pb_cursor *c, uint32_t field, sl_str key, int64_t value)
{
    size_t size;
    uint8_t *at = begin_pair(c, field, key, 1 + sl_pb_size_varint((uint64_t)value), &size);
    if (!at)
        return size ? put_slowly(c, field, key, sl_value_int(value)) : 0;
    *at++ = ANY_INT;
    c->at = sl_pb_raw_varint(at, (uint64_t)value);
    return size;
}

size_t sl_otlp_put_attr_double(sl_pb_cursor *c, uint32_t field, sl_str key, double value)
{
    size_t size;
    uint8_t *at = begin_pair(c, field, key, 9, &size);
    if (!at)
        return size ? put_slowly(c, field, key, sl_value_double(value)) : 0;
    *at++ = ANY_DOUBLE;
    c->at = sl_pb_raw_fixed64(at, sl_pb_double_bits(value));
    return size;
}

size_t sl_otlp_put_attr_bool(sl_pb_cursor *c, uint32_t field, sl_str key, bool value)
{
    size_t size;
    uint8_t *at = begin_pair(c, field, key, 2, &size);
    if (!at)
        return size ? put_slowly(c, field, key, sl_value_bool(value)) : 0;
    *at++ = ANY_BOOL;
    *at++ = value;
    c->at = at;
    return size;
}

size_t sl_otlp_put_attr(sl_pb_cursor *c, uint32_t field, const sl_attr *attr, size_t max_chars)
{
    SL_ASSERT(c && attr);
    const sl_value *value = &attr->value;
    if (value->type == SL_VALUE_STRING && value->as.str.len <= max_chars)
        return sl_otlp_put_attr_str(c, field, attr->key, value->as.str);
    if (value->type == SL_VALUE_INT)
        return sl_otlp_put_attr_int(c, field, attr->key, value->as.integer);
    if (value->type == SL_VALUE_DOUBLE)
        return sl_otlp_put_attr_double(c, field, attr->key, value->as.real);
    return put_any(c, field, attr, max_chars);
}

int sl_otlp_buf_attr(sl_buf *buf, uint32_t field, const sl_attr *attr, size_t max_chars)
{
    SL_ASSERT(buf && attr);
    sl_pb_cursor c;
    int error = sl_pb_buf_cursor(buf, sl_otlp_attr_size(field, attr, max_chars), &c);
    if (error)
        return error;
    size_t size = sl_otlp_put_attr(&c, field, attr, max_chars);
    SL_ASSERT(size > 0);
    (void)size;
    sl_pb_buf_commit(buf, &c);
    return 0;
}

int sl_otlp_buf_attrs(sl_buf *buf, uint32_t field, const sl_attr *attrs, size_t count, size_t max_chars)
{
    SL_ASSERT(attrs || count == 0);
    for (size_t i = 0; i < count; i++) {
        int error = sl_otlp_buf_attr(buf, field, &attrs[i], max_chars);
        if (error)
            return error;
    }
    return 0;
}

/* ---- Resource and scope ---- */

int sl_otlp_buf_resource(sl_buf *buf, const sl_attr *attrs, size_t count, uint32_t dropped)
{
    int error = sl_otlp_buf_attrs(buf, 1, attrs, count, SL_OTLP_NO_LIMIT);
    if (!error && dropped)
        error = sl_pb_buf_uint(buf, 2, dropped);
    return error;
}

int sl_otlp_buf_scope(sl_buf *buf, sl_str name, sl_str version, const sl_attr *attrs, size_t count, uint32_t dropped)
{
    int error = name.len ? sl_otlp_buf_text(buf, 1, name) : 0;
    if (!error && version.len)
        error = sl_otlp_buf_text(buf, 2, version);
    if (!error)
        error = sl_otlp_buf_attrs(buf, 3, attrs, count, SL_OTLP_NO_LIMIT);
    if (!error && dropped)
        error = sl_pb_buf_uint(buf, 4, dropped);
    return error;
}
