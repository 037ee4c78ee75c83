/* Values of jansson as text: every kind, numbers as short as they can be, what cannot be written. */
#include "src/llm/json_text.h"

#include <stdlib.h>

#include "src/base/limits.h"
#include "tests/harness/sl_test.h"

static void expect(const char *from, const char *want)
{
    json_t *value = json_loads(from, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL), *again;
    REQUIRE(value);
    char *text = sl_json_text(value);
    REQUIRE(text);
    CHECK_STR(sl_str_c(text), want);
    again = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    CHECK(json_equal(value, again) || strpbrk(from, ".eE"));
    if (json_is_number(value))
        CHECK(json_number_value(value) - json_number_value(again) == 0); /* the same bits */
    json_decref(again);
    json_decref(value);
    free(text);
}

SL_TEST(values_as_text)
{
    static const char *const same[] = {"null",
                                       "true",
                                       "false",
                                       "0",
                                       "-7",
                                       "9223372036854775807",
                                       "-9223372036854775808",
                                       "\"\"",
                                       "[]",
                                       "{}",
                                       "{\"b\":1,\"a\":[2,{\"c\":null}]}",
                                       "\"\\u0000\\u001f \\\"\\\\ / \xc3\xa4 \xf0\x9f\x8c\x8a\""};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        expect(same[i], same[i]);
    expect("[ 1 , { \"a\" : 2 } ]", "[1,{\"a\":2}]");
}

SL_TEST(numbers_as_text)
{
    static const char *const numbers[][2] = {{"0.1", "0.1"},
                                             {"0.30000000000000004", "0.30000000000000004"},
                                             {"1.0", "1"},
                                             {"1e2", "100"},
                                             {"1.50", "1.5"},
                                             {"123456789.125", "123456789.125"},
                                             {"-2.5e-7", "-2.5e-07"},
                                             {"1e300", "1e+300"},
                                             {"5e-324", "4.94065645841247e-324"}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        expect(numbers[i][0], numbers[i][1]);
}

SL_TEST(what_has_no_text)
{
    json_t *deep = json_array();
    for (size_t i = 0; i < SL_MAX_JSON_DEPTH + 5; i++)
        deep = json_pack("[o]", deep);
    sl_buf out;
    sl_buf_init(&out, 1000);
    CHECK(sl_json_text(deep) == NULL);
    CHECK_EQ(sl_json_put_value(&out, deep), SL_ETOOBIG);
    CHECK(sl_json_text(NULL) == NULL);
    sl_buf_clear(&out);
    CHECK_EQ(sl_json_put_value(&out, NULL), 0);
    CHECK_STR(sl_buf_str(&out), "null");
    sl_buf_done(&out);
    json_decref(deep);
}

/* A list once lost its bracket when only that append found no memory. */
SL_TEST(whole_or_none_when_memory_runs_out)
{
    json_t *value = json_pack("[i, {s: s}]", 1, "a", "b");
    bool failed = true;
    REQUIRE(value);
    for (long n = 0; failed; n++) {
        sl_test_fail_alloc(n);
        char *text = sl_json_text(value);
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(failed == (text == NULL));
        if (text)
            CHECK_STR(sl_str_c(text), "[1,{\"a\":\"b\"}]");
        free(text);
    }
    json_decref(value);
}
