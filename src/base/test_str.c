/* String views. */
#include "src/base/str.h"
#include "tests/harness/sl_test.h"

SL_TEST(str_compare)
{
    CHECK(sl_str_eq(SL_STR("abc"), SL_STR("abc")));
    CHECK(!sl_str_eq(SL_STR("abc"), SL_STR("abd")));
    CHECK(!sl_str_eq(SL_STR("abc"), SL_STR("ab")));
    CHECK(sl_str_eq(sl_str_of(NULL, 0), SL_STR("")));
    CHECK(sl_str_ieq(SL_STR("Content-Type"), SL_STR("content-TYPE")));
    CHECK(!sl_str_ieq(SL_STR("a["), SL_STR("A{")));
    CHECK(sl_str_starts(SL_STR("Bearer x"), SL_STR("Bearer ")));
    CHECK(!sl_str_starts(SL_STR("Be"), SL_STR("Bearer ")));
    CHECK(sl_str_ends(SL_STR("a.yaml"), SL_STR(".yaml")));
}

SL_TEST(str_find)
{
    CHECK_EQ(sl_str_chr(SL_STR("abc"), 'c'), 2);
    CHECK(sl_str_chr(SL_STR("abc"), 'x') == SL_NPOS);
    CHECK_EQ(sl_str_find(SL_STR("hello world"), SL_STR("wor")), 6);
    CHECK(sl_str_find(SL_STR("ab"), SL_STR("abc")) == SL_NPOS);
    CHECK_EQ(sl_str_find(SL_STR("ab"), SL_STR("")), 0);
    CHECK_STR(sl_str_trim(SL_STR(" \t a b \t")), "a b");
    CHECK_STR(sl_str_trim(SL_STR("  ")), "");
    CHECK_STR(sl_str_sub(SL_STR("abcdef"), 2, 3), "cde");
    CHECK_STR(sl_str_sub(SL_STR("abc"), 5, 3), "");
}

SL_TEST(str_split)
{
    static const char *const expected[] = {"a", "", "b", ""};
    sl_str rest = SL_STR("a,,b,"), part;
    size_t n = 0;
    while (sl_str_split(&rest, ',', &part)) {
        REQUIRE(n < 4);
        CHECK_STR(part, expected[n]);
        n++;
    }
    CHECK_EQ(n, 4);
    rest = SL_STR("");
    CHECK(sl_str_split(&rest, ',', &part));
    CHECK_EQ(part.len, 0);
    CHECK(!sl_str_split(&rest, ',', &part));
}

SL_TEST(str_numbers)
{
    uint64_t u = 7;
    CHECK_EQ(sl_str_to_u64(SL_STR("18446744073709551615"), &u), 0);
    CHECK(u == UINT64_MAX);
    CHECK_EQ(sl_str_to_u64(SL_STR("18446744073709551616"), &u), SL_ELIMIT);
    CHECK_EQ(sl_str_to_u64(SL_STR(""), &u), SL_EPARSE);
    CHECK_EQ(sl_str_to_u64(SL_STR("+1"), &u), SL_EPARSE);
    CHECK(u == UINT64_MAX);
    int64_t i = 0;
    CHECK_EQ(sl_str_to_i64(SL_STR("-9223372036854775808"), &i), 0);
    CHECK(i == INT64_MIN);
    CHECK_EQ(sl_str_to_i64(SL_STR("-9223372036854775809"), &i), SL_ELIMIT);
    CHECK_EQ(sl_str_to_i64(SL_STR("-"), &i), SL_EPARSE);
    double d = 0;
    CHECK_EQ(sl_str_to_double(SL_STR("0.25"), &d), 0);
    CHECK(d == 0.25);
    CHECK_EQ(sl_str_to_double(SL_STR("-1e3"), &d), 0);
    CHECK(d == -1000);
    static const char *const bad[] = {"", "x", "1x", "nan", "inf", "0x10", " 1", "1e999", "."};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        CHECK_EQ(sl_str_to_double(sl_str_c(bad[k]), &d), SL_EPARSE);
}

