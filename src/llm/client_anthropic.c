/*
 * Bodies and answers of the Anthropic protocol: messages.
 *
 * Messages in OpenAI's shape are taken: those of the system go into `system`, `stop` becomes stop_sequences.
 */
#include "src/base/assert.h"
#include "src/llm/client_impl.h"
#include "src/wire/json_write.h"

#define DEFAULT_MAX_TOKENS 1024 /* the protocol demands a limit */

/* ---- bodies ---- */

static bool is_system(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role && (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0);
}

static bool has_system(const sl_llm_request *request)
{
    SL_ASSERT(request);
    bool found = request->system.len > 0;
    for (size_t i = 0; i < json_array_size(request->messages) && !found; i++)
        found = is_system(json_array_get(request->messages, i));
    return found;
}

static void add_text(sl_buf *text, const json_t *value)
{
    if (!json_is_string(value))
        return;
    if (text->len)
        (void)sl_buf_put_c(text, "\n\n");
    (void)sl_buf_put(text, json_string_value(value), json_string_length(value));
}

/* The system's texts with an empty line between them: each a string, or a list of parts with a text each. */
static int put_system(sl_buf *out, const sl_llm_request *request)
{
    SL_ASSERT(request);
    if (!has_system(request))
        return 0;
    sl_buf text;
    sl_buf_init(&text, SL_MAX_LLM_REQUEST_BYTES);
    (void)sl_buf_put_str(&text, request->system);
    for (size_t i = 0; i < json_array_size(request->messages); i++) {
        const json_t *message = json_array_get(request->messages, i);
        const json_t *content = json_object_get(message, "content");
        if (!is_system(message))
            continue;
        add_text(&text, content);
        for (size_t part = 0; part < json_array_size(content); part++)
            add_text(&text, json_object_get(json_array_get(content, part), "text"));
    }
    int error = text.failed;
    if (!error)
        sl_llm_put_text(out, "system", sl_buf_str(&text));
    sl_buf_done(&text);
    return error;
}

static int put_messages(sl_buf *out, const sl_llm_request *request)
{
    SL_ASSERT(request);
    if (request->messages && !json_is_array(request->messages))
        return SL_EINVAL;
    sl_llm_put_name(out, "messages");
    (void)sl_buf_put_char(out, '[');
    if (!request->messages) {
        (void)sl_buf_put_c(out, "{\"role\":\"user\",\"content\":");
        (void)sl_json_put_string(out, request->prompt);
        (void)sl_buf_put_char(out, '}');
    }
    bool first = true;
    for (size_t i = 0; i < json_array_size(request->messages); i++) {
        const json_t *message = json_array_get(request->messages, i);
        if (is_system(message))
            continue;
        if (!first)
            (void)sl_buf_put_char(out, ',');
        first = false;
        int error = sl_json_put_value(out, message);
        if (error)
            return error;
    }
    return sl_buf_put_char(out, ']');
}

/* `stop` by its name here, as a list. */
static int put_stop(sl_buf *out, const json_t *extra)
{
    const json_t *stop = json_object_get(extra, "stop");
    if (!stop || json_is_null(stop) || json_object_get(extra, "stop_sequences"))
        return 0;
    sl_llm_put_name(out, "stop_sequences");
    if (json_is_array(stop))
        return sl_json_put_value(out, stop);
    (void)sl_buf_put_char(out, '[');
    int error = sl_json_put_value(out, stop);
    return error ? error : sl_buf_put_char(out, ']');
}

int sl_anthropic_put_chat(sl_buf *out, sl_str model, const sl_llm_request *request)
{
    SL_ASSERT(out && request);
    static const char *const taken[] = {"model",  "messages",       "max_tokens", "system",
                                        "stream", "stream_options", "stop",       NULL};
    static const char *const taken_all[] = {"model",          "messages", "max_tokens",  "system", "stream",
                                            "stream_options", "stop",     "temperature", NULL};
    json_int_t asked = json_integer_value(json_object_get(request->extra, "max_tokens"));
    uint64_t limit = request->max_tokens ? request->max_tokens : asked > 0 ? (uint64_t)asked : DEFAULT_MAX_TOKENS;
    (void)sl_buf_put_char(out, '{');
    sl_llm_put_text(out, "model", model);
    int error = put_messages(out, request);
    if (error)
        return error;
    sl_llm_put_number(out, "max_tokens", limit);
    error = put_system(out, request);
    if (error)
        return error;
    if (request->has_temperature) {
        sl_llm_put_name(out, "temperature");
        (void)sl_buf_put_double(out, request->temperature);
    }
    if (request->stream) {
        sl_llm_put_name(out, "stream");
        (void)sl_buf_put_c(out, "true");
    }
    error = put_stop(out, request->extra);
    if (!error)
        error = sl_llm_put_extra(out, request->extra, request->has_temperature ? taken_all : taken);
    return error ? error : sl_buf_put_char(out, '}');
}

/* ---- answers ---- */

static void read_common(sl_llm_call *call, const json_t *message)
{
    SL_ASSERT(call);
    sl_llm_take_string(json_object_get(message, "id"), call->id, sizeof call->id);
    sl_llm_take_string(json_object_get(message, "model"), call->answered, sizeof call->answered);
    sl_llm_take_string(json_object_get(message, "stop_reason"), call->reason, sizeof call->reason);
    sl_llm_take_usage(call, json_object_get(message, "usage"));
}

int sl_anthropic_read_message(sl_llm_call *call, const json_t *root)
{
    SL_ASSERT(call);
    if (json_is_object(json_object_get(root, "error")))
        return sl_llm_fault_told(call, json_object_get(root, "error"));
    const json_t *content = json_object_get(root, "content");
    read_common(call, root);
    if (!json_is_array(content))
        return sl_llm_fault(call, SL_EPROTO, true, "invalid_response", "the answer has no content");
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *block = json_array_get(content, i);
        const char *type = json_string_value(json_object_get(block, "type"));
        int error = type && strcmp(type, "text") == 0 ? sl_llm_take_text(call, json_object_get(block, "text")) : 0;
        if (error)
            return error;
    }
    return 0;
}

int sl_anthropic_read_event(sl_llm_call *call, const json_t *root)
{
    SL_ASSERT(call);
    const char *type = json_string_value(json_object_get(root, "type"));
    if (!type)
        return sl_llm_fault(call, SL_EPROTO, true, "invalid_response", "an event of the stream has no type");
    if (strcmp(type, "error") == 0)
        return sl_llm_fault_told(call, json_object_get(root, "error"));
    if (strcmp(type, "message_start") == 0)
        read_common(call, json_object_get(root, "message"));
    else if (strcmp(type, "content_block_delta") == 0)
        return sl_llm_take_text(call, json_object_get(json_object_get(root, "delta"), "text"));
    else if (strcmp(type, "message_delta") == 0) {
        sl_llm_take_string(json_object_get(json_object_get(root, "delta"), "stop_reason"), call->reason,
                           sizeof call->reason);
        sl_llm_take_usage(call, json_object_get(root, "usage"));
    } else if (strcmp(type, "message_stop") == 0) {
        call->ended = true;
    }
    return 0;
}
