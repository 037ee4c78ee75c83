/* The assembler, fed with events as hosts write them. */
#include <stdio.h>

#include "src/base/limits.h"
#include "src/probe/probe_metrics.h"
#include "src/probe/test_probe_stream.h"

static const int32_t P1[] = {1, 10, 11, 12, 13, 14, 15, 16};
static const int32_t P2[] = {1, 20, 21, 22, 23, 24};

static const char traced[] = "POST /v1/chat/completions?x=1 HTTP/1.1\n"
                             "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n"
                             "tracestate: a=b\nuser-agent: OpenAI/Python 3\nhost: localhost:8086\n";

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

/* Two requests ask for the same; which sequence is whose is guessed by their order. */
static void twins(stream *s, int first_slot, int second_slot)
{
    stream_model(s);
    stream_ask(s, 1, P1, 8);
    stream_ask(s, 2, P1, 8);
    stream_run(s, 0, 0, P1, 8, 1);
    stream_run(s, 1, 0, P1, 8, 1);
    stream_decode(s);
    for (int i = 0; i < 3; i++) {
        int32_t token = 99;
        stream_run(s, 0, 8 + i, &token, 1, 1);
        stream_run(s, 1, 8 + i, &token, 1, 1);
        stream_decode(s);
    }
    stream_end(s, 1, first_slot, 8, 0, 4);
    stream_end(s, 2, second_slot, 8, 0, 4);
    stream_wait(s, 600000); /* for what cannot come any more */
    stream_tick(s);
    stream_close(s);
}

SL_TEST(twins_are_told_apart_by_the_slot_in_the_answer)
{
    for (int swapped = 0; swapped < 2; swapped++) {
        stream s;
        REQUIRE(stream_open(&s));
        twins(&s, swapped, 1 - swapped);
        for (size_t i = 0; i < 2; i++) {
            const sl_otlp_span *server = stream_span(&s, "POST /completion", i);
            CHECK_STR(stream_text(server, "llama.correlation"), "exact");
            CHECK_EQ(stream_int(server, "slot.id"), i == 0 ? swapped : 1 - swapped);
            CHECK_EQ(stream_int(stream_child(&s, server, "process_prompt"), "slot.id"), i == 0 ? swapped : 1 - swapped);
            CHECK_EQ(stream_int(stream_child(&s, server, "generate_tokens"), "completion.tokens"), 4);
        }
        /* the batch is nobody's child; it is linked to both */
        const sl_otlp_span *decode = stream_span(&s, "llama_decode", 0);
        CHECK_EQ(decode->parent_span_id.len, 0);
        CHECK(stream_is_linked(decode, stream_span(&s, "POST /completion", 0)));
        CHECK(stream_is_linked(decode, stream_span(&s, "POST /completion", 1)));
        CHECK_EQ(s.stats.mismatches, 0);
        stream_done(&s);
    }
}

SL_TEST(twins_that_nothing_tells_apart_are_marked)
{
    stream s;
    REQUIRE(stream_open(&s));
    twins(&s, -1, -1);
    for (size_t i = 0; i < 2; i++) {
        const sl_otlp_span *server = stream_span(&s, "POST /completion", i);
        CHECK_STR(stream_text(server, "llama.correlation"), "ambiguous");
        CHECK_EQ(stream_int(stream_child(&s, server, "process_prompt"), "prompt.tokens"), 8);
    }
    CHECK_EQ(s.stats.ambiguous, 2);
    stream_done(&s);
}

SL_TEST(twins_are_told_apart_by_their_counts)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_ask(&s, 2, P1, 8);
    stream_run(&s, 0, 0, P1, 8, 1);
    stream_run(&s, 1, 0, P1, 8, 1);
    stream_decode(&s);
    stream_generate(&s, 0, 8, 5);
    stream_generate(&s, 1, 8, 2);
    stream_end(&s, 1, -1, 8, 0, 3); /* the second slot's */
    stream_generate(&s, 0, 13, 1);
    stream_end(&s, 2, -1, 8, 0, 7);
    stream_close(&s);
    CHECK_EQ(stream_int(stream_span(&s, "POST /completion", 0), "slot.id"), 1);
    CHECK_EQ(stream_int(stream_span(&s, "POST /completion", 1), "slot.id"), 0);
    CHECK_EQ(s.stats.exact, 2);
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

