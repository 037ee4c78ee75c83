/* The kinds of steps by their type, names of errors and of results. */
#include "src/flow/step.h"

#include "src/base/assert.h"

static const char *const error_names[] = {
    [SL_STEP_ERROR_NONE] = "",
    [SL_STEP_ERROR_TIMEOUT] = "timeout",
    [SL_STEP_ERROR_PROVIDER] = "provider_error",
    [SL_STEP_ERROR_REFUSED] = "provider_refused",
    [SL_STEP_ERROR_LIMIT] = "concurrency_limit",
    [SL_STEP_ERROR_TEMPLATE] = "template_error",
    [SL_STEP_ERROR_INPUT] = "invalid_input",
    [SL_STEP_ERROR_FORBIDDEN] = "forbidden",
    [SL_STEP_ERROR_TOO_BIG] = "too_big",
    [SL_STEP_ERROR_INTERNAL] = "internal",
    [SL_STEP_ERROR_CANCELLED] = "cancelled",
    [SL_STEP_ERROR_EXIT] = "exit_status",
    [SL_STEP_ERROR_VALIDATION] = "validation",
};

const char *sl_step_error_name(sl_step_error error)
{
    SL_ASSERT((unsigned)error < sizeof error_names / sizeof *error_names);
    return error_names[error];
}

bool sl_step_error_of(sl_str name, sl_step_error *ret_error)
{
    SL_ASSERT(ret_error);
    for (size_t i = 1; i < sizeof error_names / sizeof *error_names; i++) {
        if (i == SL_STEP_ERROR_CANCELLED || i == SL_STEP_ERROR_INTERNAL || i == SL_STEP_ERROR_VALIDATION ||
            !sl_str_eq_c(name, error_names[i]))
            continue;
        *ret_error = (sl_step_error)i;
        return true;
    }
    return false;
}

bool sl_step_error_retries(sl_step_error error)
{
    return error == SL_STEP_ERROR_TIMEOUT || error == SL_STEP_ERROR_PROVIDER || error == SL_STEP_ERROR_LIMIT;
}

const char *const *sl_step_result_names(sl_step_type type)
{
    static const char *const llm[] = {"text", "model", "tokens", "metadata", NULL};
    static const char *const embed[] = {"vector", "metadata", NULL};
    static const char *const results[] = {"results", "metadata", NULL};
    static const char *const result[] = {"result", "metadata", NULL};
    static const char *const *const names[SL_STEP_TYPE_COUNT] = {
        [SL_STEP_LLM] = llm,          [SL_STEP_EMBED] = embed,   [SL_STEP_VECTOR_SEARCH] = results,
        [SL_STEP_TRANSFORM] = result, [SL_STEP_ACTION] = result, [SL_STEP_PARALLEL] = results,
        [SL_STEP_BRANCH] = result,    [SL_STEP_LOOP] = results,
    };
    SL_ASSERT((unsigned)type < SL_STEP_TYPE_COUNT);
    return names[type];
}

/* step_llm.c, step_embed.c, step_vector.c, step_transform.c, step_action.c */
extern const sl_step_kind sl_step_llm_kind;
extern const sl_step_kind sl_step_embed_kind;
extern const sl_step_kind sl_step_vector_kind;
extern const sl_step_kind sl_step_transform_kind;
extern const sl_step_kind sl_step_action_kind;

const sl_step_kind *const sl_step_kinds[SL_STEP_TYPE_COUNT] = {
    [SL_STEP_LLM] = &sl_step_llm_kind,
    [SL_STEP_EMBED] = &sl_step_embed_kind,
    [SL_STEP_VECTOR_SEARCH] = &sl_step_vector_kind,
    [SL_STEP_TRANSFORM] = &sl_step_transform_kind,
    [SL_STEP_ACTION] = &sl_step_action_kind,
};
