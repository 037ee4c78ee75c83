/* Batches, models, contexts and requests without a slot, as the assembler tells them. */
#include <stdio.h>

#include "src/probe/test_probe_stream.h"

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