SL_TEST(a_twin_that_is_answered_before_the_other_has_a_slot)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_ask(&s, 2, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_generate(&s, 0, 8, 2);
    stream_end(&s, 2, 0, 8, 0, 3); /* the later one came first */
    stream_prompt(&s, 1, P1, 0, 8);
    stream_generate(&s, 1, 8, 1);
    stream_end(&s, 1, 1, 8, 0, 2);
    stream_close(&s);
    CHECK_EQ(stream_int(stream_span(&s, "POST /completion", 0), "slot.id"), 0);
    CHECK_EQ(stream_int(stream_span(&s, "POST /completion", 1), "slot.id"), 1);
    CHECK_EQ(
        stream_int(stream_child(&s, stream_span(&s, "POST /completion", 1), "generate_tokens"), "completion.tokens"),
        2);
    CHECK_EQ(s.stats.exact, 2);
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

/* ---- prompts that are not found by their whole text ---- */

SL_TEST(a_prompt_of_pieces_is_found_by_them)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    int32_t whole[16] = {1, 900, 901};
    memcpy(whole + 3, P1 + 1, 7 * sizeof *whole);
    memcpy(whole + 10, P2 + 1, 5 * sizeof *whole);
    whole[15] = 902;
    stream_request(&s, 1, "POST /infill HTTP/1.1\nhost: h\n");
    stream_tokenize(&s, 1, P1 + 1, 7);
    stream_tokenize(&s, 1, P2 + 1, 5);
    stream_post(&s, 1);
    stream_ask(&s, 2, P2, 6);
    stream_run(&s, 0, 0, whole, 16, 1);
    stream_run(&s, 1, 0, P2, 6, 1);
    stream_decode(&s);
    stream_end(&s, 1, 0, 16, 0, 1);
    stream_end(&s, 2, 1, 6, 0, 1);
    stream_close(&s);
    const sl_otlp_span *infill = stream_span(&s, "POST /infill", 0);
    CHECK_STR(stream_text(infill, "llama.correlation"), "single");
    CHECK_EQ(stream_int(stream_child(&s, infill, "process_prompt"), "prompt.tokens"), 16);
    CHECK_EQ(stream_int(stream_span(&s, "POST /completion", 0), "slot.id"), 1);
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

SL_TEST(a_post_before_the_prompt_is_known_is_not_a_prompt)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_request(&s, 1, COMPLETION);
    stream_post(&s, 1); /* a line for a log */
    stream_tokenize(&s, 1, P1, 8);
    stream_post(&s, 1);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_prompt(&s, 1, P2, 0, 6); /* nobody's, but for the only request */
    stream_end(&s, 1, 0, 8, 0, 1);
    stream_close(&s);
    CHECK_EQ(s.stats.exact + s.stats.single, 2);
    CHECK_STR(stream_text(stream_span(&s, "process_prompt", 0), "x"), "");
    stream_done(&s);
}

SL_TEST(without_a_request_a_generation_is_a_trace_of_its_own)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    int32_t warm[] = {1, 2};
    stream_prompt(&s, 0, warm, 0, 2);
    stream_seq_op(&s, SL_PROBE_SEQ_CLEAR, -1, -1, -1, -1, 0);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_generate(&s, 0, 8, 4);
    stream_wait(&s, 3000000);
    stream_tick(&s);
    stream_prompt(&s, 0, P2, 0, 6);
    stream_close(&s);
    CHECK_EQ(stream_spans(&s, "llama.generate"), 2);
    const sl_otlp_span *root = stream_span(&s, "llama.generate", 0);
    CHECK_EQ(root->parent_span_id.len, 0);
    CHECK_EQ(stream_int(root, "gen_ai.usage.input_tokens"), 8);
    CHECK_EQ(stream_int(root, "gen_ai.usage.output_tokens"), 5);
    CHECK_EQ(stream_int(stream_child(&s, root, "generate_tokens"), "completion.tokens"), 5);
    CHECK_EQ(stream_attr(root, "llama.correlation").type, SL_VALUE_EMPTY);
    CHECK(root->end_ns - root->start_ns < 1000000000);
    const sl_otlp_span *prompt = stream_child(&s, root, "process_prompt");
    CHECK(stream_is_linked(stream_child(&s, prompt, "llama_decode"), root));
    CHECK_EQ(stream_spans(&s, "process_prompt"), 2);
    CHECK(stream_true(stream_span(&s, "llama_decode", 0), "llama.warmup"));
    stream_done(&s);
}

