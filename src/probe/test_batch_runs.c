/* Runs of batches: batches by chance, read back from the event and compared token by token. */
#include "src/probe/batch_runs.h"

#include <stdlib.h>

#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define MOST_TOKENS 20000
#define MOST_SEQS 6
#define MAX_RUNS 4096u /* that an event has room for beside as many tokens */

/* A llama_batch with its lists, each of which may be missing. */
typedef struct batch {
    sl_batch_block block;
    int32_t token[MOST_TOKENS], pos[MOST_TOKENS], n_seq_id[MOST_TOKENS];
    int32_t seqs[MOST_TOKENS][MOST_SEQS];
    const int32_t *seq_id[MOST_TOKENS];
    int8_t logits[MOST_TOKENS];
    float embd[1];
} batch;

static batch b;
static char event_bytes[SL_PROBE_EVENT_MAX + 65536];

static void batch_of(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        b.token[i] = (int32_t)(1000 + i);
        b.pos[i] = (int32_t)i;
        b.n_seq_id[i] = 1;
        b.seqs[i][0] = 0;
        b.seq_id[i] = b.seqs[i];
        b.logits[i] = 0;
    }
    b.block = (sl_batch_block){.n_tokens = (int32_t)n,
                               .token = b.token,
                               .pos = b.pos,
                               .n_seq_id = b.n_seq_id,
                               .seq_id = b.seq_id,
                               .logits = b.logits};
}

/* The event as the host writes it: it is whole, and of the size that was said beforehand. */
static sl_probe_decode *written(sl_batch_plan *ret_plan)
{
    sl_probe_decode *event = (sl_probe_decode *)(void *)event_bytes;
    uint32_t n = sl_batch_tokens(&b.block);
    sl_batch_look(&b.block, n, ret_plan);
    size_t tail = sl_batch_tail(ret_plan), size = sizeof *event + ((tail + 7) & ~(size_t)7);
    if (size > SL_PROBE_EVENT_MAX) {
        sl_test_failed(__FILE__, __LINE__, "%zu bytes for %u tokens", size, n);
        return NULL;
    }
    memset(event_bytes, 0, size);
    memset(event_bytes + size, 0x5A, 64);
    *event = (sl_probe_decode){.context = 1, .n_tokens = n};
    event->head.kind = SL_PROBE_DECODE;
    atomic_store(&event->head.size, (uint32_t)size);
    sl_batch_write(&b.block, ret_plan, event);
    for (size_t i = 0; i < 64; i++)
        CHECK(event_bytes[size + i] == 0x5A); /* nothing beyond its end */
    CHECK_EQ(sl_probe_event_check(&event->head, size), 0);
    CHECK(ret_plan->covered <= n && ret_plan->listed <= ret_plan->covered);
    CHECK_EQ(event->head.count, ret_plan->runs);
    CHECK_EQ(event->n_listed, ret_plan->listed);
    return event;
}

static const sl_probe_run *runs_of(const sl_probe_decode *event)
{
    return (const sl_probe_run *)(const void *)(event + 1);
}

/* Sequences of token i, by the rules: without lists all are of sequence 0. */
static int32_t seq_at(uint32_t i, uint32_t which)
{
    return b.block.seq_id && b.block.seq_id[i] ? b.block.seq_id[i][which] : 0;
}

static uint32_t seqs_at(uint32_t i)
{
    return b.block.seq_id && b.block.n_seq_id && b.block.n_seq_id[i] > 1 ? (uint32_t)b.block.n_seq_id[i] : 1;
}

static bool output_at(uint32_t i)
{
    return b.block.logits ? b.block.logits[i] != 0 : i + 1 == (uint32_t)b.block.n_tokens;
}

/* Every token that is covered stands in the runs once for each of its sequences, with its position and output. */
static void holds_the_batch(const sl_probe_decode *event, const sl_batch_plan *plan)
{
    const sl_probe_run *run = runs_of(event), *end = run + event->head.count;
    const int32_t *listed = (const int32_t *)(const void *)end;
    uint32_t at = 0;
    while (run < end) {
        uint32_t seqs = seqs_at(at), outputs = 0;
        bool shares = false;
        CHECK(run->n > 0 && run->row == at && run->n <= plan->covered - at);
        for (uint32_t k = 0; k < run->n && at + k < plan->covered; k++) {
            uint32_t i = at + k;
            CHECK_EQ(seqs_at(i), seqs);
            outputs += output_at(i);
            CHECK(!b.block.pos || b.block.pos[i] == run->pos + (int32_t)k);
        }
        for (uint32_t which = 0; which < seqs && run < end; which++, run++) {
            CHECK_EQ(run->seq, seq_at(at, which));
            CHECK_EQ((run->flags & SL_PROBE_RUN_SHARED) != 0, shares);
            CHECK_EQ((run->flags & SL_PROBE_RUN_NO_TOKENS) != 0, b.block.token == NULL);
            CHECK_EQ((run->flags & SL_PROBE_RUN_LAST_OUTPUT) != 0, output_at(at + run->n - 1));
            CHECK_EQ(run->outputs, outputs);
            CHECK(b.block.pos || run->pos == -1);
            shares = true;
        }
        at += run[-1].n;
    }
    CHECK_EQ(at, plan->covered);
    for (uint32_t i = 0; i < plan->listed; i++)
        CHECK_EQ(listed[i], b.block.token[i]);
}

