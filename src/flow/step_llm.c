/* llm steps: one chat with a provider. */
#include "src/flow/step_llm.h"

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/llm/json_text.h"

/* ---- params, for both kinds ---- */

bool sl_llm_param_text(const json_t *params, const char *name, sl_str *ret_text, json_t **ret_owned)
{
    SL_ASSERT(name && ret_text && ret_owned);
    json_t *value = json_object_get(params, name);
    *ret_text = sl_str_of("", 0);
    *ret_owned = NULL;
    if (!value || json_is_null(value))
        return true;
    if (json_is_number(value)) {
        char *text = sl_json_text(value);
        *ret_owned = text ? json_string(text) : NULL;
        free(text);
        value = *ret_owned;
    }
    if (!json_is_string(value))
        return false;
    *ret_text = sl_str_of(json_string_value(value), json_string_length(value));
    return true;
}

bool sl_llm_param_number(const json_t *params, const char *name, bool *ret_present, double *ret_number)
{
    SL_ASSERT(name && ret_present && ret_number);
    const json_t *value = json_object_get(params, name);
    *ret_present = false;
    if (!value || json_is_null(value))
        return true;
    if (json_is_string(value)) {
        sl_str text = sl_str_trim(sl_str_of(json_string_value(value), json_string_length(value)));
        if (!text.len)
            return true; /* a template that found nothing */
        *ret_present = sl_str_to_double(text, ret_number) == 0;
    } else if (json_is_number(value)) {
        *ret_number = json_number_value(value);
        *ret_present = true;
    }
    return *ret_present;
}

static bool is_in(const char *const *names, const char *name)
{
    SL_ASSERT(names && name);
    for (; *names; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

json_t *sl_llm_param_extra(const json_t *params, const char *const *own, bool *ret_wrong)
{
    SL_ASSERT(own && ret_wrong);
    json_t *more = json_object_get(params, "extra");
    json_t *all = json_object();
    const char *key;
    json_t *value;
    bool good = all != NULL;
    *ret_wrong = more && !json_is_null(more) && !json_is_object(more);
    json_object_foreach((json_t *)(uintptr_t)params, key, value)
    {
        if (good && !is_in(own, key) && strcmp(key, "extra") != 0 && !json_is_null(value))
            good = json_object_set(all, key, value) == 0;
    }
    if (good && json_is_object(more))
        good = json_object_update(all, more) == 0;
    if (good && !*ret_wrong)
        return all;
    json_decref(all);
    return NULL;
}

sl_llm_client *sl_llm_step_client(sl_step_try *attempt)
{
    SL_ASSERT(attempt && attempt->services);
    if (!attempt->llm)
        attempt->llm = sl_llm_client_use(attempt->services->llm);
    return attempt->llm;
}

uint64_t sl_llm_step_timeout(const sl_step_try *attempt)
{
    SL_ASSERT(attempt);
    uint64_t own = attempt->step->timeout_ms;
    return own > 0 ? own + 1000 : 0;
}

/* ---- ends, for both kinds ---- */

void sl_llm_step_refused(sl_step_try *attempt, const sl_llm_request *request, int error)
{
    SL_ASSERT(attempt && error < 0);
    char text[256];
    switch (error) {
    case SL_ENOENT:
        sl_llm_client_explain(attempt->llm, request->provider, text, sizeof text);
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "%s", text);
        break;
    case SL_ENOTSUP:
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "provider %.*s: has no embeddings; name another provider",
                     (int)request->provider.len, request->provider.ptr);
        break;
    case SL_EINVAL:
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT,
                     request->model.len ? "the request cannot be made: messages or input have the wrong type"
                                        : "the model has no name; set `model`");
        break;
    case SL_ETOOBIG:
        sl_step_fail(attempt, SL_STEP_ERROR_TOO_BIG, "the request is larger than %u bytes, or nested too deep",
                     SL_MAX_LLM_REQUEST_BYTES);
        break;
    case SL_ECLOSED:
        sl_step_fail(attempt, SL_STEP_ERROR_CANCELLED, "the process is ending");
        break;
    default:
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "%s", sl_strerror(error));
    }
}