SL_TEST(a_thread_that_computes_for_its_own_request_needs_no_tokens)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_request_on(&s, 1, 1, "POST /v1/chat/completions HTTP/1.1\nhost: h\n");
    stream_request_on(&s, 2, 2, "POST /v1/chat/completions HTTP/1.1\nhost: h\n");
    s.thread = 202;
    stream_prompt(&s, 0, P1, 0, 8);
    stream_generate(&s, 0, 8, 1);
    stream_end_as(&s, 2, SL_PROBE_END_COMPLETE, "{\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":2}}");
    stream_leave(&s, 1);
    stream_close(&s);
    const sl_otlp_span *server = stream_span(&s, "POST /v1/chat/completions", 0);
    CHECK_STR(stream_text(server, "llama.correlation"), "exact");
    CHECK(stream_child(&s, server, "process_prompt") != NULL);
    CHECK_STR(stream_text(stream_span(&s, "POST /v1/chat/completions", 1), "error.type"), "client_disconnected");
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

/* A server that closes a connection without an answer is not a client that goes away. */
SL_TEST(who_ended_it_is_said)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_request(&s, 1, COMPLETION);
    stream_request(&s, 2, COMPLETION);
    stream_end_as(&s, 1, SL_PROBE_END_CLOSED, "");
    stream_leave(&s, 2);
    stream_close(&s);
    CHECK_STR(stream_text(stream_span(&s, "POST /completion", 0), "error.type"), "connection_closed");
    CHECK_STR(stream_text(stream_span(&s, "POST /completion", 1), "error.type"), "client_disconnected");
    stream_done(&s);
}

/* As llama-cpp-python does: an output of every token, and the memory cut back to what the next prompt shares. */
SL_TEST(a_host_that_wants_every_output_has_prompts_too)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    for (uint32_t id = 1; id <= 3; id++) {
        int32_t shared = id == 1 ? 0 : 4;
        stream_request(&s, id, "POST /v1/chat/completions HTTP/1.1\nhost: h\n");
        stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, -1, shared, -1, 0);
        stream_run(&s, 0, shared, P1 + shared, 8 - (uint32_t)shared, 8 - (uint32_t)shared);
        stream_decode(&s);
        for (int32_t pos = 8; pos < 10; pos++) {
            stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, -1, pos, -1, 0);
            stream_generate(&s, 0, (uint32_t)pos, 1);
        }
        stream_end_as(&s, id, SL_PROBE_END_COMPLETE, "{\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":3}}");
    }
    stream_close(&s);
    CHECK_EQ(stream_spans(&s, "process_prompt"), 3);
    CHECK_EQ(stream_spans(&s, "generate_tokens"), 3);
    for (size_t i = 0; i < 3; i++) {
        const sl_otlp_span *server = stream_span(&s, "POST /v1/chat/completions", i);
        CHECK_EQ(stream_int(stream_child(&s, server, "process_prompt"), "prompt.tokens"), i == 0 ? 8 : 4);
        CHECK_EQ(stream_int(stream_child(&s, server, "process_prompt"), "prompt.tokens_cached"), i == 0 ? 0 : 4);
        CHECK_EQ(stream_int(stream_child(&s, server, "generate_tokens"), "completion.tokens"), 3);
        CHECK_STR(stream_text(server, "llama.correlation"), "single");
    }
    stream_done(&s);
}

SL_TEST(answers_tell_whose_work_it_was_where_prompts_are_not_seen)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    for (uint32_t i = 1; i <= 3; i++)
        stream_request(&s, i, "POST /v1/chat/completions HTTP/1.1\nhost: h\n");
    s.thread = 77; /* a thread for work, of all requests */
    stream_prompt(&s, 0, P1, 0, 8);
    stream_generate(&s, 0, 8, 2);
    stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, 0, 1, -1, 0);
    stream_prompt(&s, 0, P2, 1, 6);
    stream_generate(&s, 0, 6, 4);
    stream_end_as(&s, 2, SL_PROBE_END_COMPLETE, "{\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":5}}");
    stream_end_as(&s, 3, SL_PROBE_END_COMPLETE, "{\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":3}}");
    stream_leave(&s, 1);
    stream_seq_op(&s, SL_PROBE_SEQ_CLEAR, -1, -1, -1, -1, 0);
    stream_request(&s, 4, COMPLETION);
    stream_request(&s, 5, COMPLETION);
    stream_prompt(&s, 0, P1, 0, 8); /* and one that nobody's answer tells of */
    stream_generate(&s, 0, 8, 2);
    stream_end_as(&s, 4, SL_PROBE_END_COMPLETE, "{\"usage\":{\"prompt_tokens\":99,\"completion_tokens\":3}}");
    stream_end_as(&s, 5, SL_PROBE_END_COMPLETE, "{\"usage\":{\"prompt_tokens\":98,\"completion_tokens\":3}}");
    stream_wait(&s, 70000000);
    stream_tick(&s);
    stream_wait(&s, 70000000);
    stream_tick(&s);
    stream_close(&s);
    const int tokens[] = {5, 3};
    for (size_t i = 0; i < 2; i++) {
        const sl_otlp_span *server = stream_span(&s, "POST /v1/chat/completions", i);
        const sl_otlp_span *prompt = stream_child(&s, server, "process_prompt");
        CHECK_STR(stream_text(server, "llama.correlation"), "single");
        CHECK_EQ(stream_int(stream_child(&s, server, "generate_tokens"), "completion.tokens"), tokens[i]);
        CHECK(stream_child(&s, prompt, "llama_decode") != NULL);
    }
    CHECK_EQ(stream_spans(&s, "llama.generate"), 1);
    CHECK_STR(stream_text(stream_span(&s, "llama.generate", 0), "llama.correlation"), "none");
    stream_done(&s);
}

