/* Waterfall and table: snapshots, widths, broken trees, hostile texts, no memory. */
#include "src/view/waterfall.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/view/waterfall_text.h"
#include "tests/harness/sl_test.h"

static const char trace_json[] =
    "{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"spans\":["
    "{\"span_id\":\"07\",\"parent_span_id\":\"05\",\"name\":\"generate_tokens\",\"service\":\"llama-cpp\",\"start_ns\":"
    "1763116245659000000,\"duration_ns\":690000000,\"status\":\"OK\",\"attributes\":{\"completion.tokens\":240}},"
    "{\"span_id\":\"01\",\"parent_span_id\":null,\"name\":\"POST /v1/chat/completions\",\"service\":\"gateway\","
    "\"start_ns\":1763116245123000000,\"duration_ns\":1250000000,\"status\":\"UNSET\",\"attributes\":{}},"
    "{\"span_id\":\"02\",\"parent_span_id\":\"01\",\"name\":\"auth\",\"service\":\"gateway\",\"start_ns\":"
    "1763116245125000000,\"duration_ns\":300000},"
    "{\"span_id\":\"03\",\"parent_span_id\":\"01\",\"name\":\"chat claude-haiku\",\"service\":\"gateway\",\"start_ns\":"
    "1763116245133000000,\"duration_ns\":200000000,\"status\":\"ERROR\",\"status_message\":\"rate limited\","
    "\"attributes\":{\"error.type\":\"429\"}},"
    "{\"span_id\":\"04\",\"parent_span_id\":\"01\",\"name\":\"chat claude-haiku\",\"service\":\"gateway\",\"start_ns\":"
    "1763116245343000000,\"duration_ns\":1020000000,\"status\":\"UNSET\",\"attributes\":{\"gen_ai.request.model\":"
    "\"claude-haiku\",\"gen_ai.usage.input_tokens\":12,\"gen_ai.usage.output_tokens\":240},\"events\":[{\"name\":"
    "\"gen_ai.first_token\",\"time_ns\":1763116245663000000,\"attributes\":{}}]},"
    "{\"span_id\":\"05\",\"parent_span_id\":\"04\",\"name\":\"POST "
    "/v1/messages\",\"service\":\"llama-cpp\",\"start_ns\":"
    "1763116245353000000,\"duration_ns\":1000000000,\"status\":\"UNSET\",\"attributes\":{}},"
    "{\"span_id\":\"06\",\"parent_span_id\":\"05\",\"name\":\"process_prompt\",\"service\":\"llama-cpp\",\"start_ns\":"
    "1763116245358000000,\"duration_ns\":300000000,\"status\":\"UNSET\",\"attributes\":{\"prompt.tokens\":12}}]}";

static void expect(const char *file, int line, int (*render)(sl_str, const sl_waterfall_options *, sl_buf *),
                   const char *json, const sl_waterfall_options *options, const char *want)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 22);
    int error = render(sl_str_c(json), options, &out);
    if (error)
        sl_test_failed(file, line, "%s", sl_error_name(error));
    sl_test_check_str(file, line, "picture", sl_buf_str(&out), sl_str_c(want));
    sl_buf_done(&out);
}
#define EXPECT(...) expect(__FILE__, __LINE__, __VA_ARGS__)

SL_TEST(waterfall_of_a_trace)
{
    sl_waterfall_options options = {100, false, false};
    EXPECT(sl_waterfall_trace, trace_json, &options,
           "trace 4bf92f3577b34da6a3ce929d0e0e4736\n"
           "1.25 s, 7 spans, 1 failed; gateway, llama-cpp\n"
           "\n"
           "POST /v1/chat/completions   1.25 s │███████████████████████████████████████████████████████████████│\n"
           "├─ auth                     300 us │▏                                                              │\n"
           "├─ ✗ chat claude-haiku      200 ms │███████████                                                    │\n"
           "│     429: rate limited\n"
           "└─ chat claude-haiku        1.02 s │           ████████████████◆███████████████████████████████████│\n"
           "   │  claude-haiku · first token after 320 ms · 12 tokens in, 240 out\n"
           "   └─ POST /v1/messages     1.00 s │           ███████████████████████████████████████████████████ │\n"
           "      ├─ process_prompt     300 ms │           ████████████████                                    │\n"
           "      │     12 tokens in\n"
           "      └─ generate_tokens    690 ms │                           ███████████████████████████████████ │\n"
           "            240 tokens out\n");
}

