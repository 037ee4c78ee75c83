/* Usage, ids and finish reasons of answers. */
#include "src/llm/usage.h"

#include "tests/harness/sl_test.h"

static sl_answer answer_of(const char *json)
{
    sl_answer a;
    sl_usage_init();
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

SL_TEST(other_spellings_of_usage)
{
    sl_answer a = answer_of("{\"usage\":{\"input_tokens\":7,\"output_tokens\":8,\"cache_read_input_tokens\":1,\"cache_"
                            "creation_input_tokens\":2}}");
    CHECK_EQ(a.usage.input, 7);
    CHECK_EQ(a.usage.output, 8);
    CHECK_EQ(a.usage.cache_read, 1);
    CHECK_EQ(a.usage.cache_write, 2);
    a = answer_of("{\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}"); /* embeddings */
    CHECK(a.usage.known);
    CHECK_EQ(a.usage.output, -1);
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
        {"[DONE]", false, false, false},
        {"", false, false, false},
    };
    sl_usage_init();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_frame_kind kind = sl_frame_look(sl_str_c(cases[i].data));
        CHECK_EQ(kind.usage, cases[i].usage);
        CHECK_EQ(kind.finish, cases[i].finish);
        CHECK_EQ(sl_frame_is_usage_only(sl_str_c(cases[i].data)), cases[i].only);
    }
}

SL_TEST(the_tail_of_a_long_answer)
{
    sl_answer a;
    sl_usage_init();
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