SL_TEST(a_draft_context_works_for_the_same_request)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_context_kv(&s, 2, 1, 1000);
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_run(&s, 0, 0, P1, 8, 1);
    stream_decode_as(&s, 2, SL_PROBE_API_DECODE, 0, 50);
    stream_run(&s, 0, 8, P2, 3, 1); /* looks like a prompt that nobody has asked for */
    stream_decode_as(&s, 2, SL_PROBE_API_DECODE, 0, 50);
    int32_t drafts[] = {40, 41, 42};
    stream_run(&s, 0, 8, drafts, 3, 3); /* of three drafts two are taken */
    stream_decode(&s);
    stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, 0, 10, -1, 0);
    stream_run(&s, 0, 10, drafts, 3, 3);
    stream_decode(&s);
    stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, 0, 11, -1, 0);
    stream_run(&s, 0, 11, drafts, 1, 1);
    stream_decode(&s);
    stream_end(&s, 1, 0, 8, 0, 5);
    stream_close(&s);
    const sl_otlp_span *server = stream_span(&s, "POST /completion", 0);
    CHECK_EQ(stream_spans(&s, "process_prompt"), 1);
    CHECK_EQ(stream_int(stream_child(&s, server, "generate_tokens"), "completion.tokens"), 5);
    CHECK_EQ(stream_int(server, "gen_ai.usage.input_tokens"), 8);
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

/* ---- batches ---- */

SL_TEST(results_are_told_apart)
{
    static const struct {
        int32_t result;
        const char *name;
        unsigned status;
    } rows[] = {{1, "no_kv_slot", 0},         {2, "aborted", 0},         {3, "warning", 0}, {-1, "invalid_batch", 2},
                {-2, "allocation_failed", 2}, {-3, "compute_failed", 2}, {-9, "failed", 2}};
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        stream_run(&s, 0, 0, P1, 8, 1);
        stream_decode_as(&s, 1, SL_PROBE_API_PROCESS, rows[i].result, 100);
    }
    stream_run(&s, 0, 0, P1, 4, 0); /* the server tries again with less */
    stream_decode(&s);
    stream_prompt(&s, 0, P1, 4, 8);
    stream_answer(&s, 1, 500, false);
    stream_end(&s, 1, 0, 8, 0, 1);
    stream_close(&s);
    const sl_otlp_span *server = stream_span(&s, "POST /completion", 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const sl_otlp_span *decode = stream_span(&s, "llama_decode", i);
        CHECK_STR(stream_text(decode, "llama.result.name"), rows[i].name);
        CHECK_EQ(decode->status_code, rows[i].status);
        CHECK_STR(stream_text(decode, "llama.sampled_because"), "failed");
        CHECK_STR(stream_text(decode, "llama.api"), "llama_process");
        CHECK(stream_is_linked(decode, server));
    }
    CHECK_EQ(stream_spans(&s, "process_prompt"), 1);
    CHECK_EQ(stream_int(stream_child(&s, server, "process_prompt"), "prompt.tokens"), 8);
    CHECK_EQ(server->status_code, SL_STATUS_ERROR);
    CHECK_STR(stream_text(server, "error.type"), "500");
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

