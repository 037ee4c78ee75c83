/*
 * Cost of recording and of exposition, one JSON object a line: {"bench":"counter_add","threads":1,"ns":1.2}.
 * Each figure is the best of several rounds. Recording is measured in CPU time of the recording thread, so that a busy
 * machine does not change it; exposition in elapsed time.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sightline/sdk.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/telemetry/collect.h"
#include "src/telemetry/vocab.h"

#define ROUNDS 7
#define OPS 20000000ull

typedef struct job {
    sl_series *series;
    void (*run)(sl_series *series, uint64_t ops);
    uint64_t ops;
    uint64_t ns;
    pthread_barrier_t *start;
} job;

static void run_counter(sl_series *series, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++)
        sl_counter_add(series, 1);
}

static void run_counter_double(sl_series *series, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++)
        sl_counter_add_double(series, 0.5);
}

static void run_gauge(sl_series *series, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++)
        sl_gauge_set(series, (int64_t)i);
}

static void run_histogram(sl_series *series, uint64_t ops)
{
    double value = 0.003;
    for (uint64_t i = 0; i < ops; i++) {
        sl_histogram_record(series, value);
        value = value > 90 ? 0.003 : value * 1.37;
    }
}

static void run_histogram_in(sl_series *series, uint64_t ops)
{
    sl_span_context context = {.flags = SL_TRACE_FLAG_SAMPLED};
    memset(context.trace_id, 1, sizeof context.trace_id);
    memset(context.span_id, 2, sizeof context.span_id);
    for (uint64_t i = 0; i < ops; i++)
        sl_histogram_record_in(series, (double)(i & 63), &context);
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *thread_main(void *user)
{
    job *j = user;
    j->run(j->series, 1000);
    pthread_barrier_wait(j->start);
    uint64_t start = thread_cpu_ns();
    j->run(j->series, j->ops);
    j->ns = thread_cpu_ns() - start;
    return NULL;
}

static void measure(const char *name, sl_series *series, void (*run)(sl_series *, uint64_t), int threads, uint64_t ops)
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t ids[8];
        job jobs[8];
        pthread_barrier_t start;
        pthread_barrier_init(&start, NULL, (unsigned)threads);
        double sum = 0;
        for (int t = 0; t < threads; t++) {
            jobs[t] = (job){series, run, ops, 0, &start};
            if (pthread_create(&ids[t], NULL, thread_main, &jobs[t]) != 0)
                abort();
        }
        for (int t = 0; t < threads; t++) {
            pthread_join(ids[t], NULL);
            sum += (double)jobs[t].ns / (double)ops;
        }
        pthread_barrier_destroy(&start);
        best = sum / threads < best ? sum / threads : best;
    }
    printf("{\"bench\":\"%s\",\"threads\":%d,\"ns\":%.3f}\n", name, threads, best);
    fflush(stdout);
}

static sl_instrument *declare(sl_meter *meter, sl_instrument_kind kind, const char *name, bool is_double)
{
    static const double bounds[] = {.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92};
    sl_instrument_options options = {.kind = kind,
                                     .name = name,
                                     .is_double = is_double,
                                     .description = "Bench.",
                                     .bounds = kind == SL_HISTOGRAM ? bounds : NULL,
                                     .bound_count = kind == SL_HISTOGRAM ? 14 : 0,
                                     .max_series = 20000};
    return sl_instrument_new(meter, &options);
}

static void bench_recording(sl_meter *meter)
{
    const sl_attr attrs[] = {sl_attr_str("model", "m"), sl_attr_str("status", "200"), sl_attr_str("method", "POST")};
    sl_series *counter = sl_instrument_bind(declare(meter, SL_COUNTER, "bench_total", false), attrs, 3);
    sl_series *seconds = sl_instrument_bind(declare(meter, SL_COUNTER, "bench_seconds_total", true), attrs, 3);
    sl_series *gauge = sl_instrument_bind(declare(meter, SL_GAUGE, "bench_gauge", false), attrs, 3);
    sl_series *histogram = sl_instrument_bind(declare(meter, SL_HISTOGRAM, "bench_duration", false), attrs, 3);
    for (int threads = 1; threads <= 2; threads++) {
        measure("counter_add", counter, run_counter, threads, OPS);
        measure("counter_add_double", seconds, run_counter_double, threads, OPS);
        measure("gauge_set", gauge, run_gauge, threads, OPS / 10);
        measure("histogram_record_14", histogram, run_histogram, threads, OPS);
        measure("histogram_record_in_sampled", histogram, run_histogram_in, threads, OPS / 4);
    }
}

static void bench_bind(sl_meter *meter)
{
    sl_instrument *instrument = declare(meter, SL_COUNTER, "bench_bound_total", false);
    const sl_attr attrs[] = {sl_attr_str("model", "m"), sl_attr_str("status", "200"), sl_attr_str("method", "POST")};
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = sl_mono_ns(), ops = 300000;
        for (uint64_t i = 0; i < ops; i++)
            sl_instrument_record(instrument, 1, attrs, 3);
        double ns = (double)(sl_mono_ns() - start) / (double)ops;
        best = ns < best ? ns : best;
    }
    printf("{\"bench\":\"unbound_record_3_attrs\",\"threads\":1,\"ns\":%.1f}\n", best);
}

/* Exposition of 10,000 counters with three labels. */
static void bench_exposition(sl_sdk *sdk, sl_meter *meter)
{
    sl_instrument *instrument = declare(meter, SL_COUNTER, "bench_many_total", false);
    const int count = 10000;
    for (int i = 0; i < count; i++) {
        char user[32];
        snprintf(user, sizeof user, "user-%05d", i);
        const sl_attr attrs[] = {sl_attr_str("user", user), sl_attr_str("status", "200"),
                                 sl_attr_str("method", "POST")};
        sl_counter_add(sl_instrument_bind(instrument, attrs, 3), 1234567u + (uint64_t)i);
    }
    double best = 1e9;
    size_t bytes = 0;
    sl_buf out;
    sl_buf_init(&out, SL_MAX_CTL_RESPONSE_BYTES);
    for (int round = 0; round < 20; round++) {
        sl_buf_clear(&out);
        uint64_t start = sl_mono_ns();
        if (sl_collector_prometheus(sdk->collector, sl_str_of(NULL, 0), SL_PROMETHEUS_TEXT, &out))
            abort();
        double ns = (double)(sl_mono_ns() - start) / count;
        best = ns < best ? ns : best;
        bytes = out.len;
    }
    printf("{\"bench\":\"prometheus_per_series\",\"series\":%d,\"ns\":%.1f,\"bytes\":%zu}\n", count, best, bytes);
    size_t points = 0;
    best = 1e9;
    for (int round = 0; round < 20; round++) {
        sl_buf_clear(&out);
        uint64_t start = sl_mono_ns();
        if (sl_collector_otlp(sdk->collector, sl_str_of(NULL, 0), sl_str_of(NULL, 0), false, &out, &points))
            abort();
        double ns = (double)(sl_mono_ns() - start) / (double)points;
        best = ns < best ? ns : best;
    }
    printf("{\"bench\":\"otlp_per_point\",\"series\":%zu,\"ns\":%.1f,\"bytes\":%zu}\n", points, best, out.len);
    sl_buf_done(&out);
}

int main(void)
{
    sl_sdk_options options = {.ignore_environment = true, .no_default_exporters = true};
    sl_sdk *sdk;
    if (sl_sdk_new(&options, &sdk))
        return 1;
    sl_meter *meter = sl_meter_named(sdk, "bench");
    bench_recording(meter);
    bench_bind(meter);
    bench_exposition(sdk, meter);
    sl_sdk_free(sdk);
    return 0;
}
