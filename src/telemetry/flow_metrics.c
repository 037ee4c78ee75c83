/* The public calls of <sightline/flow.h>: the orchestrator_* families from code. Does not cache: sl_sdk finds them. */
#include <sightline/flow.h>

#include "src/base/assert.h"
#include "src/telemetry/vocab.h"

#define MAX_LABELS 3

/* Declares and binds a family; NULL without an SDK. */
static sl_series *series_of(sl_sdk *sdk, sl_metric_id id, const sl_attr *labels, size_t count)
{
    SL_ASSERT(count <= MAX_LABELS);
    sl_meter *meter = sl_meter_named(sdk, "sightline.flow");
    return meter ? sl_instrument_bind(sl_metric_declare(meter, id), labels, count) : NULL;
}

static sl_attr label(const char *key, const char *value)
{
    SL_ASSERT(key);
    return (sl_attr){sl_str_c(key), sl_value_str(sl_str_c(value))};
}

static void count(sl_sdk *sdk, sl_metric_id id, const sl_attr *labels, size_t label_count, uint64_t value)
{
    sl_counter_add(series_of(sdk, id, labels, label_count), value);
}

void sl_record_workflow_start(sl_sdk *sdk)
{
    sl_updown_add(series_of(sdk, SL_METRIC_ORCHESTRATOR_ACTIVE_WORKFLOWS, NULL, 0), 1);
}

void sl_record_workflow_complete(sl_sdk *sdk, const char *workflow_name, double duration_s, bool success)
{
    const sl_attr name = label("workflow_name", workflow_name);
    const sl_attr labels[] = {label("status", success ? "success" : "failure"), name};
    sl_updown_add(series_of(sdk, SL_METRIC_ORCHESTRATOR_ACTIVE_WORKFLOWS, NULL, 0), -1);
    count(sdk, SL_METRIC_ORCHESTRATOR_WORKFLOW_EXECUTIONS, labels, 2, 1);
    sl_histogram_record(series_of(sdk, SL_METRIC_ORCHESTRATOR_WORKFLOW_DURATION, &name, 1), duration_s);
}

static void count_tokens(sl_sdk *sdk, const char *provider, const char *model, const char *type, int64_t tokens)
{
    if (tokens < 0)
        return;
    const sl_attr labels[] = {label("provider", provider), label("model", model), label("type", type)};
    count(sdk, SL_METRIC_ORCHESTRATOR_LLM_TOKENS, labels, 3, (uint64_t)tokens);
}

void sl_record_llm_request(sl_sdk *sdk, const char *provider, const char *model, double duration_s, bool success,
                           int64_t input_tokens, int64_t output_tokens)
{
    const sl_attr labels[] = {label("provider", provider), label("model", model),
                              label("status", success ? "success" : "failure")};
    count(sdk, SL_METRIC_ORCHESTRATOR_LLM_REQUESTS, labels, 3, 1);
    sl_histogram_record(series_of(sdk, SL_METRIC_ORCHESTRATOR_LLM_REQUEST_DURATION, labels, 2), duration_s);
    count_tokens(sdk, provider, model, "input", input_tokens);
    count_tokens(sdk, provider, model, "output", output_tokens);
}

void sl_record_step_execution(sl_sdk *sdk, const char *step_type, double duration_s, const char *status)
{
    const sl_attr labels[] = {label("step_type", step_type), label("status", status)};
    count(sdk, SL_METRIC_ORCHESTRATOR_STEP_EXECUTIONS, labels, 2, 1);
    if (!status || strcmp(status, "skipped") != 0)
        sl_histogram_record(series_of(sdk, SL_METRIC_ORCHESTRATOR_STEP_DURATION, labels, 1), duration_s);
}

void sl_record_error(sl_sdk *sdk, const char *error_type, const char *component)
{
    const sl_attr labels[] = {label("error_type", error_type), label("component", component)};
    count(sdk, SL_METRIC_ORCHESTRATOR_ERRORS, labels, 2, 1);
}

char *sl_gather_metrics(sl_sdk *sdk)
{
    char *text = NULL;
    size_t len = 0;
    return sl_prometheus_gather(sdk, SL_PROMETHEUS_TEXT, &text, &len) == 0 ? text : NULL;
}
