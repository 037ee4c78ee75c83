/* Values of HTTP fields, as tables. */
#include "src/wire/http_field.h"

#include <stdio.h>

#include "tests/harness/sl_test.h"

SL_TEST(field_lists)
{
    static const char *const want[] = {"a", "b;q=1", "\"c, \\\", d\"", "e"};
    sl_str rest = SL_STR(" a ,, b;q=1,\t\"c, \\\", d\" ,e,"), item;
    for (size_t i = 0; i < 4; i++) {
        REQUIRE(sl_http_list_next(&rest, &item));
        CHECK_STR(item, want[i]);
    }
    CHECK(!sl_http_list_next(&rest, &item));
    rest = SL_STR("\"open, a");
    CHECK(sl_http_list_next(&rest, &item));
    CHECK_STR(item, "\"open, a");
    CHECK(!sl_http_list_next(&rest, &item));
    rest = SL_STR("\"open\\");
    CHECK(sl_http_list_next(&rest, &item));
    CHECK(sl_http_list_has(SL_STR("a, GZIP;q=0.5"), SL_STR("gzip")));
    CHECK(!sl_http_list_has(SL_STR("a, gzipx"), SL_STR("gzip")));
    CHECK(!sl_http_list_has(SL_STR(""), SL_STR("gzip")));
    CHECK(sl_http_is_token(SL_STR("a-b")));
    CHECK(!sl_http_is_token(SL_STR("a b")));
    CHECK(!sl_http_is_token(SL_STR("")));
}

SL_TEST(field_parameters)
{
    sl_str value;
    CHECK_STR(sl_http_media_type(SL_STR("text/html ; charset=utf-8")), "text/html");
    CHECK_STR(sl_http_media_type(SL_STR("text/html")), "text/html");
    CHECK(sl_http_param(SL_STR("text/html; a=b;Charset=\"x;y\" ; c"), SL_STR("charset"), &value));
    CHECK_STR(value, "x;y");
    CHECK(sl_http_param(SL_STR("a;b="), SL_STR("b"), &value));
    CHECK_STR(value, "");
    CHECK(!sl_http_param(SL_STR("charset=a"), SL_STR("charset"), &value));
    CHECK(!sl_http_param(SL_STR(""), SL_STR("charset"), &value));
}

