/* String views. */
#include "src/base/str.h"

#include "tests/harness/sl_test.h"
#include <stdio.h>

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

SL_TEST(str_hex_of_any_length)
{
    uint8_t bytes[256 + 16];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    for (size_t len = 0; len <= 16; len++) {
        for (size_t from = 0; from < 256; from++) {
            char text[33], expected[33] = "";
            memset(text, '#', sizeof text);
            sl_hex_encode(bytes + from, len, text);
            for (size_t i = 0; i < len; i++)
                (void)snprintf(expected + 2 * i, 3, "%02x", bytes[from + i]);
            CHECK(memcmp(text, expected, 2 * len) == 0 && text[2 * len] == '#');
        }
    }
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

SL_TEST(utf8_pieces)
{
    static const struct {
        const char *text;
        size_t len;
        bool valid;
    } rows[] = {
        /* Unicode 15, table 3-7: each row's first and last sequence, and its neighbours. */
        {"a", 1, true},
        {"\x7F", 1, true},
        {"\xC2\x80", 2, true},
        {"\xDF\xBFz", 2, true},
        {"\xE0\xA0\x80", 3, true},
        {"\xE0\x9F\x80", 1, false},
        {"\xEC\xBF\xBF", 3, true},
        {"\xED\x9F\xBF", 3, true},
        {"\xED\xA0\x80", 1, false},
        {"\xEE\x80\x80", 3, true},
        {"\xF0\x90\x80\x80", 4, true},
        {"\xF0\x8F\x80\x80", 1, false},
        {"\xF3\xBF\xBF\xBF", 4, true},
        {"\xF4\x8F\xBF\xBF", 4, true},
        {"\xF4\x90\x80\x80", 1, false},
        {"\xF5\x80\x80\x80", 1, false},
        {"\xC0\x80", 1, false},
        {"\xC1\xBF", 1, false},
        {"\x80", 1, false},
        {"\xFF", 1, false},
        /* Section 3.9: a piece is as long as a sequence could have begun so. */
        {"\xC2", 1, false},
        {"\xC2z", 1, false},
        {"\xE2\x82", 2, false},
        {"\xE2\x82z", 2, false},
        {"\xE2\x82\xE2", 2, false},
        {"\xF0\x9F\x98", 3, false},
        {"\xF0\x9F\x98\xF0", 3, false},
        {"\xF4\x8F\xC0", 2, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool valid = !rows[i].valid;
        CHECK_EQ(sl_utf8_piece(sl_str_c(rows[i].text), &valid), rows[i].len);
        CHECK_EQ(valid, rows[i].valid);
        CHECK_EQ(sl_utf8_valid(sl_str_of(rows[i].text, rows[i].len)), rows[i].valid);
    }
}

/* Well-formed is exactly what the definition of the encoding gives, for every sequence of up to four of these bytes. */
SL_TEST(utf8_against_the_definition)
{
    static const unsigned char bytes[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2,
                                          0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
    enum { COUNT = sizeof bytes };
    for (size_t n = 0; n < (size_t)COUNT * COUNT * COUNT * COUNT; n++) {
        unsigned char p[4] = {bytes[n % COUNT], bytes[n / COUNT % COUNT], bytes[n / COUNT / COUNT % COUNT],
                              bytes[n / COUNT / COUNT / COUNT]};
        unsigned want = p[0] < 0x80 ? 1 : p[0] < 0xC0 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF8 ? 4 : 0;
        uint32_t code = want == 1 ? p[0] : p[0] & (0x7Fu >> want);
        bool good = want > 0;
        for (unsigned i = 1; i < want; i++) {
            good = good && (p[i] & 0xC0) == 0x80;
            code = code << 6 | (p[i] & 0x3F);
        }
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        good = good && code >= least[want] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
        bool valid;
        size_t len = sl_utf8_piece(sl_str_of((const char *)p, 4), &valid);
        if (valid != good || (good && len != want))
            sl_test_failed(__FILE__, __LINE__, "%02x %02x %02x %02x", p[0], p[1], p[2], p[3]);
    }
}

SL_TEST(utf8_prefix_at_every_length)
{
    static const struct {
        const char *text;
        size_t want[9]; /* for max 0, 1, 2 ... */
    } rows[] = {
        {"a\xE2\x82\xAC"
         "b\xC3\xA4z",
         {0, 1, 1, 1, 4, 5, 5, 7, 8}},
        {"\xF0\x9F\x98\x80\xF0\x9F\x98\x80", {0, 0, 0, 0, 4, 4, 4, 4, 8}},
        {"\x80\x80\x80\x80\x80\x80\x80\x80", {0, 1, 2, 3, 4, 5, 6, 7, 8}}, /* not to be emptied */
        {"abc\x80\x80\x80\x80\x80", {0, 1, 2, 2, 2, 2, 6, 7, 8}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t max = 0; max <= 8; max++)
            CHECK_EQ(sl_utf8_prefix(sl_str_of(rows[i].text, 8), max), rows[i].want[max]);
        CHECK_EQ(sl_utf8_prefix(sl_str_of(rows[i].text, 8), 100), 8);
    }
}

SL_TEST(hex_values)
{
    for (int c = -128; c < 128; c++) {
        const char *at = c > 0 ? strchr("0123456789abcdef", c) : NULL;
        const char *upper = c > 0 ? strchr("0123456789ABCDEF", c) : NULL;
        int want = at ? (int)(at - "0123456789abcdef") : -1;
        for (int i = 0; upper && want < 0 && i < 16; i++)
            want = "0123456789ABCDEF"[i] == c ? i : want;
        CHECK_EQ(sl_hex_value((char)c), c >= '0' && c <= '9' ? c - '0' : upper || at ? want : -1);
    }
}

SL_TEST(str_globs)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"", "", true},        {"", "a", false},      {"*", "", true},          {"**", "", true},
        {"?", "", false},      {"?", "a", true},      {"?", "ab", false},       {"*?", "a", true},
        {"?*", "", false},     {"a*", "a", true},     {"a*", "ab", true},       {"a*", "b", false},
        {"*a", "ba", true},    {"*a", "ab", false},   {"a*b*c", "aXbYc", true}, {"a*b*c", "acb", false},
        {"*a*a*", "a", false}, {"*a*a*", "aa", true}, {"a**b", "ab", true},     {"a.c", "abc", false},
        {"[a]", "a", false},   {"A", "a", false},     {"*aab", "aaaab", true},  {"a?b?", "axbx", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (sl_str_glob(sl_str_c(rows[i].pattern), sl_str_c(rows[i].text)) != rows[i].match)
            sl_test_failed(__FILE__, __LINE__, "%s on %s", rows[i].pattern, rows[i].text);
    }
}

SL_TEST(str_numbers_at_their_bounds)
{
    static const struct {
        const char *text;
        int u64, i64; /* errors */
        uint64_t magnitude;
    } rows[] = {
        {"0", 0, 0, 0},
        {"-0", SL_EPARSE, 0, 0},
        {"00", 0, 0, 0},
        {"9223372036854775807", 0, 0, INT64_MAX},
        {"9223372036854775808", 0, SL_ELIMIT, (uint64_t)1 << 63},
        {"18446744073709551615", 0, SL_ELIMIT, UINT64_MAX},
        {"18446744073709551616", SL_ELIMIT, SL_ELIMIT, 0},
        {"18446744073709551620", SL_ELIMIT, SL_ELIMIT, 0},
        {"99999999999999999999999", SL_ELIMIT, SL_ELIMIT, 0},
        {"000000000000000000000000000001", 0, 0, 1},
        {"1 ", SL_EPARSE, SL_EPARSE, 0},
        {" 1", SL_EPARSE, SL_EPARSE, 0},
        {"+1", SL_EPARSE, SL_EPARSE, 0},
        {"--1", SL_EPARSE, SL_EPARSE, 0},
        {"1.0", SL_EPARSE, SL_EPARSE, 0},
        {"1e0", SL_EPARSE, SL_EPARSE, 0},
        {"0x1", SL_EPARSE, SL_EPARSE, 0},
        {"\xD9\xA1", SL_EPARSE, SL_EPARSE, 0}, /* a digit, but not one of ours */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t u = 77;
        int64_t s = 77;
        CHECK_EQ(sl_str_to_u64(sl_str_c(rows[i].text), &u), rows[i].u64);
        CHECK(u == (rows[i].u64 ? 77 : rows[i].magnitude));
        CHECK_EQ(sl_str_to_i64(sl_str_c(rows[i].text), &s), rows[i].i64);
        CHECK(s == (rows[i].i64 ? 77 : (int64_t)rows[i].magnitude));
    }
    static const struct {
        const char *text;
        bool good;
        double value;
    } doubles[] = {
        {"1", true, 1},         {"+1", true, 1},          {".5", true, 0.5},    {"5.", true, 5},
        {"1e308", true, 1e308}, {"5e-324", true, 5e-324}, {"1e-400", true, 0},  {"-0", true, 0},
        {"1e309", false, 0},    {"-1e309", false, 0},     {"-inf", false, 0},   {"+nan", false, 0},
        {"1e", false, 0},       {"1e+", false, 0},        {"e1", false, 0},     {"-", false, 0},
        {"+", false, 0},        {"1 ", false, 0},         {"-0x1p3", false, 0}, {"1,5", false, 0},
        {"1_0", false, 0},      {"- 1", false, 0},        {"1\n", false, 0},    {"infinity", false, 0},
    };
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++) {
        double value = 77;
        CHECK_EQ(sl_str_to_double(sl_str_c(doubles[i].text), &value), doubles[i].good ? 0 : SL_EPARSE);
        CHECK(value == (doubles[i].good ? doubles[i].value : 77));
    }
    double value = 77;
    CHECK_EQ(sl_str_to_double(sl_str_of("1\0", 2), &value), SL_EPARSE);
}

SL_TEST(str_secrets_of_every_length)
{
    const char *secret = "0123456789abcdef";
    for (size_t a = 0; a <= 16; a++) {
        for (size_t b = 0; b <= 16; b++)
            CHECK_EQ(sl_str_eq_secret(sl_str_of(secret, a), sl_str_of(secret, b)), a == b);
    }
    for (size_t at = 0; at < 16; at++) {
        char other[16];
        memcpy(other, secret, 16);
        other[at] ^= 1;
        CHECK(!sl_str_eq_secret(sl_str_of(secret, 16), sl_str_of(other, 16)));
    }
}