SL_TEST(spans_of_batches_are_few_but_the_slow_ones)
{
    stream s;
    sl_probe_options options = {.decode_span_every = 50};
    REQUIRE(stream_open_with(&s, &options));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_generate(&s, 0, 8, 400);
    int32_t token = 1;
    stream_run(&s, 0, 408, &token, 1, 1);
    stream_decode_as(&s, 1, SL_PROBE_API_DECODE, 0, 90000);
    stream_generate(&s, 0, 409, 1);
    stream_end(&s, 1, 0, 8, 0, 403);
    stream_close(&s);
    size_t count = stream_spans(&s, "llama_decode"), slow = 0;
    CHECK(count >= 9 && count <= 11);
    for (size_t i = 0; i < count; i++) {
        const sl_otlp_span *decode = stream_span(&s, "llama_decode", i);
        bool is_slow = sl_str_eq(stream_text(decode, "llama.sampled_because"), SL_STR("slow"));
        slow += is_slow;
        CHECK(!is_slow || decode->end_ns - decode->start_ns >= 90000000);
        CHECK(decode->parent_span_id.len == 8);
    }
    CHECK_EQ(slow, 1);
    stream_done(&s);
}

SL_TEST(a_batch_ends_with_the_wait_for_its_results)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_run(&s, 0, 0, P1, 8, 1);
    stream_decode_as(&s, 1, SL_PROBE_API_DECODE, 0, 20);
    sl_probe_sync sync = {.start_ns = s.now, .context = 1};
    stream_wait(&s, 5000);
    stream_put(&s, SL_PROBE_SYNC, &sync, sizeof sync, NULL, 0);
    stream_end(&s, 1, 0, 8, 0, 1);
    stream_close(&s);
    const sl_otlp_span *decode = stream_span(&s, "llama_decode", 0), *prompt = stream_span(&s, "process_prompt", 0);
    CHECK(decode->end_ns - decode->start_ns >= 5020000);
    CHECK_EQ(decode->end_ns, prompt->end_ns);
    stream_done(&s);
}

SL_TEST(tokens_that_lie_apart_in_a_batch_are_read_together)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_ask(&s, 2, P2, 6);
    for (int i = 0; i < 8; i++) {
        stream_run(&s, 0, i, P1 + i, 1, i == 7);
        if (i < 6)
            stream_run(&s, 1, i, P2 + i, 1, i == 5);
    }
    stream_decode(&s);
    stream_end(&s, 1, 0, 8, 0, 1);
    stream_end(&s, 2, 1, 6, 0, 1);
    stream_close(&s);
    CHECK_EQ(s.stats.exact, 2);
    CHECK_EQ(s.stats.mismatches, 0);
    CHECK_EQ(stream_int(stream_span(&s, "llama_decode", 0), "batch.sequences"), 2);
    stream_done(&s);
}

SL_TEST(vectors_are_asked_for_without_generation)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_request(&s, 1, "POST /v1/embeddings HTTP/1.1\nhost: h\n");
    stream_tokenize(&s, 1, P1, 8);
    stream_tokenize(&s, 1, P2, 6);
    stream_post(&s, 1);
    stream_run(&s, 0, 0, P1, 8, 8);
    stream_run(&s, 1, 0, P2, 6, 6);
    stream_decode_as(&s, 1, SL_PROBE_API_ENCODE, 0, 100);
    stream_run(&s, 0, 0, P2, 6, 6); /* again on the same sequence: nobody's any more */
    stream_decode_as(&s, 1, SL_PROBE_API_ENCODE, 0, 100);
    stream_end_as(&s, 1, SL_PROBE_END_COMPLETE, "\"usage\":{\"prompt_tokens\":14,\"total_tokens\":14}}");
    stream_close(&s);
    const sl_otlp_span *server = stream_span(&s, "POST /v1/embeddings", 0);
    CHECK_EQ(stream_spans(&s, "generate_tokens"), 0);
    CHECK_STR(stream_text(server, "gen_ai.operation.name"), "embeddings");
    CHECK_EQ(stream_attr(server, "gen_ai.usage.output_tokens").type, SL_VALUE_EMPTY);
    CHECK(stream_spans(&s, "process_prompt") >= 2);
    stream_done(&s);
}

/* ---- models, contexts, requests without a slot ---- */

