/*
 * When a sequence's tokens were taken, from when to when: the server's own measure of a generation, from its first
 * token to its last (`timings.predicted_ms`), lies between what the events around both leave open. Both clocks are one.
 *
 * A token is taken after the wait for its batch, after its logits were fetched and after it was sampled, and before the
 * same thread fetches the logits of another row, or the context's next batch begins.
 */
#ifndef SL_PROBE_TOKEN_TIMES_H
#define SL_PROBE_TOKEN_TIMES_H

#include "src/probe/track.h"

/* A batch begins: what the one before has given was taken. */
void sl_token_times_batch(sl_probe_assembler *a, sl_track_context *context, uint64_t start_ns);
/* The batch gives a token of a sequence, from an output row. */
void sl_token_times_output(sl_track_context *context, int32_t seq, uint32_t row);
/* A turn has a further token since `from_ns`. */
void sl_token_times_token(sl_track_turn *turn, uint64_t from_ns);
void sl_token_times_logits(sl_probe_assembler *a, const sl_probe_logits *event);
void sl_token_times_sample(sl_probe_assembler *a, const sl_probe_sample *event);
/*
 * False when the server's measure, in an answer that ended at `end_ns`, cannot be of this turn. `*ret_known`: there was
 * something to compare.
 */
bool sl_token_times_fit(const sl_track_turn *turn, const sl_answer_facts *facts, uint64_t end_ns, bool *ret_known);

#endif
