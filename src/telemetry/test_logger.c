/* Loggers: what lands in the ring, filters, sampling, limits, no memory, threads. */
#include "src/telemetry/logger.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/telemetry/log_line.h"
#include "src/telemetry/scope.h"
#include "src/wire/pb.h"
#include "tests/harness/sl_test.h"

/* An SDK that records only, into a segment of its own. */
typedef struct fixture {
    sl_segment *segment;
    sl_sdk *sdk;
} fixture;

static bool start(fixture *f, const sl_sdk_options *options)
{
    sl_segment_options segment;
    sl_sdk_internal_options internal;
    memset(&segment, 0, sizeof segment);
    segment.wake_fd = -1;
    memset(&internal, 0, sizeof internal);
    memset(f, 0, sizeof *f);
    if (sl_segment_new(&segment, &f->segment) != 0)
        return false;
    internal.segment = f->segment;
    internal.record_only = true;
    return sl_sdk_new_internal(options, &internal, &f->sdk) == 0;
}

static bool start_plain(fixture *f)
{
    sl_sdk_options options;
    memset(&options, 0, sizeof options);
    options.ignore_environment = true;
    return start(f, &options);
}

static void stop(fixture *f)
{
    sl_sdk_free(f->sdk);
    sl_segment_free(f->segment);
}

/* What was drained: text lines without their times, and the last record. */
typedef struct drained {
    sl_buf text;
    size_t count;
    uint32_t tag;
    sl_str last;
    uint8_t bytes[SL_LOG_RING_BYTES / 4];
} drained;

static bool on_record(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    drained *d = user;
    size_t before = d->text.len;
    CHECK_EQ(sl_log_line(sl_str_of((const char *)data, len), SL_LOG_TEXT, &d->text), 0);
    memmove(d->text.data + before, d->text.data + before + 25, d->text.len - before - 25);
    d->text.len -= 25;
    d->count++;
    d->tag = tag;
    CHECK(len <= sizeof d->bytes);
    memcpy(d->bytes, data, len);
    d->last = sl_str_of((char *)d->bytes, len);
    return true;
}

static drained *drain(fixture *f)
{
    static drained d;
    sl_buf_done(&d.text);
    memset(&d, 0, sizeof d);
    sl_buf_init(&d.text, 16u << 20);
    (void)sl_segment_drain(f->segment, SL_RING_LOGS, on_record, &d);
    return &d;
}

static void expect_lines(const char *file, int line, fixture *f, const char *text)
{
    drained *d = drain(f);
    sl_test_check_str(file, line, "lines", sl_buf_str(&d->text), sl_str_c(text));
    sl_buf_done(&d->text);
}
#define EXPECT_LINES(f, text) expect_lines(__FILE__, __LINE__, (f), (text))

/* A field of the last record. */
static bool find_field(sl_str record, uint32_t number, sl_pb_field *ret_field)
{
    sl_pb_reader r = sl_pb_reader_of(record);
    sl_pb_field field;
    while (sl_pb_next(&r, &field)) {
        if (field.number == number) {
            *ret_field = field;
            return true;
        }
    }
    return false;
}

SL_TEST(logger_writes_records)
{
    fixture f;
    REQUIRE(start_plain(&f));
    sl_logger *logger = sl_logger_named(f.sdk, "test");
    REQUIRE(logger != NULL);
    sl_attr attrs[3] = {sl_attr_str("workflow_id", "abc123"), sl_attr_int("duration_ms", 5), sl_attr_str("model", "m")};
    sl_log(logger, SL_INFO, "Hello", attrs, 3);
    sl_log(logger, SL_CRITICAL, "bare", NULL, 0);
    sl_log(logger, SL_WARN, NULL, NULL, 7);
    drained *d = drain(&f);
    CHECK_STR(sl_buf_str(&d->text), "INFO workflow_id=abc123 duration_ms=5 model=\"m\" message=\"Hello\"\n"
                                    "CRITICAL message=\"bare\"\nWARN message=\"\"\n");
    sl_str scope, schema, name;
    REQUIRE(sl_scope_find(f.segment, SL_TAG_SCOPE(d->tag), &scope, &schema, &name) == 0);
    CHECK_STR(name, "test");
    sl_buf_done(&d->text);
    CHECK_EQ(atomic_load(&f.sdk->logs_emitted), 3);
    stop(&f);
}

