/* The character classes of HTTP, as one table; a test compares it with the definitions. */
#include "src/wire/http_field_chars.h"

#include "src/base/assert.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* clang-format off */
const uint8_t sl_http_chars[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 7, 0, 1, 7, 7, 7, 7, 6, 6, 7, 7, 2, 7, 7, 2,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 6, 0, 6, 0, 2,
    2, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 0, 2, 3, 7,
    3, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 3, 2, 7, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};
/* clang-format on */

static bool is_control(unsigned char c)
{
    return (c < 0x20 && c != '\t') || c == 0x7F;
}

#if !defined(__SSE2__)
/* True when one of eight bytes may be a control byte (a tab counts, the caller looks closer). */
static bool word_has_control(const char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    const uint64_t ones = 0x0101010101010101ull, tops = ones << 7;
    uint64_t low = (word - ones * 0x20) & ~word & tops;
    uint64_t del = word ^ ones * 0x7F;
    return (low | ((del - ones) & ~del & tops)) != 0;
}
#endif

size_t sl_http_find_control(const char *p, size_t len)
{
    SL_ASSERT(p || !len);
    size_t i = 0;
#if defined(__SSE2__)
    const __m128i low = _mm_set1_epi8(0x1F), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7F);
    for (; len - i >= 16; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(v, tab), _mm_cmpeq_epi8(_mm_min_epu8(v, low), v));
        int mask = _mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(v, del)));
        if (mask)
            return i + (size_t)__builtin_ctz((unsigned)mask);
    }
#else
    while (len - i >= 8 && !word_has_control(p + i))
        i += 8;
#endif
    while (i < len && !is_control((unsigned char)p[i]))
        i++;
    return i;
}