SL_TEST(waterfall_in_ascii_on_a_narrow_terminal)
{
    sl_waterfall_options options = {60, false, true};
    EXPECT(sl_waterfall_trace, trace_json, &options,
           "trace 4bf92f3577b34da6a3ce929d0e0e4736\n"
           "1.25 s, 7 spans, 1 failed; gateway, llama-cpp\n"
           "\n"
           "POST /v1/chat/completio~   1.25 s |########################|\n"
           "|- auth                    300 us |'                       |\n"
           "|- x chat claude-haiku     200 ms |#####                   |\n"
           "|     429: rate limited\n"
           "`- chat claude-haiku       1.02 s |    ######*#############|\n"
           "   |  claude-haiku - first token after 320 ms - 12 tokens i~\n"
           "   `- POST /v1/messages    1.00 s |    ####################|\n"
           "      |- process_prompt    300 ms |    #######             |\n"
           "      |  12 tokens in\n"
           "      `- generate_tokens   690 ms |          ##############|\n"
           "         240 tokens out\n");
    options.width = 1; /* as narrow as it gets */
    EXPECT(sl_waterfall_trace, trace_json, &options,
           "trace 4bf92f3577b34da6a3ce929d0e0e4736\n"
           "1.25 s, 7 spans, 1 failed; gateway\n"
           "\n"
           "POST /v1/chat/c~   1.25 s |############|\n"
           "|- auth            300 us |'           |\n"
           "|- x chat claud~   200 ms |###         |\n"
           "|  429: rate limited\n"
           "`- chat claude-~   1.02 s |  ###*######|\n"
           "   claude-haiku - first token after 320~\n"
           "   `- POST /v1/~   1.00 s |  ##########|\n"
           "   |- process_p~   300 ms |  ####      |\n"
           "   |  12 tokens in\n"
           "   `- generate_~   690 ms |     #######|\n"
           "      240 tokens out\n");
}

SL_TEST(waterfall_in_colours)
{
    static const char json[] = "{\"trace_id\":\"ab\",\"spans\":[{\"span_id\":\"1\",\"name\":\"op\",\"service\":\"s\","
                               "\"start_ns\":5,\"duration_ns\":20,\"status\":\"ERROR\"}]}";
    sl_waterfall_options options = {60, true, true};
    EXPECT(sl_waterfall_trace, json, &options,
           "trace \x1B[1mab\x1B[0m\n"
           "20 ns, 1 span\x1B[31m, 1 failed\x1B[0m; \x1B[36ms\x1B[0m\n"
           "\n"
           "\x1B[31mx\x1B[0m \x1B[1mop        \x1B[0m    20 ns |\x1B[31m####################################\x1B[0m|\n"
           "\x1B[2m   \x1B[0m\x1B[31mfailed\x1B[0m\n");
}

/* Counts read as a person says them. */
SL_TEST(waterfall_of_one_token)
{
    static const struct {
        const char *attributes, *note;
    } cases[] = {
        {"\"prompt.tokens\":1", "1 token in\n"},
        {"\"prompt.tokens\":0", "0 tokens in\n"},
        {"\"completion.tokens\":1", "1 token out\n"},
        {"\"completion.tokens\":2", "2 tokens out\n"},
        {"\"gen_ai.usage.input_tokens\":1,\"gen_ai.usage.output_tokens\":16", "1 token in, 16 out\n"},
        {"\"gen_ai.usage.input_tokens\":21,\"gen_ai.usage.output_tokens\":1", "21 tokens in, 1 out\n"},
    };
    sl_waterfall_options options = {60, false, true};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[400], want[400];
        snprintf(json, sizeof json,
                 "{\"trace_id\":\"ab\",\"spans\":[{\"span_id\":\"1\",\"name\":\"op\",\"service\":\"s\",\"start_ns\":5,"
                 "\"duration_ns\":20,\"attributes\":{%s}}]}",
                 cases[i].attributes);
        snprintf(want, sizeof want, "trace ab\n20 ns, 1 span; s\n\nop              20 ns |%.36s|\n   %s",
                 "########################################", cases[i].note);
        EXPECT(sl_waterfall_trace, json, &options, want);
    }
}

