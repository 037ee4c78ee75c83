/* Answers of the fake provider. */
#include "src/cli/mock_answer.h"

#include <jansson.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/wire/json_write.h"

static const char *const words[] = {"This",  "is",    "a",   "mock",  "answer", "from",   "Sightline:", "no",
                                    "model", "wrote", "it.", "Every", "word",   "comes",  "from",       "a",
                                    "table", "and",   "the", "seed,", "so",     "counts", "are",        "exact."};
#define WORD_COUNT (sizeof words / sizeof *words)
#define CREATED 1700000000

/* ---- reading ---- */

static uint32_t count_words(const char *text)
{
    uint32_t count = 0;
    bool inside = false;
    for (; text && *text; text++) {
        bool space = *text == ' ' || *text == '\n' || *text == '\t';
        if (!space && !inside)
            count++;
        inside = !space;
    }
    return count;
}

/* Words of a string, of a list of strings, or of content parts with a "text". */
static uint32_t count_content(const json_t *content)
{
    if (json_is_string(content))
        return count_words(json_string_value(content));
    uint32_t count = 0;
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        count += json_is_string(part) ? count_words(json_string_value(part))
                                      : count_words(json_string_value(json_object_get(part, "text")));
    }
    return count;
}

static void read_tools(const json_t *root, sl_mock_request *r)
{
    const json_t *messages = json_object_get(root, "messages");
    const json_t *last = json_array_get(messages, json_array_size(messages) ? json_array_size(messages) - 1 : 0);
    const char *role = json_string_value(json_object_get(last, "role"));
    const char *choice = json_string_value(json_object_get(root, "tool_choice"));
    if ((role && strcmp(role, "tool") == 0) || (choice && strcmp(choice, "none") == 0))
        return;
    const json_t *tool = json_array_get(json_object_get(root, "tools"), 0);
    const json_t *function = json_object_get(tool, "function");
    const char *name = json_string_value(json_object_get(function ? function : tool, "name"));
    if (name)
        snprintf(r->tool, sizeof r->tool, "%s", name);
}

static void read_prompt(const json_t *root, sl_mock_request *r)
{
    SL_ASSERT(r);
    uint32_t count = count_content(json_object_get(root, "prompt")) + count_content(json_object_get(root, "input")) +
                     count_content(json_object_get(root, "system"));
    const json_t *messages = json_object_get(root, "messages");
    for (size_t i = 0; i < json_array_size(messages); i++)
        count += count_content(json_object_get(json_array_get(messages, i), "content"));
    r->prompt_tokens = count ? count : 1;
    const json_t *input = json_object_get(root, "input");
    r->inputs = json_is_array(input) && json_is_string(json_array_get(input, 0)) ? (uint32_t)json_array_size(input) : 1;
}

static uint32_t read_u32(const json_t *root, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(root, key));
    return value > 0 && value < 1000000 ? (uint32_t)value : 0;
}

bool sl_mock_read(sl_mock_api api, sl_str body, sl_mock_request *ret_request, const char **ret_reason)
{
    SL_ASSERT(ret_request && ret_reason && (body.ptr || !body.len));
    json_error_t where;
    json_t *root = json_loadb(body.ptr ? body.ptr : "", body.len, JSON_REJECT_DUPLICATES, &where);
    const char *model = json_string_value(json_object_get(root, "model"));
    if (!json_is_object(root) || !model) {
        *ret_reason = json_is_object(root) ? "the body has no model" : "the body is not a JSON object";
        json_decref(root);
        return false;
    }
    sl_mock_request r;
    memset(&r, 0, sizeof r);
    r.api = api;
    snprintf(r.model, sizeof r.model, "%s", model);
    r.stream = json_is_true(json_object_get(root, "stream"));
    r.include_usage = json_is_true(json_object_get(json_object_get(root, "stream_options"), "include_usage"));
    r.max_tokens = read_u32(root, "max_tokens");
    if (!r.max_tokens)
        r.max_tokens = read_u32(root, "max_completion_tokens");
    r.dimensions = read_u32(root, "dimensions");
    if (r.dimensions == 0 || r.dimensions > 4096)
        r.dimensions = 8;
    read_prompt(root, &r);
    if (api == SL_MOCK_CHAT)
        read_tools(root, &r);
    json_decref(root);
    *ret_request = r;
    return true;
}

