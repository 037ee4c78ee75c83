/* Requests for the same tokens: what makes certain which turn was whose, and when. */
#include "src/probe/test_probe_stream.h"
#include "src/probe/token_times.h"

#define P P1
#define LEN 8u
#define THREAD STREAM_MAIN_THREAD

/* Requests 1 and 2 for the same tokens, P. */
static bool open_twins(stream *s)
{
    if (!stream_open(s))
        return false;
    stream_model(s);
    stream_ask(s, 1, P, LEN);
    stream_ask(s, 2, P, LEN);
    return true;
}

/* Both requests were told apart for certain; behind stream_close. */
static void close_certain(stream *s)
{
    CHECK_EQ(s->stats.exact, 2);
    CHECK_EQ(s->stats.mismatches, 0);
    stream_done(s);
}

/* One step of the sequences that are given, by how far each is; each row is sampled `us` after the one before. */
static void step(stream *s, const int32_t *seqs, uint32_t count, uint32_t *done, uint64_t us)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = done[seqs[i]];
        int32_t token = 300;
        if (at == 0)
            stream_run(s, seqs[i], 0, P, LEN, 1);
        else
            stream_run(s, seqs[i], (int32_t)(LEN + at - 1), &token, 1, 1);
        done[seqs[i]]++;
    }
    int32_t row[8];
    for (uint32_t i = 0; i < count; i++)
        row[i] = (int32_t)(s->runs[i].row + s->runs[i].n - 1);
    stream_decode(s);
    for (uint32_t i = 0; i < count; i++) {
        sl_probe_logits logits = {.context = 1, .row = row[i]};
        sl_probe_sample sample = {.chain = 1, .row = INT32_MIN, .token = 300};
        stream_put(s, SL_PROBE_LOGITS, &logits, sizeof logits, NULL, 0);
        stream_put(s, SL_PROBE_SAMPLE, &sample, sizeof sample, NULL, 0);
        stream_wait(s, us);
    }
}

/* The end of a chat's answer, which tells no slot. */
static void end_of(stream *s, uint32_t id, uint32_t generated, double ms)
{
    char tail[256];
    (void)snprintf(tail, sizeof tail,
                   "{\"choices\":[],\"timings\":{\"cache_n\":0,\"prompt_n\":%u,\"prompt_ms\":0.3,\"predicted_n\":%u,"
                   "\"predicted_ms\":%.3f}}",
                   LEN, generated, ms);
    stream_answer(s, id, 200, false);
    stream_end_as(s, id, SL_PROBE_END_COMPLETE, tail);
}

static void forget(stream *s, int32_t seq, uint32_t *done)
{
    stream_seq_op(s, SL_PROBE_SEQ_RM, seq, -1, 0, -1, 0);
    done[seq] = 0;
}

static void later(stream *s)
{
    stream_wait(s, 600000);
    stream_tick(s);
}

static void check_is(const stream *s, size_t which, const char *sure, int64_t slot)
{
    const sl_otlp_span *server = stream_span(s, "POST /completion", which);
    CHECK_STR(stream_text(server, "llama.correlation"), sure);
    if (slot >= 0) {
        CHECK_EQ(stream_int(server, "slot.id"), slot);
        CHECK_EQ(stream_int(stream_child(s, server, "process_prompt"), "slot.id"), slot);
        CHECK_EQ(stream_int(stream_child(s, server, "generate_tokens"), "slot.id"), slot);
    }
}

SL_TEST(an_answer_waits_until_its_twin_is_further)
{
    stream s;
    uint32_t done[2] = {0, 0};
    REQUIRE(open_twins(&s));
    for (int i = 0; i < 4; i++)
        step(&s, (const int32_t[]){0, 1}, 2, done, 20);
    end_of(&s, 1, 4, 1); /* both have 4 tokens; the first had asked first, but was given sequence 1 */
    uint64_t ended = s.now;
    stream_wait(&s, 100000);
    stream_tick(&s);
    step(&s, (const int32_t[]){0}, 1, done, 20);
    stream_tick(&s);
    step(&s, (const int32_t[]){0}, 1, done, 20);
    end_of(&s, 2, 6, 1);
    stream_close(&s);
    check_is(&s, 0, "exact", 1);
    check_is(&s, 1, "exact", 0);
    CHECK(stream_span(&s, "POST /completion", 0)->end_ns <=
          ended + (uint64_t)STREAM_OFFSET); /* not when it was known */
    close_certain(&s);
}

