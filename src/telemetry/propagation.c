/*
 * Context in headers, by the propagators of the SDK.
 *
 * Of several formats that carry a parent, W3C Trace Context counts, then b3, the X-B3 headers and uber-trace-id. Names
 * are written in lower case, which every protocol takes.
 */
#include <sightline/trace.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/str.h"
#include "src/telemetry/span_impl.h"
#include "src/wire/b3.h"

#define DEFAULT_PROPAGATORS (SL_PROPAGATE_TRACECONTEXT | SL_PROPAGATE_BAGGAGE)

static unsigned propagators(sl_sdk *sdk)
{
    sdk = sl_sdk_or_default(sdk);
    return sdk ? sdk->propagators : DEFAULT_PROPAGATORS;
}

static void inject_b3_multi(const sl_span_context *context, sl_header_set_fn set, void *user)
{
    SL_ASSERT(context);
    char id[2 * SL_TRACE_ID_SIZE];
    sl_hex_encode(context->trace_id, SL_TRACE_ID_SIZE, id);
    set(user, SL_STR("x-b3-traceid"), sl_str_of(id, 2 * SL_TRACE_ID_SIZE));
    sl_hex_encode(context->span_id, SL_SPAN_ID_SIZE, id);
    set(user, SL_STR("x-b3-spanid"), sl_str_of(id, 2 * SL_SPAN_ID_SIZE));
    set(user, SL_STR("x-b3-sampled"), context->flags & SL_TRACE_FLAG_SAMPLED ? SL_STR("1") : SL_STR("0"));
}

static void inject_context(unsigned which, const sl_span_context *context, sl_header_set_fn set, void *user)
{
    if (which & SL_PROPAGATE_TRACECONTEXT) {
        char text[SL_TRACEPARENT_LEN + 1];
        sl_traceparent_format(context, text);
        set(user, SL_STR("traceparent"), sl_str_of(text, SL_TRACEPARENT_LEN));
        if (context->tracestate.len)
            set(user, SL_STR("tracestate"), context->tracestate);
    }
    if (which & SL_PROPAGATE_B3) {
        char text[SL_B3_LEN + 1];
        sl_b3_format(context, text);
        set(user, SL_STR("b3"), sl_str_c(text));
    }
    if (which & SL_PROPAGATE_B3MULTI)
        inject_b3_multi(context, set, user);
    if (which & SL_PROPAGATE_JAEGER) {
        char text[SL_JAEGER_LEN + 1];
        sl_jaeger_format(context, text);
        set(user, SL_STR("uber-trace-id"), sl_str_c(text));
    }
}

static void inject_baggage(const sl_baggage *baggage, sl_header_set_fn set, void *user)
{
    char text[SL_MAX_BAGGAGE_BYTES];
    size_t len;
    if (sl_baggage_count(baggage) > 0 && sl_baggage_format(baggage, text, sizeof text, &len) == 0 && len > 0)
        set(user, SL_STR("baggage"), sl_str_of(text, len));
}

void sl_propagation_inject(sl_sdk *sdk, const sl_span *span, const sl_baggage *baggage, sl_header_set_fn set,
                           void *user)
{
    if (!set)
        return;
    unsigned which = propagators(sdk);
    span = span ? span : sl_span_current();
    baggage = baggage ? baggage : sl_baggage_current();
    sl_span_context context;
    sl_span_get_context(span, &context);
    if (sl_span_identity_ok(&context))
        inject_context(which, &context, set, user);
    if (baggage && which & SL_PROPAGATE_BAGGAGE)
        inject_baggage(baggage, set, user);
}

/* The W3C parent with its tracestate. A broken tracestate is discarded, the parent stays. */
static bool extract_w3c(sl_header_get_fn get, void *user, char *state_text, size_t state_size, sl_span_context *context)
{
    if (sl_traceparent_parse(get(user, SL_STR("traceparent")), context))
        return false;
    size_t len = 0;
    sl_str state = state_text ? get(user, SL_STR("tracestate")) : sl_str_of(NULL, 0);
    bool kept = state.len && sl_tracestate_parse(state, state_text, state_size, &len) == 0;
    context->tracestate = kept ? sl_str_of(state_text, len) : sl_str_of(NULL, 0);
    return true;
}

static bool extract_b3_multi(sl_header_get_fn get, void *user, sl_span_context *context)
{
    sl_str trace_id = get(user, SL_STR("x-b3-traceid"));
    return trace_id.len &&
           sl_b3_parse_multi(trace_id, get(user, SL_STR("x-b3-spanid")), get(user, SL_STR("x-b3-sampled")),
                             get(user, SL_STR("x-b3-flags")), context) == 0;
}

int sl_propagation_extract(sl_sdk *sdk, sl_header_get_fn get, void *user, char *state_text, size_t state_size,
                           sl_span_context *ret_context, sl_baggage **ret_baggage)
{
    if (!get || !ret_context)
        return SL_EINVAL;
    unsigned which = propagators(sdk);
    sl_span_context context;
    memset(&context, 0, sizeof context);
    bool found = which & SL_PROPAGATE_TRACECONTEXT && extract_w3c(get, user, state_text, state_size, &context);
    if (!found && which & SL_PROPAGATE_B3)
        found = sl_b3_parse(get(user, SL_STR("b3")), &context) == 0;
    if (!found && which & SL_PROPAGATE_B3MULTI)
        found = extract_b3_multi(get, user, &context);
    if (!found && which & SL_PROPAGATE_JAEGER)
        found = sl_jaeger_parse(get(user, SL_STR("uber-trace-id")), &context) == 0;
    if (!found || !sl_span_identity_ok(&context))
        memset(&context, 0, sizeof context);
    if (ret_baggage) {
        *ret_baggage = NULL;
        sl_str header = which & SL_PROPAGATE_BAGGAGE ? get(user, SL_STR("baggage")) : sl_str_of(NULL, 0);
        if (header.len && sl_baggage_parse(header, ret_baggage) != 0)
            *ret_baggage = NULL;
    }
    *ret_context = context;
    return 0;
}