/* Neighbouring runs could not have been one. */
static void is_as_short_as_can_be(const sl_probe_decode *event)
{
    const sl_probe_run *run = runs_of(event);
    uint32_t last = 0; /* first run of the group before */
    for (uint32_t i = 1; i < event->head.count; i++) {
        if (run[i].flags & SL_PROBE_RUN_SHARED)
            continue;
        uint32_t before = run[i].row - 1, here = run[i].row;
        bool follows = !b.block.pos || b.block.pos[here] == b.block.pos[before] + 1;
        bool same = seqs_at(before) == seqs_at(here);
        for (uint32_t k = 0; same && k < seqs_at(here); k++)
            same = seq_at(before, k) == seq_at(here, k);
        CHECK(!follows || !same);
        CHECK(run[i].row == run[last].row + run[last].n);
        last = i;
    }
}

SL_TEST(batches_as_servers_make_them)
{
    sl_batch_plan plan;
    static const struct {
        const char *what;
        uint32_t tokens, at_second; /* tokens of a second sequence from there on; 0: none */
        bool token, pos, seq, logits;
        uint32_t runs, listed, outputs; /* of the last run */
    } rows[] = {
        {"a prompt", 100, 0, true, true, true, true, 1, 100, 0},
        {"without lists", 100, 0, true, false, false, false, 1, 100, 1},
        {"embeddings", 100, 0, false, true, true, false, 1, 0, 1},
        {"two sequences", 100, 60, true, true, true, true, 2, 100, 0},
        {"two sequences, positions by the library", 100, 60, true, false, true, true, 2, 100, 0},
        {"one token", 1, 0, true, true, true, false, 1, 1, 1},
        {"the longest prompt", MOST_TOKENS, 0, true, true, true, true, 1, MOST_TOKENS, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        batch_of(rows[i].tokens);
        for (uint32_t k = rows[i].at_second; rows[i].at_second && k < rows[i].tokens; k++)
            b.seqs[k][0] = 1;
        b.block.token = rows[i].token ? b.token : NULL;
        b.block.embd = rows[i].token ? NULL : b.embd;
        b.block.pos = rows[i].pos ? b.pos : NULL;
        b.block.seq_id = rows[i].seq ? b.seq_id : NULL;
        b.block.n_seq_id = rows[i].seq ? b.n_seq_id : NULL;
        b.block.logits = rows[i].logits ? b.logits : NULL;
        const sl_probe_decode *event = written(&plan);
        REQUIRE(event != NULL);
        if (event->head.count != rows[i].runs || event->n_listed != rows[i].listed)
            sl_test_failed(__FILE__, __LINE__, "%s: %u runs, %u listed", rows[i].what, event->head.count,
                           event->n_listed);
        CHECK_EQ(runs_of(event)[event->head.count - 1].outputs, rows[i].outputs);
        holds_the_batch(event, &plan);
    }
}

SL_TEST(what_holds_no_tokens_has_no_runs)
{
    static const int32_t counts[] = {0, -1, INT32_MIN};
    sl_batch_plan plan;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        batch_of(1);
        b.block.n_tokens = counts[i];
        CHECK_EQ(sl_batch_tokens(&b.block), 0);
    }
    batch_of(5);
    b.block.token = NULL; /* neither tokens nor embeddings */
    CHECK_EQ(sl_batch_tokens(&b.block), 0);
    sl_batch_look(&b.block, 0, &plan);
    CHECK_EQ(plan.runs, 0);
    CHECK_EQ(plan.covered, 0);
    CHECK_EQ(plan.listed, 0);
    CHECK_EQ(sl_batch_tail(&plan), 0);
}

/* The plan keeps a few runs; one more than those and the batch is read again: both ways give the same. */
SL_TEST(few_and_many_runs)
{
    sl_batch_plan plan;
    for (uint32_t n = 1; n <= 3 * SL_BATCH_FEW_RUNS; n++) {
        batch_of(n);
        for (uint32_t i = 0; i < n; i++)
            b.seqs[i][0] = (int32_t)i;
        const sl_probe_decode *event = written(&plan);
        REQUIRE(event != NULL);
        CHECK_EQ(event->head.count, n);
        holds_the_batch(event, &plan);
    }
}

