/*
 * A span from inside. Unsampled spans touch the first part only, which is two cache lines.
 */
#ifndef SL_TELEMETRY_SPAN_IMPL_H
#define SL_TELEMETRY_SPAN_IMPL_H

#include "src/telemetry/span_buf.h"
#include "src/telemetry/span_thread.h"
#include "src/telemetry/tracer.h"

typedef enum sl_span_state {
    SL_SPAN_IDLE = 0,  /* in a pool */
    SL_SPAN_LIGHT = 1, /* carries a context, records nothing */
    SL_SPAN_RECORDING = 2
} sl_span_state;

struct sl_span {
    /* Every span. */
    uint8_t state; /* sl_span_state */
    bool keep;     /* false: recorded, but only committed for an error */
    uint8_t kind;
    uint8_t status;
    uint32_t generation; /* of the process that started it */
    sl_tracer *tracer;
    sl_span_context context; /* the tracestate lies in `state_text` */
    sl_span *next;           /* in the pool */
    /* Recording spans. */
    uint8_t parent_id[SL_SPAN_ID_SIZE];
    bool parent_remote;
    bool start_given;
    uint64_t start_ns;
    uint64_t start_mono_ns;
    uint32_t dropped_attrs;
    uint32_t events;
    uint32_t dropped_events;
    uint32_t links;
    uint32_t dropped_links;
    sl_attr_rules rules;
    sl_span_buf buf;
    char state_text[SL_MAX_TRACESTATE_BYTES];
};

#define SL_FLAG_HAS_IS_REMOTE 0x100u /* OTLP SpanFlags */
#define SL_FLAG_IS_REMOTE 0x200u

/* True when an id of `words` times eight bytes is not all zero. */
static inline bool sl_id_set(const uint8_t *id, size_t words)
{
    uint64_t word, all = 0;
    for (size_t i = 0; i < words; i++) {
        memcpy(&word, id + 8 * i, 8);
        all |= word;
    }
    return all != 0;
}

/* As sl_span_context_is_valid, inline. */
static inline bool sl_span_identity_ok(const sl_span_context *context)
{
    return sl_id_set(context->trace_id, 2) && sl_id_set(context->span_id, 1);
}

static inline bool sl_span_recording(const sl_span *span)
{
    return SL_LIKELY(span != NULL) && span->state == SL_SPAN_RECORDING;
}

/* Unix time now, on the span's own clock. */
uint64_t sl_span_now(const sl_span *span);

#endif
