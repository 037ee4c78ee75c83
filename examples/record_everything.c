/*
 * Records one of everything: each span kind, attribute type, event, link and status; each instrument; each log level.
 *
 * It exports where the OTEL_* variables say, so it is a quick way to see what a backend makes of each kind of data:
 *
 *     OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 ./record_everything
 *
 * All names, values and times are fixed, except the ids, which are printed as one JSON object.
 * interop/checks/recorded.py holds the same data a second time, as what must arrive.
 */
#include <sightline/sightline.h>
#include <stdio.h>

#define T0 1700000000000000000ull /* 14 November 2023, in Unix nanoseconds */
#define MS 1000000ull

static void print_span(const char *name, const sl_span *span)
{
    sl_span_context c;
    sl_span_get_context(span, &c);
    char text[SL_TRACEPARENT_LEN + 1];
    sl_traceparent_format(&c, text);
    printf(",\n \"%s\": {\"trace_id\": \"%.32s\", \"span_id\": \"%.16s\", \"flags\": %d}", name, text + 3, text + 36,
           c.flags);
}

/* A root span that holds every type of value. */
static void record_values(sl_tracer *tracer)
{
    static const unsigned char raw[] = {0x00, 0xff, 0x10};
    const sl_value words[] = {sl_value_cstr("one"), sl_value_cstr("zw\xc3\xb6lf"), sl_value_cstr("")};
    const sl_value deep[] = {sl_value_int(1), sl_value_cstr("two"), sl_value_double(3.5), sl_value_empty()};
    const sl_attr inner[] = {sl_attr_of("deep", sl_value_array(deep, 4)), sl_attr_bool("yes", true)};
    const sl_attr outer[] = {sl_attr_of("inner", sl_value_map(inner, 2)), sl_attr_int("n", -1)};
    const sl_attr attrs[] = {
        sl_attr_str("text", "gr\xc3\xbc\xc3\x9f dich \xe2\x9c\x93"),
        sl_attr_str("text.empty", ""),
        sl_attr_bool("true", true),
        sl_attr_bool("false", false),
        sl_attr_int("zero", 0),
        sl_attr_int("minus", -42),
        sl_attr_int("max", INT64_MAX),
        sl_attr_int("min", INT64_MIN),
        sl_attr_double("half", 0.5),
        sl_attr_double("big", -1e300),
        sl_attr_of("bytes", sl_value_bytes(raw, sizeof raw)),
        sl_attr_of("words", sl_value_array(words, 3)),
        sl_attr_of("nothing", sl_value_array(NULL, 0)),
        sl_attr_of("map", sl_value_map(outer, 2)),
    };
    sl_span_options options = {
        .root = true, .start_ns = T0, .attrs = attrs, .attr_count = sizeof attrs / sizeof *attrs};
    sl_span *span = sl_span_start(tracer, SL_STR("values"), &options);
    sl_span_set_str(span, "later", "first");
    sl_span_set_str(span, "later", "second"); /* replaces */
    print_span("values", span);
    sl_span_end_at(span, T0 + 5 * MS);
}

/* One attribute more than the limit allows, and then one more. */
static void record_limits(sl_tracer *tracer)
{
    sl_span_options options = {.root = true, .start_ns = T0};
    sl_span *span = sl_span_start(tracer, SL_STR("limits"), &options);
    for (int i = 0; i < 130; i++) {
        char key[16];
        snprintf(key, sizeof key, "key.%03d", i);
        sl_span_set_int(span, key, i);
    }
    print_span("limits", span);
    sl_span_end_at(span, T0 + 1);
}

