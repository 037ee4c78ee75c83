/*
 * Providers that LiteLLM's `provider/model` prefixes name, as a table: where they live and which protocol they speak.
 */
#ifndef SL_LLM_PROVIDER_H
#define SL_LLM_PROVIDER_H

#include "src/base/str.h"

typedef struct sl_provider {
    const char *prefix;   /* as in `prefix/model` */
    const char *api_base; /* default; NULL: api_base must be given */
    const char *genai;    /* gen_ai.provider.name of the OpenTelemetry conventions */
    bool speaks_openai;   /* false: known, but its protocol is not built yet */
} sl_provider;

/* The provider of a prefix; NULL when there is none of that name. */
const sl_provider *sl_provider_find(sl_str prefix);
/* Splits `provider/model`; a model without a known prefix belongs to openai and keeps its name whole. */
const sl_provider *sl_provider_split(sl_str model, sl_str *ret_model);

#endif
