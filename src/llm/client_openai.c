/*
 * Bodies and answers of the OpenAI protocol: chat completions and embeddings.
 *
 * What is not given is left out of the body, but for `stream`. Answers are read for their first choice.
 */
#include "src/base/assert.h"
#include "src/llm/client_impl.h"

/* ---- bodies ---- */

/* Models that refuse max_tokens and want it by its later name. */
static const char *limit_name(sl_str model)
{
    static const char *const later[] = {"o1*", "o3*", "o4*", "gpt-5*"};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (sl_str_glob(sl_str_c(later[i]), model))
            return "max_completion_tokens";
    }
    return "max_tokens";
}

static void put_message(sl_buf *out, const char *role, sl_str content)
{
    SL_ASSERT(role);
    if (out->len && out->data[out->len - 1] == '}')
        (void)sl_buf_put_char(out, ',');
    (void)sl_buf_put_char(out, '{');
    sl_llm_put_text(out, "role", sl_str_c(role));
    sl_llm_put_text(out, "content", content);
    (void)sl_buf_put_char(out, '}');
}

static int put_messages(sl_buf *out, const sl_llm_request *request)
{
    SL_ASSERT(request);
    sl_llm_put_name(out, "messages");
    if (request->messages && !json_is_array(request->messages))
        return SL_EINVAL;
    (void)sl_buf_put_char(out, '[');
    if (request->system.len)
        put_message(out, "system", request->system);
    if (!request->messages)
        put_message(out, "user", request->prompt);
    for (size_t i = 0; i < json_array_size(request->messages); i++) {
        if (i || request->system.len)
            (void)sl_buf_put_char(out, ',');
        int error = sl_json_put_value(out, json_array_get(request->messages, i));
        if (error)
            return error;
    }
    return sl_buf_put_char(out, ']');
}

int sl_openai_put_chat(sl_buf *out, sl_str model, const sl_llm_request *request)
{
    SL_ASSERT(out && request);
    const char *taken[8] = {"model", "messages", "stream", "stream_options"};
    size_t count = 4;
    (void)sl_buf_put_char(out, '{');
    sl_llm_put_text(out, "model", model);
    int error = put_messages(out, request);
    if (error)
        return error;
    if (request->has_temperature) {
        sl_llm_put_name(out, "temperature");
        (void)sl_buf_put_double(out, request->temperature);
        taken[count++] = "temperature";
    }
    if (request->max_tokens) {
        taken[count] = limit_name(model);
        sl_llm_put_number(out, taken[count++], request->max_tokens);
    }
    sl_llm_put_name(out, "stream");
    (void)sl_buf_put_c(out, request->stream ? "true" : "false");
    if (request->stream) {
        sl_llm_put_name(out, "stream_options");
        (void)sl_buf_put_c(out, "{\"include_usage\":true}");
    }
    error = sl_llm_put_extra(out, request->extra, taken);
    return error ? error : sl_buf_put_char(out, '}');
}

/* A text, or a list of texts that is not empty. */
static bool is_input(const json_t *input)
{
    if (json_is_string(input))
        return true;
    size_t count = json_array_size(input);
    for (size_t i = 0; i < count; i++) {
        if (!json_is_string(json_array_get(input, i)))
            return false;
    }
    return count > 0;
}

int sl_openai_put_embeddings(sl_buf *out, sl_str model, const sl_llm_request *request)
{
    SL_ASSERT(out && request);
    const char *taken[6] = {"model", "input", "encoding_format"};
    if (!is_input(request->input))
        return SL_EINVAL;
    (void)sl_buf_put_char(out, '{');
    sl_llm_put_text(out, "model", model);
    sl_llm_put_name(out, "input");
    int error = sl_json_put_value(out, request->input);
    if (error)
        return error;
    if (request->dimensions) {
        sl_llm_put_number(out, "dimensions", request->dimensions);
        taken[3] = "dimensions";
    }
    error = sl_llm_put_extra(out, request->extra, taken);
    return error ? error : sl_buf_put_char(out, '}');
}

/* ---- answers ---- */

