/* Answers of the fake provider, read back by a JSON parser that is not ours. */
#include <jansson.h>
#include <stdio.h>

#include "src/cli/mock_answer.h"
#include "tests/harness/sl_test.h"

static sl_mock_request read_ok(sl_mock_api api, const char *body)
{
    sl_mock_request r;
    const char *reason = NULL;
    memset(&r, 0, sizeof r);
    CHECK(sl_mock_read(api, sl_str_c(body), &r, &reason));
    return r;
}

static json_t *body_of(const sl_mock_request *r, const sl_mock_plan *plan)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    sl_mock_body(r, plan, &out);
    json_error_t where;
    json_t *root = json_loadb(out.data, out.len, 0, &where);
    sl_buf_done(&out);
    return root;
}

SL_TEST(mock_reads_requests)
{
    sl_mock_request r =
        read_ok(SL_MOCK_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                              "\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"one two  three\"},"
                              "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"four\"}]}]}");
    CHECK(r.stream && r.include_usage);
    CHECK_EQ(r.prompt_tokens, 4);
    CHECK_EQ(r.max_tokens, 5);
    CHECK_STR(sl_str_c(r.model), "m");
    const char *reason = NULL;
    CHECK(!sl_mock_read(SL_MOCK_CHAT, SL_STR("[1]"), &r, &reason));
    CHECK(!sl_mock_read(SL_MOCK_CHAT, SL_STR("{}"), &r, &reason));
    CHECK(reason != NULL);
}

SL_TEST(mock_unary_bodies_are_json_of_the_right_shape)
{
    sl_mock_plan plan = {.number = 7, .tokens = 16};
    sl_mock_request r = read_ok(SL_MOCK_CHAT, "{\"model\":\"q\\\"m\",\"messages\":[]}");
    json_t *root = body_of(&r, &plan);
    REQUIRE(root);
    CHECK_EQ(json_integer_value(json_object_get(json_object_get(root, "usage"), "completion_tokens")), 16);
    CHECK_STR(sl_str_c(json_string_value(json_object_get(root, "model"))), "q\"m");
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const char *content = json_string_value(json_object_get(json_object_get(choice, "message"), "content"));
    CHECK(content && strncmp(content, "This is a mock answer", 21) == 0);
    json_decref(root);
    r = read_ok(SL_MOCK_CHAT,
                "{\"model\":\"m\",\"messages\":[],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}");
    root = body_of(&r, &plan);
    choice = json_array_get(json_object_get(root, "choices"), 0);
    CHECK_STR(sl_str_c(json_string_value(json_object_get(choice, "finish_reason"))), "tool_calls");
    json_decref(root);
    r = read_ok(SL_MOCK_EMBEDDINGS, "{\"model\":\"e\",\"input\":[\"a b\",\"c\"],\"dimensions\":3}");
    root = body_of(&r, &plan);
    CHECK_EQ(json_array_size(json_object_get(root, "data")), 2);
    json_decref(root);
    r = read_ok(SL_MOCK_MESSAGES,
                "{\"model\":\"c\",\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}");
    root = body_of(&r, &plan);
    CHECK_EQ(json_integer_value(json_object_get(json_object_get(root, "usage"), "output_tokens")), 16);
    json_decref(root);
    plan.bad_json = true;
    CHECK(body_of(&r, &plan) == NULL);
}

/* Every data line of every step parses; the count of content frames is the count of tokens. */
SL_TEST(mock_stream_frames_are_json)
{
    static const sl_mock_api apis[] = {SL_MOCK_CHAT, SL_MOCK_COMPLETIONS, SL_MOCK_MESSAGES};
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    for (size_t a = 0; a < 3; a++) {
        sl_mock_plan plan = {.number = 1, .tokens = 5};
        sl_mock_request r =
            read_ok(apis[a], "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                             "\"messages\":[],\"prompt\":\"x\"}");
        sl_buf_clear(&out);
        CHECK_EQ(sl_mock_steps(&r, &plan), 6);
        for (uint32_t s = 0; s < 6; s++)
            sl_mock_frames(&r, &plan, s, &out);
        sl_str rest = sl_buf_str(&out), line;
        int frames = 0;
        bool done = false;
        while (sl_str_split(&rest, '\n', &line)) {
            if (!sl_str_starts(line, SL_STR("data: ")))
                continue;
            line = sl_str_sub(line, 6, line.len);
            if (sl_str_eq_c(line, "[DONE]")) {
                done = true;
                continue;
            }
            json_error_t where;
            json_t *root = json_loadb(line.ptr, line.len, 0, &where);
            CHECK(root != NULL);
            json_decref(root);
            frames++;
        }
        CHECK_EQ(frames, apis[a] == SL_MOCK_MESSAGES ? 2 + 5 + 3 : 5 + 2);
        CHECK_EQ(done, apis[a] != SL_MOCK_MESSAGES);
    }
    sl_buf_done(&out);
}

SL_TEST(mock_errors)
{
    sl_buf out;
    sl_buf_init(&out, 4096);
    sl_mock_error(SL_MOCK_CHAT, 429, "slow down", &out);
    CHECK_STR(sl_buf_str(&out),
              "{\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"429\"}}");
    sl_buf_clear(&out);
    sl_mock_error(SL_MOCK_MESSAGES, 500, "no", &out);
    CHECK_STR(sl_buf_str(&out), "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"no\"}}");
    sl_buf_done(&out);
}
