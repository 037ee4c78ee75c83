/*
 * Steps that call providers: llm (step_llm.c) and embed (step_embed.c), and what they have in common.
 *
 * Keys of a step that are not the step's own go into the body of the request, as does what its `extra` holds. Nothing
 * here retries: the executor does, by what the failure says.
 */
#ifndef SL_FLOW_STEP_LLM_H
#define SL_FLOW_STEP_LLM_H

#include "src/flow/services.h"
#include "src/flow/step.h"

extern const sl_step_kind sl_step_llm_kind;
extern const sl_step_kind sl_step_embed_kind;

/* A param as text: a string, or a number as it is written. False: it is neither. Absent and null: empty. The view lives
 * as long as `*ret_owned` (may come back NULL), which the caller releases. */
bool sl_llm_param_text(const json_t *params, const char *name, sl_str *ret_text, json_t **ret_owned);
/* A param as a number; a text that is one is fine. False: it is neither. Absent and null: `*ret_present` false. */
bool sl_llm_param_number(const json_t *params, const char *name, bool *ret_present, double *ret_number);
/* Params that are not in `own` (ends with NULL), and what `extra` holds. NULL without memory, or when extra is no
 * object (`*ret_wrong`). */
json_t *sl_llm_param_extra(const json_t *params, const char *const *own, bool *ret_wrong);
/*
 * The client that this step's calls go to: the services' as it was at the first try, so that a reload meanwhile changes
 * nothing for it. NULL: no provider is configured. The executor leaves it behind the step.
 */
sl_llm_client *sl_llm_step_client(sl_step_try *attempt);
/* Ends the try with what sl_llm_start returned. */
void sl_llm_step_refused(sl_step_try *attempt, const sl_llm_request *request, int error);
/* Ends the try with the failure of a call. */
void sl_llm_step_failed(sl_step_try *attempt, const sl_llm_result *result);
/* Time of a call: the step's own limit is the executor's business, the client's must not come before it. */
uint64_t sl_llm_step_timeout(const sl_step_try *attempt);
void sl_llm_step_usage(sl_step_try *attempt, const sl_llm_result *result);

#endif