/* A client call inside a server span: events, links, an error. */
static void record_client(sl_tracer *tracer, const sl_span *server)
{
    sl_span_options options = {.kind = SL_SPAN_CLIENT, .parent = server, .start_ns = T0 + 2 * MS};
    sl_span *span = sl_span_start(tracer, SL_STR("client"), &options);
    const sl_attr attrs[] = {sl_attr_int("attempt", 2), sl_attr_str("why", "slow")};
    sl_span_add_event(span, SL_STR("retry"), T0 + 3 * MS, attrs, 2);
    sl_span_add_event(span, SL_STR("first token"), T0 + 4 * MS, NULL, 0);
    sl_link link = {.attrs = attrs, .attr_count = 1};
    memset(link.context.trace_id, 0xab, SL_TRACE_ID_SIZE);
    memset(link.context.span_id, 0xcd, SL_SPAN_ID_SIZE);
    link.context.flags = SL_TRACE_FLAG_SAMPLED;
    link.context.tracestate = SL_STR("linked=1");
    sl_span_add_link(span, &link);
    sl_span_set_status(span, SL_STATUS_ERROR, "upstream is gone");
    print_span("client", span);
    sl_span_end_at(span, T0 + 6 * MS);
}

/* A producer and its consumer, in traces of their own, joined by a link. */
static void record_messages(sl_tracer *tracer)
{
    sl_span_options options = {.root = true, .kind = SL_SPAN_PRODUCER, .start_ns = T0};
    sl_span *producer = sl_span_start(tracer, SL_STR("producer"), &options);
    sl_link link = {.attr_count = 0};
    sl_span_get_context(producer, &link.context);
    options.kind = SL_SPAN_CONSUMER;
    options.start_ns = T0 + 7 * MS;
    options.links = &link;
    options.link_count = 1;
    sl_span *consumer = sl_span_start(tracer, SL_STR("to be renamed"), &options);
    sl_span_set_name(consumer, SL_STR("consumer"));
    sl_span_set_status(consumer, SL_STATUS_OK, NULL);
    print_span("producer", producer);
    print_span("consumer", consumer);
    sl_span_end_at(consumer, T0 + 8 * MS);
    sl_span_end_at(producer, T0 + 9 * MS);
}

static void observe(void *user, sl_observer *observer)
{
    const sl_attr attr = sl_attr_str("from", "callback");
    sl_observe(observer, *(const double *)user, &attr, 1);
}

static sl_series *series(sl_meter *meter, sl_instrument_options options, const char *value)
{
    const sl_attr attr = sl_attr_str("k", value);
    return sl_instrument_bind(sl_instrument_new(meter, &options), &attr, value ? 1 : 0);
}

static int record_callbacks(sl_meter *meter)
{
    static double total = 9, level = 2.5;
    sl_instrument_options counter = {.kind = SL_COUNTER, .name = "test.async.counter", .unit = "{item}"};
    sl_instrument_options gauge = {.kind = SL_GAUGE, .name = "test.async.gauge", .unit = "m", .is_double = true};
    int rc = sl_instrument_on_collect(sl_instrument_new(meter, &counter), observe, &total);
    return rc ? rc : sl_instrument_on_collect(sl_instrument_new(meter, &gauge), observe, &level);
}

static void record_histogram(sl_meter *meter, const sl_span_context *exemplar)
{
    static const double bounds[] = {1, 10, 100};
    sl_instrument_options options = {.kind = SL_HISTOGRAM,
                                     .name = "test.histogram",
                                     .unit = "ms",
                                     .description = "How long it took.",
                                     .bounds = bounds,
                                     .bound_count = 3};
    sl_series *s = series(meter, options, "a");
    const double values[] = {0.5, 1, 5, 500};
    for (int i = 0; i < 4; i++)
        sl_histogram_record_in(s, values[i], NULL);
    sl_histogram_record_in(s, 50, exemplar);
}

static void record_metrics(sl_meter *meter, const sl_span_context *exemplar)
{
    sl_instrument_options counter = {
        .kind = SL_COUNTER, .name = "test.counter", .unit = "{item}", .description = "Items counted."};
    sl_instrument_options seconds = {.kind = SL_COUNTER, .name = "test.seconds", .unit = "s", .is_double = true};
    sl_instrument_options updown = {.kind = SL_UPDOWN_COUNTER, .name = "test.updown"};
    sl_instrument_options gauge = {.kind = SL_GAUGE, .name = "test.gauge", .unit = "Cel", .is_double = true};
    sl_instrument_options whole = {.kind = SL_GAUGE, .name = "test.gauge.int"};
    sl_counter_add(series(meter, counter, "a"), 5);
    sl_counter_add(series(meter, counter, "a"), 7);
    sl_counter_add(series(meter, counter, "b"), 1);
    sl_counter_add_double(series(meter, seconds, NULL), 1.25);
    sl_counter_add_double(series(meter, seconds, NULL), 2.5);
    sl_updown_add(series(meter, updown, NULL), 4);
    sl_updown_add(series(meter, updown, NULL), -7);
    sl_gauge_set_double(series(meter, gauge, NULL), 1);
    sl_gauge_set_double(series(meter, gauge, NULL), 36.5);
    sl_gauge_set(series(meter, whole, NULL), -17);
    record_histogram(meter, exemplar);
}