void sl_llm_step_failed(sl_step_try *attempt, const sl_llm_result *result)
{
    SL_ASSERT(attempt && result->error < 0);
    sl_step_error error = SL_STEP_ERROR_REFUSED;
    if (result->error == SL_ETIMEOUT)
        error = SL_STEP_ERROR_TIMEOUT;
    else if (result->error == SL_ETOOBIG)
        error = SL_STEP_ERROR_TOO_BIG;
    else if (result->error == SL_ENOMEM)
        error = SL_STEP_ERROR_INTERNAL;
    else if (result->retryable)
        error = SL_STEP_ERROR_PROVIDER;
    attempt->retry_after_ms = result->retry_after_ms;
    sl_step_fail(attempt, error, "%s", result->message);
}

void sl_llm_step_usage(sl_step_try *attempt, const sl_llm_result *result)
{
    SL_ASSERT(attempt && result);
    if (!result->has_usage)
        return;
    sl_step_usage usage = {.input_tokens = result->input_tokens,
                           .output_tokens = result->output_tokens,
                           .cost_usd = result->cost_known ? result->cost_usd : 0,
                           .cost_known = result->cost_known};
    sl_step_add_usage(attempt, &usage);
}

/* ---- results ---- */

/* Sets what is known; a value that is missing is left out. */
static void put(json_t *object, const char *key, json_t *value)
{
    if (value)
        (void)json_object_set_new(object, key, value);
}

static json_t *text_of(sl_str text)
{
    return text.len ? json_stringn(text.ptr, text.len) : json_string("");
}

static int64_t sum_of(const json_t *usage, const char *input, const char *output)
{
    return (int64_t)(json_integer_value(json_object_get(usage, input)) +
                     json_integer_value(json_object_get(usage, output)));
}

/* The three counts as each protocol calls them; NULL when none were told. */
static json_t *usage_of(const sl_llm_result *r)
{
    SL_ASSERT(r);
    bool anthropic = r->protocol == SL_LLM_ANTHROPIC;
    const char *input = anthropic ? "input_tokens" : "prompt_tokens";
    const char *output = anthropic ? "output_tokens" : "completion_tokens";
    if (!r->has_usage)
        return NULL;
    const json_t *total = anthropic ? NULL : json_object_get(r->usage, "total_tokens");
    int64_t sum = json_is_integer(total) ? (int64_t)json_integer_value(total) : sum_of(r->usage, input, output);
    json_t *usage = json_object();
    put(usage, input, json_integer(json_integer_value(json_object_get(r->usage, input))));
    put(usage, output, json_integer(json_integer_value(json_object_get(r->usage, output))));
    put(usage, "total_tokens", json_integer(sum));
    return usage;
}

/* `metadata`: usage, and why and as what the answer ended. */
static json_t *metadata_of(const sl_llm_result *r)
{
    SL_ASSERT(r);
    bool anthropic = r->protocol == SL_LLM_ANTHROPIC;
    json_t *metadata = json_object();
    put(metadata, "usage", usage_of(r));
    if (r->finish_reason.len)
        put(metadata, anthropic ? "stop_reason" : "finish_reason", text_of(r->finish_reason));
    if (anthropic && r->id.len)
        put(metadata, "id", text_of(r->id));
    return metadata;
}

static void succeed(sl_step_try *attempt, const sl_llm_result *r)
{
    SL_ASSERT(attempt && !r->error);
    json_t *named = json_object_get(attempt->params, "model");
    json_t *text = text_of(r->text);
    json_t *metadata = metadata_of(r);
    /* The model is the one asked for over the OpenAI protocol, and the one that answered over Anthropic's: as the
     * format's original has it. Who really answered stands in the span. */
    bool asked = r->protocol == SL_LLM_OPENAI && json_is_string(named) && json_string_length(named);
    json_t *model = asked ? json_incref(named) : text_of(r->model);
    json_t *total = json_object_get(json_object_get(metadata, "usage"), "total_tokens");
    json_t *tokens = total ? json_incref(total) : json_null();
    json_t *response = json_object();
    put(response, "text", json_incref(text));
    put(response, "model", json_incref(model));
    put(response, "tokens_used", json_incref(tokens));
    (void)json_object_update(response, metadata);
    json_t *results = json_pack("[o,o,o,o]", json_incref(text), model, tokens, metadata);
    json_t *extra = json_pack("{s:o}", "_response", response);
    if (results && extra && text) {
        sl_step_succeed(attempt, results, extra, text);
        return;
    }
    json_decref(results);
    json_decref(extra);
    json_decref(text);
    sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
}

