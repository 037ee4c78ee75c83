/* Usage, ids and finish reasons of answers. */
#include "src/llm/usage.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/llm/tables.h"
#include "tests/harness/sl_test.h"

static sl_answer answer_of(const char *json)
{
    sl_answer a;
    sl_llm_init();
    sl_answer_init(&a);
    CHECK_EQ(sl_answer_read(&a, sl_str_c(json)), 0);
    return a;
}

SL_TEST(a_whole_answer)
{
    sl_answer a = answer_of(
        "{\"id\":\"chatcmpl-1\",\"model\":\"m-2\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"x\"},"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15,"
        "\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":2}}}");
    CHECK_STR(sl_answer_id(&a), "chatcmpl-1");
    CHECK_STR(sl_answer_model(&a), "m-2");
    CHECK(a.usage.known);
    CHECK_EQ(a.usage.input, 10);
    CHECK_EQ(a.usage.output, 5);
    CHECK_EQ(a.usage.cache_read, 4);
    CHECK_EQ(a.usage.cache_write, -1);
    CHECK_EQ(a.usage.reasoning, 2);
    CHECK_EQ(a.reason_count, 1);
    CHECK_STR(sl_str_c(a.reasons[0]), "stop");
}

/* The shapes of usage that providers of the protocol send, as they document them. */
SL_TEST(usage_of_many_providers)
{
    static const struct {
        const char *who, *json;
        int64_t input, output, cache_read, cache_write, reasoning;
    } rows[] = {
        {"openai", "{\"prompt_tokens\":9,\"completion_tokens\":12,\"total_tokens\":21}", 9, 12, -1, -1, -1},
        {"openai, details",
         "{\"prompt_tokens\":2006,\"completion_tokens\":300,\"total_tokens\":2306,\"prompt_tokens_details\":{"
         "\"cached_tokens\":1920,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":128,"
         "\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
         2006, 300, 1920, -1, 128},
        {"openai, embeddings", "{\"prompt_tokens\":8,\"total_tokens\":8}", 8, -1, -1, -1, -1},
        {"openai, responses",
         "{\"input_tokens\":75,\"input_tokens_details\":{\"cached_tokens\":32},\"output_tokens\":1186,"
         "\"output_tokens_details\":{\"reasoning_tokens\":1024},\"total_tokens\":1261}",
         75, 1186, 32, -1, 1024},
        {"vllm", "{\"prompt_tokens\":9,\"total_tokens\":12,\"completion_tokens\":3,\"prompt_tokens_details\":null}", 9,
         3, -1, -1, -1},
        {"llama.cpp", "{\"completion_tokens\":16,\"prompt_tokens\":5,\"total_tokens\":21}", 5, 16, -1, -1, -1},
        {"groq",
         "{\"queue_time\":0.037,\"prompt_tokens\":18,\"prompt_time\":0.00068,\"completion_tokens\":556,"
         "\"completion_time\":0.46,\"total_tokens\":574,\"total_time\":0.46}",
         18, 556, -1, -1, -1},
        {"deepseek",
         "{\"prompt_tokens\":20,\"completion_tokens\":4,\"total_tokens\":24,\"prompt_cache_hit_tokens\":16,"
         "\"prompt_cache_miss_tokens\":4}",
         20, 4, 16, -1, -1},
        {"deepseek, both spellings",
         "{\"prompt_tokens\":20,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":15},"
         "\"prompt_cache_hit_tokens\":16}",
         20, 4, 15, -1, -1},
        {"openrouter",
         "{\"prompt_tokens\":194,\"completion_tokens\":2,\"total_tokens\":196,\"cost\":0.95,\"cost_details\":{"
         "\"upstream_inference_cost\":19},\"prompt_tokens_details\":{\"cached_tokens\":0},"
         "\"completion_tokens_details\":{\"reasoning_tokens\":0}}",
         194, 2, 0, -1, 0},
        {"perplexity",
         "{\"prompt_tokens\":8,\"completion_tokens\":439,\"total_tokens\":447,\"search_context_size\":\"low\"}", 8, 439,
         -1, -1, -1},
        {"litellm of anthropic, the cache in the total",
         "{\"prompt_tokens\":2000,\"completion_tokens\":5,\"cache_read_input_tokens\":1900,"
         "\"cache_creation_input_tokens\":50}",
         2000, 5, 1900, 50, -1},
        {"anthropic, the cache beside the total",
         "{\"input_tokens\":7,\"output_tokens\":8,\"cache_read_input_tokens\":100,\"cache_creation_input_tokens\":20}",
         127, 8, 100, 20, -1},
        {"anthropic, no cache", "{\"input_tokens\":7,\"output_tokens\":8,\"cache_read_input_tokens\":null}", 7, 8, -1,
         -1, -1},
        {"zero is told", "{\"prompt_tokens\":0,\"completion_tokens\":0}", 0, 0, -1, -1, -1},
        {"whole numbers in other clothes", "{\"prompt_tokens\":1e2,\"completion_tokens\":5.0}", 100, 5, -1, -1, -1},
        {"the largest", "{\"prompt_tokens\":1125899906842624,\"completion_tokens\":1125899906842625}",
         INT64_C(1125899906842624), -1, -1, -1, -1},
        {"half a token", "{\"prompt_tokens\":1.5,\"completion_tokens\":1}", -1, 1, -1, -1, -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[1024];
        snprintf(body, sizeof body, "{\"id\":\"x\",\"usage\":%s}", rows[i].json);
        sl_answer a = answer_of(body);
        CHECK(a.usage.known);
        CHECK_EQ(a.usage.input, rows[i].input);
        CHECK_EQ(a.usage.output, rows[i].output);
        CHECK_EQ(a.usage.cache_read, rows[i].cache_read);
        CHECK_EQ(a.usage.cache_write, rows[i].cache_write);
        CHECK_EQ(a.usage.reasoning, rows[i].reasoning);
        /* The same from the end of a body that was too long to keep. */
        sl_answer tail;
        sl_answer_init(&tail);
        CHECK(sl_answer_read_tail(&tail, sl_str_sub(sl_str_c(body), 3, SL_NPOS)));
        CHECK(tail.usage.known);
        CHECK_EQ(tail.usage.input, a.usage.input);
        CHECK_EQ(tail.usage.output, a.usage.output);
        CHECK_EQ(tail.usage.cache_read, a.usage.cache_read);
        CHECK_EQ(tail.usage.cache_write, a.usage.cache_write);
        CHECK_EQ(tail.usage.reasoning, a.usage.reasoning);
        CHECK(sl_frame_look(sl_str_c(body)).usage);
    }
}

