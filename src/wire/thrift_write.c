/* Thrift's binary protocol, writing. */
#include "src/wire/thrift_write.h"

#define LIST_HEAD 8u /* type and number of the field, type of the elements, their count */

static void put_big_endian(sl_buf *buf, uint64_t value, size_t bytes)
{
    SL_ASSERT(bytes <= 8);
    char text[8];
    for (size_t i = 0; i < bytes; i++)
        text[i] = (char)(uint8_t)(value >> 8 * (bytes - 1 - i));
    (void)sl_buf_put(buf, text, bytes);
}

/* Overwrites a number of four bytes that was put before. */
static void patch(sl_buf *buf, size_t at, size_t value)
{
    if (buf->failed)
        return;
    SL_ASSERT(at + 4 <= buf->len && value <= UINT32_MAX);
    for (size_t i = 0; i < 4; i++)
        buf->data[at + i] = (char)(uint8_t)(value >> 8 * (3 - i));
}

void sl_thrift_field(sl_buf *buf, unsigned type, unsigned id)
{
    SL_ASSERT(buf && type < 16 && id < 0x8000);
    put_big_endian(buf, (uint64_t)type << 16 | id, 3);
}

void sl_thrift_stop(sl_buf *buf)
{
    SL_ASSERT(buf);
    (void)sl_buf_put_char(buf, SL_THRIFT_STOP);
}

void sl_thrift_bool(sl_buf *buf, unsigned id, bool value)
{
    sl_thrift_field(buf, SL_THRIFT_BOOL, id);
    (void)sl_buf_put_char(buf, value ? 1 : 0);
}

void sl_thrift_i32(sl_buf *buf, unsigned id, uint32_t value)
{
    sl_thrift_field(buf, SL_THRIFT_I32, id);
    put_big_endian(buf, value, 4);
}

void sl_thrift_i64(sl_buf *buf, unsigned id, uint64_t value)
{
    sl_thrift_field(buf, SL_THRIFT_I64, id);
    put_big_endian(buf, value, 8);
}

void sl_thrift_double(sl_buf *buf, unsigned id, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    sl_thrift_field(buf, SL_THRIFT_DOUBLE, id);
    put_big_endian(buf, bits, 8);
}

void sl_thrift_bytes(sl_buf *buf, unsigned id, sl_str bytes)
{
    SL_ASSERT(bytes.len <= INT32_MAX);
    sl_thrift_field(buf, SL_THRIFT_STRING, id);
    put_big_endian(buf, bytes.len, 4);
    (void)sl_buf_put_str(buf, bytes);
}

void sl_thrift_text(sl_buf *buf, unsigned id, sl_str text)
{
    if (sl_utf8_valid(text)) {
        sl_thrift_bytes(buf, id, text);
        return;
    }
    sl_thrift_field(buf, SL_THRIFT_STRING, id);
    size_t at = buf->len;
    put_big_endian(buf, 0, 4);
    while (text.len && !buf->failed) {
        bool valid;
        size_t len = sl_utf8_piece(text, &valid);
        (void)(valid ? sl_buf_put(buf, text.ptr, len) : sl_buf_put(buf, "\xEF\xBF\xBD", 3));
        text = sl_str_sub(text, len, text.len);
    }
    patch(buf, at, buf->len - at - 4);
}

sl_thrift_list sl_thrift_list_open(sl_buf *buf, unsigned id)
{
    sl_thrift_list list = {buf->len, 0};
    sl_thrift_field(buf, SL_THRIFT_LIST, id);
    put_big_endian(buf, SL_THRIFT_STRUCT, 1);
    put_big_endian(buf, 0, 4);
    return list;
}

void sl_thrift_list_close(sl_buf *buf, const sl_thrift_list *list, bool optional)
{
    SL_ASSERT(buf && list);
    if (buf->failed)
        return;
    if (optional && !list->count)
        buf->len = list->start;
    else
        patch(buf, list->start + LIST_HEAD - 4, list->count);
}