SL_TEST(what_stays_a_guess_ends_as_one_after_a_moment)
{
    stream s;
    uint32_t done[2] = {0, 0};
    REQUIRE(open_twins(&s));
    for (int i = 0; i < 4; i++)
        step(&s, (const int32_t[]){0, 1}, 2, done, 20);
    end_of(&s, 1, 4, 1);
    end_of(&s, 2, 4, 1);
    stream_wait(&s, 200000);
    stream_tick(&s);
    CHECK_EQ(s.assembler->held_count, 2);
    CHECK_EQ(s.assembler->generating_count, 0); /* nothing is open */
    end_of(&s, 1, 4, 1);                        /* what comes twice is nobody's */
    stream_tokenize(&s, 1, P, LEN);
    stream_post(&s, 1);
    stream_ask(&s, 1, P, LEN);
    CHECK_EQ(s.assembler->generating_count, 1);
    end_of(&s, 1, 1, 1);
    CHECK_EQ(s.assembler->held_count, 2);
    stream_wait(&s, 200000);
    stream_tick(&s);
    CHECK_EQ(s.assembler->held_count, 0);
    stream_close(&s);
    check_is(&s, 1, "ambiguous", -1); /* behind the one of the same number */
    check_is(&s, 2, "ambiguous", -1);
    stream_done(&s);
}

SL_TEST(a_held_answer_asks_for_nothing_and_its_connection_goes_on)
{
    stream s;
    uint32_t done[4] = {0};
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_request_on(&s, 1, 7, COMPLETION);
    stream_tokenize(&s, 1, P, LEN);
    stream_post(&s, 1);
    stream_ask(&s, 2, P, LEN);
    for (int i = 0; i < 3; i++)
        step(&s, (const int32_t[]){0, 1}, 2, done, 20);
    end_of(&s, 1, 3, 1);
    CHECK_EQ(s.assembler->held_count, 1);
    stream_request_on(&s, 3, 7, COMPLETION); /* the same connection, the same prompt */
    stream_tokenize(&s, 3, P, LEN);
    stream_post(&s, 3);
    CHECK_EQ(s.assembler->held_count, 1);
    step(&s, (const int32_t[]){1, 2}, 2, done, 20); /* one goes on, a third begins: neither is the first's */
    end_of(&s, 2, 4, 1);
    end_of(&s, 3, 1, 0.001);
    later(&s);
    stream_close(&s);
    check_is(&s, 0, "exact", 1); /* the second: its end is what makes the first certain */
    check_is(&s, 1, "exact", 0);
    check_is(&s, 2, "exact", 2);
    stream_done(&s);
}

/* Requests that are certain, with a measure of the server's that is `off` by so many milliseconds. */
static void certain_ones(stream *s, uint32_t first, uint32_t count, double off)
{
    uint32_t done[4] = {0};
    for (uint32_t id = first; id < first + count; id++) {
        stream_ask(s, id, P, LEN);
        step(s, (const int32_t[]){3}, 1, done, 20);
        uint64_t begun = s->now;
        for (int i = 0; i < 3; i++)
            step(s, (const int32_t[]){3}, 1, done, 20);
        end_of(s, id, 4, (double)(s->now - begun) / 1e6 + off);
        forget(s, 3, done);
    }
}

