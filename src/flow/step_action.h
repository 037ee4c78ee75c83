/*
 * Action steps: what a workflow does to the world. One table of actions; each begins, and ends its step later.
 *
 * A name that is no action is a webhook's, when one of that name is configured; else the step succeeds with a warning,
 * and what it would have done stands in the log.
 */
#ifndef SL_FLOW_STEP_ACTION_H
#define SL_FLOW_STEP_ACTION_H

#include "src/flow/actions.h"
#include "src/flow/services.h"
#include "src/flow/step.h"

/* The first member of what an action keeps in sl_step_try.data until its step has ended. */
typedef struct sl_action_op {
    void (*cancel)(struct sl_action_op *op);
} sl_action_op;

void sl_action_http(sl_step_try *attempt);
void sl_action_webhook(sl_step_try *attempt);
void sl_action_exec(sl_step_try *attempt);
void sl_action_file(sl_step_try *attempt);
void sl_action_queue(sl_step_try *attempt);
/* The webhook of a configured name, with the step's params as its data. */
void sl_action_named_webhook(sl_step_try *attempt, const sl_flow_webhook *webhook);

/* Ends a step with the results [result, metadata]; both references are taken over. */
void sl_action_succeed(sl_step_try *attempt, json_t *result, json_t *metadata);
/* A param as text; false (and the step has failed) when it is there and no text. Absent: `fallback`. */
bool sl_action_text(sl_step_try *attempt, const char *name, sl_str fallback, sl_str *ret_text);
/* A param as a number from `min` to `max`; a text that is one is fine. False: the step has failed. */
bool sl_action_number(sl_step_try *attempt, const char *name, double fallback, double min, double max,
                      double *ret_number);
/* Text as it is, everything else as JSON. The caller frees `ret_memory` (by free). Empty for null. False: no memory. */
bool sl_action_body(json_t *value, sl_str *ret_text, char **ret_memory, bool *ret_json);
/* Bytes as a JSON string; base64 (`*ret_encoded` true) when they are no UTF-8. NULL: no memory. */
json_t *sl_action_bytes(sl_str bytes, bool *ret_encoded);

#endif
