/* The list of problems: its room, its order, its text. */
#include "src/flow/load_problems.h"

#include <stdio.h>

#include "tests/harness/sl_test.h"

static void add(sl_flow_problems *problems, sl_problem_level level, const char *step, unsigned line, unsigned column,
                const char *format, ...) __attribute__((format(printf, 6, 7)));
static void add(sl_flow_problems *problems, sl_problem_level level, const char *step, unsigned line, unsigned column,
                const char *format, ...)
{
    va_list args;
    va_start(args, format);
    sl_problems_add(problems, level, step, line, column, format, args);
    va_end(args);
}

static void check_text(const sl_flow_problems *problems, const char *expected)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 16);
    CHECK_EQ(sl_flow_problems_format(problems, "dir/x.yaml", &out), 0);
    CHECK_STR(sl_buf_str(&out), expected);
    sl_buf_done(&out);
}

SL_TEST(problems_are_sorted_and_printed)
{
    sl_flow_problems problems = {0};
    add(&problems, SL_PROBLEM_WARNING, "b", 7, 2, "third: %s", "x");
    add(&problems, SL_PROBLEM_ERROR, "a", 3, 9, "second");
    add(&problems, SL_PROBLEM_ERROR, NULL, 3, 1, "first");
    add(&problems, SL_PROBLEM_ERROR, NULL, 0, 0, "whole");
    add(&problems, SL_PROBLEM_ERROR, "a", 7, 2, "fourth");
    add(&problems, SL_PROBLEM_WARNING, NULL, 8, 0, "fifth");
    sl_problems_sort(&problems);
    CHECK_EQ(problems.errors, 4);
    check_text(&problems, "dir/x.yaml: error: whole\n"
                          "dir/x.yaml:3:1: error: first\n"
                          "dir/x.yaml:3:9: error: step a: second\n"
                          "dir/x.yaml:7:2: warning: step b: third: x\n"
                          "dir/x.yaml:7:2: error: step a: fourth\n"
                          "dir/x.yaml:8: warning: fifth\n");
}

SL_TEST(the_same_is_said_once)
{
    sl_flow_problems problems = {0};
    for (int i = 0; i < 3; i++)
        add(&problems, SL_PROBLEM_ERROR, "a", 1, 1, "again");
    add(&problems, SL_PROBLEM_ERROR, "a", 1, 2, "again");
    CHECK_EQ(problems.count, 2);
    CHECK_EQ(problems.errors, 2);
}

SL_TEST(what_a_terminal_would_act_upon_is_not_passed_on)
{
    sl_flow_problems problems = {0};
    add(&problems, SL_PROBLEM_ERROR, "a\x1b[31m", 1, 1, "x\ny\x7fz\t\xc3\xa9");
    CHECK_STR(sl_str_c(problems.items[0].step), "a?[31m");
    CHECK_STR(sl_str_c(problems.items[0].message), "x?y?z?\xc3\xa9");
}

SL_TEST(long_texts_are_cut_between_characters)
{
    sl_flow_problems problems = {0};
    char text[1000] = "", id[200] = "";
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    for (size_t i = 1; i + 2 < sizeof id; i += 2)
        memcpy(id + i, "\xc3\xa9", 2);
    id[0] = 'a';
    add(&problems, SL_PROBLEM_ERROR, id, 1, 1, "%s", text);
    sl_str message = sl_str_c(problems.items[0].message), step = sl_str_c(problems.items[0].step);
    CHECK(sl_utf8_valid(message) && message.len == SL_FLOW_FAULT_BYTES - 2);
    CHECK(sl_utf8_valid(step) && step.len == sizeof problems.items[0].step - 1);
}

SL_TEST(a_full_list_keeps_errors_and_counts_the_rest)
{
    static sl_flow_problems problems;
    memset(&problems, 0, sizeof problems);
    for (unsigned i = 0; i < SL_FLOW_MAX_PROBLEMS; i++) {
        CHECK(sl_problems_room(&problems, SL_PROBLEM_WARNING));
        add(&problems, i % 2 ? SL_PROBLEM_WARNING : SL_PROBLEM_ERROR, NULL, i + 1, 1, "number %u", i);
    }
    CHECK(!sl_problems_room(&problems, SL_PROBLEM_WARNING) && sl_problems_room(&problems, SL_PROBLEM_ERROR));
    add(&problems, SL_PROBLEM_WARNING, NULL, 1000, 1, "one warning more");
    CHECK_EQ(problems.left_out, 1);
    for (unsigned i = 0; i < SL_FLOW_MAX_PROBLEMS / 2; i++)
        add(&problems, SL_PROBLEM_ERROR, NULL, 2000 + i, 1, "error %u", i);
    CHECK_EQ(problems.left_out, 1 + SL_FLOW_MAX_PROBLEMS / 2);
    CHECK_EQ(problems.errors, SL_FLOW_MAX_PROBLEMS);
    for (unsigned i = 0; i < problems.count; i++)
        CHECK(!problems.items[i].warning);
    CHECK(!sl_problems_room(&problems, SL_PROBLEM_ERROR));
    add(&problems, SL_PROBLEM_ERROR, NULL, 1, 2, "one error more");
    CHECK_EQ(problems.errors, SL_FLOW_MAX_PROBLEMS + 1);
    CHECK_EQ(problems.count, SL_FLOW_MAX_PROBLEMS);
    sl_buf out;
    sl_buf_init(&out, 1u << 16);
    CHECK_EQ(sl_flow_problems_format(&problems, "f", &out), 0);
    CHECK(sl_str_ends(sl_buf_str(&out), SL_STR("\nf: 34 more, not shown; mend these first\n")));
    sl_buf_done(&out);
}

SL_TEST(a_buffer_that_is_too_small_says_so)
{
    sl_flow_problems problems = {0};
    sl_buf out;
    add(&problems, SL_PROBLEM_ERROR, NULL, 1, 1, "a text that is longer than the buffer");
    sl_buf_init(&out, 16);
    CHECK_EQ(sl_flow_problems_format(&problems, "f", &out), SL_ELIMIT);
    sl_buf_done(&out);
}
