/*
 * What a run tells: spans, the orchestrator_* families, log lines. Called by the executor at the turns of a run; knows
 * all names, decides nothing.
 *
 *   workflow.execute:<name>  workflow_id workflow_name run_id          (status ERROR with the reason when it failed)
 *     step.execute:<id>      step_id step_type attempts                (events `retry`: attempt, error_type, delay_ms)
 *
 * Metrics: a workflow that did not succeed is a failure (also when cancelled). A step that never began is not counted,
 * a skipped one has no duration. Every try of an llm or embed step that reached its provider is an LLM request. An
 * error is counted once where it happened: timeouts by component executor, each failed request by provider, every other
 * end of a step that failed by step_executor; a block or a run that fails by its steps counts nothing.
 */
#ifndef SL_FLOW_FLOW_TELEMETRY_H
#define SL_FLOW_FLOW_TELEMETRY_H

#include "src/flow/executor_impl.h"

typedef enum sl_component { SL_COMPONENT_EXECUTOR = 0, SL_COMPONENT_PROVIDER, SL_COMPONENT_STEP } sl_component;

/* `sdk` NULL: everything does nothing. NULL: no memory. */
sl_flow_meter *sl_flow_meter_new(sl_sdk *sdk);
void sl_flow_meter_free(sl_flow_meter *meter);
/* Forgets the series that hang on plans, which go away. NULL is accepted. */
void sl_flow_meter_forget(sl_flow_meter *meter);

void sl_flow_tell_run_started(sl_flow_run *run);
void sl_flow_tell_run_ended(sl_flow_run *run);
void sl_flow_tell_step_started(sl_node *node);
void sl_flow_tell_try_started(sl_node *node);
void sl_flow_tell_try_ended(sl_node *node, sl_step_error outcome);
void sl_flow_tell_step_retried(sl_node *node, sl_step_error error, const char *message, uint64_t delay_ms);
void sl_flow_tell_step_ended(sl_node *node);
void sl_flow_tell_usage(sl_node *node, const sl_step_usage *usage);
void sl_flow_tell_error(sl_flow_meter *meter, sl_step_error error, sl_component component);

#endif
