/* Logs: levels, contextual fields, and the ids of the current span in each line. LOG_LEVEL and LOG_FORMAT choose. */
#include <sightline/sightline.h>

int main(void)
{
    sl_sdk_options options = {.log_to_stderr = true, .no_default_exporters = true};
    sl_sdk *sdk;
    if (sl_sdk_new(&options, &sdk) != 0)
        return 1;
    sl_logger *logger = sl_logger_named(sdk, "example");
    sl_attr context[] = {sl_attr_str("workflow_id", "abc123"), sl_attr_str("workflow_name", "rag-pipeline")};
    sl_logger *workflow = sl_logger_with(logger, context, 2);

    sl_span *span = sl_span_start(sl_tracer_named(sdk, "example"), SL_STR("run"), NULL);
    sl_span *before = sl_span_attach(span);
    sl_log(workflow, SL_INFO, "Starting workflow execution", NULL, 0);
    sl_attr step[] = {sl_attr_str("step_id", "step1"), sl_attr_int("duration_ms", 1778)};
    sl_log(workflow, SL_WARN, "Step was slow", step, 2);
    sl_log(workflow, SL_DEBUG, "only shown with LOG_LEVEL=debug", NULL, 0);
    sl_span_attach(before);
    sl_span_end(span);

    sl_logger_free(workflow);
    int error = sl_sdk_shutdown(sdk, 5000);
    sl_sdk_free(sdk);
    return error ? 1 : 0;
}
