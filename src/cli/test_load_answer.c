/* Judging of answers, fed whole and byte by byte. */
#include <stdio.h>

#include "src/base/mem.h"
#include "src/cli/load_answer.h"
#include "tests/harness/sl_test.h"

#define ROLE "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
#define WORD "data: {\"choices\":[{\"delta\":{\"content\":\"word \"}}]}\n\n"
#define SPACED "data: {\"choices\": [{\"delta\": {\"content\": \"word\"}}]}\r\n\r\n"
#define USAGE "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":42}}\n\n"
#define NO_USAGE "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n"
#define DONE "data: [DONE]\n\n"

typedef struct answer_row {
    const char *name;
    sl_load_api api;
    bool stream;
    int status;
    const char *type;
    const char *body;
    sl_load_error error; /* SL_LOAD_OK: good */
    uint64_t tokens;
    uint64_t frames;
    uint64_t times; /* tokens with a time */
} answer_row;

static const answer_row rows[] = {
    {"stream", SL_LOAD_CHAT, true, 200, "text/event-stream", ROLE WORD WORD SPACED USAGE DONE, SL_LOAD_OK, 42, 6, 3},
    {"no usage", SL_LOAD_CHAT, true, 200, "text/event-stream; charset=utf-8", ROLE WORD NO_USAGE DONE, SL_LOAD_OK, 2, 4,
     2},
    {"comment", SL_LOAD_CHAT, true, 200, "Text/Event-Stream", ": awake\n\n" WORD DONE, SL_LOAD_OK, 1, 3, 1},
    {"last empty line missing", SL_LOAD_CHAT, true, 200, "text/event-stream", WORD "data: [DONE]\n", SL_LOAD_OK, 1, 2,
     1},
    {"reasoning", SL_LOAD_CHAT, true, 200, "text/event-stream",
     "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n" DONE, SL_LOAD_OK, 1, 2, 1},
    {"escaped quotes fake nothing", SL_LOAD_CHAT, true, 200, "text/event-stream",
     "data: {\"choices\":[{\"delta\":{\"role\":\"\\\"content\\\":\\\"x\"}}]}\n\n" DONE, SL_LOAD_OK, 0, 2, 0},
    {"no end mark", SL_LOAD_CHAT, true, 200, "text/event-stream", ROLE WORD USAGE, SL_LOAD_NO_DONE, 0, 3, 1},
    {"empty stream", SL_LOAD_CHAT, true, 200, "text/event-stream", "", SL_LOAD_NO_DONE, 0, 0, 0},
    {"cut frame", SL_LOAD_CHAT, true, 200, "text/event-stream", WORD "data: {\"cho", SL_LOAD_BAD_JSON, 0, 2, 1},
    {"error", SL_LOAD_CHAT, true, 200, "text/event-stream", WORD "data: {\"error\":{\"message\":\"no\"}}\n\n" DONE,
     SL_LOAD_STREAM_ERROR, 0, 3, 1},
    {"error is null", SL_LOAD_CHAT, true, 200, "text/event-stream", "data: {\"error\":null}\n\n" DONE, SL_LOAD_OK, 0, 2,
     0},
    {"messages", SL_LOAD_MESSAGES, true, 200, "text/event-stream",
     "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"output_tokens\":1}}}\n\n"
     "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n"
     "event: message_delta\ndata: {\"usage\":{\"output_tokens\":9}}\n\n"
     "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
     SL_LOAD_OK, 9, 4, 1},
    {"messages without their end", SL_LOAD_MESSAGES, true, 200, "text/event-stream", "event: ping\ndata: {}\n\n",
     SL_LOAD_NO_DONE, 0, 1, 0},
    {"unary", SL_LOAD_CHAT, false, 200, "application/json", "{\"usage\":{\"completion_tokens\":5}}", SL_LOAD_OK, 5, 0,
     0},
    {"unary without usage", SL_LOAD_CHAT, false, 200, "application/json", "{}", SL_LOAD_OK, 0, 0, 0},
    {"unary, bad", SL_LOAD_CHAT, false, 200, "application/json", "{\"usage\":", SL_LOAD_BAD_JSON, 0, 0, 0},
    {"unary, empty", SL_LOAD_CHAT, false, 200, "application/json", "", SL_LOAD_BAD_JSON, 0, 0, 0},
    {"not streamed", SL_LOAD_CHAT, true, 200, "application/json", "{}", SL_LOAD_NOT_STREAMED, 0, 0, 0},
    {"refused", SL_LOAD_CHAT, true, 429, "application/json", "{\"error\":{}}", SL_LOAD_HTTP, 0, 0, 0},
};

static void judge(const answer_row *row, size_t piece, sl_load_result *result)
{
    static sl_load_answer answer;
    sl_load_request request = {.api = row->api, .stream = row->stream};
    sl_str body = sl_str_c(row->body);
    uint64_t now = 1000;
    sl_load_answer_begin(&answer, &request, 500);
    sl_load_answer_head(&answer, row->status, sl_str_c(row->type));
    for (size_t at = 0; at < body.len; at += piece)
        sl_load_answer_feed(&answer, sl_str_sub(body, at, piece), false, ++now, result);
    sl_load_answer_feed(&answer, sl_str_of(NULL, 0), true, ++now, result);
    sl_load_answer_end(&answer, now, result);
    sl_load_answer_done(&answer);
}

