/* Runs of batches. */
#include "src/probe/batch_runs.h"

#include "src/base/assert.h"

/* Fits the longest event with room for as many tokens. */
#define MAX_RUNS 4096u
#define MAX_LISTED ((SL_PROBE_EVENT_MAX - sizeof(sl_probe_decode) - MAX_RUNS * sizeof(sl_probe_run)) / sizeof(int32_t))

static uint32_t seq_count(const sl_batch_block *b, uint32_t i)
{
    int32_t n = b->seq_id && b->n_seq_id ? b->n_seq_id[i] : 1;
    return n < 1 ? 1 : (uint32_t)n;
}

static int32_t seq_of(const sl_batch_block *b, uint32_t i, uint32_t which)
{
    return b->seq_id && b->seq_id[i] ? b->seq_id[i][which] : 0;
}

/* Token `j` belongs to the sequences that token `i` belongs to. */
static bool same_seqs(const sl_batch_block *b, uint32_t i, uint32_t j, uint32_t count)
{
    if (!b->seq_id)
        return true;
    if (seq_count(b, j) != count || seq_of(b, i, 0) != seq_of(b, j, 0))
        return false;
    for (uint32_t s = 1; s < count; s++)
        if (seq_of(b, i, s) != seq_of(b, j, s))
            return false;
    return true;
}

/* Without the list, the last token of the batch alone has an output. */
static bool has_output(const sl_batch_block *b, uint32_t i)
{
    return b->logits ? b->logits[i] != 0 : i + 1 == (uint32_t)b->n_tokens;
}

/* The run that begins at token `i` of `n`; returns where the next one does. `*ret_seqs`: sequences that share it. */
static uint32_t next_run(const sl_batch_block *b, uint32_t i, uint32_t n, sl_probe_run *ret_run, uint32_t *ret_seqs)
{
    uint32_t seqs = seq_count(b, i), end = i, outputs = 0;
    bool last;
    SL_ASSERT(i < n);
    do {
        last = has_output(b, end);
        outputs += last;
        end++;
    } while (end < n && (!b->pos || b->pos[end] == (int64_t)b->pos[end - 1] + 1) && same_seqs(b, i, end, seqs));
    *ret_run = (sl_probe_run){
        .seq = seq_of(b, i, 0),
        .pos = b->pos ? b->pos[i] : -1,
        .n = end - i,
        .outputs = outputs,
        .row = i,
        .flags = (b->token ? 0u : SL_PROBE_RUN_NO_TOKENS) | (last ? SL_PROBE_RUN_LAST_OUTPUT : 0u),
    };
    *ret_seqs = seqs;
    return end;
}

/* One run for each sequence that shares it. */
static void put_run(const sl_batch_block *b, const sl_probe_run *run, uint32_t seqs, sl_probe_run *ret_runs)
{
    ret_runs[0] = *run;
    for (uint32_t s = 1; s < seqs; s++) {
        ret_runs[s] = *run;
        ret_runs[s].seq = seq_of(b, run->row, s);
        ret_runs[s].flags |= SL_PROBE_RUN_SHARED;
    }
}

void sl_batch_look(const sl_batch_block *b, uint32_t n, sl_batch_plan *ret_plan)
{
    uint32_t i = 0, seqs;
    sl_probe_run run;
    ret_plan->runs = 0;
    while (i < n) {
        uint32_t end = next_run(b, i, n, &run, &seqs);
        if (ret_plan->runs + seqs > MAX_RUNS)
            break;
        if (ret_plan->runs + seqs <= SL_BATCH_FEW_RUNS)
            put_run(b, &run, seqs, ret_plan->first + ret_plan->runs);
        ret_plan->runs += seqs;
        i = end;
    }
    ret_plan->covered = i;
    ret_plan->listed = !b->token ? 0 : i < MAX_LISTED ? i : (uint32_t)MAX_LISTED;
}

static void write_runs(const sl_batch_block *b, const sl_batch_plan *p, sl_probe_run *ret_runs)
{
    uint32_t i = 0, seqs, done = 0;
    sl_probe_run run;
    if (p->runs <= SL_BATCH_FEW_RUNS) {
        memcpy(ret_runs, p->first, p->runs * sizeof run);
        return;
    }
    while (done < p->runs) {
        i = next_run(b, i, p->covered, &run, &seqs);
        put_run(b, &run, seqs, ret_runs + done);
        done += seqs;
    }
}

void sl_batch_write(const sl_batch_block *batch, const sl_batch_plan *plan, sl_probe_decode *event)
{
    event->head.count = plan->runs;
    event->n_listed = plan->listed;
    write_runs(batch, plan, (sl_probe_run *)(void *)(event + 1));
    if (plan->listed)
        memcpy((char *)(event + 1) + plan->runs * sizeof(sl_probe_run), batch->token, plan->listed * sizeof(int32_t));
}
