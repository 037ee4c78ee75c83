/* Server-sent events: frame boundaries of a passing stream, and fields of a frame. */
#include "src/wire/sse.h"

#include "src/base/assert.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define BOM "\xEF\xBB\xBF"
#define BOM_LEN 3

void sl_sse_init(sl_sse *sse, size_t max_bytes)
{
    SL_ASSERT(sse);
    memset(sse, 0, sizeof *sse);
    sse->max_bytes = max_bytes ? max_bytes : SL_MAX_SSE_FRAME_BYTES;
    sl_buf_init(&sse->carry, sse->max_bytes);
}

void sl_sse_done(sl_sse *sse)
{
    if (sse)
        sl_buf_done(&sse->carry);
}

/* First CR or LF, or `end`. */
static const char *find_line_end(const char *p, const char *end)
{
#if defined(__SSE2__)
    const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n');
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        int mask = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, cr), _mm_cmpeq_epi8(v, lf)));
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
        p += 16;
    }
#endif
    while (p < end && *p != '\r' && *p != '\n')
        p++;
    return p;
}

/* Gives the current frame up: it is too large, or there is no memory for it. */
static void give_up(sl_sse *sse)
{
    SL_ASSERT(sse);
    sl_buf_done(&sse->carry);
    sse->cut = true;
}

/* Gathers a part of the current frame that ends with the fed bytes. */
static void gather(sl_sse *sse, const char *begin, const char *end)
{
    size_t len = (size_t)(end - begin);
    if (len == 0 || sse->cut)
        return;
    if (sse->carry.len + len > sse->max_bytes || sl_buf_put(&sse->carry, begin, len) != 0)
        give_up(sse);
}

/* Skips a byte order mark at the very start of the stream; it may come in pieces. */
static const char *skip_bom(sl_sse *sse, const char *p, const char *end)
{
    while (p < end && sse->bom < BOM_LEN && *p == BOM[sse->bom]) {
        sse->bom++;
        p++;
    }
    if (p == end || sse->bom == BOM_LEN)
        return p;
    /* No mark: what looked like its beginning is text. */
    if (sse->bom > 0) {
        gather(sse, BOM, &BOM[sse->bom]);
        sse->line_has_text = true;
    }
    sse->bom = BOM_LEN;
    return p;
}

/* The frame whose last part is begin..end; false when it is empty. */
static bool finish_frame(sl_sse *sse, const char *begin, const char *end, sl_sse_frame *ret_frame)
{
    SL_ASSERT(sse && ret_frame);
    size_t len = (size_t)(end - begin);
    if (sse->carry.len > 0 || sse->cut) {
        gather(sse, begin, end);
        *ret_frame = (sl_sse_frame){sl_buf_str(&sse->carry), sse->cut};
    } else if (len > sse->max_bytes) {
        *ret_frame = (sl_sse_frame){{NULL, 0}, true};
    } else {
        *ret_frame = (sl_sse_frame){{begin, len}, false};
    }
    bool is_frame = ret_frame->cut || ret_frame->bytes.len > 0;
    if (ret_frame->cut)
        ret_frame->bytes = sl_str_of(NULL, 0);
    sse->cut = false;
    sse->frames += is_frame ? 1 : 0;
    return is_frame;
}

int sl_sse_next(sl_sse *sse, sl_str *bytes, sl_sse_frame *ret_frame)
{
    SL_ASSERT(sse && bytes && ret_frame && (bytes->ptr || bytes->len == 0));
    if (bytes->len == 0)
        return SL_EMORE;
    /* What the last call handed out is no longer used. */
    if (sse->carry.len > 0 && !sse->gathering)
        sl_buf_clear(&sse->carry);
    const char *end = bytes->ptr + bytes->len;
    const char *p = bytes->ptr;
    if (sse->after_cr && *p == '\n') {
        /* The second half of a line end: it belongs to the line's frame, or to the empty line before this one. */
        if (sse->gathering)
            gather(sse, p, p + 1);
        p++;
    }
    sse->after_cr = false;
    if (sse->bom < BOM_LEN)
        p = skip_bom(sse, p, end);
    const char *begin = p;
    while (p < end) {
        const char *stop = find_line_end(p, end);
        bool has_text = sse->line_has_text || stop > p;
        if (stop == end) {
            sse->line_has_text = has_text;
            break;
        }
        const char *behind = stop + 1;
        if (*stop == '\r' && behind < end && *behind == '\n')
            behind++;
        else
            sse->after_cr = *stop == '\r' && behind == end;
        sse->line_has_text = false;
        p = behind;
        if (has_text)
            continue;
        bool is_frame = finish_frame(sse, begin, stop, ret_frame);
        sse->gathering = false;
        begin = p;
        if (is_frame) {
            *bytes = sl_str_of(p, (size_t)(end - p));
            return 0;
        }
    }
    gather(sse, begin, end);
    sse->gathering = sse->carry.len > 0 || sse->cut;
    *bytes = sl_str_of(end, 0);
    return SL_EMORE;
}

