/* The assembler, fed with events as hosts write them: requests, their prompts and their spans. */
#include "src/probe/probe_metrics.h"
#include "src/probe/test_probe_stream.h"

SL_TEST(a_request_is_one_tree_from_http_to_its_batches)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_request(&s, 1, traced);
    stream_tokenize(&s, 1, P1, 8);
    stream_post(&s, 1);
    stream_wait(&s, 700);
    stream_prompt(&s, 2, P1, 0, 8);
    stream_generate(&s, 2, 8, 4);
    stream_answer(&s, 1, 200, true);
    stream_end_as(&s, 1, SL_PROBE_END_COMPLETE,
                  "\"model\":\"tiny\",\"usage\":{\"completion_tokens\":5,\"prompt_tokens\":8,\"total_tokens\":13,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":0}},\"id\":\"x\",\"timings\":{\"cache_n\":0,"
                  "\"prompt_n\":8,\"prompt_ms\":1,\"predicted_n\":5,\"predicted_ms\":2}}\n\n");
    stream_close(&s);
    const sl_otlp_span *server = stream_span(&s, "POST /v1/chat/completions", 0);
    REQUIRE(server);
    char id[16];
    sl_hex_encode((const uint8_t *)server->parent_span_id.ptr, 8, id);
    CHECK_STR(sl_str_of(id, 16), "b7ad6b7169203331");
    CHECK_STR(server->tracestate, "a=b");
    CHECK_EQ(server->kind, SL_SPAN_SERVER);
    CHECK_STR(stream_text(server, "http.request.method"), "POST");
    CHECK_STR(stream_text(server, "http.route"), "/v1/chat/completions");
    CHECK_STR(stream_text(server, "url.path"), "/v1/chat/completions");
    CHECK_STR(stream_text(server, "url.scheme"), "http");
    CHECK_STR(stream_text(server, "server.address"), "localhost");
    CHECK_EQ(stream_int(server, "server.port"), 8086);
    CHECK_STR(stream_text(server, "user_agent.original"), "OpenAI/Python 3");
    CHECK_STR(stream_text(server, "gen_ai.operation.name"), "chat");
    CHECK_STR(stream_text(server, "gen_ai.provider.name"), SL_PROBE_PROVIDER);
    CHECK_STR(stream_text(server, "gen_ai.response.model"), "tiny");
    CHECK_STR(stream_text(server, "llama.correlation"), "exact");
    CHECK_EQ(stream_int(server, "http.response.status_code"), 200);
    CHECK_EQ(stream_int(server, "gen_ai.usage.input_tokens"), 8);
    CHECK_EQ(stream_int(server, "gen_ai.usage.output_tokens"), 5);
    CHECK_EQ(stream_int(server, "slot.id"), 2);
    CHECK(stream_true(server, "gen_ai.request.stream"));
    CHECK(stream_attr(server, "llama.queue_wait_ms").real >= 0.7);
    const sl_otlp_span *prompt = stream_child(&s, server, "process_prompt");
    const sl_otlp_span *generate = stream_child(&s, server, "generate_tokens");
    REQUIRE(prompt && generate);
    CHECK_EQ(stream_int(prompt, "prompt.tokens"), 8);
    CHECK_EQ(stream_int(prompt, "prompt.tokens_cached"), 0);
    CHECK_EQ(stream_int(generate, "completion.tokens"), 5);
    CHECK(stream_attr(prompt, "prompt.tokens_per_second").real > 1000);
    CHECK(stream_attr(generate, "completion.inter_token_ms.p50").real > 0.15);
    CHECK(prompt->end_ns == generate->start_ns && generate->end_ns > generate->start_ns);
    CHECK_EQ(stream_event(server, "gen_ai.first_token"), prompt->end_ns);
    const sl_otlp_span *decode = stream_child(&s, prompt, "llama_decode");
    REQUIRE(decode);
    CHECK_EQ(stream_int(decode, "batch.n_tokens"), 8);
    CHECK_EQ(stream_int(decode, "batch.prompt_tokens"), 8);
    CHECK_EQ(stream_int(decode, "batch.generated_tokens"), 0);
    CHECK_EQ(stream_int(decode, "batch.sequences"), 1);
    CHECK(stream_is_linked(decode, server));
    CHECK(sl_str_eq(decode->trace_id, server->trace_id));
    CHECK_EQ(s.stats.exact, 1);
    CHECK_EQ(s.stats.compared, 1);
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

