/*
 * Metrics of workflows from code: the orchestrator_* families, which the executor of `sightline` records by itself.
 *
 * For programs that run workflows of their own and want the same dashboards and alerts. Each call looks its series up
 * (a few hundred nanoseconds); NULL as SDK is the default SDK (sl_sdk_set_default). Without one nothing happens.
 */
#ifndef SIGHTLINE_FLOW_H
#define SIGHTLINE_FLOW_H

#include <sightline/metrics.h>

SL_BEGIN_DECLS

/* A workflow begins: orchestrator_active_workflows rises by one. Any thread. */
SL_API void sl_record_workflow_start(sl_sdk *sdk);

/*
 * A workflow has ended: orchestrator_active_workflows falls by one, its duration in seconds and its outcome (success,
 * failure) are counted under its name. Any thread.
 */
SL_API void sl_record_workflow_complete(sl_sdk *sdk, const char *workflow_name, double duration_s, bool success);

/*
 * A request to an LLM provider has ended, after a duration in seconds. Tokens below 0 are not known and not counted.
 * Any thread.
 */
SL_API void sl_record_llm_request(sl_sdk *sdk, const char *provider, const char *model, double duration_s, bool success,
                                  int64_t input_tokens, int64_t output_tokens);

/*
 * A step has ended. `step_type` is such as "llm", `status` is "success", "failure" or "skipped"; of a skipped one the
 * duration (seconds) is not recorded. Any thread.
 */
SL_API void sl_record_step_execution(sl_sdk *sdk, const char *step_type, double duration_s, const char *status);

/* An error: `error_type` such as "timeout", `component` "executor", "provider" or "step_executor". Any thread. */
SL_API void sl_record_error(sl_sdk *sdk, const char *error_type, const char *component);

/*
 * Everything recorded so far as Prometheus text (version 0.0.4), NUL-terminated.
 * Ownership: the caller frees it by free(). NULL when there is no SDK, it only records, or memory ran out. Any thread.
 */
SL_API char *sl_gather_metrics(sl_sdk *sdk);

SL_END_DECLS

#endif
