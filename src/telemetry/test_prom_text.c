/* The text formats, byte by byte. */
#include <sightline/metrics.h>

#include "src/telemetry/test_metrics_fixture.h"
#include "src/wire/pb.h"

SL_TEST(an_otel_counter)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_instrument *i = rig_declare(&rig, SL_COUNTER, "http.requests", "{request}");
    const sl_attr b[] = {sl_attr_str("http.method", "GET"), sl_attr_int("code", 200)};
    const sl_attr a[] = {sl_attr_str("code", "200"), sl_attr_bool("ok", true)};
    sl_counter_add(sl_instrument_bind(i, b, 2), 3);
    sl_counter_add(sl_instrument_bind(i, a, 2), 18446744073709551615ull);
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_TEXT),
              "# HELP http_requests_total Help.\n"
              "# TYPE http_requests_total counter\n"
              "http_requests_total{code=\"200\",http_method=\"GET\",otel_scope_name=\"test\"} 3\n"
              "http_requests_total{code=\"200\",ok=\"true\",otel_scope_name=\"test\"} 18446744073709551615\n");
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_OPENMETRICS),
              "# TYPE http_requests counter\n"
              "# HELP http_requests Help.\n"
              "http_requests_total{code=\"200\",http_method=\"GET\",otel_scope_name=\"test\"} 3\n"
              "http_requests_total{code=\"200\",ok=\"true\",otel_scope_name=\"test\"} 18446744073709551615\n"
              "# EOF\n");
    rig_done(&rig);
}

SL_TEST(prometheus_names_come_out_as_they_are)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_counter_add(sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "llamastack_requests_total", NULL), NULL, 0), 1);
    sl_updown_add(
        sl_instrument_bind(rig_declare(&rig, SL_UPDOWN_COUNTER, "llamastack_active_connections", NULL), NULL, 0), -2);
    sl_gauge_set(sl_instrument_bind(rig_declare(&rig, SL_GAUGE, "llamacpp:requests_processing", NULL), NULL, 0), 7);
    sl_gauge_set_double(sl_instrument_bind(rig_declare(&rig, SL_GAUGE, "x_seconds", "s"), NULL, 0), 7.5);
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_TEXT), "# HELP llamacpp:requests_processing Help.\n"
                                                  "# TYPE llamacpp:requests_processing gauge\n"
                                                  "llamacpp:requests_processing 7\n"
                                                  "# HELP llamastack_active_connections Help.\n"
                                                  "# TYPE llamastack_active_connections gauge\n"
                                                  "llamastack_active_connections -2\n"
                                                  "# HELP llamastack_requests_total Help.\n"
                                                  "# TYPE llamastack_requests_total counter\n"
                                                  "llamastack_requests_total 1\n"
                                                  "# HELP x_seconds Help.\n"
                                                  "# TYPE x_seconds gauge\n"
                                                  "x_seconds 7\n");
    rig_done(&rig);
}

SL_TEST(a_histogram)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    static const double bounds[] = {0.005, 1, 2.5};
    sl_instrument_options o = {.kind = SL_HISTOGRAM,
                               .name = "req_seconds",
                               .unit = "s",
                               .description = "A \"help\".",
                               .bounds = bounds,
                               .bound_count = 3};
    const sl_attr attr = sl_attr_str("path", "/a\"b\\c\nd");
    sl_series *s = sl_instrument_bind(sl_instrument_new(rig.meter, &o), &attr, 1);
    static const double values[] = {0.005, 0.0050001, 1, 2.5, 3};
    for (size_t i = 0; i < 5; i++)
        sl_histogram_record(s, values[i]);
    sl_histogram_record(s, strtod("nan", NULL));
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_TEXT), "# HELP req_seconds A \"help\".\n"
                                                  "# TYPE req_seconds histogram\n"
                                                  "req_seconds_bucket{path=\"/a\\\"b\\\\c\\nd\",le=\"0.005\"} 1\n"
                                                  "req_seconds_bucket{path=\"/a\\\"b\\\\c\\nd\",le=\"1\"} 3\n"
                                                  "req_seconds_bucket{path=\"/a\\\"b\\\\c\\nd\",le=\"2.5\"} 4\n"
                                                  "req_seconds_bucket{path=\"/a\\\"b\\\\c\\nd\",le=\"+Inf\"} 5\n"
                                                  "req_seconds_sum{path=\"/a\\\"b\\\\c\\nd\"} 6.5100001\n"
                                                  "req_seconds_count{path=\"/a\\\"b\\\\c\\nd\"} 5\n");
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_OPENMETRICS),
              "# TYPE req_seconds histogram\n"
              "# UNIT req_seconds seconds\n"
              "# HELP req_seconds A \\\"help\\\".\n"
              "req_seconds_bucket{path=\"/a\\\"b\\\\c\\nd\",le=\"0.005\"} 1\n"
              "req_seconds_bucket{path=\"/a\\\"b\\\\c\\nd\",le=\"1.0\"} 3\n"
              "req_seconds_bucket{path=\"/a\\\"b\\\\c\\nd\",le=\"2.5\"} 4\n"
              "req_seconds_bucket{path=\"/a\\\"b\\\\c\\nd\",le=\"+Inf\"} 5\n"
              "req_seconds_sum{path=\"/a\\\"b\\\\c\\nd\"} 6.5100001\n"
              "req_seconds_count{path=\"/a\\\"b\\\\c\\nd\"} 5\n"
              "# EOF\n");
    rig_done(&rig);
}

