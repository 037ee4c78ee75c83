/* B3 and Jaeger headers: the forms of their specifications, each rule broken once, every truncation. */
#include "src/wire/b3.h"

#include <stdlib.h>

#include "tests/harness/sl_test.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

SL_TEST(b3_single)
{
    static const struct {
        const char *header;
        int error;
        int flags;
    } table[] = {
        {TRACE "-" SPAN "-1-05e3ac9a4f6e3b90", 0, 1},
        {TRACE "-" SPAN "-1", 0, 1},
        {TRACE "-" SPAN "-d", 0, 1},
        {TRACE "-" SPAN "-0", 0, 0},
        {TRACE "-" SPAN, 0, 0},
        {"a3ce929d0e0e4736-" SPAN "-1", 0, 1},
        {"0", SL_ENOENT, 0},
        {"1", SL_ENOENT, 0},
        {"d", SL_ENOENT, 0},
        {" " TRACE "-" SPAN "-1\t", 0, 1},
        {"4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-1", 0, 1},
        {"0000000000000000a3ce929d0e0e4736-" SPAN "-1", 0, 1},
        {"", SL_EPARSE, 0},
        {"-", SL_EPARSE, 0},
        {"--", SL_EPARSE, 0},
        {"---", SL_EPARSE, 0},
        {"00", SL_EPARSE, 0},
        {"D", SL_EPARSE, 0},
        {"true", SL_EPARSE, 0},
        {TRACE, SL_EPARSE, 0},
        {TRACE "-", SL_EPARSE, 0},
        {"-" SPAN, SL_EPARSE, 0},
        {TRACE "-" SPAN "-", SL_EPARSE, 0},
        {TRACE "-" SPAN "-D", SL_EPARSE, 0},
        {TRACE "-" SPAN "-01", SL_EPARSE, 0},
        {TRACE "-" SPAN "-1-", SL_EPARSE, 0},
        {TRACE "-" SPAN "-1-05e3ac9a4f6e3b9g", SL_EPARSE, 0},
        {TRACE "-" SPAN "0-1", SL_EPARSE, 0},
        {TRACE "0-" SPAN "-1", SL_EPARSE, 0},
        {TRACE " -" SPAN "-1", SL_EPARSE, 0},
        {"00000000000000000000000000000000-" SPAN "-1", SL_EPARSE, 0},
        {"0000000000000000-" SPAN "-1", SL_EPARSE, 0},
        {"4bf92f3577b34da6a3ce929d0e0e473x-" SPAN "-1", SL_EPARSE, 0},
        {TRACE "-00f067aa0ba902b-1", SL_EPARSE, 0},
        {"2", SL_EPARSE, 0},
        {TRACE "-" SPAN "-2", SL_EPARSE, 0},
        {TRACE "-" SPAN "-1-05e3", SL_EPARSE, 0},
        {TRACE "-" SPAN "-1-05e3ac9a4f6e3b90-", SL_EPARSE, 0},
        {"4bf92f35-" SPAN "-1", SL_EPARSE, 0},
        {TRACE "-0000000000000000-1", SL_EPARSE, 0},
        {"x" TRACE "-" SPAN, SL_EPARSE, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        sl_span_context context;
        CHECK_EQ(sl_b3_parse(sl_str_c(table[i].header), &context), table[i].error);
        if (table[i].error)
            continue;
        CHECK_EQ(context.flags, table[i].flags);
        CHECK(context.remote);
        char text[SL_B3_LEN + 1];
        sl_b3_format(&context, text);
        CHECK_EQ(strlen(text), SL_B3_LEN);
        CHECK(memcmp(text + 16, "a3ce929d0e0e4736-" SPAN "-", 34) == 0);
        CHECK_EQ(text[50], '0' + table[i].flags);
    }
}

SL_TEST(b3_multi)
{
    static const struct {
        const char *trace, *span, *sampled, *flags;
        int want; /* flags, -1: refused */
    } rows[] = {
        {TRACE, SPAN, "1", "", 1},
        {TRACE, SPAN, "0", "", 0},
        {TRACE, SPAN, "", "", 0},
        {TRACE, SPAN, "true", "", 1},
        {TRACE, SPAN, "True", "", 1},
        {TRACE, SPAN, "false", "", 0},
        {TRACE, SPAN, "", "1", 1},
        {TRACE, SPAN, "0", "1", 1}, /* debug implies sampled */
        {TRACE, SPAN, "", "0", 0},
        {TRACE, SPAN, "1", "0", 1},
        {TRACE, SPAN, "2", "2", 0},
        {"a3ce929d0e0e4736", SPAN, "1", "", 1},
        {" " TRACE, SPAN " ", "\t1", " 1 ", 1},
        {TRACE, "", "1", "", -1},
        {"", SPAN, "1", "", -1},
        {"", "", "1", "1", -1},
        {TRACE, "00f067aa0ba902b", "1", "", -1},
        {TRACE, TRACE, "1", "", -1},
        {"4bf92f3577b34da6a3ce929d0e0e473", SPAN, "1", "", -1},
        {TRACE, "0000000000000000", "1", "", -1},
        {"00000000000000000000000000000000", SPAN, "1", "", -1},
        {TRACE "," TRACE, SPAN, "1", "", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_span_context c;
        memset(&c, 0x5A, sizeof c);
        int error = sl_b3_parse_multi(sl_str_c(rows[i].trace), sl_str_c(rows[i].span), sl_str_c(rows[i].sampled),
                                      sl_str_c(rows[i].flags), &c);
        if (error != (rows[i].want < 0 ? SL_EPARSE : 0))
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d", i, error);
        CHECK_EQ(c.flags, rows[i].want < 0 ? 0x5A : rows[i].want);
        CHECK(error || (c.remote && c.trace_id[15] == 0x36 && c.span_id[7] == 0xb7 && c.tracestate.len == 0));
    }
}

SL_TEST(jaeger_headers)
{
    static const struct {
        const char *header;
        int want; /* flags, -1: refused */
    } rows[] = {
        {TRACE ":" SPAN ":0:1", 1},
        {TRACE ":" SPAN ":0:01", 1},
        {TRACE ":" SPAN ":0:0", 0},
        {TRACE ":" SPAN ":" SPAN ":1", 1},
        {TRACE ":" SPAN ":0:2", 1}, /* debug */
        {TRACE ":" SPAN ":0:3", 1},
        {TRACE ":" SPAN ":0:4", 0},
        {TRACE ":" SPAN ":0:ff", 1},
        {"4bf92f3577b34da6a3ce929d0e0e4736%3A00f067aa0ba902b7%3a0%3A1", 1},
        {"36:b7:0:1", 1}, /* zeros in front may be missing */
        {"00000000000000000000000000000036:b7:0:1", 1},
        {" 36:b7:0:1 ", 1},
        {"", -1},
        {":::", -1},
        {"0:1:0:1", -1},
        {"1:0:0:1", -1},
        {"1:1:0", -1},
        {"1:1:0:", -1},
        {"1:1:0:1:1", -1},
        {"g:1:0:1", -1},
        {"1:1:0:fff", -1},
        {TRACE "0:1:0:1", -1},
        {"1:" SPAN "0:0:1", -1},
        {"1%3", -1},
        {"%", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_span_context c, again;
        memset(&c, 0x5A, sizeof c);
        int error = sl_jaeger_parse(sl_str_c(rows[i].header), &c);
        if (error != (rows[i].want < 0 ? SL_EPARSE : 0))
            sl_test_failed(__FILE__, __LINE__, "%s: %d", rows[i].header, error);
        CHECK_EQ(c.flags, rows[i].want < 0 ? 0x5A : rows[i].want);
        if (error)
            continue;
        char text[SL_JAEGER_LEN + 1];
        CHECK(c.remote && c.trace_id[15] == 0x36 && c.span_id[7] == 0xb7);
        sl_jaeger_format(&c, text);
        CHECK_EQ(strlen(text), SL_JAEGER_LEN);
        CHECK_EQ(sl_jaeger_parse(sl_str_c(text), &again), 0);
        CHECK(memcmp(c.trace_id, again.trace_id, 16) == 0 && c.flags == again.flags);
    }
    static char zeros[200];
    sl_span_context c;
    memset(zeros, '0', sizeof zeros);
    CHECK_EQ(sl_jaeger_parse(sl_str_of(zeros, sizeof zeros), &c), SL_EPARSE);
}

/* Every cut and every byte replaced by odd ones, from exact copies: refused, or read as something valid. */
SL_TEST(b3_and_jaeger_broken_anywhere)
{
    static const char *const headers[] = {TRACE "-" SPAN "-1-05e3ac9a4f6e3b90", TRACE "%3A" SPAN ":0:01"};
    static const char odd[] = {'g', '-', ':', '%', ' ', '\0', (char)0xFF, '0'};
    for (size_t h = 0; h < 2; h++) {
        size_t len = strlen(headers[h]);
        for (size_t at = 0; at < len * sizeof odd; at++) {
            sl_span_context c;
            char *exact = malloc(len);
            memcpy(exact, headers[h], len);
            exact[at / sizeof odd] = odd[at % sizeof odd];
            if (sl_b3_parse(sl_str_of(exact, len), &c) == 0)
                CHECK(sl_span_context_is_valid(&c));
            if (sl_jaeger_parse(sl_str_of(exact, len), &c) == 0)
                CHECK(sl_span_context_is_valid(&c));
            free(exact);
            exact = malloc(at / sizeof odd + 1);
            memcpy(exact, headers[h], at / sizeof odd);
            (void)!sl_b3_parse(sl_str_of(exact, at / sizeof odd), &c);
            (void)!sl_jaeger_parse(sl_str_of(exact, at / sizeof odd), &c);
            free(exact);
        }
    }
}
