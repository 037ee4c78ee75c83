/*
 * A growing byte buffer with a maximum. An append that fails leaves the contents as they were and is remembered
 * (`failed`), so a writer may check once at the end.
 */
#ifndef SL_BASE_BUF_H
#define SL_BASE_BUF_H

#include <stdarg.h>

#include "src/base/assert.h"
#include "src/base/str.h"

typedef struct sl_buf {
    char *data;
    size_t len;
    size_t cap;
    size_t max;
    int failed; /* first error of an append, or 0 */
} sl_buf;

/* An empty buffer that may hold at most `max` bytes. Allocates nothing. */
void sl_buf_init(sl_buf *buf, size_t max);
/* Frees the contents; the buffer is empty and usable again. */
void sl_buf_done(sl_buf *buf);
/* Empties it, keeps the memory, forgets a failure. */
void sl_buf_clear(sl_buf *buf);
/* Makes room for `more` bytes behind the contents. SL_ELIMIT, SL_ENOMEM (also remembered). */
int sl_buf_reserve(sl_buf *buf, size_t more);
/* As sl_buf_put, for what does not fit as it is. */
int sl_buf_put_grow(sl_buf *buf, const void *bytes, size_t len);
/* Appends formatted text; needs room for one byte more than the text. */
int sl_buf_printf(sl_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int sl_buf_vprintf(sl_buf *buf, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
/* Appends a decimal number. */
int sl_buf_put_u64(sl_buf *buf, uint64_t value);
int sl_buf_put_i64(sl_buf *buf, int64_t value);
/*
 * Appends a text that reads back as the same double, of 15 to 17 digits at most; NaN, +Inf, -Inf as Prometheus writes
 * them. A dot whatever the locale.
 */
int sl_buf_put_double(sl_buf *buf, double value);
/* Removes `len` bytes from the front (memmove). */
void sl_buf_consume(sl_buf *buf, size_t len);
/*
 * Moves the contents out: `*ret_data` (NUL-terminated, to be freed by sl_free) and its length; the buffer is then
 * empty. Errors: that of a failed append; SL_ENOMEM, and the buffer is as it was.
 */
int sl_buf_take(sl_buf *buf, char **ret_data, size_t *ret_len);

/* Appends bytes. */
static inline int sl_buf_put(sl_buf *buf, const void *bytes, size_t len)
{
    if (SL_UNLIKELY(len - 1 >= buf->cap - buf->len)) /* nothing too */
        return sl_buf_put_grow(buf, bytes, len);
    memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    return 0;
}

/* Appends one byte. */
static inline int sl_buf_put_char(sl_buf *buf, char c)
{
    return sl_buf_put(buf, &c, 1);
}

static inline int sl_buf_put_str(sl_buf *buf, sl_str s)
{
    return sl_buf_put(buf, s.ptr, s.len);
}

static inline int sl_buf_put_c(sl_buf *buf, const char *z)
{
    return sl_buf_put(buf, z, strlen(z));
}

static inline sl_str sl_buf_str(const sl_buf *buf)
{
    return sl_str_of(buf->data, buf->len);
}

#endif
