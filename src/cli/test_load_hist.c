/* Percentiles against sorted values. */
#include <stdlib.h>

#include "src/base/rng.h"
#include "src/cli/load_hist.h"
#include "tests/harness/sl_test.h"

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

SL_TEST(empty_gives_zero)
{
    static sl_load_hist hist;
    CHECK_EQ(sl_load_hist_at(&hist, 0.5), 0);
    CHECK_EQ(sl_load_hist_at(&hist, 1), 0);
}

SL_TEST(small_values_are_exact)
{
    static sl_load_hist hist;
    for (uint64_t i = 1; i <= 100; i++)
        sl_load_hist_add(&hist, i);
    CHECK_EQ(sl_load_hist_at(&hist, 0.5), 50);
    CHECK_EQ(sl_load_hist_at(&hist, 0.9), 90);
    CHECK_EQ(sl_load_hist_at(&hist, 0.99), 99);
    CHECK_EQ(sl_load_hist_at(&hist, 1), 100);
    CHECK_EQ(sl_load_hist_at(&hist, 0), 1);
    CHECK_EQ(hist.max, 100);
}

SL_TEST(one_value_is_every_percentile)
{
    static const uint64_t values[] = {0, 1, 255, 256, 257, 1000000, 123456789012345, UINT64_MAX / 2, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        static sl_load_hist hist;
        memset(&hist, 0, sizeof hist);
        sl_load_hist_add(&hist, values[i]);
        uint64_t at = sl_load_hist_at(&hist, 0.5);
        CHECK(at <= values[i]);
        CHECK(values[i] - at <= values[i] / 100);
        CHECK_EQ(hist.max, values[i]);
    }
}

SL_TEST(off_by_less_than_one_percent)
{
    static sl_load_hist hist;
    static uint64_t values[20000];
    sl_rng rng;
    sl_rng_init_seed(&rng, 7);
    size_t count = sizeof values / sizeof *values;
    for (size_t i = 0; i < count; i++) {
        values[i] = (uint64_t)(1e3 / (sl_rng_double(&rng) + 1e-7));
        sl_load_hist_add(&hist, values[i]);
    }
    qsort(values, count, sizeof *values, compare);
    for (unsigned percent = 1; percent <= 99; percent++) {
        uint64_t truth = values[(count * percent + 99) / 100 - 1];
        double at = (double)sl_load_hist_at(&hist, percent / 100.0);
        CHECK(at >= (double)truth * 0.99 - 1 && at <= (double)truth * 1.01 + 1);
    }
    CHECK_EQ(sl_load_hist_at(&hist, 1) <= hist.max, 1);
}
