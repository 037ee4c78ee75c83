/* Tracers: a scope of an SDK from which spans are started. */
#ifndef SL_TELEMETRY_TRACER_H
#define SL_TELEMETRY_TRACER_H

#include "src/telemetry/scope.h"

struct sl_tracer {
    sl_sdk *sdk;
    uint32_t scope;      /* id */
    uint32_t span_bytes; /* the most that one span may take, so that its record fits the ring */
    struct sl_tracer *next;
};

/* Recording spans that the tracers of all processes of the SDK's own segment have started. Any thread. */
uint64_t sl_tracers_started(sl_sdk *sdk);
/* Frees the tracers with their SDK. */
void sl_tracers_free(sl_sdk *sdk);

#endif
