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