SL_TEST(exemplars_stand_on_buckets)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    static const double bounds[] = {1};
    sl_instrument_options o = {.kind = SL_HISTOGRAM, .name = "d_seconds", .bounds = bounds, .bound_count = 1};
    sl_series *s = sl_instrument_bind(sl_instrument_new(rig.meter, &o), NULL, 0);
    sl_span_context sampled = {.flags = SL_TRACE_FLAG_SAMPLED}, unsampled;
    memset(sampled.trace_id, 0xAB, SL_TRACE_ID_SIZE);
    memset(sampled.span_id, 0xCD, SL_SPAN_ID_SIZE);
    unsampled = sampled;
    unsampled.flags = 0;
    sl_histogram_record_in(s, 0.5, &unsampled);
    CHECK(sl_str_find(rig_text(&rig, SL_PROMETHEUS_OPENMETRICS), SL_STR(" # {")) == SL_NPOS);
    sl_histogram_record_in(s, 2.5, &sampled);
    sl_histogram_record_in(s, 0.5, NULL);
    sl_str text = rig_text(&rig, SL_PROMETHEUS_OPENMETRICS);
    CHECK(sl_str_find(text, SL_STR("d_seconds_bucket{le=\"1.0\"} 2\n")) != SL_NPOS);
    CHECK(sl_str_find(text, SL_STR("d_seconds_bucket{le=\"+Inf\"} 3 # {trace_id=\"abababababababababababababababab\","
                                   "span_id=\"cdcdcdcdcdcdcdcd\"} 2.5 1")) != SL_NPOS);
    CHECK(sl_str_find(rig_text(&rig, SL_PROMETHEUS_TEXT), SL_STR(" # {")) == SL_NPOS);
    rig_done(&rig);
}

SL_TEST(labels_that_collide_are_joined)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_instrument *i = rig_declare(&rig, SL_COUNTER, "c_total", NULL);
    const sl_attr attrs[] = {sl_attr_str("a_b", "2"), sl_attr_str("a.b", "1"), sl_attr_str("a-b", "0")};
    sl_counter_add(sl_instrument_bind(i, attrs, 3), 1);
    CHECK(rig_value(&rig, "c_total{a_b=\"0;1;2\"}") == 1);
    rig_done(&rig);
}

SL_TEST(values_that_differ_in_type_alone_are_one_sample)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_instrument *i = rig_declare(&rig, SL_COUNTER, "c_total", NULL);
    const sl_attr text = sl_attr_str("n", "1"), number = sl_attr_int("n", 1);
    sl_counter_add(sl_instrument_bind(i, &text, 1), 2);
    sl_counter_add(sl_instrument_bind(i, &number, 1), 3);
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_TEXT), "# HELP c_total Help.\n# TYPE c_total counter\nc_total{n=\"1\"} 5\n");
    rig_done(&rig);
}

SL_TEST(the_label_le_of_a_histogram_is_its_own)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    const sl_attr attr = sl_attr_str("le", "x");
    sl_histogram_record(sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h_x", NULL), &attr, 1), 1);
    CHECK(rig_value(&rig, "h_x_count{exported_le=\"x\"}") == 1);
    rig_done(&rig);
}

SL_TEST(every_type_of_value_has_a_text)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    const sl_value items[] = {sl_value_int(1), sl_value_cstr("a\"b"), sl_value_empty()};
    const sl_attr member = sl_attr_bool("k", false);
    const sl_attr attrs[] = {sl_attr_double("d", 0.5), sl_attr_of("a", sl_value_array(items, 3)),
                             sl_attr_of("m", sl_value_map(&member, 1)), sl_attr_of("y", sl_value_bytes("\x01\xFE", 2)),
                             sl_attr_of("z", sl_value_empty())};
    sl_counter_add(sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "c_total", NULL), attrs, 5), 1);
    CHECK(rig_value(&rig,
                    "c_total{a=\"[1,\\\"a\\\\\\\"b\\\",null]\",d=\"0.5\",m=\"{\\\"k\\\":false}\",y=\"01fe\",z=\"\"}") ==
          1);
    rig_done(&rig);
}

