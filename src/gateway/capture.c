/* Prompt text, cut and masked. */
#include "src/gateway/capture.h"

#include "src/base/assert.h"
#include "src/telemetry/env.h"
#include "src/wire/redact.h"

sl_gw_capture sl_gw_capture_from_env(void)
{
    static const sl_env env;
    bool queries = sl_env_bool(&env, SL_VAR_LOG_QUERIES, false);
    bool content = sl_env_bool(&env, SL_VAR_OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT, false);
    return (sl_gw_capture){.spans = queries || content, .logs = queries};
}

static void log_prompt(sl_logger *logger, const sl_gw_request *request, sl_str text)
{
    SL_ASSERT(logger && request->group);
    sl_span_context context;
    sl_span_get_context(request->server_span, &context);
    sl_attr attrs[2] = {sl_attr_of("model", sl_value_str(request->group->name)),
                        sl_attr_of("gen_ai.prompt", sl_value_str(text))};
    sl_log_record record = {
        .severity = SL_INFO, .body = sl_value_cstr("query"), .attrs = attrs, .attr_count = 2, .context = &context};
    sl_log_emit(logger, &record);
}

void sl_gw_capture_prompt(sl_gw_capture capture, sl_logger *logger, const sl_gw_request *request, sl_span *span)
{
    SL_ASSERT(request && request->plan);
    bool in_span = capture.spans && sl_span_is_recording(span);
    bool in_log = capture.logs && request->attempts <= 1 && sl_log_enabled(logger, SL_INFO);
    const sl_json_found *at = &request->plan->openai.content_at;
    if ((!in_span && !in_log) || at->type == SL_JSON_NONE)
        return;
    SL_ASSERT(at->begin <= at->end && at->end <= request->plan->body.len);
    sl_str text = sl_str_sub(request->plan->body, at->begin, at->end - at->begin);
    sl_buf masked;
    sl_buf_init(&masked, (size_t)4 * SL_GW_CAPTURE_BYTES);
    if (sl_redact_beginning(text, SL_GW_CAPTURE_BYTES, &masked) == 0) {
        if (in_span)
            sl_span_set(span, SL_STR("gen_ai.prompt"), sl_value_str(sl_buf_str(&masked)));
        if (in_log)
            log_prompt(logger, request, sl_buf_str(&masked));
    }
    sl_buf_done(&masked);
}
