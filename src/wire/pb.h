/*
 * Protocol Buffers wire format: writing into raw memory or a growing buffer, and reading.
 *
 * Promises: never writes or reads out of bounds; never recurses; a write that does not fit leaves the cursor where it
 * was. Does not know any message: field numbers and types are the caller's. A group (wire types 3 and 4), which only an
 * unknown field can be, is read over whole.
 * Source: protobuf.dev, "Encoding".
 */
#ifndef SL_WIRE_PB_H
#define SL_WIRE_PB_H

#include "src/base/buf.h"

#define SL_PB_VARINT 0u
#define SL_PB_FIXED64 1u
#define SL_PB_LEN 2u
#define SL_PB_GROUP 3u
#define SL_PB_GROUP_END 4u
#define SL_PB_FIXED32 5u

#define SL_PB_MAX_GROUPS 100u  /* groups within each other: what other decoders accept */
#define SL_PB_MAX_VARINT 10u   /* bytes of a varint of 64 bits */
#define SL_PB_BUF_LEN_WIDTH 5u /* bytes that sl_pb_buf_open reserves for a length */

/* Where to write next, and where the room ends. */
typedef struct sl_pb_cursor {
    uint8_t *at;
    uint8_t *end;
} sl_pb_cursor;

static inline sl_pb_cursor sl_pb_cursor_of(void *data, size_t size)
{
    sl_pb_cursor c;
    c.at = (uint8_t *)data;
    c.end = c.at + size;
    return c;
}

static inline size_t sl_pb_room(const sl_pb_cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* ---- Sizes ---- */

/* Bytes that a varint takes: 1 to 10. */
static inline size_t sl_pb_size_varint(uint64_t value)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll(value | 1u);
    return (bits * 9u + 64u) / 64u;
}

static inline size_t sl_pb_size_tag(uint32_t field)
{
    return sl_pb_size_varint((uint64_t)field << 3);
}

/* Tag, length and `len` bytes of contents. */
static inline size_t sl_pb_size_bytes(uint32_t field, size_t len)
{
    return sl_pb_size_tag(field) + sl_pb_size_varint(len) + len;
}

/* ---- Without checks: the caller has made sure of the room. Each returns the position behind what it wrote. ---- */

static inline uint8_t *sl_pb_raw_varint(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static inline uint8_t *sl_pb_raw_tag(uint8_t *at, uint32_t field, uint32_t wire)
{
    SL_ASSERT(field > 0 && field < (1u << 29));
    return sl_pb_raw_varint(at, (uint64_t)field << 3 | wire);
}

static inline uint8_t *sl_pb_raw_fixed64(uint8_t *at, uint64_t value)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    memcpy(at, &value, 8);
    return at + 8;
}

static inline uint8_t *sl_pb_raw_fixed32(uint8_t *at, uint32_t value)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap32(value);
#endif
    memcpy(at, &value, 4);
    return at + 4;
}

static inline uint8_t *sl_pb_raw_copy(uint8_t *at, const void *bytes, size_t len)
{
    if (len)
        memcpy(at, bytes, len);
    return at + len;
}

/* Writes `value` in exactly `width` (1 to 5) bytes: a padded varint, which every reader accepts. */
static inline void sl_pb_raw_patch(uint8_t *at, unsigned width, size_t value)
{
    SL_ASSERT(width >= 1 && width <= 5 && value >> (7 * width) == 0);
    for (unsigned i = 0; i + 1 < width; i++) {
        at[i] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    at[width - 1] = (uint8_t)value;
}

static inline uint64_t sl_pb_double_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return bits;
}

static inline double sl_pb_bits_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

static inline uint64_t sl_pb_zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
}

static inline int64_t sl_pb_unzigzag(uint64_t value)
{
    return (int64_t)((value >> 1) ^ (0 - (value & 1)));
}

/* ---- Into a cursor. False when it does not fit; the cursor is then where it was. ---- */

static inline bool sl_pb_put_varint(sl_pb_cursor *c, uint64_t value)
{
    if (SL_UNLIKELY(sl_pb_room(c) < SL_PB_MAX_VARINT) && sl_pb_room(c) < sl_pb_size_varint(value))
        return false;
    c->at = sl_pb_raw_varint(c->at, value);
    return true;
}

/* A tag alone. */
static inline bool sl_pb_put_tag(sl_pb_cursor *c, uint32_t field, uint32_t wire)
{
    return sl_pb_put_varint(c, (uint64_t)field << 3 | wire);
}

