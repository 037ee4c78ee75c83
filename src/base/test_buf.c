/* Growing buffers. */
#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "tests/harness/sl_test.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>

SL_TEST(buf_grows_to_its_maximum)
{
    sl_buf buf;
    sl_buf_init(&buf, 100);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(sl_buf_put_char(&buf, 'x'), 0);
    CHECK_EQ(sl_buf_put_char(&buf, 'y'), SL_ELIMIT);
    CHECK_EQ(buf.len, 100);
    CHECK_EQ(buf.failed, SL_ELIMIT);
    sl_buf_clear(&buf);
    CHECK_EQ(buf.failed, 0);
    CHECK_EQ(sl_buf_put_c(&buf, "again"), 0);
    CHECK_STR(sl_buf_str(&buf), "again");
    sl_buf_done(&buf);
}

SL_TEST(buf_survives_no_memory)
{
    sl_buf buf;
    sl_buf_init(&buf, 1000);
    CHECK_EQ(sl_buf_put_c(&buf, "kept"), 0);
    sl_test_fail_alloc(0);
    char big[200];
    memset(big, 'b', sizeof big);
    CHECK_EQ(sl_buf_put(&buf, big, sizeof big), SL_ENOMEM);
    CHECK_STR(sl_buf_str(&buf), "kept");
    sl_buf_done(&buf);
}

SL_TEST(buf_numbers)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "-0"},
                 {999999999999999, "999999999999999"},
                 {-1e15, "-1e+15"},
                 {5e-324, "4.94065645841247e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {0.0005, "0.0005"},
                 {1000000000.001, "1000000000.001"},
                 {-123.4, "-123.4"},
                 {1, "1"},
                 {-1.5, "-1.5"},
                 {0.1, "0.1"},
                 {1e21, "1e+21"},
                 {1234567890123456, "1234567890123456"},
                 {1e-7, "1e-07"},
                 {NAN, "NaN"},
                 {INFINITY, "+Inf"},
                 {-INFINITY, "-Inf"},
                 {0.30000000000000004, "0.30000000000000004"},
                 {20.414, "20.414"},
                 {-0.05, "-0.05"},
                 {54.5, "54.5"},
                 {0.001, "0.001"},
                 {1e-4, "0.0001"},
                 {123456789.125, "123456789.125"},
                 {0.9999, "0.9999"}};
    sl_buf buf;
    sl_buf_init(&buf, 1000);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_buf_clear(&buf);
        CHECK_EQ(sl_buf_put_double(&buf, cases[i].value), 0);
        CHECK_STR(sl_buf_str(&buf), cases[i].text);
    }
    sl_buf_clear(&buf);
    CHECK_EQ(sl_buf_put_i64(&buf, INT64_MIN), 0);
    CHECK_STR(sl_buf_str(&buf), "-9223372036854775808");
    sl_buf_clear(&buf);
    CHECK_EQ(sl_buf_printf(&buf, "%s=%d", "a", 5), 0);
    CHECK_STR(sl_buf_str(&buf), "a=5");
    sl_buf_done(&buf);
}

SL_TEST(buf_take_and_consume)
{
    sl_buf buf;
    sl_buf_init(&buf, 1000);
    CHECK_EQ(sl_buf_put_c(&buf, "0123456789"), 0);
    sl_buf_consume(&buf, 4);
    CHECK_STR(sl_buf_str(&buf), "456789");
    char *data = NULL;
    size_t len = 0;
    REQUIRE(sl_buf_take(&buf, &data, &len) == 0);
    CHECK_STR(sl_str_of(data, len), "456789");
    CHECK_EQ(data[len], 0);
    CHECK_EQ(buf.len, 0);
    sl_free(data);
    sl_buf_done(&buf);
}

/* What is written reads back as the same double, whatever its bits. */
SL_TEST(buf_doubles_read_back)
{
    sl_rng rng;
    sl_buf buf;
    sl_rng_init_seed(&rng, 7);
    sl_buf_init(&buf, 100);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = sl_rng_next(&rng);
        double value, back;
        memcpy(&value, &bits, sizeof value);
        if (i % 2)
            value = (double)(int64_t)(bits >> 20) / (i % 4 == 1 ? 1000.0 : 100000.0); /* as durations are */
        if (!isfinite(value))
            continue;
        sl_buf_clear(&buf);
        CHECK_EQ(sl_buf_put_double(&buf, value), 0);
        CHECK_EQ(sl_buf_put_char(&buf, '\0'), 0);
        back = strtod(buf.data, NULL);
        CHECK(memcmp(&back, &value, sizeof back) == 0);
        CHECK(buf.len <= 25);
    }
    sl_buf_done(&buf);
}

