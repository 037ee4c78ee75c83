/*
 * Cost of the public SDK calls: `bench_sdk NAME COUNT` runs one benchmark and prints one JSON object,
 * {"name","ns",…}. Everything is measured as a program would use it: a whole SDK, its pipeline draining into an
 * exporter that counts. `floor_…` rows are what the machine itself needs for the least such an operation can be.
 */
#include <pthread.h>
#include <sightline/sightline.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/clock.h"

static _Atomic uint64_t exported;
static volatile uint64_t sink;

static int count_items(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                       uint64_t *ret_retry, uint64_t *ret_rejected)
{
    (void)user;
    (void)request;
    (void)timeout_ms;
    (void)ret_retry;
    (void)ret_rejected;
    if (signal != SL_SIGNAL_METRICS) /* the SDK's own come with a flush */
        atomic_fetch_add(&exported, items);
    return 0;
}

static sl_sdk *new_sdk(sl_sampler_kind sampler, size_t queue)
{
    static sl_exporter exporter = {.name = "count", .signals = SL_SIGNALS_ALL, .deliver = count_items};
    sl_sdk_options o = {
        .ignore_environment = true, .no_default_exporters = true, .exporters = &exporter, .exporter_count = 1};
    o.sampler.kind = sampler;
    for (int i = 0; i < SL_SIGNAL_COUNT; i++) {
        o.batch[i].max_queue_items = queue;
        o.batch[i].schedule_delay_ms = 200;
        o.batch[i].max_pending_bytes = 256u << 20;
    }
    sl_sdk *sdk = NULL;
    if (sl_sdk_new(&o, &sdk) != 0)
        exit(1);
    return sdk;
}

static uint64_t cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000u;
}

static void report(const char *name, double ns)
{
    printf("{\"name\":\"%s\",\"ns\":%.3f}\n", name, ns);
}

static double per(uint64_t begun, uint64_t count)
{
    return (double)(sl_mono_ns() - begun) / (double)count;
}

/* ---- spans ---- */

static void one_span(sl_tracer *tracer, int64_t i)
{
    static const sl_span_options client = {.kind = SL_SPAN_CLIENT};
    sl_span *span = sl_span_start(tracer, SL_STR("chat gpt-4o"), &client);
    sl_span_set_str(span, "gen_ai.operation.name", "chat");
    sl_span_set_str(span, "gen_ai.provider.name", "openai");
    sl_span_set_str(span, "gen_ai.request.model", "gpt-4o");
    sl_span_set_int(span, "gen_ai.usage.input_tokens", i);
    sl_span_set_int(span, "gen_ai.usage.output_tokens", 200);
    sl_span_set_int(span, "http.response.status_code", 200);
    sl_span_end(span);
}

static void spans(const char *name, size_t queue, uint64_t count)
{
    sl_sdk *sdk = new_sdk(SL_SAMPLER_ALWAYS_ON, queue);
    sl_tracer *tracer = sl_tracer_named(sdk, "bench");
    for (int64_t i = 0; i < 2000; i++)
        one_span(tracer, i);
    if (sl_sdk_flush(sdk, 10000) != 0)
        exit(1);
    atomic_store(&exported, 0);
    uint64_t cpu = cpu_ns(), begun = sl_mono_ns();
    for (uint64_t i = 0; i < count; i++)
        one_span(tracer, (int64_t)i);
    double ns = per(begun, count);
    if (sl_sdk_flush(sdk, 30000) != 0)
        exit(1);
    printf("{\"name\":\"%s\",\"ns\":%.3f,\"cpu_ns\":%.3f,\"started\":%llu,\"exported\":%llu}\n", name, ns,
           (double)(cpu_ns() - cpu) / (double)count, (unsigned long long)count,
           (unsigned long long)atomic_load(&exported));
    sl_sdk_free(sdk);
}

static void unsampled(const char *name, uint64_t count)
{
    static const sl_span_options client = {.kind = SL_SPAN_CLIENT};
    sl_sdk *sdk = new_sdk(SL_SAMPLER_ALWAYS_OFF, 0);
    sl_tracer *tracer = sl_tracer_named(sdk, "bench");
    uint64_t begun = sl_mono_ns();
    for (uint64_t i = 0; i < count; i++)
        sl_span_end(sl_span_start(tracer, SL_STR("chat gpt-4o"), &client));
    report(name, per(begun, count));
    sl_sdk_free(sdk);
}

/* ---- metrics ---- */

typedef struct recording {
    sl_series *series;
    uint64_t count;
    bool histogram;
} recording;

static void *record(void *user)
{
    const recording *r = user;
    if (r->histogram) {
        for (uint64_t i = 0; i < r->count; i++)
            sl_histogram_record(r->series, (double)(i % 1000));
    } else {
        for (uint64_t i = 0; i < r->count; i++)
            sl_counter_add(r->series, 1);
    }
    return NULL;
}

static void metrics(const char *name, unsigned threads, bool histogram, uint64_t count)
{
    sl_sdk *sdk = new_sdk(SL_SAMPLER_ALWAYS_ON, 0);
    sl_instrument_options o = {.kind = histogram ? SL_HISTOGRAM : SL_COUNTER,
                               .name = histogram ? "duration" : "requests"};
    sl_attr attrs[] = {sl_attr_str("method", "POST"), sl_attr_str("model", "gpt-4o"), sl_attr_str("status", "200")};
    recording r = {sl_instrument_bind(sl_instrument_new(sl_meter_named(sdk, "bench"), &o), attrs, 3), 1000, histogram};
    (void)record(&r);
    r.count = count;
    pthread_t ids[8];
    uint64_t begun = sl_mono_ns();
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, record, &r) != 0)
            exit(1);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    report(name, per(begun, count));
    sl_sdk_free(sdk);
}

