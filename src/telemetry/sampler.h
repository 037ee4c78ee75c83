/*
 * Samplers: the six of OTEL_TRACES_SAMPLER, and the user's own function. Decided before any attribute is looked at.
 *
 * The ratio sampler keeps a trace when the low 64 bits of its id, halved, are below ratio * 2^63, so every process with
 * the same ratio keeps the same traces. Source: OpenTelemetry trace SDK, "Built-in samplers".
 */
#ifndef SL_TELEMETRY_SAMPLER_H
#define SL_TELEMETRY_SAMPLER_H

#include <sightline/trace.h>

#include "src/base/assert.h"
#include "src/telemetry/sdk_impl.h"

#define SL_SAMPLER_DESCRIPTION_BYTES 256

struct sl_sampler {
    sl_sampler_kind kind;
    uint64_t bound; /* of the ratio: kept when the halved low part of the trace id is below it */
    sl_sampler_fn fn;
    void *user;
    char description[SL_SAMPLER_DESCRIPTION_BYTES];
};

/* NULL options and SL_SAMPLER_DEFAULT are parentbased_always_on. Ratios outside 0 to 1 are clamped. NULL without
 * memory. */
sl_sampler *sl_sampler_new(const sl_sampler_options *options);
void sl_sampler_free(sl_sampler *sampler);
/* The specification's description, such as "TraceIdRatioBased{0.000100}". Lives as long as the sampler. */
const char *sl_sampler_description(const sl_sampler *sampler);
/* Kind of a name of OTEL_TRACES_SAMPLER, in any case of letters; SL_SAMPLER_DEFAULT when it is unknown. */
sl_sampler_kind sl_sampler_kind_of(sl_str name);
/* What a ratio keeps of the trace ids. */
uint64_t sl_sampler_bound(double ratio);

/* The half of a trace id that the ratio looks at. */
static inline uint64_t sl_sampler_random_part(const uint8_t *trace_id)
{
    uint64_t low;
    memcpy(&low, trace_id + 8, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    low = __builtin_bswap64(low);
#endif
    return low >> 1;
}

/* Decides by parent and trace id alone, as every sampler but the user's does. */
static inline bool sl_sampler_keeps(const sl_sampler *sampler, const sl_span_context *parent, const uint8_t *trace_id)
{
    sl_sampler_kind kind = sampler ? sampler->kind : SL_SAMPLER_PARENTBASED_ALWAYS_ON;
    SL_ASSERT(kind != SL_SAMPLER_CALLBACK && kind != SL_SAMPLER_DEFAULT);
    if (parent && kind >= SL_SAMPLER_PARENTBASED_ALWAYS_ON)
        return parent->flags & SL_TRACE_FLAG_SAMPLED;
    switch (kind) {
    case SL_SAMPLER_ALWAYS_OFF:
    case SL_SAMPLER_PARENTBASED_ALWAYS_OFF:
        return false;
    case SL_SAMPLER_TRACEIDRATIO:
    case SL_SAMPLER_PARENTBASED_TRACEIDRATIO:
        return sl_sampler_random_part(trace_id) < sampler->bound;
    default:
        return true;
    }
}

/* Decides; `sampler` NULL is parentbased_always_on. Any thread. */
static inline sl_sampling_decision sl_sampler_decide(const sl_sampler *sampler, const sl_sampling_input *input)
{
    if (sampler && sampler->kind == SL_SAMPLER_CALLBACK)
        return sampler->fn(sampler->user, input);
    return sl_sampler_keeps(sampler, input->parent, input->trace_id) ? SL_SAMPLE_RECORD_AND_SAMPLE : SL_SAMPLE_DROP;
}

#endif