static void read_common(sl_llm_call *call, const json_t *root)
{
    SL_ASSERT(call);
    sl_llm_take_string(json_object_get(root, "id"), call->id, sizeof call->id);
    sl_llm_take_string(json_object_get(root, "model"), call->answered, sizeof call->answered);
    sl_llm_take_usage(call, json_object_get(root, "usage"));
}

/* Text of a message or of a delta: a string, a list of parts of which some are text, or nothing (tool calls). */
static int read_content(sl_llm_call *call, const json_t *content)
{
    SL_ASSERT(call);
    if (json_is_string(content))
        return sl_llm_take_text(call, content);
    for (size_t i = 0; i < json_array_size(content); i++) {
        int error = sl_llm_take_text(call, json_object_get(json_array_get(content, i), "text"));
        if (error)
            return error;
    }
    return 0;
}

int sl_openai_read_chat(sl_llm_call *call, const json_t *root)
{
    SL_ASSERT(call);
    if (json_is_object(json_object_get(root, "error")))
        return sl_llm_fault_told(call, json_object_get(root, "error"));
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *message = json_object_get(choice, "message");
    read_common(call, root);
    if (!json_is_object(message))
        return sl_llm_fault(call, SL_EPROTO, true, "invalid_response", "the answer has no choices");
    sl_llm_take_string(json_object_get(choice, "finish_reason"), call->reason, sizeof call->reason);
    return read_content(call, json_object_get(message, "content"));
}

int sl_openai_read_event(sl_llm_call *call, const json_t *root)
{
    SL_ASSERT(call);
    if (json_is_object(json_object_get(root, "error")))
        return sl_llm_fault_told(call, json_object_get(root, "error"));
    read_common(call, root);
    const json_t *choices = json_object_get(root, "choices");
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const json_t *choice = json_array_get(choices, i);
        if (json_integer_value(json_object_get(choice, "index")) != 0)
            continue;
        if (json_is_string(json_object_get(choice, "finish_reason"))) {
            sl_llm_take_string(json_object_get(choice, "finish_reason"), call->reason, sizeof call->reason);
            call->ended = true;
        }
        int error = read_content(call, json_object_get(json_object_get(choice, "delta"), "content"));
        if (error)
            return error;
    }
    return 0;
}

/* True for a list of numbers that is not empty. */
static bool is_vector(const json_t *vector)
{
    size_t count = json_array_size(vector);
    for (size_t i = 0; i < count; i++) {
        if (!json_is_number(json_array_get(vector, i)))
            return false;
    }
    return count > 0;
}

/* Puts every vector in the place of its input. */
static bool place_vectors(json_t *vectors, const json_t *data, size_t count)
{
    SL_ASSERT(vectors);
    for (size_t i = 0; i < count; i++) {
        if (json_array_append_new(vectors, json_null()) != 0)
            return false;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(data, i);
        const json_t *at = json_object_get(item, "index");
        json_t *vector = json_object_get(item, "embedding");
        json_int_t index = at ? json_integer_value(at) : (json_int_t)i;
        if (index < 0 || (size_t)index >= count || !is_vector(vector) ||
            !json_is_null(json_array_get(vectors, (size_t)index)) ||
            json_array_set(vectors, (size_t)index, vector) != 0)
            return false;
    }
    return true;
}

int sl_openai_read_embeddings(sl_llm_call *call, const json_t *root)
{
    SL_ASSERT(call && !call->vectors);
    if (json_is_object(json_object_get(root, "error")))
        return sl_llm_fault_told(call, json_object_get(root, "error"));
    const json_t *data = json_object_get(root, "data");
    read_common(call, root);
    if (json_array_size(data) != call->input_count)
        return sl_llm_fault(call, SL_EPROTO, true, "invalid_response", "the answer has %zu vectors for %zu inputs",
                            json_array_size(data), call->input_count);
    call->vectors = json_array();
    if (!call->vectors)
        return SL_ENOMEM;
    if (!place_vectors(call->vectors, data, call->input_count))
        return sl_llm_fault(call, SL_EPROTO, true, "invalid_response",
                            "the answer's vectors are no lists of numbers, one for each input");
    return 0;
}