/* 10,000 series as text; ns for each. */
static void exposition(const char *name, uint64_t rounds)
{
    enum { SERIES = 10000 };
    sl_sdk *sdk = new_sdk(SL_SAMPLER_ALWAYS_ON, 0);
    sl_instrument_options o = {.kind = SL_COUNTER, .name = "requests_total", .max_series = SERIES + 1};
    sl_instrument *requests = sl_instrument_new(sl_meter_named(sdk, "bench"), &o);
    for (int i = 0; i < SERIES; i++) {
        char model[32];
        snprintf(model, sizeof model, "model-%d", i);
        sl_attr attrs[] = {sl_attr_str("model", model), sl_attr_str("status", "200"),
                           sl_attr_str("provider", "openai")};
        sl_counter_add(sl_instrument_bind(requests, attrs, 3), (uint64_t)i);
    }
    char *text = NULL;
    size_t len = 0;
    if (sl_prometheus_gather(sdk, SL_PROMETHEUS_TEXT, &text, &len) != 0)
        exit(1);
    free(text);
    uint64_t begun = sl_mono_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        if (sl_prometheus_gather(sdk, SL_PROMETHEUS_TEXT, &text, &len) != 0)
            exit(1);
        sink += len;
        free(text);
    }
    printf("{\"name\":\"%s\",\"ns\":%.3f,\"bytes\":%zu}\n", name, per(begun, rounds) / SERIES, len);
    sl_sdk_free(sdk);
}

/* ---- logs ---- */

/* Caller's cost of a line of five attributes; the writer's CPU beside it. Paced in bursts that the ring holds. */
static void log_line(const char *name, uint64_t count)
{
    sl_sdk *sdk = new_sdk(SL_SAMPLER_ALWAYS_ON, 0);
    sl_logger *logger = sl_logger_named(sdk, "bench");
    sl_attr attrs[] = {sl_attr_str("workflow_id", "abc123"), sl_attr_str("provider", "openai"),
                       sl_attr_str("model", "gpt-4o"), sl_attr_int("duration_ms", 1778), sl_attr_int("status", 200)};
    sl_span *span = sl_span_start(sl_tracer_named(sdk, "bench"), SL_STR("s"), NULL);
    (void)sl_span_attach(span);
    sl_log(logger, SL_INFO, "warm", attrs, 5);
    uint64_t spent = 0, done = 0, cpu = cpu_ns(), mine = 0;
    while (done < count) {
        struct timespec before, after, pause = {0, 20000000};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
        uint64_t begun = sl_mono_ns();
        for (int i = 0; i < 1000; i++)
            sl_log(logger, SL_INFO, "Step completed successfully", attrs, 5);
        spent += sl_mono_ns() - begun;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
        mine +=
            (uint64_t)(after.tv_sec - before.tv_sec) * 1000000000u + (uint64_t)after.tv_nsec - (uint64_t)before.tv_nsec;
        done += 1000;
        nanosleep(&pause, NULL);
    }
    (void)sl_span_attach(NULL);
    sl_span_end(span);
    if (sl_sdk_flush(sdk, 10000) != 0)
        exit(1);
    sl_sdk_stats stats;
    sl_sdk_get_stats(sdk, SL_SIGNAL_LOGS, &stats);
    printf("{\"name\":\"%s\",\"ns\":%.3f,\"writer_cpu_ns\":%.3f,\"started\":%llu,\"exported\":%llu}\n", name,
           (double)spent / (double)done, (double)(cpu_ns() - cpu - mine) / (double)done,
           (unsigned long long)stats.started, (unsigned long long)stats.exported);
    sl_sdk_free(sdk);
}

/* ---- floors ---- */

static void floor_clock(const char *name, uint64_t count)
{
    uint64_t begun = sl_mono_ns();
    for (uint64_t i = 0; i < count; i++)
        sink += sl_now_ns();
    report(name, per(begun, count));
}

static void floor_store(const char *name, uint64_t count)
{
    static volatile uint64_t cell;
    uint64_t begun = sl_mono_ns();
    for (uint64_t i = 0; i < count; i++)
        cell = cell + 1;
    report(name, per(begun, count));
}

static void floor_memcpy(const char *name, uint64_t rounds)
{
    enum { BYTES = 72 * 10000 };
    char *from = calloc(1, BYTES), *to = malloc(BYTES);
    if (!from || !to)
        exit(1);
    uint64_t begun = sl_mono_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        memcpy(to, from, BYTES);
        sink += (uint64_t)to[i % BYTES];
    }
    report(name, per(begun, rounds) / 10000);
    free(from);
    free(to);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    if (strcmp(name, "span_sampled") == 0)
        spans(name, 1u << 20, count);
    else if (strcmp(name, "span_default_queue") == 0)
        spans(name, 0, count);
    else if (strcmp(name, "span_unsampled") == 0)
        unsampled(name, count);
    else if (strcmp(name, "counter_bound") == 0 || strcmp(name, "histogram_bound") == 0)
        metrics(name, 1, name[0] == 'h', count);
    else if (strcmp(name, "counter_bound_2") == 0 || strcmp(name, "histogram_bound_2") == 0)
        metrics(name, 2, name[0] == 'h', count);
    else if (strcmp(name, "exposition") == 0)
        exposition(name, count);
    else if (strcmp(name, "log_line") == 0)
        log_line(name, count);
    else if (strcmp(name, "floor_clock") == 0)
        floor_clock(name, count);
    else if (strcmp(name, "floor_store") == 0)
        floor_store(name, count);
    else if (strcmp(name, "floor_memcpy") == 0)
        floor_memcpy(name, count);
    else
        return fprintf(stderr, "bench_sdk: %s: no such benchmark\n", name), 2;
    return 0;
}
