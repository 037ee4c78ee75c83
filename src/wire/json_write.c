/* JSON writing into a growing buffer. */
#include "src/wire/json_write.h"

#include "src/base/assert.h"
#include <math.h>

/* ---- Strings ---- */

/* True for bytes that stand for themselves within a JSON string. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Writes what stands for an ASCII byte that is not plain. */
static int put_escape(sl_buf *buf, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *found = c ? strchr(from, c) : NULL;
    char text[6] = {'\\', 'u', '0', '0', "0123456789abcdef"[c >> 4 & 15], "0123456789abcdef"[c & 15]};
    SL_ASSERT(c < 0x80);
    if (!found)
        return sl_buf_put(buf, text, 6);
    text[1] = to[found - from];
    return sl_buf_put(buf, text, 2);
}

int sl_json_put_escaped(sl_buf *buf, sl_str text)
{
    SL_ASSERT(buf);
    size_t i = 0, before = buf->len;
    int error = 0;
    while (i < text.len && !error) {
        size_t begin = i, bad = 0;
        while (i < text.len && !bad && ((unsigned char)text.ptr[i] >= 0x80 || is_plain((unsigned char)text.ptr[i]))) {
            bool valid = true;
            size_t n = (unsigned char)text.ptr[i] < 0x80 ? 1 : sl_utf8_piece(sl_str_sub(text, i, SL_NPOS), &valid);
            bad = valid ? 0 : n;
            i += valid ? n : 0;
        }
        error = sl_buf_put(buf, text.ptr + begin, i - begin);
        if (!error && bad)
            error = sl_buf_put(buf, "\xEF\xBF\xBD", 3);
        else if (!error && i < text.len)
            error = put_escape(buf, (unsigned char)text.ptr[i++]);
        i += bad;
    }
    if (error)
        buf->len = before;
    return error;
}

int sl_json_put_string(sl_buf *buf, sl_str text)
{
    SL_ASSERT(buf);
    size_t before = buf->len;
    int error = sl_buf_put_char(buf, '"');
    if (!error)
        error = sl_json_put_escaped(buf, text);
    if (!error)
        error = sl_buf_put_char(buf, '"');
    if (error)
        buf->len = before;
    return error;
}

/* ---- Structure ---- */

void sl_jw_init(sl_jw *writer, sl_buf *buf)
{
    SL_ASSERT(writer && buf);
    memset(writer, 0, sizeof *writer);
    writer->buf = buf;
}

static void note(sl_jw *writer, int error)
{
    if (error && !writer->error)
        writer->error = error;
}

static bool in_object(const sl_jw *writer)
{
    SL_ASSERT(writer);
    uint32_t top = writer->depth - 1;
    return writer->depth > 0 && (writer->is_object[top / 64] >> (top % 64) & 1);
}

/* What precedes a value: a comma in arrays, nothing behind a name. False when no value may stand here. */
static bool begin_value(sl_jw *writer)
{
    SL_ASSERT(writer && writer->buf);
    if (writer->error)
        return false;
    if (in_object(writer) ? !writer->key_pending : writer->depth == 0 && writer->has_items) {
        note(writer, SL_EINVAL);
        return false;
    }
    if (!writer->key_pending && writer->has_items)
        note(writer, sl_buf_put_char(writer->buf, ','));
    writer->key_pending = false;
    writer->has_items = true;
    return writer->error == 0;
}