static const char list_json[] =
    "[{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"root\":\"POST /v1/chat/completions\",\"service\":"
    "\"litellm-gateway\",\"start\":\"2025-11-14T10:30:45.123Z\",\"duration_ns\":1250000000,\"spans\":7,\"error\":true},"
    "{\"trace_id\":\"00f92f3577b34da6a3ce929d0e0e4736\",\"root\":\"GET /\",\"service\":\"x\",\"start\":"
    "\"2025-11-14T10:30:45.124Z\",\"duration_ns\":125000,\"spans\":1,\"error\":false}]";

SL_TEST(table_of_traces)
{
    sl_waterfall_options options = {90, false, true};
    EXPECT(sl_waterfall_list, list_json, &options,
           "TRACE         START        DURATION SPANS   SERVICE          ROOT\n"
           "4bf92f3577b3  10:30:45.123   1.25 s     7 x litellm-gateway  POST /v1/chat/completions\n"
           "00f92f3577b3  10:30:45.124   125 us     1   x                GET /\n");
    EXPECT(sl_waterfall_list, "[]", &options, "TRACE         START        DURATION SPANS   SERVICE  ROOT\n");
}

/* ---- every line within the width ---- */

static void check_widths(const sl_buf *out, size_t width)
{
    sl_str rest = sl_buf_str(out), line;
    while (sl_str_split(&rest, '\n', &line)) {
        size_t columns = sl_text_columns(line, false);
        if (columns > width)
            sl_test_failed(__FILE__, __LINE__, "%zu columns of %zu: %.*s", columns, width, (int)line.len, line.ptr);
    }
}

/* A chain of `count` spans, each the parent of the next. */
static char *make_chain(size_t count, bool ring)
{
    sl_buf json;
    sl_buf_init(&json, 64u << 20);
    (void)sl_buf_put_c(&json, "{\"trace_id\":\"00112233445566778899aabbccddeeff\",\"spans\":[");
    for (size_t i = 0; i < count; i++) {
        size_t parent = i ? i - 1 : ring ? count - 1 : 99999999;
        (void)sl_buf_printf(&json,
                            "%s{\"span_id\":\"%zu\",\"parent_span_id\":\"%zu\",\"name\":\"span number %zu with a long "
                            "name\",\"service\":\"service-%zu\",\"start_ns\":%zu,\"duration_ns\":%zu,\"status\":\"%s\","
                            "\"attributes\":{\"gen_ai.usage.input_tokens\":%zu}}",
                            i ? "," : "", i, parent, i, i % 9, 1000 + i, 2 * (count - i), i % 7 ? "OK" : "ERROR", i);
    }
    (void)sl_buf_put_c(&json, "]}");
    char *text = malloc(json.len + 1);
    memcpy(text, json.data, json.len);
    text[json.len] = '\0';
    sl_buf_done(&json);
    return text;
}

