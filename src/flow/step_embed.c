/*
 * embed steps: texts into vectors, in requests of at most batch_size texts one after the other; the vectors stand in
 * the order of the texts. One text gives one vector, a list of texts a list of vectors.
 */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/step_llm.h"
#include "src/llm/json_text.h"

#define BATCH_MAX 2048 /* what OpenAI takes in one request */

typedef struct embed_op {
    sl_step_try *attempt;
    sl_llm_call *call;
    sl_llm_request request; /* of the batch under way; its views point into `provider` and `model` */
    json_t *provider;
    json_t *model;
    json_t *extra;
    json_t *inputs; /* list of texts */
    json_t *batch;
    json_t *vectors;
    json_t *answered; /* model */
    size_t batch_size;
    bool single;
    bool has_tokens;
    int64_t tokens;
} embed_op;

static const char *const own_keys[] = {"provider",   "model", "input",       "dimensions",
                                       "batch_size", "name",  "description", NULL};

static void op_free(embed_op *op)
{
    SL_ASSERT(op);
    json_decref(op->provider);
    json_decref(op->model);
    json_decref(op->extra);
    json_decref(op->inputs);
    json_decref(op->batch);
    json_decref(op->vectors);
    json_decref(op->answered);
    sl_free(op);
}

/* Takes the op off its try. */
static sl_step_try *op_end(embed_op *op)
{
    sl_step_try *attempt = op->attempt;
    SL_ASSERT(attempt->data == op);
    attempt->data = NULL;
    op_free(op);
    return attempt;
}

/* ---- results ---- */

static void succeed(embed_op *op)
{
    SL_ASSERT(op && op->vectors);
    json_t *value = op->single ? json_array_get(op->vectors, 0) : op->vectors;
    size_t dimensions = json_array_size(json_array_get(op->vectors, 0));
    json_t *model = op->answered ? op->answered : op->model;
    json_t *tokens = op->has_tokens ? json_integer(op->tokens) : json_null();
    json_t *metadata =
        json_pack("{s:O,s:I,s:O}", "model", model, "dimensions", (json_int_t)dimensions, "tokens_used", tokens);
    if (metadata && !op->single)
        (void)json_object_set_new(metadata, "count", json_integer((json_int_t)json_array_size(op->vectors)));
    json_t *results = json_pack("[O,o]", value, metadata);
    json_t *extra =
        json_pack("{s:{s:O,s:O,s:o}}", "_response", "embeddings", op->vectors, "model", model, "tokens_used", tokens);
    json_t *text = json_incref(value);
    sl_step_try *attempt = op_end(op);
    if (results && extra) {
        sl_step_succeed(attempt, results, extra, text);
        return;
    }
    json_decref(results);
    json_decref(extra);
    json_decref(text);
    sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
}

/* ---- batches ---- */

static void on_done(void *user, const sl_llm_result *result);

/* The texts of the next request. */
static json_t *next_batch(const embed_op *op)
{
    SL_ASSERT(op);
    if (op->single)
        return json_incref(json_array_get(op->inputs, 0));
    size_t from = json_array_size(op->vectors);
    json_t *batch = json_array();
    for (size_t i = from; batch && i < json_array_size(op->inputs) && i - from < op->batch_size; i++) {
        if (json_array_append(batch, json_array_get(op->inputs, i)) != 0) {
            json_decref(batch);
            batch = NULL;
        }
    }
    return batch;
}

static void begin(embed_op *op)
{
    SL_ASSERT(op && !op->call);
    json_decref(op->batch);
    op->batch = next_batch(op);
    op->request.input = op->batch;
    int error = op->batch ? sl_llm_start(op->attempt->llm, &op->request, &op->call) : SL_ENOMEM;
    if (!error)
        return;
    sl_step_try *attempt = op->attempt;
    attempt->data = NULL;
    sl_llm_step_refused(attempt, &op->request, error);
    op_free(op);
}

