/* W3C traceparent: the specification's examples, each rule broken once, every truncation. */
#include <sightline/context.h>

#include "tests/harness/sl_test.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static const struct {
    const char *header;
    int flags; /* -1: refused */
} cases[] = {
    {"00-" TRACE "-" SPAN "-01", 1},
    {"00-" TRACE "-" SPAN "-00", 0},
    {"00-" TRACE "-" SPAN "-02", 2},
    {"00-" TRACE "-" SPAN "-03", 3},
    {"00-" TRACE "-" SPAN "-ff", 3}, /* unknown flags are dropped */
    {" 00-" TRACE "-" SPAN "-01\t", 1},
    {"cc-" TRACE "-" SPAN "-01", 1},
    {"cc-" TRACE "-" SPAN "-01-what-the-future-will-be-like", 1},
    {"cc-" TRACE "-" SPAN "-01-", 1},
    {"cc-" TRACE "-" SPAN "-01.what-the-future", -1},
    {"01-" TRACE "-" SPAN "-09-x", 1},
    {"fe-" TRACE "-" SPAN "-01", 1},
    {"fe-" TRACE "-" SPAN "-01-00-\xff anything at all", 1},
    {"01-" TRACE "-" SPAN "-ff", 3},
    {"01-" TRACE "-" SPAN "-04", 0},
    {"01-" TRACE "-" SPAN "-0", -1},
    {"01-" TRACE "-" SPAN "-011", -1},
    {"01-" TRACE "-" SPAN "-01 -x", -1},
    {"01-00000000000000000000000000000000-" SPAN "-01-x", -1},
    {"FE-" TRACE "-" SPAN "-01", -1},
    {"fE-" TRACE "-" SPAN "-01", -1},
    {"Ff-" TRACE "-" SPAN "-01", -1},
    {"ff-" TRACE "-" SPAN "-01-x", -1},
    {"00- " TRACE "-" SPAN "-01", -1},
    {"00-" TRACE "-" SPAN "-01 ,", -1},
    {"00--" TRACE "-" SPAN "-01", -1},
    {"00-" TRACE SPAN "-01", -1},
    {"\"00-" TRACE "-" SPAN "-01\"", -1},
    {"ff-" TRACE "-" SPAN "-01", -1},
    {"00-" TRACE "-" SPAN "-01-", -1},
    {"00-" TRACE "-" SPAN "-01-what", -1},
    {"00-" TRACE "-" SPAN "-01.", -1},
    {"00-" TRACE "-" SPAN "-1", -1},
    {"00-" TRACE "-" SPAN "-0G", -1},
    {"00-" TRACE "-" SPAN "-.1", -1},
    {"00-" TRACE "-" SPAN "-0A", -1},
    {"0-" TRACE "-" SPAN "-01", -1},
    {".0-" TRACE "-" SPAN "-01", -1},
    {"0.-" TRACE "-" SPAN "-01", -1},
    {"00_" TRACE "-" SPAN "-01", -1},
    {"00-" TRACE "_" SPAN "-01", -1},
    {"00-" TRACE "-" SPAN "_01", -1},
    {"00-00000000000000000000000000000000-" SPAN "-01", -1},
    {"00-" TRACE "-0000000000000000-01", -1},
    {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", -1},
    {"00-" TRACE "-00F067AA0BA902B7-01", -1},
    {"00-.2345678901234567890123456789012-" SPAN "-01", -1},
    {"00-123456789012345678901234567890123-" SPAN "-01", -1},
    {"00-" TRACE "-" SPAN "-01,00-" TRACE "-" SPAN "-01", -1}, /* two headers */
    {"", -1},
    {"foo", -1},
};

SL_TEST(traceparent_table)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sl_span_context context;
        memset(&context, 0x5A, sizeof context);
        sl_span_context before = context;
        int error = sl_traceparent_parse(sl_str_c(cases[i].header), &context);
        if (cases[i].flags < 0) {
            if (error != SL_EPARSE)
                sl_test_failed(__FILE__, __LINE__, "accepted: %s", cases[i].header);
            CHECK(memcmp(&before, &context, sizeof context) == 0);
            continue;
        }
        if (error)
            sl_test_failed(__FILE__, __LINE__, "refused: %s", cases[i].header);
        CHECK_EQ(context.flags, cases[i].flags);
        CHECK(context.remote && context.tracestate.len == 0);
        CHECK_EQ(context.trace_id[0], 0x4b);
        CHECK_EQ(context.trace_id[15], 0x36);
        CHECK_EQ(context.span_id[7], 0xb7);
        char text[SL_TRACEPARENT_LEN + 1];
        sl_traceparent_format(&context, text);
        CHECK(memcmp(text, "00-" TRACE "-" SPAN "-0", 54) == 0);
        CHECK_EQ(text[54], '0' + cases[i].flags);
        CHECK_EQ(strlen(text), SL_TRACEPARENT_LEN);
    }
}

SL_TEST(traceparent_truncated_anywhere)
{
    const char *header = "cc-" TRACE "-" SPAN "-01-more";
    sl_span_context context;
    for (size_t len = 0; len <= strlen(header); len++)
        CHECK_EQ(sl_traceparent_parse(sl_str_of(header, len), &context) == 0, len == 55 || len >= 56);
}

SL_TEST(traceparent_every_byte_matters)
{
    const char *good = "00-" TRACE "-" SPAN "-01";
    for (size_t i = 0; i < SL_TRACEPARENT_LEN; i++) {
        const char bad[] = {'g', 'A', ' ', '\0', '/', ':', '`', (char)0xff};
        for (size_t k = 0; k < sizeof bad; k++) {
            char text[SL_TRACEPARENT_LEN];
            memcpy(text, good, sizeof text);
            text[i] = bad[k];
            sl_span_context context;
            CHECK_EQ(sl_traceparent_parse(sl_str_of(text, sizeof text), &context), SL_EPARSE);
        }
    }
}

SL_TEST(traceparent_format_masks_flags)
{
    sl_span_context context;
    char text[SL_TRACEPARENT_LEN + 1];
    CHECK_EQ(sl_traceparent_parse(SL_STR("00-" TRACE "-" SPAN "-00"), &context), 0);
    context.flags = 0xFD;
    sl_traceparent_format(&context, text);
    CHECK_STR(sl_str_c(text), "00-" TRACE "-" SPAN "-01");
}

SL_TEST(context_validity)
{
    sl_span_context context;
    memset(&context, 0, sizeof context);
    CHECK(!sl_span_context_is_valid(NULL));
    CHECK(!sl_span_context_is_valid(&context));
    context.trace_id[15] = 1;
    CHECK(!sl_span_context_is_valid(&context));
    context.span_id[0] = 1;
    CHECK(sl_span_context_is_valid(&context));
}