SL_TEST(passes_that_only_measure_are_marked)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model_flags(&s, 1, 0, 542976);
    stream_context_kv(&s, 1, 1, 0);
    sl_probe_context_free gone = {.context = 1};
    stream_put(&s, SL_PROBE_CONTEXT_FREE, &gone, sizeof gone, NULL, 0);
    sl_probe_model_free freed = {.model = 1};
    stream_put(&s, SL_PROBE_MODEL_FREE, &freed, sizeof freed, NULL, 0);
    stream_model_flags(&s, 2, SL_PROBE_MODEL_FLAGS_KNOWN | SL_PROBE_MODEL_MMAP, 542976);
    stream_context_kv(&s, 2, 2, 524288);
    stream_model_flags(&s, 3, SL_PROBE_MODEL_FAILED, 0);
    stream_close(&s);
    CHECK(stream_true(stream_span(&s, "llama_model_load", 0), "llama.dry_run"));
    CHECK(stream_true(stream_span(&s, "llama_new_context_with_model", 0), "llama.dry_run"));
    const sl_otlp_span *load = stream_span(&s, "llama_model_load", 1);
    CHECK(!stream_true(load, "llama.dry_run"));
    CHECK_STR(stream_text(load, "model.path"), "/models/tiny.gguf");
    CHECK_STR(stream_text(load, "model.quantization"), "F32");
    CHECK_EQ(stream_int(load, "n_params"), 135744);
    CHECK(stream_true(load, "use_mmap") && !stream_true(load, "vocab_only"));
    const sl_otlp_span *context = stream_span(&s, "llama_new_context_with_model", 1);
    CHECK_EQ(stream_int(context, "context.n_ctx"), 2048);
    CHECK_EQ(stream_int(context, "context.n_batch"), 2048);
    CHECK_EQ(stream_int(context, "context.n_seq"), 4);
    CHECK_EQ(stream_int(context, "context.kv_bytes"), 524288);
    CHECK(context->end_ns - context->start_ns >= 500000);
    CHECK_EQ(stream_span(&s, "llama_model_load", 2)->status_code, SL_STATUS_ERROR);
    stream_done(&s);
}

SL_TEST(polling_is_not_traced_unless_asked_for)
{
    static const char *const polls[] = {"GET /health HTTP/1.1\n", "GET /metrics HTTP/1.1\n", "GET /slots HTTP/1.1\n"};
    for (int asked = 0; asked < 2; asked++) {
        stream s;
        sl_probe_options options = {.trace_polls = asked};
        REQUIRE(stream_open_with(&s, &options));
        for (uint32_t i = 0; i < 3; i++) {
            stream_request(&s, i + 1, polls[i]);
            stream_answer(&s, i + 1, 200, false);
            stream_end_as(&s, i + 1, SL_PROBE_END_COMPLETE, "{}");
        }
        stream_request(&s, 4, "GET /v1/models HTTP/1.1\n");
        stream_answer(&s, 4, 200, false);
        stream_end_as(&s, 4, SL_PROBE_END_COMPLETE, "{}");
        stream_request(&s, 5, "BREW /nothing/123456 HTTP/1.1\n");
        stream_answer(&s, 5, 404, false);
        stream_end_as(&s, 5, SL_PROBE_END_COMPLETE, "{}");
        stream_close(&s);
        CHECK_EQ(s.count, asked ? 5 : 2);
        const sl_otlp_span *models = stream_span(&s, "GET /v1/models", 0),
                           *odd = stream_span(&s, "HTTP /nothing/{id}", 0);
        REQUIRE(models && odd);
        CHECK_EQ(stream_attr(models, "slot.id").type, SL_VALUE_EMPTY);
        CHECK_EQ(stream_attr(models, "llama.correlation").type, SL_VALUE_EMPTY);
        CHECK_STR(stream_text(odd, "http.request.method"), "_OTHER");
        CHECK_STR(stream_text(odd, "error.type"), "404");
        CHECK_EQ(odd->status_code, SL_STATUS_UNSET);
        stream_done(&s);
    }
}

SL_TEST(a_shift_is_an_event_and_the_generation_goes_on)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_generate(&s, 0, 8, 4);
    stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, 0, 1, 6, 0);
    stream_seq_op(&s, SL_PROBE_SEQ_ADD, 0, 0, 6, -1, -5);
    stream_generate(&s, 0, 7, 3);
    stream_end(&s, 1, 0, 8, 0, 8);
    stream_close(&s);
    const sl_otlp_span *server = stream_span(&s, "POST /completion", 0);
    CHECK(stream_event(server, "llama.kv_shift") > 0);
    CHECK(stream_event(server, "llama.kv_evict") > 0);
    CHECK_EQ(stream_spans(&s, "process_prompt"), 1);
    CHECK_EQ(stream_int(stream_child(&s, server, "generate_tokens"), "completion.tokens"), 8);
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

SL_TEST(a_state_that_was_asked_for_has_a_span_below_its_request)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_request(&s, 1, "POST /slots/2?action=save HTTP/1.1\n");
    sl_probe_sequence e = {.start_ns = s.now, .context = 1, .seq = 2, .bytes = 4096};
    e.head.flags = SL_PROBE_SEQ_SAVE;
    stream_put(&s, SL_PROBE_SEQUENCE, &e, sizeof e, NULL, 0);
    stream_end_as(&s, 1, SL_PROBE_END_COMPLETE, "{}");
    stream_close(&s);
    CHECK(stream_child(&s, stream_span(&s, "POST /slots/{id}", 0), "llama_state_save") != NULL);
    stream_done(&s);
}

