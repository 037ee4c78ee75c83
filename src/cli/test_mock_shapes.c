/* Every shape of the fake provider's answers: what streams is what comes whole, counts are exact, a fault is there. */
#include <jansson.h>

#include "src/cli/mock_answer.h"
#include "tests/harness/sl_test.h"

/* What a client reads of a stream. */
typedef struct reading {
    char text[4096]; /* all text, put together */
    unsigned frames;
    unsigned bad; /* data that is no JSON */
    unsigned tool_calls;
    unsigned usages; /* frames that tell the tokens of the answer */
    json_int_t tokens;
    json_int_t prompt_tokens;
    char reason[32];
    bool done;
} reading;

static const sl_mock_api apis[] = {SL_MOCK_CHAT, SL_MOCK_COMPLETIONS, SL_MOCK_MESSAGES};

#define TOOLS "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]"

static sl_mock_request request_of(sl_mock_api api, bool tools, bool usage)
{
    sl_mock_request request;
    const char *reason = NULL;
    sl_buf body;
    memset(&request, 0, sizeof request);
    sl_buf_init(&body, 4096);
    (void)sl_buf_printf(&body, "{\"model\":\"m\",\"stream\":true,%s%s\"%s\":%s}",
                        usage ? "\"stream_options\":{\"include_usage\":true}," : "", tools ? TOOLS "," : "",
                        api == SL_MOCK_COMPLETIONS ? "prompt" : "messages",
                        api == SL_MOCK_COMPLETIONS ? "\"a b c\"" : "[{\"role\":\"user\",\"content\":\"a b c\"}]");
    CHECK(sl_mock_read(api, sl_buf_str(&body), &request, &reason));
    sl_buf_done(&body);
    return request;
}

static const json_t *at(const json_t *value, const char *a, const char *b)
{
    return json_object_get(json_object_get(value, a), b);
}

static void add_text(reading *r, const json_t *text)
{
    if (json_is_string(text))
        strncat(r->text, json_string_value(text), sizeof r->text - strlen(r->text) - 1);
}

static void add_reason(reading *r, const json_t *reason)
{
    if (json_is_string(reason))
        (void)sl_str_to_c(sl_str_c(json_string_value(reason)), r->reason, sizeof r->reason);
}

static void read_openai(reading *r, const json_t *root, bool whole)
{
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const char *holder = whole ? "message" : "delta";
    add_text(r, json_object_get(choice, "text"));
    add_text(r, at(choice, holder, "content"));
    add_reason(r, json_object_get(choice, "finish_reason"));
    r->tool_calls += (unsigned)json_array_size(at(choice, holder, "tool_calls"));
    if (json_is_object(json_object_get(root, "usage"))) {
        r->usages++;
        r->tokens = json_integer_value(at(root, "usage", "completion_tokens"));
        r->prompt_tokens = json_integer_value(at(root, "usage", "prompt_tokens"));
    }
}

static void read_messages(reading *r, const json_t *root)
{
    const json_t *start = at(root, "message", "usage"), *usage = json_object_get(root, "usage");
    add_text(r, at(root, "delta", "text"));
    add_text(r, json_object_get(json_array_get(json_object_get(root, "content"), 0), "text"));
    add_reason(r, at(root, "delta", "stop_reason"));
    add_reason(r, json_object_get(root, "stop_reason"));
    if (json_object_get(start ? start : usage, "input_tokens"))
        r->prompt_tokens = json_integer_value(json_object_get(start ? start : usage, "input_tokens"));
    r->usages += start != NULL;
    if (usage) {
        r->usages++;
        r->tokens = json_integer_value(json_object_get(usage, "output_tokens"));
    }
    if (json_is_string(json_object_get(root, "type")) &&
        strcmp(json_string_value(json_object_get(root, "type")), "message_stop") == 0)
        r->done = true;
}

static void read_json(reading *r, sl_mock_api api, sl_str text, bool whole)
{
    json_error_t where;
    json_t *root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &where);
    r->frames++;
    r->bad += root == NULL;
    if (api == SL_MOCK_MESSAGES)
        read_messages(r, root);
    else
        read_openai(r, root, whole);
    json_decref(root);
}