/* Names of every width, wide and joined characters, bytes that are no UTF-8, deep and failed ones. */
static const char odd_json[] =
    "{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"spans\":["
    "{\"span_id\":\"01\",\"name\":"
    "\"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xae\xe3\x83\xa2\xe3\x83\x87\xe3\x83\xab"
    "\xe3\x81\xab\xe8\x81\x9e\xe3\x81\x8f\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xae\xe3\x83\xa2\xe3\x83\x87\","
    "\"service\":"
    "\"\xe6\x97\xa5\xe6\x9c\xac\",\"start_ns\":1000,\"duration_ns\":9223372036854775807},"
    "{\"span_id\":\"02\",\"parent_span_id\":\"01\",\"name\":\"e\xcc\x81t\xcc\x82re "
    "\xf0\x9f\x9a\x80\xf0\x9f\x8e\x89\",\"service\":\"s\",\"start_ns\":"
    "2000,\"duration_ns\":0,\"status\":\"ERROR\",\"status_message\":"
    "\"\xe5\xa3\x8a\xe3\x82\x8c\xe3\x81\x9f\xe5\xa3\x8a\xe3\x82\x8c\xe3\x81\x9f\xe5\xa3\x8a"
    "\xe3\x82\x8c\xe3\x81\x9f\xe5\xa3\x8a\xe3\x82\x8c\xe3\x81\x9f\xe5\xa3\x8a\xe3\x82\x8c\xe3\x81\x9f\"},"
    "{\"span_id\":\"03\",\"parent_span_id\":\"02\",\"name\":\"\",\"service\":\"\",\"start_ns\":3000,\"duration_ns\":5,"
    "\"status\":"
    "\"ERROR\"}]}";

static const char odd_list_json[] =
    "[{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"root\":"
    "\"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xae\xe3\x83\xa2\xe3\x83\x87"
    "\xe3\x83\xab\xe3\x81\xab\xe8\x81\x9e\xe3\x81\x8f\",\"service\":"
    "\"\xf0\x9f\x9a\x80\xf0\x9f\x9a\x80\xf0\x9f\x9a\x80\xf0\x9f\x9a\x80\","
    "\"start\":\"2025-11-14T10:30:45.123Z\",\"duration_ns\":18000000000000,\"spans\":99999,\"error\":true},"
    "{\"trace_id\":\"1\",\"start\":\"when\"},{},5]";

/* No line is wider than the terminal, at any width of one. */
SL_TEST(waterfall_fits_its_width)
{
    char *chain = make_chain(100, false);
    const char *const traces[] = {trace_json, chain, odd_json};
    const char *const lists[] = {list_json, odd_list_json};
    for (unsigned width = 40; width <= 200; width++) {
        for (int look = 0; look < 2; look++) {
            sl_waterfall_options options = {width, false, look == 1};
            sl_buf out;
            sl_buf_init(&out, 1u << 22);
            for (size_t i = 0; i < 3; i++) {
                sl_buf_clear(&out);
                CHECK_EQ(sl_waterfall_trace(sl_str_c(traces[i]), &options, &out), 0);
                check_widths(&out, width);
            }
            for (size_t i = 0; i < 2; i++) {
                sl_buf_clear(&out);
                CHECK_EQ(sl_waterfall_list(sl_str_c(lists[i]), &options, &out), 0);
                check_widths(&out, width);
            }
            sl_buf_done(&out);
        }
    }
    free(chain);
}

SL_TEST(waterfall_widths_beyond_the_bounds)
{
    static const unsigned given[] = {0, 1, 39, 401, 100000}, taken[] = {100, 40, 40, 400, 400};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        sl_waterfall_options a = {given[i], false, true}, b = {taken[i], false, true};
        sl_buf one, two;
        sl_buf_init(&one, 1u << 20);
        sl_buf_init(&two, 1u << 20);
        CHECK_EQ(sl_waterfall_trace(sl_str_c(trace_json), &a, &one), 0);
        CHECK_EQ(sl_waterfall_trace(sl_str_c(trace_json), &b, &two), 0);
        CHECK_STR_EQ(sl_buf_str(&one), sl_buf_str(&two));
        sl_buf_done(&one);
        sl_buf_done(&two);
    }
}

SL_TEST(table_on_the_narrowest_terminal)
{
    sl_waterfall_options options = {40, false, true};
    EXPECT(sl_waterfall_list,
           "[{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"root\":\"POST /v1/chat\",\"service\":\"gateway\","
           "\"start\":\"2025-11-14T10:30:45.123Z\",\"duration_ns\":1250000000,\"spans\":7,\"error\":false}]",
           &options,
           "TRACE         DURATION SPANS   ROOT\n"
           "4bf92f3577b3    1.25 s     7   POST /v1~\n");
}