/* A varint field: uint32, uint64, enum, bool, int64 (as its two's complement). */
static inline bool sl_pb_put_uint(sl_pb_cursor *c, uint32_t field, uint64_t value)
{
    if (SL_UNLIKELY(sl_pb_room(c) < sl_pb_size_tag(field) + sl_pb_size_varint(value)))
        return false;
    c->at = sl_pb_raw_varint(sl_pb_raw_tag(c->at, field, SL_PB_VARINT), value);
    return true;
}

static inline bool sl_pb_put_fixed64(sl_pb_cursor *c, uint32_t field, uint64_t value)
{
    if (SL_UNLIKELY(sl_pb_room(c) < sl_pb_size_tag(field) + 8))
        return false;
    c->at = sl_pb_raw_fixed64(sl_pb_raw_tag(c->at, field, SL_PB_FIXED64), value);
    return true;
}

static inline bool sl_pb_put_double(sl_pb_cursor *c, uint32_t field, double value)
{
    return sl_pb_put_fixed64(c, field, sl_pb_double_bits(value));
}

static inline bool sl_pb_put_fixed32(sl_pb_cursor *c, uint32_t field, uint32_t value)
{
    if (SL_UNLIKELY(sl_pb_room(c) < sl_pb_size_tag(field) + 4))
        return false;
    c->at = sl_pb_raw_fixed32(sl_pb_raw_tag(c->at, field, SL_PB_FIXED32), value);
    return true;
}

/* A bytes field, or a nested message that is already encoded. */
static inline bool sl_pb_put_bytes(sl_pb_cursor *c, uint32_t field, const void *bytes, size_t len)
{
    size_t room = sl_pb_room(c);
    if (SL_UNLIKELY(room < len || room - len < sl_pb_size_tag(field) + sl_pb_size_varint(len)))
        return false;
    uint8_t *at = sl_pb_raw_varint(sl_pb_raw_tag(c->at, field, SL_PB_LEN), len);
    c->at = sl_pb_raw_copy(at, bytes, len);
    return true;
}

static inline bool sl_pb_put_str(sl_pb_cursor *c, uint32_t field, sl_str s)
{
    return sl_pb_put_bytes(c, field, s.ptr, s.len);
}

/* Bytes as they are, without tag and length. */
static inline bool sl_pb_put_raw(sl_pb_cursor *c, const void *bytes, size_t len)
{
    if (SL_UNLIKELY(sl_pb_room(c) < len))
        return false;
    c->at = sl_pb_raw_copy(c->at, bytes, len);
    return true;
}

/*
 * Begins a nested message whose length is not known yet: tag and `width` (1 to 5) bytes for the length. NULL when it
 * does not fit, else the mark for sl_pb_close.
 */
static inline uint8_t *sl_pb_open(sl_pb_cursor *c, uint32_t field, unsigned width)
{
    if (SL_UNLIKELY(sl_pb_room(c) < sl_pb_size_tag(field) + width))
        return NULL;
    uint8_t *mark = sl_pb_raw_tag(c->at, field, SL_PB_LEN);
    sl_pb_raw_patch(mark, width, 0);
    c->at = mark + width;
    return mark;
}

/* Ends the nested message begun at `mark`. False when its length does not fit into `width` bytes (nothing changes). */
static inline bool sl_pb_close(const sl_pb_cursor *c, uint8_t *mark, unsigned width)
{
    SL_ASSERT(mark && c->at >= mark + width);
    size_t len = (size_t)(c->at - mark) - width;
    if (SL_UNLIKELY(len >> (7 * width) != 0))
        return false;
    sl_pb_raw_patch(mark, width, len);
    return true;
}

/* ---- Into a growing buffer. 0 or the error, which the buffer also remembers. ---- */

/* Room for `more` bytes as a cursor; sl_pb_buf_commit takes what was written into the buffer. */
static inline int sl_pb_buf_cursor(sl_buf *buf, size_t more, sl_pb_cursor *ret_cursor)
{
    int error = sl_buf_reserve(buf, more);
    if (error)
        return error;
    *ret_cursor = sl_pb_cursor_of(buf->data + buf->len, buf->cap - buf->len);
    return 0;
}

static inline void sl_pb_buf_commit(sl_buf *buf, const sl_pb_cursor *c)
{
    SL_ASSERT((char *)c->at >= buf->data + buf->len && (char *)c->at <= buf->data + buf->cap);
    buf->len = (size_t)((char *)c->at - buf->data);
}

static inline int sl_pb_buf_varint(sl_buf *buf, uint64_t value)
{
    uint8_t bytes[SL_PB_MAX_VARINT];
    return sl_buf_put(buf, bytes, (size_t)(sl_pb_raw_varint(bytes, value) - bytes));
}

