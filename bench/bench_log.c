/*
 * Cost of logging, one JSON object a line: {"bench":"log_record","threads":1,"ns":270.1}. Each figure is the best of
 * several rounds; nothing is printed unless every record arrived.
 *   log_record       a call with a message, five attributes and the ids of the current span, into the ring
 *   log_contextual   the same from a logger with three contextual fields
 *   log_filtered     a call below the level
 *   log_sampled_out  a DEBUG call of which one in a thousand is kept
 *   line_text, line_json   one line made of such a record, by the writer's thread
 *   floor_clock      reading the clock once, which every record must
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/telemetry/log_line.h"
#include "src/telemetry/sdk_impl.h"

#define ROUNDS 9
#define BATCHES 100
#define BATCH 1000 /* fits into a ring */

typedef struct setup {
    sl_segment *segment;
    sl_sdk *sdk;
    sl_logger *logger;
    sl_logger *contextual;
    sl_tracer *tracer;
} setup;

static void fail(const char *what)
{
    fprintf(stderr, "bench_log: %s\n", what);
    exit(1);
}

static void start(setup *s)
{
    sl_segment_options segment = {.wake_fd = -1};
    sl_sdk_options options = {.ignore_environment = true, .debug_sample_ratio = 0.001};
    sl_attr fields[3] = {sl_attr_str("workflow_id", "7b0c2e9a"), sl_attr_str("workflow_name", "rag-pipeline"),
                         sl_attr_str("step_id", "retrieve")};
    if (sl_segment_new(&segment, &s->segment) != 0)
        fail("no segment");
    sl_sdk_internal_options internal = {.segment = s->segment, .record_only = true};
    options.log_level = SL_DEBUG;
    if (sl_sdk_new_internal(&options, &internal, &s->sdk) != 0)
        fail("no SDK");
    s->logger = sl_logger_named(s->sdk, "bench");
    s->contextual = sl_logger_with(s->logger, fields, 3);
    s->tracer = sl_tracer_named(s->sdk, "bench");
    if (!s->logger || !s->contextual || !s->tracer)
        fail("no logger");
}

static void log_once(sl_logger *logger, sl_severity severity, int64_t i)
{
    sl_attr attrs[5] = {sl_attr_str("step_type", "llm"), sl_attr_str("provider", "anthropic"),
                        sl_attr_str("model", "claude-3-5-sonnet"), sl_attr_int("duration_ms", i),
                        sl_attr_bool("cached", false)};
    sl_log(logger, severity, "Step completed successfully", attrs, 5);
}

static bool count_record(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    (void)tag, (void)data, (void)len;
    ++*(size_t *)user;
    return true;
}

typedef struct job {
    setup *s;
    sl_logger *logger;
    sl_severity severity;
    double ns; /* per call */
    pthread_barrier_t *start;
} job;

/* Logs in batches with the current span set; draining is not timed. */
static void run(job *j, bool drain)
{
    uint64_t spent = 0;
    for (int b = 0; b < BATCHES; b++) {
        uint64_t before = sl_mono_ns();
        for (int i = 0; i < BATCH; i++)
            log_once(j->logger, j->severity, i);
        spent += sl_mono_ns() - before;
        size_t count = 0;
        if (drain)
            (void)sl_segment_drain(j->s->segment, SL_RING_LOGS, count_record, &count);
        if (drain && j->severity == SL_INFO && count != BATCH)
            fail("records were lost");
    }
    j->ns = (double)spent / (BATCHES * BATCH);
}

static void *run_thread(void *user)
{
    job *j = user;
    sl_span *span = sl_span_start(j->s->tracer, SL_STR("span"), NULL);
    sl_span *before = sl_span_attach(span);
    pthread_barrier_wait(j->start);
    run(j, false);
    (void)sl_span_attach(before);
    sl_span_end(span);
    return NULL;
}

static void report(const char *bench, int threads, double ns)
{
    printf("{\"bench\":\"%s\",\"threads\":%d,\"ns\":%.2f}\n", bench, threads, ns);
}

static void measure(setup *s, const char *bench, sl_logger *logger, sl_severity severity)
{
    double best = 1e18;
    for (int i = 0; i < ROUNDS; i++) {
        job j = {s, logger, severity, 0, NULL};
        run(&j, true);
        best = j.ns < best ? j.ns : best;
    }
    report(bench, 1, best);
}

/* Two threads at once while a third drains as fast as it can. */
static void measure_threads(setup *s)
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_t barrier;
        pthread_t threads[2];
        job jobs[2] = {{s, s->logger, SL_INFO, 0, &barrier}, {s, s->logger, SL_INFO, 0, &barrier}};
        size_t count = 0;
        pthread_barrier_init(&barrier, NULL, 3);
        for (int i = 0; i < 2; i++) {
            if (pthread_create(&threads[i], NULL, run_thread, &jobs[i]) != 0)
                fail("no thread");
        }
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        (void)sl_segment_drain(s->segment, SL_RING_LOGS, count_record, &count);
        double ns = (jobs[0].ns + jobs[1].ns) / 2;
        best = ns < best ? ns : best;
        pthread_barrier_destroy(&barrier);
    }
    report("log_record_or_drop", 2, best);
}

typedef struct kept {
    uint8_t bytes[4096];
    size_t len;
} kept;

static bool keep_record(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    kept *k = user;
    (void)tag;
    if (len > sizeof k->bytes)
        fail("a record is too large");
    memcpy(k->bytes, data, len);
    k->len = len;
    return true;
}

static void measure_lines(setup *s)
{
    static const char *const names[] = {"line_text", "line_json"};
    static kept k;
    sl_buf out;
    log_once(s->contextual, SL_INFO, 1778);
    (void)sl_segment_drain(s->segment, SL_RING_LOGS, keep_record, &k);
    sl_buf_init(&out, 64u << 20);
    for (int format = 0; format < 2; format++) {
        double best = 1e18;
        for (int round = 0; round < ROUNDS; round++) {
            sl_buf_clear(&out);
            uint64_t before = sl_mono_ns();
            for (int i = 0; i < BATCH * 10; i++) {
                if (sl_log_line(sl_str_of((char *)k.bytes, k.len), (sl_log_format)format, &out) != 0)
                    fail("no line");
            }
            double ns = (double)(sl_mono_ns() - before) / (BATCH * 10);
            best = ns < best ? ns : best;
        }
        report(names[format], 1, best);
    }
    sl_buf_done(&out);
}

static void measure_clock(void)
{
    static volatile uint64_t now;
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t before = sl_mono_ns();
        for (int i = 0; i < BATCH * BATCHES; i++)
            now = sl_now_ns();
        if (now == 0)
            fail("no clock");
        double ns = (double)(sl_mono_ns() - before) / (BATCH * BATCHES);
        best = ns < best ? ns : best;
    }
    report("floor_clock", 1, best);
}

int main(void)
{
    setup s;
    start(&s);
    sl_span *span = sl_span_start(s.tracer, SL_STR("span"), NULL);
    sl_span *before = sl_span_attach(span);
    measure_clock();
    measure(&s, "log_record", s.logger, SL_INFO);
    measure(&s, "log_contextual", s.contextual, SL_INFO);
    measure(&s, "log_filtered", s.logger, SL_TRACE);
    measure(&s, "log_sampled_out", s.logger, SL_DEBUG);
    measure_lines(&s);
    (void)sl_span_attach(before);
    sl_span_end(span);
    measure_threads(&s);
    sl_sdk_free(s.sdk);
    sl_segment_free(s.segment);
    return 0;
}