SL_TEST(usage_that_tells_nothing)
{
    static const char *const bodies[] = {
        "{}",
        "{\"usage\":null}",
        "{\"usage\":7}",
        "{\"usage\":{}}",
        "{\"usage\":{\"prompt_tokens\":\"7\"}}",
        "{\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":1e300}}",
        "{\"x\":{\"usage\":{\"prompt_tokens\":1}}}",
        "[1]",
        "7",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        sl_answer a = answer_of(bodies[i]);
        CHECK(!a.usage.known);
        CHECK_EQ(a.usage.input, -1);
        CHECK_EQ(a.usage.output, -1);
    }
    sl_answer a = answer_of("{\"id\":\"i\"}");
    CHECK_EQ(sl_answer_read(&a, SL_STR("{\"id\":")), SL_EPARSE);
    CHECK_STR(sl_answer_id(&a), "i");
}

SL_TEST(the_last_usage_wins_and_is_never_added_up)
{
    sl_answer a = answer_of("{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}");
    CHECK_EQ(sl_answer_read(&a, SL_STR("{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}")), 0);
    CHECK_EQ(sl_answer_read(&a, SL_STR("{\"usage\":null}")), 0);
    CHECK_EQ(a.usage.output, 2);
    CHECK_EQ(a.usage.input, 3);
}

SL_TEST(the_first_id_and_model_stay)
{
    sl_answer a = answer_of("{\"id\":\"one\",\"model\":\"m\"}");
    CHECK_EQ(sl_answer_read(&a, SL_STR("{\"id\":\"two\",\"model\":\"n\"}")), 0);
    CHECK_STR(sl_answer_id(&a), "one");
    CHECK_STR(sl_answer_model(&a), "m");
}

SL_TEST(long_and_odd_texts_are_cut_or_left_out)
{
    sl_answer a = answer_of(
        "{\"id\":\"0123456789012345678901234567890123456789012345678901234567890123456789\",\"model\":\"a\\tb\"}");
    CHECK_EQ(a.id_len, SL_ANSWER_ID_MAX);
    CHECK_EQ(a.model_len, 0);
    /* Cut between characters, not inside one. */
    a = answer_of("{\"model\":\"012345678901234567890123456789012345678901234567890123456789012\xc3\xa9\"}");
    CHECK_EQ(a.model_len, 63);
}

SL_TEST(finish_reasons_stand_at_their_choice)
{
    sl_answer a = answer_of(
        "{\"choices\":[{\"index\":1,\"finish_reason\":\"length\"},{\"index\":0,\"finish_reason\":\"stop\"}]}");
    CHECK_EQ(a.reason_count, 2);
    CHECK_STR(sl_str_c(a.reasons[0]), "stop");
    CHECK_STR(sl_str_c(a.reasons[1]), "length");
    a = answer_of("{\"choices\":[{\"index\":2,\"finish_reason\":\"tool_calls\"}]}");
    CHECK_EQ(a.reason_count, 3);
    CHECK_EQ(a.reasons[0][0], 0);
    a = answer_of("{\"choices\":[{\"index\":99,\"finish_reason\":\"stop\"}]}");
    CHECK_EQ(a.reason_count, 0);
    a = answer_of("{\"choices\":[{\"index\":-4,\"finish_reason\":\"a reason that is much too long for us\"}]}");
    CHECK_EQ(a.reason_count, 1);
    CHECK_EQ(a.reasons[0][0], 0);
    a = answer_of("{\"choices\":[{\"index\":0,\"finish_reason\":null}]}");
    CHECK_EQ(a.reason_count, 0);
}

