/*
 * The providers of llm and embed steps, anew while the process runs: a reload. Steps that start after it use the new
 * ones, all of them at once; a step that has started keeps those it began with, for its retries too.
 */
#ifndef SL_FLOW_MODELS_H
#define SL_FLOW_MODELS_H

#include "src/flow/services.h"

/* Adds the providers of the configuration. Returns an error, which it has said, or 0. */
typedef int (*sl_flow_models_fn)(void *user, sl_llm_client *client);

/*
 * Makes a client of what the environment says and `add` adds; it takes the place of services->llm. On failure all stays
 * as it was. Errors: SL_ENOMEM, those of sl_llm_endpoints_from_env and of `add`.
 */
SL_MUST_CHECK int sl_flow_models_reload(sl_flow_services *services, sl_flow_models_fn add, void *user);
/*
 * Adds the models of a configuration; on failure `reason` says which of them cannot be used, and why. Errors: as
 * sl_llm_endpoints_from_config.
 */
SL_MUST_CHECK int sl_flow_models_add(sl_llm_client *client, const sl_config *config, char *reason, size_t size);

#endif