SL_TEST(logger_stamps_time_and_trace)
{
    fixture f;
    REQUIRE(start_plain(&f));
    sl_logger *logger = sl_logger_named(f.sdk, "test");
    sl_span_context context;
    memset(&context, 0, sizeof context);
    context.trace_id[15] = 9;
    context.span_id[0] = 0xAB;
    context.flags = SL_TRACE_FLAG_SAMPLED;
    sl_log_record record;
    memset(&record, 0, sizeof record);
    record.severity = SL_INFO;
    record.time_ns = 1763116245123000000u;
    record.body = sl_value_cstr("m");
    record.event_name = SL_STR("an.event");
    record.context = &context;
    uint64_t before = sl_now_ns();
    sl_log_emit(logger, &record);
    drained *d = drain(&f);
    CHECK_STR(sl_buf_str(&d->text), "INFO event_name=\"an.event\" trace_id=00000000000000000000000000000009 "
                                    "span_id=ab00000000000000 message=\"m\"\n");
    sl_pb_field field;
    REQUIRE(find_field(d->last, 1, &field));
    CHECK_EQ(field.value, record.time_ns);
    REQUIRE(find_field(d->last, 11, &field));
    CHECK(field.value >= before && field.value <= sl_now_ns());
    REQUIRE(find_field(d->last, 8, &field));
    CHECK_EQ(field.value, 1);
    /* A context that is none leaves no trace. */
    memset(&context, 0, sizeof context);
    record.event_name = sl_str_of(NULL, 0);
    sl_log_emit(logger, &record);
    EXPECT_LINES(&f, "INFO message=\"m\"\n");
    stop(&f);
}

SL_TEST(logger_takes_the_current_span)
{
    fixture f;
    REQUIRE(start_plain(&f));
    sl_logger *logger = sl_logger_named(f.sdk, "test");
    sl_span *span = sl_span_start(sl_tracer_named(f.sdk, "test"), SL_STR("s"), NULL);
    REQUIRE(span != NULL);
    sl_span_context context;
    sl_span_get_context(span, &context);
    sl_span *before = sl_span_attach(span);
    sl_log(logger, SL_INFO, "in", NULL, 0);
    (void)sl_span_attach(before);
    sl_log(logger, SL_INFO, "out", NULL, 0);
    char trace[33] = "", id[17] = "", want[200];
    sl_hex_encode(context.trace_id, 16, trace);
    sl_hex_encode(context.span_id, 8, id);
    snprintf(want, sizeof want, "INFO trace_id=%s span_id=%s message=\"in\"\nINFO message=\"out\"\n", trace, id);
    EXPECT_LINES(&f, want);
    sl_span_end(span);
    stop(&f);
}

SL_TEST(logger_filters_levels)
{
    fixture f;
    sl_sdk_options options;
    memset(&options, 0, sizeof options);
    options.ignore_environment = true;
    options.log_level = SL_WARN;
    REQUIRE(start(&f, &options));
    sl_logger *logger = sl_logger_named(f.sdk, "test");
    static const sl_severity levels[] = {SL_TRACE, SL_DEBUG, SL_INFO, SL_WARN, SL_ERROR_LEVEL, SL_CRITICAL};
    for (size_t i = 0; i < 6; i++) {
        CHECK_EQ(sl_log_enabled(logger, levels[i]), i >= 3);
        sl_log(logger, levels[i], "m", NULL, 0);
    }
    CHECK(sl_log_enabled(logger, SL_SEVERITY_UNSET));
    sl_log(logger, SL_SEVERITY_UNSET, "unset", NULL, 0);
    EXPECT_LINES(&f, "WARN message=\"m\"\nERROR message=\"m\"\nCRITICAL message=\"m\"\nINFO message=\"unset\"\n");
    atomic_store(&f.sdk->recording, false);
    CHECK(!sl_log_enabled(logger, SL_CRITICAL));
    sl_log(logger, SL_CRITICAL, "m", NULL, 0);
    EXPECT_LINES(&f, "");
    atomic_store(&f.sdk->recording, true);
    stop(&f);
}

