/* Translation of names, units, labels, bounds and numbers, by table. */
#include "src/telemetry/prom_name.h"

#include <math.h>
#include <stdlib.h>

#include "tests/harness/sl_test.h"

SL_TEST(names)
{
    static const struct {
        const char *name, *unit;
        sl_instrument_kind kind;
        const char *want;
        bool native;
    } cases[] = {
        {"foo.bar", "By", SL_COUNTER, "foo_bar_bytes_total", false},
        {"http.server.request.duration", "s", SL_HISTOGRAM, "http_server_request_duration_seconds", false},
        {"gen_ai.client.token.usage", "{token}", SL_HISTOGRAM, "gen_ai_client_token_usage", false},
        {"system.cpu.utilization", "1", SL_GAUGE, "system_cpu_utilization_ratio", false},
        {"system.cpu.utilization", "1", SL_UPDOWN_COUNTER, "system_cpu_utilization", false},
        {"requests", "", SL_COUNTER, "requests_total", false},
        {"up", "", SL_GAUGE, "up", false},
        {"disk.io", "By/s", SL_GAUGE, "disk_io_bytes_per_second", false},
        {"queue", "{item}/s", SL_GAUGE, "queue_per_second", false},
        {"queue", "{item}/{x}", SL_GAUGE, "queue", false},
        {"temp", "Cel", SL_GAUGE, "temp_celsius", false},
        {"fill", "%", SL_GAUGE, "fill_percent", false},
        {"odd", "foo bar", SL_GAUGE, "odd_foo_bar", false},
        {"a.-b//c", "", SL_GAUGE, "a_b_c", false},
        {"a__b", "", SL_GAUGE, "a_b", false},
        {"my_seconds_wait", "s", SL_HISTOGRAM, "my_seconds_wait", true},
        {"my_requests", "", SL_COUNTER, "my_requests_total", false},
        {"x.total", "s", SL_COUNTER, "x_seconds_total", false},
        {"llamastack_requests_total", "", SL_COUNTER, "llamastack_requests_total", true},
        {"llamastack_request_duration_seconds", "s", SL_HISTOGRAM, "llamastack_request_duration_seconds", true},
        {"llamastack_request_duration_seconds", "", SL_HISTOGRAM, "llamastack_request_duration_seconds", true},
        {"orchestrator_active_workflows", "", SL_UPDOWN_COUNTER, "orchestrator_active_workflows", true},
        {"llamacpp:prompt_tokens_total", "", SL_COUNTER, "llamacpp:prompt_tokens_total", true},
        {"llamacpp:n_decode", "", SL_COUNTER, "llamacpp:n_decode", true},
        {"process_cpu_seconds_total", "s", SL_COUNTER, "process_cpu_seconds_total", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[SL_PROM_NAME_BYTES];
        bool native = sl_prom_name(sl_str_c(cases[i].name), sl_str_c(cases[i].unit), cases[i].kind, name);
        CHECK_STR(sl_str_c(name), cases[i].want);
        CHECK_EQ(native, cases[i].native);
    }
}

SL_TEST(translating_twice_changes_nothing)
{
    static const char *const names[] = {"foo.bar", "a.b.c_d", "x", "gen_ai.server.time_to_first_token", "a-b/c"};
    static const char *const units[] = {"", "s", "By", "1", "{x}", "By/s", "ms"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            for (int kind = SL_COUNTER; kind <= SL_HISTOGRAM; kind++) {
                char once[SL_PROM_NAME_BYTES], twice[SL_PROM_NAME_BYTES];
                (void)sl_prom_name(sl_str_c(names[n]), sl_str_c(units[u]), (sl_instrument_kind)kind, once);
                (void)sl_prom_name(sl_str_c(once), sl_str_c(units[u]), (sl_instrument_kind)kind, twice);
                CHECK_STR(sl_str_c(twice), once);
            }
        }
    }
}

