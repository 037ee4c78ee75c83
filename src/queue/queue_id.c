/* See queue_id.h. */
#include "src/queue/queue_id.h"

#include "src/base/assert.h"

/* Offsets of the hyphens in the text. */
static bool is_hyphen(size_t at)
{
    return at == 8 || at == 13 || at == 18 || at == 23;
}

void sl_queue_id_format(uint64_t head, uint64_t row, char ret_text[SL_QUEUE_ID_BYTES])
{
    SL_ASSERT(row <= SL_QUEUE_ROW_MASK && (head & 0xF000u) == 0x7000u);
    static const char digits[] = "0123456789abcdef";
    uint64_t halves[2] = {head, (UINT64_C(2) << 62) | row};
    size_t at = 0;
    for (unsigned nibble = 0; nibble < 32; nibble++) {
        if (is_hyphen(at))
            ret_text[at++] = '-';
        ret_text[at++] = digits[(halves[nibble / 16] >> (60 - 4 * (nibble % 16))) & 15];
    }
    ret_text[at] = 0;
}

int sl_queue_id_parse(sl_str text, uint64_t *ret_head, uint64_t *ret_row)
{
    SL_ASSERT(ret_head && ret_row);
    if (text.len != SL_QUEUE_ID_BYTES - 1)
        return SL_EPARSE;
    uint64_t halves[2] = {0, 0};
    unsigned nibble = 0;
    for (size_t at = 0; at < text.len; at++) {
        if (is_hyphen(at)) {
            if (text.ptr[at] != '-')
                return SL_EPARSE;
            continue;
        }
        int value = sl_hex_value(text.ptr[at]);
        if (value < 0)
            return SL_EPARSE;
        halves[nibble / 16] = (halves[nibble / 16] << 4) | (unsigned)value;
        nibble++;
    }
    if ((halves[0] & 0xF000u) != 0x7000u || halves[1] >> 62 != 2)
        return SL_EPARSE;
    *ret_head = halves[0];
    *ret_row = halves[1] & SL_QUEUE_ROW_MASK;
    return 0;
}