SL_TEST(logger_accepts_nothing)
{
    CHECK(sl_logger_get(NULL, NULL) == NULL);
    CHECK(sl_logger_named(NULL, "x") == NULL);
    CHECK(sl_logger_with(NULL, NULL, 0) == NULL);
    CHECK(!sl_log_enabled(NULL, SL_CRITICAL));
    sl_log(NULL, SL_INFO, "m", NULL, 0);
    sl_log_emit(NULL, NULL);
    sl_logger_free(NULL);
    sl_loggers_free(NULL);
    fixture f;
    REQUIRE(start_plain(&f));
    sl_logger *logger = sl_logger_get(f.sdk, NULL);
    REQUIRE(logger != NULL);
    sl_log_emit(logger, NULL);
    sl_logger_free(logger); /* the SDK's: stays */
    CHECK(sl_logger_get(f.sdk, NULL) == logger);
    CHECK(sl_logger_named(f.sdk, "x") != logger);
    CHECK(sl_logger_named(f.sdk, "x") == sl_logger_named(f.sdk, "x"));
    EXPECT_LINES(&f, "");
    stop(&f);
}

SL_TEST(logger_with_fields)
{
    fixture f;
    REQUIRE(start_plain(&f));
    sl_logger *base = sl_logger_named(f.sdk, "test");
    sl_attr outer[2] = {sl_attr_str("workflow_id", "w1"), sl_attr_str("workflow_name", "rag")};
    sl_attr inner[2] = {sl_attr_str("step_id", "s1"), sl_attr_str("workflow_name", "other")};
    sl_attr own[2] = {sl_attr_str("model", "m"), sl_attr_str("step_id", "mine")};
    sl_logger *workflow = sl_logger_with(base, outer, 2);
    sl_logger *step = sl_logger_with(workflow, inner, 2);
    REQUIRE(workflow && step);
    sl_log(workflow, SL_INFO, "a", NULL, 0);
    sl_log(step, SL_INFO, "b", own, 1);
    sl_log(step, SL_INFO, "c", own, 2);
    sl_log(base, SL_INFO, "d", own, 1);
    EXPECT_LINES(&f, "INFO workflow_id=w1 workflow_name=\"rag\" message=\"a\"\n"
                     "INFO workflow_id=w1 step_id=\"s1\" workflow_name=\"other\" model=\"m\" message=\"b\"\n"
                     "INFO workflow_id=w1 workflow_name=\"other\" model=\"m\" step_id=\"mine\" message=\"c\"\n"
                     "INFO model=\"m\" message=\"d\"\n");
    sl_logger_free(workflow); /* its child has its own copy */
    sl_log(step, SL_INFO, "e", NULL, 0);
    EXPECT_LINES(&f, "INFO workflow_id=w1 step_id=\"s1\" workflow_name=\"other\" message=\"e\"\n");
    sl_logger *nothing = sl_logger_with(step, NULL, 3);
    REQUIRE(nothing != NULL);
    sl_log(nothing, SL_INFO, "f", NULL, 0);
    EXPECT_LINES(&f, "INFO workflow_id=w1 step_id=\"s1\" workflow_name=\"other\" message=\"f\"\n");
    stop(&f); /* frees what was not freed */
}

SL_TEST(logger_keeps_keys_unique)
{
    fixture f;
    REQUIRE(start_plain(&f));
    sl_logger *logger = sl_logger_named(f.sdk, "test");
    sl_attr attrs[5] = {sl_attr_int("a", 1), sl_attr_int("b", 2), sl_attr_int("a", 3), sl_attr_int("", 4),
                        sl_attr_int("a", 5)};
    sl_log(logger, SL_INFO, "m", attrs, 5);
    drained *d = drain(&f);
    CHECK_STR(sl_buf_str(&d->text), "INFO b=2 a=5 message=\"m\"\n");
    sl_pb_field field;
    REQUIRE(find_field(d->last, 7, &field));
    CHECK_EQ(field.value, 1); /* the empty key */
    sl_buf_done(&d->text);
    stop(&f);
}

