/*
 * The memory of a sequence as its batches and the calls on it tell: how long it is, and which tokens are in it.
 *
 * Tokens are known from some position on (`base`); what was loaded, or came as embeddings, is not known. Kept within
 * SL_PROBE_MAX_TOKENS for all sequences and prompts of one host; without room nothing is known, which is never wrong.
 */
#ifndef SL_PROBE_SEQ_MEMORY_H
#define SL_PROBE_SEQ_MEMORY_H

#include "src/probe/track.h"

/* `n` tokens at `pos` (NULL: not known) are now in memory; what was at and behind `pos` is overwritten. */
void sl_seq_memory_put(sl_probe_assembler *a, sl_track_seq *seq, int32_t pos, const int32_t *tokens, uint32_t n);
/* Positions [p0, p1) are removed; negative: from the start, to the end. */
void sl_seq_memory_remove(sl_track_seq *seq, int32_t p0, int32_t p1);
/* Positions [p0, p1) move by `delta`. */
void sl_seq_memory_shift(sl_track_seq *seq, int32_t p0, int32_t p1, int32_t delta);
/* `to` holds what `from` holds. */
void sl_seq_memory_copy(sl_probe_assembler *a, sl_track_seq *to, const sl_track_seq *from);
/* Nothing is known any more but that there is something. */
void sl_seq_memory_unknown(sl_track_seq *seq);
/* Frees its storage. */
void sl_seq_memory_done(sl_probe_assembler *a, sl_track_seq *seq);
/* Whether what is known in front of `pos` is the beginning of `prompt`. `*ret_compared`: tokens that say so. */
bool sl_seq_memory_is(const sl_track_seq *seq, int32_t pos, const int32_t *prompt, uint32_t n, uint32_t *ret_compared);

#endif