static void read_stream(const sl_mock_request *request, const sl_mock_plan *plan, reading *ret)
{
    memset(ret, 0, sizeof *ret);
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    for (uint32_t step = 0; step < sl_mock_steps(request, plan); step++)
        sl_mock_frames(request, plan, step, &out);
    sl_str rest = sl_buf_str(&out), line;
    while (sl_str_split(&rest, '\n', &line)) {
        if (!sl_str_starts(line, SL_STR("data: ")))
            continue;
        line = sl_str_sub(line, 6, line.len);
        if (sl_str_eq_c(line, "[DONE]"))
            ret->done = true;
        else
            read_json(ret, request->api, line, false);
    }
    sl_buf_done(&out);
}

static void read_whole(const sl_mock_request *request, const sl_mock_plan *plan, reading *ret)
{
    memset(ret, 0, sizeof *ret);
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    sl_mock_body(request, plan, &out);
    read_json(ret, request->api, sl_buf_str(&out), true);
    sl_buf_done(&out);
}

/* Whole and streamed say the same: text, tool calls, reason, and (when asked for) counts. */
static void compare(sl_mock_api api, bool tools, bool usage, uint32_t tokens, bool cut)
{
    sl_mock_request request = request_of(api, tools, usage);
    sl_mock_plan plan = {.number = 3 + tokens, .tokens = tokens, .cut = cut};
    static reading whole, stream;
    read_whole(&request, &plan, &whole);
    read_stream(&request, &plan, &stream);
    CHECK_EQ(whole.bad, 0);
    CHECK_EQ(stream.bad, 0);
    CHECK_STR(sl_str_c(stream.text), whole.text);
    CHECK_STR(sl_str_c(stream.reason), whole.reason);
    CHECK_EQ(stream.tool_calls, whole.tool_calls);
    CHECK_EQ(whole.tool_calls, tools && api == SL_MOCK_CHAT);
    CHECK(stream.done);
    CHECK_EQ(whole.tokens, tokens);
    CHECK_EQ(whole.prompt_tokens, 3);
    bool told = usage || api == SL_MOCK_MESSAGES;
    CHECK_EQ(stream.usages, api == SL_MOCK_MESSAGES ? 2 : usage);
    CHECK_EQ(stream.tokens, told ? tokens : 0);
    CHECK_EQ(stream.prompt_tokens, told ? 3 : 0);
    if (whole.tool_calls)
        CHECK_STR(sl_str_c(whole.reason), "tool_calls");
    else if (api == SL_MOCK_MESSAGES)
        CHECK_STR(sl_str_c(whole.reason), cut ? "max_tokens" : "end_turn");
    else
        CHECK_STR(sl_str_c(whole.reason), cut ? "length" : "stop");
}

SL_TEST(what_streams_is_what_comes_whole)
{
    for (size_t a = 0; a < sizeof apis / sizeof *apis; a++) {
        for (unsigned bits = 0; bits < 8; bits++) {
            for (uint32_t tokens = 1; tokens < 40; tokens += 6)
                compare(apis[a], (bits & 1) != 0, (bits & 2) != 0, tokens, (bits & 4) != 0);
        }
    }
}

/* As many words as tokens, and each a word: the counts are exact. */
SL_TEST(a_token_is_a_word)
{
    for (size_t a = 0; a < sizeof apis / sizeof *apis; a++) {
        for (uint32_t tokens = 1; tokens < 60; tokens++) {
            sl_mock_request request = request_of(apis[a], false, true);
            sl_mock_plan plan = {.number = tokens, .tokens = tokens};
            static reading stream;
            read_stream(&request, &plan, &stream);
            uint32_t words = 1;
            for (const char *c = stream.text; *c; c++)
                words += *c == ' ';
            CHECK_EQ(words, tokens);
        }
    }
}

/* The fault "nousage": no count of the answer, in whole or in parts, whoever asks. */
SL_TEST(an_answer_without_usage_tells_none)
{
    for (size_t a = 0; a < sizeof apis / sizeof *apis; a++) {
        sl_mock_request request = request_of(apis[a], false, true);
        sl_mock_plan plan = {.number = 1, .tokens = 12, .no_usage = true};
        static reading whole, stream;
        read_whole(&request, &plan, &whole);
        read_stream(&request, &plan, &stream);
        CHECK_EQ(whole.usages, 0);
        CHECK_EQ(stream.usages, 0);
        CHECK_EQ(whole.bad + stream.bad, 0);
        CHECK(stream.done);
    }
}

