/*
 * How a llama_batch becomes the runs of a DECODE event: consecutive tokens of one sequence at consecutive positions.
 * Touches nothing but the batch, its lists and the event; no allocation.
 */
#ifndef SL_PROBE_BATCH_RUNS_H
#define SL_PROBE_BATCH_RUNS_H

#include "src/probe/event.h"

/* llama_batch: 56 bytes since October 2024; these fields have stood at the same place since 2023. */
typedef struct sl_batch_block {
    int32_t n_tokens;
    const int32_t *token;
    const float *embd;
    const int32_t *pos;
    const int32_t *n_seq_id;
    const int32_t *const *seq_id;
    const int8_t *logits;
    uint64_t rest[9];
} sl_batch_block;

#define SL_BATCH_FEW_RUNS 8u

/* What the first look at a batch finds: most have few runs, which then need not be found again. */
typedef struct sl_batch_plan {
    uint32_t runs;    /* at most as many as fit an event */
    uint32_t covered; /* tokens in them */
    uint32_t listed;  /* of these, the ones that the event has with their ids */
    sl_probe_run first[SL_BATCH_FEW_RUNS];
} sl_batch_plan;

/* Tokens of a batch that can be read. */
static inline uint32_t sl_batch_tokens(const sl_batch_block *batch)
{
    return batch->n_tokens > 0 && (batch->token || batch->embd) ? (uint32_t)batch->n_tokens : 0;
}

/* Finds the runs of the batch's first `n` tokens. */
void sl_batch_look(const sl_batch_block *batch, uint32_t n, sl_batch_plan *ret_plan);

/* Bytes that they take behind the event's body. */
static inline size_t sl_batch_tail(const sl_batch_plan *plan)
{
    return plan->runs * sizeof(sl_probe_run) + plan->listed * sizeof(int32_t);
}

/* Writes them behind the event, and `head.count` and `n_listed`. The same batch as the plan is of. */
void sl_batch_write(const sl_batch_block *batch, const sl_batch_plan *plan, sl_probe_decode *event);

#endif
