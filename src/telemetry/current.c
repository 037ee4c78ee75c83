/* This thread's current span and baggage. The thread keeps pointers only; whoever attaches takes care of the rest. */
#include <sightline/trace.h>

#include "src/telemetry/span_impl.h"
#include "src/wire/redact.h"

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

void sl_add_span_attribute(const char *key, const char *value)
{
    sl_span *span = sl_span_this.current;
    if (!sl_span_recording(span))
        return;
    bool secret = sl_key_is_sensitive(sl_str_c(key));
    sl_span_set_str(span, key, secret ? SL_REDACTED : value);
}
