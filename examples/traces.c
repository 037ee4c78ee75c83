/* Traces: nested spans, attributes, events, an error, and the header that carries the trace to another process. */
#include <sightline/sightline.h>
#include <stdio.h>

static void print_header(void *user, sl_str name, sl_str value)
{
    (void)user;
    printf("%.*s: %.*s\n", (int)name.len, name.ptr, (int)value.len, value.ptr);
}

/* A child of whatever span is current on this thread. */
static void call_model(sl_tracer *tracer)
{
    sl_span_options options = {.kind = SL_SPAN_CLIENT};
    sl_span *span = sl_span_start(tracer, SL_STR("chat my-model"), &options);
    sl_span_set_str(span, "gen_ai.operation.name", "chat");
    sl_span_set_str(span, "gen_ai.request.model", "my-model");
    sl_propagation_inject(NULL, span, NULL, print_header, NULL);
    sl_span_add_event(span, SL_STR("gen_ai.first_token"), 0, NULL, 0);
    sl_span_set_int(span, "gen_ai.usage.output_tokens", 16);
    sl_span_end(span);
}

int main(void)
{
    sl_sdk *sdk;
    if (sl_sdk_new(NULL, &sdk) != 0)
        return 1;
    sl_sdk_set_default(sdk);
    sl_tracer *tracer = sl_tracer_named(NULL, "example");

    sl_span *request = sl_span_start(tracer, SL_STR("POST /answer"), &(sl_span_options){.kind = SL_SPAN_SERVER});
    sl_span *before = sl_span_attach(request);
    call_model(tracer);
    sl_add_span_attribute("user.plan", "trial");
    sl_add_span_attribute("api_key", "sk-secret"); /* recorded as [REDACTED] */
    sl_span_record_error(request, "timeout", "the tool did not answer");
    sl_span_set_status(request, SL_STATUS_ERROR, "timeout");
    sl_span_attach(before);
    sl_span_end(request);

    sl_sdk_set_default(NULL);
    int error = sl_sdk_shutdown(sdk, 5000);
    sl_sdk_free(sdk);
    return error ? 1 : 0;
}