SL_TEST(logger_limits_attributes)
{
    fixture f;
    sl_sdk_options options;
    memset(&options, 0, sizeof options);
    options.ignore_environment = true;
    options.log_limits.attr_count = 4;
    options.log_limits.attr_value_chars = 5;
    REQUIRE(start(&f, &options));
    sl_attr context[2] = {sl_attr_str("c1", "abcdefgh"), sl_attr_int("c2", 2)};
    sl_logger *logger = sl_logger_with(sl_logger_named(f.sdk, "test"), context, 2);
    char long_key[300];
    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    sl_attr attrs[4] = {sl_attr_int(long_key, 0), sl_attr_str("x", "\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4"),
                        sl_attr_int("y", 1), sl_attr_int("z", 1)};
    sl_log(logger, SL_INFO, "the body is not cut", attrs, 4);
    drained *d = drain(&f);
    CHECK_STR(sl_buf_str(&d->text), "INFO c1=\"abcde\" c2=2 x=\"\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\" y=1 "
                                    "message=\"the body is not cut\"\n");
    sl_pb_field field;
    REQUIRE(find_field(d->last, 7, &field));
    CHECK_EQ(field.value, 2);
    sl_buf_done(&d->text);
    stop(&f);
}

/* Length of the message and number of attributes of the last record. */
static void measure(drained *d, size_t *ret_body, size_t *ret_attrs)
{
    sl_pb_reader r = sl_pb_reader_of(d->last);
    sl_pb_field field;
    *ret_body = *ret_attrs = 0;
    while (sl_pb_next(&r, &field)) {
        if (field.number == 5)
            *ret_body = field.bytes.len;
        *ret_attrs += field.number == 6;
    }
    CHECK_EQ(r.error, 0);
}

SL_TEST(logger_cuts_what_is_too_big)
{
    static const size_t sizes[] = {100, 1900, 1990, 2040, 2100, 16000, 17000, 90000, 200000, 1000000};
    fixture f;
    REQUIRE(start_plain(&f));
    sl_attr context[1] = {sl_attr_str("c", "context")};
    sl_logger *logger = sl_logger_with(sl_logger_named(f.sdk, "test"), context, 1);
    char *text = malloc(1000001);
    REQUIRE(text != NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(text, 'x', sizes[i]);
        text[sizes[i]] = '\0';
        sl_attr attrs[1] = {sl_attr_int("a", 1)};
        sl_log(logger, SL_INFO, text, attrs, 1);
        drained *d = drain(&f);
        size_t body, count;
        CHECK_EQ(d->count, 1);
        measure(d, &body, &count);
        CHECK_EQ(count, 2);
        CHECK(sizes[i] > 90000 ? body > 40000 && body < sizes[i] : body >= sizes[i]);
        sl_buf_done(&d->text);
        /* As an attribute it is kept whole or dropped, and the rest stays. */
        attrs[0] = sl_attr_str("big", text);
        sl_log(logger, SL_INFO, "m", attrs, 1);
        d = drain(&f);
        measure(d, &body, &count);
        CHECK_EQ(count, sizes[i] > 90000 ? 1 : 2);
        sl_buf_done(&d->text);
    }
    free(text);
    stop(&f);
}