SL_TEST(a_quick_look_at_frames)
{
    static const struct {
        const char *data;
        bool usage, finish, only;
    } cases[] = {
        {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}],\"usage\":null}", false, false, false},
        {"{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}", false, true, false},
        {"{\"choices\":[{\"delta\":{},\"finish_reason\" : \"stop\"}],\"usage\" : {\"prompt_tokens\":1}}", true, true,
         false},
        {"{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", true, false, true},
        {"{\"choices\":[],\"usage\":null}", false, false, false},
        {"{\"usage\":{\"prompt_tokens\":1}}", true, false, false},
        {"{\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\"\"}}]}", false, false, false},
        /* Several choices: the one that ends need not be the first. */
        {"{\"choices\":[{\"index\":0,\"finish_reason\":null},{\"index\":1,\"finish_reason\":\"stop\"}]}", false, true,
         false},
        {"{\"usage\":null,\"x\":{\"usage\":{\"prompt_tokens\":1}}}", true, false, false},
        {"{\"usage\"\t:\r\n{\"prompt_tokens\":1}}", true, false, false},
        {"{\"usage\"::{}}", false, false, false},
        {"{\"finish_reason\" \"stop\"}", false, false, false},
        {"\"usage\"", false, false, false},
        {"\"usage\":", false, false, false},
        {"[DONE]", false, false, false},
        {"", false, false, false},
    };
    sl_llm_init();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_frame_kind kind = sl_frame_look(sl_str_c(cases[i].data));
        CHECK_EQ(kind.usage, cases[i].usage);
        CHECK_EQ(kind.finish, cases[i].finish);
        CHECK_EQ(sl_frame_is_usage_only(sl_str_c(cases[i].data)), cases[i].only);
    }
}

/* Bytes in front of a value that are no white space of JSON, such as NUL, do not lead to it. */
SL_TEST(only_white_space_stands_before_a_value)
{
    sl_llm_init();
    CHECK(!sl_frame_look(SL_STR("{\"usage\":\0{\"prompt_tokens\":1}}")).usage);
    CHECK(!sl_frame_look(SL_STR("{\"finish_reason\":\0\"stop\"}")).finish);
}

/* Whatever is cut off at the front or the end: no fault, and no count that was not there. */
SL_TEST(the_tail_cut_anywhere)
{
    static const char whole[] = "{\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":81,"
                                "\"completion_tokens\":92,\"note\":\"a } and a \\\"\"}}";
    sl_llm_init();
    for (size_t from = 0; from < sizeof whole - 1; from++) {
        for (size_t to = from; to < sizeof whole; to++) {
            /* In memory of its own, so that a sanitizer sees a step beyond. */
            char *copy = malloc(to - from + 1);
            REQUIRE(copy != NULL);
            memcpy(copy, whole + from, to - from);
            sl_answer a;
            sl_answer_init(&a);
            if (sl_answer_read_tail(&a, sl_str_of(copy, to - from))) {
                CHECK_EQ(a.usage.input, 81);
                CHECK_EQ(a.usage.output, 92);
            }
            (void)sl_frame_look(sl_str_of(copy, to - from));
            free(copy);
        }
    }
}

/* A usage object that is larger than its buffer is left out; one that just fits is read. */
SL_TEST(the_tail_at_its_limit)
{
    for (size_t pad = 960; pad < 1024; pad++) {
        char tail[1200], filler[1024];
        memset(filler, 'x', pad);
        filler[pad] = 0;
        int len = snprintf(tail, sizeof tail, "\"usage\":{\"prompt_tokens\":3,\"pad\":\"%s\"}}", filler);
        size_t object = (size_t)len - 8 - 1;
        sl_answer a;
        sl_answer_init(&a);
        CHECK_EQ(sl_answer_read_tail(&a, sl_str_of(tail, (size_t)len)), object <= 1008);
    }
}

SL_TEST(the_tail_of_a_long_answer)
{
    sl_answer a;
    sl_llm_init();
    sl_answer_init(&a);
    CHECK(sl_answer_read_tail(
        &a, SL_STR("0.1,0.2]}],\"model\":\"e\",\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}")));
    CHECK_EQ(a.usage.input, 8);
    CHECK_EQ(a.id_len, 0);
    sl_answer_init(&a);
    /* The last one that is an object; a text that looks like one does not count. */
    CHECK(sl_answer_read_tail(
        &a,
        SL_STR("\"usage\":{\"prompt_tokens\":1} \"usage\" : {\"prompt_tokens\":2,\"x\":\"}\\\"\"},\"usage\":null")));
    CHECK_EQ(a.usage.input, 2);
    sl_answer_init(&a);
    CHECK(!sl_answer_read_tail(&a, SL_STR("\"usage\":{\"prompt_tokens\":1")));
    CHECK(!sl_answer_read_tail(&a, SL_STR("nothing")));
    CHECK(!sl_answer_read_tail(&a, SL_STR("")));
    CHECK(!a.usage.known);
}