SL_TEST(saved_and_loaded_states_have_spans_when_they_take_time)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    for (unsigned op = SL_PROBE_SEQ_SAVE; op <= SL_PROBE_SEQ_LOAD; op++) {
        sl_probe_sequence e = {.start_ns = s.now, .context = 1, .seq = 2, .bytes = 4096};
        e.head.flags = (uint16_t)op;
        stream_put(&s, SL_PROBE_SEQUENCE, &e, sizeof e, NULL, 0);
        e.start_ns = s.now;
        stream_wait(&s, 4000);
        stream_put(&s, SL_PROBE_SEQUENCE, &e, sizeof e, NULL, 0);
    }
    stream_close(&s);
    CHECK_EQ(stream_spans(&s, "llama_state_save"), 1);
    CHECK_EQ(stream_spans(&s, "llama_state_load"), 1);
    CHECK_EQ(stream_int(stream_span(&s, "llama_state_load", 0), "llama.state.bytes"), 4096);
    stream_done(&s);
}

/* ---- gaps, limits, no memory ---- */

/* A little of everything. */
static void play(stream *s)
{
    stream_model(s);
    stream_request(s, 1, traced);
    stream_tokenize(s, 1, P1, 8);
    stream_post(s, 1);
    stream_ask(s, 2, P1, 8);
    stream_request(s, 3, COMPLETION);
    stream_post(s, 3);
    stream_run(s, 0, 0, P1, 8, 1);
    stream_run(s, 1, 0, P1, 8, 1);
    stream_run(s, 2, 0, P2, 6, 1);
    stream_decode(s);
    stream_seq_op(s, SL_PROBE_SEQ_CP, 0, 3, -1, -1, 0);
    for (int i = 0; i < 3; i++) {
        int32_t token = 9;
        stream_run(s, 0, 8 + i, &token, 1, 1);
        stream_run(s, 3, 8 + i, &token, 1, 1);
        stream_run(s, 1, 8 + i, &token, 1, 1);
        stream_decode(s);
    }
    stream_seq_op(s, SL_PROBE_SEQ_RM, 1, 0, 9, -1, 0);
    stream_answer(s, 1, 200, true);
    stream_end(s, 2, 1, 8, 0, 4);
    stream_end(s, 1, -1, 8, 0, 4);
    stream_tick(s);
    stream_leave(s, 3);
    stream_prompt(s, 2, P1, 0, 8);
    stream_wait(s, 9000000);
    stream_tick(s);
}

SL_TEST(every_allocation_may_fail)
{
    bool failed = true;
    for (long n = 0; failed && n < 2000; n++) {
        stream s;
        REQUIRE(stream_open(&s));
        s.quiet = true;
        sl_test_fail_alloc(n);
        play(&s);
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        stream_close(&s);
        stream_done(&s);
    }
    CHECK(!failed);
}

/* Leaves out the event number `without` of play(). */
SL_TEST(every_event_may_be_missing)
{
    stream s;
    for (int cut = 0; cut < 3; cut++) { /* the beginning: the reader came late */
        REQUIRE(stream_open(&s));
        stream_generate(&s, 0, 8, 2);
        if (cut == 1)
            stream_prompt(&s, 0, P1, 4, 8);
        if (cut == 2)
            stream_end(&s, 1, 0, 8, 0, 3);
        stream_tokenize(&s, 77, P1, 8);
        stream_post(&s, 77);
        stream_answer(&s, 77, 200, false);
        stream_close(&s);
        CHECK_EQ(s.stats.requests, 0);
        stream_done(&s);
    }
    REQUIRE(stream_open(&s)); /* the end of a request is lost: the next on its connection ends it */
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_request_on(&s, 2, 1, COMPLETION);
    stream_tokenize(&s, 2, P2, 6);
    stream_post(&s, 2);
    stream_prompt(&s, 1, P2, 0, 6);
    stream_end(&s, 2, 1, 6, 0, 1);
    stream_close(&s);
    CHECK(stream_true(stream_span(&s, "POST /completion", 0), "llama.partial"));
    CHECK(!stream_true(stream_span(&s, "POST /completion", 1), "llama.partial"));
    CHECK_EQ(s.stats.partial, 1);
    stream_done(&s);
}