static void on_done(void *user, const sl_llm_result *result)
{
    embed_op *op = user;
    SL_ASSERT(op && op->call);
    op->call = NULL;
    sl_llm_step_usage(op->attempt, result);
    if (result->error) {
        sl_llm_step_failed(op_end(op), result);
        return;
    }
    const json_t *total = json_object_get(result->usage, "total_tokens");
    op->has_tokens |= result->has_usage;
    op->tokens += json_is_integer(total) ? (int64_t)json_integer_value(total) : (int64_t)result->input_tokens;
    if (!op->answered)
        op->answered = json_stringn(result->model.ptr, result->model.len);
    if (json_array_extend(op->vectors, result->vectors) != 0)
        sl_step_fail(op_end(op), SL_STEP_ERROR_INTERNAL, "out of memory");
    else if (json_array_size(op->vectors) < json_array_size(op->inputs))
        begin(op);
    else
        succeed(op);
}

/* ---- params ---- */

/* Numbers are taken as they are written. NULL: no text. */
static json_t *as_text(json_t *value)
{
    if (json_is_string(value))
        return json_incref(value);
    if (!json_is_number(value))
        return NULL;
    char *text = sl_json_text(value);
    json_t *string = text ? json_string(text) : NULL;
    free(text);
    return string;
}

/* False: neither a text nor a list of texts. */
static bool read_input(embed_op *op, json_t *input)
{
    SL_ASSERT(op);
    op->single = !json_is_array(input);
    op->inputs = json_array();
    size_t count = op->single ? 1 : json_array_size(input);
    for (size_t i = 0; i < count; i++) {
        json_t *text = as_text(op->single ? input : json_array_get(input, i));
        if (!text || json_array_append_new(op->inputs, text) != 0)
            return false;
    }
    return op->inputs != NULL;
}

static bool read_name(const json_t *params, const char *name, json_t **ret_owned, sl_str *ret_text)
{
    SL_ASSERT(name && ret_owned);
    json_t *made = NULL;
    if (!sl_llm_param_text(params, name, ret_text, &made))
        return false;
    *ret_owned = made ? made : json_stringn(ret_text->ptr, ret_text->len);
    if (!*ret_owned)
        return false;
    *ret_text = sl_str_of(json_string_value(*ret_owned), json_string_length(*ret_owned));
    return true;
}

/* Name of the param that is wrong, or NULL. */
static const char *read_params(embed_op *op, const json_t *params)
{
    SL_ASSERT(op);
    double number;
    bool present, wrong = false;
    if (!read_name(params, "provider", &op->provider, &op->request.provider))
        return "provider";
    if (!read_name(params, "model", &op->model, &op->request.model))
        return "model";
    if (!read_input(op, json_object_get(params, "input")))
        return "input";
    if (!sl_llm_param_number(params, "dimensions", &present, &number) || (present && (number < 1 || number > 1e6)))
        return "dimensions";
    op->request.dimensions = present ? (uint64_t)number : 0;
    if (!sl_llm_param_number(params, "batch_size", &present, &number) || (present && number < 1))
        return "batch_size";
    op->batch_size = present && number < BATCH_MAX ? (size_t)number : BATCH_MAX;
    op->extra = sl_llm_param_extra(params, own_keys, &wrong);
    op->request.extra = op->extra;
    return op->extra ? NULL : "extra";
}

/* ---- the step ---- */

static void start(sl_step_try *attempt)
{
    SL_ASSERT(attempt && !attempt->data);
    if (!sl_llm_step_client(attempt)) {
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "no provider is configured; set OPENAI_API_KEY");
        return;
    }
    embed_op *op = sl_calloc(1, sizeof *op);
    if (!op) {
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    op->attempt = attempt;
    op->request = (sl_llm_request){.operation = SL_LLM_EMBEDDINGS,
                                   .timeout_ms = sl_llm_step_timeout(attempt),
                                   .parent = attempt->span,
                                   .on_done = on_done,
                                   .user = op};
    attempt->data = op;
    op->vectors = json_array();
    const char *wrong = read_params(op, attempt->params);
    if (wrong)
        sl_step_fail(op_end(op), SL_STEP_ERROR_INPUT, "%s: has the wrong type once its template is filled in", wrong);
    else if (!op->vectors)
        sl_step_fail(op_end(op), SL_STEP_ERROR_INTERNAL, "out of memory");
    else if (json_array_size(op->inputs) == 0)
        succeed(op); /* a list that a template made, with nothing in it */
    else
        begin(op);
}

static void cancel(sl_step_try *attempt)
{
    SL_ASSERT(attempt);
    embed_op *op = attempt->data;
    if (!op)
        return;
    sl_llm_cancel(op->call);
    (void)op_end(op);
}

const sl_step_kind sl_step_embed_kind = {start, cancel};
