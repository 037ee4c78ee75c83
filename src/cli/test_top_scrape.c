/* Reading of metrics pages. */
#include <math.h>

#include "src/cli/top_scrape.h"
#include "tests/harness/sl_test.h"

static const char page[] = "# HELP a_total Things.\n"
                           "# TYPE a_total counter\n"
                           "a_total{model=\"m\",status=\"200\"} 5\n"
                           "a_total{model=\"m\",status=\"500\"} 2\n"
                           "a_total{model=\"say \\\"}\\\" \",status=\"200\"} 1 # {trace_id=\"ab\"} 0.5 1.0\n"
                           "\n"
                           "gauge 1.5e3 1700000000000\r\n"
                           "nan NaN\n"
                           "inf{le=\"+Inf\"} +Inf\n"
                           "# EOF\n";

SL_TEST(reads_samples_labels_and_values)
{
    sl_scrape scrape;
    sl_str value;
    REQUIRE(sl_scrape_parse(sl_str_c(page), &scrape) == 0);
    CHECK_EQ(scrape.count, 6);
    CHECK_EQ(scrape.bad_lines, 0);
    CHECK_EQ(scrape.duplicate_line, 0);
    CHECK_STR(scrape.samples[0].name, "a_total");
    CHECK_EQ(scrape.samples[0].line, 3);
    CHECK(sl_scrape_label(&scrape.samples[0], "status", &value));
    CHECK_STR(value, "200");
    CHECK(sl_scrape_label(&scrape.samples[2], "model", &value));
    CHECK_STR(value, "say \\\"}\\\" ");
    CHECK(sl_scrape_label(&scrape.samples[2], "status", &value));
    CHECK(!sl_scrape_label(&scrape.samples[2], "stat", &value));
    CHECK(!sl_scrape_label(&scrape.samples[3], "model", &value));
    CHECK(scrape.samples[3].value == 1500);
    CHECK(isnan(scrape.samples[4].value));
    CHECK(isinf(scrape.samples[5].value));
    sl_scrape_done(&scrape);
}

SL_TEST(sums_by_label)
{
    sl_scrape scrape;
    bool any;
    REQUIRE(sl_scrape_parse(sl_str_c(page), &scrape) == 0);
    CHECK(sl_scrape_sum(&scrape, "a_total", NULL, NULL, &any) == 8);
    CHECK(any);
    CHECK(sl_scrape_sum(&scrape, "a_total", "status", "200", NULL) == 6);
    CHECK(sl_scrape_sum(&scrape, "a_total", "status", "404", &any) == 0);
    CHECK(!any);
    CHECK(sl_scrape_sum(&scrape, "absent", NULL, NULL, &any) == 0);
    CHECK(!any);
    sl_scrape_done(&scrape);
}

SL_TEST(counts_what_it_cannot_read)
{
    static const char *const bad[] = {"a{b=\"c\" 1", "a", "a x", "{b=\"c\"} 1", "a 1 x", "<html>", "a{b=\"c} 1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sl_scrape scrape;
        REQUIRE(sl_scrape_parse(sl_str_c(bad[i]), &scrape) == 0);
        CHECK_EQ(scrape.bad_lines, 1);
        CHECK_EQ(scrape.first_bad_line, 1);
        CHECK_EQ(scrape.count, 0);
        sl_scrape_done(&scrape);
    }
}

SL_TEST(finds_series_that_stand_twice)
{
    sl_scrape scrape;
    REQUIRE(sl_scrape_parse(sl_str_c("a{x=\"1\"} 1\nb 2\na{x=\"2\"} 1\na{x=\"1\"} 4\n"), &scrape) == 0);
    CHECK_EQ(scrape.duplicate_line, 4);
    sl_scrape_done(&scrape);
    REQUIRE(sl_scrape_parse(sl_str_c("a 1\nab 1\na{} 1\n"), &scrape) == 0);
    CHECK_EQ(scrape.duplicate_line, 3);
    sl_scrape_done(&scrape);
}

SL_TEST(survives_every_failing_allocation)
{
    for (long n = 0; n < 20; n++) {
        sl_scrape scrape;
        sl_test_fail_alloc(n);
        int error = sl_scrape_parse(sl_str_c(page), &scrape);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        sl_scrape_done(&scrape);
        if (!failed)
            break;
    }
}
