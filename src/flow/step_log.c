/* Log lines that steps write: with the fields that all lines of a run have, in the trace of the step. */
#include "src/base/assert.h"
#include "src/flow/services.h"
#include "src/flow/step.h"

static const char *workflow_member(const sl_step_try *attempt, const char *name)
{
    const char *text = json_string_value(json_object_get(json_object_get(attempt->context, "workflow"), name));
    return text ? text : "";
}

void sl_step_log(sl_step_try *attempt, sl_severity severity, const char *message, const char *fields)
{
    SL_ASSERT(attempt && attempt->step && message);
    sl_logger *logger = attempt->services->sdk ? sl_logger_named(attempt->services->sdk, "sightline.flow") : NULL;
    if (!logger || !sl_log_enabled(logger, severity))
        return;
    sl_span_context context;
    sl_span_get_context(attempt->span, &context);
    sl_attr attrs[5] = {
        sl_attr_str("workflow_id", workflow_member(attempt, "id")),
        sl_attr_str("workflow_name", workflow_member(attempt, "name")), sl_attr_str("step_id", attempt->step->id),
        sl_attr_str("step_type", sl_step_type_name(attempt->step->type)), sl_attr_str("fields", fields ? fields : "")};
    sl_log_record record = {.severity = severity,
                            .body = sl_value_cstr(message),
                            .attrs = attrs,
                            .attr_count = fields ? 5 : 4,
                            .context = &context};
    sl_log_emit(logger, &record);
}