SL_TEST(logger_survives_no_memory)
{
    fixture f;
    REQUIRE(start_plain(&f));
    static char text[50000];
    memset(text, 'x', sizeof text - 1);
    for (long n = 0; n < 20; n++) {
        sl_attr attrs[2] = {sl_attr_str("k", "v"), sl_attr_int("i", 1)};
        sl_test_fail_alloc(n);
        sl_logger *logger = sl_logger_named(f.sdk, "fresh");
        sl_logger *with = sl_logger_with(logger, attrs, 2);
        sl_log(with ? with : logger, SL_INFO, text, attrs, 2);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        sl_logger_free(with);
        drained *d = drain(&f);
        CHECK(d->count <= 1);
        if (d->count) {
            size_t body, count;
            measure(d, &body, &count);
            CHECK(body > 500);
        }
        sl_buf_done(&d->text);
        if (!failed)
            break;
    }
    stop(&f);
}

SL_TEST(logger_counts_what_does_not_fit)
{
    fixture f;
    REQUIRE(start_plain(&f));
    sl_logger *logger = sl_logger_named(f.sdk, "test");
    for (int i = 0; i < 20000; i++)
        sl_log(logger, SL_INFO, "a message of some length, to fill the ring before the loop ends", NULL, 0);
    sl_ring_stats stats;
    sl_segment_ring_stats(f.segment, SL_RING_LOGS, &stats);
    CHECK_EQ(stats.written + stats.dropped, 20000);
    CHECK(stats.dropped > 0 && stats.written > 1000);
    drained *d = drain(&f);
    CHECK_EQ(d->count, stats.written);
    sl_buf_done(&d->text);
    stop(&f);
}

/* ---- sampling ---- */

static double next_random(void *user)
{
    return sl_rng_double(user);
}

SL_TEST(log_sampler_is_exact)
{
    static const double ratios[] = {0.001, 0.01, 0.1, 0.25, 1.0 / 3, 0.5, 0.7, 0.9, 0.999};
    for (size_t i = 0; i < sizeof ratios / sizeof *ratios; i++) {
        sl_rng rng;
        sl_log_sampler sampler;
        memset(&sampler, 0, sizeof sampler);
        sl_rng_init_seed(&rng, i);
        size_t kept = 0, odd = 0;
        for (int n = 1; n <= 100000; n++) {
            bool keep = sl_log_sampler_keep(&sampler, ratios[i], next_random, &rng);
            kept += keep;
            odd += keep && n % 2;
            double want = n * ratios[i];
            if ((double)kept > want + 2.5 || (double)kept < want - 2.5) {
                sl_test_failed(__FILE__, __LINE__, "%zu kept of %d at %g", kept, n, ratios[i]);
                return;
            }
        }
        /* Two alternating messages get equal shares: the sampler does not step with the caller. */
        CHECK(odd * 100 > kept * 40 && odd * 100 < kept * 60);
    }
}

SL_TEST(logger_samples_debug_only)
{
    fixture f;
    sl_sdk_options options;
    memset(&options, 0, sizeof options);
    options.ignore_environment = true;
    options.log_level = SL_TRACE;
    options.debug_sample_ratio = 0.1;
    REQUIRE(start(&f, &options));
    sl_logger *logger = sl_logger_named(f.sdk, "test");
    for (int i = 0; i < 1000; i++) {
        sl_log(logger, i % 2 ? SL_DEBUG : SL_TRACE, "d", NULL, 0);
        sl_log(logger, SL_INFO, "i", NULL, 0);
    }
    drained *d = drain(&f);
    CHECK(d->count >= 1098 && d->count <= 1102);
    sl_buf_done(&d->text);
    stop(&f);
}

/* ---- threads ---- */

static void *log_many(void *user)
{
    sl_logger *base = user;
    for (int i = 0; i < 500; i++) {
        sl_attr attrs[1] = {sl_attr_int("i", i)};
        sl_logger *with = sl_logger_with(base, attrs, 1);
        sl_log(with, SL_INFO, "m", NULL, 0);
        sl_logger_free(with);
    }
    return NULL;
}

SL_TEST(logger_serves_threads)
{
    fixture f;
    REQUIRE(start_plain(&f));
    sl_logger *base = sl_logger_named(f.sdk, "test");
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, log_many, base) == 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    drained *d = drain(&f);
    CHECK_EQ(d->count, 2000);
    sl_buf_done(&d->text);
    stop(&f);
}
