/*
 * Cost of recording on the caller's thread. Prints one JSON object per operation: {"name", "unit", "value"}.
 *
 * Spans go into a private segment that is drained between timed batches, so the figures are those of a ring with room.
 * Each figure is the best of several rounds; `floor` rows are what the machine itself needs for the same.
 */
#include <sightline/trace.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/telemetry/limits_defaults.h"
#include "src/telemetry/sampler.h"
#include "src/telemetry/scope.h"
#include "src/telemetry/tracer.h"

#define ROUNDS 40
#define BATCH 1000

static struct sl_sdk sdk;
static sl_tracer *tracer;
static volatile uint64_t sink;

static bool discard(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    (void)data;
    *(size_t *)user += len + (tag & 1);
    return true;
}

static void set_six(sl_span *span)
{
    sl_span_set_str(span, "gen_ai.request.model", "claude-haiku-20251001");
    sl_span_set_str(span, "gen_ai.operation.name", "chat");
    sl_span_set_str(span, "gen_ai.provider.name", "anthropic");
    sl_span_set_int(span, "gen_ai.usage.input_tokens", 1234);
    sl_span_set_int(span, "gen_ai.usage.output_tokens", 567);
    sl_span_set_int(span, "http.response.status_code", 200);
}

static void span_six(void)
{
    sl_span *span = sl_span_start(tracer, SL_STR("chat claude-haiku"), NULL);
    set_six(span);
    sl_span_end(span);
}

static void span_bare(void)
{
    sl_span_end(sl_span_start(tracer, SL_STR("chat claude-haiku"), NULL));
}

static void span_child(void)
{
    sl_span *parent = sl_span_start(tracer, SL_STR("POST /v1/chat/completions"), NULL);
    sl_span_options options = {.kind = SL_SPAN_CLIENT, .parent = parent};
    sl_span *span = sl_span_start(tracer, SL_STR("chat claude-haiku"), &options);
    set_six(span);
    sl_span_end(span);
    sl_span_end(parent);
}

static void null_span(void)
{
    sl_span *span = sl_span_start(NULL, SL_STR("chat"), NULL);
    set_six(span);
    sl_span_end(span);
}

static void floor_clock(void)
{
    sink += sl_now_ns() + sl_now_ns();
}

/* Best nanoseconds per call over the rounds. */
static double measure(void (*operation)(void))
{
    double best = 1e18;
    size_t drained = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = sl_mono_ns();
        for (int i = 0; i < BATCH; i++)
            operation();
        double ns = (double)(sl_mono_ns() - start) / BATCH;
        best = ns < best ? ns : best;
        (void)sl_segment_drain(sdk.segment, SL_RING_SPANS, discard, &drained);
    }
    return best;
}

static void report(const char *name, double ns)
{
    printf("{\"name\":\"%s\",\"unit\":\"ns\",\"value\":%.1f}\n", name, ns);
}

static bool set_up(void)
{
    if (sl_segment_new(NULL, &sdk.segment) || sl_limits_init(&sdk.span_limits, NULL) ||
        pthread_mutex_init(&sdk.lock, NULL))
        return false;
    sdk.scopes = sl_scopes_new(sdk.segment);
    atomic_store(&sdk.recording, true);
    tracer = sl_tracer_named(&sdk, "bench");
    return tracer != NULL;
}

static void use_sampler(sl_sampler_kind kind)
{
    sl_sampler_options options = {.kind = kind};
    sl_sampler_free(sdk.sampler);
    sdk.sampler = sl_sampler_new(&options);
}

int main(void)
{
    if (!set_up())
        return 1;
    report("floor two clock reads", measure(floor_clock));
    report("span 6 attributes", measure(span_six));
    report("span without attributes", measure(span_bare));
    report("span with child of 6 attributes", measure(span_child));
    report("span NULL tracer 6 attributes", measure(null_span));
    use_sampler(SL_SAMPLER_ALWAYS_OFF);
    report("span unsampled", measure(span_bare));
    report("span unsampled 6 attributes", measure(span_six));
    sdk.keep_errors = true;
    report("span unsampled, errors kept, 6 attributes", measure(span_six));
    atomic_store(&sdk.recording, false);
    report("span after shutdown", measure(span_bare));
    sl_sampler_free(sdk.sampler);
    sl_tracers_free(&sdk);
    sl_scopes_free(sdk.scopes);
    sl_limits_done(&sdk.span_limits);
    sl_segment_free(sdk.segment);
    return 0;
}
