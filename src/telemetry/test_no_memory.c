/*
 * The public functions of context.h, trace.h and log.h with every allocation failing in turn: each refuses as its
 * header says, touches no out-parameter, leaks nothing, and works again afterwards. Health: test_health.c.
 */
#include <sightline/log.h>
#include <sightline/trace.h>

#include <stdio.h>

#include "src/telemetry/logger.h"
#include "src/telemetry/test_sdk_fixture.h"
#include "src/wire/pb.h"

#define MOST_ALLOCATIONS 200

/* Runs `body` with allocation 0, 1, 2 … failing, until one run needs none of the failing kind. */
static void fail_each(void (*body)(void))
{
    long n = 0;
    for (bool failed = true; failed && n < MOST_ALLOCATIONS; n++) {
        sl_test_fail_alloc(n);
        body();
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
    }
    CHECK(n > 1 && n < MOST_ALLOCATIONS);
}

/* ---- context.h ---- */

static void use_baggage(void)
{
    sl_baggage *untouched = (sl_baggage *)8, *parsed = untouched;
    int error = sl_baggage_parse(SL_STR("a=1,b=%C3%A4;p=q,c=3"), &parsed);
    CHECK(error ? error == SL_ENOMEM && parsed == untouched : sl_baggage_count(parsed) == 3);
    if (error)
        return;
    error = sl_baggage_set(parsed, SL_STR("b"), SL_STR("new"), SL_STR("x"));
    CHECK(error == 0 || error == SL_ENOMEM);
    CHECK_STR(sl_baggage_get(parsed, SL_STR("b")), error ? "\xC3\xA4" : "new");
    error = sl_baggage_set(parsed, SL_STR("d"), SL_STR("4"), SL_STR(""));
    CHECK_EQ(sl_baggage_count(parsed), error ? 3 : 4);
    sl_baggage *copy = sl_baggage_copy(parsed);
    CHECK(!copy || sl_baggage_count(copy) == sl_baggage_count(parsed));
    char text[8192];
    size_t len = 0;
    CHECK_EQ(sl_baggage_format(parsed, text, sizeof text, &len), 0); /* needs no memory */
    CHECK(len > 0);
    sl_baggage_free(copy);
    sl_baggage_free(parsed);
}

SL_TEST(baggage_without_memory)
{
    fail_each(use_baggage);
}

static sl_str give_header(void *user, sl_str name)
{
    (void)user;
    if (sl_str_eq_c(name, "traceparent"))
        return SL_STR("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    return sl_str_eq_c(name, "baggage") ? SL_STR("k=v,l=w") : sl_str_of(NULL, 0);
}

static void extract(void)
{
    sl_span_context context;
    sl_baggage *baggage = NULL;
    CHECK_EQ(sl_propagation_extract(NULL, give_header, NULL, NULL, 0, &context, &baggage), 0);
    CHECK(sl_span_context_is_valid(&context)); /* the parent is never lost for want of memory */
    CHECK(baggage ? sl_baggage_count(baggage) == 2 : sl_test_alloc_failed());
    sl_baggage_free(baggage);
}

SL_TEST(extraction_without_memory)
{
    fail_each(extract);
}

/* ---- trace.h ---- */

static sl_test_sdk sdk;

/* A span too large for its own room, so that buffer and index grow on the heap. */
static void use_span(sl_tracer *tracer)
{
    static char big[9000];
    memset(big, 'x', sizeof big - 1);
    sl_attr event_attr = sl_attr_of("e", sl_value_str(sl_str_of(big, 3000)));
    sl_link link;
    memset(&link, 0, sizeof link);
    memset(link.context.trace_id, 7, SL_TRACE_ID_SIZE);
    memset(link.context.span_id, 7, SL_SPAN_ID_SIZE);
    link.attrs = &event_attr;
    link.attr_count = 1;
    sl_span *span = sl_span_start(tracer, SL_STR("first"), NULL);
    if (!span)
        return;
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        sl_span_set_int(span, key, i);
    }
    sl_span_set(span, SL_STR("big"), sl_value_str(sl_str_of(big, sizeof big - 1)));
    sl_span_add_event(span, SL_STR("event"), 0, &event_attr, 1);
    sl_span_add_link(span, &link);
    sl_span_set_name(span, SL_STR("second"));
    sl_span_set_status(span, SL_STATUS_ERROR, big);
    sl_span_end(span);
}

static void use_trace(void)
{
    sl_span_thread_trim(); /* else the pool would serve the span objects */
    sl_tracer *tracer = sl_tracer_named(&sdk.sdk, "no memory");
    use_span(tracer);
    sl_span_end(sl_span_start(NULL, SL_STR("none"), NULL));
}

typedef struct seen {
    size_t records;
    bool readable;
} seen;

static bool look_at_span(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    seen *s = user;
    (void)tag;
    sl_pb_reader r = sl_pb_reader_of(sl_str_of((const char *)data, len));
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
    }
    s->readable = s->readable && !r.error;
    s->records++;
    return true;
}

static void check_records(sl_ring_kind kind)
{
    seen s = {0, true};
    (void)sl_segment_drain(sdk.sdk.segment, kind, look_at_span, &s);
    CHECK(s.records > 0 && s.readable);
}

SL_TEST(spans_without_memory)
{
    sl_test_sdk_init(&sdk, NULL);
    fail_each(use_trace);
    check_records(SL_RING_SPANS);
    sl_test_sdk_done(&sdk);
}

/* ---- log.h ---- */

static void use_log(void)
{
    static char big[60000];
    memset(big, 'y', sizeof big);
    sl_attr attrs[2] = {sl_attr_str("a", "b"), sl_attr_of("big", sl_value_str(sl_str_of(big, sizeof big)))};
    sl_logger *logger = sl_logger_named(&sdk.sdk, "no memory");
    sl_logger *with = sl_logger_with(logger, attrs, 1);
    sl_log(with ? with : logger, SL_INFO, "small", attrs, 1);
    sl_log(logger, SL_ERROR_LEVEL, "large", attrs, 2);
    sl_logger_free(with);
}

SL_TEST(logs_without_memory)
{
    sl_test_sdk_init(&sdk, NULL);
    fail_each(use_log);
    check_records(SL_RING_LOGS);
    sl_loggers_free(&sdk.sdk);
    sl_test_sdk_done(&sdk);
}
