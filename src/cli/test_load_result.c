/* Statistics of a load run: percentiles of known distributions, every kind of error, both reports at their edges. */
#include "src/cli/load_result.h"

#include <math.h>
#include <stdio.h>

#include "src/base/mem.h"
#include "src/wire/json_scan.h"
#include "tests/harness/sl_test.h"

static sl_json_value report_of(const sl_load_result *result, sl_buf *out)
{
    sl_json_value root = {SL_JSON_NONE, {NULL, 0}};
    sl_buf_init(out, 1u << 20);
    CHECK_EQ(sl_load_report_json(result, out), 0);
    CHECK_EQ(sl_json_parse(sl_str_of(out->data, out->len - 1), &root, NULL), 0);
    return root;
}

/* A number below `object`, -1 when it is null or absent. */
static double number_of(sl_json_value object, const char *name)
{
    double number = -1;
    sl_json_value value = sl_json_get(object, name);
    return value.type == SL_JSON_NUMBER && sl_json_double(value, &number) == 0 ? number : -1;
}

static void check_near(double seen, double wanted)
{
    if (fabs(seen - wanted) > wanted * 0.01)
        sl_test_failed(__FILE__, __LINE__, "%g is not near %g", seen, wanted);
}

SL_TEST(percentiles_of_known_distributions)
{
    sl_load_result *result = sl_calloc(1, sizeof *result);
    REQUIRE(result != NULL);
    for (uint64_t ms = 1; ms <= 1000; ms++)
        sl_load_hist_add(&result->latency, (1001 - ms) * 1000000u); /* the order does not matter */
    for (int i = 0; i < 99; i++)
        sl_load_hist_add(&result->ttft, 2000000);
    sl_load_hist_add(&result->ttft, 900000000); /* one in a hundred */
    sl_load_hist_add(&result->itl, 1234567);
    sl_buf out;
    sl_json_value root = report_of(result, &out), latency = sl_json_get(root, "latency_ms");
    check_near(number_of(latency, "p50"), 500);
    check_near(number_of(latency, "p90"), 900);
    check_near(number_of(latency, "p99"), 990);
    CHECK(number_of(latency, "max") == 1000);
    sl_json_value ttft = sl_json_get(root, "ttft_ms"), itl = sl_json_get(root, "itl_ms");
    check_near(number_of(ttft, "p50"), 2);
    check_near(number_of(ttft, "p99"), 2);
    CHECK(number_of(ttft, "max") == 900);
    check_near(number_of(itl, "p50"), 1.235);
    CHECK(number_of(itl, "max") == 1.235); /* whole microseconds */
    sl_buf_done(&out);
    sl_free(result);
}

SL_TEST(every_kind_of_error_has_its_name)
{
    static const char *const names[] = {NULL,
#define ERROR_NAME(name, text, help) text,
                                        SL_LOAD_ERROR_MAP(ERROR_NAME)
#undef ERROR_NAME
    };
    sl_load_result *result = sl_calloc(1, sizeof *result);
    REQUIRE(result != NULL);
    for (int i = 1; i < SL_LOAD_HTTP; i++) {
        CHECK_STR(sl_str_c(sl_load_error_name((sl_load_error)i)), names[i]);
        for (int k = 0; k < i; k++)
            sl_load_result_error(result, (sl_load_error)i, 0, SL_STR(""));
    }
    static const int statuses[] = {0, 100, 599, 600, -1};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        sl_load_result_error(result, SL_LOAD_HTTP, statuses[i], SL_STR(""));
    sl_buf out, text;
    sl_json_value errors = sl_json_get(report_of(result, &out), "errors");
    sl_buf_init(&text, 1u << 16);
    CHECK_EQ(sl_load_report_text(result, &text), 0);
    uint64_t total = 0;
    for (int i = 1; i < SL_LOAD_HTTP; i++) {
        char line[64];
        snprintf(line, sizeof line, "error        %s: %d\n", names[i], i);
        CHECK(sl_str_find(sl_buf_str(&text), sl_str_c(line)) != SL_NPOS);
        CHECK(number_of(errors, names[i]) == i);
        total += (uint64_t)i;
    }
    CHECK(number_of(errors, "http_100") == 1 && number_of(errors, "http_599") == 1);
    CHECK(number_of(errors, "http") == 3); /* statuses that are none */
    CHECK_EQ(sl_load_result_failed(result), total + 5);
    sl_buf_done(&out);
    sl_buf_done(&text);
    sl_free(result);
}

/* Nothing sent, no time gone by: no division by zero, no made-up figure. */
SL_TEST(report_of_nothing)
{
    sl_load_result *result = sl_calloc(1, sizeof *result);
    REQUIRE(result != NULL);
    sl_buf out, text;
    sl_json_value root = report_of(result, &out);
    CHECK(number_of(root, "sent") == 0 && number_of(root, "tokens_per_s") == 0 && number_of(root, "duration_s") == 0);
    CHECK_EQ(sl_json_get(sl_json_get(root, "latency_ms"), "max").type, SL_JSON_NULL);
    CHECK_EQ(sl_json_count(sl_json_get(root, "errors")), 0);
    CHECK_EQ(sl_json_get(root, "first_error").type, SL_JSON_NONE);
    sl_buf_init(&text, 1u << 16);
    CHECK_EQ(sl_load_report_text(result, &text), 0);
    CHECK_STR(sl_buf_str(&text), "requests     0 sent, 0 ok, 0 failed in 0.00 s: 0.0/s\ntokens       0: 0.0/s\n");
    sl_buf_done(&out);
    sl_buf_done(&text);
    sl_free(result);
}

SL_TEST(samples_are_cut_between_characters)
{
    sl_load_result *result = sl_calloc(1, sizeof *result);
    REQUIRE(result != NULL);
    char said[400];
    memset(said, 'x', sizeof said);
    memcpy(said + SL_LOAD_SAMPLE_MAX - 2, "\xc3\xa9", 2); /* its second byte would not fit */
    sl_load_result_error(result, SL_LOAD_HTTP, 500, sl_str_of(said, sizeof said));
    CHECK_EQ(strlen(result->sample), SL_LOAD_SAMPLE_MAX - 2);
    CHECK(sl_utf8_valid(sl_str_c(result->sample)));
    sl_load_result_error(result, SL_LOAD_HTTP, 500, SL_STR("second"));
    CHECK(result->sample[0] == 'x');
    sl_free(result);
}

SL_TEST(reports_need_room)
{
    sl_load_result *result = sl_calloc(1, sizeof *result);
    REQUIRE(result != NULL);
    sl_buf out;
    sl_buf_init(&out, 20);
    CHECK(sl_load_report_json(result, &out) != 0);
    sl_buf_clear(&out);
    CHECK(sl_load_report_text(result, &out) != 0);
    sl_buf_done(&out);
    sl_free(result);
}
