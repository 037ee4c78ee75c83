/*
 * Which request asked for these tokens?
 *
 * A request's prompts are known when they are tokenised, in order when they are posted (asks). A sequence that starts a
 * prompt claims the oldest ask whose tokens are those of the batch at the same positions, and, as far as they are
 * known, those in front. When several requests ask for the same, the claim is a guess among ties and stays marked,
 * until an answer's own figures (slot, counts) prove one of them; what is proven leaves the ties of all others.
 * Without a match: the request that the thread itself serves, an ask whose tokens are not known, the only request there
 * is; else none.
 */
#ifndef SL_PROBE_CORRELATE_H
#define SL_PROBE_CORRELATE_H

#include "src/probe/track.h"

/* What a batch shows of a prompt's beginning. */
typedef struct sl_track_evidence {
    const sl_track_context *context;
    const sl_track_seq *seq;
    const int32_t *tokens; /* `n_listed` of them; NULL: embeddings, or cut */
    uint32_t n_listed, n;
    int32_t pos;
    bool ends;            /* the last of them asks for an output */
    bool anything_before; /* whatever is in the sequence's memory: what was done to it may not have been seen */
    bool partial;         /* all of them do: not a sign of the prompt's end */
    uint32_t thread;
} sl_track_evidence;

typedef struct sl_track_claim {
    sl_track_request *request;
    sl_track_ask *ask;
    sl_track_sure sure;
    uint64_t ties[SL_PROBE_MAX_TIES];
    uint32_t tie_count;
    bool ties_cut;
    bool shadow; /* a second context works on a prompt that has its turn */
} sl_track_claim;

/* A prompt was tokenised by the thread of a request. */
void sl_track_tokenize(sl_probe_assembler *a, const sl_probe_tokenize *event);
/* The request's thread has handed its work over. */
void sl_track_post(sl_probe_assembler *a, const sl_probe_post *event);
void sl_track_asks_free(sl_probe_assembler *a, sl_track_request *request);
/* An ask by its serial, among those that are posted; NULL. */
sl_track_ask *sl_track_ask_find(sl_probe_assembler *a, uint64_t serial);

/* Finds who asked. Changes nothing. `known_only`: an exact look-up by tokens, no fallback. */
void sl_track_claim_find(sl_probe_assembler *a, const sl_track_evidence *evidence, bool known_only,
                         sl_track_claim *ret_claim);
/* Gives a new turn what was found. */
void sl_track_claim_apply(sl_probe_assembler *a, sl_track_turn *turn, const sl_track_claim *claim);
/* Whether tokens at `pos` go on with the prompt that a turn has claimed. */
bool sl_track_ask_goes_on(const sl_track_turn *turn, const sl_track_evidence *evidence);
/*
 * The same, for a prompt that comes in several batches: when it has begun like the prompts of several requests and goes
 * on like another's than was guessed, the turn becomes that one's. False: it is nobody's.
 */
bool sl_track_ask_follow(sl_probe_assembler *a, sl_track_turn *turn, const sl_track_evidence *evidence);
/*
 * A request has ended: with its figures, guesses become certain, or are changed, or stay marked. `complete`: it has its
 * whole answer.
 */
void sl_track_settle(sl_probe_assembler *a, sl_track_request *request, const sl_answer_facts *facts, bool complete);
/*
 * Whether it may yet become certain which turn an answer means: by what other turns come to, or what their answers
 * tell.
 */
bool sl_track_is_undecided(sl_probe_assembler *a, sl_track_request *request, const sl_answer_facts *facts);
/* Whether any turn may have been for a request that has found none. */
bool sl_track_may_have_worked(sl_probe_assembler *a, const sl_track_request *request);
/* Whether the server's figures are those of a turn. */
bool sl_track_figures_fit(const sl_track_turn *turn, const sl_answer_facts *facts);

#endif
