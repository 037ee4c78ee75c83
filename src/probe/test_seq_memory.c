/* The memory of a sequence against a plain array that does what the library does. */
#include "src/probe/seq_memory.h"

#include "src/base/rng.h"
#include "src/probe/token_gaps.h"
#include "tests/harness/sl_test.h"

static sl_probe_assembler *new_host(void)
{
    return sl_calloc(1, sizeof(sl_probe_assembler));
}

static const int32_t some[] = {5, 6, 7, 8, 9, 10, 11, 12};

static bool is_prefix(const sl_track_seq *seq, int32_t pos, const int32_t *prompt, uint32_t n, uint32_t wanted)
{
    uint32_t compared = 99;
    bool is = sl_seq_memory_is(seq, pos, prompt, n, &compared);
    return is && compared == wanted;
}

SL_TEST(what_was_put_is_known)
{
    sl_probe_assembler *a = new_host();
    sl_track_seq seq = {0};
    sl_seq_memory_put(a, &seq, 0, some, 4);
    sl_seq_memory_put(a, &seq, 4, some + 4, 2);
    CHECK_EQ(seq.next_pos, 6);
    CHECK(is_prefix(&seq, 6, some, 8, 6));
    CHECK(is_prefix(&seq, 3, some, 8, 3));
    CHECK(is_prefix(&seq, 6, some, 2, 2));
    int32_t other[8];
    memcpy(other, some, sizeof other);
    other[5] = 0;
    CHECK(!is_prefix(&seq, 6, other, 8, 6));
    CHECK(is_prefix(&seq, 5, other, 8, 5));
    sl_seq_memory_put(a, &seq, 2, other + 2, 4); /* over what was there */
    CHECK(is_prefix(&seq, 6, other, 8, 6));
    sl_seq_memory_put(a, &seq, 100, some, 2); /* behind a gap */
    CHECK_EQ(seq.next_pos, 102);
    CHECK(is_prefix(&seq, 50, other, 8, 0));
    sl_seq_memory_put(a, &seq, 102, NULL, 3);
    CHECK_EQ(seq.next_pos, 105);
    CHECK_EQ(seq.len, 0);
    sl_seq_memory_done(a, &seq);
    CHECK_EQ(a->tokens_kept, 0);
    sl_free(a);
}

SL_TEST(removal_shift_and_copy)
{
    sl_probe_assembler *a = new_host();
    sl_track_seq seq = {0}, copy = {0};
    sl_seq_memory_put(a, &seq, 0, some, 8);
    seq.had_output = true;
    sl_seq_memory_copy(a, &copy, &seq);
    CHECK(is_prefix(&copy, 8, some, 8, 8) && copy.had_output && copy.next_pos == 8);
    sl_seq_memory_remove(&seq, 5, -1);
    CHECK(seq.next_pos == 5 && seq.removed && seq.had_output);
    CHECK(is_prefix(&seq, 5, some, 8, 5));
    sl_seq_memory_remove(&seq, 1, 3); /* a hole: from 3 on it is known */
    CHECK_EQ(seq.next_pos, 5);
    CHECK_EQ(seq.base, 3);
    sl_seq_memory_shift(&seq, 3, -1, -2);
    CHECK(seq.next_pos == 3 && seq.base == 1 && seq.len == 2 && seq.tokens[0] == 8);
    sl_seq_memory_remove(&seq, -1, -1);
    CHECK(seq.next_pos == 0 && seq.len == 0 && !seq.had_output);
    sl_seq_memory_shift(&copy, 4, -1, -2); /* known in parts: nothing */
    CHECK(copy.next_pos == 6 && copy.len == 0);
    sl_seq_memory_shift(&copy, 0, -1, -100);
    CHECK_EQ(copy.next_pos, 6);
    sl_seq_memory_unknown(&copy);
    CHECK(is_prefix(&copy, 6, some, 8, 0));
    sl_seq_memory_done(a, &seq);
    sl_seq_memory_done(a, &copy);
    sl_free(a);
}