SL_TEST(field_accept_weights)
{
    static const struct {
        const char *accept, *type;
        int weight;
    } rows[] = {
        {"", "a/b", 1000},
        {" ", "a/b", 1000},
        {"*/*", "a/b", 1000},
        {"a/*", "a/b", 1000},
        {"a/*", "ab/c", 0},
        {"A/B", "a/b", 1000},
        {"c/d", "a/b", 0},
        {"a/b;q=0.5", "a/b", 500},
        {"a/b;q=0", "a/b", 0},
        {"a/b; q=0.123", "a/b", 123},
        {"a/b;q=1.000", "a/b", 1000},
        {"a/b;q=1.001", "a/b", 0},
        {"a/b;q=2", "a/b", 0},
        {"a/b;q=x", "a/b", 0},
        {"a/b;q=0.1234", "a/b", 0},
        {"a/b;q=", "a/b", 0},
        {"*/*;q=0.9, a/*;q=0.5, a/b;q=0.1", "a/b", 100},
        {"a/b;q=0.1, a/*;q=0.5, */*;q=0.9", "a/b", 100},
        {"a/b;q=0, */*", "a/b", 0},
        {"text/html, application/json;charset=x;q=0.4", "application/json", 400},
        {"application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "text/plain", 500},
        {",,,", "a/b", 0},
        {"garbage", "a/b", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int weight = sl_http_accept_weight(sl_str_c(rows[i].accept), sl_str_c(rows[i].type));
        if (weight != rows[i].weight)
            sl_test_failed(__FILE__, __LINE__, "%s for %s: %d", rows[i].accept, rows[i].type, weight);
    }
    const sl_str offers[] = {{"text/plain", 10}, {"application/json", 16}};
    CHECK_EQ(sl_http_negotiate(SL_STR(""), offers, 2), 0);
    CHECK_EQ(sl_http_negotiate(SL_STR("application/json"), offers, 2), 1);
    CHECK_EQ(sl_http_negotiate(SL_STR("*/*;q=0.1, application/json"), offers, 2), 1);
    CHECK(sl_http_negotiate(SL_STR("image/png"), offers, 2) == SL_NPOS);
    CHECK(sl_http_negotiate(SL_STR("a/b"), NULL, 0) == SL_NPOS);
}

SL_TEST(field_bearer)
{
    static const struct {
        const char *text, *token; /* NULL: refused */
    } rows[] = {
        {"Bearer abc", "abc"}, {"bearer  abc ", "abc"},   {"BEARER sk-1_2.3~4+5/6==", "sk-1_2.3~4+5/6=="},
        {"Bearer", NULL},      {"Bearer ", NULL},         {"Bearer   ", NULL},
        {"Bearer\tabc", NULL}, {"Bearer abc\x7f", NULL},  {"Bearer a,b", "a,b"},
        {"Bearerabc", NULL},   {"Basic abc", NULL},       {"Bearer a b", NULL},
        {"Bearer a\tb", NULL}, {"Bearer \xC3\xA9", NULL}, {"", NULL},
        {"xBearer abc", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_str token = {NULL, 0};
        bool good = sl_http_bearer(sl_str_c(rows[i].text), &token);
        if (good != (rows[i].token != NULL))
            sl_test_failed(__FILE__, __LINE__, "%s", rows[i].text);
        if (good && rows[i].token)
            CHECK_STR(token, rows[i].token);
    }
}

SL_TEST(field_dates)
{
    static const struct {
        const char *text;
        int64_t unix_s;
    } rows[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},   {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Tue, 29 Feb 2000 23:59:59 GMT", 951868799},   {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},  {"Thursday, 01-Jan-70 00:00:00 GMT", 0},
        {"Friday, 31-Dec-69 23:59:59 GMT", 3155759999}, {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
        {"Sat Nov 21 04:11:26 2026", 1795234286},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t unix_s = -7;
        char text[SL_HTTP_DATE_SIZE];
        CHECK_EQ(sl_http_date_parse(sl_str_c(rows[i].text), &unix_s), 0);
        CHECK_EQ(unix_s, rows[i].unix_s);
        sl_http_date_format(unix_s, text);
        int64_t again = 0;
        CHECK_EQ(sl_http_date_parse(sl_str_c(text), &again), 0);
        CHECK_EQ(again, unix_s);
    }
    static const char *const bad[] = {"",
                                      "Sun",
                                      "Sun,",
                                      "Sun, ",
                                      "Sun, 06",
                                      "Xun, 06 Nov 1994 08:49:37 GMT",
                                      "Sun, 6 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nox 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 24:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:60:37 GMT",
                                      "Sun, 32 Nov 1994 08:49:37 GMT",
                                      "Sun, 31 Nov 1994 08:49:37 GMT",
                                      "Sun, 00 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:49:37 UTC",
                                      "Sun, 06 Nov 1994 08:49:37 GMT ",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Wed, 29 Feb 2023 00:00:00 GMT",
                                      "Mon, 29 Feb 2100 00:00:00 GMT",
                                      "Mon, 29 Feb 1900 00:00:00 GMT",
                                      "Thu, 30 Feb 2024 00:00:00 GMT",
                                      "Sun, 06 Nov 1994 08:49:61 GMT",
                                      "Sun, 06 Nov 0000 08:49:37 GMT",
                                      "sun, 06 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:49:37 gmt",
                                      "Sun, 06 Nov 94 08:49:37 GMT",
                                      "Sun, 06-Nov-94 08:49:37 GMT+1",
                                      "Sunday, 06-Nov-1994 08:49:37 GMT",
                                      "Sun, 06  Nov 1994 08:49:37 GMT",
                                      "Sun, +6 Nov 1994 08:49:37 GMT",
                                      "Sun Nov 6 08:49:37 1994",
                                      "1994-11-06T08:49:37Z",
                                      "784111777",
                                      "Sun Nov  6 08:49:37 1994 x",
                                      "Sun Nov -6 08:49:37 1994"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t unix_s = -7;
        if (sl_http_date_parse(sl_str_c(bad[i]), &unix_s) != SL_EPARSE || unix_s != -7)
            sl_test_failed(__FILE__, __LINE__, "accepted %s", bad[i]);
    }
    char text[SL_HTTP_DATE_SIZE];
    sl_http_date_format(784111777, text);
    CHECK_STR(sl_str_c(text), "Sun, 06 Nov 1994 08:49:37 GMT");
    sl_http_date_format(INT64_MAX, text);
    CHECK_STR(sl_str_c(text), "Fri, 31 Dec 9999 23:59:59 GMT");
    sl_http_date_format(INT64_MIN, text);
    CHECK_STR(sl_str_c(text), "Mon, 01 Jan 0001 00:00:00 GMT");
}

SL_TEST(field_dates_read_back)
{
    for (int64_t time = -3000000000; time < 6000000000; time += 86399 * 37) {
        char text[SL_HTTP_DATE_SIZE];
        int64_t again = 0;
        sl_http_date_format(time, text);
        CHECK_EQ(sl_http_date_parse(sl_str_c(text), &again), 0);
        CHECK_EQ(again, time);
    }
}

SL_TEST(field_retry_after)
{
    static const struct {
        const char *text;
        int error;
        uint64_t ms;
    } rows[] = {
        {"0", 0, 0},
        {"120", 0, 120000},
        {" 1 ", 0, 1000},
        {"0.25", 0, 250},
        {"99999999999", 0, 86400000},
        {"99999999999999999999999", 0, 86400000},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 0, 1500},
        {"Sun Nov  6 08:49:37 1994", 0, 1500},
        {"Sun, 06 Xyz 1994 08:49:37 GMT", SL_EPARSE, 0},
        {"Sun, 99 Nov 1994 08:49:37 GMT", SL_EPARSE, 0},
        {"Sun, 06 Nov 1994", SL_EPARSE, 0},
        {"12 seconds", SL_EPARSE, 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 0, 1500},
        {"Sun, 06 Nov 1994 08:49:35 GMT", 0, 0},
        {"Sun, 06 Nov 2094 08:49:37 GMT", 0, 86400000},
        {"", SL_EPARSE, 0},
        {"-1", SL_EPARSE, 0},
        {"soon", SL_EPARSE, 0},
        {"1s", SL_EPARSE, 0},
        {"1e3", SL_EPARSE, 0},
        {"1.5", 0, 1500},
        {"1.2.3", SL_EPARSE, 0},
        {"0x10", SL_EPARSE, 0},
        {"+1", SL_EPARSE, 0},
        {".5", SL_EPARSE, 0},
        {"1 2", SL_EPARSE, 0},
        {"1,2", SL_EPARSE, 0},
        {"86400", 0, 86400000},
        {"86399.9996", 0, 86400000},
        {"86401", 0, 86400000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t ms = 0;
        int error = sl_http_retry_after(sl_str_c(rows[i].text), 784111775500, &ms);
        if (error != rows[i].error || ms != rows[i].ms)
            sl_test_failed(__FILE__, __LINE__, "%s: %d, %llu", rows[i].text, error, (unsigned long long)ms);
    }
}

/* RFC 9110, 5.6.1 (lists: empty elements do not count), 5.6.4 (quoted strings), 5.6.6 (parameters). */
SL_TEST(field_lists_with_quotes)
{
    static const struct {
        const char *list;
        const char *items; /* joined by '|' */
    } rows[] = {
        {"", ""},
        {",", ""},
        {" , \t,", ""},
        {"a", "a|"},
        {"a,b", "a|b|"},
        {" a ,, b ", "a|b|"},
        {"\"a,b\",c", "\"a,b\"|c|"},
        {"x=\"a\\\",b\",c", "x=\"a\\\",b\"|c|"},
        {"\"never, closed", "\"never, closed|"},
        {"a;p=\",\", b", "a;p=\",\"|b|"},
        {"\"a\\", "\"a\\|"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[100] = "";
        sl_str rest = sl_str_c(rows[i].list), item;
        while (sl_http_list_next(&rest, &item)) {
            strncat(text, item.ptr, item.len);
            strcat(text, "|");
        }
        CHECK_STR(sl_str_c(text), rows[i].items);
    }
    static const struct {
        const char *value, *name, *found; /* NULL: absent */
    } params[] = {
        {"a/b;charset=utf-8", "charset", "utf-8"},
        {"a/b; charset=\"utf-8\"", "CHARSET", "utf-8"},
        {"a/b;x=\"a;charset=no\";charset=yes", "charset", "yes"},
        {"a/b;charset=", "charset", ""},
        {"a/b;charset=\"\"", "charset", ""},
        {"a/b;charset", "charset", NULL},
        {"charset=utf-8", "charset", NULL},
        {"a/b;xcharset=1", "charset", NULL},
        {"a/b;;charset=1;charset=2", "charset", "1"},
        {"", "charset", NULL},
        {"a/b;q=\"x\\\"y\"", "q", "x\\\"y"},
    };
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++) {
        sl_str found = {NULL, 0};
        bool good = sl_http_param(sl_str_c(params[i].value), sl_str_c(params[i].name), &found);
        CHECK_EQ(good, params[i].found != NULL);
        if (good && params[i].found)
            CHECK_STR(found, params[i].found);
    }
}

/* RFC 9110, 12.4.2: qvalue = "0" [ "." 0*3DIGIT ] / "1" [ "." 0*3"0" ]. Another one makes its element not count. */
SL_TEST(field_weights)
{
    static const struct {
        const char *q;
        int weight; /* -1: the element does not count */
    } rows[] = {
        {"0", 0},       {"1", 1000},   {"0.", 0},       {"1.", 1000},  {"0.5", 500}, {"0.05", 50},   {"0.005", 5},
        {"0.999", 999}, {"1.0", 1000}, {"1.000", 1000}, {"1.001", -1}, {"1.1", -1},  {"0.0005", -1}, {"1.0000", -1},
        {"2", -1},      {"-0", -1},    {"+1", -1},      {".5", -1},    {"00", -1},   {"0,5", -1},    {"", -1},
        {"0.5x", -1},   {"x", -1},     {"1e0", -1},     {"0. 5", -1},  {"01", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char accept[64];
        snprintf(accept, sizeof accept, "text/plain;q=%s", rows[i].q);
        bool cut = strchr(rows[i].q, ',') != NULL; /* the comma ends the element */
        CHECK_EQ(sl_http_accept_weight(sl_str_c(accept), SL_STR("text/plain")), cut                  ? 0
                                                                                : rows[i].weight < 0 ? 0
                                                                                                     : rows[i].weight);
        if (!cut)
            CHECK_EQ(sl_http_weight(sl_str_c(accept)), rows[i].weight);
    }
}