/* ---- parts ---- */

static void put_string(sl_buf *out, const char *text)
{
    (void)sl_json_put_string(out, sl_str_c(text));
}

static const char *word(const sl_mock_plan *plan, uint32_t index)
{
    /* The first words announce the mock; later ones depend on the request. */
    return index < 11 ? words[index] : words[(index + plan->number) % WORD_COUNT];
}

static void put_words(sl_buf *out, const sl_mock_plan *plan)
{
    (void)sl_buf_put_char(out, '"');
    for (uint32_t i = 0; i < plan->tokens; i++)
        (void)sl_buf_printf(out, "%s%s", i ? " " : "", word(plan, i));
    (void)sl_buf_put_char(out, '"');
}

static void put_usage(sl_buf *out, const sl_mock_request *r, const sl_mock_plan *plan)
{
    SL_ASSERT(r && plan);
    (void)sl_buf_printf(out, "{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u}", r->prompt_tokens,
                        plan->tokens, r->prompt_tokens + plan->tokens);
}

static const char *finish(const sl_mock_request *r, const sl_mock_plan *plan)
{
    SL_ASSERT(r);
    return r->tool[0] ? "tool_calls" : plan->cut ? "length" : "stop";
}

/* `{"id":…,"object":…,"created":…,"model":…,"system_fingerprint":"sightline-mock"` */
static void put_opening(sl_buf *out, const sl_mock_request *r, const sl_mock_plan *plan, const char *object)
{
    SL_ASSERT(r && plan);
    const char *prefix = r->api == SL_MOCK_COMPLETIONS ? "cmpl" : "chatcmpl";
    (void)sl_buf_printf(out, "{\"id\":\"%s-mock-%llu\",\"object\":\"%s\",\"created\":%d,\"model\":", prefix,
                        (unsigned long long)plan->number, object, CREATED);
    put_string(out, r->model);
    (void)sl_buf_put_c(out, ",\"system_fingerprint\":\"sightline-mock\"");
}

static void put_tool_calls(sl_buf *out, const sl_mock_request *r, const sl_mock_plan *plan, bool delta)
{
    SL_ASSERT(plan && r);
    (void)sl_buf_printf(out,
                        "\"tool_calls\":[{%s\"id\":\"call_mock_%llu\",\"type\":\"function\",\"function\":{\"name\":",
                        delta ? "\"index\":0," : "", (unsigned long long)plan->number);
    put_string(out, r->tool);
    (void)sl_buf_put_c(out, ",\"arguments\":\"{}\"}}]");
}

/* ---- OpenAI ---- */

