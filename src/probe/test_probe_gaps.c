/* Events that are missing, damaged or too many, and no memory. */
#include <stdio.h>

#include "src/base/limits.h"
#include "src/probe/test_probe_stream.h"
#include "src/probe/track.h"

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

/* A laptop that slept: CLOCK_MONOTONIC has not counted that. */
SL_TEST(times_follow_a_clock_that_jumps)
{
    stream s;
    const int64_t hour = 3600000000000, none = 99000000;
    REQUIRE(stream_open(&s));
    sl_probe_assembler_clock(s.assembler, 1000); /* of this process, whatever that of the ring is */
    stream_request(&s, 1, COMPLETION);
    stream_end_as(&s, 1, SL_PROBE_END_COMPLETE, "");
    sl_probe_assembler_clock(s.assembler, 1000 + none);
    sl_probe_assembler_clock(s.assembler, 1000 - none);
    stream_request(&s, 2, COMPLETION);
    stream_end_as(&s, 2, SL_PROBE_END_COMPLETE, "");
    sl_probe_assembler_clock(s.assembler, 1000 + hour);
    sl_probe_assembler_clock(s.assembler, 1000 + hour);
    stream_request(&s, 3, COMPLETION);
    sl_probe_assembler_clock(s.assembler, 1000); /* set back in the midst of a request */
    stream_end_as(&s, 3, SL_PROBE_END_COMPLETE, "");
    stream_close(&s);
    const sl_otlp_span *at[3];
    for (size_t i = 0; i < 3; i++)
        REQUIRE((at[i] = stream_span(&s, "POST /completion", i)) != NULL);
    CHECK(at[0]->start_ns < at[1]->start_ns && at[1]->start_ns - at[0]->start_ns < 1000000000);
    CHECK(at[2]->start_ns - at[1]->start_ns >= (uint64_t)hour);
    CHECK(at[2]->end_ns >= at[2]->start_ns);
    stream_done(&s);
}

/* One turn that is idle pushes out the oldest of those that are kept: which stands right behind it in the list. */
SL_TEST(kept_turns_go_while_idle_ones_are_looked_at)
{
    stream s;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_request(&s, 1, "POST /v1/chat/completions HTTP/1.1\nhost: h\n");
    stream_request(&s, 2, "POST /v1/chat/completions HTTP/1.1\nhost: h\n");
    s.thread = 77; /* of work for all requests: whose it is their answers may tell */
    stream_prompt(&s, 0, P1, 0, 8);
    stream_prompt(&s, 1, P1, 0, 8); /* the idle one */
    stream_seq_op(&s, SL_PROBE_SEQ_RM, 0, 0, -1, -1, 0);
    for (uint32_t i = 1; i < SL_TRACK_GHOSTS; i++) {
        stream_prompt(&s, 2, P1, 0, 8);
        stream_seq_op(&s, SL_PROBE_SEQ_RM, 2, 0, -1, -1, 0);
    }
    stream_wait(&s, 3000000);
    stream_tick(&s);
    stream_prompt(&s, 0, P2, 0, 6);
    stream_wait(&s, 70000000);
    stream_tick(&s);
    stream_close(&s);
    size_t told = 0;
    while (stream_span(&s, "llama.generate", told))
        told++;
    CHECK_EQ(told, SL_TRACK_GHOSTS + 2);
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