/* ---- the step ---- */

static const char *const own_keys[] = {"provider",   "model",  "prompt", "system",      "messages", "temperature",
                                       "max_tokens", "stream", "name",   "description", NULL};

static void on_done(void *user, const sl_llm_result *result)
{
    sl_step_try *attempt = user;
    attempt->data = NULL;
    sl_llm_step_usage(attempt, result);
    if (result->error)
        sl_llm_step_failed(attempt, result);
    else
        succeed(attempt, result);
}

static bool is_true(const json_t *value)
{
    sl_str text = sl_str_c(json_is_string(value) ? json_string_value(value) : "");
    return json_is_true(value) || sl_str_ieq(text, SL_STR("true"));
}

/* Numbers of the request. The name of one that is wrong, or NULL. */
static const char *read_numbers(const json_t *params, sl_llm_request *request)
{
    SL_ASSERT(request);
    double number = 0;
    bool present;
    if (!sl_llm_param_number(params, "temperature", &request->has_temperature, &request->temperature))
        return "temperature";
    if (!sl_llm_param_number(params, "max_tokens", &present, &number) || (present && (number < 1 || number > 1e9)))
        return "max_tokens";
    request->max_tokens = present ? (uint64_t)number : 0;
    return NULL;
}

/* Texts that are made of numbers, for the time of a start. */
#define TEXTS 4
typedef struct owned {
    json_t *texts[TEXTS];
    json_t *extra;
} owned;

/* Reads the params. What is wrong with them, or NULL. */
static const char *read_params(sl_step_try *attempt, sl_llm_request *request, owned *own)
{
    SL_ASSERT(attempt && request && own);
    static const char *const names[TEXTS] = {"provider", "model", "prompt", "system"};
    sl_str *const texts[TEXTS] = {&request->provider, &request->model, &request->prompt, &request->system};
    const json_t *params = attempt->params;
    for (size_t i = 0; i < TEXTS; i++) {
        if (!sl_llm_param_text(params, names[i], texts[i], &own->texts[i]))
            return names[i];
    }
    request->messages = json_object_get(params, "messages");
    if (json_is_null(request->messages))
        request->messages = NULL;
    if (request->messages && !json_is_array(request->messages))
        return "messages";
    request->stream = is_true(json_object_get(params, "stream"));
    bool wrong = false;
    own->extra = sl_llm_param_extra(params, own_keys, &wrong);
    request->extra = own->extra;
    return wrong ? "extra" : read_numbers(params, request);
}

static void start(sl_step_try *attempt)
{
    SL_ASSERT(attempt && !attempt->data);
    sl_llm_request request = {.operation = SL_LLM_CHAT, .parent = attempt->span, .on_done = on_done, .user = attempt};
    owned own;
    memset(&own, 0, sizeof own);
    request.timeout_ms = sl_llm_step_timeout(attempt);
    sl_llm_client *llm = sl_llm_step_client(attempt);
    const char *wrong = llm ? read_params(attempt, &request, &own) : NULL;
    sl_llm_call *call = NULL;
    int error = 0;
    if (llm && !wrong)
        error = own.extra ? sl_llm_start(llm, &request, &call) : SL_ENOMEM;
    attempt->data = call;
    if (!llm)
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT,
                     "no provider is configured; set OPENAI_API_KEY or ANTHROPIC_API_KEY");
    else if (wrong)
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "%s: has the wrong type once its template is filled in", wrong);
    else if (error)
        sl_llm_step_refused(attempt, &request, error);
    for (size_t i = 0; i < TEXTS; i++)
        json_decref(own.texts[i]);
    json_decref(own.extra);
}

static void cancel(sl_step_try *attempt)
{
    SL_ASSERT(attempt);
    sl_llm_call *call = attempt->data;
    attempt->data = NULL;
    sl_llm_cancel(call);
}

const sl_step_kind sl_step_llm_kind = {start, cancel};