static void chat_body(const sl_mock_request *r, const sl_mock_plan *plan, sl_buf *out)
{
    SL_ASSERT(r && plan);
    put_opening(out, r, plan, "chat.completion");
    (void)sl_buf_put_c(out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    if (r->tool[0]) {
        (void)sl_buf_put_c(out, "null,");
        put_tool_calls(out, r, plan, false);
    } else {
        put_words(out, plan);
    }
    (void)sl_buf_printf(out, ",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"%s\"}]", finish(r, plan));
    if (!plan->no_usage) {
        (void)sl_buf_put_c(out, ",\"usage\":");
        put_usage(out, r, plan);
    }
    (void)sl_buf_put_char(out, '}');
}

static void completion_body(const sl_mock_request *r, const sl_mock_plan *plan, sl_buf *out)
{
    SL_ASSERT(plan);
    put_opening(out, r, plan, "text_completion");
    (void)sl_buf_put_c(out, ",\"choices\":[{\"index\":0,\"text\":");
    put_words(out, plan);
    (void)sl_buf_printf(out, ",\"logprobs\":null,\"finish_reason\":\"%s\"}]", finish(r, plan));
    if (!plan->no_usage) {
        (void)sl_buf_put_c(out, ",\"usage\":");
        put_usage(out, r, plan);
    }
    (void)sl_buf_put_char(out, '}');
}

static void embedding_body(const sl_mock_request *r, sl_buf *out)
{
    SL_ASSERT(r);
    (void)sl_buf_put_c(out, "{\"object\":\"list\",\"model\":");
    put_string(out, r->model);
    (void)sl_buf_put_c(out, ",\"data\":[");
    for (uint32_t i = 0; i < r->inputs; i++) {
        (void)sl_buf_printf(out, "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":[", i ? "," : "", i);
        for (uint32_t k = 0; k < r->dimensions; k++)
            (void)sl_buf_printf(out, "%s%d.%03u", k ? "," : "", 0, (i * 131 + k * 17) % 1000);
        (void)sl_buf_put_c(out, "]}");
    }
    (void)sl_buf_printf(out, "],\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u}}", r->prompt_tokens,
                        r->prompt_tokens);
}

/* One chunk with a delta (already JSON) and a finish reason or NULL. */
static void put_chunk(sl_buf *out, const sl_mock_request *r, const sl_mock_plan *plan, sl_str delta, const char *reason)
{
    SL_ASSERT(r && plan);
    bool text = r->api == SL_MOCK_COMPLETIONS;
    (void)sl_buf_put_c(out, "data: ");
    put_opening(out, r, plan, text ? "text_completion" : "chat.completion.chunk");
    (void)sl_buf_printf(out, ",\"choices\":[{\"index\":0,%s", text ? "" : "\"delta\":");
    (void)sl_buf_put_str(out, delta);
    (void)sl_buf_printf(out, ",\"logprobs\":null,\"finish_reason\":%s%s%s}]", reason ? "\"" : "",
                        reason ? reason : "null", reason ? "\"" : "");
    if (r->include_usage)
        (void)sl_buf_put_c(out, ",\"usage\":null");
    (void)sl_buf_put_c(out, plan->bad_json ? "\n\n" : "}\n\n");
}

static void openai_closing(const sl_mock_request *r, const sl_mock_plan *plan, sl_buf *out)
{
    SL_ASSERT(r);
    put_chunk(out, r, plan, r->api == SL_MOCK_COMPLETIONS ? SL_STR("\"text\":\"\"") : SL_STR("{}"), finish(r, plan));
    if (r->include_usage && !plan->no_usage) {
        (void)sl_buf_put_c(out, "data: ");
        put_opening(out, r, plan, r->api == SL_MOCK_COMPLETIONS ? "text_completion" : "chat.completion.chunk");
        (void)sl_buf_put_c(out, ",\"choices\":[],\"usage\":");
        put_usage(out, r, plan);
        (void)sl_buf_put_c(out, "}\n\n");
    }
    (void)sl_buf_put_c(out, "data: [DONE]\n\n");
}

static void openai_frames(const sl_mock_request *r, const sl_mock_plan *plan, uint32_t step, sl_buf *out)
{
    sl_buf delta;
    sl_buf_init(&delta, 4096);
    if (step + 1 == sl_mock_steps(r, plan)) {
        openai_closing(r, plan, out);
    } else if (r->tool[0]) {
        (void)sl_buf_put_c(&delta, "{\"role\":\"assistant\",\"content\":null,");
        put_tool_calls(&delta, r, plan, true);
        (void)sl_buf_put_char(&delta, '}');
        put_chunk(out, r, plan, sl_buf_str(&delta), NULL);
    } else if (r->api == SL_MOCK_COMPLETIONS) {
        (void)sl_buf_printf(&delta, "\"text\":\"%s%s\"", step ? " " : "", word(plan, step));
        put_chunk(out, r, plan, sl_buf_str(&delta), NULL);
    } else {
        (void)sl_buf_printf(&delta, "{%s\"content\":\"%s%s\"}", step ? "" : "\"role\":\"assistant\",", step ? " " : "",
                            word(plan, step));
        put_chunk(out, r, plan, sl_buf_str(&delta), NULL);
    }
    sl_buf_done(&delta);
}

/* ---- Anthropic ---- */

static void messages_body(const sl_mock_request *r, const sl_mock_plan *plan, sl_buf *out)
{
    SL_ASSERT(plan && r);
    (void)sl_buf_printf(out, "{\"id\":\"msg_mock_%llu\",\"type\":\"message\",\"role\":\"assistant\",\"model\":",
                        (unsigned long long)plan->number);
    put_string(out, r->model);
    (void)sl_buf_put_c(out, ",\"content\":[{\"type\":\"text\",\"text\":");
    put_words(out, plan);
    (void)sl_buf_printf(out, "}],\"stop_reason\":\"%s\",\"stop_sequence\":null", plan->cut ? "max_tokens" : "end_turn");
    if (!plan->no_usage)
        (void)sl_buf_printf(out, ",\"usage\":{\"input_tokens\":%u,\"output_tokens\":%u}", r->prompt_tokens,
                            plan->tokens);
    (void)sl_buf_put_char(out, '}');
}

static void messages_opening(const sl_mock_request *r, const sl_mock_plan *plan, sl_buf *out)
{
    SL_ASSERT(plan && r);
    (void)sl_buf_printf(out,
                        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_mock_%llu\","
                        "\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,"
                        "\"stop_sequence\":null,",
                        (unsigned long long)plan->number);
    if (!plan->no_usage)
        (void)sl_buf_printf(out, "\"usage\":{\"input_tokens\":%u,\"output_tokens\":1},", r->prompt_tokens);
    (void)sl_buf_put_c(out, "\"model\":");
    put_string(out, r->model);
    (void)sl_buf_put_c(out, "}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
                            "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
}

static void messages_frames(const sl_mock_request *r, const sl_mock_plan *plan, uint32_t step, sl_buf *out)
{
    if (step == 0)
        messages_opening(r, plan, out);
    if (step + 1 < sl_mock_steps(r, plan)) {
        (void)sl_buf_printf(out,
                            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
                            "\"delta\":{\"type\":\"text_delta\",\"text\":\"%s%s\"}%s\n\n",
                            step ? " " : "", word(plan, step), plan->bad_json ? "" : "}");
        return;
    }
    (void)sl_buf_printf(out,
                        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
                        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"%s\","
                        "\"stop_sequence\":null}",
                        plan->cut ? "max_tokens" : "end_turn");
    if (!plan->no_usage)
        (void)sl_buf_printf(out, ",\"usage\":{\"output_tokens\":%u}", plan->tokens);
    (void)sl_buf_put_c(out, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

/* ---- any dialect ---- */

void sl_mock_body(const sl_mock_request *request, const sl_mock_plan *plan, sl_buf *out)
{
    SL_ASSERT(request && out);
    switch (request->api) {
    case SL_MOCK_CHAT:
        chat_body(request, plan, out);
        break;
    case SL_MOCK_COMPLETIONS:
        completion_body(request, plan, out);
        break;
    case SL_MOCK_EMBEDDINGS:
        embedding_body(request, out);
        break;
    case SL_MOCK_MESSAGES:
        messages_body(request, plan, out);
        break;
    }
    if (plan->bad_json && out->len > 2)
        out->len -= 2;
}

uint32_t sl_mock_steps(const sl_mock_request *request, const sl_mock_plan *plan)
{
    SL_ASSERT(request);
    return (request->tool[0] ? 1 : plan->tokens) + 1;
}

void sl_mock_frames(const sl_mock_request *request, const sl_mock_plan *plan, uint32_t step, sl_buf *out)
{
    SL_ASSERT(request);
    if (request->api == SL_MOCK_MESSAGES)
        messages_frames(request, plan, step, out);
    else
        openai_frames(request, plan, step, out);
}

void sl_mock_error(sl_mock_api api, int status, const char *message, sl_buf *out)
{
    const char *type = status == 429 ? "rate_limit_error" : status < 500 ? "invalid_request_error" : "server_error";
    if (api == SL_MOCK_MESSAGES)
        (void)sl_buf_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"%s\"}}",
                            status >= 500 ? "api_error" : type, message);
    else
        (void)sl_buf_printf(out, "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":\"%d\"}}",
                            message, type, status);
}
