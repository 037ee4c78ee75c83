/* Reading of metrics pages. */
#include <math.h>
#include <stdlib.h>

#include "src/base/buf.h"
#include "src/cli/top_scrape.h"
#include "tests/harness/sl_chance.h"
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

/* Text format 0.0.4: tokens stand apart by any number of blanks and tabs; those around a line mean nothing. */
SL_TEST(blanks_and_tabs_mean_nothing)
{
    static const char *const lines[] = {
        "a{x=\"1\"} 5",      "a {x=\"1\"} 5",     "  a{x=\"1\"} 5",      "\ta{x=\"1\"}\t5\t", "a{x=\"1\"}5",
        "a\t{x=\"1\"} \t 5", "a{ x=\"1\" } 5",    "a{x=\"1\",} 5",       "a{x=\"1\"} 5 17",   "a{x=\"1\"} 5\t17",
        "a{x=\"1\"} 5\r",    "a{x=\"1\"} 5 -1.5", "a{x=\"1\"} 5 # {} 1", "a{x=\"1\"} +5.0",   "a{x=\"1\"} 0.5e1",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        sl_scrape scrape;
        sl_str value = SL_STR("");
        REQUIRE(sl_scrape_parse(sl_str_c(lines[i]), &scrape) == 0);
        if (scrape.count != 1 || scrape.bad_lines)
            sl_test_failed(__FILE__, __LINE__, "\"%s\": not read", lines[i]);
        if (scrape.count == 1) {
            CHECK_STR(scrape.samples[0].name, "a");
            CHECK(scrape.samples[0].value == 5);
            CHECK(sl_scrape_label(&scrape.samples[0], "x", &value));
            CHECK_STR(value, "1");
        }
        sl_scrape_done(&scrape);
    }
}

/* A line whose first character (blanks aside) is '#' is a comment; an empty one is none of anything. */
SL_TEST(comments_and_empty_lines)
{
    static const char text[] = "# HELP a b\n#\n  # TYPE a counter\n\t#x{ 1\n\n   \n\t\n\r\na 1\n";
    sl_scrape scrape;
    REQUIRE(sl_scrape_parse(sl_str_c(text), &scrape) == 0);
    CHECK_EQ(scrape.bad_lines, 0);
    CHECK_EQ(scrape.count, 1);
    CHECK_EQ(scrape.samples[0].line, 9);
    sl_scrape_done(&scrape);
}

/* Pages put together by chance are read as what they were put together from; sums are those of the parts. */
SL_TEST(pages_by_chance_against_what_they_were_made_of)
{
    static const char *const names[] = {"a", "a_total", "b:c", "_x9"};
    static const char *const values[] = {"", "v", "with \\\" quote", "with } brace", "with , comma", "a=\\\"b\\\\"};
    uint64_t state = 11;
    sl_buf page_of;
    sl_buf_init(&page_of, 1u << 20);
    for (unsigned round = 0; round < 50; round++) {
        double sums[4][6] = {{0}};
        size_t counts[4][6] = {{0}}, samples = 0;
        sl_buf_clear(&page_of);
        for (unsigned i = 0; i < 60; i++) {
            unsigned name = sl_chance(&state, 4), value = sl_chance(&state, 6), number = sl_chance(&state, 1000);
            if (sl_chance(&state, 5) == 0)
                (void)sl_buf_put_c(&page_of, "# a comment {\n");
            (void)sl_buf_printf(&page_of, "%s{first=\"%u\",label=\"%s\",last=\"x\"} %u%s\n", names[name], i,
                                values[value], number, sl_chance(&state, 2) ? " 1700000000" : "");
            sums[name][value] += number;
            counts[name][value]++;
            samples++;
        }
        sl_scrape scrape;
        REQUIRE(sl_scrape_parse(sl_buf_str(&page_of), &scrape) == 0);
        CHECK_EQ(scrape.count, samples);
        CHECK_EQ(scrape.bad_lines + scrape.duplicate_line, 0);
        for (size_t n = 0; n < 4; n++) {
            for (size_t v = 0; v < 6; v++) {
                bool any;
                double sum = sl_scrape_sum(&scrape, names[n], "label", values[v], &any);
                CHECK(sum == sums[n][v]);
                CHECK_EQ(any, counts[n][v] > 0);
            }
        }
        sl_scrape_done(&scrape);
    }
    sl_buf_done(&page_of);
}

/* Any beginning of a page is read without a look behind its end, and with no more samples than the whole. */
SL_TEST(every_beginning_of_a_page)
{
    size_t before = 0;
    for (size_t len = 0; len < sizeof page; len++) {
        char *text = malloc(len ? len : 1); /* no byte more: a sanitizer sees what reads behind the end */
        sl_scrape scrape;
        memcpy(text, page, len);
        REQUIRE(sl_scrape_parse(sl_str_of(text, len), &scrape) == 0);
        CHECK(scrape.count <= 6);
        CHECK(scrape.count + scrape.bad_lines >= before);
        before = scrape.count;
        sl_scrape_done(&scrape);
        free(text);
    }
}