SL_TEST(str_copy_and_secret)
{
    char text[4];
    CHECK(sl_str_to_c(SL_STR("abc"), text, sizeof text));
    CHECK_STR(sl_str_c(text), "abc");
    CHECK(!sl_str_to_c(SL_STR("abcd"), text, sizeof text));
    CHECK_STR(sl_str_c(text), "abc");
    CHECK(!sl_str_to_c(sl_str_of("a\0b", 3), text, sizeof text));
    CHECK(sl_str_eq_secret(SL_STR("sk-1"), SL_STR("sk-1")));
    CHECK(!sl_str_eq_secret(SL_STR("sk-1"), SL_STR("sk-2")));
    CHECK(!sl_str_eq_secret(SL_STR("sk-1sk-1"), SL_STR("sk-1")));
    CHECK(!sl_str_eq_secret(SL_STR("a"), SL_STR("")));
}

SL_TEST(str_glob)
{
    CHECK(sl_str_glob(SL_STR("*"), SL_STR("")));
    CHECK(sl_str_glob(SL_STR("gen_ai.*"), SL_STR("gen_ai.client")));
    CHECK(sl_str_glob(SL_STR("a?c*e"), SL_STR("abcdde")));
    CHECK(!sl_str_glob(SL_STR("a?c"), SL_STR("ac")));
    CHECK(sl_str_glob(SL_STR("*ab*ab"), SL_STR("xabyabab")));
}

SL_TEST(str_utf8)
{
    CHECK(sl_utf8_valid(SL_STR("plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80")));
    static const char *const bad[] = {"\xC0\x80", "\xED\xA0\x80", "\xF5\x80\x80\x80",
                                      "\xE2\x82", "\x80",         "\xF0\x80\x80\x80"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        CHECK(!sl_utf8_valid(sl_str_c(bad[k])));
    sl_str euro = SL_STR("a\xE2\x82\xAC");
    CHECK_EQ(sl_utf8_prefix(euro, 1), 1);
    CHECK_EQ(sl_utf8_prefix(euro, 2), 1);
    CHECK_EQ(sl_utf8_prefix(euro, 3), 1);
    CHECK_EQ(sl_utf8_prefix(euro, 4), 4);
}

SL_TEST(str_hex)
{
    uint8_t bytes[3] = {0x00, 0xAB, 0xFF};
    char text[7] = {0};
    sl_hex_encode(bytes, 3, text);
    CHECK_STR(sl_str_c(text), "00abff");
    uint8_t back[3] = {1, 1, 1};
    CHECK_EQ(sl_hex_decode(SL_STR("00ABff"), back, 3), 0);
    CHECK(memcmp(back, bytes, 3) == 0);
    CHECK_EQ(sl_hex_decode(SL_STR("00abf"), back, 3), SL_EPARSE);
    CHECK_EQ(sl_hex_decode(SL_STR("00abfg"), back, 3), SL_EPARSE);
    CHECK(memcmp(back, bytes, 3) == 0);
}

SL_TEST(utf8_cut_at_the_end)
{
    static const struct {
        const char *text;
        size_t whole;
    } cases[] = {{"", 0},
                 {"abc", 3},
                 {"a\xC3\xA4", 3},
                 {"a\xC3", 1},
                 {"\xE2\x82\xAC", 3},
                 {"x\xE2\x82", 1},
                 {"x\xE2", 1},
                 {"\xF0\x9F\x98\x80", 4},
                 {"\xF0\x9F\x98", 0},
                 {"\x80\x80\x80\x80\x80\x80", 6}, /* ill-formed anyway: not ours to repair */
                 {"a\xC3\xA4\x80", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_EQ(sl_utf8_whole(sl_str_c(cases[i].text)), cases[i].whole);
}
