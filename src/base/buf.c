/* Growing byte buffer with a maximum. */
#include "src/base/buf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

void sl_buf_init(sl_buf *buf, size_t max)
{
    SL_ASSERT(buf && max > 0);
    memset(buf, 0, sizeof *buf);
    buf->max = max;
}

void sl_buf_done(sl_buf *buf)
{
    if (!buf)
        return;
    sl_free(buf->data);
    sl_buf_init(buf, buf->max ? buf->max : 1);
}

void sl_buf_clear(sl_buf *buf)
{
    SL_ASSERT(buf);
    buf->len = 0;
    buf->failed = 0;
}

static int buf_fail(sl_buf *buf, int error)
{
    SL_ASSERT(buf);
    if (!buf->failed)
        buf->failed = error;
    return error;
}

int sl_buf_reserve(sl_buf *buf, size_t more)
{
    SL_ASSERT(buf->len <= buf->cap && buf->max > 0);
    if (more <= buf->cap - buf->len)
        return 0;
    if (buf->len > buf->max || more > buf->max - buf->len)
        return buf_fail(buf, SL_ELIMIT);
    size_t cap = buf->cap ? buf->cap : buf->max < 64 ? buf->max : 64;
    while (cap - buf->len < more)
        cap = cap > buf->max / 2 ? buf->max : cap * 2;
    char *data = sl_realloc(buf->data, cap);
    if (!data)
        return buf_fail(buf, SL_ENOMEM);
    buf->data = data;
    buf->cap = cap;
    return 0;
}

int sl_buf_put_grow(sl_buf *buf, const void *bytes, size_t len)
{
    SL_ASSERT(bytes || !len);
    if (len == 0)
        return 0;
    int error = sl_buf_reserve(buf, len);
    if (error)
        return error;
    memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    return 0;
}

int sl_buf_vprintf(sl_buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (len < 0)
        return buf_fail(buf, SL_EINVAL);
    int error = sl_buf_reserve(buf, (size_t)len + 1);
    if (error)
        return error;
    vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
    buf->len += (size_t)len;
    return 0;
}

int sl_buf_printf(sl_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int error = sl_buf_vprintf(buf, format, args);
    va_end(args);
    return error;
}

static unsigned digits_of(uint64_t value)
{
    unsigned count = 1;
    for (; value >= 1000; value /= 1000)
        count += 3;
    return count + (value >= 10) + (value >= 100);
}

/* Writes the digits of a number, without a NUL; returns how many. */
static size_t write_digits(char *text, uint64_t value)
{
    size_t count = digits_of(value), at = count;
    SL_ASSERT(count <= 20);
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (at > 0);
    return count;
}

int sl_buf_put_u64(sl_buf *buf, uint64_t value)
{
    char text[20];
    SL_ASSERT(buf->len <= buf->cap);
    if (SL_LIKELY(buf->cap - buf->len >= sizeof text)) {
        buf->len += write_digits(buf->data + buf->len, value);
        return 0;
    }
    return sl_buf_put(buf, text, write_digits(text, value));
}

int sl_buf_put_i64(sl_buf *buf, int64_t value)
{
    if (value >= 0)
        return sl_buf_put_u64(buf, (uint64_t)value);
    char text[21] = "-";
    return sl_buf_put(buf, text, 1 + write_digits(text + 1, 0 - (uint64_t)value));
}

/*
 * Numbers of at most three decimals, which most durations are, without the C library's long way. Length of the text, 0
 * for any other number.
 */
static size_t write_short_fraction(char text[24], double value)
{
    double scaled = fabs(value) * 1000.0;
    if (!(scaled < 1e12 && scaled >= 1.0))
        return 0;
    uint64_t thousandths = (uint64_t)(scaled + 0.5);
    if ((double)thousandths / 1000.0 != fabs(value))
        return 0;
    char digits[4] = {'.', (char)('0' + thousandths / 100 % 10), (char)('0' + thousandths / 10 % 10),
                      (char)('0' + thousandths % 10)};
    size_t len = thousandths % 10 ? 4 : thousandths % 100 ? 3 : 2, at = value < 0;
    text[0] = '-';
    at += write_digits(text + at, thousandths / 1000);
    memcpy(text + at, digits, len);
    return at + len;
}

/* A number as printf wrote it, with a dot for whatever the host's locale has between the digits (1 to 4 bytes). */
static int put_c_number(sl_buf *buf, const char *text)
{
    char number[40];
    size_t len = 0;
    bool in_point = false;
    for (; *text && len < sizeof number; text++) {
        bool plain = (*text >= '0' && *text <= '9') || *text == '-' || *text == '+' || *text == 'e';
        if (plain || !in_point)
            number[len++] = plain ? *text : '.';
        in_point = !plain;
    }
    return sl_buf_put(buf, number, len);
}

int sl_buf_put_double(sl_buf *buf, double value)
{
    if (isnan(value))
        return sl_buf_put_c(buf, "NaN");
    if (isinf(value))
        return sl_buf_put_c(buf, value > 0 ? "+Inf" : "-Inf");
    if (value == 0 && signbit(value))
        return sl_buf_put_c(buf, "-0");
    if (fabs(value) < 1e15 && value == (double)(int64_t)value)
        return sl_buf_put_i64(buf, (int64_t)value);
    char text[40];
    size_t len = write_short_fraction(text, value);
    if (len)
        return sl_buf_put(buf, text, len);
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return put_c_number(buf, text);
}

void sl_buf_consume(sl_buf *buf, size_t len)
{
    SL_ASSERT(len <= buf->len);
    if (len == 0)
        return;
    memmove(buf->data, buf->data + len, buf->len - len);
    buf->len -= len;
}

int sl_buf_take(sl_buf *buf, char **ret_data, size_t *ret_len)
{
    SL_ASSERT(buf && ret_data && ret_len);
    if (buf->failed)
        return buf->failed;
    char *data = buf->cap > buf->len ? buf->data : sl_realloc(buf->data, buf->len + 1); /* the NUL is no content */
    if (!data)
        return SL_ENOMEM;
    data[buf->len] = '\0';
    *ret_data = data;
    *ret_len = buf->len;
    size_t max = buf->max;
    sl_buf_init(buf, max);
    return 0;
}