static inline int sl_pb_buf_uint(sl_buf *buf, uint32_t field, uint64_t value)
{
    uint8_t bytes[5 + SL_PB_MAX_VARINT];
    uint8_t *at = sl_pb_raw_varint(sl_pb_raw_tag(bytes, field, SL_PB_VARINT), value);
    return sl_buf_put(buf, bytes, (size_t)(at - bytes));
}

static inline int sl_pb_buf_fixed64(sl_buf *buf, uint32_t field, uint64_t value)
{
    uint8_t bytes[5 + 8];
    uint8_t *at = sl_pb_raw_fixed64(sl_pb_raw_tag(bytes, field, SL_PB_FIXED64), value);
    return sl_buf_put(buf, bytes, (size_t)(at - bytes));
}

static inline int sl_pb_buf_double(sl_buf *buf, uint32_t field, double value)
{
    return sl_pb_buf_fixed64(buf, field, sl_pb_double_bits(value));
}

static inline int sl_pb_buf_fixed32(sl_buf *buf, uint32_t field, uint32_t value)
{
    uint8_t bytes[5 + 4];
    uint8_t *at = sl_pb_raw_fixed32(sl_pb_raw_tag(bytes, field, SL_PB_FIXED32), value);
    return sl_buf_put(buf, bytes, (size_t)(at - bytes));
}

static inline int sl_pb_buf_bytes(sl_buf *buf, uint32_t field, const void *bytes, size_t len)
{
    uint8_t head[5 + SL_PB_MAX_VARINT];
    uint8_t *at = sl_pb_raw_varint(sl_pb_raw_tag(head, field, SL_PB_LEN), len);
    size_t head_len = (size_t)(at - head);
    int error = sl_buf_reserve(buf, len > SIZE_MAX - sizeof head ? SIZE_MAX : head_len + len);
    if (error)
        return error;
    (void)sl_buf_put(buf, head, head_len);
    return sl_buf_put(buf, bytes, len);
}

static inline int sl_pb_buf_str(sl_buf *buf, uint32_t field, sl_str s)
{
    return sl_pb_buf_bytes(buf, field, s.ptr, s.len);
}

/* Begins a nested message; the mark for sl_pb_buf_close goes to `ret_mark` (an offset: the buffer may move). */
static inline int sl_pb_buf_open(sl_buf *buf, uint32_t field, size_t *ret_mark)
{
    uint8_t head[5 + SL_PB_BUF_LEN_WIDTH];
    uint8_t *at = sl_pb_raw_tag(head, field, SL_PB_LEN);
    sl_pb_raw_patch(at, SL_PB_BUF_LEN_WIDTH, 0);
    int error = sl_buf_put(buf, head, (size_t)(at - head) + SL_PB_BUF_LEN_WIDTH);
    if (error)
        return error;
    *ret_mark = buf->len - SL_PB_BUF_LEN_WIDTH;
    return 0;
}

/*
 * Ends the nested message begun at `mark`. Short contents are moved up behind a length of minimal width; long ones
 * stay where they are behind a padded one. Nothing happens when the buffer has failed.
 */
static inline void sl_pb_buf_close(sl_buf *buf, size_t mark)
{
    if (buf->failed)
        return;
    SL_ASSERT(mark + SL_PB_BUF_LEN_WIDTH <= buf->len);
    size_t len = buf->len - mark - SL_PB_BUF_LEN_WIDTH;
    unsigned width = len <= 4096 ? (unsigned)sl_pb_size_varint(len) : SL_PB_BUF_LEN_WIDTH;
    uint8_t *at = (uint8_t *)buf->data + mark;
    if (width < SL_PB_BUF_LEN_WIDTH)
        memmove(at + width, at + SL_PB_BUF_LEN_WIDTH, len);
    sl_pb_raw_patch(at, width, len);
    buf->len = mark + width + len;
}

/* ---- Reading ---- */

typedef struct sl_pb_reader {
    const uint8_t *at;
    const uint8_t *end;
    int error; /* 0, or SL_EPARSE once something was malformed */
} sl_pb_reader;

/* One field. `value` holds varint and fixed values, `bytes` the contents of a LEN field (a view into the input). Of a
 * group (`wire` SL_PB_GROUP) nothing is kept. */
typedef struct sl_pb_field {
    uint32_t number;
    uint32_t wire;
    uint64_t value;
    sl_str bytes;
} sl_pb_field;