int sl_sse_finish(sl_sse *sse, sl_sse_frame *ret_frame)
{
    SL_ASSERT(sse && ret_frame);
    if (!sse->gathering)
        return SL_ENOENT;
    sse->gathering = false;
    sse->line_has_text = false;
    return finish_frame(sse, "", "", ret_frame) ? 0 : SL_ENOENT;
}

/* ---- Fields of a frame ---- */

bool sl_sse_frame_has(const sl_sse_frame *frame, sl_str needle)
{
    SL_ASSERT(frame);
    return sl_str_find(frame->bytes, needle) != SL_NPOS;
}

bool sl_sse_line_next(sl_str *rest, sl_str *ret_name, sl_str *ret_value)
{
    SL_ASSERT(rest && ret_name && ret_value);
    if (rest->len == 0)
        return false;
    const char *begin = rest->ptr, *end = rest->ptr + rest->len;
    const char *stop = find_line_end(begin, end);
    sl_str line = sl_str_of(begin, (size_t)(stop - begin));
    if (stop < end)
        stop += *stop == '\r' && end - stop > 1 && stop[1] == '\n' ? 2 : 1;
    *rest = sl_str_of(stop, (size_t)(end - stop));
    size_t colon = sl_str_chr(line, ':');
    if (colon == SL_NPOS) {
        *ret_name = line;
        *ret_value = sl_str_of(NULL, 0);
        return true;
    }
    *ret_name = sl_str_sub(line, 0, colon);
    *ret_value = sl_str_sub(line, colon + 1, line.len);
    if (ret_value->len && ret_value->ptr[0] == ' ')
        *ret_value = sl_str_sub(*ret_value, 1, ret_value->len);
    return true;
}

bool sl_sse_frame_field(const sl_sse_frame *frame, sl_str name, sl_str *ret_value)
{
    SL_ASSERT(frame && ret_value && name.len > 0);
    sl_str rest = frame->bytes, field, value;
    bool found = false;
    while (sl_sse_line_next(&rest, &field, &value)) {
        if (sl_str_eq(field, name)) {
            *ret_value = value;
            found = true;
        }
    }
    return found;
}

int sl_sse_frame_data(const sl_sse_frame *frame, sl_buf *scratch, sl_str *ret_data)
{
    SL_ASSERT(frame && ret_data);
    sl_str rest = frame->bytes, name, value, only = {NULL, 0};
    size_t lines = 0;
    while (sl_sse_line_next(&rest, &name, &value)) {
        if (!sl_str_eq(name, SL_STR("data")))
            continue;
        if (++lines == 1) {
            only = value;
            continue;
        }
        if (!scratch)
            return SL_EINVAL;
        if (lines == 2) {
            sl_buf_clear(scratch);
            (void)sl_buf_put_str(scratch, only);
        }
        (void)sl_buf_put_char(scratch, '\n');
        (void)sl_buf_put_str(scratch, value);
        if (scratch->failed)
            return scratch->failed;
    }
    if (lines == 0)
        return SL_ENOENT;
    *ret_data = lines == 1 ? only : sl_buf_str(scratch);
    return 0;
}

bool sl_sse_frame_is_done(const sl_sse_frame *frame)
{
    sl_str data;
    return sl_sse_frame_data(frame, NULL, &data) == 0 && sl_str_eq(sl_str_trim(data), SL_STR("[DONE]"));
}