/* Whatever is said to be known is so. */
SL_TEST(random_changes_are_never_known_wrongly)
{
    sl_probe_assembler *a = new_host();
    sl_track_seq seq = {0};
    int32_t model[512], end = 0, token = 1;
    sl_rng rng;
    sl_rng_init_seed(&rng, 7);
    memset(model, 0, sizeof model); /* 0: nothing there */
    for (int round = 0; round < 20000; round++) {
        uint64_t r = sl_rng_next(&rng);
        int32_t p0 = (int32_t)(r >> 8 & 31), n = (int32_t)(r >> 16 & 7);
        if ((r & 3) < 2 && end + n < 400) {
            int32_t fresh[8];
            int32_t at = (r & 3) == 0 || p0 > end ? end : p0;
            for (int32_t i = 0; i < n; i++)
                fresh[i] = model[at + i] = token++;
            for (int32_t i = at + n; i < 512; i++)
                model[i] = 0;
            sl_seq_memory_put(a, &seq, at, fresh, (uint32_t)n);
            end = at + n;
        } else if ((r & 3) == 2) {
            int32_t p1 = n == 0 ? -1 : p0 + n;
            bool tail = p1 < 0 || p1 >= end;
            for (int32_t i = p0; i < (tail ? 512 : p1); i++)
                model[i] = 0;
            end = tail && p0 < end ? p0 : end;
            sl_seq_memory_remove(&seq, p0, p1);
        } else if ((r >> 24 & 1) && p0 + n < end && n > 0 && p0 >= n) {
            int32_t shifted[512] = {0};
            memcpy(shifted, model, (size_t)(p0 - n) * sizeof *model);
            memcpy(shifted + p0 - n, model + p0, (size_t)(end - p0) * sizeof *model);
            memcpy(model, shifted, sizeof model);
            sl_seq_memory_remove(&seq, p0 - n, p0);
            sl_seq_memory_shift(&seq, p0, -1, -n);
            end -= n;
        } else if (p0 + 8 < end && n > 0 && p0 >= n) { /* a piece of four moves down, and leaves a hole */
            memset(model + p0 - n, 0, (size_t)n * sizeof *model);
            memmove(model + p0 - n, model + p0, 4 * sizeof *model);
            for (int32_t i = p0 + 4 - n < p0 ? p0 : p0 + 4 - n; i < p0 + 4; i++)
                model[i] = 0;
            sl_seq_memory_remove(&seq, p0 - n, p0);
            sl_seq_memory_shift(&seq, p0, p0 + 4, -n);
        }
        CHECK_EQ(seq.next_pos, end);
        for (uint32_t i = 0; i < seq.len; i++)
            CHECK_EQ(seq.tokens[i], model[seq.base + (int32_t)i]);
    }
    sl_seq_memory_done(a, &seq);
    sl_free(a);
}

SL_TEST(without_room_nothing_is_known)
{
    sl_probe_assembler *a = new_host();
    sl_track_seq seq = {0};
    a->tokens_kept = SL_PROBE_MAX_TOKENS;
    sl_seq_memory_put(a, &seq, 0, some, 8);
    CHECK(seq.next_pos == 8 && seq.len == 0 && a->stats.left_out > 0);
    a->tokens_kept = 0;
    sl_test_fail_alloc(0);
    sl_seq_memory_put(a, &seq, 8, some, 8);
    CHECK(seq.next_pos == 16 && seq.len == 0);
    sl_test_fail_alloc(-1);
    sl_seq_memory_done(a, &seq);
    sl_free(a);
}

SL_TEST(median_and_longest_of_token_times)
{
    sl_token_gaps gaps = {0};
    CHECK_EQ(sl_token_gaps_median(&gaps), 0);
    for (uint64_t i = 1; i <= 101; i++)
        sl_token_gaps_add(&gaps, i * 1000000);
    uint64_t median = sl_token_gaps_median(&gaps);
    CHECK(median > 48000000 && median < 54200000);
    CHECK_EQ(gaps.max_ns, 101000000);
    sl_token_gaps one = {0};
    sl_token_gaps_add(&one, 500);
    CHECK_EQ(sl_token_gaps_median(&one), 500);
    sl_token_gaps_add(&one, UINT64_MAX);
    sl_token_gaps_add(&one, UINT64_MAX);
    CHECK(sl_token_gaps_median(&one) > 60000000000);
    for (uint64_t ns = 2000; ns < 60000000000; ns += ns / 7) {
        sl_token_gaps each = {0};
        sl_token_gaps_add(&each, ns);
        each.max_ns = UINT64_MAX;
        median = sl_token_gaps_median(&each);
        CHECK(median > ns - ns / 15 && median < ns + ns / 15);
    }
}
