/* Prompts that are not found by their whole text: pieces, posts too early, hosts without requests or tokens. */
#include "src/probe/test_probe_stream.h"

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

/* The server ends the chunks in order, but not the stream: its reader had gone. */
SL_TEST(a_stream_without_its_end_was_left)
{
    static const struct {
        unsigned flags;
        const char *tail, *error;
        bool streams;
    } rows[] = {
        {SL_PROBE_END_COMPLETE | SL_PROBE_END_BY_PEER, "data: {\"content\":\"\"}\n\n", "client_disconnected", true},
        {SL_PROBE_END_COMPLETE | SL_PROBE_END_BY_PEER, "data: {}\n\ndata: [DONE]\n\n", "", true},
        {SL_PROBE_END_COMPLETE | SL_PROBE_END_BY_PEER, "data: {\"stop\":true,\"timings\":{}}\n\n", "", true},
        {SL_PROBE_END_COMPLETE | SL_PROBE_END_BY_PEER, "{\"content\":\"\"}", "", false},
        {SL_PROBE_END_COMPLETE, "data: {\"content\":\"\"}\n\n", "", true},
    };
    stream s;
    REQUIRE(stream_open(&s));
    for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        stream_request(&s, i + 1, COMPLETION);
        stream_answer(&s, i + 1, 200, rows[i].streams);
        stream_end_as(&s, i + 1, rows[i].flags, rows[i].tail);
    }
    stream_close(&s);
    for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_STR(stream_text(stream_span(&s, "POST /completion", i), "error.type"), rows[i].error);
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