static inline sl_pb_reader sl_pb_reader_of(sl_str message)
{
    sl_pb_reader r;
    r.at = (const uint8_t *)message.ptr;
    r.end = message.len ? r.at + message.len : r.at;
    r.error = 0;
    return r;
}

static inline bool sl_pb_read_varint(sl_pb_reader *r, uint64_t *ret_value)
{
    uint64_t value = 0;
    const uint8_t *at = r->at;
    if (SL_LIKELY(at < r->end && *at < 0x80)) { /* tags, and most lengths */
        *ret_value = *at;
        r->at = at + 1;
        return true;
    }
    for (unsigned shift = 0; shift < 70 && at < r->end; shift += 7) {
        uint8_t byte = *at++;
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            r->at = at;
            *ret_value = value;
            return true;
        }
    }
    r->error = SL_EPARSE;
    return false;
}

static inline bool sl_pb_read_fixed(sl_pb_reader *r, size_t size, uint64_t *ret_value)
{
    SL_ASSERT(size == 4 || size == 8);
    if ((size_t)(r->end - r->at) < size) {
        r->error = SL_EPARSE;
        return false;
    }
    uint64_t value = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(&value, r->at, size);
#else
    for (size_t i = size; i-- > 0;)
        value = value << 8 | r->at[i];
#endif
    r->at += size;
    *ret_value = value;
    return true;
}

static inline bool sl_pb_read_len(sl_pb_reader *r, sl_str *ret_bytes)
{
    uint64_t len;
    if (!sl_pb_read_varint(r, &len))
        return false;
    if (len > (uint64_t)(r->end - r->at)) {
        r->error = SL_EPARSE;
        return false;
    }
    *ret_bytes = sl_str_of((const char *)r->at, (size_t)len);
    r->at += len;
    return true;
}

static inline bool sl_pb_read_tag(sl_pb_reader *r, sl_pb_field *field)
{
    uint64_t tag;
    if (!sl_pb_read_varint(r, &tag))
        return false;
    field->number = (uint32_t)(tag >> 3);
    field->wire = (uint32_t)(tag & 7);
    if (tag <= UINT32_MAX && field->number != 0)
        return true;
    r->error = SL_EPARSE;
    return false;
}

/* Reads what stands behind the tag of a field that is no group. */
static inline bool sl_pb_read_value(sl_pb_reader *r, sl_pb_field *field)
{
    switch (field->wire) {
    case SL_PB_VARINT:
        return sl_pb_read_varint(r, &field->value);
    case SL_PB_FIXED64:
        return sl_pb_read_fixed(r, 8, &field->value);
    case SL_PB_LEN:
        return sl_pb_read_len(r, &field->bytes);
    case SL_PB_FIXED32:
        return sl_pb_read_fixed(r, 4, &field->value);
    default:
        r->error = SL_EPARSE;
        return false;
    }
}

/* Reads over the group `number`, whose tag was read, with all that stands within it. */
static inline bool sl_pb_skip_group(sl_pb_reader *r, uint32_t number)
{
    uint32_t open[SL_PB_MAX_GROUPS];
    size_t depth = 1;
    sl_pb_field field = {0, 0, 0, {NULL, 0}};
    open[0] = number;
    while (depth > 0) {
        if (!sl_pb_read_tag(r, &field))
            return false;
        bool ok = true;
        if (field.wire == SL_PB_GROUP)
            ok = depth < SL_PB_MAX_GROUPS && (open[depth++] = field.number) != 0;
        else if (field.wire == SL_PB_GROUP_END)
            ok = open[--depth] == field.number;
        else
            ok = sl_pb_read_value(r, &field);
        if (!ok) {
            r->error = SL_EPARSE;
            return false;
        }
    }
    return true;
}

/*
 * Reads the next field. False at the end of the message and at the first malformed byte: `r->error` tells them apart.
 * `ret_field` is not touched then, and the reader stays failed.
 */
static inline bool sl_pb_next(sl_pb_reader *r, sl_pb_field *ret_field)
{
    sl_pb_field field = {0, 0, 0, {NULL, 0}};
    if (r->error || r->at == r->end || !sl_pb_read_tag(r, &field))
        return false;
    if (SL_UNLIKELY(field.wire == SL_PB_GROUP) ? !sl_pb_skip_group(r, field.number) : !sl_pb_read_value(r, &field))
        return false;
    *ret_field = field;
    return true;
}

/* True for field `number` of wire type `wire`: what a reader of a known message asks first. */
static inline bool sl_pb_is(const sl_pb_field *field, uint32_t number, uint32_t wire)
{
    return field->number == number && field->wire == wire;
}

#endif