static size_t count_lines_with(const sl_buf *out, const char *part)
{
    sl_str rest = sl_buf_str(out), line;
    size_t lines = 0;
    while (sl_str_split(&rest, '\n', &line))
        lines += sl_str_find(line, sl_str_c(part)) != SL_NPOS;
    return lines;
}

SL_TEST(waterfall_shows_every_span_of_a_ring)
{
    for (size_t count = 1; count < 20; count++) {
        char *ring = make_chain(count, true);
        sl_waterfall_options options = {200, false, true};
        sl_buf out;
        sl_buf_init(&out, 1u << 22);
        CHECK_EQ(sl_waterfall_trace(sl_str_c(ring), &options, &out), 0);
        CHECK_EQ(count_lines_with(&out, "span number"), count);
        sl_buf_done(&out);
        free(ring);
    }
}

SL_TEST(waterfall_of_orphans_and_twins)
{
    static const char json[] =
        "{\"trace_id\":\"ab\",\"spans\":["
        "{\"span_id\":\"1\",\"parent_span_id\":\"77\",\"name\":\"orphan\",\"start_ns\":10,\"duration_ns\":10},"
        "{\"span_id\":\"2\",\"parent_span_id\":\"1\",\"name\":\"child\",\"start_ns\":12,\"duration_ns\":2},"
        "{\"span_id\":\"2\",\"parent_span_id\":\"1\",\"name\":\"twin\",\"start_ns\":15,\"duration_ns\":0},"
        "{\"span_id\":\"3\",\"parent_span_id\":\"3\",\"name\":\"own parent\",\"start_ns\":20,\"duration_ns\":1},"
        "{}, 5, null]}";
    sl_waterfall_options options = {60, false, true};
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_waterfall_trace(sl_str_c(json), &options, &out), 0);
    CHECK_EQ(count_lines_with(&out, "|- child"), 1);
    CHECK_EQ(count_lines_with(&out, "`- twin"), 1);
    CHECK_EQ(count_lines_with(&out, "own parent"), 1);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("7 spans")) != SL_NPOS);
    sl_buf_done(&out);
}

SL_TEST(waterfall_of_nothing)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_waterfall_trace(SL_STR("{\"trace_id\":\"ab\",\"spans\":[]}"), NULL, &out), 0);
    CHECK_STR(sl_buf_str(&out), "trace ab\n0 ns, 0 spans\n\n");
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "5",
                                      "{}",
                                      "{\"trace_id\":\"ab\"}",
                                      "{\"spans\":[]}",
                                      "{\"trace_id\":\"ab\",\"spans\":{}}",
                                      "{\"trace_id\":5,\"spans\":[]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(sl_waterfall_trace(sl_str_c(bad[i]), NULL, &out), SL_EPARSE);
    CHECK_EQ(sl_waterfall_list(SL_STR("{}"), NULL, &out), SL_EPARSE);
    CHECK_EQ(sl_waterfall_list(SL_STR("["), NULL, &out), SL_EPARSE);
    CHECK_EQ(sl_waterfall_list(SL_STR("[5,null,{}]"), NULL, &out), 0);
    sl_buf_done(&out);
}

SL_TEST(waterfall_lets_no_control_through)
{
    static const char json[] =
        "{\"trace_id\":\"a\\u001b[2J\",\"spans\":[{\"span_id\":\"1\",\"name\":\"\\u001b]0;"
        "x\\u0007\\r\\n\\u009b31m\\u202e"
        "\\u0000end\",\"service\":\"\\u001b[1m\",\"start_ns\":-5,\"duration_ns\":9223372036854775807,\"status\":"
        "\"ERROR\",\"status_message\":\"\\u001b[31m\\n\",\"attributes\":{\"gen_ai.response.model\":\"\\u001bc\","
        "\"gen_ai.response.time_to_first_chunk\":0.25}}]}";
    sl_waterfall_options options = {100, false, false};
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_waterfall_trace(sl_str_c(json), &options, &out), 0);
    for (size_t i = 0; i < out.len; i++)
        CHECK((unsigned char)out.data[i] >= 0x20 || out.data[i] == '\n');
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("\xC2\x9B")) == SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("\xE2\x80\xAE")) == SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("first token after 250 ms")) != SL_NPOS);
    CHECK_EQ(count_lines_with(&out, "end"), 1);
    sl_buf_done(&out);
}

