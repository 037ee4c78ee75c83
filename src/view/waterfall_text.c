/* Text for terminals. */
#include "src/view/waterfall_text.h"

#include "src/base/assert.h"
#include <stdio.h>

/* One printable character of a text: its bytes, what to show for them, and its columns. */
typedef struct glyph {
    size_t bytes;
    sl_str shown;
    size_t columns;
} glyph;

static uint32_t decode(const unsigned char *p, size_t n)
{
    if (n == 1)
        return p[0];
    if (n == 2)
        return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3Fu);
    if (n == 3)
        return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3Fu);
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 |
           (p[3] & 0x3Fu);
}

/* Columns of a character: the ranges that terminals agree upon (Unicode 15, East Asian Width). */
static size_t columns_of(uint32_t c)
{
    static const struct {
        uint32_t from, to;
        size_t columns;
    } ranges[] = {
        {0x0300, 0x036F, 0},   {0x1100, 0x115F, 2},   {0x200B, 0x200F, 0}, {0x202A, 0x202E, 0},   {0x2060, 0x2069, 0},
        {0x20D0, 0x20FF, 0},   {0x2E80, 0xA4CF, 2},   {0xAC00, 0xD7A3, 2}, {0xF900, 0xFAFF, 2},   {0xFE00, 0xFE0F, 0},
        {0xFE30, 0xFE6F, 2},   {0xFF00, 0xFF60, 2},   {0xFFE0, 0xFFE6, 2}, {0x1F300, 0x1F64F, 2}, {0x1F680, 0x1F6FF, 2},
        {0x1F900, 0x1F9FF, 2}, {0x20000, 0x3FFFD, 2},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges && c >= ranges[i].from; i++) {
        if (c <= ranges[i].to)
            return ranges[i].columns;
    }
    return 1;
}

static glyph glyph_at(sl_str s, size_t at, bool ascii)
{
    SL_ASSERT(s.ptr || !s.len);
    const unsigned char *p = (const unsigned char *)s.ptr + at;
    const glyph bad = {1, SL_STR("?"), 1};
    size_t n = p[0] < 0x80 ? 1 : 0;
    for (size_t len = 2; n == 0 && len <= 4 && at + len <= s.len; len++)
        n = sl_utf8_valid(sl_str_of(s.ptr + at, len)) ? len : 0;
    if (n == 0)
        return bad;
    uint32_t c = decode(p, n);
    /* Control characters of both ranges, and those that turn the direction of text round. */
    bool control = c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
    if (control || (ascii && c >= 0x80))
        return (glyph){n, SL_STR("?"), 1};
    return (glyph){n, sl_str_of(s.ptr + at, n), columns_of(c)};
}

size_t sl_text_columns(sl_str text, bool ascii)
{
    size_t columns = 0;
    for (size_t at = 0; at < text.len;) {
        glyph g = glyph_at(text, at, ascii);
        columns += g.columns;
        at += g.bytes;
    }
    return columns;
}

void sl_text_put(sl_buf *out, sl_str text, size_t columns, bool pad, bool ascii)
{
    size_t used = 0;
    bool clip = sl_text_columns(text, ascii) > columns;
    size_t room = clip && columns > 0 ? columns - 1 : columns;
    for (size_t at = 0; at < text.len;) {
        glyph g = glyph_at(text, at, ascii);
        if (used + g.columns > room)
            break;
        (void)sl_buf_put_str(out, g.shown);
        used += g.columns;
        at += g.bytes;
    }
    if (clip && columns > 0) {
        (void)sl_buf_put_c(out, ascii ? "~" : "\xE2\x80\xA6");
        used++;
    }
    if (pad)
        sl_text_repeat(out, " ", columns - used);
}

void sl_text_repeat(sl_buf *out, const char *piece, size_t count)
{
    while (count-- > 0)
        (void)sl_buf_put_c(out, piece);
}

void sl_text_ink(sl_buf *out, const sl_waterfall_options *options, unsigned ink)
{
    SL_ASSERT(options);
    static const char *const codes[] = {"", "2", "1", "31", "36", "32", "35", "33", "34", "96"};
    SL_ASSERT(ink < sizeof codes / sizeof *codes);
    if (options->color && ink != SL_INK_NONE)
        (void)sl_buf_printf(out, "\x1b[%sm", codes[ink]);
}

void sl_text_plain(sl_buf *out, const sl_waterfall_options *options, unsigned ink)
{
    SL_ASSERT(options);
    if (options->color && ink != SL_INK_NONE)
        (void)sl_buf_put_c(out, "\x1b[0m");
}

void sl_text_duration(uint64_t ns, char ret_text[SL_DURATION_SIZE])
{
    static const struct {
        double unit;
        const char *name;
    } units[] = {{1e3, "us"}, {1e6, "ms"}, {1e9, "s"}};
    if (ns < 1000) {
        snprintf(ret_text, SL_DURATION_SIZE, "%u ns", (unsigned)ns);
        return;
    }
    if (ns >= 100000000000u) {
        unsigned long long s = ns / 1000000000u;
        if (s < 3600)
            snprintf(ret_text, SL_DURATION_SIZE, "%llum %02llus", s / 60, s % 60);
        else
            snprintf(ret_text, SL_DURATION_SIZE, "%lluh %02llum", s / 3600, s / 60 % 60);
        return;
    }
    size_t i = ns < 1000000 ? 0 : ns < 1000000000 ? 1 : 2;
    double value = (double)ns / units[i].unit;
    if (value >= 999.5 && i < 2) {
        i++;
        value = (double)ns / units[i].unit;
    }
    int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    snprintf(ret_text, SL_DURATION_SIZE, "%.*f %s", digits, value, units[i].name);
}