/* A host may have set a locale whose decimal mark is a comma, or one of several bytes. */
SL_TEST(buf_doubles_in_any_locale)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ps_AF.UTF-8"};
    sl_buf buf;
    bool any = false;
    sl_buf_init(&buf, 100);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!setlocale(LC_NUMERIC, names[i]))
            continue;
        any = true;
        sl_buf_clear(&buf);
        CHECK_EQ(sl_buf_put_double(&buf, 1.23456e-7), 0);
        CHECK_STR(sl_buf_str(&buf), "1.23456e-07");
    }
    (void)setlocale(LC_NUMERIC, "C");
    sl_buf_done(&buf);
    if (!any)
        SL_SKIP("no locale with a decimal comma is installed");
}

SL_TEST(buf_limits_exactly)
{
    for (size_t max = 1; max < 200; max += 33) {
        sl_buf buf;
        sl_buf_init(&buf, max);
        for (size_t i = 0; i < max; i++)
            CHECK_EQ(sl_buf_put(&buf, "x", 1), 0);
        CHECK_EQ(buf.cap <= max, true);
        CHECK_EQ(sl_buf_reserve(&buf, 0), 0);
        CHECK_EQ(sl_buf_reserve(&buf, 1), SL_ELIMIT);
        CHECK_EQ(sl_buf_put(&buf, NULL, 0), 0);
        CHECK_EQ(sl_buf_reserve(&buf, SIZE_MAX), SL_ELIMIT);
        CHECK_EQ(buf.len, max);
        char *data = NULL;
        size_t len = 7;
        CHECK_EQ(sl_buf_take(&buf, &data, &len), SL_ELIMIT); /* a failed append is not taken for whole */
        CHECK(data == NULL && len == 7);
        buf.failed = 0;
        sl_test_fail_alloc(0);
        int error = sl_buf_take(&buf, &data, &len);
        CHECK_EQ(error, sl_test_alloc_failed() ? SL_ENOMEM : 0);
        sl_test_fail_alloc(-1);
        if (error)
            CHECK_EQ(sl_buf_take(&buf, &data, &len), 0);
        CHECK_EQ(len, max);
        CHECK_EQ(strlen(data), max);
        CHECK_EQ(buf.max, max);
        sl_free(data);
        sl_buf_done(&buf);
    }
    sl_buf_done(NULL);
}

SL_TEST(buf_takes_nothing)
{
    sl_buf buf;
    char *data = NULL;
    size_t len = 7;
    sl_buf_init(&buf, 1);
    CHECK_EQ(sl_buf_take(&buf, &data, &len), 0);
    CHECK_EQ(len, 0);
    CHECK_STR(sl_str_c(data), "");
    sl_free(data);
}

SL_TEST(buf_printf_fails_whole)
{
    for (size_t max = 1; max < 16; max++) {
        sl_buf buf;
        sl_buf_init(&buf, max);
        int error = sl_buf_printf(&buf, "%s-%d", "abc", 42); /* 6 and a NUL */
        CHECK_EQ(error, max < 7 ? SL_ELIMIT : 0);
        CHECK_EQ(buf.len, max < 7 ? 0 : 6);
        CHECK_EQ(buf.failed, error);
        sl_buf_done(&buf);
    }
    sl_buf buf;
    sl_buf_init(&buf, 100);
    sl_test_fail_alloc(0);
    CHECK_EQ(sl_buf_printf(&buf, "%d", 1), SL_ENOMEM);
    CHECK_EQ(sl_buf_put_u64(&buf, UINT64_MAX), 0);
    CHECK_STR(sl_buf_str(&buf), "18446744073709551615");
    CHECK_EQ(buf.failed, SL_ENOMEM); /* still remembered */
    sl_buf_done(&buf);
}

SL_TEST(buf_consumes_every_length)
{
    for (size_t n = 0; n <= 10; n++) {
        sl_buf buf;
        sl_buf_init(&buf, 10);
        CHECK_EQ(sl_buf_put_c(&buf, "0123456789"), 0);
        sl_buf_consume(&buf, n);
        CHECK_STR(sl_buf_str(&buf), &"0123456789"[n]);
        CHECK_EQ(sl_buf_put(&buf, "xxxxxxxxxx", n), 0); /* the room is back */
        sl_buf_done(&buf);
    }
}
