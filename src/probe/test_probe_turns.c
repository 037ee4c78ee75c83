/* The life of turns, and of models and contexts: what ends by itself, and what is kept for how long. */
#include "src/base/limits.h"
#include "src/probe/test_probe_stream.h"
#include "src/probe/track.h"

/* ---- turns ---- */

static size_t count_of(const stream *s, const char *name)
{
    size_t count = 0;
    while (stream_span(s, name, count))
        count++;
    return count;
}

static void wait_and_tick(stream *s, uint64_t us)
{
    stream_wait(s, us);
    stream_tick(s);
}

/* A host without requests: a generation is over when its sequence rests, and the next one is another trace. */
SL_TEST(a_generation_that_rests_is_over)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_generate(&s, 0, 8, 3);
    wait_and_tick(&s, 1500000);
    stream_generate(&s, 0, 11, 1); /* it has only thought about it */
    wait_and_tick(&s, 1500000);
    CHECK(s.assembler->turns != NULL);
    wait_and_tick(&s, 1000000);
    CHECK(s.assembler->turns == NULL);
    stream_prompt(&s, 0, P2, 0, 6);
    stream_close(&s);
    CHECK_EQ(count_of(&s, "llama.generate"), 2);
    const sl_otlp_span *first = stream_child(&s, stream_span(&s, "llama.generate", 0), "generate_tokens");
    CHECK_EQ(stream_int(first, "completion.tokens"), 5);
    stream_done(&s);
}

/* Work that may be anybody's is kept for an answer that tells, but not for ever. */
SL_TEST(what_no_answer_means_becomes_a_trace_of_its_own)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    for (uint32_t i = 1; i <= 2; i++)
        stream_request(&s, i, "POST /v1/chat/completions HTTP/1.1\nhost: h\n");
    s.thread = 77;
    stream_prompt(&s, 0, P1, 0, 8);
    stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, 0, -1, -1, 0);
    wait_and_tick(&s, 59000000);
    CHECK(s.assembler->turns && s.assembler->turns->ghost && !s.assembler->turns->closed);
    wait_and_tick(&s, 2000000);
    CHECK(!s.assembler->turns || s.assembler->turns->closed);
    stream_close(&s);
    CHECK_EQ(count_of(&s, "llama.generate"), 1);
    stream_done(&s);
}

SL_TEST(kept_turns_are_bounded)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    for (uint32_t i = 1; i <= 2; i++)
        stream_request(&s, i, "POST /v1/chat/completions HTTP/1.1\nhost: h\n");
    s.thread = 77;
    for (uint32_t i = 0; i < 5 * SL_TRACK_GHOSTS; i++) {
        stream_prompt(&s, 0, P1, 0, 8);
        stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, 0, -1, -1, 0);
        size_t count = 0;
        for (const sl_track_turn *turn = s.assembler->turns; turn; turn = turn->next)
            count++;
        CHECK(count <= SL_TRACK_GHOSTS + 1);
    }
    stream_close(&s);
    stream_done(&s);
}

/* ---- models and contexts ---- */

static void free_context(stream *s, uint32_t id)
{
    sl_probe_context_free e = {.context = id};
    stream_put(s, SL_PROBE_CONTEXT_FREE, &e, sizeof e, NULL, 0);
}

static void free_model(stream *s, uint32_t id)
{
    sl_probe_model_free e = {.model = id};
    stream_put(s, SL_PROBE_MODEL_FREE, &e, sizeof e, NULL, 0);
}

/* Models that come and go for days take the places of those before. */
SL_TEST(places_of_freed_models_and_contexts_are_used_again)
{
    stream s;
    REQUIRE(stream_open(&s));
    s.quiet = true;
    for (uint32_t i = 1; i <= 4 * (SL_PROBE_MAX_MODELS + SL_PROBE_MAX_CONTEXTS); i++) {
        stream_model_flags(&s, i, 0, 1);
        CHECK(sl_track_context_get(s.assembler, i) != NULL);
        free_context(&s, i);
        CHECK(sl_track_context_find(s.assembler, i) == NULL);
        free_model(&s, i);
        free_model(&s, i); /* once more means nothing */
        free_context(&s, i);
    }
    sl_probe_assembler_get_stats(s.assembler, &s.stats);
    CHECK_EQ(s.stats.left_out, 0);
    stream_close(&s);
    stream_done(&s);
}

/* The context goes in the midst of a prompt and of a batch that nobody has waited for. */
SL_TEST(a_context_that_is_freed_at_work)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_run(&s, 0, 0, P1, 4, 0);
    stream_decode(&s);
    free_context(&s, 1);
    stream_ask(&s, 2, P2, 6);
    stream_prompt(&s, 0, P2, 0, 6); /* another one of that number */
    stream_end(&s, 2, 0, 6, 0, 1);
    stream_leave(&s, 1);
    stream_close(&s);
    CHECK_STR(stream_text(stream_span(&s, "POST /completion", 1), "error.type"), "client_disconnected");
    CHECK_STR(stream_text(stream_span(&s, "POST /completion", 0), "llama.correlation"), "exact");
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}
