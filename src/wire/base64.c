/* Base64. */
#include "src/wire/base64.h"

#include "src/base/assert.h"

int sl_base64_encode(sl_buf *buf, sl_str bytes)
{
    SL_ASSERT(bytes.ptr || !bytes.len);
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int error = sl_buf_reserve(buf, sl_base64_encoded_len(bytes.len));
    if (error)
        return error;
    const uint8_t *in = (const uint8_t *)bytes.ptr;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i;
        uint32_t group = (uint32_t)in[i] << 16 | (n > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (n > 2 ? in[i + 2] : 0);
        char out[4] = {digits[group >> 18], digits[group >> 12 & 63], n > 1 ? digits[group >> 6 & 63] : '=',
                       n > 2 ? digits[group & 63] : '='};
        (void)sl_buf_put(buf, out, sizeof out);
    }
    SL_ASSERT(!buf->failed);
    return 0;
}

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

int sl_base64_decode(sl_str text, uint8_t *out, size_t *ret_len)
{
    SL_ASSERT(out && ret_len);
    size_t padded = text.len;
    while (text.len && padded - text.len < 2 && text.ptr[text.len - 1] == '=')
        text.len--;
    if (text.len % 4 == 1 || (text.len < padded && padded % 4))
        return SL_EPARSE;
    uint32_t group = 0;
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = digit(text.ptr[i]);
        if (value < 0)
            return SL_EPARSE;
        group = group << 6 | (uint32_t)value;
        if (i % 4)
            out[len++] = (uint8_t)(group >> (6 - 2 * (i % 4)));
    }
    *ret_len = len;
    return 0;
}
