/* Handing out tracers. */
#include "src/telemetry/tracer.h"

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/span_buf.h"

/* All that a record holds beside the span's buffer: head of the ring record, ids, times, counts, tracestate. */
#define RECORD_OVERHEAD (128u + SL_MAX_TRACESTATE_BYTES + 4u)

static sl_tracer *find(sl_sdk *sdk, uint32_t scope)
{
    SL_ASSERT(sdk);
    for (sl_tracer *tracer = sdk->tracers; tracer; tracer = tracer->next) {
        if (tracer->scope == scope)
            return tracer;
    }
    return NULL;
}

static sl_tracer *make(sl_sdk *sdk, uint32_t scope)
{
    sl_tracer *tracer = sl_calloc(1, sizeof *tracer);
    if (!tracer)
        return NULL;
    tracer->sdk = sdk;
    tracer->scope = scope;
    size_t record = sl_segment_max_record(sdk->segment, SL_RING_SPANS);
    size_t most = record < SL_MAX_SPAN_BYTES ? record : SL_MAX_SPAN_BYTES;
    tracer->span_bytes = most > RECORD_OVERHEAD ? (uint32_t)(most - RECORD_OVERHEAD) : 0;
    tracer->next = sdk->tracers;
    sdk->tracers = tracer;
    return tracer;
}

sl_tracer *sl_tracer_get(sl_sdk *sdk, const sl_scope_options *scope)
{
    sdk = sl_sdk_or_default(sdk);
    if (!sdk)
        return NULL;
    SL_ASSERT(sdk->segment && sdk->scopes);
    uint32_t id = sl_scopes_id(sdk->scopes, scope);
    pthread_mutex_lock(&sdk->lock);
    sl_tracer *tracer = find(sdk, id);
    if (!tracer)
        tracer = make(sdk, id);
    pthread_mutex_unlock(&sdk->lock);
    return tracer;
}

sl_tracer *sl_tracer_named(sl_sdk *sdk, const char *name)
{
    sl_scope_options scope = {.name = sl_str_c(name)};
    return sl_tracer_get(sdk, &scope);
}

uint64_t sl_tracers_started(sl_sdk *sdk)
{
    SL_ASSERT(sdk);
    return sl_segment_sum(sdk->segment, SL_CELL_SPANS_BEGUN);
}

void sl_tracers_free(sl_sdk *sdk)
{
    SL_ASSERT(sdk);
    while (sdk->tracers) {
        sl_tracer *tracer = sdk->tracers;
        sdk->tracers = tracer->next;
        sl_free(tracer);
    }
}