SL_TEST(the_scope_is_in_the_labels)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    const sl_attr attr = sl_attr_str("team", "x");
    const sl_scope_options scope = {.name = SL_STR("lib"),
                                    .version = SL_STR("1.2"),
                                    .schema_url = SL_STR("http://s"),
                                    .attrs = &attr,
                                    .attr_count = 1};
    sl_meter *meter = sl_meter_get(&rig.sdk, &scope);
    CHECK(meter == sl_meter_get(&rig.sdk, &scope) && meter != rig.meter);
    sl_instrument_options o = {.kind = SL_COUNTER, .name = "hits"};
    sl_counter_add(sl_instrument_bind(sl_instrument_new(meter, &o), NULL, 0), 4);
    sl_counter_add(sl_instrument_bind(sl_instrument_new(rig.meter, &o), NULL, 0), 5);
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_TEXT),
              "# TYPE hits_total counter\n"
              "hits_total{otel_scope_name=\"lib\",otel_scope_version=\"1.2\",otel_scope_schema_url=\"http://s\","
              "otel_scope_team=\"x\"} 4\n"
              "hits_total{otel_scope_name=\"test\"} 5\n");
    rig_done(&rig);
}

SL_TEST(families_of_two_types_keep_the_first)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_meter *other = sl_meter_named(&rig.sdk, "zzzz");
    sl_instrument_options gauge = {.kind = SL_GAUGE, .name = "same_name"};
    sl_instrument_options histogram = {.kind = SL_HISTOGRAM, .name = "same_name"};
    sl_gauge_set(sl_instrument_bind(sl_instrument_new(rig.meter, &gauge), NULL, 0), 4);
    sl_histogram_record(sl_instrument_bind(sl_instrument_new(other, &histogram), NULL, 0), 4);
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_TEXT), "# TYPE same_name gauge\nsame_name 4\n");
    rig_done(&rig);
}

SL_TEST(counters_that_openmetrics_cannot_name_are_of_unknown_type)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_counter_add(sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "llamacpp:n_decode", NULL), NULL, 0), 1);
    sl_counter_add(sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "my_jobs_total", NULL), NULL, 0), 2);
    sl_gauge_set(sl_instrument_bind(rig_declare(&rig, SL_GAUGE, "my_jobs", NULL), NULL, 0), 3);
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_OPENMETRICS),
              "# TYPE llamacpp:n_decode unknown\n# HELP llamacpp:n_decode Help.\nllamacpp:n_decode 1\n"
              "# TYPE my_jobs gauge\n# HELP my_jobs Help.\nmy_jobs 3\n"
              "# TYPE my_jobs_total unknown\n# HELP my_jobs_total Help.\nmy_jobs_total 2\n# EOF\n");
    CHECK(sl_str_find(rig_text(&rig, SL_PROMETHEUS_TEXT), SL_STR("# TYPE my_jobs_total counter\n")) != SL_NPOS);
    rig_done(&rig);
}

SL_TEST(target_info_is_the_resource)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_buf resource;
    sl_buf_init(&resource, 1000);
    static const char *const pairs[][2] = {{"service.name", "gw"}, {"host", "h\"1"}};
    for (size_t i = 0; i < 2; i++) {
        size_t kv, value;
        REQUIRE(sl_pb_buf_open(&resource, 1, &kv) == 0);
        (void)sl_pb_buf_str(&resource, 1, sl_str_c(pairs[i][0]));
        REQUIRE(sl_pb_buf_open(&resource, 2, &value) == 0);
        (void)sl_pb_buf_str(&resource, 1, sl_str_c(pairs[i][1]));
        sl_pb_buf_close(&resource, value);
        sl_pb_buf_close(&resource, kv);
    }
    CHECK_EQ(sl_collector_set_resource(rig.sdk.collector, sl_buf_str(&resource)), 0);
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_TEXT), "# HELP target_info Target metadata\n# TYPE target_info gauge\n"
                                                  "target_info{host=\"h\\\"1\",service_name=\"gw\"} 1\n");
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_OPENMETRICS), "# TYPE target info\n# HELP target Target metadata\n"
                                                         "target_info{host=\"h\\\"1\",service_name=\"gw\"} 1\n# EOF\n");
    for (size_t cut = 0; cut < resource.len; cut++) {
        CHECK_EQ(sl_collector_set_resource(rig.sdk.collector, sl_str_of(resource.data, cut)), 0);
        (void)rig_text(&rig, SL_PROMETHEUS_TEXT);
    }
    sl_buf_done(&resource);
    rig_done(&rig);
}