/* Two answers of as many tokens, the second of which began a step later; `swapped`: the first is sequence 1's. */
static void staggered(stream *s, uint32_t first, bool swapped)
{
    uint32_t done[2] = {0, 0};
    uint64_t from[2], to[2];
    stream_ask(s, first, P, LEN);
    stream_ask(s, first + 1, P, LEN);
    step(s, (const int32_t[]){0, 1}, 2, done, 20);
    from[0] = s->now - 21000; /* each token is taken just after its sample */
    from[1] = s->now;
    from[0] -= 23000 - 1000;
    step(s, (const int32_t[]){0, 1}, 2, done, 20);
    step(s, (const int32_t[]){0}, 1, done, 20);
    to[0] = s->now - 20000;
    stream_wait(s, 300);
    step(s, (const int32_t[]){1}, 1, done, 20);
    to[1] = s->now - 20000;
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t seq = swapped ? 1 - i : i;
        end_of(s, first + i, 3, (double)(to[seq] - from[seq]) / 1e6);
    }
    later(s);
    forget(s, 0, done);
    forget(s, 1, done);
}

SL_TEST(the_servers_own_times_tell_twins_apart)
{
    for (int swapped = 0; swapped < 2; swapped++) {
        stream s;
        REQUIRE(stream_open(&s));
        stream_model(&s);
        certain_ones(&s, 1, 5, 0);
        CHECK_EQ(s.assembler->times_agree, 5);
        staggered(&s, 11, swapped);
        CHECK_EQ(s.assembler->times_differ, 0);
        stream_close(&s);
        check_is(&s, 5, "exact", swapped);
        check_is(&s, 6, "exact", 1 - swapped);
        stream_done(&s);
    }
}

SL_TEST(times_prove_nothing_before_and_when_they_were_ever_wrong)
{
    static const struct {
        uint32_t before;
        double off;
    } cases[] = {{0, 0}, {3, 0}, {6, 5}, {6, -0.5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stream s;
        REQUIRE(stream_open(&s));
        stream_model(&s);
        certain_ones(&s, 1, cases[i].before, cases[i].off);
        staggered(&s, 11, false);
        stream_close(&s);
        check_is(&s, cases[i].before, "ambiguous", -1);
        check_is(&s, cases[i].before + 1, "ambiguous", -1);
        stream_done(&s);
    }
}

SL_TEST(a_token_is_taken_between_its_sample_and_what_comes_next)
{
    stream s;
    uint32_t done[2] = {0, 0};
    REQUIRE(open_twins(&s));
    step(&s, (const int32_t[]){0, 1}, 2, done, 20);
    uint64_t second = s.now - 21000; /* its sample */
    step(&s, (const int32_t[]){0, 1}, 2, done, 20);
    const sl_track_turn *one = s.assembler->contexts[0]->seqs[1].turn, *zero = s.assembler->contexts[0]->seqs[0].turn;
    CHECK_EQ(one->first_token.from_ns, second);
    CHECK(one->first_token.to_ns > second && one->first_token.to_ns < one->last_token.from_ns);
    CHECK_EQ(zero->first_token.to_ns, second - 1000); /* when the other row's logits were fetched */
    CHECK(zero->last_token.to_ns && !one->last_token.to_ns);
    uint64_t sampled = one->last_token.from_ns;
    sl_probe_logits again = {.context = 1, .row = 1}; /* for its probabilities */
    sl_probe_sample anew = {.chain = 1, .row = INT32_MIN};
    stream_put(&s, SL_PROBE_LOGITS, &again, sizeof again, NULL, 0);
    stream_put(&s, SL_PROBE_SAMPLE, &anew, sizeof anew, NULL, 0);
    CHECK(one->last_token.from_ns == sampled && !one->last_token.to_ns);
    s.thread++; /* of another thread nothing follows */
    again.row = 0;
    stream_put(&s, SL_PROBE_LOGITS, &again, sizeof again, NULL, 0);
    CHECK(one->last_token.from_ns == sampled && !one->last_token.to_ns);
    s.thread--;
    end_of(&s, 1, 2, 1);
    end_of(&s, 2, 2, 1);
    stream_close(&s);
    stream_done(&s);
}

/* ---- by slots, counts and order ---- */

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
    REQUIRE(open_twins(&s));
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
    close_certain(&s);
}

SL_TEST(a_twin_that_is_answered_before_the_other_has_a_slot)
{
    stream s;
    REQUIRE(open_twins(&s));
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
    close_certain(&s);
}