SL_TEST(what_was_done_to_a_sequence_unseen_does_not_lose_its_request)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    int32_t other[10] = {1, 70, 71, 72, 13, 14, 15, 16, 17, 18};
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_end(&s, 1, 0, 8, 0, 1);
    stream_ask(&s, 2, other, 10);
    stream_ask(&s, 3, P2, 6);
    stream_prompt(&s, 0, other, 4, 10); /* its first four came from somewhere */
    stream_end(&s, 2, 0, 6, 4, 1);
    stream_close(&s);
    CHECK_STR(stream_text(stream_span(&s, "POST /completion", 1), "llama.correlation"), "single");
    CHECK_EQ(stream_int(stream_span(&s, "POST /completion", 1), "slot.id"), 0);
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

SL_TEST(what_is_open_while_events_are_lost_is_partial)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    sl_probe_assembler_tick(s.assembler, s.now, 3);
    stream_end(&s, 1, 0, 8, 0, 9);
    sl_probe_assembler_tick(s.assembler, s.now, 3);
    stream_ask(&s, 2, P2, 6);
    stream_prompt(&s, 1, P2, 0, 6);
    sl_probe_assembler_tick(s.assembler, s.now, 3);
    stream_end(&s, 2, 1, 6, 0, 1);
    stream_close(&s);
    const sl_otlp_span *first = stream_span(&s, "POST /completion", 0);
    CHECK(stream_true(first, "llama.partial") && stream_true(first, "llama.timings.differ"));
    CHECK_EQ(stream_int(stream_child(&s, first, "generate_tokens"), "completion.tokens"), 9);
    CHECK(!stream_true(stream_span(&s, "POST /completion", 1), "llama.partial"));
    CHECK_EQ(s.stats.mismatches, 1);
    stream_done(&s);
}

SL_TEST(what_is_open_while_events_are_damaged_is_partial)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    sl_probe_assembler_damaged(s.assembler, 2);
    sl_probe_assembler_damaged(s.assembler, 2);
    stream_end(&s, 1, 0, 8, 0, 1);
    sl_probe_assembler_damaged(s.assembler, 2);
    stream_ask(&s, 2, P2, 6);
    stream_prompt(&s, 1, P2, 0, 6);
    stream_end(&s, 2, 1, 6, 0, 1);
    stream_close(&s);
    CHECK(stream_true(stream_span(&s, "POST /completion", 0), "llama.partial"));
    CHECK(!stream_true(stream_span(&s, "POST /completion", 1), "llama.partial"));
    stream_done(&s);
}

SL_TEST(more_than_fits_is_counted)
{
    stream s;
    REQUIRE(stream_open(&s));
    for (uint32_t i = 0; i < SL_PROBE_MAX_REQUESTS + 10; i++)
        stream_request(&s, i + 1, "GET /health HTTP/1.1\n");
    for (uint32_t i = 0; i < SL_PROBE_MAX_ASKS_EACH + 10; i++) {
        if (i == 0)
            stream_request(&s, 100000, COMPLETION);
        stream_tokenize(&s, 100000, P1, 8);
    }
    for (uint32_t i = 0; i < SL_PROBE_MAX_CONTEXTS + 10; i++) {
        stream_run(&s, 0, 0, P1, 8, 1);
        stream_decode_as(&s, i, SL_PROBE_API_DECODE, 0, 1);
    }
    for (uint32_t i = 0; i < SL_PROBE_MAX_MODELS + 10; i++)
        stream_model_flags(&s, i, 0, 1);
    stream_run(&s, SL_PROBE_MAX_SEQUENCES, 0, P1, 8, 1);
    stream_run(&s, -1, 0, P1, 8, 1);
    stream_decode(&s);
    for (uint32_t i = 0; i < SL_PROBE_MAX_BUFFERS + 10; i++) {
        sl_probe_buffer e = {.bytes = 1 + i};
        e.head.count = 3;
        stream_put(&s, SL_PROBE_BUFFER, &e, sizeof e, "CPU", 3);
    }
    sl_probe_assembler_get_stats(s.assembler, &s.stats);
    CHECK(s.stats.left_out >= 50);
    stream_close(&s);
    stream_done(&s);
}

SL_TEST(what_cannot_be_is_refused)
{
    sl_probe_assembler *a = NULL;
    sl_probe_options options = {0};
    CHECK_EQ(sl_probe_assembler_new(NULL, &a), SL_EINVAL);
    CHECK_EQ(sl_probe_assembler_new(&options, &a), SL_EINVAL);
    CHECK(a == NULL);
    sl_probe_assembler_free(NULL);
}