SL_TEST(gather_gives_memory_of_malloc)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_counter_add(sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "c_total", NULL), NULL, 0), 1);
    char *text = NULL;
    size_t len = 0;
    CHECK_EQ(sl_prometheus_gather(&rig.sdk, SL_PROMETHEUS_OPENMETRICS, &text, &len), 0);
    CHECK_STR(sl_str_of(text, len), "# TYPE c counter\n# HELP c Help.\nc_total 1\n# EOF\n");
    CHECK_EQ(text[len], '\0');
    free(text);
    CHECK_EQ(sl_prometheus_gather(&rig.sdk, SL_PROMETHEUS_TEXT, NULL, &len), SL_EINVAL);
    rig_done(&rig);
}

SL_TEST(memory_that_runs_out_is_reported)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_instrument *i = rig_declare(&rig, SL_COUNTER, "c_total", NULL);
    sl_histogram_record(sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h_x", NULL), NULL, 0), 1);
    sl_counter_add(sl_instrument_bind(i, NULL, 0), 1);
    bool done = false;
    for (long n = 0; n < 200 && !done; n++) {
        sl_buf out;
        sl_buf_init(&out, 1 << 20);
        sl_test_fail_alloc(n);
        int error = sl_collector_prometheus(rig.sdk.collector, sl_str_of(NULL, 0), SL_PROMETHEUS_TEXT, &out);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        done = !failed;
        sl_buf_done(&out);
    }
    CHECK(done);
    CHECK(rig_value(&rig, "c_total") == 1);
    rig_done(&rig);
}

/* Integers come out whole in both formats and in every size; nothing passes through a double. */
SL_TEST(counts_beyond_2_to_the_53_are_exact)
{
    static const struct {
        uint64_t add[2];
        const char *text;
    } rows[] = {
        {{9007199254740992u, 0}, "9007199254740992"},
        {{9007199254740992u, 1}, "9007199254740993"},
        {{9223372036854775807u, 1}, "9223372036854775808"},
        {{18446744073709551614u, 1}, "18446744073709551615"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        metrics_rig rig;
        REQUIRE(rig_init(&rig, NULL, 0));
        sl_series *s = sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "c_total", NULL), NULL, 0);
        sl_counter_add(s, rows[i].add[0]);
        sl_counter_add(s, rows[i].add[1]);
        char wanted[64];
        snprintf(wanted, sizeof wanted, "\nc_total %s\n", rows[i].text);
        for (int format = 0; format < 2; format++)
            CHECK(sl_str_find(rig_text(&rig, (sl_prometheus_format)format), sl_str_c(wanted)) != SL_NPOS);
        rig_done(&rig);
    }
}

/* A sum that may go down is no counter: OpenMetrics has neither it nor the count, text 0.0.4 has both. */
SL_TEST(sums_of_negative_values)
{
    static const double below[] = {-1, 1}, above[] = {0, 1};
    static const struct {
        const double *bounds;
        double value;
        bool open; /* has a sum in OpenMetrics */
    } rows[] = {{above, 1, true}, {above, 0, true}, {above, -1, false}, {below, 1, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        metrics_rig rig;
        REQUIRE(rig_init(&rig, NULL, 0));
        sl_instrument_options o = {.kind = SL_HISTOGRAM, .name = "h_x", .bounds = rows[i].bounds, .bound_count = 2};
        sl_histogram_record(sl_instrument_bind(sl_instrument_new(rig.meter, &o), NULL, 0), rows[i].value);
        CHECK(rig_value(&rig, "h_x_sum") == rows[i].value && rig_value(&rig, "h_x_count") == 1);
        sl_str text = rig_text(&rig, SL_PROMETHEUS_OPENMETRICS);
        CHECK_EQ(sl_str_find(text, SL_STR("h_x_sum")) != SL_NPOS, rows[i].open);
        CHECK_EQ(sl_str_find(text, SL_STR("h_x_count")) != SL_NPOS, rows[i].open);
        CHECK(sl_str_find(text, SL_STR("h_x_bucket{le=\"+Inf\"} 1\n")) != SL_NPOS);
        rig_done(&rig);
    }
}
