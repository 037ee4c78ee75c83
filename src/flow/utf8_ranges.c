/* Ranges of characters as ranges of bytes: a range is cut until all of its ends have the same form. */
#include "src/flow/utf8_ranges.h"

#include "src/base/assert.h"

static const uint32_t last_of_length[] = {0x7F, 0x7FF, 0xFFFF, SL_UTF8_LAST};

size_t sl_utf8_encode(uint32_t c, uint8_t ret_bytes[4])
{
    SL_ASSERT(c <= SL_UTF8_LAST && ret_bytes);
    size_t len = 1;
    while (c > last_of_length[len - 1])
        len++;
    if (len == 1) {
        ret_bytes[0] = (uint8_t)c;
        return 1;
    }
    for (size_t i = len; i-- > 1; c >>= 6)
        ret_bytes[i] = (uint8_t)(0x80 | (c & 0x3F));
    ret_bytes[0] = (uint8_t)(0xF00u >> len | c);
    return len;
}

size_t sl_utf8_decode(sl_str s, uint32_t *ret_character)
{
    SL_ASSERT(ret_character);
    bool valid = false;
    size_t len = s.len ? sl_utf8_piece(s, &valid) : 0;
    if (!valid)
        return 0;
    uint32_t c = (unsigned char)s.ptr[0];
    if (len > 1)
        c &= 0x7Fu >> len;
    for (size_t i = 1; i < len; i++)
        c = c << 6 | ((unsigned char)s.ptr[i] & 0x3Fu);
    *ret_character = c;
    return len;
}

/* Where [from, to] is to be cut: the last character of its first part; `to` when it has one form. */
static uint32_t first_part(uint32_t from, uint32_t to)
{
    for (size_t i = 0; i < 3; i++)
        if (from <= last_of_length[i] && to > last_of_length[i])
            return last_of_length[i];
    size_t more = to > 0xFFFF ? 3 : to > 0x7FF ? 2 : to > 0x7F ? 1 : 0;
    for (size_t i = 1; i <= more; i++) {
        uint32_t low = (1u << (6 * i)) - 1;
        if ((from & ~low) == (to & ~low))
            continue;
        if (from & low)
            return from | low;
        if ((to & low) != low)
            return (to & ~low) - 1;
    }
    return to;
}

size_t sl_utf8_ranges(uint32_t from, uint32_t to, sl_utf8_sequence ret_sequences[SL_UTF8_SEQUENCES])
{
    SL_ASSERT(from <= to && to <= SL_UTF8_LAST && ret_sequences);
    size_t count = 0;
    for (bool more = true; more;) {
        uint32_t end = to;
        for (uint32_t cut = first_part(from, end); cut != end; cut = first_part(from, end))
            end = cut;
        SL_ASSERT(count < SL_UTF8_SEQUENCES);
        sl_utf8_sequence *s = &ret_sequences[count++];
        s->len = (uint8_t)sl_utf8_encode(from, s->low);
        (void)sl_utf8_encode(end, s->high);
        more = end < to;
        from = end + 1;
    }
    return count;
}
