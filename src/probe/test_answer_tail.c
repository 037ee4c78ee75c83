/* What the end of an answer tells. */
#include "src/probe/answer_tail.h"

#include "tests/harness/sl_test.h"

static sl_answer_facts read_text(const char *text)
{
    sl_answer_facts facts;
    sl_answer_tail_read(sl_str_c(text), &facts);
    return facts;
}

SL_TEST(timings_of_a_completion)
{
    sl_answer_facts f =
        read_text("\"content\":\"\",\"id_slot\":3,\"id_task\":17,\"stop\":true,\"model\":\"tiny\",\"tokens_"
                  "predicted\":9,\"timings\":{\"cache_n\":4,\"prompt_n\":8,\"prompt_ms\":1.25,\"predicted_"
                  "n\":9,\"predicted_ms\":3,\"draft_n\":6,\"draft_n_accepted\":5}}");
    CHECK(f.has_timings && !f.has_usage);
    CHECK_EQ(f.prompt_n, 8);
    CHECK_EQ(f.cache_n, 4);
    CHECK_EQ(f.predicted_n, 9);
    CHECK_EQ(f.draft_n, 6);
    CHECK_EQ(f.draft_accepted, 5);
    CHECK_EQ(f.id_slot, 3);
    CHECK_EQ(f.id_task, 17);
    CHECK(f.prompt_ms == 1.25 && f.predicted_ms == 3);
    CHECK_STR(f.model, "tiny");
}

SL_TEST(usage_in_the_forms_of_three_interfaces)
{
    static const struct {
        const char *text;
        int64_t input, output, cached;
    } rows[] = {
        {"{\"usage\":{\"completion_tokens\":5,\"prompt_tokens\":8,\"prompt_tokens_details\":{\"cached_tokens\":3}}}", 8,
         5, 3},
        {"data: "
         "{\"usage\":{\"input_tokens\":8,\"output_tokens\":5,\"input_tokens_details\":{\"cached_tokens\":2}}}\n\n",
         8, 5, 2},
        {"{\"usage\":{\"cache_read_input_tokens\":6,\"input_tokens\":2,\"output_tokens\":5}}", 8, 5, 6},
        {"{\"usage\":{\"output_tokens\":5}}", -1, 5, -1},
        {"{\"usage\":{\"completion_tokens\":1}} {\"usage\" : {\"completion_tokens\":2}}", -1, 2, -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_answer_facts f = read_text(rows[i].text);
        CHECK(f.has_usage);
        CHECK_EQ(f.input_tokens, rows[i].input);
        CHECK_EQ(f.output_tokens, rows[i].output);
        CHECK_EQ(f.cached_tokens, rows[i].cached);
    }
}

SL_TEST(what_is_not_a_member_is_not_taken_for_one)
{
    static const char *const rows[] = {
        "",
        "\"timings\"",
        "\"timings\":",
        "\"timings\":{",
        "\"timings\":{\"prompt_n\":1",
        "\"timings\":[1]",
        "\"timings\":{\"prompt_n\":-1,\"predicted_n\":2}}",
        "\"timings\":{\"prompt_n\":\"1\",\"predicted_n\":2}}",
        "\"timings\":{\"prompt_n\":1.5,\"predicted_n\":2}}",
        "\"timings\":{\"prompt_n\":1}}",
        "\"timings\":{prompt_n:1,\"predicted_n\":2}}",
        "{\"content\":\"\\\"timings\\\":{\\\"prompt_n\\\":1,\\\"predicted_n\\\":2}\"}",
        "\"id_slot\":-1,",
        "\"id_slot\":\"7\"",
        "\"model\":\"a\\u0041\"",
        "\"model\":\"not closed",
        "\"usage\":null",
        "\"usage\":{}",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_answer_facts f = read_text(rows[i]);
        CHECK(!f.has_timings && !f.has_usage);
        CHECK_EQ(f.id_slot, -1);
        CHECK_EQ(f.model.len, 0);
    }
}

SL_TEST(brackets_in_texts_do_not_end_an_object)
{
    sl_answer_facts f = read_text("\"timings\":{\"x\":\"}{\\\"}\",\"prompt_n\":1,\"predicted_n\":2}}");
    CHECK(f.has_timings);
    CHECK_EQ(f.predicted_n, 2);
}

SL_TEST(a_tail_may_begin_anywhere)
{
    const char *text =
        "{\"id_slot\":1,\"model\":\"m\",\"usage\":{\"prompt_tokens\":3},\"timings\":{\"prompt_n\":1,\"predicted_n"
        "\":2}}\n\ndata: [DONE]\n\n";
    size_t len = strlen(text), seen = 0;
    for (size_t i = 0; i <= len; i++) {
        sl_answer_facts f;
        sl_answer_tail_read(sl_str_of(text + i, len - i), &f);
        CHECK(f.id_slot == -1 || f.id_slot == 1);
        CHECK(f.prompt_n == -1 || f.prompt_n == 1);
        seen += f.has_timings;
        sl_answer_tail_read(sl_str_of(text, i), &f);
        CHECK(f.prompt_n == -1 || f.prompt_n == 1);
    }
    CHECK(seen > 50);
}
