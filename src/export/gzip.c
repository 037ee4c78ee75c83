/* gzip. Level 1: compression, not encoding, is what exporting costs. */
#include "src/export/gzip.h"

#include <zlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

#define GZIP_WINDOW (15 + 16) /* the gzip frame */
#define GZIP_LEVEL 1
#define STEP_BYTES 16384u

static void *zlib_alloc(void *user, unsigned count, unsigned size)
{
    (void)user;
    return sl_calloc(count, size);
}

static void zlib_free(void *user, void *ptr)
{
    (void)user;
    sl_free(ptr);
}

/* Gives the next piece of input, at most what zlib's counter holds. */
static void feed(z_stream *z, sl_str *rest)
{
    SL_ASSERT(rest && z);
    size_t len = rest->len < 1u << 30 ? rest->len : 1u << 30;
    z->next_in = (Bytef *)(uintptr_t)rest->ptr;
    z->avail_in = (uInt)len;
    *rest = sl_str_sub(*rest, len, rest->len);
}

typedef int (*step_fn)(z_stream *z, int flush);

/* Runs the stream until its end. */
static int pump(z_stream *z, step_fn step, sl_str bytes, sl_buf *out)
{
    SL_ASSERT(out);
    for (;;) {
        if (z->avail_in == 0 && bytes.len)
            feed(z, &bytes);
        int error = sl_buf_reserve(out, STEP_BYTES);
        if (error)
            return error;
        z->next_out = (Bytef *)out->data + out->len;
        z->avail_out = STEP_BYTES;
        int result = step(z, bytes.len ? Z_NO_FLUSH : Z_FINISH);
        out->len += STEP_BYTES - z->avail_out;
        if (result == Z_STREAM_END)
            return 0;
        bool stuck = z->avail_out != 0 && z->avail_in == 0 && !bytes.len;
        if (result == Z_MEM_ERROR)
            return SL_ENOMEM;
        if ((result != Z_OK && result != Z_BUF_ERROR) || stuck)
            return SL_EPARSE;
    }
}

int sl_gzip_pack(sl_str bytes, sl_buf *out)
{
    SL_ASSERT(out && (bytes.ptr || !bytes.len));
    z_stream z;
    memset(&z, 0, sizeof z);
    z.zalloc = zlib_alloc;
    z.zfree = zlib_free;
    if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return SL_ENOMEM;
    int error = pump(&z, deflate, bytes, out);
    (void)deflateEnd(&z);
    return error;
}

int sl_gzip_unpack(sl_str bytes, sl_buf *out)
{
    SL_ASSERT(out && (bytes.ptr || !bytes.len));
    z_stream z;
    memset(&z, 0, sizeof z);
    z.zalloc = zlib_alloc;
    z.zfree = zlib_free;
    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
        return SL_ENOMEM;
    int error = pump(&z, inflate, bytes, out);
    (void)inflateEnd(&z);
    return error;
}