SL_TEST(two_requests_in_one_batch_are_told_apart)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_ask(&s, 2, P2, 6);
    stream_run(&s, 3, 0, P2, 6, 1); /* not in the order of posting */
    stream_run(&s, 0, 0, P1, 8, 1);
    stream_decode(&s);
    for (int i = 0; i < 3; i++) {
        int32_t token = 99;
        stream_run(&s, 0, 8 + i, &token, 1, 1);
        stream_run(&s, 3, 6 + i, &token, 1, 1);
        stream_decode(&s);
    }
    stream_end(&s, 2, 3, 6, 0, 4);
    stream_end(&s, 1, 0, 8, 0, 4);
    stream_close(&s);
    const sl_otlp_span *second = stream_span(&s, "POST /completion", 0),
                       *first = stream_span(&s, "POST /completion", 1);
    REQUIRE(first && second);
    CHECK_EQ(stream_int(first, "slot.id"), 0);
    CHECK_EQ(stream_int(second, "slot.id"), 3);
    CHECK_EQ(stream_int(stream_child(&s, first, "process_prompt"), "prompt.tokens"), 8);
    CHECK_EQ(stream_int(stream_child(&s, second, "process_prompt"), "prompt.tokens"), 6);
    const sl_otlp_span *decode = stream_child(&s, stream_child(&s, first, "process_prompt"), "llama_decode");
    const sl_otlp_span *other = stream_child(&s, stream_child(&s, second, "process_prompt"), "llama_decode");
    REQUIRE(decode && other);
    CHECK(stream_is_linked(decode, first) && stream_is_linked(decode, second));
    CHECK(stream_is_linked(other, first) && stream_is_linked(other, second));
    CHECK_EQ(stream_int(decode, "batch.number"), stream_int(other, "batch.number"));
    CHECK_EQ(stream_int(decode, "batch.sequences"), 2);
    CHECK_EQ(stream_int(decode, "batch.n_tokens"), 14);
    CHECK_EQ(s.stats.mismatches, 0);
    CHECK_EQ(s.stats.exact, 2);
    stream_done(&s);
}

/* Small batches: all that is seen at first is the beginning, which is the same, and slots do not start in order. */
SL_TEST(prompts_that_begin_alike_are_told_apart_as_they_go_on)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    int32_t prompt[3][10];
    for (int32_t i = 0; i < 3; i++) {
        for (int32_t k = 0; k < 10; k++)
            prompt[i][k] = k < 6 ? 700 + k : 800 + 10 * i + k;
        stream_ask(&s, (uint32_t)i + 1, prompt[i], 10);
    }
    for (uint32_t at = 0; at < 10; at += at ? 3 : 4) { /* four tokens, three that tell nothing yet or all, three */
        for (int32_t slot = 0; slot < 3; slot++)
            stream_run(&s, slot, (int32_t)at, prompt[(slot + 1) % 3] + at, at ? 3 : 4, at == 7);
        stream_decode(&s);
    }
    for (int32_t slot = 0; slot < 3; slot++)
        stream_generate(&s, slot, 10, 2);
    for (uint32_t id = 1; id <= 3; id++) /* without figures */
        stream_end_as(&s, id, SL_PROBE_END_COMPLETE, "{}");
    stream_close(&s);
    CHECK_EQ(stream_spans(&s, "process_prompt"), 3);
    for (size_t i = 0; i < 3; i++) {
        const sl_otlp_span *server = stream_span(&s, "POST /completion", i);
        CHECK_EQ(stream_int(server, "slot.id"), (int64_t)(i + 2) % 3);
        CHECK_STR(stream_text(server, "llama.correlation"), "exact");
        CHECK_EQ(stream_int(stream_child(&s, server, "process_prompt"), "prompt.tokens"), 10);
    }
    CHECK_EQ(s.stats.exact, 3);
    stream_done(&s);
}

SL_TEST(a_cached_prefix_is_not_processed_again)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    int32_t longer[12];
    memcpy(longer, P1, sizeof P1);
    for (int i = 8; i < 12; i++)
        longer[i] = 50 + i;
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_generate(&s, 0, 8, 2);
    stream_end(&s, 1, 0, 8, 0, 3);
    stream_ask(&s, 2, longer, 12);
    stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, 0, 8, -1, 0);
    stream_prompt(&s, 0, longer, 8, 12);
    stream_generate(&s, 0, 12, 1);
    stream_end(&s, 2, 0, 4, 8, 2);
    /* the same again: all but the last token is in the cache, and that one looks like a step of a generation */
    stream_ask(&s, 3, longer, 12);
    stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, 0, 11, -1, 0);
    stream_prompt(&s, 0, longer, 11, 12);
    stream_generate(&s, 0, 12, 1);
    stream_end(&s, 3, 0, 1, 11, 2);
    stream_close(&s);
    const int processed[] = {8, 4, 1}, cached[] = {0, 8, 11}, given[] = {3, 2, 2};
    for (size_t i = 0; i < 3; i++) {
        const sl_otlp_span *server = stream_span(&s, "POST /completion", i);
        CHECK_EQ(stream_int(stream_child(&s, server, "process_prompt"), "prompt.tokens"), processed[i]);
        CHECK_EQ(stream_int(stream_child(&s, server, "process_prompt"), "prompt.tokens_cached"), cached[i]);
        CHECK_EQ(stream_int(stream_child(&s, server, "generate_tokens"), "completion.tokens"), given[i]);
        CHECK_STR(stream_text(server, "llama.correlation"), "exact");
    }
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