/* The fault "badjson": there is something that no parser takes, in whole or in parts. */
SL_TEST(bad_json_is_bad_in_every_shape)
{
    for (size_t a = 0; a < sizeof apis / sizeof *apis; a++) {
        for (uint32_t tokens = 1; tokens < 4; tokens++) {
            sl_mock_request request = request_of(apis[a], false, true);
            sl_mock_plan plan = {.number = 1, .tokens = tokens, .bad_json = true};
            static reading whole, stream;
            read_whole(&request, &plan, &whole);
            read_stream(&request, &plan, &stream);
            CHECK_EQ(whole.bad, 1);
            CHECK(stream.bad > 0);
            CHECK(stream.done);
        }
    }
}

/* Which requests are answered with a call of a tool. */
SL_TEST(a_tool_is_called_when_it_may_be)
{
    static const struct {
        sl_mock_api api;
        const char *body;
        const char *tool;
    } cases[] = {
        {SL_MOCK_CHAT, "{\"model\":\"m\"," TOOLS "}", "f"},
        {SL_MOCK_CHAT, "{\"model\":\"m\"," TOOLS ",\"tool_choice\":\"auto\"}", "f"},
        {SL_MOCK_CHAT, "{\"model\":\"m\"," TOOLS ",\"tool_choice\":\"none\"}", ""},
        {SL_MOCK_CHAT, "{\"model\":\"m\"," TOOLS ",\"messages\":[{\"role\":\"user\"}]}", "f"},
        {SL_MOCK_CHAT, "{\"model\":\"m\"," TOOLS ",\"messages\":[{\"role\":\"user\"},{\"role\":\"tool\"}]}", ""},
        {SL_MOCK_CHAT, "{\"model\":\"m\",\"tools\":[]}", ""},
        {SL_MOCK_CHAT, "{\"model\":\"m\",\"tools\":null}", ""},
        {SL_MOCK_CHAT, "{\"model\":\"m\",\"tools\":[7]}", ""},
        /* Prompts have no tools; those of messages are answered with text. */
        {SL_MOCK_COMPLETIONS, "{\"model\":\"m\",\"prompt\":\"x\"," TOOLS "}", ""},
        {SL_MOCK_MESSAGES, "{\"model\":\"m\",\"messages\":[],\"tools\":[{\"name\":\"f\"}]}", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_mock_request request;
        const char *reason = NULL;
        REQUIRE(sl_mock_read(cases[i].api, sl_str_c(cases[i].body), &request, &reason));
        CHECK_STR(sl_str_c(request.tool), cases[i].tool);
    }
}

/* Errors are JSON with the members that clients of the protocol look for. */
SL_TEST(errors_are_in_the_shape_of_the_protocol)
{
    static const struct {
        int status;
        const char *openai, *anthropic;
    } cases[] = {{400, "invalid_request_error", "invalid_request_error"},
                 {404, "invalid_request_error", "invalid_request_error"},
                 {429, "rate_limit_error", "rate_limit_error"},
                 {500, "server_error", "api_error"},
                 {503, "server_error", "api_error"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int messages = 0; messages < 2; messages++) {
            sl_buf out;
            json_error_t where;
            sl_buf_init(&out, 4096);
            sl_mock_error(messages ? SL_MOCK_MESSAGES : SL_MOCK_CHAT, cases[i].status, "why", &out);
            json_t *root = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, &where);
            const char *type = json_string_value(at(root, "error", "type"));
            const char *message = json_string_value(at(root, "error", "message"));
            CHECK_STR(sl_str_c(type ? type : ""), messages ? cases[i].anthropic : cases[i].openai);
            CHECK_STR(sl_str_c(message ? message : ""), "why");
            CHECK_EQ(json_object_get(root, "type") != NULL, messages);
            json_decref(root);
            sl_buf_done(&out);
        }
    }
}