static void check_row(const answer_row *row, size_t piece)
{
    sl_load_result *result = sl_calloc(1, sizeof *result);
    judge(row, piece, result);
    CHECK_EQ(result->sent, 1);
    CHECK_EQ(result->ok, row->error == SL_LOAD_OK);
    CHECK_EQ(result->ok + sl_load_result_failed(result), 1);
    CHECK_EQ(result->tokens, row->tokens);
    CHECK_EQ(result->frames, row->frames);
    CHECK_EQ(result->bytes, strlen(row->body));
    CHECK_EQ(result->ttft.count + result->itl.count, row->times);
    CHECK_EQ(result->latency.count, row->error == SL_LOAD_OK);
    if (row->error == SL_LOAD_HTTP)
        CHECK_EQ(result->http_errors[row->status], 1);
    else if (row->error)
        CHECK_EQ(result->errors[row->error], 1);
    sl_free(result);
}

SL_TEST(every_kind_of_answer_however_it_is_cut)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t piece = 1; piece < 12; piece++)
            check_row(&rows[i], piece);
        check_row(&rows[i], 100000);
    }
}

SL_TEST(whole_body_at_once_needs_no_copy)
{
    static sl_load_answer answer;
    sl_load_result *result = sl_calloc(1, sizeof *result);
    sl_load_request request = {.api = SL_LOAD_CHAT};
    sl_load_answer_begin(&answer, &request, 1);
    sl_load_answer_head(&answer, 200, SL_STR("application/json"));
    size_t before = sl_test_alloc_count();
    sl_load_answer_feed(&answer, SL_STR("{\"usage\":{\"completion_tokens\":3}}"), true, 10, result);
    sl_load_answer_end(&answer, 11, result);
    CHECK_EQ(sl_test_alloc_count(), before);
    CHECK_EQ(result->tokens, 3);
    CHECK_EQ(result->latency.max, 10);
    sl_load_answer_done(&answer);
    sl_free(result);
}

SL_TEST(first_error_is_kept_and_printable)
{
    sl_load_result *result = sl_calloc(1, sizeof *result);
    sl_load_result_error(result, SL_LOAD_HTTP, 401, SL_STR("bad\033[31m key"));
    sl_load_result_error(result, SL_LOAD_TIMEOUT, 0, SL_STR("later"));
    CHECK_STR(sl_str_c(result->sample), "bad [31m key");
    CHECK_EQ(sl_load_result_failed(result), 2);
    CHECK_STR(sl_str_c(sl_load_error_name(SL_LOAD_NO_DONE)), "no_done");
    sl_free(result);
}

SL_TEST(reports_of_a_result)
{
    sl_load_result *result = sl_calloc(1, sizeof *result);
    sl_buf out;
    sl_buf_init(&out, 1 << 16);
    result->sent = 3;
    result->ok = 1;
    result->tokens = 10;
    result->duration_ns = 2000000000;
    sl_load_hist_add(&result->latency, 1500000);
    sl_load_result_error(result, SL_LOAD_NO_DONE, 0, SL_STR(""));
    sl_load_result_error(result, SL_LOAD_HTTP, 503, SL_STR("full"));
    CHECK_EQ(sl_load_report_json(result, &out), 0);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("\"errors\":{\"no_done\":1,\"http_503\":1}")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("\"latency_ms\":{\"p50\":1.5,\"p90\":1.5,\"p99\":1.5,\"max\":1.5}")) !=
          SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("\"ttft_ms\":{\"p50\":null")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("\"tokens_per_s\":5,\"requests_per_s\":0.5")) != SL_NPOS);
    sl_buf_clear(&out);
    CHECK_EQ(sl_load_report_text(result, &out), 0);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("3 sent, 1 ok, 2 failed")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("http_503: 1")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("first token")) == SL_NPOS);
    sl_buf_done(&out);
    sl_free(result);
}

/* What a stream's error says is told, however long it is: its beginning, whole characters, printable. */
SL_TEST(an_error_of_a_stream_is_told_however_long)
{
    for (size_t len = 1; len < 600; len += 13) {
        char body[1024];
        size_t at = (size_t)sprintf(body, "data: {\"error\":{\"message\":\"");
        for (size_t i = 0; i < len; i += 2)
            at += (size_t)sprintf(body + at, "\xc3\xa9");
        (void)sprintf(body + at, "\x7f\"}}\n\n" DONE);
        answer_row row = {"long", SL_LOAD_CHAT, true, 200, "text/event-stream", body, SL_LOAD_STREAM_ERROR, 0, 2, 0};
        sl_load_result *result = sl_calloc(1, sizeof *result);
        judge(&row, 100000, result);
        sl_str sample = sl_str_c(result->sample);
        CHECK(sl_str_starts(sample, SL_STR("{\"error\":{\"message\":\"\xc3\xa9")));
        CHECK(sl_utf8_valid(sample));
        CHECK(sl_str_chr(sample, '\x7f') == SL_NPOS);
        sl_free(result);
    }
}

/* Each allocation failing in turn, at every piece: an answer is counted once, good or bad, and nothing is left. */
SL_TEST(answers_survive_every_failing_allocation)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t piece = 3; piece < 40; piece += 18) {
            for (long n = 0; n < 50; n++) {
                sl_load_result *result = sl_calloc(1, sizeof *result);
                sl_test_fail_alloc(n);
                judge(&rows[i], piece, result);
                bool failed = sl_test_alloc_failed();
                sl_test_fail_alloc(-1);
                CHECK_EQ(result->sent, 1);
                CHECK_EQ(result->ok + sl_load_result_failed(result), 1);
                CHECK(!result->ok || rows[i].error == SL_LOAD_OK);
                sl_free(result);
                if (!failed)
                    break;
            }
        }
    }
}