SL_TEST(the_longest_names_fit)
{
    char name[256], unit[64], out[SL_PROM_NAME_BYTES];
    memset(name, 'a', 255);
    memset(unit, 'b', 63);
    (void)sl_prom_name(sl_str_of(name, 255), sl_str_of(unit, 63), SL_COUNTER, out);
    CHECK_EQ(strlen(out), 255 + 1 + 63 + 6);
    char label[SL_PROM_LABEL_BYTES];
    memset(name, '7', 255);
    sl_prom_label_name(sl_str_of(name, 255), label);
    CHECK_EQ(strlen(label), 259);
}

SL_TEST(label_names)
{
    static const char *const cases[][2] = {
        {"a", "a"},       {"a.b", "a_b"},   {"http.request.method", "http_request_method"},
        {"9x", "key_9x"}, {"a..b", "a_b"},  {"__a", "_a"},
        {"a:b", "a_b"},   {"\xC3\xA4", "_"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[SL_PROM_LABEL_BYTES];
        sl_prom_label_name(sl_str_c(cases[i][0]), name);
        CHECK_STR(sl_str_c(name), cases[i][1]);
    }
}

SL_TEST(escaping)
{
    static const struct {
        const char *in, *label, *help, *open_help;
    } cases[] = {
        {"plain", "plain", "plain", "plain"},
        {"a\"b", "a\\\"b", "a\"b", "a\\\"b"},
        {"a\\b\nc", "a\\\\b\\nc", "a\\\\b\\nc", "a\\\\b\\nc"},
        {"\xC3\xA4", "\xC3\xA4", "\xC3\xA4", "\xC3\xA4"},
        {"x\xFFy", "x\xEF\xBF\xBDy", "x\xEF\xBF\xBDy", "x\xEF\xBF\xBDy"},
        {"\xC3", "\xEF\xBF\xBD", "\xEF\xBF\xBD", "\xEF\xBF\xBD"},
        {"\xE2\x82\xAC\xFF", "\xE2\x82\xAC\xEF\xBF\xBD", "\xE2\x82\xAC\xEF\xBF\xBD", "\xE2\x82\xAC\xEF\xBF\xBD"},
        {"a\rb", "a b", "a b", "a b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_buf b;
        sl_buf_init(&b, 1000);
        CHECK_EQ(sl_prom_escape_label(sl_str_c(cases[i].in), &b), 0);
        CHECK_STR(sl_buf_str(&b), cases[i].label);
        sl_buf_clear(&b);
        CHECK_EQ(sl_prom_escape_help(sl_str_c(cases[i].in), SL_PROMETHEUS_TEXT, &b), 0);
        CHECK_STR(sl_buf_str(&b), cases[i].help);
        sl_buf_clear(&b);
        CHECK_EQ(sl_prom_escape_help(sl_str_c(cases[i].in), SL_PROMETHEUS_OPENMETRICS, &b), 0);
        CHECK_STR(sl_buf_str(&b), cases[i].open_help);
        sl_buf_done(&b);
    }
}

SL_TEST(bounds)
{
    static const struct {
        double bound;
        const char *text, *open;
    } cases[] = {{0.005, "0.005", "0.005"},    {1, "1", "1.0"},           {2.5, "2.5", "2.5"},
                 {10000, "10000", "10000.0"},  {1e-6, "1e-06", "1e-06"},  {0, "0", "0.0"},
                 {-1, "-1", "-1.0"},           {81.92, "81.92", "81.92"}, {67108864, "67108864", "67108864.0"},
                 {0.0005, "0.0005", "0.0005"}, {INFINITY, "+Inf", "+Inf"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_buf b;
        sl_buf_init(&b, 1000);
        CHECK_EQ(sl_prom_bound(cases[i].bound, SL_PROMETHEUS_TEXT, &b), 0);
        CHECK_STR(sl_buf_str(&b), cases[i].text);
        sl_buf_clear(&b);
        CHECK_EQ(sl_prom_bound(cases[i].bound, SL_PROMETHEUS_OPENMETRICS, &b), 0);
        CHECK_STR(sl_buf_str(&b), cases[i].open);
        sl_buf_done(&b);
    }
}

SL_TEST(numbers_read_back_exactly)
{
    sl_buf b;
    sl_buf_init(&b, 1000);
    uint64_t x = 88172645463325252ull;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        double value = i % 3 ? (double)(x % 100000000) / (i % 2 ? 1000.0 : 128.0) : (double)x * 1e-12;
        if (i % 5 == 0)
            value = -value;
        sl_buf_clear(&b);
        CHECK_EQ(sl_prom_number(value, &b), 0);
        CHECK_EQ(sl_buf_put_char(&b, '\0'), 0);
        CHECK(strtod(b.data, NULL) == value);
    }
    sl_buf_done(&b);
}

SL_TEST(special_numbers)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},     {INFINITY, "+Inf"}, {-INFINITY, "-Inf"},        {12.5, "12.5"},
                 {-0.25, "-0.25"}, {3, "3"},           {123456.789, "123456.789"}, {1e300, "1e+300"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_buf b;
        sl_buf_init(&b, 1000);
        CHECK_EQ(sl_prom_number(cases[i].value, &b), 0);
        CHECK_STR(sl_buf_str(&b), cases[i].text);
        sl_buf_done(&b);
    }
    sl_buf b;
    sl_buf_init(&b, 1000);
    CHECK_EQ(sl_prom_number(NAN, &b), 0);
    CHECK_STR(sl_buf_str(&b), "NaN");
    sl_buf_done(&b);
}

