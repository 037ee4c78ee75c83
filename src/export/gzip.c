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

/*
 * Gives room for output: at the buffer's maximum one byte of `spare`, because the end of a stream may need none.
 * Errors: SL_ENOMEM.
 */
static int give_room(z_stream *z, sl_buf *out, Bytef *spare)
{
    SL_ASSERT(out->len <= out->max);
    size_t room = out->max - out->len < STEP_BYTES ? out->max - out->len : STEP_BYTES;
    if (room && sl_buf_reserve(out, room))
        return SL_ENOMEM;
    z->next_out = room ? (Bytef *)out->data + out->len : spare;
    z->avail_out = room ? (uInt)room : 1;
    return 0;
}

/* Counts what was written since `room` bytes were given. Errors: SL_ELIMIT, when that was the spare one. */
static int take_output(const z_stream *z, sl_buf *out, size_t room, const Bytef *spare)
{
    size_t written = room - z->avail_out;
    if (written && z->next_out == spare + 1)
        return SL_ELIMIT;
    out->len += written;
    return 0;
}

/* Runs the stream until its end; `*rest` is what of the input was not fed yet. */
static int pump(z_stream *z, step_fn step, sl_str *rest, sl_buf *out)
{
    SL_ASSERT(out);
    Bytef spare[1];
    for (;;) {
        if (z->avail_in == 0 && rest->len)
            feed(z, rest);
        int error = give_room(z, out, spare);
        if (error)
            return error;
        size_t room = z->avail_out;
        int result = step(z, rest->len ? Z_NO_FLUSH : Z_FINISH);
        error = take_output(z, out, room, spare);
        if (error || result == Z_STREAM_END)
            return error;
        bool stuck = z->avail_out != 0 && z->avail_in == 0 && !rest->len;
        if (result == Z_MEM_ERROR)
            return SL_ENOMEM;
        if ((result != Z_OK && result != Z_BUF_ERROR) || stuck)
            return SL_EPARSE;
    }
}

/* What was appended before a failure goes again. */
static int settle(sl_buf *out, size_t before, int error)
{
    if (error) {
        out->len = before;
        out->failed = out->failed ? out->failed : error;
    }
    return error;
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
    size_t before = out->len;
    int error = pump(&z, deflate, &bytes, out);
    (void)deflateEnd(&z);
    return settle(out, before, error);
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
    size_t before = out->len;
    int error = pump(&z, inflate, &bytes, out);
    while (!error && (z.avail_in || bytes.len)) /* further members (RFC 1952, 2.2) */
        error = inflateReset(&z) == Z_OK ? pump(&z, inflate, &bytes, out) : SL_EPARSE;
    (void)inflateEnd(&z);
    return settle(out, before, error);
}