static void record_logs(sl_logger *logger, const sl_span_context *context)
{
    static const sl_severity levels[] = {SL_TRACE, SL_DEBUG, SL_INFO, SL_WARN, SL_ERROR_LEVEL, SL_CRITICAL};
    const sl_attr attrs[] = {sl_attr_str("workflow_name", "rag-pipeline"), sl_attr_int("step", 3)};
    for (unsigned i = 0; i < 6; i++) {
        sl_log_record record = {.severity = levels[i], .time_ns = T0 + i * MS, .body = sl_value_cstr("a message")};
        record.attrs = attrs;
        record.attr_count = i % 3;
        record.context = i >= 3 ? context : NULL;
        sl_log_emit(logger, &record);
    }
    const sl_attr parts[] = {sl_attr_str("role", "user"), sl_attr_double("score", 0.25)};
    sl_log_record event = {.severity = SL_INFO,
                           .time_ns = T0 + 10 * MS,
                           .body = sl_value_map(parts, 2),
                           .event_name = SL_STR("test.event")};
    sl_log_emit(logger, &event);
}

static int record_all(sl_sdk *sdk)
{
    const sl_attr scope_attr = sl_attr_str("scope.attr", "s");
    sl_scope_options scope = {SL_STR("interop"), SL_STR("1.2.3"), SL_STR("https://example.org/schema/1"), &scope_attr,
                              1};
    sl_tracer *tracer = sl_tracer_get(sdk, &scope);
    sl_span_context remote;
    int rc = sl_traceparent_parse(SL_STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), &remote);
    if (rc)
        return rc;
    remote.tracestate = SL_STR("vendor=value,other=1");
    sl_span_options options = {.kind = SL_SPAN_SERVER, .parent_context = &remote, .start_ns = T0 + MS};
    sl_span *server = sl_span_start(tracer, SL_STR("server"), &options);
    sl_span_context context;
    sl_span_get_context(server, &context);
    printf("{\"t0\": %llu", T0);
    print_span("server", server);
    record_values(tracer);
    record_limits(tracer);
    record_client(tracer, server);
    record_messages(tracer);
    record_metrics(sl_meter_get(sdk, &scope), &context);
    record_logs(sl_logger_get(sdk, &scope), &context);
    sl_span_end_at(server, T0 + 10 * MS);
    printf("\n}\n");
    return record_callbacks(sl_meter_get(sdk, &scope));
}

static void on_error(void *user, int error, const char *message)
{
    (void)user;
    fprintf(stderr, "record_everything: %s: %s\n", sl_strerror(error), message);
}

int main(void)
{
    const sl_attr resource[] = {sl_attr_str("test.suite", "interop"), sl_attr_int("test.run", 7)};
    sl_sdk_options options = {.service_name = "record-everything",
                              .resource_attrs = resource,
                              .resource_attr_count = 2,
                              .log_level = SL_TRACE,
                              .on_error = on_error};
    sl_sdk *sdk = NULL;
    int rc = sl_sdk_new(&options, &sdk);
    if (rc == 0)
        rc = record_all(sdk);
    if (rc == 0)
        rc = sl_sdk_flush(sdk, 10000);
    if (rc == 0)
        rc = sl_sdk_shutdown(sdk, 10000);
    sl_sdk_free(sdk);
    if (rc)
        fprintf(stderr, "record_everything: %s\n", sl_strerror(rc));
    return rc ? 1 : 0;
}
