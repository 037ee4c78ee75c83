/* Ranges of characters: every character is in the bytes of those ranges that it is in, and in no others. */
#include "src/flow/utf8_ranges.h"

#include "tests/harness/sl_test.h"

static bool fits(const sl_utf8_sequence *sequences, size_t count, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < count; i++) {
        if (sequences[i].len != len)
            continue;
        size_t at = 0;
        while (at < len && bytes[at] >= sequences[i].low[at] && bytes[at] <= sequences[i].high[at])
            at++;
        if (at == len)
            return true;
    }
    return false;
}

SL_TEST(characters_are_encoded_and_read_again)
{
    for (uint32_t c = 0; c <= SL_UTF8_LAST; c++) {
        uint8_t bytes[4];
        size_t len = sl_utf8_encode(c, bytes);
        if (c >= 0xD800 && c < 0xE000)
            continue;
        uint32_t again = 0;
        if (len != (c < 0x80      ? 1u
                    : c < 0x800   ? 2u
                    : c < 0x10000 ? 3u
                                  : 4u) ||
            !sl_utf8_valid(sl_str_of((const char *)bytes, len)) ||
            sl_utf8_decode(sl_str_of((const char *)bytes, len), &again) != len || again != c) {
            sl_test_failed(__FILE__, __LINE__, "U+%04X", c);
            return;
        }
    }
}

SL_TEST(what_is_no_character_is_not_read)
{
    static const char *const bad[] = {"\x80",
                                      "\xC3",
                                      "\xC0\x80",
                                      "\xE2\x82",
                                      "\xED\xA0\x80",
                                      "\xF4\x90\x80\x80",
                                      "\xFF",
                                      ("\xE2"
                                       "A\x82")};
    uint32_t c = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(sl_utf8_decode(sl_str_c(bad[i]), &c), 0);
    CHECK_EQ(sl_utf8_decode(sl_str_of(NULL, 0), &c), 0);
    CHECK_EQ(c, 7);
}

static void check_range(uint32_t from, uint32_t to)
{
    sl_utf8_sequence sequences[SL_UTF8_SEQUENCES];
    size_t count = sl_utf8_ranges(from, to, sequences);
    CHECK(count > 0 && count <= SL_UTF8_SEQUENCES);
    /* All characters near a cut, and every 97th. */
    for (uint32_t c = 0; c <= SL_UTF8_LAST; c++) {
        bool near = (c & 0x3F) < 2 || (c & 0x3F) == 0x3F || (c >= from && c - from < 3) || (c <= to && to - c < 3);
        if (!near && c % 97)
            continue;
        uint8_t bytes[4];
        size_t len = sl_utf8_encode(c, bytes);
        if (fits(sequences, count, bytes, len) != (c >= from && c <= to)) {
            sl_test_failed(__FILE__, __LINE__, "U+%04X in U+%04X-U+%04X", c, from, to);
            return;
        }
    }
}

SL_TEST(ranges_have_exactly_their_characters)
{
    static const uint32_t ends[] = {0,       1,        0x7F,     0x80,        0xBF,    0xC0,    0xE4,
                                    0xFC,    0x7FE,    0x7FF,    0x800,       0xFFF,   0x1000,  0x20AC,
                                    0xFFFE,  0xFFFF,   0x10000,  0x10001,     0x1F600, 0x3FFFF, 0x40000,
                                    0xFFFFF, 0x100000, 0x10FFFE, SL_UTF8_LAST};
    const size_t n = sizeof ends / sizeof *ends;
    for (size_t i = 0; i < n; i++)
        for (size_t k = i; k < n; k++)
            check_range(ends[i], ends[k]);
}

/* No byte sequence of a range is one of another range beside it: they are in order and apart. */
SL_TEST(neighbours_do_not_overlap)
{
    sl_utf8_sequence first[SL_UTF8_SEQUENCES], second[SL_UTF8_SEQUENCES];
    for (uint32_t cut = 0x80; cut < 0x11000; cut += 61) {
        size_t n = sl_utf8_ranges(0x80, cut, first), m = sl_utf8_ranges(cut + 1, SL_UTF8_LAST, second);
        uint8_t bytes[4];
        size_t len = sl_utf8_encode(cut, bytes);
        CHECK(fits(first, n, bytes, len) && !fits(second, m, bytes, len));
        len = sl_utf8_encode(cut + 1, bytes);
        CHECK(!fits(first, n, bytes, len) && fits(second, m, bytes, len));
    }
}
