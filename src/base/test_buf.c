/* Growing buffers. */
#include "src/base/buf.h"
#include "src/base/mem.h"
#include "tests/harness/sl_test.h"

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