SL_TEST(negotiation)
{
    static const struct {
        const char *accept;
        sl_prometheus_format want;
    } cases[] = {
        {"", SL_PROMETHEUS_TEXT},
        {"*/*", SL_PROMETHEUS_TEXT},
        {"text/plain", SL_PROMETHEUS_TEXT},
        {"text/html,application/xhtml+xml,*/*;q=0.8", SL_PROMETHEUS_TEXT},
        {"application/openmetrics-text", SL_PROMETHEUS_OPENMETRICS},
        {"application/openmetrics-text; version=1.0.0; charset=utf-8", SL_PROMETHEUS_OPENMETRICS},
        {"application/openmetrics-text; version=\"1.0.0\"", SL_PROMETHEUS_OPENMETRICS},
        {"application/openmetrics-text; version=2.0.0", SL_PROMETHEUS_TEXT},
        {"application/openmetrics-text;q=0", SL_PROMETHEUS_TEXT},
        {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;"
         "version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,"
         "*/*;q=0.1",
         SL_PROMETHEUS_OPENMETRICS},
        {"application/openmetrics-text;q=0.2,text/plain;q=0.7", SL_PROMETHEUS_TEXT},
        {"text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.5", SL_PROMETHEUS_OPENMETRICS},
        {"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;"
         "version=0.0.4;q=0.3",
         SL_PROMETHEUS_TEXT},
        {"Application/OpenMetrics-Text", SL_PROMETHEUS_OPENMETRICS},
        {";;,;q=,,", SL_PROMETHEUS_TEXT},
        {"application/openmetrics-text;q=x,text/plain;q=0.1", SL_PROMETHEUS_TEXT},
        {"application/openmetrics-text;q=x,application/openmetrics-text;q=0.3,text/plain;q=0.1",
         SL_PROMETHEUS_OPENMETRICS},
        {"text/plain;x=\"a,b;q=0\",application/openmetrics-text;q=0.3", SL_PROMETHEUS_TEXT},
        {"text/plain;version=1.0.0,application/openmetrics-text;q=0.1", SL_PROMETHEUS_OPENMETRICS},
        {"text/*;q=0.9,application/openmetrics-text;q=0.8", SL_PROMETHEUS_TEXT},
        {"text/*;q=0.9,text/plain;q=0.2,application/openmetrics-text;q=0.8", SL_PROMETHEUS_OPENMETRICS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_EQ(sl_prometheus_negotiate(sl_str_c(cases[i].accept)), cases[i].want);
    CHECK(strstr(sl_prometheus_content_type(SL_PROMETHEUS_TEXT), "version=0.0.4"));
    CHECK(strstr(sl_prometheus_content_type(SL_PROMETHEUS_OPENMETRICS), "version=1.0.0"));
}
