/* Percent-encoding and UTF-8 repair. */
#include "src/wire/pct.h"

#include "src/base/assert.h"

bool sl_pct_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

bool sl_pct_baggage(unsigned char c)
{
    return c > 0x20 && c < 0x7F && c != '"' && c != ',' && c != ';' && c != '\\' && c != '%';
}

size_t sl_pct_decode(sl_str text, char *out)
{
    SL_ASSERT(out || text.len == 0);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        int high = -1, low = -1;
        if (text.ptr[i] == '%' && text.len - i > 2) {
            high = sl_hex_value(text.ptr[i + 1]);
            low = sl_hex_value(text.ptr[i + 2]);
        }
        bool coded = high >= 0 && low >= 0;
        out[len++] = coded ? (char)(high * 16 + low) : text.ptr[i];
        i += coded ? 2 : 0;
    }
    SL_ASSERT(len <= text.len);
    return len;
}

size_t sl_pct_encoded_len(sl_str text, sl_pct_keep_fn keep)
{
    SL_ASSERT(keep);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++)
        len += keep((unsigned char)text.ptr[i]) ? 1 : 3;
    return len;
}

size_t sl_pct_encode(sl_str text, sl_pct_keep_fn keep, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    SL_ASSERT(keep && (out || text.len == 0));
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (keep(c)) {
            out[len++] = (char)c;
            continue;
        }
        out[len++] = '%';
        out[len++] = digits[c >> 4];
        out[len++] = digits[c & 15];
    }
    return len;
}

int sl_pct_buf_encode(sl_buf *buf, sl_str text, sl_pct_keep_fn keep)
{
    size_t len = sl_pct_encoded_len(text, keep);
    int error = sl_buf_reserve(buf, len);
    if (error)
        return error;
    if (len)
        buf->len += sl_pct_encode(text, keep, buf->data + buf->len);
    return 0;
}

size_t sl_utf8_repair(sl_str text, char *out)
{
    size_t len = 0;
    while (text.len) {
        bool valid;
        size_t n = sl_utf8_piece(text, &valid);
        SL_ASSERT(n >= 1 && n <= text.len);
        size_t add = valid ? n : 3;
        if (out)
            memcpy(out + len, valid ? text.ptr : "\xEF\xBF\xBD", add);
        len += add;
        text = sl_str_sub(text, n, text.len);
    }
    return len;
}