SL_TEST(prompts_of_one_request_are_all_its_own)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_request(&s, 1, "POST /v1/completions HTTP/1.1\nhost: h\n");
    stream_tokenize(&s, 1, P1, 8);
    stream_tokenize(&s, 1, P2, 6);
    stream_tokenize(&s, 1, P1, 8);
    stream_post(&s, 1);
    stream_run(&s, 0, 0, P1, 8, 1);
    stream_run(&s, 1, 0, P2, 6, 1);
    stream_decode(&s);
    stream_generate(&s, 1, 6, 1);
    stream_generate(&s, 0, 8, 2);
    stream_prompt(&s, 2, P1, 0, 8);
    stream_end_as(&s, 1, SL_PROBE_END_COMPLETE, "\"usage\":{\"completion_tokens\":6,\"prompt_tokens\":22}}");
    stream_close(&s);
    const sl_otlp_span *server = stream_span(&s, "POST /v1/completions", 0);
    CHECK_EQ(stream_spans(&s, "process_prompt"), 3);
    CHECK_EQ(stream_int(server, "gen_ai.usage.input_tokens"), 22);
    CHECK_EQ(stream_int(server, "gen_ai.usage.output_tokens"), 6);
    CHECK_STR(stream_text(server, "llama.correlation"), "exact");
    CHECK_EQ(stream_attr(server, "slot.ids").type, SL_VALUE_ARRAY);
    stream_done(&s);
}

SL_TEST(several_answers_to_one_prompt_share_its_request)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_seq_op(&s, SL_PROBE_SEQ_RM, 1, 0, -1, -1, 0);
    stream_seq_op(&s, SL_PROBE_SEQ_CP, 0, 1, -1, -1, 0);
    for (int i = 0; i < 3; i++) {
        int32_t token = 99;
        stream_run(&s, 0, 8 + i, &token, 1, 1);
        stream_run(&s, 1, 8 + i, &token, 1, 1);
        stream_decode(&s);
    }
    stream_end_as(&s, 1, SL_PROBE_END_COMPLETE, "{}");
    stream_close(&s);
    const sl_otlp_span *server = stream_span(&s, "POST /completion", 0);
    CHECK_EQ(stream_spans(&s, "process_prompt"), 1);
    CHECK_EQ(stream_spans(&s, "generate_tokens"), 2);
    CHECK_EQ(stream_int(server, "gen_ai.usage.input_tokens"), 8);
    CHECK_EQ(stream_int(server, "gen_ai.usage.output_tokens"), 8);
    CHECK(sl_str_eq(stream_span(&s, "generate_tokens", 1)->parent_span_id, server->span_id));
    stream_done(&s);
}

SL_TEST(a_prompt_of_numbers_is_the_one_that_is_left)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_request(&s, 1, COMPLETION);
    stream_post(&s, 1);
    stream_ask(&s, 2, P2, 6);
    stream_run(&s, 0, 0, P2, 6, 1);
    stream_run(&s, 1, 0, P1, 8, 1);
    stream_decode(&s);
    stream_end(&s, 1, 1, 8, 0, 1);
    stream_end(&s, 2, 0, 6, 0, 1);
    stream_close(&s);
    CHECK_STR(stream_text(stream_span(&s, "POST /completion", 0), "llama.correlation"), "single");
    CHECK_EQ(stream_int(stream_span(&s, "POST /completion", 0), "slot.id"), 1);
    CHECK_STR(stream_text(stream_span(&s, "POST /completion", 1), "llama.correlation"), "exact");
    CHECK_EQ(
        stream_int(stream_child(&s, stream_span(&s, "POST /completion", 0), "generate_tokens"), "completion.tokens"),
        1);
    stream_done(&s);
}

SL_TEST(what_was_open_ends_with_the_host)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_generate(&s, 0, 8, 2);
    sl_probe_assembler_host_gone(s.assembler, s.now, true);
    stream_close(&s);
    const sl_otlp_span *server = stream_span(&s, "POST /completion", 0);
    REQUIRE(server);
    CHECK_EQ(server->status_code, SL_STATUS_ERROR);
    CHECK(stream_true(server, "llama.partial"));
    CHECK_STR(stream_text(server, "error.type"), "host_crashed");
    CHECK_EQ(stream_int(stream_child(&s, server, "generate_tokens"), "completion.tokens"), 3);
    stream_done(&s);
}