static void open_container(sl_jw *writer, bool object)
{
    if (!begin_value(writer))
        return;
    if (writer->depth == SL_MAX_JSON_DEPTH) {
        note(writer, SL_ELIMIT);
        return;
    }
    uint64_t bit = (uint64_t)1 << (writer->depth % 64);
    uint64_t *word = &writer->is_object[writer->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    writer->depth++;
    writer->has_items = false;
    note(writer, sl_buf_put_char(writer->buf, object ? '{' : '['));
}

void sl_jw_object(sl_jw *writer)
{
    open_container(writer, true);
}

void sl_jw_array(sl_jw *writer)
{
    open_container(writer, false);
}

void sl_jw_end(sl_jw *writer)
{
    SL_ASSERT(writer && writer->buf);
    if (writer->depth == 0 || writer->key_pending) {
        note(writer, SL_EINVAL);
        return;
    }
    if (!writer->error)
        note(writer, sl_buf_put_char(writer->buf, in_object(writer) ? '}' : ']'));
    writer->depth--;
    writer->has_items = true;
}

void sl_jw_key(sl_jw *writer, sl_str name)
{
    SL_ASSERT(writer && writer->buf);
    if (writer->error)
        return;
    if (!in_object(writer) || writer->key_pending) {
        note(writer, SL_EINVAL);
        return;
    }
    if (writer->has_items)
        note(writer, sl_buf_put_char(writer->buf, ','));
    note(writer, sl_json_put_string(writer->buf, name));
    note(writer, sl_buf_put_char(writer->buf, ':'));
    writer->key_pending = true;
    writer->has_items = true;
}

int sl_jw_finish(sl_jw *writer)
{
    SL_ASSERT(writer && writer->buf);
    if (writer->depth > 0 || writer->key_pending)
        note(writer, SL_EINVAL);
    note(writer, writer->buf->failed);
    return writer->error;
}

/* ---- Values ---- */

void sl_jw_str(sl_jw *writer, sl_str text)
{
    if (begin_value(writer))
        note(writer, sl_json_put_string(writer->buf, text));
}

void sl_jw_i64(sl_jw *writer, int64_t number)
{
    if (begin_value(writer))
        note(writer, sl_buf_put_i64(writer->buf, number));
}

void sl_jw_u64(sl_jw *writer, uint64_t number)
{
    if (begin_value(writer))
        note(writer, sl_buf_put_u64(writer->buf, number));
}

void sl_jw_double(sl_jw *writer, double number)
{
    if (isfinite(number)) {
        if (begin_value(writer))
            note(writer, sl_buf_put_double(writer->buf, number));
    } else if (writer->nonfinite == SL_JW_NULL) {
        sl_jw_null(writer);
    } else {
        sl_jw_str(writer, sl_str_c(isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity"));
    }
}

void sl_jw_bool(sl_jw *writer, bool value)
{
    sl_jw_raw(writer, value ? SL_STR("true") : SL_STR("false"));
}

void sl_jw_null(sl_jw *writer)
{
    sl_jw_raw(writer, SL_STR("null"));
}

void sl_jw_raw(sl_jw *writer, sl_str json)
{
    SL_ASSERT(json.len > 0);
    if (begin_value(writer))
        note(writer, sl_buf_put_str(writer->buf, json));
}

void sl_jw_u64_string(sl_jw *writer, uint64_t number)
{
    if (!begin_value(writer))
        return;
    note(writer, sl_buf_put_char(writer->buf, '"'));
    note(writer, sl_buf_put_u64(writer->buf, number));
    note(writer, sl_buf_put_char(writer->buf, '"'));
}

void sl_jw_hex(sl_jw *writer, const uint8_t *bytes, size_t len)
{
    SL_ASSERT(bytes || len == 0);
    if (!begin_value(writer))
        return;
    note(writer, sl_buf_put_char(writer->buf, '"'));
    for (size_t i = 0; i < len; i++) {
        char text[2];
        sl_hex_encode(bytes + i, 1, text);
        note(writer, sl_buf_put(writer->buf, text, 2));
    }
    note(writer, sl_buf_put_char(writer->buf, '"'));
}

/* ---- Members ---- */

void sl_jw_member_str(sl_jw *writer, const char *name, sl_str text)
{
    sl_jw_key(writer, sl_str_c(name));
    sl_jw_str(writer, text);
}

void sl_jw_member_c(sl_jw *writer, const char *name, const char *text)
{
    sl_jw_member_str(writer, name, sl_str_c(text));
}

void sl_jw_member_i64(sl_jw *writer, const char *name, int64_t number)
{
    sl_jw_key(writer, sl_str_c(name));
    sl_jw_i64(writer, number);
}

void sl_jw_member_u64(sl_jw *writer, const char *name, uint64_t number)
{
    sl_jw_key(writer, sl_str_c(name));
    sl_jw_u64(writer, number);
}

void sl_jw_member_double(sl_jw *writer, const char *name, double number)
{
    sl_jw_key(writer, sl_str_c(name));
    sl_jw_double(writer, number);
}

void sl_jw_member_bool(sl_jw *writer, const char *name, bool value)
{
    sl_jw_key(writer, sl_str_c(name));
    sl_jw_bool(writer, value);
}

void sl_jw_member_null(sl_jw *writer, const char *name)
{
    sl_jw_key(writer, sl_str_c(name));
    sl_jw_null(writer);
}

void sl_jw_member_raw(sl_jw *writer, const char *name, sl_str json)
{
    sl_jw_key(writer, sl_str_c(name));
    sl_jw_raw(writer, json);
}

void sl_jw_member_object(sl_jw *writer, const char *name)
{
    sl_jw_key(writer, sl_str_c(name));
    sl_jw_object(writer);
}

void sl_jw_member_array(sl_jw *writer, const char *name)
{
    sl_jw_key(writer, sl_str_c(name));
    sl_jw_array(writer);
}