SL_TEST(as_many_runs_as_an_event_holds)
{
    static const struct {
        uint32_t tokens, runs, covered;
    } rows[] = {{MAX_RUNS - 1, MAX_RUNS - 1, MAX_RUNS - 1},
                {MAX_RUNS, MAX_RUNS, MAX_RUNS},
                {MAX_RUNS + 1, MAX_RUNS, MAX_RUNS},
                {2 * MAX_RUNS, MAX_RUNS, MAX_RUNS}};
    sl_batch_plan plan;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        batch_of(rows[i].tokens);
        for (uint32_t k = 0; k < rows[i].tokens; k++)
            b.seqs[k][0] = (int32_t)k;
        const sl_probe_decode *event = written(&plan);
        REQUIRE(event != NULL);
        CHECK_EQ(plan.runs, rows[i].runs);
        CHECK_EQ(plan.covered, rows[i].covered);
        CHECK_EQ(event->n_tokens, rows[i].tokens); /* the true number all the same */
        holds_the_batch(event, &plan);
    }
    /* A group of runs that share their tokens goes in whole or not at all. */
    batch_of(MAX_RUNS);
    for (uint32_t k = 0; k < MAX_RUNS; k++) {
        b.seqs[k][0] = (int32_t)k;
        b.seqs[k][1] = -1 - (int32_t)k;
        b.n_seq_id[k] = k == 0 ? 1 : 2;
    }
    const sl_probe_decode *event = written(&plan);
    REQUIRE(event != NULL);
    CHECK_EQ(plan.runs, MAX_RUNS - 1);
    CHECK_EQ(plan.covered, MAX_RUNS / 2);
    holds_the_batch(event, &plan);
}

/* More tokens than an event lists beside its runs: the first ones are listed. */
SL_TEST(as_many_tokens_as_an_event_lists)
{
    sl_batch_plan plan;
    uint32_t most =
        (uint32_t)((SL_PROBE_EVENT_MAX - sizeof(sl_probe_decode) - MAX_RUNS * sizeof(sl_probe_run)) / sizeof(int32_t));
    int32_t *tokens = calloc(most + 2, sizeof *tokens);
    REQUIRE(tokens != NULL);
    for (uint32_t n = most - 1; n <= most + 2; n++) {
        b.block = (sl_batch_block){.n_tokens = (int32_t)n, .token = tokens};
        sl_batch_look(&b.block, n, &plan);
        CHECK_EQ(plan.runs, 1);
        CHECK_EQ(plan.covered, n);
        CHECK_EQ(plan.listed, n < most ? n : most);
        const sl_probe_decode *event = written(&plan);
        CHECK(event && runs_of(event)->n == n);
    }
    free(tokens);
}

/* Positions at the ends of their type are numbers like others. */
SL_TEST(positions_at_their_bounds)
{
    static const struct {
        int32_t first, second;
        uint32_t runs;
    } rows[] = {
        {INT32_MAX - 1, INT32_MAX, 1}, {INT32_MAX, INT32_MIN, 2}, {INT32_MAX, 0, 2}, {-1, 0, 1}, {0, 0, 2}, {5, 4, 2}};
    sl_batch_plan plan;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        batch_of(2);
        b.pos[0] = rows[i].first;
        b.pos[1] = rows[i].second;
        sl_batch_look(&b.block, 2, &plan);
        CHECK_EQ(plan.runs, rows[i].runs);
        CHECK_EQ(plan.covered, 2);
    }
}

SL_TEST(any_batch_is_read_back)
{
    uint64_t chance = 1;
    for (int round = 0; round < 3000; round++) {
        uint32_t n = 1 + sl_chance(&chance, round % 10 ? 40 : 600);
        batch_of(n);
        for (uint32_t i = 0; i < n; i++) {
            bool goes_on = i > 0 && sl_chance(&chance, 4);
            b.n_seq_id[i] = goes_on ? b.n_seq_id[i - 1] : (int32_t)sl_chance(&chance, MOST_SEQS + 1);
            for (uint32_t k = 0; k < MOST_SEQS; k++)
                b.seqs[i][k] = goes_on ? b.seqs[i - 1][k] : (int32_t)sl_chance(&chance, 3);
            b.pos[i] = i > 0 && sl_chance(&chance, 5) ? b.pos[i - 1] + 1 : (int32_t)sl_chance(&chance, 50);
            b.logits[i] = (int8_t)(sl_chance(&chance, 3) - 1); /* anything but 0 asks for an output */
            if (sl_chance(&chance, 200) == 0)
                b.seq_id[i] = NULL, b.n_seq_id[i] = 1;
        }
        if (sl_chance(&chance, 5) == 0)
            b.block.pos = NULL;
        if (sl_chance(&chance, 5) == 0)
            b.block.logits = NULL;
        if (sl_chance(&chance, 5) == 0)
            b.block.seq_id = NULL;
        if (sl_chance(&chance, 9) == 0)
            b.block.n_seq_id = NULL;
        if (sl_chance(&chance, 9) == 0)
            b.block.token = NULL, b.block.embd = b.embd;
        sl_batch_plan plan;
        const sl_probe_decode *event = written(&plan);
        REQUIRE(event != NULL);
        CHECK_EQ(plan.covered, n);
        holds_the_batch(event, &plan);
        is_as_short_as_can_be(event);
    }
}
