/* OTLP JSON for exporters: the wire layer's names of signals, and how large a request may become. */
#ifndef SL_TELEMETRY_EXPORTER_JSON_H
#define SL_TELEMETRY_EXPORTER_JSON_H

#include <sightline/sdk.h>

#include "src/wire/otlp_json.h"

#define SL_MAX_OTLP_JSON_BYTES (4u * SL_MAX_OTLP_REQUEST_BYTES)

static inline sl_otlp_signal sl_wire_signal(sl_signal signal)
{
    static const sl_otlp_signal signals[SL_SIGNAL_COUNT] = {SL_OTLP_TRACES, SL_OTLP_METRICS, SL_OTLP_LOGS};
    SL_ASSERT(signal < SL_SIGNAL_COUNT);
    return signals[signal];
}

#endif
