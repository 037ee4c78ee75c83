/* Percent-encoding (RFC 3986, section 2.1) and the repair of UTF-8. */
#include "src/wire/pct.h"

#include <stdlib.h>

#include "tests/harness/sl_test.h"

SL_TEST(percent_coding)
{
    char out[64];
    static const struct {
        const char *in, *decoded;
    } table[] = {{"a%20b", "a b"}, {"%", "%"},   {"%2", "%2"},           {"%2g", "%2g"}, {"%%41", "%A"},
                 {"%41%", "A%"},   {"", ""},     {"%fF%Ff", "\xFF\xFF"}, {"+", "+"},     {"%+1", "%+1"},
                 {"% 41", "% 41"}, {"%25", "%"}, {"%2541", "%41"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        CHECK_STR(sl_str_of(out, sl_pct_decode(sl_str_c(table[i].in), out)), table[i].decoded);
    CHECK_STR(sl_str_of(out, sl_pct_encode(SL_STR("a b/~"), sl_pct_unreserved, out)), "a%20b%2F~");
    CHECK_EQ(sl_pct_encoded_len(SL_STR("a b/~"), sl_pct_unreserved), 9);
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        size_t len = sl_pct_encode(sl_str_of(&byte, 1), sl_pct_baggage, out);
        CHECK_EQ(sl_pct_decode(sl_str_of(out, len), out), 1);
        CHECK(out[0] == byte);
    }
}

SL_TEST(percent_sets)
{
    for (int c = 0; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        CHECK_EQ(sl_pct_unreserved((unsigned char)c), alnum || (c && strchr("-._~", c)));
        /* W3C Baggage, 3.2.1: baggage-octet; and "the percent code point must be percent-encoded". */
        bool octet = c == 0x21 || (c >= 0x23 && c <= 0x2B) || (c >= 0x2D && c <= 0x3A) || (c >= 0x3C && c <= 0x5B) ||
                     (c >= 0x5D && c <= 0x7E);
        CHECK_EQ(sl_pct_baggage((unsigned char)c), octet && c != '%');
    }
}

SL_TEST(percent_into_a_buffer)
{
    sl_buf buf;
    sl_buf_init(&buf, 9);
    CHECK_EQ(sl_pct_buf_encode(&buf, SL_STR(""), sl_pct_unreserved), 0);
    CHECK_EQ(sl_pct_buf_encode(&buf, SL_STR("a b"), sl_pct_unreserved), 0);
    CHECK_EQ(sl_pct_buf_encode(&buf, SL_STR("//"), sl_pct_unreserved), SL_ELIMIT);
    CHECK_STR(sl_buf_str(&buf), "a%20b");
    buf.failed = 0;
    CHECK_EQ(sl_pct_buf_encode(&buf, SL_STR("c%"), sl_pct_unreserved), 0); /* exactly the maximum */
    CHECK_STR(sl_buf_str(&buf), "a%20bc%25");
    sl_buf_done(&buf);
    sl_buf_init(&buf, 100);
    sl_test_fail_alloc(0);
    CHECK_EQ(sl_pct_buf_encode(&buf, SL_STR("x"), sl_pct_unreserved), SL_ENOMEM);
    sl_buf_done(&buf);
}

SL_TEST(percent_decodes_in_place_and_within_its_bytes)
{
    const char *text = "%41%4%zz%%41%4";
    for (size_t len = 0; len <= strlen(text); len++) {
        char *exact = malloc(len + 1);
        memcpy(exact, text, len);
        char out[32];
        size_t want = sl_pct_decode(sl_str_of(text, len), out);
        CHECK_EQ(sl_pct_decode(sl_str_of(exact, len), exact), want);
        CHECK(memcmp(exact, out, want) == 0);
        free(exact);
    }
}

SL_TEST(utf8_repair)
{
    static const struct {
        const char *in, *repaired;
    } table[] = {
        {"plain", "plain"},
        {"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"},
        {"\xFF", "\xEF\xBF\xBD"},
        {"a\x80\x80z", "a\xEF\xBF\xBD\xEF\xBF\xBDz"},
        {"\xE2\x82z", "\xEF\xBF\xBDz"},
        {"\xF0\x9F\x98", "\xEF\xBF\xBD"},
        {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char out[64];
        size_t len = sl_utf8_repair(sl_str_c(table[i].in), NULL);
        CHECK_EQ(sl_utf8_repair(sl_str_c(table[i].in), out), len);
        CHECK_STR(sl_str_of(out, len), table[i].repaired);
        CHECK(sl_utf8_valid(sl_str_of(out, len)));
    }
}
