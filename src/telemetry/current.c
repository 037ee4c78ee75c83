/* This thread's current span and baggage. */
#include <sightline/trace.h>

#include "src/telemetry/span_impl.h"

sl_span *sl_span_current(void)
{
    return sl_span_this.current;
}

sl_span *sl_span_attach(sl_span *span)
{
    sl_span *before = sl_span_this.current;
    sl_span_this.current = span;
    return before;
}

const sl_baggage *sl_baggage_attach(const sl_baggage *baggage)
{
    const sl_baggage *before = sl_span_this.baggage;
    sl_span_this.baggage = baggage;
    return before;
}

const sl_baggage *sl_baggage_current(void)
{
    return sl_span_this.baggage;
}
