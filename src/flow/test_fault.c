/* Messages of faults are well-formed, whatever they quote and wherever they are cut. */
#include "src/flow/fault.h"

#include <stdio.h>

#include "tests/harness/sl_test.h"

SL_TEST(what_is_ill_formed_is_mended)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9"},
        {"cut \xc3", "cut "},
        {"cut \xe2\x82", "cut "},
        {"\xc3: why", "?: why"},
        {"\xe2\x82: why", "??: why"},
        {"\xff\xfe.", "??."},
        {"\xf0\x9f\x98\x80!", "\xf0\x9f\x98\x80!"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s", cases[i][0]);
        CHECK_EQ(sl_flow_mend(text), strlen(cases[i][1]));
        CHECK_STR(sl_str_c(text), cases[i][1]);
    }
}

SL_TEST(faults_are_cut_between_characters)
{
    char name[2 * SL_FLOW_FAULT_BYTES + 1] = "";
    for (size_t at = 0; at + 2 < sizeof name; at += 2)
        memcpy(name + at, "\xc3\xa9", 3);
    for (unsigned shift = 0; shift < 2; shift++) {
        sl_flow_fault fault;
        sl_flow_fault_set(&fault, 1, 2, "%s%.81s: %s", shift ? "x" : "", name, name);
        CHECK(sl_utf8_valid(sl_str_c(fault.message)));
        CHECK(strlen(fault.message) >= SL_FLOW_FAULT_BYTES - 3);
        CHECK_EQ(fault.column, 2);
    }
}

/* The line and column that a count from the beginning gives. */
static void count_place(sl_str text, size_t at, unsigned *line, unsigned *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < at && i < text.len; i++) {
        *column = text.ptr[i] == '\n' ? 1 : *column + 1;
        *line += text.ptr[i] == '\n';
    }
}

SL_TEST(a_place_is_the_same_whichever_way_one_comes_to_it)
{
    static const char *const texts[] = {"", "x", "\n", "\n\n\n", "one\ntwo\n\nfour", "a\n", "a\nb", "no end of line"};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        sl_str text = sl_str_c(texts[t]);
        for (size_t first = 0; first <= text.len + 1; first++)
            for (size_t second = 0; second <= text.len + 1; second++) {
                sl_text_place place = {.text = text};
                unsigned line, column, wanted_line, wanted_column;
                sl_text_place_find(&place, first, &line, &column);
                count_place(text, first, &wanted_line, &wanted_column);
                CHECK(line == wanted_line && column == wanted_column);
                sl_text_place_find(&place, second, &line, &column);
                count_place(text, second, &wanted_line, &wanted_column);
                CHECK(line == wanted_line && column == wanted_column);
            }
    }
}

static int fail(sl_text_place *place, sl_flow_fault *fault, size_t at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int error = sl_text_place_fail(place, fault, at, format, args);
    va_end(args);
    return error;
}

SL_TEST(a_failure_names_its_place)
{
    sl_text_place place = {.text = SL_STR("first\nsecond")};
    sl_flow_fault fault = {0};
    CHECK_EQ(fail(&place, &fault, 8, "%s: %d", "bad", 7), SL_EPARSE);
    CHECK(fault.line == 2 && fault.column == 3);
    CHECK_STR(sl_str_c(fault.message), "bad: 7");
    CHECK_EQ(fail(&place, NULL, 2, "no one listens"), SL_EPARSE);
    CHECK_EQ(fault.line, 2);
}