SL_TEST(waterfall_survives_no_memory)
{
    for (long n = 0; n < 60; n++) {
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        sl_test_fail_alloc(n);
        int error = sl_waterfall_trace(sl_str_c(trace_json), NULL, &out);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        sl_buf_done(&out);
        if (!failed)
            break;
    }
}

/* ---- pieces ---- */

SL_TEST(durations)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {{0, "0 ns"},
                 {999, "999 ns"},
                 {1000, "1.00 us"},
                 {12345, "12.3 us"},
                 {123456, "123 us"},
                 {999499, "999 us"},
                 {999700, "1.00 ms"},
                 {4560000, "4.56 ms"},
                 {9996000, "10.0 ms"},
                 {99960000, "100 ms"},
                 {999999999, "1.00 s"},
                 {1250000000, "1.25 s"},
                 {61000000000u, "61.0 s"},
                 {125000000000u, "2m 05s"},
                 {11220000000000u, "3h 07m"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[SL_DURATION_SIZE];
        sl_text_duration(cases[i].ns, text);
        CHECK_STR(sl_str_c(text), cases[i].text);
    }
    char text[SL_DURATION_SIZE];
    sl_text_duration(UINT64_MAX, text);
    CHECK(strlen(text) < SL_DURATION_SIZE);
}

SL_TEST(texts_in_columns)
{
    static const struct {
        const char *text;
        size_t columns;
        bool pad, ascii;
        const char *shown;
    } cases[] = {
        {"abc", 5, true, false, "abc  "},
        {"abc", 5, false, false, "abc"},
        {"abcdef", 4, true, false, "abc\xE2\x80\xA6"},
        {"abcdef", 4, true, true, "abc~"},
        {"abcd", 4, true, false, "abcd"},
        {"abc", 0, true, false, ""},
        {"\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", 6, true, false, "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E"},
        {"\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", 4, true, false, "\xE6\x97\xA5\xE2\x80\xA6 "},
        {"e\xCC\x81x", 2, true, false, "e\xCC\x81x"},
        {"caf\xC3\xA9", 4, true, true, "caf?"},
        {"a\x1b\x7f\xFFz", 5, true, false, "a???z"},
        {"\xF0\x9F\x98\x80", 3, true, false, "\xF0\x9F\x98\x80 "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_buf out;
        sl_buf_init(&out, 1000);
        sl_text_put(&out, sl_str_c(cases[i].text), cases[i].columns, cases[i].pad, cases[i].ascii);
        CHECK_STR(sl_buf_str(&out), cases[i].shown);
        sl_buf_done(&out);
    }
}

SL_TEST(looks_of_the_environment)
{
    sl_waterfall_options o;
    int pipes[2];
    REQUIRE(pipe(pipes) == 0);
    setenv("LC_ALL", "en_US.UTF-8", 1);
    setenv("COLUMNS", "133", 1);
    sl_waterfall_options_for(pipes[1], &o);
    CHECK_EQ(o.width, 133);
    CHECK(!o.color); /* not a terminal */
    CHECK(!o.ascii);
    setenv("LC_ALL", "C", 1);
    unsetenv("COLUMNS");
    sl_waterfall_options_for(pipes[1], &o);
    CHECK(o.ascii);
    CHECK_EQ(o.width, 100);
    unsetenv("LC_ALL");
    unsetenv("LC_CTYPE");
    setenv("LANG", "de_DE.utf8", 1);
    setenv("COLUMNS", "nonsense", 1);
    sl_waterfall_options_for(pipes[1], &o);
    CHECK(!o.ascii);
    CHECK_EQ(o.width, 100);
    close(pipes[0]);
    close(pipes[1]);
}
